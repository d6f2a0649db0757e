package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// slow is a classifier as its definition says: one rule after the other.
func slow(rules []Rule, fallback Rule, p *Packet) Result {
	result := Result{Rule: Fallback, Profile: fallback.Profile}
	for i := range rules {
		r := &rules[i]
		if !r.satisfiedBut(p) {
			continue
		}
		switch {
		case len(r.Users) == 0:
			return Result{i, r.Profile, result.NeedsUser}
		case !p.UserKnown:
			result.NeedsUser = true
		case slices.ContainsFunc(r.Users, func(u UserRange) bool { return u.First <= p.User && p.User <= u.Last }):
			return Result{i, r.Profile, false}
		}
	}
	return result
}

// satisfiedBut reports whether p satisfies all conditions but the one on its user.
func (r *Rule) satisfiedBut(p *Packet) bool {
	within := func(list []netip.Prefix, a netip.Addr) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	among := func(list []PortRange, v uint16) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(r PortRange) bool { return r.First <= v && v <= r.Last })
	}
	one := func(list []uint8, v uint8) bool { return len(list) == 0 || slices.Contains(list, v) }
	return within(r.Destinations, p.Destination) && within(r.Sources, p.Source) && one(r.Protocols, p.Protocol) &&
		among(r.DestinationPorts, p.DestinationPort) && among(r.SourcePorts, p.SourcePort) && one(r.DSCPs, p.DSCP)
}

// maker makes random rules and packets whose values come from small sets, so that they meet often.
type maker struct {
	r       *rand.Rand
	sparing int // one of how many rules has each condition
}

func (m maker) address() netip.Addr {
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	a[5], a[7], a[15] = byte(m.r.IntN(4)), byte(m.r.IntN(3)), byte(m.r.IntN(3))
	if m.r.IntN(20) == 0 {
		a[0] = byte(m.r.Uint32())
	}
	return netip.AddrFrom16(a)
}

func (m maker) prefixes() (list []netip.Prefix) {
	for range m.some() {
		bits := [...]int{0, 1, 3, 32, 48, 47, 64, 63, 127, 128, 128}[m.r.IntN(11)]
		if bits < 32 && m.r.IntN(4) > 0 {
			bits = 56
		}
		list = append(list, netip.PrefixFrom(m.address(), bits))
	}
	return list
}

// some is how many values a condition has: mostly none.
func (m maker) some() int {
	if m.r.IntN(m.sparing) > 0 {
		return 0
	}
	return 1 + m.r.IntN(3)
}

func (m maker) port() uint16 {
	return [...]uint16{0, 1, 80, 255, 256, 257, 443, 8080, 65534, 65535}[m.r.IntN(10)]
}

func (m maker) ports() (list []PortRange) {
	for range m.some() {
		a, b := m.port(), m.port()
		list = append(list, PortRange{min(a, b), max(a, b)})
	}
	return list
}

func (m maker) user() uint32 {
	return [...]uint32{0, 1, 999, 1000, 1001, 65535, 1<<32 - 2, 1<<32 - 1}[m.r.IntN(8)]
}

func (m maker) protocol() uint8 { return [...]uint8{0, 6, 17, 58, 132, 255}[m.r.IntN(6)] }
func (m maker) dscp() uint8     { return [...]uint8{0, 8, 46, 63}[m.r.IntN(4)] }

func (m maker) rules(n int) []Rule {
	rules := make([]Rule, n)
	for i := range rules {
		r := &rules[i]
		r.Name, r.Profile = fmt.Sprint("rule ", i), m.r.IntN(9)
		r.Destinations, r.Sources = m.prefixes(), m.prefixes()
		r.DestinationPorts, r.SourcePorts = m.ports(), m.ports()
		for range m.some() {
			r.Protocols = append(r.Protocols, m.protocol())
		}
		for range m.some() {
			r.DSCPs = append(r.DSCPs, m.dscp())
		}
		for range m.some() {
			a, b := m.user(), m.user()
			r.Users = append(r.Users, UserRange{min(a, b), max(a, b)})
		}
	}
	return rules
}

func (m maker) packet() Packet {
	return Packet{
		Source: m.address(), Destination: m.address(), Protocol: m.protocol(), SourcePort: m.port(),
		DestinationPort: m.port(), DSCP: m.dscp(), User: m.user(), UserKnown: m.r.IntN(2) == 0,
	}
}

var fallback = Rule{Name: "fallback", Profile: 99}

func compile(t testing.TB, rules []Rule) *Classifier {
	t.Helper()
	c, err := Compile(rules, fallback)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOracle(t *testing.T) {
	hits, fallbacks, needs := 0, 0, 0
	for _, size := range []struct{ rules, policies int }{{0, 1}, {1, 40}, {5, 60}, {63, 4}, {64, 4}, {65, 4}, {300, 2}} {
		for i := range size.policies {
			m := maker{rand.New(rand.NewPCG(uint64(size.rules), uint64(i))), 1 + i%4}
			if size.rules > 64 {
				m.sparing = 1
			}
			rules := m.rules(size.rules)
			c := compile(t, rules)
			for range 300 {
				p := m.packet()
				want, got := slow(rules, fallback, &p), c.Classify(&p)
				if got != want {
					t.Fatalf("%d rules, policy %d, packet %+v: %+v, want %+v", size.rules, i, p, got, want)
				}
				switch {
				case got.Rule == Fallback:
					fallbacks++
				case got.NeedsUser:
					needs++
				default:
					hits++
				}
			}
		}
	}
	if min(hits, fallbacks, needs) < 1000 {
		t.Errorf("the oracle was asked too little: %d hits, %d fallbacks, %d without user", hits, fallbacks, needs)
	}
}

// TestManyRules: rules beyond the first 4096 are found as the others are, and none but them.
func TestManyRules(t *testing.T) {
	rules := make([]Rule, 9000)
	for i := range rules {
		rules[i] = Rule{DestinationPorts: []PortRange{{uint16(i % 8192), uint16(i % 8192)}}, Profile: i}
		if i%3 == 0 || i < 1000 {
			rules[i].Users = []UserRange{{1000, 1000}}
		}
	}
	c := compile(t, rules)
	for port := range 9000 {
		for _, p := range []Packet{{}, {User: 1000, UserKnown: true}, {User: 1001, UserKnown: true}} {
			p.DestinationPort = uint16(port)
			want := Result{Rule: Fallback, Profile: fallback.Profile}
			for i := port; i < len(rules) && port < 8192; i += 8192 {
				if len(rules[i].Users) == 0 || p.User == 1000 {
					want.Rule, want.Profile = i, i
					break
				}
				want.NeedsUser = want.NeedsUser || !p.UserKnown
			}
			if got := c.Classify(&p); got != want {
				t.Fatalf("%+v: %+v, want %+v", p, got, want)
			}
		}
	}
}

// TestDegenerate: policies at the ends of what can be said.
func TestDegenerate(t *testing.T) {
	all, host := netip.MustParsePrefix("::/0"), netip.MustParsePrefix("2001:db8::1/128")
	at, beside := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	alice := []UserRange{{1000, 1000}}
	for _, test := range []struct {
		name   string
		rules  []Rule
		packet Packet
		want   Result
	}{
		{"no rules", nil, Packet{Destination: at}, Result{Rule: Fallback, Profile: 99}},
		{"everything", []Rule{{Profile: 1}, {Profile: 2}}, Packet{Destination: at}, Result{Rule: 0, Profile: 1}},
		{"nothing", []Rule{{DSCPs: []uint8{63}}}, Packet{Destination: at}, Result{Rule: Fallback, Profile: 99}},
		{"whole space", []Rule{{Destinations: []netip.Prefix{all}, Profile: 3}}, Packet{Destination: at}, Result{Rule: 0, Profile: 3}},
		{"whole space and no address", []Rule{{Destinations: []netip.Prefix{all}}}, Packet{}, Result{Rule: Fallback, Profile: 99}},
		{"one address", []Rule{{Destinations: []netip.Prefix{host}, Profile: 4}}, Packet{Destination: at}, Result{Rule: 0, Profile: 4}},
		{"beside one address", []Rule{{Destinations: []netip.Prefix{host}}}, Packet{Destination: beside}, Result{Rule: Fallback, Profile: 99}},
		{"the wider rule first", []Rule{{Destinations: []netip.Prefix{all}, Profile: 5}, {Destinations: []netip.Prefix{host}}}, Packet{Destination: at}, Result{Rule: 0, Profile: 5}},
		{"bits behind the prefix", []Rule{{Destinations: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")}, Profile: 6}}, Packet{Destination: beside}, Result{Rule: 0, Profile: 6}},
		{"all ports", []Rule{{DestinationPorts: []PortRange{{0, 65535}}, Profile: 7}}, Packet{}, Result{Rule: 0, Profile: 7}},
		{"last port", []Rule{{SourcePorts: []PortRange{{65535, 65535}}, Profile: 7}}, Packet{SourcePort: 65535}, Result{Rule: 0, Profile: 7}},
		{"ranges that touch", []Rule{{SourcePorts: []PortRange{{1, 4}, {5, 9}}, Profile: 7}}, Packet{SourcePort: 5}, Result{Rule: 0, Profile: 7}},
		{"another user", []Rule{{Users: alice}}, Packet{User: 1001, UserKnown: true}, Result{Rule: Fallback, Profile: 99}},
		{"last user", []Rule{{Users: []UserRange{{0, 1<<32 - 1}}, Profile: 8}}, Packet{User: 1<<32 - 1, UserKnown: true}, Result{Rule: 0, Profile: 8}},
		{"unknown user", []Rule{{Users: alice}, {Profile: 8}}, Packet{}, Result{Rule: 1, Profile: 8, NeedsUser: true}},
		{"unknown user and nothing else", []Rule{{Users: alice}}, Packet{}, Result{Rule: Fallback, Profile: 99, NeedsUser: true}},
		{"unknown user that does not matter", []Rule{{Users: alice, Protocols: []uint8{6}}, {Profile: 8}, {Users: alice}}, Packet{}, Result{Rule: 1, Profile: 8}},
		{"DSCP of more than 6 bits", []Rule{{DSCPs: []uint8{0}}}, Packet{DSCP: 255}, Result{Rule: Fallback, Profile: 99}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := compile(t, test.rules).Classify(&test.packet); got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

func TestName(t *testing.T) {
	c := compile(t, []Rule{{Name: "all"}})
	if c.Name(0) != "all" || c.Name(Fallback) != "fallback" {
		t.Errorf("%q, %q", c.Name(0), c.Name(Fallback))
	}
}

// TestIndependent: what the caller does with its rules afterwards is no part of the policy.
func TestIndependent(t *testing.T) {
	rules := []Rule{{Name: "tcp", Protocols: []uint8{6}, Profile: 1}}
	c := compile(t, rules)
	rules[0] = Rule{Name: "changed", Profile: 2}
	if got := c.Classify(&Packet{Protocol: 6}); got != (Result{Rule: 0, Profile: 1}) || c.Name(0) != "tcp" {
		t.Errorf("%+v of %q", got, c.Name(0))
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct {
		rule Rule
		want string
	}{
		{Rule{Destinations: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, "destination 192.0.2.0/24 is no IPv6 prefix"},
		{Rule{Sources: []netip.Prefix{{}}}, "source invalid Prefix is no IPv6 prefix"},
		{Rule{DestinationPorts: []PortRange{{2, 1}}}, "destination ports from 2 to 1"},
		{Rule{SourcePorts: []PortRange{{2, 1}}}, "source ports from 2 to 1"},
		{Rule{DSCPs: []uint8{64}}, "DSCP 64 is above 63"},
		{Rule{Users: []UserRange{{2, 1}}}, "users from 2 to 1"},
		{Rule{Profile: -1}, "profile -1 is below 0"},
	} {
		test.rule.Name = "wrong"
		_, err := Compile([]Rule{{}, test.rule}, fallback)
		if want := `rule 1 ("wrong"): ` + test.want; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := Compile(nil, Rule{Protocols: []uint8{6}}); err == nil || !strings.Contains(err.Error(), "conditions") {
		t.Errorf("a fallback with conditions: %v", err)
	}
	if _, err := Compile(nil, Rule{Profile: -1}); err == nil {
		t.Error("a fallback with profile -1")
	}
	if _, err := Compile(make([]Rule, maxRules+1), fallback); err == nil {
		t.Error("too many rules")
	}
}

func TestDoesNotAllocate(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(1, 1)), 1}
	c := compile(t, m.rules(1000))
	p := m.packet()
	if got := testing.AllocsPerRun(100, func() { c.Classify(&p) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// FuzzClassify makes a policy and a packet of arbitrary octets and asks the oracle too.
func FuzzClassify(f *testing.F) {
	for i := range 10 {
		f.Add([]byte(strings.Repeat(string(rune('0'+i)), 10*i)))
	}
	f.Add([]byte("\x01\x20\x01\x80\x02\x30\x00\x03\x06\x04\x10\x20\x05\x30\x40\x06\x2e\x07\x10\x20\x00\x01\x20\x01\x80"))
	f.Fuzz(func(t *testing.T, b []byte) {
		octet := func() uint8 {
			if len(b) == 0 {
				return 0
			}
			v := b[0]
			b = b[1:]
			return v
		}
		address := func() netip.Addr { return netip.AddrFrom16([16]byte{octet(), octet(), 15: octet()}) }
		p := Packet{
			Source: address(), Destination: address(), Protocol: octet(), SourcePort: uint16(octet()) << 4,
			DestinationPort: uint16(octet()) << 4, DSCP: octet() & 63, User: uint32(octet()) << 24, UserKnown: octet()&1 == 1,
		}
		var rules []Rule
		for len(b) > 0 && len(rules) < 200 {
			r := Rule{Profile: len(rules)}
			for more := true; more && len(b) > 0; {
				switch octet() % 9 {
				case 1:
					r.Destinations = append(r.Destinations, netip.PrefixFrom(address(), int(octet())%129))
				case 2:
					r.Sources = append(r.Sources, netip.PrefixFrom(address(), int(octet())%129))
				case 3:
					r.Protocols = append(r.Protocols, octet())
				case 4:
					r.DestinationPorts = append(r.DestinationPorts, PortRange{uint16(octet()) << 4, uint16(octet())<<4 | 15})
				case 5:
					r.SourcePorts = append(r.SourcePorts, PortRange{uint16(octet()) << 4, uint16(octet())<<4 | 15})
				case 6:
					r.DSCPs = append(r.DSCPs, octet())
				case 7:
					r.Users = append(r.Users, UserRange{uint32(octet()) << 24, uint32(octet())<<24 | 1<<24 - 1})
				default:
					more = false
				}
			}
			rules = append(rules, r)
		}
		c, err := Compile(rules, fallback)
		if err != nil {
			return
		}
		if got, want := c.Classify(&p), slow(rules, fallback, &p); got != want {
			t.Fatalf("%+v, want %+v: %+v in %+v", got, want, p, rules)
		}
	})
}
