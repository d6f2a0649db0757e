package forwarding

import (
	"testing"
	"time"

	"kedge/netstack/packet"
)

func TestDoesNotAllocate(t *testing.T) {
	anchorEngine, anchorWorker := anchor(t)
	must(t, anchorEngine.BindAnchored(host(h2), Tunnel{Local: ha, Remote: c2, PathMTU: 1280}))
	_, mobileWorker := mobileNode(t)
	super := pkt(tcp(cn, h1, 0x10, nil, 30000))
	superPacket(super, packet.TCP, 1000)
	for _, c := range []struct {
		name string
		w    *Worker
		in   PortID
		p    *packet.Packet
	}{
		{"encapsulate", anchorWorker, ethPort, pkt(udp(cn, h1, 100))},
		{"decapsulate", anchorWorker, ethPort, pkt(tunnelled(0, c1, ha, udp(h1, cn, 100)))},
		{"hairpin", anchorWorker, ethPort, pkt(tunnelled(0, c1, ha, udp(h1, h2, 100)))},
		{"drop", anchorWorker, ethPort, pkt(udp(cn, h3, 100))},
		{"malformed", anchorWorker, ethPort, pkt(make([]byte, 60))},
		{"packet too big", anchorWorker, ethPort, pkt(udp(cn, h1, 1450))},
		{"fragment", anchorWorker, ethPort, pkt(udp(cn, h2, 1230))},
		{"no binding", anchorWorker, ethPort, pkt(tunnelled(0, c1, ha, udp(h3, cn, 100)))},
		{"super-packet", anchorWorker, ethPort, super},
		{"segment size", anchorWorker, ethPort, pkt(tcp(cn, h1, 2, []byte{2, 4, 0xff, 0xff}, 0))},
		{"signal", anchorWorker, ethPort, pkt(ipv6(0, c1, ha, 60, 64, append(homeOption(135, h1), make([]byte, 16)...)))},
		{"from the host", mobileWorker, tunPort, pkt(udp(h1, cn, 100))},
		{"to the host", mobileWorker, ethPort, pkt(tunnelled(0, ha, c1, udp(cn, h1, 100)))},
		{"packet too big to the host", mobileWorker, tunPort, pkt(udp(h1, cn, 1450))},
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

// superPacket gives a packet the offload state of a super-packet straight from a sender, partial checksum included.
func superPacket(p *packet.Packet, kind packet.Segmentation, size int) {
	b := p.Bytes()
	p.Offload = packet.Offload{Segmentation: kind, SegmentSize: uint16(size), NeedsChecksum: true, ChecksumStart: 40}
	if kind == packet.TCP {
		p.Offload.HeaderLength, p.Offload.ChecksumOffset = 40+uint16(b[52]>>4)*4, 16
	} else {
		p.Offload.HeaderLength, p.Offload.ChecksumOffset = 48, 6
	}
	partial(p)
}

// partial puts the sum of the pseudo-header where the offload state says that the checksum goes.
func partial(p *packet.Packet) {
	b := p.Bytes()
	field := b[p.Offload.ChecksumStart+p.Offload.ChecksumOffset:]
	sum := packet.PseudoHeaderSum(b[8:24], b[24:40], len(b)-int(p.Offload.ChecksumStart), b[6])
	field[0], field[1] = byte(sum>>8), byte(sum)
}
