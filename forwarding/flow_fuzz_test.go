package forwarding

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"kedge/forwarding/flow"
	"kedge/forwarding/policy"
	"kedge/netstack/packet"
)

// FuzzFlows hands garbage to both sides of a mobile node with flows. Whatever it is, nothing leaves with a source that the
// node does not hold, and the host sees no address for translation.
func FuzzFlows(f *testing.F) {
	for _, b := range [][]byte{
		udp(h1, cn, 20), out(4000, 1, 0, syn, 0), out(4000, 1, 1, ack, 100), out(4000, 1, 1, rst, 0), udp(d1, cn, 1), udp(d2, cn, 1),
		in(d1, 4000, 1, 2, synAck, 0), in(d1, 4000, 2, 2, ack|fin, 9), in(h1, 4000, 1, 0, syn, 0), answer(udp(cn, d1, 20)),
		icmp6(h1, cn, 64, 128, 0, 9<<16, nil), icmp6(cn, d1, 64, 129, 0, 9<<16, nil), ipv6(0, h1, cn, 132, 64, make([]byte, 12)),
		icmp6(cn, d1, 64, 2, 0, 1300, udp(d1, cn, 1200)), icmp6(h1, cn, 64, 1, 4, 0, answer(udp(cn, h1, 20))),
		icmp6(c2, c1, 64, 2, 0, 1400, tunnelled(0, c1, dhp1, udp(d1, cn, 1400))),
		ipv6(0, h1, cn, 44, 64, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, udp(h1, cn, 20)[40:]...)),
		ipv6(0, h1, cn, 44, 64, append([]byte{17, 0, 0, 8, 0, 0, 0, 9}, make([]byte, 20)...)),
		ipv6(0, cn, d1, 44, 64, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, answer(udp(cn, d1, 20))[40:]...)),
		ipv6(0, cn, d1, 44, 64, append([]byte{17, 0, 0, 8, 0, 0, 0, 9}, make([]byte, 20)...)),
		udp(h1, cn, 1440), {0x60},
	} {
		for _, kind := range []uint8{0, 0x80, uint8(packet.UDP) | 4, uint8(packet.TCP) | 4} {
			f.Add(b, kind, uint16(10), uint16(48), uint16(40), uint16(6))
			f.Add(b, kind, uint16(10), uint16(60), uint16(40), uint16(16))
		}
	}
	e, w := flowNode(f, flow.Config{MaxFlows: 64})
	classifier, err := policy.Compile([]policy.Rule{{Protocols: []uint8{17}, SourcePorts: []policy.PortRange{{First: 4000, Last: 4000}}, Profile: 1}},
		policy.Rule{Profile: testProfile})
	must(f, err)
	must(f, e.SetClassifier(classifier))
	must(f, e.SetChoice(testProfile, all, d1, 1))
	held := []netip.Addr{h1, d1, d2}
	reused := packet.New(packet.MaxLength)
	var before Counters
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, size, header, at, field uint16) {
		if len(b) > packet.MaxLength-40 {
			return
		}
		fixed := slices.Clone(b)
		if len(fixed) >= 40 {
			fixed[0] = fixed[0]&0x0f | 0x60
			binary.BigEndian.PutUint16(fixed[4:], uint16(len(fixed)-40))
			cast := []netip.Addr{cn, h1, d1, d2, c1, c2}
			copy(fixed[8:], cast[int(fixed[8])%len(cast)].AsSlice())
			copy(fixed[24:], cast[int(fixed[24])%len(cast)].AsSlice())
		}
		check := func(r *Result) {
			t.Helper()
			for _, p := range slices.Concat(sentPackets(r, ethPort), sentPackets(r, tunPort)) {
				checkStructure(t, p, true)
			}
			for _, b := range sent(r, ethPort) {
				if addrAt(b, 8) != c1 {
					t.Errorf("left from %v", addrAt(b, 8))
				}
				if proxy := addrAt(b, 24); b[6] == 41 && (proxy == ha || proxy == dhp1 || proxy == dhp2) && !slices.Contains(held, addrAt(b, 48)) {
					t.Errorf("left from %v in the tunnel to %v", addrAt(b, 48), proxy)
				} else if b[6] == 41 && (proxy == dhp1) != (addrAt(b, 48) == d1) {
					t.Errorf("%v left in the tunnel to %v", addrAt(b, 48), proxy)
				}
			}
			for _, b := range sent(r, tunPort) {
				if to := addrAt(b, 24); to == d1 && b[6] != 58 { // an error may go back to a source that the host made up
					t.Errorf("the host got what is for %v", to)
				}
			}
		}
		for _, b := range [][]byte{b, fixed} {
			send := func(port PortID, b []byte, front int) {
				reused.Set(b)
				reused.Offload = packet.Offload{
					Segmentation: packet.Segmentation(kind & 3), SegmentSize: size, HeaderLength: header + uint16(front),
					NeedsChecksum: kind&4 != 0, ChecksumStart: at + uint16(front), ChecksumOffset: field,
				}
				check(w.Process(start, port, []*packet.Packet{reused}))
			}
			send(tunPort, b, 0)
			for _, proxy := range []netip.Addr{ha, dhp1, dhp2} {
				send(ethPort, tunnelled(0, proxy, c1, b), 40)
			}
			send(ethPort, b, 0)
			for _, n := range e.TakeNews(nil) {
				if n.Event == flow.Waits {
					for to := []netip.Addr{h1, d1}[kind>>7]; ; {
						r := w.Release(start, n.Flow.Number, to, 1)
						check(r)
						if !r.More {
							break
						}
					}
				}
				if n.Event == flow.Released && kind&0x40 != 0 {
					check(w.Terminate(start, n.Flow.Number))
				}
			}
		}
		c := e.Counters()
		var ends uint64
		for i := range counterCount {
			if i.IsDrop() || i == Sent || i == DeliveredHost || i == DeliveredSignal || i == DeliveredNeighbor || i == HeldPackets {
				ends += c[i] - before[i]
			}
		}
		if n := c[Received] - before[Received]; ends < n {
			t.Errorf("%d handed in, %d came to an end", n, ends)
		}
		before = c
	})
}

func sentPackets(r *Result, port PortID) []*packet.Packet {
	for _, o := range r.Outputs {
		if o.Port == port {
			return o.Packets
		}
	}
	return nil
}
