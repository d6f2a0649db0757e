package forwarding

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

// FuzzAccess hands garbage to the ports of a MAAR, and checks that no mobile node is heard under another's prefix.
func FuzzAccess(f *testing.F) {
	fragment := append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, make([]byte, 16)...)
	for _, b := range [][]byte{
		udp(within(local1), cn, 20), udp(within(earlier1), cn, 1420), udp(within(local1), within(gone), 1),
		tcp(within(earlier1), cn, 2, []byte{2, 4, 0xff, 0xff}, 0), udp(addr("fe80::5"), cn, 1),
		tunnelled(3, previous, maar, udp(cn, within(earlier1), 20)), tunnelled(1, serving, maar, udp(within(gone), within(local1), 20)),
		icmp6(addr("fe80::5"), dlif1, 64, 128, 0, 0, nil), icmp6(addr("fe80::5"), addr("ff02::2"), 255, 133, 0, 0, nil),
		icmp6(within(earlier1), addr("ff02::16"), 1, 143, 0, 0, nil), ipv6(0, within(local1), cn, 44, 64, fragment),
		icmp6(far, maar, 60, 2, 0, 1300, ipv6(0, maar, previous, 41, 64, udp(within(earlier1), cn, 1300))),
		ipv6(0, within(local1), maar, 60, 64, append(homeOption(17, h1), make([]byte, 16)...)),
	} {
		f.Add(b, uint8(0))
		f.Add(b, uint8(packet.TCP)|4)
		f.Add(b, uint8(8))
	}
	e, w := accessRouter(f)
	reused := packet.New(packet.MaxLength)
	var before Counters
	f.Fuzz(func(t *testing.T, b []byte, kind uint8) {
		if len(b) > packet.MaxLength {
			return
		}
		fixed := append([]byte{}, b...)
		if len(fixed) >= 40 {
			fixed[0] = fixed[0]&0x0f | 0x60
			binary.BigEndian.PutUint16(fixed[4:], uint16(len(fixed)-40))
			cast := []netip.Addr{maar, within(local1), within(local2), within(earlier1), within(gone), previous, serving, cn, dlif1}
			copy(fixed[8:], cast[int(fixed[8])%len(cast)].AsSlice())
			copy(fixed[24:], cast[int(fixed[24])%len(cast)].AsSlice())
		}
		for _, b := range [][]byte{b, fixed} {
			for _, port := range []PortID{ethPort, access1, access2} {
				p := reused
				p.Set(b)
				p.Neighbor, p.Group = mac1, kind&8 != 0
				if kind&4 != 0 {
					p.Offload = packet.Offload{
						Segmentation: packet.Segmentation(kind & 3), SegmentSize: 100, HeaderLength: 60, NeedsChecksum: true,
						ChecksumStart: 40, ChecksumOffset: 16,
					}
				}
				r := w.Process(start, port, []*packet.Packet{p})
				for _, o := range r.Outputs {
					for _, q := range o.Packets {
						checkStructure(t, q, false)
						if wireLength(q) > 1500 || !q.NextHop.IsValid() {
							t.Errorf("%d octets to %v", wireLength(q), q.NextHop)
						}
						source := addrAt(q.Bytes(), 8)
						if port == ethPort || source == maar {
							continue
						}
						if port == access2 || !local1.Contains(source) {
							t.Errorf("%v was forwarded", source)
						}
					}
				}
				if len(r.Strangers) > 1 {
					t.Error("more strangers than packets")
				}
			}
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
