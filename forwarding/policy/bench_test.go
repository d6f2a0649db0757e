package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// operator makes a policy as an operator may: destination prefixes, services and both, with some users and code points.
func operator(n int) []Rule {
	r := rand.New(rand.NewPCG(7, 7))
	rules := make([]Rule, n)
	for i := range rules {
		rule := &rules[i]
		rule.Profile = i % 8
		if kind := i % 4; kind != 1 {
			a := [16]byte{0x20, 0x01, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}
			rule.Destinations = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom16(a), 32+16*r.IntN(2))}
			if kind == 0 {
				rule.Protocols = []uint8{[]uint8{6, 17}[r.IntN(2)]}
			}
		}
		if i%4 < 2 {
			port := uint16(r.Uint32())
			rule.Protocols, rule.DestinationPorts = []uint8{6}, []PortRange{{port, port | 3}}
		}
		if i%10 == 3 {
			rule.DSCPs = []uint8{46}
		}
	}
	return rules
}

// BenchmarkClassify asks for packets that a random rule is made for, and, at the worst, for packets that none matches.
func BenchmarkClassify(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		rules := operator(n)
		c, err := Compile(rules, fallback)
		if err != nil {
			b.Fatal(err)
		}
		r := rand.New(rand.NewPCG(8, 8))
		packets := make([]Packet, 1024)
		for i := range packets {
			rule := rules[r.IntN(n)]
			p := &packets[i]
			*p = Packet{
				Source: netip.MustParseAddr("2001:db8::1"), Destination: netip.AddrFrom16([16]byte{0x2a, 1, byte(i), byte(i >> 8)}),
				Protocol: 6, SourcePort: uint16(r.Uint32()), DestinationPort: uint16(r.Uint32()),
			}
			if len(rule.Destinations) > 0 {
				p.Destination = rule.Destinations[0].Addr()
			}
			if len(rule.DestinationPorts) > 0 {
				p.DestinationPort = rule.DestinationPorts[0].First
			}
			if len(rule.Protocols) > 0 {
				p.Protocol = rule.Protocols[0]
			}
			if len(rule.DSCPs) > 0 {
				p.DSCP = rule.DSCPs[0]
			}
		}
		b.Run(fmt.Sprintf("rules=%d/hit", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				c.Classify(&packets[i%len(packets)])
			}
		})
		b.Run(fmt.Sprintf("rules=%d/miss", n), func(b *testing.B) {
			p := Packet{Source: packets[0].Source, Destination: netip.MustParseAddr("2a01::1"), Protocol: 58}
			for b.Loop() {
				if c.Classify(&p).Rule != Fallback {
					b.Fatal("matched")
				}
			}
			b.ReportMetric(float64(16*len(c.sets.groups)+8*len(c.sets.words)), "octets")
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			rules := operator(n)
			for b.Loop() {
				if _, err := Compile(rules, fallback); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
