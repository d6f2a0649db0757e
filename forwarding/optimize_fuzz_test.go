package forwarding

import (
	"bytes"
	"testing"
	"time"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

func TestOptimizedDoesNotAllocate(t *testing.T) {
	_, mobile := optimizing(t)
	_, other := correspondent(t)
	super := pkt(tcp(h1, cn, 0x10, nil, 30000))
	superPacket(super, packet.TCP, 1000)
	for _, c := range []struct {
		name string
		w    *Worker
		in   PortID
		p    *packet.Packet
	}{
		{"mobile node out", mobile, tunPort, pkt(udp(h1, cn, 100))},
		{"mobile node in", mobile, ethPort, pkt(routingOut(udp(cn, h1, 100)))},
		{"correspondent node in", other, ethPort, pkt(optionOut(udp(h1, own, 100)))},
		{"correspondent node out", other, tunPort, pkt(udp(own, h1, 100))},
		{"super-packet", mobile, tunPort, super},
		{"too big", mobile, tunPort, pkt(udp(h1, cn, 1450))},
		{"unverified", other, ethPort, pkt(with(udp(h2, own, 8), c2, own, 60, homeOption(17, h2)))},
		{"stranger", mobile, ethPort, pkt(with(udp(c2, h1, 8), c2, c1, 43, routing2(17, h1)))},
		{"error", mobile, ethPort, pkt(icmp6(c2, c1, 64, 1, 3, 0, optionOut(udp(h1, cn, 1000))))},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := start
			work, pkts := packet.New(packet.MaxLength), make([]*packet.Packet, 1)
			run := func() {
				now = now.Add(time.Second) // the limiter lets every error through
				work.CopyFrom(c.p)
				pkts[0] = work
				c.w.Process(now, c.in, pkts)
			}
			run()
			if n := testing.AllocsPerRun(200, run); n != 0 {
				t.Errorf("%v allocations per packet", n)
			}
		})
	}
}

func BenchmarkOptimized(b *testing.B) {
	_, mobile := optimizing(b)
	_, other := correspondent(b)
	for _, c := range []struct {
		name string
		w    *Worker
		in   PortID
		p    []byte
	}{
		{"mobile-out", mobile, tunPort, udp(h1, cn, 1400)},
		{"mobile-in", mobile, ethPort, routingOut(udp(cn, h1, 1400))},
		{"correspondent-in", other, ethPort, optionOut(udp(h1, own, 1400))},
		{"correspondent-out", other, tunPort, udp(own, h1, 1400)},
	} {
		b.Run(c.name, func(b *testing.B) {
			work := pkt(c.p)
			pkts := []*packet.Packet{work}
			b.ReportAllocs()
			for b.Loop() {
				work.Set(c.p)
				c.w.Process(start, c.in, pkts)
			}
		})
	}
}

// Whatever a program sends, the other end gets it as it was, by either way; whatever comes in does no harm.
func FuzzOptimized(f *testing.F) {
	f.Add(udp(h1, cn, 20))
	f.Add(tcp(h1, cn, 2, []byte{2, 4, 5, 0xb4}, 0))
	f.Add(with(udp(h1, cn, 8), h1, cn, 0, []byte{60, 0, 5, 2, 0, 0, 1, 0}, []byte{43, 0, 1, 4, 0, 0, 0, 0}, []byte{44, 0, 4, 0, 0, 0, 0, 0}, []byte{17, 0, 0, 1, 0, 0, 0, 7}))
	f.Add(optionOut(udp(h1, cn, 20)))
	f.Add(routingOut(udp(cn, h1, 20)))
	f.Add(with(udp(cn, h1, 20), c2, c1, 43, routing2(60, h1), homeOption(17, cn)))
	f.Add(icmp6(c2, c1, 64, 2, 0, 1400, optionOut(udp(h1, cn, 1400))[:500]))
	f.Add(icmp6(c2, own, 64, 1, 3, 0, routingOut(udp(own, h1, 100))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 2000 {
			return
		}
		_, mobile := optimizing(t)
		_, other := correspondent(t)
		process(mobile, ethPort, b)
		process(other, ethPort, b)
		var h ip6.Header
		if h.Parse(b) != nil || h.Source != h1 || h.Destination != cn || h.Mobile || h.Upper == ip6.TCP {
			return
		}
		for _, out := range sent(process(mobile, tunPort, b), ethPort) {
			if out[6] == ip6.IPv6 {
				continue
			}
			back := sent(process(other, ethPort, out), tunPort)
			if len(back) != 1 || !bytes.Equal(back[0], b[:h.Length]) {
				t.Errorf("sent %x\nas   %x\ngot  %x", b[:h.Length], out, back)
			}
		}
	})
}
