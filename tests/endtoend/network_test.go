package endtoend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/appliance/lab/advertise"
	"kedge/appliance/lab/space"
)

// Addresses of the network that most tests run on.
//
//	 cn
//	 |            [access1]
//	[c]          /
//	 +--- ar ---+                 mn, x
//	      |      \
//	    [core]    [access2]
//	      |
//	      hr --- [home] --- ha
//
// ar and hr are kernel routers, cn is an ordinary host, and x is where attackers sit.
var (
	correspondent = netip.MustParseAddr("2001:db8:c::2")
	homeAgent     = netip.MustParseAddr("2001:db8:f::1")
	home          = netip.MustParseAddr("2001:db8:f::100")
	home2         = netip.MustParseAddr("2001:db8:f::101")
	homeRouter    = netip.MustParseAddr("2001:db8:f::ff")
	accessRouter  = netip.MustParseAddr("2001:db8:a::1")
	access1Prefix = netip.MustParsePrefix("2001:db8:1::/64")
	access2Prefix = netip.MustParsePrefix("2001:db8:2::/64")
	homePrefix    = netip.MustParsePrefix("2001:db8:f::/64")
)

// patience is how long a condition is waited for that comes about by itself: many times what it takes on an idle machine.
const patience = 30 * time.Second

// networks numbers the networks of the process, whose nodes need names of their own.
var networks atomic.Int32

// network is a test's own network. It ends with the test.
type network struct {
	t         *testing.T
	number    int32
	fabric    *space.Fabric
	root      *space.Namespace
	nodes     map[string]*space.Namespace
	directory string
	// receivers are the processors that receive what interfaces get, as a hexadecimal mask; if empty, those that sent it.
	receivers string
}

// property is one that a network has from the start.
type property func(*network)

// inOrder is the property that the network never reorders a flow, if keepsOrder. What crosses a veth otherwise waits in a queue
// of the processor that sent it, so that what another processor sends later overtakes it, be it a thread's that has moved or
// the kernel's own. In order, all waits in the queue of one processor. That is only for networks that nobody floods: the queue
// is short, and other networks use it too.
func inOrder(n *network) {
	if keepsOrder {
		n.receivers = fmt.Sprintf("%x", 1<<(int(n.number)%min(runtime.NumCPU(), 32)))
	}
}

// keepsOrder says that the kernel can do that: Linux 6.3 or later.
var keepsOrder = func() bool {
	_, err := os.Stat("/proc/sys/net/core/rps_default_mask")
	return err == nil
}()

// newNetwork makes the network above without its kedge nodes' programs, and has its routers advertise.
func newNetwork(t *testing.T, with ...property) *network {
	t.Helper()
	n := emptyNetwork(t, with...)
	n.router("ar", map[string]string{
		"access1": "2001:db8:1::ff/64", "access2": "2001:db8:2::ff/64", "c": "2001:db8:c::1/64", "core": "2001:db8:a::1/64",
	}, map[string]string{"2001:db8:f::/64": "2001:db8:a::2", "2001:db8:e::/64": "2001:db8:a::2"})
	n.router("hr", map[string]string{"core": "2001:db8:a::2/64", "home": "2001:db8:f::ff/64"}, map[string]string{"::/0": "2001:db8:a::1"})
	n.host("cn", "c", "2001:db8:c::2/64", "2001:db8:c::1")
	n.host("ha", "home", "", "")
	n.advertise("ar", "access1", access1Prefix)
	n.advertise("ar", "access2", access2Prefix)
	n.advertise("hr", "home", homePrefix)
	return n
}

func emptyNetwork(t *testing.T, with ...property) *network {
	t.Helper()
	if skipAll != nil {
		t.Skip(skipAll)
	}
	if testing.Short() {
		t.Skip("runs real nodes for seconds")
	}
	n := &network{t: t, number: networks.Add(1), nodes: map[string]*space.Namespace{}}
	for _, p := range with {
		p(n)
	}
	n.directory = fmt.Sprintf("/run/kt10-%d", n.number)
	n.must(os.Mkdir(n.directory, 0o755))
	t.Cleanup(func() { os.RemoveAll(n.directory) })
	n.root = n.namespace("")
	var err error
	n.fabric, err = space.NewFabric(n.root)
	n.must(err)
	for _, b := range []string{"c", "core", "access1", "access2", "home"} {
		n.must(n.fabric.Bridge(b))
	}
	return n
}

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// namespace makes a namespace that is gone after the test.
func (n *network) namespace(name string) *space.Namespace {
	n.t.Helper()
	s, err := space.Create(fmt.Sprintf("%d%s", n.number, name))
	n.must(err)
	if n.receivers != "" {
		n.must(s.Sysctl("net.core.rps_default_mask", n.receivers))
	}
	n.t.Cleanup(func() {
		s.Close()
		_ = unix.Unmount(s.Path(), unix.MNT_DETACH)
		_ = os.Remove(s.Path())
	})
	return s
}

// node makes a node without interfaces.
func (n *network) node(name string) *space.Namespace {
	n.t.Helper()
	s := n.namespace(name)
	n.nodes[name] = s
	for _, which := range []string{"all", "default"} {
		n.must(s.Sysctl("net.ipv6.conf."+which+".accept_dad", "0"))
		n.must(s.Sysctl("net.ipv6.conf."+which+".accept_ra", "0"))
	}
	return s
}

// plug gives a node an interface on a bridge; the names are those of the bridge.
func (n *network) plug(node, iface, bridge, address string) {
	n.t.Helper()
	s := n.nodes[node]
	n.must(n.fabric.Port(s, iface, nil))
	n.must(s.Up(iface))
	n.must(n.fabric.Plug(s, iface, bridge))
	// The kernel takes its time over the news of a carrier.
	await(n.t, node+"."+iface+" is up", func() bool {
		l := n.link(node, iface)
		addresses, err := s.Handle.AddrList(l, netlink.FAMILY_V6)
		return err == nil && len(addresses) > 0 && l.Attrs().OperState == netlink.OperUp
	})
	if address != "" {
		n.must(s.AddAddress(iface, netip.MustParsePrefix(address)))
	}
}

// router makes a kernel router whose interfaces are named after their bridges.
func (n *network) router(name string, interfaces, routes map[string]string) {
	n.t.Helper()
	s := n.node(name)
	n.must(s.Sysctl("net.ipv6.conf.all.forwarding", "1"))
	// Tests provoke more errors than a router sends by default.
	n.must(s.Sysctl("net.ipv6.icmp.ratelimit", "0"))
	for bridge, address := range interfaces {
		n.plug(name, bridge, bridge, address)
	}
	for to, via := range routes {
		n.must(s.AddRoute(netip.MustParsePrefix(to), netip.MustParseAddr(via)))
	}
}

// host makes a node with the interface eth0.
func (n *network) host(name, bridge, address, gateway string) *space.Namespace {
	n.t.Helper()
	s := n.node(name)
	n.plug(name, "eth0", bridge, address)
	if gateway != "" {
		n.must(s.AddRoute(netip.MustParsePrefix("::/0"), netip.MustParseAddr(gateway)))
	}
	return s
}

// move plugs a node's eth0 into another bridge.
func (n *network) move(node, bridge string) {
	n.t.Helper()
	n.must(n.fabric.Unplug(n.nodes[node], "eth0"))
	n.must(n.fabric.Plug(n.nodes[node], "eth0", bridge))
}

// advertise sends router advertisements until the test ends.
func (n *network) advertise(node, iface string, prefix netip.Prefix) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	s := n.nodes[node]
	r := advertise.Router{
		Policy: advertise.Fast, Prefixes: []netip.Prefix{prefix},
		RouterLifetime: 30 * time.Minute, Valid: 24 * time.Hour, Preferred: 4 * time.Hour,
	}
	running.Go(func() {
		for ctx.Err() == nil {
			// The interface's link-local address takes a moment.
			if err := advertise.Run(ctx, s, iface, r, rand.Uint64()); err != nil {
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
	n.t.Cleanup(func() { stop(); running.Wait() })
}

// setMTU sets the MTU of interfaces, given as node.interface.
func (n *network) setMTU(mtu int, node, iface string) {
	n.t.Helper()
	l, err := n.nodes[node].Handle.LinkByName(iface)
	n.must(err)
	n.must(n.nodes[node].Handle.LinkSetMTU(l, mtu))
}

// link looks at an interface.
func (n *network) link(node, iface string) netlink.Link {
	n.t.Helper()
	l, err := n.nodes[node].Handle.LinkByName(iface)
	n.must(err)
	return l
}

// write makes a file in the network's directory and returns its path.
func (n *network) write(name, text string) string {
	n.t.Helper()
	path := filepath.Join(n.directory, name)
	n.must(os.MkdirAll(filepath.Dir(path), 0o755))
	n.must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// await waits for a condition and fails the test if it does not come about. It asks every 20 ms.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	begin := time.Now()
	for end := begin.Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if condition() {
			if took := time.Since(begin); took > 2*time.Second {
				t.Logf("%v: %s", took, what)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
