package translate

import (
	"bytes"
	"encoding/binary"
	"testing"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// FuzzTranslate has every function translate arbitrary octets with an arbitrary checksum state.
func FuzzTranslate(f *testing.F) {
	r := testRandom()
	for range 20 {
		n := randomTransport(r, r.IntN(60))
		b := ipv6(home, peer, randomFragment(r, &n), n.finish(home, peer).b)
		f.Add(b, false, uint16(0), uint16(0))
		e, _ := errorAbout(f, peer, home, b)
		f.Add(bytes.Clone(e.Bytes()), false, uint16(0), uint16(0))
		e, _ = errorAbout(f, home, peer, ipv6(peer, home, randomFragment(r, &n), n.b))
		f.Add(bytes.Clone(e.Bytes()), true, uint16(40), uint16(2))
	}
	operations := []func(*packet.Packet, *ip6.Header) bool{
		func(p *packet.Packet, h *ip6.Header) bool { return Source(p, h, lent) },
		func(p *packet.Packet, h *ip6.Header) bool { return Destination(p, h, lent) },
		func(p *packet.Packet, h *ip6.Header) bool { return ErrorInbound(p, h, lent) },
		func(p *packet.Packet, h *ip6.Header) bool { return ErrorOutbound(p, h, lent) },
	}
	f.Fuzz(func(t *testing.T, b []byte, partial bool, start, offset uint16) {
		if len(b) > packet.MaxLength {
			return
		}
		for i, translate := range operations {
			p := packet.New(len(b))
			p.Set(b)
			if partial {
				p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: start, ChecksumOffset: offset}
			}
			var h ip6.Header
			if h.Parse(p.Bytes()) != nil {
				return
			}
			was := h
			translatable := Translatable(&h, p.Bytes())
			q, embedded := Embedded(p, &h)
			if translatable && embedded {
				t.Fatalf("both a packet of its own and an error about one: %+v", q)
			}
			done := translate(p, &h)
			switch {
			case p.Len() != len(b):
				t.Fatalf("operation %d changed the length from %d to %d", i, len(b), p.Len())
			case !done && (!bytes.Equal(p.Bytes(), b) || h != was):
				t.Fatalf("operation %d refused and changed the packet", i)
			case done && !partial && i < 2 && !translatable && h.Upper != ip6.ICMP && h.Upper != ip6.Fragment:
				t.Fatalf("operation %d translated what is not translatable", i)
			case !done && !partial && i < 2 && translatable:
				t.Fatalf("operation %d refused what is translatable", i)
			case done && h != parsed(t, p.Bytes()):
				t.Fatalf("operation %d: header and packet disagree", i)
			}
			if done && i < 2 && !partial && !h.Fragmented {
				sumsAgree(t, b, p.Bytes(), &h)
			}
		}
	})
}

// sumsAgree checks that the transport checksum is as right or wrong as it was.
func sumsAgree(t *testing.T, before, after []byte, h *ip6.Header) {
	t.Helper()
	sum := func(b []byte) uint16 { return slowSum(b[8:40], b[h.UpperOffset:h.Length]) }
	if h.Upper == ip6.UDP && binary.BigEndian.Uint16(before[h.UpperOffset+6:]) == 0 {
		return
	}
	if a, b := sum(before)%0xffff, sum(after)%0xffff; a != b {
		t.Fatalf("sums up to %04x, was %04x", b, a)
	}
}
