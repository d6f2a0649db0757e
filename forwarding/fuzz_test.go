package forwarding

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

// FuzzProcess hands garbage to each kind of port of a node that is everything at once.
func FuzzProcess(f *testing.F) {
	message := make([]byte, 16)
	for _, b := range [][]byte{
		udp(cn, h1, 20), udp(h3, cn, 20), tcp(cn, h1, 2, []byte{2, 4, 0xff, 0xff}, 0),
		tunnelled(1, c1, ha, udp(h1, cn, 20)), tunnelled(3, c2, ha, tcp(cn, h3, 2, []byte{1, 2, 4, 0xff, 0xff, 0, 0, 0}, 9)),
		tunnelled(0, c1, ha, tunnelled(0, h1, ha, udp(h2, cn, 2))),
		ipv6(0, c1, ha, 60, 64, append(homeOption(135, h1), message...)),
		ipv6(0, c1, ha, 43, 64, append(routing2(58, h1), message...)),
		ipv6(0, c1, ha, 44, 64, append([]byte{41, 0, 0, 1, 0, 0, 0, 9}, udp(h1, cn, 8)...)),
		icmp6(far, ha, 60, 2, 0, 1300, tunnelPacket(udp(cn, h1, 1300))), icmp6(far, ha, 60, 1, 0, 0, udp(ha, cn, 1)),
		icmp6(router, h1, 255, 135, 0, 0, h1.AsSlice()), icmp6(c1, ha, 64, 144, 0, 0, nil),
		udp(cn, h1, 1400), udp(cn, h2, 1230), udp(cn, addr("ff0e::1"), 1), {0x45},
	} {
		f.Add(b, uint8(0), uint16(0), uint16(0), uint16(0), uint16(0))
		f.Add(b, uint8(packet.TCP)|4, uint16(100), uint16(60), uint16(40), uint16(16))
		f.Add(b, uint8(packet.UDP)|4, uint16(10), uint16(48), uint16(40), uint16(6))
		f.Add(b, uint8(4), uint16(0), uint16(0), uint16(40), uint16(6))
	}
	e, w := anchor(f)
	must(f, e.SetPort(Port{ID: tunPort, Host: true, MTU: 1500}))
	must(f, e.BindAnchored(host(h2), Tunnel{Local: ha, Remote: c2, PathMTU: 1280}))
	must(f, e.BindMobile(host(h3), Tunnel{Local: ha, Remote: c2, Via: true, Port: ethPort, NextHop: router}))
	reused := packet.New(packet.MaxLength)
	var before Counters
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, size, header, at, field uint16) {
		if len(b) > packet.MaxLength {
			return
		}
		in := func(b []byte) []*packet.Packet {
			p := reused
			p.Set(b)
			p.Offload = packet.Offload{
				Segmentation: packet.Segmentation(kind & 3), SegmentSize: size, HeaderLength: header,
				NeedsChecksum: kind&4 != 0, ChecksumStart: at, ChecksumOffset: field,
			}
			p.Group = kind&8 != 0
			return []*packet.Packet{p}
		}
		// Half of the fuzzer's luck goes into addresses and lengths: give it packets that have them right, too.
		fixed := append([]byte{}, b...)
		if len(fixed) >= 40 {
			fixed[0] = fixed[0]&0x0f | 0x60
			binary.BigEndian.PutUint16(fixed[4:], uint16(len(fixed)-40))
			cast := []netip.Addr{ha, h1, h2, h3, c1, c2, cn}
			copy(fixed[8:], cast[int(fixed[8])%len(cast)].AsSlice())
			copy(fixed[24:], cast[int(fixed[24])%len(cast)].AsSlice())
		}
		for _, b := range [][]byte{b, fixed} {
			check := func(r *Result, own bool) {
				t.Helper()
				for _, o := range r.Outputs {
					for _, p := range o.Packets {
						checkStructure(t, p, own)
						if o.Port == ethPort && wireLength(p) > 1500 {
							t.Errorf("%d octets out", wireLength(p))
						}
						if !p.NextHop.IsValid() && o.Port != tunPort {
							t.Error("no next hop")
						}
					}
				}
				for _, s := range r.Signals {
					s.Payload()
				}
				for _, m := range r.Neighbor {
					m.Payload()
				}
			}
			check(w.Process(start, ethPort, in(b)), false)
			check(w.Process(start, tunPort, in(b)), false)
			check(w.Process(start, 200, in(b)), false)
			check(w.Output(start, in(b)), true)
			check(w.OutputVia(start, ethPort, netip.Addr{}, in(b)), true)
			check(w.OutputTunnel(start, h1, in(b)), true)
			check(w.OutputTunnel(start, h3, in(b)), true)
			check(w.Reassembled(start, ethPort, c1, ha, 1, in(b)[0]), false)
		}
		// Every packet handed in is accounted for: sent, delivered or dropped.
		c := e.Counters()
		var ends uint64
		for i := range counterCount {
			if i.IsDrop() || i == Sent || i == DeliveredHost || i == DeliveredSignal || i == DeliveredNeighbor {
				ends += c[i] - before[i]
			}
		}
		if n := c[Received] - before[Received]; ends < n {
			t.Errorf("%d handed in, %d came to an end", n, ends)
		}
		before = c
	})
}

// checkStructure checks that a packet is one, and that what this node put into a tunnel is one.
func checkStructure(t testing.TB, p *packet.Packet, own bool) {
	t.Helper()
	b := p.Bytes()
	for range 2 {
		if len(b) < 40 || b[0]>>4 != 6 || int(binary.BigEndian.Uint16(b[4:])) != len(b)-40 {
			t.Fatalf("not an IPv6 packet: %d octets, %x", len(b), b[:min(len(b), 40)])
		}
		if own || b[6] != 41 || addrAt(b, 8) != ha {
			return
		}
		b = b[40:]
	}
}
