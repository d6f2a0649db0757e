package translate

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

func errorAbout(t testing.TB, from, to netip.Addr, invoking []byte) (*packet.Packet, *ip6.Header) {
	t.Helper()
	return anError(t, icmp.Error{Type: icmp.PacketTooBig, Parameter: 1280, Source: from, Destination: to, Invoking: invoking})
}

func anError(t testing.TB, e icmp.Error) (*packet.Packet, *ip6.Header) {
	t.Helper()
	p := packet.New(packet.MaxLength)
	e.Put(p)
	h := parsed(t, p.Bytes())
	return p, &h
}

// randomFragment makes one fragment of a packet, the checksum not being in a later one, or leaves it whole.
func randomFragment(r *rand.Rand, n *transport) extensions {
	e := randomExtensions(r, n.protocol)
	if e.next != n.protocol || r.IntN(2) == 0 {
		return e
	}
	at := 24 * r.IntN(3)
	f := []byte{n.protocol, 0, 0, byte(at) | 1, 9, 8, 7, 6}
	n.b = n.b[min(at, len(n.b)):]
	return extensions{ip6.Fragment, f}
}

// TestErrorInbound translates errors about what a program sent, as the correspondent's side sees it, cut off anywhere. The
// result is octet for octet the error that there would be had nothing been translated.
func TestErrorInbound(t *testing.T) {
	testErrors(t, errorCase{
		inside: [2]netip.Addr{home, peer}, outside: [2]netip.Addr{lent, peer},
		before: func(outside []byte) icmp.Error {
			return icmp.Error{Source: router, Destination: lent, Invoking: outside}
		},
		after: func(inside []byte) icmp.Error { return icmp.Error{Source: router, Destination: home, Invoking: inside} },
		there: func(p *packet.Packet, h *ip6.Header) bool { return ErrorInbound(p, h, home) },
		back:  func(p *packet.Packet, h *ip6.Header) bool { return ErrorInbound(p, h, lent) },
		quote: [2]netip.Addr{lent, peer},
	})
}

// TestErrorOutbound is TestErrorInbound for what the host says of packets that came to a Distributed Home Address.
func TestErrorOutbound(t *testing.T) {
	testErrors(t, errorCase{
		inside: [2]netip.Addr{peer, home}, outside: [2]netip.Addr{peer, lent},
		before: func(inside []byte) icmp.Error { return icmp.Error{Source: home, Destination: peer, Invoking: inside} },
		after:  func(outside []byte) icmp.Error { return icmp.Error{Source: lent, Destination: peer, Invoking: outside} },
		swap:   true,
		there:  func(p *packet.Packet, h *ip6.Header) bool { return ErrorOutbound(p, h, lent) },
		back:   func(p *packet.Packet, h *ip6.Header) bool { return ErrorOutbound(p, h, home) },
		quote:  [2]netip.Addr{peer, home},
	})
}

var router = netip.MustParseAddr("2001:db8:ffff::1")

type errorCase struct {
	inside, outside [2]netip.Addr // source and destination of the packet, before and after translation
	before, after   func(invoking []byte) icmp.Error
	swap            bool // before is about the packet inside
	there, back     func(*packet.Packet, *ip6.Header) bool
	quote           [2]netip.Addr
}

func testErrors(t *testing.T, c errorCase) {
	r := testRandom()
	for i := range 5000 {
		n := randomTransport(r, r.IntN(60))
		inside, outside := n.finish(c.inside[0], c.inside[1]), n.finish(c.outside[0], c.outside[1])
		if n.protocol == ip6.UDP && r.IntN(4) == 0 {
			inside, outside = n, n // without a checksum
		}
		seed := r.Uint64()
		e := randomFragment(rand.New(rand.NewPCG(seed, 0)), &inside)
		randomFragment(rand.New(rand.NewPCG(seed, 0)), &outside)
		in := ipv6(c.inside[0], c.inside[1], e, inside.b)
		out := ipv6(c.outside[0], c.outside[1], e, outside.b)
		cut := len(in)
		if r.IntN(3) > 0 {
			cut = 40 + r.IntN(len(in)-39)
		}
		first, second := out, in
		if c.swap {
			first, second = in, out
		}
		kind, code, parameter := uint8(1+r.IntN(4)), uint8(r.IntN(5)), r.Uint32()
		made, want := c.before(first[:cut]), c.after(second[:cut])
		for _, e := range []*icmp.Error{&made, &want} {
			e.Type, e.Code, e.Parameter = kind, code, parameter
		}
		p, h := anError(t, made)
		wanted, wantedHeader := anError(t, want)
		before := bytes.Clone(p.Bytes())

		// Whether the quote shows what it is of.
		later := e.next == ip6.Fragment && binary.BigEndian.Uint16(e.b[2:])&^7 != 0
		upper := cut - 40 - len(e.b)
		shown := upper >= 0
		if n.protocol == ip6.ICMP && !later {
			shown = upper >= 1
		}
		field := upper - n.checksum // octets of the checksum that are in the quote, and more
		if !later && field == 1 {
			continue // half a checksum is left alone
		}

		q, ok := Embedded(p, h)
		ports := 4
		if n.protocol == ip6.ICMP {
			ports = 6
		}
		switch {
		case later && shown:
			if !ok || q != (Quote{Source: c.quote[0], Destination: c.quote[1], Protocol: n.protocol, Fragmented: true, Identification: 0x09080706}) {
				t.Fatalf("%d: quote %+v, %v", i, q, ok)
			}
		case shown && upper >= ports:
			s, d := binary.BigEndian.Uint16(n.b), binary.BigEndian.Uint16(n.b[2:])
			if n.protocol == ip6.ICMP {
				s, d = binary.BigEndian.Uint16(n.b[4:]), 0
				if n.b[0] == echoReply {
					s, d = d, s
				}
			}
			if !ok || q.Source != c.quote[0] || q.Destination != c.quote[1] || q.Protocol != n.protocol || !q.HasPorts ||
				q.SourcePort != s || q.DestinationPort != d || q.Fragmented != (e.next == ip6.Fragment) {
				t.Fatalf("%d: quote %+v, %v", i, q, ok)
			}
		default:
			if ok {
				t.Fatalf("%d: quote %+v of %d octets", i, q, cut)
			}
		}

		if ok := c.there(p, h); ok != shown {
			t.Fatalf("%d: translated %v, %d octets of % x", i, ok, cut, in)
		}
		if !shown {
			if !bytes.Equal(p.Bytes(), before) {
				t.Fatalf("%d: refused and changed", i)
			}
			continue
		}
		if !bytes.Equal(p.Bytes(), wanted.Bytes()) || *h != *wantedHeader {
			t.Fatalf("%d:\n% x\nwant\n% x", i, p.Bytes(), wanted.Bytes())
		}
		if !c.back(p, h) || !bytes.Equal(p.Bytes(), before) {
			t.Fatalf("%d: back\n% x\nwant\n% x", i, p.Bytes(), before)
		}
	}
}

// TestErrorPartialChecksum: of an error whose sender left the checksum to others only the pseudo-header counts.
func TestErrorPartialChecksum(t *testing.T) {
	n := udp(testRandom(), 30)
	p, h := errorAbout(t, home, peer, ipv6(peer, home, extensions{next: ip6.UDP}, n.finish(peer, home).b))
	binary.BigEndian.PutUint16(p.Bytes()[42:], slowSum(pseudoHeader(home, peer, p.Len()-40, ip6.ICMP)))
	p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: icmpChecksum}
	if !ErrorOutbound(p, h, lent) {
		t.Fatal("not translated")
	}
	if err := packet.FinishChecksum(p); err != nil {
		t.Fatal(err)
	}
	want, _ := errorAbout(t, lent, peer, ipv6(peer, lent, extensions{next: ip6.UDP}, n.finish(peer, lent).b))
	if !bytes.Equal(p.Bytes(), want.Bytes()) {
		t.Errorf("% x\nwant\n% x", p.Bytes(), want.Bytes())
	}
}

func TestErrorRefused(t *testing.T) {
	r := testRandom()
	segment := tcp(r, 20)
	quoted := ipv6(lent, peer, extensions{next: ip6.TCP}, segment.finish(lent, peer).b)
	routing := make([]byte, 24)
	routing[0], routing[1], routing[2], routing[3] = ip6.TCP, 2, 2, 1
	echo := []byte{echoRequest, 0, 0, 0, 0, 7, 0, 1}
	solicitation := []byte{135, 0, 0, 0, 0, 0, 0, 0}
	inner, _ := errorAbout(t, peer, lent, quoted)
	for name, b := range map[string][]byte{
		"of another source":       ipv6(home, peer, extensions{next: ip6.TCP}, segment.b),
		"with a routing header":   ipv6(lent, peer, extensions{ip6.Routing, routing}, segment.b),
		"about an error":          inner.Bytes(),
		"about a solicitation":    ipv6(lent, peer, extensions{next: ip6.ICMP}, solicitation),
		"about SCTP":              ipv6(lent, peer, extensions{next: ip6.SCTP}, segment.b),
		"about nothing":           nil,
		"about IPv4":              append([]byte{0x45}, make([]byte, 60)...),
		"cut off in the header":   quoted[:39],
		"cut off in an extension": ipv6(lent, peer, extensions{ip6.HopByHop, []byte{ip6.TCP, 0, 1, 4, 0, 0, 0, 0}}, nil)[:44],
		"about ICMPv6 without it": ipv6(lent, peer, extensions{next: ip6.ICMP}, echo)[:40],
	} {
		t.Run(name, func(t *testing.T) {
			p, h := errorAbout(t, peer, lent, b)
			before := bytes.Clone(p.Bytes())
			if ErrorInbound(p, h, home) || !bytes.Equal(p.Bytes(), before) {
				t.Errorf("translated to % x", p.Bytes())
			}
		})
	}
	p, h := make1(t, ipv6(peer, lent, extensions{next: ip6.ICMP}, echo))
	if _, ok := Embedded(p, h); ok || ErrorInbound(p, h, home) {
		t.Error("an echo is an error")
	}
}
