package forwarding

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

// FuzzDatagram hands garbage from each kind of peer to a node that is everything at once. Whatever it is, nobody but a bound
// peer gets anything out of the node but Mobility Header signals, or is sent more than it sent.
func FuzzDatagram(f *testing.F) {
	for _, b := range [][]byte{
		udp(h1, cn, 20), udp(h3, cn, 20), udp(h1, h2, 20), tcp(h1, cn, 2, []byte{2, 4, 0xff, 0xff}, 0), mobility(h3, ha, 5), mobility(h1, ha, 1),
		tunnelled(1, h1, ha, udp(h5, cn, 20)), tunnelled(3, c2, ha, tcp(cn, h3, 2, []byte{1, 2, 4, 0xff, 0xff, 0, 0, 0}, 9)),
		ipv6(0, h1, ha, 60, 64, append(homeOption(135, h5), make([]byte, 16)...)), ipv6(0, h1, ha, 43, 64, append(routing2(58, h1), make([]byte, 16)...)),
		ipv6(0, h1, ha, 44, 64, append([]byte{41, 0, 0, 1, 0, 0, 0, 9}, udp(h1, cn, 8)...)), icmp6(cn, h4, 255, 1, 5, 0, udp(h4, cn, 1)),
		icmp6(h1, ha, 60, 2, 0, 1300, tunnelPacket(udp(cn, h1, 1300))), icmp6(h1, ha, 64, 144, 0, 0, nil), icmp6(h1, ha, 64, 128, 0, 0, nil),
		icmp6(h1, ha, 255, 135, 0, 0, h1.AsSlice()), udp(h1, h2, 1440), {0x45}, {},
	} {
		f.Add(b, uint8(0), uint8(0), uint16(0), uint16(0), uint16(0), uint16(0))
		f.Add(b, uint8(1), uint8(packet.TCP)|4, uint16(100), uint16(60), uint16(40), uint16(16))
		f.Add(b, uint8(3), uint8(packet.UDP)|4, uint16(10), uint16(48), uint16(40), uint16(6))
		f.Add(b, uint8(2), uint8(4), uint16(0), uint16(0), uint16(40), uint16(6))
	}
	e, _ := datagramAnchor(f)
	must(f, e.SetPort(Port{ID: tunPort, Host: true, MTU: 1500}))
	must(f, e.SetPort(Port{ID: udpPort, UDP: true, MTU: 1500, Features: packet.PartialChecksum | packet.SegmentTCP}))
	must(f, e.BindMobile(host(h4), udpTunnel(ha4, peer4)))
	w := e.NewWorker()
	reused := packet.New(packet.MaxLength)
	var before Counters
	f.Fuzz(func(t *testing.T, b []byte, from, kind uint8, size, header, at, field uint16) {
		if len(b) > packet.MaxLength {
			return
		}
		peer := []netip.AddrPort{peer4, peer6, wild4, {}, netip.AddrPortFrom(c2, 4191)}[from%5]
		local := []netip.Addr{ha4, ha6, {}}[from/5%3]
		in := func(b []byte) []*packet.Packet {
			reused.Set(b)
			reused.Offload = packet.Offload{
				Segmentation: packet.Segmentation(kind & 3), SegmentSize: size, HeaderLength: header,
				NeedsChecksum: kind&4 != 0, ChecksumStart: at, ChecksumOffset: field,
			}
			reused.Peer, reused.Local, reused.TrafficClass = peer, local, kind
			return []*packet.Packet{reused}
		}
		fixed := append([]byte{}, b...)
		if len(fixed) >= 40 {
			fixed[0] = fixed[0]&0x0f | 0x60
			binary.BigEndian.PutUint16(fixed[4:], uint16(len(fixed)-40))
			cast := []netip.Addr{ha, h1, h2, h3, h4, h5, cn}
			copy(fixed[8:], cast[int(fixed[8])%len(cast)].AsSlice())
			copy(fixed[24:], cast[int(fixed[24])%len(cast)].AsSlice())
		}
		bound := peer == peer4 && local == ha4 || peer == peer6 && local == ha6 || peer == peer4
		for _, b := range [][]byte{b, fixed} {
			check := func(r *Result) (octets int) {
				t.Helper()
				for _, o := range r.Outputs {
					for _, p := range o.Packets {
						checkStructure(t, p, true)
						octets += p.Len()
						if o.Port == udpPort && (!p.Peer.IsValid() || p.Peer.Port() == 0) {
							t.Error("a datagram to nobody")
						}
						if o.Port == udpPort && wireLength(p) > 1472 {
							t.Errorf("%d octets in a datagram", wireLength(p))
						}
					}
				}
				for _, s := range r.Signals {
					s.Payload()
				}
				return octets
			}
			r := w.Process(start, udpPort, in(b))
			if octets := check(r); !bound {
				if len(r.ToHost) > 0 || octets > len(b) {
					t.Errorf("%d octets in, %d out, %d to the host", len(b), octets, len(r.ToHost))
				}
				for _, s := range r.Signals {
					if s.Kind != MobilityHeader || s.Tunneled || s.Outer != peer {
						t.Errorf("signal %+v", s)
					}
				}
				for _, o := range r.Outputs {
					for _, p := range o.Packets {
						if o.Port != udpPort || p.Peer != peer || p.Local != local {
							t.Errorf("by port %d to %v", o.Port, p.Peer)
						}
					}
				}
			}
			check(w.Process(start, ethPort, in(b)))
			check(w.Process(start, tunPort, in(b)))
			check(w.OutputDatagram(start, udpPort, local, peer, in(b)))
			check(w.OutputTunnel(start, h2, in(b)))
			check(w.OutputTunnel(start, h4, in(b)))
			check(w.Reassembled(start, udpPort, peer.Addr(), local, kind, in(b)[0]))
		}
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
