package kernel

import (
	"errors"
	"net/netip"
	"slices"
)

// DefaultTable is the routing table of Steering where the operator names none.
const DefaultTable = Protocol

// Priorities of the rules of Steering. They lie between the local table (0), which keeps the host's own addresses and
// multicast out of all this, and the main table (32766).
const (
	homePriority        = 100
	firstPolicyPriority = 101
	lastPolicyPriority  = 117
	onLinkPriority      = 118
	ownPriority         = 119
	destinationPriority = 120
)

// linkLocal and multicast destinations belong to an interface, never to a home network.
var (
	linkLocal = netip.MustParsePrefix("fe80::/10")
	multicast = netip.MustParsePrefix("ff00::/8")
	global    = netip.MustParsePrefix("2000::/3")

	uniqueLocal = netip.MustParsePrefix("fc00::/7")
)

// Steering sends what programs of a mobile node's host emit into the TUN device: all that has the home address as its
// source, and what goes to some destinations, whose sockets then choose the home address. In the words of ip(8):
//
//	address add <home>/128 dev <tun> nodad noprefixroute
//	route add default dev <tun> src <home> mtu <mtu> table <table> proto 107
//	rule add pref 100 from <home> lookup <table> proto 107
//	rule add pref 101 to 117 iif lo … lookup main | goto …   (see PolicyRule)
//	rule add pref 118 lookup main suppress_prefixlength 0 proto 107
//	rule add pref 119 iif lo from 2000::/3 lookup main proto 107
//	rule add pref 120 to <destination> lookup <table> proto 107
//
// The rule at 119 lets sockets that have an address of the host's own keep it, and fc00::/7 has one like it: without it their
// packets would go into the TUN, which takes none but the home address's. A socket without an address passes it by.
//
// The rule at 118 is there only if a destination takes in all global addresses: on-link neighbours and whatever else the
// host has a route for, other than a default route, then stay out. Link-local and multicast destinations never match: a
// destination that contains them is split into prefixes that do not.
type Steering struct {
	// TUN is the TUN device, which must be up to carry anything.
	TUN string
	// Home is the home address.
	Home netip.Addr
	// Destinations are IPv6 prefixes; empty leaves the host's own traffic alone.
	Destinations []netip.Prefix
	// Policy is the operator's, in order: new sockets whose packets it declares non-persistent stay off the TUN. Those
	// that are bound to the home address do not.
	Policy []PolicyRule
	// Table is the routing table, used by nobody else; 0 means DefaultTable.
	Table uint32
	// MTU is the longest packet in octets that fits the tunnel, at least 1280; 0 is the device's.
	MTU int
}

// Apply makes the changes, ApplyHome's and then ApplyDestinations'. If one fails those before it are undone.
func (s Steering) Apply(j *Journal) (Changes, error) {
	home, err := s.ApplyHome(j)
	if err != nil {
		return nil, err
	}
	destinations, err := s.ApplyDestinations(j)
	if err != nil {
		return nil, errors.Join(err, home.Undo())
	}
	return append(home, destinations...), nil
}

// ApplyHome steers what has the home address as its source. It fails with an *IPv6DisabledError where IPv6 is disabled on
// the TUN, and with ErrExists where rule or route are there already.
func (s Steering) ApplyHome(j *Journal) (Changes, error) {
	table := tableOr(s.Table)
	everything := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	return inOrder(
		func() (*Change, error) { return j.SetAddress(s.TUN, s.Home) },
		func() (*Change, error) {
			return j.AddRoute(Route{Table: table, Prefix: everything, Interface: s.TUN, Source: s.Home, MTU: s.MTU})
		},
		func() (*Change, error) {
			return j.AddRule(Rule{Priority: homePriority, From: netip.PrefixFrom(s.Home, 128), Table: table})
		},
	)
}

// ApplyDestinations steers what goes to Destinations, less what Policy says; ApplyHome has been applied. It fails with
// ErrExists where a rule is there already, and with ErrNoSelectors where there is a Policy that the kernel is too old for.
// What of the policy it leaves out, Unexpressed tells.
func (s Steering) ApplyDestinations(j *Journal) (Changes, error) {
	rules := s.rules(tableOr(s.Table))
	if slices.ContainsFunc(rules, func(r Rule) bool { return r.Priority <= lastPolicyPriority }) {
		if err := supportsSelectors(); err != nil {
			return nil, err
		}
	}
	var operations []func() (*Change, error)
	for _, r := range rules {
		operations = append(operations, func() (*Change, error) { return j.AddRule(r) })
	}
	return inOrder(operations...)
}

// inOrder carries operations out. If one fails those before it are undone.
func inOrder(operations ...func() (*Change, error)) (changes Changes, err error) {
	for _, operation := range operations {
		c, err := operation()
		if c != nil {
			changes = append(changes, c)
		}
		if err != nil {
			return nil, errors.Join(err, changes.Undo())
		}
	}
	return changes, nil
}

func (s Steering) rules(table uint32) []Rule {
	var rules []Rule
	if slices.ContainsFunc(s.Destinations, takesAll) {
		rules = append(rules, Rule{Priority: onLinkPriority, Table: mainTable, SuppressDefault: true})
	}
	var destinations []netip.Prefix
	for _, d := range s.Destinations {
		destinations = append(destinations, without(d.Masked(), linkLocal, multicast)...)
	}
	slices.SortFunc(destinations, netip.Prefix.Compare)
	destinations = slices.Compact(destinations)
	if len(destinations) > 0 {
		for _, own := range []netip.Prefix{global, uniqueLocal} {
			rules = append(rules, Rule{Priority: ownPriority, Interface: "lo", From: own, Table: mainTable})
		}
	}
	for _, d := range destinations {
		rules = append(rules, Rule{Priority: destinationPriority, To: d, Table: table})
	}
	// These come last and go first, so that what they go on with is there.
	policy, _ := s.express()
	return append(rules, policy...)
}

// takesAll reports whether the prefix contains all global unicast addresses (2000::/3).
func takesAll(p netip.Prefix) bool {
	return p.Bits() <= global.Bits() && p.Contains(global.Addr())
}

// without returns the fewest prefixes that together are p less the excluded ones.
func without(p netip.Prefix, excluded ...netip.Prefix) []netip.Prefix {
	overlaps := false
	for _, e := range excluded {
		if e.Bits() <= p.Bits() && e.Contains(p.Addr()) {
			return nil
		}
		overlaps = overlaps || p.Overlaps(e)
	}
	if !overlaps {
		return []netip.Prefix{p}
	}
	half := p.Addr().As16()
	half[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	lower := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	upper := netip.PrefixFrom(netip.AddrFrom16(half), p.Bits()+1)
	return append(without(lower, excluded...), without(upper, excluded...)...)
}

// Changes are changes that belong together.
type Changes []*Change

// Undo undoes them, newest first, and goes on after an error.
func (c Changes) Undo() error {
	var failures []error
	for _, change := range slices.Backward(c) {
		failures = append(failures, change.Undo())
	}
	return errors.Join(failures...)
}
