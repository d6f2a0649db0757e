package forwarding

import (
	"bytes"
	"encoding/binary"
	"testing"

	"kedge/netstack/packet"
)

// checkTransport verifies the checksum of a TCP or UDP packet without extension headers.
func checkTransport(t testing.TB, b []byte) {
	t.Helper()
	if slowSum(b[40:], addrAt(b, 8), addrAt(b, 24), b[6]) != 0xffff {
		t.Errorf("bad checksum in %x", b[:min(len(b), 80)])
	}
	if int(binary.BigEndian.Uint16(b[4:])) != len(b)-40 {
		t.Errorf("payload length %d of %d octets", binary.BigEndian.Uint16(b[4:]), len(b))
	}
}

func super(kind packet.Segmentation, b []byte, size int) *packet.Packet {
	p := pkt(b)
	superPacket(p, kind, size)
	return p
}

func TestSuperPacketIntoTunnel(t *testing.T) {
	for _, c := range []struct {
		kind packet.Segmentation
		b    []byte
		head int
	}{
		{packet.TCP, tcp(cn, h1, 0x18, []byte{1, 1, 1, 1}, 5000), 24},
		{packet.UDP, udp(cn, h1, 5000), 8},
	} {
		e, w := anchor(t)
		r := w.Process(start, ethPort, []*packet.Packet{super(c.kind, c.b, 1200)})
		out := sent(r, ethPort)
		if len(out) != 5 {
			t.Fatalf("%d segments; %v", len(out), drops(e.Counters()))
		}
		var payload []byte
		_, label := flowless(out[0])
		for i, b := range out {
			checkTransport(t, b[40:])
			plain, l := flowless(b[:40])
			if want := ipv6(0, ha, c1, 41, 64, b[40:])[:40]; !bytes.Equal(plain, want) || l != label {
				t.Errorf("segment %d: outer header %x", i, b[:40])
			}
			if b[40+7] != 63 {
				t.Errorf("segment %d: hop limit %d", i, b[47])
			}
			payload = append(payload, b[80+c.head:]...)
		}
		if !bytes.Equal(payload, c.b[40+c.head:]) {
			t.Error("the payload changed")
		}
		wantCount(t, e, SplitSegments, 5)
		wantCount(t, e, Encapsulated, 5)
	}
}

// Each segment is what must fit, not the whole.
func TestSuperPacketTooBig(t *testing.T) {
	_, w := anchor(t)
	fits := super(packet.TCP, tcp(cn, h1, 0x10, nil, 20000), 1400)
	if out := sent(w.Process(start, ethPort, []*packet.Packet{fits}), ethPort); len(out) != 15 || len(out[0]) != 1500 {
		t.Errorf("%d segments, the first of %d octets", len(out), len(out[0]))
	}
	tooBig := super(packet.TCP, tcp(cn, h1, 0x10, nil, 20000), 1401)
	if mtu, _ := wantICMP(t, one(t, w.Process(start, ethPort, []*packet.Packet{tooBig}), ethPort), ha, cn, 2, 0); mtu != 1460 {
		t.Errorf("MTU %d", mtu)
	}
}

func TestSuperPacketSegmentsAreFragmentedWhereTheyMust(t *testing.T) {
	e, w := anchor(t)
	must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c1, PathMTU: 1280}))
	b := tcp(cn, h1, 0x10, nil, 2440)
	out := sent(w.Process(start, ethPort, []*packet.Packet{super(packet.TCP, b, 1220)}), ethPort)
	if len(out) != 4 {
		t.Fatalf("%d fragments", len(out))
	}
	for i := 0; i < 4; i += 2 {
		whole, _, err := reassemble(out[i : i+2])
		if err != nil {
			t.Fatal(err)
		}
		checkTransport(t, whole[40:])
	}
}

// Out of a tunnel and on: super-packets stay whole for a port that takes them and are split for one that does not.
func TestSuperPacketOutOfTunnel(t *testing.T) {
	inner := tcp(h1, cn, 0x10, nil, 5000)
	in := func() *packet.Packet {
		p := super(packet.TCP, inner, 1200)
		copy(p.Prepend(40), tunnelled(0, c1, ha, inner)[:40])
		return p
	}
	e, w := anchor(t)
	r := w.Process(start, ethPort, []*packet.Packet{in()})
	one(t, r, ethPort)
	p := r.Outputs[0].Packets[0]
	want := packet.Offload{Segmentation: packet.TCP, SegmentSize: 1200, HeaderLength: 60, NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 16}
	if p.Offload != want || p.Len() != len(inner) {
		t.Errorf("%d octets, %+v", p.Len(), p.Offload)
	}

	for _, features := range []packet.Features{0, packet.PartialChecksum, packet.PartialChecksum | packet.SegmentUDP, packet.SegmentTCP} {
		must(t, e.SetPort(Port{ID: ethPort, MTU: 1500, Features: features}))
		out := sent(w.Process(start, ethPort, []*packet.Packet{in()}), ethPort)
		if len(out) != 5 {
			t.Fatalf("%d segments", len(out))
		}
		for _, b := range out {
			checkTransport(t, b)
		}
	}
}

func TestPartialChecksum(t *testing.T) {
	in := func(prefix []byte, b []byte) *packet.Packet {
		p := pkt(b)
		p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 6}
		partial(p)
		if prefix != nil {
			copy(p.Prepend(40), prefix)
		}
		return p
	}
	_, w := anchor(t)
	// Inside a tunnel nobody would finish it.
	r := w.Process(start, ethPort, []*packet.Packet{in(nil, udp(cn, h1, 100))})
	checkTransport(t, one(t, r, ethPort)[40:])
	if r.Outputs[0].Packets[0].Offload != (packet.Offload{}) {
		t.Error("offload state left")
	}
	// Out of it, the port decides.
	b := udp(h1, cn, 100)
	header := tunnelled(0, c1, ha, b)[:40]
	r = w.Process(start, ethPort, []*packet.Packet{in(header, b)})
	one(t, r, ethPort)
	if o := r.Outputs[0].Packets[0].Offload; !o.NeedsChecksum || o.ChecksumStart != 40 {
		t.Errorf("offload %+v", o)
	}
	e, w := mobileNode(t)
	b = udp(cn, h1, 100)
	r = w.Process(start, ethPort, []*packet.Packet{in(tunnelled(0, ha, c1, b)[:40], b)})
	checkTransport(t, one(t, r, tunPort))
	wantCount(t, e, Decapsulated, 1)
}

func TestOffloadThatDoesNotFit(t *testing.T) {
	b := tcp(cn, h1, 0x10, nil, 5000)
	for _, o := range []packet.Offload{
		{NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: 16},
		{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 60000},
		{NeedsChecksum: true, ChecksumStart: 60000, ChecksumOffset: 6},
		{Segmentation: packet.TCP, SegmentSize: 1000, HeaderLength: 60},
		{Segmentation: packet.TCP, HeaderLength: 60, NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 16},
		{Segmentation: packet.TCP, SegmentSize: 1000, HeaderLength: 40, NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 16},
		{Segmentation: packet.TCP, SegmentSize: 1000, HeaderLength: 60000, NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 16},
		{Segmentation: packet.UDP, SegmentSize: 1000, HeaderLength: 48, NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 6},
		{Segmentation: packet.TCP, SegmentSize: 1000, HeaderLength: 64, NeedsChecksum: true, ChecksumStart: 44, ChecksumOffset: 16},
		{Segmentation: 9, SegmentSize: 1000, HeaderLength: 64, NeedsChecksum: true, ChecksumStart: 44, ChecksumOffset: 16},
	} {
		e, w := anchor(t)
		p := pkt(b)
		p.Offload = o
		wantDrop(t, e, w.Process(start, ethPort, []*packet.Packet{p}), DropOffload)
	}
	// Offload state that points into the outer header is found out when that goes.
	e, w := anchor(t)
	p := pkt(tunnelled(0, c1, ha, udp(h1, cn, 100)))
	p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 44, ChecksumOffset: 2}
	wantDrop(t, e, w.Process(start, ethPort, []*packet.Packet{p}), DropOffload)
}

func TestJumboSegments(t *testing.T) {
	e, w := anchor(t)
	must(t, e.SetPort(Port{ID: ethPort, MTU: 9000}))
	var pkts []*packet.Packet
	for range 20 {
		pkts = append(pkts, super(packet.TCP, tcp(cn, h1, 0x10, nil, 60000), 8900))
	}
	out := sent(w.Process(start, ethPort, pkts), ethPort)
	if len(out) != 140 {
		t.Fatalf("%d segments; %v", len(out), drops(e.Counters()))
	}
	for _, b := range out {
		checkTransport(t, b[40:])
	}
}

// The buffers of one batch are bounded.
func TestScratchIsBounded(t *testing.T) {
	e, w := anchor(t)
	var pkts []*packet.Packet
	for range 3 {
		pkts = append(pkts, super(packet.UDP, udp(cn, h1, 20000), 3))
	}
	w.Process(start, ethPort, pkts)
	c := e.Counters()
	if c[Sent] != maxSmallScratch || c[DropScratch] != 1 {
		t.Errorf("%d sent, %d dropped", c[Sent], c[DropScratch])
	}
	// And free again for the next.
	one(t, process(w, ethPort, udp(cn, h1, 1)), ethPort)
}
