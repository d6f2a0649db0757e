package translate

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// TestGolden is an Echo Request whose checksums were worked out by hand: 2001:db8:100::7 sums up to 2ec7, to which is added
// (2001+0db8+d00d+1+abcd) - (2001+db8+100+7) = 17ad4 = 7ad5, so that the checksum is less by that.
func TestGolden(t *testing.T) {
	before := []byte{
		0x60, 0, 0, 0, 0, 8, 58, 64,
		0x20, 0x01, 0x0d, 0xb8, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x07,
		0x20, 0x01, 0x0d, 0xb8, 0, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99,
		128, 0, 0x22, 0x7a, 0x12, 0x34, 0, 1,
	}
	after := bytes.Clone(before)
	copy(after[8:], []byte{0x20, 0x01, 0x0d, 0xb8, 0xd0, 0x0d, 0, 1, 0, 0, 0, 0, 0, 0, 0xab, 0xcd})
	binary.BigEndian.PutUint16(after[42:], 0xa7a4) // 227a - 7ad5, and one for the borrow
	p, h := make1(t, before)
	if !Source(p, h, lent) || !bytes.Equal(p.Bytes(), after) {
		t.Errorf("% x\nwant\n% x", p.Bytes(), after)
	}
}

// TestThereAndBack translates packets of all kinds, whose checksum is then right by a computation from scratch, and back,
// which gives what there was.
func TestThereAndBack(t *testing.T) {
	r := testRandom()
	for range 5000 {
		n := randomTransport(r, r.IntN(100))
		e := randomExtensions(r, n.protocol)
		inside, outside := n.finish(home, peer), n.finish(lent, peer)
		before, after := ipv6(home, peer, e, inside.b), ipv6(lent, peer, e, outside.b)
		p, h := make1(t, before)
		if !Translatable(h, p.Bytes()) {
			t.Fatalf("not translatable: % x", before)
		}
		if !Source(p, h, lent) || !bytes.Equal(p.Bytes(), after) || *h != parsed(t, after) {
			t.Fatalf("source:\n% x\nwant\n% x", p.Bytes(), after)
		}
		if !Source(p, h, home) || !bytes.Equal(p.Bytes(), before) || *h != parsed(t, before) {
			t.Fatalf("source and back:\n% x\nwant\n% x", p.Bytes(), before)
		}

		inside, outside = n.finish(peer, home), n.finish(peer, lent)
		before, after = ipv6(peer, lent, e, outside.b), ipv6(peer, home, e, inside.b)
		p, h = make1(t, before)
		if !Destination(p, h, home) || !bytes.Equal(p.Bytes(), after) || *h != parsed(t, after) {
			t.Fatalf("destination:\n% x\nwant\n% x", p.Bytes(), after)
		}
		if !Destination(p, h, lent) || !bytes.Equal(p.Bytes(), before) || *h != parsed(t, before) {
			t.Fatalf("destination and back:\n% x\nwant\n% x", p.Bytes(), before)
		}
	}
}

// TestWrongChecksum: translation must not mend a packet that was damaged on its way.
func TestWrongChecksum(t *testing.T) {
	r := testRandom()
	for range 1000 {
		n := randomTransport(r, 40).finish(peer, lent)
		n.b[len(n.b)-1]++
		p, h := make1(t, ipv6(peer, lent, extensions{next: n.protocol}, n.b))
		if !Destination(p, h, home) {
			t.Fatal("not translated")
		}
		if slowSum(pseudoHeader(peer, home, len(n.b), n.protocol), p.Bytes()[40:]) == 0xffff {
			t.Fatalf("a wrong checksum became right: % x", p.Bytes())
		}
	}
}

func TestUDPChecksumNone(t *testing.T) {
	n := udp(testRandom(), 12)
	p, h := make1(t, ipv6(home, peer, extensions{next: ip6.UDP}, n.b))
	if !Source(p, h, lent) {
		t.Fatal("not translated")
	}
	if want := ipv6(lent, peer, extensions{next: ip6.UDP}, n.b); !bytes.Equal(p.Bytes(), want) {
		t.Errorf("% x\nwant\n% x", p.Bytes(), want)
	}
}

// TestUDPChecksumZero: a checksum that comes out as zero is sent as all ones.
func TestUDPChecksumZero(t *testing.T) {
	n := udp(testRandom(), 12).finish(home, peer)
	was := binary.BigEndian.Uint16(n.b[udpChecksum:])
	// An address that adds what is missing to all ones.
	a := home.As16()
	sum := uint32(binary.BigEndian.Uint16(a[8:])) + uint32(was)
	binary.BigEndian.PutUint16(a[8:], uint16(sum+sum>>16))
	to := netip.AddrFrom16(a)
	for _, partial := range []bool{false, true} {
		before := ipv6(home, peer, extensions{next: ip6.UDP}, n.b)
		p, h := make1(t, before)
		if partial {
			copy(p.Bytes()[40:], n.seed(home, peer).b)
			clear(p.Bytes()[46:48])
			binary.BigEndian.PutUint16(p.Bytes()[46:], slowSum(pseudoHeader(home, peer, len(n.b), ip6.UDP)))
			p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: udpChecksum}
		}
		if !Source(p, h, to) {
			t.Fatal("not translated")
		}
		if err := packet.FinishChecksum(p); err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint16(p.Bytes()[46:]); got != 0xffff {
			t.Fatalf("partial %v: checksum %04x", partial, got)
		}
		if !Source(p, h, home) || !bytes.Equal(p.Bytes(), before) {
			t.Errorf("partial %v: back\n% x\nwant\n% x", partial, p.Bytes(), before)
		}
	}
}

func TestPartialChecksum(t *testing.T) {
	r := testRandom()
	for range 2000 {
		n := randomTransport(r, r.IntN(100))
		e := randomExtensions(r, n.protocol)
		p, h := make1(t, ipv6(home, peer, e, n.seed(home, peer).b))
		before := bytes.Clone(p.Bytes())
		p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: uint16(h.UpperOffset), ChecksumOffset: uint16(n.checksum)}
		if !Source(p, h, lent) || !Source(p, h, home) || !bytes.Equal(p.Bytes(), before) {
			t.Fatalf("there and back:\n% x\nwant\n% x", p.Bytes(), before)
		}
		if !Source(p, h, lent) {
			t.Fatal("not translated")
		}
		if err := packet.FinishChecksum(p); err != nil {
			t.Fatal(err)
		}
		verify(t, p.Bytes(), lent, peer, n.protocol)
	}
}

// verify checks the transport checksum of the packet b, behind any extension headers.
func verify(t testing.TB, b []byte, source, destination netip.Addr, protocol uint8) {
	t.Helper()
	h := parsed(t, b)
	upper := b[h.UpperOffset:]
	if h.Source != source || h.Destination != destination || h.Upper != protocol ||
		slowSum(pseudoHeader(source, destination, len(upper), protocol), upper) != 0xffff {
		t.Fatalf("wrong packet of protocol %d from %v to %v: % x", protocol, source, destination, b)
	}
}

func TestSuperPackets(t *testing.T) {
	r := testRandom()
	for range 100 {
		kind, n := packet.TCP, tcp(r, 1+r.IntN(60_000))
		if r.IntN(2) == 0 {
			kind, n = packet.UDP, udp(r, 1+r.IntN(60_000))
		}
		p, h := make1(t, ipv6(peer, lent, extensions{next: n.protocol}, n.seed(peer, lent).b))
		p.Offload = packet.Offload{
			Segmentation: kind, SegmentSize: uint16(1 + r.IntN(9000)), HeaderLength: uint16(h.UpperOffset + n.header),
			NeedsChecksum: true, ChecksumStart: uint16(h.UpperOffset), ChecksumOffset: uint16(n.checksum),
		}
		if !Translatable(h, p.Bytes()) || !Destination(p, h, home) {
			t.Fatal("not translated")
		}
		var s packet.Segmenter
		if err := s.Start(p); err != nil {
			t.Fatal(err)
		}
		out := packet.New(packet.MaxLength)
		for {
			more, err := s.Next(out)
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			verify(t, out.Bytes(), peer, home, n.protocol)
		}
	}
}

// TestFragmentsOfPackets cuts packets up, translates each fragment, and puts them together again.
func TestFragmentsOfPackets(t *testing.T) {
	r := testRandom()
	for range 500 {
		n := randomTransport(r, 100+r.IntN(3000)).finish(home, peer)
		want := n.finish(home, peer)
		binary.BigEndian.PutUint16(want.b[want.checksum:], 0)
		want = want.finish(lent, peer)
		var whole []byte
		size := 64 + 8*r.IntN(100)
		for at := 0; at < len(n.b); at += size {
			end := min(at+size, len(n.b))
			f := []byte{n.protocol, 0, byte(at >> 8), byte(at), 1, 2, 3, 4}
			if end < len(n.b) {
				f[3] |= 1
			}
			p, h := make1(t, ipv6(home, peer, extensions{ip6.Fragment, f}, n.b[at:end]))
			if !Translatable(h, p.Bytes()) || !Source(p, h, lent) {
				t.Fatalf("fragment at %d not translated", at)
			}
			if *h != parsed(t, p.Bytes()) || h.Source != lent {
				t.Fatal("header and packet disagree")
			}
			if k, ok := KeyOf(p.Bytes(), h); !ok || k != (FragmentKey{lent, peer, 0x01020304}) {
				t.Fatalf("key %v", k)
			}
			whole = append(whole, p.Bytes()[48:]...)
		}
		if !bytes.Equal(whole, want.b) {
			t.Fatalf("protocol %d: wrong packet put together", n.protocol)
		}
	}
}

func TestPorts(t *testing.T) {
	r := testRandom()
	for _, n := range []transport{udp(r, 4), tcp(r, 4)} {
		p, h := make1(t, ipv6(home, peer, extensions{next: n.protocol}, n.b))
		s, d, ok := Ports(h, p.Bytes())
		if !ok || s != binary.BigEndian.Uint16(n.b) || d != binary.BigEndian.Uint16(n.b[2:]) {
			t.Errorf("protocol %d: ports %d, %d, %v", n.protocol, s, d, ok)
		}
		if _, _, ok := Ports(h, p.Bytes()[:43]); ok {
			t.Errorf("protocol %d: ports behind the end", n.protocol)
		}
	}
	echo := []byte{echoRequest, 0, 0, 0, 0xab, 0xcd, 0, 1}
	p, h := make1(t, ipv6(home, peer, extensions{next: ip6.ICMP}, echo))
	if s, d, ok := Ports(h, p.Bytes()); !ok || s != 0xabcd || d != 0 {
		t.Errorf("request: %d, %d, %v", s, d, ok)
	}
	p.Bytes()[40] = echoReply
	if s, d, ok := Ports(h, p.Bytes()); !ok || s != 0 || d != 0xabcd {
		t.Errorf("reply: %d, %d, %v", s, d, ok)
	}
	p.Bytes()[40] = 135
	if _, _, ok := Ports(h, p.Bytes()); ok {
		t.Error("a Neighbour Solicitation has ports")
	}
}

// TestRefused: what is not translated does not change.
func TestRefused(t *testing.T) {
	r := testRandom()
	segment := tcp(r, 20).finish(home, peer).b
	homeOption := make([]byte, 24)
	homeOption[0], homeOption[1], homeOption[2], homeOption[3], homeOption[4], homeOption[5] = ip6.TCP, 2, 1, 2, 0, 0
	homeOption[6], homeOption[7] = 0xc9, 16
	routing := make([]byte, 24)
	routing[0], routing[1], routing[2], routing[3] = ip6.TCP, 2, 2, 1
	other := bytes.Clone(routing)
	other[2] = 4
	authentication := make([]byte, 24)
	authentication[0], authentication[1] = ip6.TCP, 4
	for name, b := range map[string][]byte{
		"Home Address option":     ipv6(home, peer, extensions{ip6.DestinationOptions, homeOption}, segment),
		"type 2 routing header":   ipv6(home, peer, extensions{ip6.Routing, routing}, segment),
		"another routing header":  ipv6(home, peer, extensions{ip6.Routing, other}, segment),
		"Authentication Header":   ipv6(home, peer, extensions{ip6.Authentication, authentication}, segment),
		"ESP":                     ipv6(home, peer, extensions{next: 50}, segment),
		"SCTP":                    ipv6(home, peer, extensions{next: ip6.SCTP}, segment),
		"UDP-Lite":                ipv6(home, peer, extensions{next: ip6.UDPLite}, segment),
		"IPv6":                    ipv6(home, peer, extensions{next: ip6.IPv6}, ipv6(home, peer, extensions{next: ip6.TCP}, segment)),
		"Neighbour Solicitation":  ipv6(home, peer, extensions{next: ip6.ICMP}, make([]byte, 24)),
		"later fragment of SCTP":  ipv6(home, peer, extensions{ip6.Fragment, []byte{ip6.SCTP, 0, 0, 8, 0, 0, 0, 1}}, segment),
		"TCP without header":      ipv6(home, peer, extensions{next: ip6.TCP}, nil),
		"UDP without header":      ipv6(home, peer, extensions{next: ip6.UDP}, nil),
		"ICMPv6 without header":   ipv6(home, peer, extensions{next: ip6.ICMP}, nil),
		"nothing":                 ipv6(home, peer, extensions{next: ip6.NoNextHeader}, nil),
		"truncated TCP fragment":  ipv6(home, peer, extensions{ip6.Fragment, []byte{ip6.TCP, 0, 0, 1, 0, 0, 0, 1}}, segment[:16]),
		"truncated TCP":           ipv6(home, peer, extensions{next: ip6.TCP}, segment[:19]),
		"truncated UDP":           ipv6(home, peer, extensions{next: ip6.UDP}, segment[:7]),
		"truncated echo":          ipv6(home, peer, extensions{next: ip6.ICMP}, []byte{echoRequest, 0, 0, 0, 0, 0, 0}),
		"ports behind the length": append(ipv6(home, peer, extensions{next: ip6.UDP}, segment[:4]), segment...),
	} {
		t.Run(name, func(t *testing.T) {
			p, h := make1(t, b)
			was := *h
			if name != "later fragment of SCTP" && (Source(p, h, lent) || Destination(p, h, lent)) || Translatable(h, p.Bytes()) {
				t.Error("translated")
			}
			if !bytes.Equal(p.Bytes(), b) || *h != was {
				t.Errorf("changed to % x", p.Bytes())
			}
		})
	}
	t.Run("to no IPv6 address", func(t *testing.T) {
		p, h := make1(t, ipv6(home, peer, extensions{next: ip6.TCP}, segment))
		if Source(p, h, netip.Addr{}) || Source(p, h, netip.MustParseAddr("192.0.2.1")) {
			t.Error("translated")
		}
	})
	t.Run("offload of other headers", func(t *testing.T) {
		for _, o := range []packet.Offload{
			{NeedsChecksum: true, ChecksumStart: 48, ChecksumOffset: tcpChecksum},
			{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: udpChecksum},
		} {
			p, h := make1(t, ipv6(home, peer, extensions{next: ip6.TCP}, segment))
			p.Offload = o
			if Source(p, h, lent) {
				t.Errorf("translated with %+v", o)
			}
		}
		p, h := make1(t, ipv6(home, peer, extensions{ip6.Fragment, []byte{ip6.TCP, 0, 0, 8, 0, 0, 0, 1}}, segment))
		p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: tcpChecksum}
		if Source(p, h, lent) {
			t.Error("translated a later fragment with a partial checksum")
		}
	})
}

func TestDoesNotAllocate(t *testing.T) {
	r := testRandom()
	n := tcp(r, 1000).finish(home, peer)
	p, h := make1(t, ipv6(home, peer, extensions{next: ip6.TCP}, n.b))
	e, eh := errorAbout(t, peer, lent, ipv6(lent, peer, extensions{next: ip6.TCP}, n.b))
	f := NewFragments(64)
	if got := testing.AllocsPerRun(100, func() {
		Translatable(h, p.Bytes())
		Source(p, h, lent)
		Source(p, h, home)
		Embedded(e, eh)
		ErrorInbound(e, eh, home)
		ErrorInbound(e, eh, lent)
		f.Put(1, FragmentKey{home, peer, 7}, 1)
		f.Get(1, FragmentKey{home, peer, 7})
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
	if eh.Destination != lent {
		t.Error("the error was not translated")
	}
}
