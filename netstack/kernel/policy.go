package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoSelectors says that the kernel's rules cannot select by protocol, port or user; those before Linux 4.17 silently
// take everything instead.
var ErrNoSelectors = errors.New("the kernel cannot select routes by protocol, port or user")

// maxRules is how many rules of the kernel a PolicyRule may become: each is compared with each new socket.
const maxRules = 256

// PolicyRule is one of the operator's rules about flows that the host's programs begin. The first that takes a packet
// decides about its flow. A rule takes the packets that fit all of its lists; an empty list fits every packet.
//
// Steering makes of it rules of the kernel that hold for new sockets of the host: with preferences 101 to 117, one
// for each run of policy rules that want the same,
//
//	rule add pref 101 iif lo <what it takes> goto 118      of other classes: go on as if there were no policy
//	rule add pref 102 iif lo <what it takes> lookup main   non-persistent
//
// and 120 instead of 118 where Steering has no rule there. If the main table has no route to the destination the search
// goes on, and the packet is tunnelled after all.
type PolicyRule struct {
	// NonPersistent says that the flows are of RFC 8653's non-persistent class; they take the host's own routes and
	// addresses. Otherwise they are of another class, which keeps them from later rules.
	NonPersistent bool
	// Destinations are prefixes. IPv4 ones fit no packet, since only IPv6 is steered.
	Destinations []netip.Prefix
	// Protocols are those of the upper layer.
	Protocols []uint8
	// SourcePorts and DestinationPorts are TCP's and UDP's: a rule that has any takes no packet of other protocols.
	SourcePorts, DestinationPorts []Ports
	// Users are those whose sockets send.
	Users []Users
	// DSCPs are values of the differentiated services field (RFC 2474), 0 to 63.
	DSCPs []uint8
	// Wider says that the lists fit packets which the rule does not take, since it has conditions that no list has.
	Wider bool
}

// Unexpressed is a non-persistent PolicyRule that the kernel's rules do not carry out. Its flows take the home address.
type Unexpressed struct {
	// Rule is its index in Steering.Policy.
	Rule int
	// Reason is for people.
	Reason string
}

// Unexpressed tells which rules of the policy Apply leaves out, either since the kernel has no such rules, or since one
// before them that takes some of the same packets for another class had to be left out.
func (s Steering) Unexpressed() []Unexpressed {
	_, left := s.express()
	return left
}

// express makes rules of the policy.
func (s Steering) express() (rules []Rule, left []Unexpressed) {
	if len(s.Destinations) == 0 {
		return nil, nil
	}
	onward := destinationPriority
	if slices.ContainsFunc(s.Destinations, takesAll) {
		onward = onLinkPriority
	}
	type obstacle struct {
		index int
		rule  PolicyRule
	}
	var obstacles []obstacle // of other classes, and not or not wholly expressed
	priority := firstPolicyPriority - 1
	runs := -1 // what the rules of the present run want: -1 none yet, 0 onward, 1 main
	for i, p := range s.Policy {
		made, rest, err := p.express()
		if err == nil && p.NonPersistent {
			for _, o := range obstacles {
				if p.overlaps(o.rule) {
					err = fmt.Errorf("rule %d before it takes some of the same packets and cannot be a rule of the kernel", o.index)
					break
				}
			}
		}
		want := 0
		if p.NonPersistent {
			want = 1
		}
		if err == nil && want != runs && priority == lastPolicyPriority {
			err = fmt.Errorf("too many alternations before it: preferences end at %d", lastPolicyPriority)
			made = nil
		}
		if err != nil {
			if p.NonPersistent {
				left = append(left, Unexpressed{Rule: i, Reason: err.Error()})
			} else {
				obstacles = append(obstacles, obstacle{i, p})
			}
			continue
		}
		if !p.NonPersistent && rest != nil {
			obstacles = append(obstacles, obstacle{i, *rest})
		}
		if len(made) == 0 {
			continue
		}
		if want != runs {
			runs = want
			priority++
		}
		for _, r := range made {
			r.Priority, r.Interface = priority, "lo"
			if p.NonPersistent {
				r.Table = mainTable
			} else {
				r.Goto = onward
			}
			if !slices.ContainsFunc(rules, r.same) {
				rules = append(rules, r)
			}
		}
	}
	for len(rules) > 0 && rules[len(rules)-1].Goto != 0 {
		rules = rules[:len(rules)-1] // nothing comes after it that it keeps packets from
	}
	// The kernel deletes the first rule that has all that it is told, and maybe more. Undone newest first, those with
	// most conditions must be the newest of their preference.
	slices.SortStableFunc(rules, func(a, b Rule) int {
		if a.Priority != b.Priority {
			return a.Priority - b.Priority
		}
		return a.conditions() - b.conditions()
	})
	return rules, left
}

// express makes rules of the kernel, less preference and action, that together take what p takes. They are fewer where p
// takes nothing; rest is what they miss, nil for nothing.
func (p PolicyRule) express() (rules []Rule, rest *PolicyRule, err error) {
	switch {
	case p.Wider:
		return nil, nil, errors.New("it has conditions that rules of the kernel do not")
	case len(p.DSCPs) > 0 && !p.NonPersistent, len(p.SourcePorts) > 0 && !p.NonPersistent:
		// The kernel chooses the route before a program has got its port, and some before they look at its field.
		return nil, nil, errors.New("a socket gets its source port and differentiated services field too late")
	case slices.Contains(p.DSCPs, 0):
		return nil, nil, errors.New("rules of the kernel cannot ask for DSCP 0")
	}
	protocols := p.Protocols
	if len(p.SourcePorts)+len(p.DestinationPorts) > 0 {
		protocols = []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP}
		if len(p.Protocols) > 0 {
			protocols = slices.DeleteFunc(protocols, func(n uint8) bool { return !slices.Contains(p.Protocols, n) })
		}
		if len(protocols) == 0 {
			return nil, nil, nil
		}
	}
	var destinations []netip.Prefix
	for _, d := range p.Destinations {
		if d.Addr().Is6() && !d.Addr().Is4In6() {
			destinations = append(destinations, d.Masked())
		}
	}
	if len(p.Destinations) > 0 && len(destinations) == 0 {
		return nil, nil, nil
	}
	source, _, err := expressPorts(p.SourcePorts)
	if err != nil {
		return nil, nil, err
	}
	destination, cut, err := expressPorts(p.DestinationPorts)
	if err != nil {
		return nil, nil, err
	}
	if cut {
		missed := p
		missed.DestinationPorts = []Ports{{lastPort, lastPort}}
		rest = &missed
	}
	rules = []Rule{{}}
	rules = product(rules, destinations, func(r *Rule, d netip.Prefix) {
		if d.Bits() > 0 {
			r.To = d
		}
	})
	rules = product(rules, protocols, func(r *Rule, n uint8) { r.Protocol = n })
	rules = product(rules, source, func(r *Rule, ports Ports) { r.SourcePorts = ports })
	rules = product(rules, destination, func(r *Rule, ports Ports) { r.DestinationPorts = ports })
	rules = product(rules, p.Users, func(r *Rule, u Users) {
		// The last is nobody's, and the kernel refuses it.
		r.Users = &Users{First: u.First, Last: min(u.Last, 1<<32-2)}
	})
	rules = product(rules, p.DSCPs, func(r *Rule, value uint8) { r.DSCP = value })
	if len(rules) > maxRules {
		return nil, nil, fmt.Errorf("it would be %d rules of the kernel, more than %d", len(rules), maxRules)
	}
	for _, r := range rules {
		if r.DSCP > 63 || r.Users != nil && r.Users.First > r.Users.Last {
			return nil, nil, errors.New("DSCP or users out of range")
		}
	}
	return rules, rest, nil
}

// product copies each rule for each value, and lets set put the value in.
func product[T any](rules []Rule, values []T, set func(*Rule, T)) []Rule {
	if len(values) == 0 || len(rules) > maxRules {
		return rules
	}
	var all []Rule
	for _, r := range rules {
		for _, v := range values {
			restricted := r
			set(&restricted, v)
			all = append(all, restricted)
		}
	}
	return all
}

const lastPort = 1<<16 - 1

// expressPorts makes ranges that a kernel takes: it has neither port 0, which no packet has, nor 65535. It reports
// whether that one was cut off. Nil stands for all ports.
func expressPorts(all []Ports) (ranges []Ports, cut bool, err error) {
	for _, p := range all {
		p.First = max(p.First, 1)
		if p.First > p.Last {
			return nil, false, fmt.Errorf("no ports from %d to %d", p.First, p.Last)
		}
		if p == (Ports{1, lastPort}) {
			return []Ports{{}}, false, nil
		}
		if p.Last == lastPort {
			cut = true
			p.Last--
		}
		if p.First <= p.Last {
			ranges = append(ranges, p)
		}
	}
	if cut && len(ranges) == 0 {
		return nil, false, fmt.Errorf("rules of the kernel cannot ask for port %d", lastPort)
	}
	return ranges, cut, nil
}

// overlaps reports whether a packet may fit the lists of both.
func (p PolicyRule) overlaps(q PolicyRule) bool {
	equal := func(a, b uint8) bool { return a == b }
	ports := func(a, b Ports) bool { return a.First <= b.Last && b.First <= a.Last }
	return meet(p.Destinations, q.Destinations, netip.Prefix.Overlaps) &&
		meet(p.Protocols, q.Protocols, equal) &&
		meet(p.SourcePorts, q.SourcePorts, ports) &&
		meet(p.DestinationPorts, q.DestinationPorts, ports) &&
		meet(p.Users, q.Users, func(a, b Users) bool { return a.First <= b.Last && b.First <= a.Last }) &&
		meet(p.DSCPs, q.DSCPs, equal)
}

func meet[T any](a, b []T, overlap func(T, T) bool) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	for _, x := range a {
		if slices.ContainsFunc(b, func(y T) bool { return overlap(x, y) }) {
			return true
		}
	}
	return false
}

// conditions is how many of a rule's conditions restrict it.
func (r Rule) conditions() int {
	n := 0
	for _, set := range []bool{r.From.IsValid(), r.To.IsValid(), r.Interface != "", r.Protocol != 0, r.SourcePorts != Ports{},
		r.DestinationPorts != Ports{}, r.Users != nil, r.DSCP != 0} {
		if set {
			n++
		}
	}
	return n
}

// same reports whether the kernel would call both one rule.
func (r Rule) same(other Rule) bool {
	if (r.Users == nil) != (other.Users == nil) || r.Users != nil && *r.Users != *other.Users {
		return false
	}
	r.Users, other.Users = nil, nil
	return r == other
}

// supportsSelectors asks the kernel to delete a rule that there is not and whose ports are none. It returns
// ErrNoSelectors if the kernel looks for the rule before it finds fault with the ports.
func supportsSelectors() error {
	probe := netlink.NewRule()
	probe.Family = netlink.FAMILY_V6
	probe.Priority = 1<<31 - 1
	probe.Table = DefaultTable
	probe.Protocol = Protocol
	probe.Dport = netlink.NewRulePortRange(2, 1)
	return verdict(netlink.RuleDel(probe))
}

func verdict(refusal error) error {
	switch {
	case errors.Is(refusal, unix.EINVAL):
		return nil
	case refusal == nil, errors.Is(refusal, unix.ENOENT), errors.Is(refusal, unix.EAFNOSUPPORT), errors.Is(refusal, unix.EOPNOTSUPP):
		return ErrNoSelectors
	}
	return fmt.Errorf("whether the kernel can select routes by port: %w", refusal)
}
