package kernel

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mainTable is the routing table that the host's own routes are in.
const mainTable = unix.RT_TABLE_MAIN

// SetAddress gives the interface an IPv6 address with prefix length 128, usable at once (no duplicate address detection)
// and without a route for its prefix. If the interface has the address already nothing is changed and the Change is nil.
// It fails with an *IPv6DisabledError where IPv6 is disabled.
func (j *Journal) SetAddress(link string, address netip.Addr) (*Change, error) {
	return j.setAddress(addressChange{Interface: link, Address: address})
}

// SetSourceAddress is SetAddress for an address that the kernel takes as a source only where a route names it, or a
// program binds it: it is deprecated (RFC 6724 section 5 rule 3).
func (j *Journal) SetSourceAddress(link string, address netip.Addr) (*Change, error) {
	return j.setAddress(addressChange{Interface: link, Address: address, Deprecated: true})
}

func (j *Journal) setAddress(c addressChange) (*Change, error) {
	link := c.Interface
	if err := checkIPv6(link); err != nil {
		return nil, err
	}
	device, err := linkByName(link)
	if err != nil {
		return nil, err
	}
	present, err := netlink.AddrList(device, netlink.FAMILY_V6)
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", link, err)
	}
	for _, a := range present {
		if a.IP.Equal(c.Address.AsSlice()) {
			return nil, nil
		}
	}
	return j.do(&c, func() error {
		if err := netlink.AddrAdd(device, c.message()); err != nil {
			return fmt.Errorf("add %s: %w", &c, err)
		}
		return nil
	})
}

type addressChange struct {
	Interface string     `json:"interface"`
	Address   netip.Addr `json:"address"`
	// Deprecated makes the preferred lifetime 0.
	Deprecated bool `json:"deprecated,omitempty"`
}

func (c *addressChange) message() *netlink.Addr {
	m := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(c.Address, 128)), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}
	if c.Deprecated {
		m.ValidLft = math.MaxInt32 // 68 years: infinity is too long for an int of 32 bits
	}
	return m
}

func (c *addressChange) undo() error {
	device, err := linkByName(c.Interface)
	if errors.Is(err, ErrNoLink) {
		return nil
	}
	if err != nil {
		return err
	}
	return tolerate(netlink.AddrDel(device, c.message()), unix.EADDRNOTAVAIL, unix.ENODEV)
}

func (c *addressChange) String() string {
	return fmt.Sprintf("address %s on %s", c.Address, c.Interface)
}

// SetLinkUp sets the interface up. If it is up already nothing is changed and the Change is nil.
func (j *Journal) SetLinkUp(link string) (*Change, error) {
	device, err := linkByName(link)
	if err != nil {
		return nil, err
	}
	if device.Attrs().Flags&net.FlagUp != 0 {
		return nil, nil
	}
	return j.do(&linkChange{Interface: link, Up: true}, func() error {
		if err := netlink.LinkSetUp(device); err != nil {
			return fmt.Errorf("set %s up: %w", link, err)
		}
		return nil
	})
}

// SetMTU sets the interface's MTU in octets. If it is that already nothing is changed and the Change is nil. Undoing
// sets the original one again unless somebody else has set a third one.
func (j *Journal) SetMTU(link string, mtu int) (*Change, error) {
	device, err := linkByName(link)
	if err != nil {
		return nil, err
	}
	original := device.Attrs().MTU
	if original == mtu {
		return nil, nil
	}
	return j.do(&linkChange{Interface: link, MTU: mtu, OriginalMTU: original}, func() error {
		if err := netlink.LinkSetMTU(device, mtu); err != nil {
			return fmt.Errorf("set MTU of %s to %d: %w", link, mtu, err)
		}
		return nil
	})
}

type linkChange struct {
	Interface   string `json:"interface"`
	Up          bool   `json:"up,omitempty"`
	MTU         int    `json:"mtu,omitempty"`
	OriginalMTU int    `json:"original_mtu,omitempty"`
}

func (c *linkChange) undo() error {
	device, err := linkByName(c.Interface)
	if errors.Is(err, ErrNoLink) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.Up {
		return tolerate(netlink.LinkSetDown(device), unix.ENODEV)
	}
	if device.Attrs().MTU != c.MTU {
		return nil
	}
	return tolerate(netlink.LinkSetMTU(device, c.OriginalMTU), unix.ENODEV)
}

func (c *linkChange) String() string {
	if c.Up {
		return fmt.Sprintf("interface %s up", c.Interface)
	}
	return fmt.Sprintf("MTU %d of %s, was %d", c.MTU, c.Interface, c.OriginalMTU)
}

// AddRoute adds a route marked with Protocol. It fails with ErrExists if the table has an equal one.
func (j *Journal) AddRoute(r Route) (*Change, error) {
	c := &routeChange{r}
	message, err := c.message()
	if err != nil {
		return nil, err
	}
	return j.do(c, func() error { return added(netlink.RouteAdd(message), c) })
}

// AddBlackhole makes the host's kernel drop what it would forward to the address, silently. It is needed for each address
// that kedge has beside the kernel on one of the host's interfaces: the kernel sees the packets too, and one that
// forwards would send them back out and the sender an ICMPv6 redirect. Programs of the host cannot reach the address.
func (j *Journal) AddBlackhole(address netip.Addr) (*Change, error) {
	return j.AddRoute(Route{Table: mainTable, Prefix: netip.PrefixFrom(address, address.BitLen())})
}

type routeChange struct{ Route }

func (c *routeChange) message() (*netlink.Route, error) {
	if !c.Prefix.IsValid() || !c.Prefix.Addr().Is6() {
		return nil, fmt.Errorf("%s: not an IPv6 prefix", c)
	}
	m := &netlink.Route{
		Family:   netlink.FAMILY_V6,
		Dst:      ipNet(c.Prefix.Masked()),
		Table:    int(c.Table),
		Protocol: Protocol,
		MTU:      c.MTU,
		Priority: c.Metric,
	}
	if c.Source.IsValid() {
		m.Src = c.Source.AsSlice()
	}
	if c.Interface == "" {
		m.Type = unix.RTN_BLACKHOLE
		return m, nil
	}
	device, err := linkByName(c.Interface)
	if err != nil {
		return nil, err
	}
	m.LinkIndex = device.Attrs().Index
	if c.Gateway.IsValid() {
		// RTNH_F_ONLINK would not do instead of a route to it: the kernel refuses that where the main table leads elsewhere.
		m.Gw = c.Gateway.AsSlice()
	}
	return m, nil
}

func (c *routeChange) undo() error {
	m, err := c.message()
	if errors.Is(err, ErrNoLink) {
		return nil
	}
	if err != nil {
		return err
	}
	return tolerate(netlink.RouteDel(m), unix.ESRCH, unix.ENODEV)
}

func (c *routeChange) String() string {
	if c.Interface == "" {
		return fmt.Sprintf("blackhole route %s in table %d", c.Prefix, c.Table)
	}
	return fmt.Sprintf("route %s by %s in table %d", c.Prefix, c.Interface, c.Table)
}

// AddRule adds a rule marked with Protocol. It fails with ErrExists if there is an equal one.
func (j *Journal) AddRule(r Rule) (*Change, error) {
	c := &ruleChange{r}
	for _, p := range []netip.Prefix{r.From, r.To} {
		if p.IsValid() && !p.Addr().Is6() {
			return nil, fmt.Errorf("%s: %s is no IPv6 prefix", c, p)
		}
	}
	return j.do(c, func() error { return added(netlink.RuleAdd(c.message()), c) })
}

type ruleChange struct{ Rule }

func (c *ruleChange) message() *netlink.Rule {
	m := netlink.NewRule()
	m.Family = netlink.FAMILY_V6
	m.Priority = c.Priority
	m.Table = int(c.Table)
	m.Protocol = Protocol
	m.IifName = c.Interface
	m.IPProto = int(c.Rule.Protocol)
	m.Tos = uint(c.DSCP) << 2
	if c.SourcePorts != (Ports{}) {
		m.Sport = netlink.NewRulePortRange(c.SourcePorts.First, c.SourcePorts.Last)
	}
	if c.DestinationPorts != (Ports{}) {
		m.Dport = netlink.NewRulePortRange(c.DestinationPorts.First, c.DestinationPorts.Last)
	}
	if c.Users != nil {
		m.UIDRange = netlink.NewRuleUIDRange(c.Users.First, c.Users.Last)
	}
	switch {
	case c.Goto != 0:
		m.Goto = c.Goto
	case c.Table == 0:
		m.Type = unix.RTN_BLACKHOLE
	}
	if c.From.IsValid() {
		m.Src = ipNet(c.From.Masked())
	}
	if c.To.IsValid() {
		m.Dst = ipNet(c.To.Masked())
	}
	if c.SuppressDefault {
		m.SuppressPrefixlen = 0
	}
	return m
}

func (c *ruleChange) undo() error {
	return tolerate(netlink.RuleDel(c.message()), unix.ENOENT, unix.ESRCH)
}

func (c *ruleChange) String() string {
	text := fmt.Sprintf("rule %d", c.Priority)
	if c.From.IsValid() {
		text += " from " + c.From.String()
	}
	if c.To.IsValid() {
		text += " to " + c.To.String()
	}
	if c.Interface != "" {
		text += " from interface " + c.Interface
	}
	if c.Rule.Protocol != 0 {
		text += fmt.Sprintf(" protocol %d", c.Rule.Protocol)
	}
	if c.SourcePorts != (Ports{}) {
		text += fmt.Sprintf(" source ports %d-%d", c.SourcePorts.First, c.SourcePorts.Last)
	}
	if c.DestinationPorts != (Ports{}) {
		text += fmt.Sprintf(" destination ports %d-%d", c.DestinationPorts.First, c.DestinationPorts.Last)
	}
	if c.Users != nil {
		text += fmt.Sprintf(" users %d-%d", c.Users.First, c.Users.Last)
	}
	if c.DSCP != 0 {
		text += fmt.Sprintf(" DSCP %d", c.DSCP)
	}
	switch {
	case c.Goto != 0:
		return fmt.Sprintf("%s goto %d", text, c.Goto)
	case c.Table == 0:
		return text + " blackhole"
	}
	return fmt.Sprintf("%s table %d", text, c.Table)
}

func linkByName(name string) (netlink.Link, error) {
	device, err := netlink.LinkByName(name)
	if _, absent := err.(netlink.LinkNotFoundError); absent {
		return nil, fmt.Errorf("%w: %s", ErrNoLink, name)
	}
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return device, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func added(err error, what fmt.Stringer) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s %w", what, ErrExists)
	}
	return fmt.Errorf("add %s: %w", what, err)
}

// tolerate makes nil of the errors that say that there is nothing to undo.
func tolerate(err error, gone ...error) error {
	for _, e := range gone {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}
