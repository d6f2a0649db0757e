package forwarding

import (
	"net/netip"
	"testing"
	"time"

	"kedge/forwarding/flow"
	"kedge/netstack/packet"
)

func TestDatagramsDoNotAllocate(t *testing.T) {
	_, a := datagramAnchor(t)
	_, m := datagramMobile(t)
	f, _ := flowNode(t, flow.Config{})
	must(t, f.SetPort(Port{ID: udpPort, UDP: true, MTU: 1500, Features: allOffload}))
	must(t, f.BindMobile(host(d1), udpTunnel(m4, agent4)))
	must(t, f.SetChoice(testProfile, all, d1, 1))
	fw := f.NewWorker()
	_, k := encapsulating(t)
	from := func(b []byte, peer netip.AddrPort, local netip.Addr) *packet.Packet {
		return datagram(b, peer, local, 2)
	}
	large := func(p *packet.Packet, kind packet.Segmentation) *packet.Packet {
		superPacket(p, kind, 1200)
		return p
	}
	for _, c := range []struct {
		name string
		w    *Worker
		in   PortID
		p    *packet.Packet
	}{
		{"out", a, ethPort, pkt(udp(cn, h1, 100))},
		{"out, IPv6", a, ethPort, pkt(udp(cn, h2, 100))},
		{"super-packet out", a, ethPort, super(packet.TCP, tcp(cn, h1, ack, nil, 30000), 1200)},
		{"in", a, udpPort, from(udp(h1, cn, 100), peer4, ha4)},
		{"super-packet in", a, udpPort, large(from(tcp(h1, cn, ack, nil, 30000), peer4, ha4), packet.TCP)},
		{"from datagram to datagram", a, udpPort, from(udp(h1, h2, 100), peer4, ha4)},
		{"wrong peer", a, udpPort, from(udp(h1, cn, 100), wild4, ha4)},
		{"refusal", a, udpPort, from(udp(h3, cn, 100), wild4, ha4)},
		{"signal", a, udpPort, from(mobility(h3, ha, 5), wild4, ha4)},
		{"too big", a, ethPort, pkt(udp(cn, h1, 1450))},
		{"from the host", m, tunPort, pkt(udp(h1, cn, 100))},
		{"to the host", m, udpPort, from(udp(cn, h1, 100), agent4, m4)},
		{"translated, from the host", fw, tunPort, super(packet.TCP, tcp(h1, cn, ack, nil, 30000), 1200)},
		{"translated, to the host", fw, udpPort, large(from(answer(tcp(cn, d1, ack, nil, 30000)), agent4, m4), packet.TCP)},
		{"port that encapsulates", k, ethPort, super(packet.TCP, tcp(cn, h1, ack, nil, 30000), 1200)},
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
			run()
			if n := testing.AllocsPerRun(200, run); n != 0 {
				t.Errorf("%v allocations per packet", n)
			}
		})
	}
	t.Run("own", func(t *testing.T) {
		work, pkts, b := packet.New(packet.MaxLength), make([]*packet.Packet, 1), mobility(ha, h1, 6)
		if n := testing.AllocsPerRun(200, func() {
			work.Set(b)
			pkts[0] = work
			a.OutputDatagram(start, udpPort, ha4, wild4, pkts)
		}); n != 0 {
			t.Errorf("%v allocations per packet", n)
		}
	})
}
