package forwarding

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"kedge/forwarding/flow"
	"kedge/netstack/packet"
)

const knownUDPPort PortID = 5

var (
	dhoa3  = addr("2001:db8:d3::77")
	dhoa4  = addr("2001:db8:d4::77")
	proxy4 = netip.MustParseAddrPort("192.0.2.4:4191")
	proxy6 = netip.MustParseAddrPort("[2001:db8:d3::4]:4191")
)

// knownNode has d1 through an IPv6 tunnel, and dhoa3 and dhoa4 through datagrams over IPv6 and IPv4; correspondents cn, cn+1 and
// so on have one each, or h1.
func knownNode(t testing.TB) (*Engine, *Worker) {
	e, w := flowNode(t, flow.Config{})
	e.flowSeed = [2]uint64{1, 2}
	must(t, e.SetPort(Port{ID: knownUDPPort, UDP: true, MTU: 1500, Features: packet.PartialChecksum | packet.SegmentTCP | packet.SegmentUDP}))
	must(t, e.BindMobile(host(dhoa3), Tunnel{Local: addr("2001:db8:c1::9"), Remote: proxy6.Addr(), RemotePort: proxy6.Port(), Via: true, Port: knownUDPPort}))
	must(t, e.BindMobile(host(dhoa4), Tunnel{Remote: proxy4.Addr(), Local: addr("192.0.2.99"), RemotePort: proxy4.Port(), Via: true, Port: knownUDPPort}))
	for i, a := range []netip.Addr{d1, dhoa3, dhoa4} {
		if a != d1 {
			must(t, e.SetAddressUse(a, flow.Translation))
		}
		must(t, e.SetChoice(testProfile, host(numbered(i)), a, 0))
	}
	must(t, e.SetChoice(testProfile, host(numbered(3)), h1, 0))
	return e, w
}

func numbered(i int) netip.Addr {
	b := cn.As16()
	b[15] += byte(i)
	return netip.AddrFrom16(b)
}

// The short way does to a packet what the long one does.
func TestKnownFlowsGoAsOthersDo(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	short, w1 := knownNode(t)
	long, w2 := knownNode(t)
	var inUse int
	for now := start; now.Before(start.Add(300 * time.Second)); now = now.Add(time.Second) {
		in := []PortID{tunPort, ethPort, knownUDPPort}[r.IntN(3)]
		var a, b []*packet.Packet
		for range 1 + r.IntN(100) {
			p := randomKnown(r, in)
			q := pkt(nil)
			q.CopyFrom(p)
			a, b = append(a, p), append(b, q)
		}
		if r.IntN(10) == 0 { // the tables change, and forget what was noted
			mtu := 1280 + r.IntN(200)
			short.SetPathMTU(dhp1, mtu, now)
			long.SetPathMTU(dhp1, mtu, now)
			short.SetPathMTU(proxy6.Addr(), mtu, now)
			long.SetPathMTU(proxy6.Addr(), mtu, now)
		}
		got := w1.Process(now, in, a)
		want := processLong(w2, now, in, b)
		compareResults(t, got, want)
		for i := range w1.known.counts {
			if w1.known.counts[i] != 0 {
				t.Fatalf("%v not settled", Counter(i))
			}
		}
		release(t, now, short, w1)
		release(t, now, long, w2)
	}
	if a, b := short.Counters(), long.Counters(); a != b {
		t.Errorf("counters\n%v\nwant\n%v", a, b)
	}
	all := short.Flows().All(nil, 0, nil)
	for i := range all {
		s := &all[i]
		k := s.Key.Tuple()
		f := long.Flows().Lookup(&k)
		if f == nil {
			t.Errorf("%v is not in the other table", s.Key)
			continue
		}
		o, _ := long.Flows().Snapshot(f.Number())
		o.Number, o.Created, o.LastSeen = s.Number, s.Created, s.LastSeen
		if o != *s {
			t.Errorf("%+v\nwant %+v", *s, o)
		}
		if s.State == flow.InUse && s.PacketsOut > 5 && s.PacketsIn > 5 {
			inUse++
		}
	}
	if inUse < 20 || len(all) != long.Flows().Len() {
		t.Errorf("%d of %d flows with packets both ways, and %d in the other table", inUse, len(all), long.Flows().Len())
	}
}

// processLong is Process without the short way.
func processLong(w *Worker, now time.Time, in PortID, pkts []*packet.Packet) *Result {
	w.begin(now, len(pkts))
	for _, p := range pkts {
		switch in {
		case tunPort:
			w.fromHost(p, in)
		case knownUDPPort:
			w.fromDatagram(p, in)
		default:
			w.fromLink(p, in)
		}
	}
	return w.end()
}

func release(t *testing.T, now time.Time, e *Engine, w *Worker) {
	for _, n := range e.TakeNews(nil) {
		if n.Event != flow.Waits {
			continue
		}
		for r := w.Release(now, n.Flow.Number, h1, 0); r.More; {
			r = w.Release(now, n.Flow.Number, h1, 0)
		}
	}
}

// randomKnown is a packet of one of few flows, mostly an ordinary one.
func randomKnown(r *rand.Rand, in PortID) *packet.Packet {
	i := r.IntN(5)
	local, remote, length := h1, numbered(i), r.IntN(200)
	if r.IntN(8) == 0 {
		length = 1100 + r.IntN(400)
	}
	if in != tunPort {
		local = []netip.Addr{d1, dhoa3, dhoa4, h1, d2}[i]
		if r.IntN(20) == 0 {
			local = []netip.Addr{d1, dhoa3, dhoa4, h1, d2}[r.IntN(5)]
		}
	}
	var b []byte
	ports := uint16(r.IntN(6)) + 4000
	source, destination := local, remote
	if in != tunPort {
		source, destination = remote, local
	}
	class := uint8(r.IntN(256))
	kind := packet.TCP
	if r.IntN(2) == 0 {
		kind = packet.UDP
		b = udpClass(class, source, destination, length)
		binary.BigEndian.PutUint16(b[40:], ports)
		binary.BigEndian.PutUint16(b[42:], ports)
		if r.IntN(10) == 0 {
			b[46], b[47] = 0, 0
		}
	} else {
		flags := []uint8{ack, ack, ack, ack, ack, ack, syn, synAck, ack | fin, rst}[r.IntN(10)]
		b = segment{source, destination, ports, ports, r.Uint32N(100), r.Uint32N(100), flags, length}.bytes()
		b[0], b[1] = b[0]|class>>4, b[1]|class<<4
	}
	p := pkt(b)
	if r.IntN(3) == 0 && in != ethPort {
		p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: map[packet.Segmentation]uint16{packet.TCP: 16, packet.UDP: 6}[kind]}
		partial(p)
		if length > 150 {
			superPacket(p, kind, 50+r.IntN(100))
		}
	}
	spoil(r, p)
	return wrapKnown(r, p, in, local)
}

// spoil makes some packets unusual.
func spoil(r *rand.Rand, p *packet.Packet) {
	b := p.Bytes()
	switch r.IntN(60) {
	case 0:
		b[4]++ // cut off
	case 1:
		p.SetLen(p.Len() - 1)
	case 2:
		binary.BigEndian.PutUint16(b[4:], binary.BigEndian.Uint16(b[4:])-1) // something behind it
	case 3:
		b[6] = []byte{44, 60, 43, 0, 58, 132, 59}[r.IntN(7)]
	case 4:
		p.Offload.ChecksumOffset += 2
	case 5:
		p.Offload.HeaderLength = 3
	case 6:
		p.Offload.SegmentSize = 0
	case 7:
		p.SetLen(r.IntN(p.Len()))
	}
}

// wrapKnown puts a packet that is not from the host into the tunnel of local, or now and then into another one.
func wrapKnown(r *rand.Rand, p *packet.Packet, in PortID, local netip.Addr) *packet.Packet {
	if r.IntN(20) == 0 {
		local = []netip.Addr{d1, dhoa3, dhoa4, h1, d2}[r.IntN(5)]
	}
	switch in {
	case ethPort:
		to := c1
		if r.IntN(20) == 0 {
			to = c2
		}
		proxy := map[netip.Addr]netip.Addr{d1: dhp1, d2: dhp2, h1: ha, dhoa3: proxy6.Addr(), dhoa4: dhp1}[local]
		b := tunnelled(uint8(r.IntN(4)), proxy, to, bytes.Clone(p.Bytes()))
		p.Set(b)
	case knownUDPPort:
		p.Peer, p.Local = proxy4, addr("192.0.2.99")
		if local == dhoa3 {
			p.Peer, p.Local = proxy6, c1
		}
		if r.IntN(20) == 0 {
			p.Peer = netip.AddrPortFrom(p.Peer.Addr(), 9)
		}
		p.TrafficClass = uint8(r.IntN(256))
	}
	return p
}

func compareResults(t *testing.T, got, want *Result) {
	t.Helper()
	if len(got.Outputs) != len(want.Outputs) || len(got.ToHost) != len(want.ToHost) || len(got.Signals) != len(want.Signals) {
		t.Fatalf("%d outputs, want %d; %d to the host, want %d", len(got.Outputs), len(want.Outputs), len(got.ToHost), len(want.ToHost))
	}
	for i, o := range got.Outputs {
		x := want.Outputs[i]
		if o.Port != x.Port || len(o.Packets) != len(x.Packets) {
			t.Fatalf("%d packets out of port %d, want %d out of %d", len(o.Packets), o.Port, len(x.Packets), x.Port)
		}
		for j, p := range o.Packets {
			q := x.Packets[j]
			if !bytes.Equal(p.Bytes(), q.Bytes()) {
				// Fragments and segments have numbers of their own.
				if b := p.Bytes(); len(b) == q.Len() && len(b) > 48 && b[6] == 44 && bytes.Equal(b[48:], q.Bytes()[48:]) {
					continue
				}
				t.Fatalf("%x\nwant\n%x", p.Bytes(), q.Bytes())
			}
			if p.Offload != q.Offload || p.NextHop != q.NextHop || p.Peer != q.Peer || p.Local != q.Local || p.TrafficClass != q.TrafficClass {
				t.Fatalf("%+v %v %v %v\nwant %+v %v %v %v", p.Offload, p.NextHop, p.Peer, p.Local, q.Offload, q.NextHop, q.Peer, q.Local)
			}
		}
	}
}

// Known flows cost no allocation, in whichever tunnel.
func TestKnownFlowsDoNotAllocate(t *testing.T) {
	e, w := knownNode(t)
	for i := range 4 {
		b := udp(h1, numbered(i), 64)
		work, pkts := pkt(b), make([]*packet.Packet, 1)
		run := func() {
			work.Set(b)
			pkts[0] = work
			w.Process(start, tunPort, pkts)
		}
		run()
		before := e.Counters()[Encapsulated]
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%v allocations", n)
		}
		if e.Counters()[Encapsulated] == before {
			t.Error("nothing left")
		}
	}
}
