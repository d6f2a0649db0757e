// Package seg6 has the host's kernel put outer IPv6 headers around super-packets (RFC 2473), which no packet socket and no TUN
// device takes with one: what is written to a TUN device of its own is routed by a segment routing route (RFC 8986 section 5.2,
// H.Encaps.Red) with a single segment, which needs no routing header. On the wire that is plain IPv6-in-IPv6, cut up by the
// network card, or by the kernel just before it.
//
//	TUN device --rule from <home>--> table --encapsulated--> rule from <local> --> outer table --> uplink
//
// # Limits
//
// The outer source address is one for the whole network namespace (TunnelSource of package kernel): a mobile node with several
// care-of addresses at a time, or an anchor with several addresses, can use it for the tunnels from one of them.
//
// The kernel copies hop limit, traffic class and flow label of the inner header to the outer one. Packets with a hop limit that
// the path between the tunnel's ends might use up are therefore sent otherwise (Config.Plain).
//
// The packets pass the kernel's forwarding path, and with it the host's packet filter (chain forward). It does not fragment
// them: a tunnel whose path takes less than 1280 octets and the outer header is not for this package.
//
// What comes in through the tunnel is not the package's concern.
package seg6

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/kernel"
	"kedge/netstack/packet"
	"kedge/netstack/tun"
)

const (
	// DefaultName is the TUN device's name where Config has none.
	DefaultName = "kedge-seg6"
	// DefaultTable is the first of the routing tables where Config has none.
	DefaultTable = 10700
	// deviceMTU is the TUN device's: it binds nothing, since kedge alone writes to it.
	deviceMTU = 65535
)

// Priorities of the rules, all before those of kernel.Steering, which would send packets from a home address into kedge's
// other TUN device.
const (
	outerPriority       = 92
	sourcePriority      = 93
	destinationPriority = 94
	lastPriority        = 95
)

// ErrForwarding is what Open returns, wrapped in a *kernel.SysctlError, where the host forwards no packets and the kernel is
// older than Linux 6.17, which lets a single interface do so.
var ErrForwarding = errors.New("the host does not forward IPv6, and kedge does not make it a router for others")

// Config says what to open.
type Config struct {
	// Name is the TUN device's; DefaultName if empty.
	Name string
	// Table is the first of the routing tables, used by nobody else: it is for outer packets, the next for tunnels by
	// destination, those that follow for tunnels by source, one each. DefaultTable if 0.
	Table uint32
	// Offload is which super-packets the device takes whole.
	Offload tun.Offload
	// Journal names what is asked of the kernel until it is undone.
	Journal *kernel.Journal
	// Plain is the uplink, which gets packets with an outer header that is made here if the kernel's would not do.
	Plain netstack.Link
}

// Selector says by what the kernel finds a packet's tunnel.
type Selector uint8

const (
	// BySource is for mobile nodes: the inner source is a home address, or of a mobile network, and selects the anchor.
	// Each is a rule, which the kernel searches one after the other.
	BySource Selector = iota
	// ByDestination is for anchors: the inner destination is a home address. Each is a route.
	ByDestination
)

// Accelerator is the TUN device with its rules and routes. Its methods may be called from any goroutine whose thread is in the
// network namespace that Open was called in.
type Accelerator struct {
	config Config
	link   *Link
	routes *netlink.Handle
	index  int // of the TUN device

	mu sync.Mutex // guards what follows
	// changes are Open's.
	changes kernel.Changes
	// source and outer are the changes that SetPath made.
	source *kernel.Change
	outer  kernel.Changes
	tables tables
	closed bool
}

// Open makes the TUN device. It fails with kernel.ErrNoSegmentRouting, wrapped, where the kernel lacks what it takes; with
// os.ErrPermission, wrapped, in a user namespace, whose processes may not set the outer source address; with a
// *kernel.SysctlError where the kernel does not forward what comes from the device; with a *kernel.IPv6DisabledError; with a
// *tun.OpenError; and with kernel.ErrExists where somebody else has rules like these. Nothing is left changed then.
//
// Until SetPath and Tunnel say how, packets go nowhere.
func Open(config Config) (*Accelerator, error) {
	if config.Name == "" {
		config.Name = DefaultName
	}
	if config.Table == 0 {
		config.Table = DefaultTable
	}
	if err := Probe(); err != nil {
		return nil, err
	}
	device, err := tun.Open(config.Name, deviceMTU, config.Offload)
	if err != nil {
		return nil, err
	}
	a := &Accelerator{config: config}
	a.link = &Link{Link: device, plain: config.Plain}
	if err := a.prepare(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Accelerator) prepare() (err error) {
	if a.routes, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	device, err := a.routes.LinkByName(a.config.Name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", a.config.Name, err)
	}
	a.index = device.Attrs().Index
	a.tables = tables{next: a.config.Table + 2, bySource: map[netip.Prefix]*source{}, byDestination: map[netip.Prefix]netip.Addr{}}
	j, name := a.config.Journal, a.config.Name
	disabled := "net/ipv6/conf/" + name + "/disable_ipv6"
	if value, err := kernel.ReadSysctl(disabled); err == nil && value != "0" {
		return &kernel.IPv6DisabledError{Interface: name, Path: disabled}
	}
	for _, operation := range []func() (*kernel.Change, error){
		// The device needs no address, and nobody reads what the kernel would announce of one.
		func() (*kernel.Change, error) { return j.SetSysctl("net/ipv6/conf/"+name+"/addr_gen_mode", "1") },
		func() (*kernel.Change, error) { return a.forward() },
		func() (*kernel.Change, error) {
			return j.AddRule(kernel.Rule{Priority: destinationPriority, Interface: name, Table: a.config.Table + 1})
		},
		// What has no tunnel must not be routed as the host's own packets are.
		func() (*kernel.Change, error) { return j.AddRule(kernel.Rule{Priority: lastPriority, Interface: name}) },
		func() (*kernel.Change, error) { return j.SetLinkUp(name) },
	} {
		c, err := operation()
		if err != nil {
			return err
		}
		a.changes = append(a.changes, c)
	}
	return nil
}

// forward has the kernel forward what comes from the device, and nothing else.
func (a *Accelerator) forward() (*kernel.Change, error) {
	const all = "net/ipv6/conf/all/forwarding"
	if value, err := kernel.ReadSysctl(all); err == nil && value != "0" {
		return nil, nil
	}
	c, err := a.config.Journal.SetSysctl("net/ipv6/conf/"+a.config.Name+"/force_forwarding", "1")
	if errors.Is(err, os.ErrNotExist) {
		return nil, &kernel.SysctlError{Path: all, Value: "1", Err: ErrForwarding}
	}
	return c, err
}

// Link takes the inner packets of tunnels.
func (a *Accelerator) Link() *Link { return a.link }

// Close undoes everything and closes the link.
func (a *Accelerator) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	a.link.path.Store(nil)
	failures := []error{a.tables.close(), a.outer.Undo(), a.source.Undo(), a.changes.Undo(), a.link.Link.Close()}
	if a.routes != nil {
		a.routes.Close()
	}
	return errors.Join(failures...)
}

// Path is how encapsulated packets leave.
type Path struct {
	// Local is the outer source address, kedge's own. An invalid one is no path.
	Local netip.Addr
	// Uplink is the Ethernet interface by which they leave.
	Uplink string
	// Routes lead to the other ends of tunnels, and the longest prefix wins.
	Routes []Route
}

// Route leads to a prefix in which there are other ends of tunnels.
type Route struct {
	Prefix netip.Prefix
	// Router is the neighbour that gets the packets; invalid for a prefix on the link.
	Router netip.Addr
	// LinkAddress is the router's, if known: the kernel then uses it at once and verifies it while it does.
	LinkAddress packet.LinkAddress
}
