package kernel

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// flow is the first packet of a flow, as the oracle and the rules see it.
type flow struct {
	to          netip.Addr
	protocol    uint8
	source      uint16
	destination uint16
	user        uint32
	dscp        uint8
	secret      bool // what no list has
}

func (p PolicyRule) takes(f flow) bool {
	in := func(ports []Ports, port uint16) bool {
		return len(ports) == 0 || (f.protocol == tcp || f.protocol == udp) &&
			slices.ContainsFunc(ports, func(r Ports) bool { return r.First <= port && port <= r.Last })
	}
	return (len(p.Destinations) == 0 || slices.ContainsFunc(p.Destinations, func(d netip.Prefix) bool { return d.Contains(f.to) })) &&
		(len(p.Protocols) == 0 || slices.Contains(p.Protocols, f.protocol)) &&
		in(p.SourcePorts, f.source) && in(p.DestinationPorts, f.destination) &&
		(len(p.Users) == 0 || slices.ContainsFunc(p.Users, func(u Users) bool { return u.First <= f.user && f.user <= u.Last })) &&
		(len(p.DSCPs) == 0 || slices.Contains(p.DSCPs, f.dscp)) &&
		(!p.Wider || f.secret)
}

func (r Rule) takes(f flow) bool {
	in := func(ports Ports, port uint16) bool {
		return ports == Ports{} || ports.First <= port && port <= ports.Last
	}
	return (!r.To.IsValid() || r.To.Contains(f.to)) && (r.Protocol == 0 || r.Protocol == f.protocol) &&
		in(r.SourcePorts, f.source) && in(r.DestinationPorts, f.destination) &&
		(r.Users == nil || r.Users.First <= f.user && f.user <= r.Users.Last) && (r.DSCP == 0 || r.DSCP == f.dscp)
}

// TestPolicyAgainstOracle compares what the kernel's rules decide with the policy read rule by rule. What stays off the
// TUN must be non-persistent, whatever the kernel cannot express; what it can must agree.
func TestPolicyAgainstOracle(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	some := func(n int) bool { return random.IntN(n) == 0 }
	ports := []uint16{0, 1, 53, 80, 81, 443, 65534, 65535}
	port := func() uint16 { return ports[random.IntN(len(ports))] }
	protocols := []uint8{tcp, udp, 58, 132}
	nets := prefixes("::/0", "2001:db8::/32", "2001:db8:5::/48", "2001:db8:5::1/128", "192.0.2.0/24")
	addresses := []netip.Addr{netip.MustParseAddr("2001:db8:5::1"), netip.MustParseAddr("2001:db8:5::2"), netip.MustParseAddr("2001:db8:6::1"), netip.MustParseAddr("fd00::1")}
	list := func(f func()) {
		for some(2) {
			f()
		}
	}
	exact, wide := 0, 0
	for range 3000 {
		var policy []PolicyRule
		for range random.IntN(8) {
			p := PolicyRule{NonPersistent: some(2), Wider: some(12)}
			list(func() { p.Destinations = append(p.Destinations, nets[random.IntN(len(nets))]) })
			list(func() { p.Protocols = append(p.Protocols, protocols[random.IntN(len(protocols))]) })
			list(func() {
				a, b := port(), port()
				p.DestinationPorts = append(p.DestinationPorts, Ports{min(a, b), max(a, b)})
			})
			if some(4) {
				p.SourcePorts = []Ports{{53, 100}}
			}
			if some(3) {
				p.Users = []Users{{1, 2}}
			}
			if some(5) {
				p.DSCPs = []uint8{uint8(random.IntN(3))}
			}
			policy = append(policy, p)
		}
		s := Steering{Destinations: prefixes("::/0"), Policy: policy}
		rules, left := s.express()
		for range 30 {
			f := flow{addresses[random.IntN(len(addresses))], protocols[random.IntN(len(protocols))], max(1, port()), max(1, port()), uint32(random.IntN(4)), uint8(random.IntN(3)), some(2)}
			if f.protocol != tcp && f.protocol != udp {
				f.source, f.destination = 0, 0
			}
			want := false
			if i := slices.IndexFunc(policy, func(p PolicyRule) bool { return p.takes(f) }); i >= 0 {
				want = policy[i].NonPersistent
			}
			seen := f
			if some(2) {
				seen.source = 0 // chosen only after the route
			}
			got := false
			if i := slices.IndexFunc(rules, func(r Rule) bool { return r.takes(seen) }); i >= 0 {
				got = rules[i].Table == mainTable
			}
			if got && !want {
				t.Fatalf("policy %+v\nrules %+v\n%+v stays off the TUN", policy, rules, f)
			}
			if len(left) == 0 && f.destination != lastPort && f.source != lastPort && seen == f {
				if exact++; got != want {
					t.Fatalf("policy %+v\nrules %+v\n%+v: %t, want %t", policy, rules, f, got, want)
				}
			}
			wide++
		}
	}
	if exact < wide/4 {
		t.Errorf("only %d of %d flows were compared exactly", exact, wide)
	}
}
