package forwarding

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"kedge/forwarding/flow"
	"kedge/netstack/packet"
)

func TestFlowFollowsChoice(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	must(t, e.SetChoice(testProfile, all, d1, 42))
	b := inner(t, one(t, process(w, tunPort, out(4000, 100, 0, syn, 0)), ethPort), dhp1)
	if addrAt(b, 8) != d1 || addrAt(b, 24) != cn {
		t.Fatalf("%v -> %v", addrAt(b, 8), addrAt(b, 24))
	}
	want := segment{cn, h1, 80, 4000, 500, 101, synAck, 0}.bytes()
	got := one(t, process(w, ethPort, tunnelled(0, dhp1, c1, in(d1, 4000, 500, 101, synAck, 0))), tunPort)
	if !bytes.Equal(got, want) {
		t.Errorf("to the host\n%x, want\n%x", got, want)
	}
	s := onlyFlow(t, e)
	if s.Address != d1 || s.Decision != 42 || s.Initiator != flow.MobileNode || s.Profile != testProfile ||
		s.PacketsOut != 1 || s.PacketsIn != 1 || s.TCP != flow.TCPOpening {
		t.Errorf("%+v", s)
	}
	// What the choice becomes later is nothing to it.
	must(t, e.SetChoice(testProfile, all, h1, 43))
	b = inner(t, one(t, process(w, tunPort, out(4000, 101, 501, ack, 10)), ethPort), dhp1)
	if addrAt(b, 8) != d1 {
		t.Errorf("from %v", addrAt(b, 8))
	}
	b = inner(t, one(t, process(w, tunPort, out(4001, 101, 0, syn, 0)), ethPort), ha)
	if addrAt(b, 8) != h1 {
		t.Errorf("from %v", addrAt(b, 8))
	}
	if n := e.Flows().Uses(d1); n != 1 {
		t.Errorf("%d flows use d1", n)
	}
}

func TestFlowHeldAndReleased(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	r := process(w, tunPort, udp(h1, cn, 10))
	if len(r.Outputs) != 0 || !r.News {
		t.Fatalf("%+v", r)
	}
	process(w, tunPort, udp(h1, cn, 11))
	news := e.TakeNews(nil)
	if len(news) != 1 || news[0].Event != flow.Waits || news[0].Flow.Key.Remote != cn || news[0].Flow.Profile != testProfile {
		t.Fatalf("%+v", news)
	}
	number := news[0].Flow.Number
	r = w.Release(start, number, d1, 7)
	sentOut := sent(r, ethPort)
	if len(sentOut) != 2 || !r.More {
		t.Fatalf("%d sent, more %v", len(sentOut), r.More)
	}
	for i, b := range sentOut {
		if b := inner(t, b, dhp1); addrAt(b, 8) != d1 || len(b) != 48+10+i {
			t.Errorf("packet %d of %d octets from %v", i, len(b), addrAt(b, 8))
		}
	}
	// One that comes in between waits for its turn.
	if r := process(w, tunPort, udp(h1, cn, 12)); len(r.Outputs) != 0 {
		t.Fatal("overtook those that waited")
	}
	r = w.Release(start, number, d1, 7)
	if b := inner(t, one(t, r, ethPort), dhp1); !r.More || len(b) != 60 {
		t.Fatal("not the one in between")
	}
	if r = w.Release(start, number, d1, 7); r.More || len(r.Outputs) != 0 {
		t.Fatalf("%+v", r)
	}
	inner(t, one(t, process(w, tunPort, udp(h1, cn, 13)), ethPort), dhp1)
	if s := onlyFlow(t, e); s.State != flow.InUse || s.Decision != 7 || s.PacketsOut != 4 {
		t.Errorf("%+v", s)
	}
}

func TestFlowsFromOutsideStay(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	must(t, e.SetChoice(testProfile, all, d1, 1))
	b := in(h1, 4000, 500, 0, syn, 0)
	if got := one(t, process(w, ethPort, tunnelled(0, ha, c1, b)), tunPort); !bytes.Equal(got, b) {
		t.Errorf("to the host %x", got)
	}
	b = out(4000, 100, 501, synAck, 0)
	if got := inner(t, one(t, process(w, tunPort, b), ethPort), ha); !bytes.Equal(got, b) {
		t.Errorf("answered %x", got)
	}
	if s := onlyFlow(t, e); s.Initiator != flow.Correspondent || s.Address != h1 || s.Profile != -1 {
		t.Errorf("%+v", s)
	}
	// An echo of the correspondent's is no answer to one of the host's with the same identifier.
	one(t, process(w, ethPort, tunnelled(0, ha, c1, icmp6(cn, h1, 64, 128, 0, 9<<16, nil))), tunPort)
	inner(t, one(t, process(w, tunPort, icmp6(h1, cn, 64, 129, 0, 9<<16, nil)), ethPort), ha)
	request := inner(t, one(t, process(w, tunPort, icmp6(h1, cn, 64, 128, 0, 9<<16, nil)), ethPort), dhp1)
	if addrAt(request, 8) != d1 {
		t.Errorf("echo request from %v", addrAt(request, 8))
	}
	if n := e.Flows().Len(); n != 3 {
		t.Errorf("%d flows", n)
	}
}

func TestFlowsThatStay(t *testing.T) {
	for _, c := range []struct {
		name      string
		b         []byte
		proxy     netip.Addr
		initiator flow.Initiator
		flows     int
	}{
		{"middle of a connection", out(4000, 1, 2, ack, 5), ha, flow.UnknownInitiator, 1},
		{"reset", out(4000, 1, 2, rst, 0), ha, 0, 0},
		{"the host's own address", udp(d2, cn, 1), dhp2, flow.MobileNode, 1},
		{"not translated", ipv6(0, h1, cn, 132, 64, make([]byte, 12)), ha, flow.MobileNode, 1},
		{"no ports", ipv6(0, h1, cn, 50, 64, make([]byte, 12)), ha, flow.MobileNode, 1},
		{"short", ipv6(0, h1, cn, 6, 64, make([]byte, 12)), ha, flow.UnknownInitiator, 1},
		{"other ICMPv6", icmp6(h1, cn, 64, 139, 0, 0, nil), ha, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := flowNode(t, flow.Config{})
			must(t, e.SetChoice(testProfile, all, d1, 1))
			b := one(t, process(w, tunPort, c.b), ethPort)
			if addrAt(b, 24) != c.proxy || !bytes.Equal(b[40:], c.b) {
				t.Errorf("to %v: %x", addrAt(b, 24), b[40:])
			}
			if n := e.Flows().Len(); n != c.flows {
				t.Fatalf("%d flows", n)
			}
			if c.flows > 0 && onlyFlow(t, e).Initiator != c.initiator {
				t.Errorf("%+v", onlyFlow(t, e))
			}
		})
	}
}

func TestInboundThatNobodyExpects(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	must(t, e.SetChoice(testProfile, all, d1, 1))
	refused := func(b []byte) {
		t.Helper()
		r := one(t, process(w, ethPort, tunnelled(0, dhp1, c1, b)), ethPort)
		wantICMP(t, inner(t, r, dhp1), d1, cn, 1, 3)
	}
	refused(in(d1, 4000, 1, 0, syn, 0))
	refused(udp(cn, d1, 1))
	refused(icmp6(cn, d1, 64, 128, 0, 7<<16, nil))
	wantCount(t, e, DropFlowUnknown, 3)
	// Errors are not answered with errors.
	wantDrop(t, e, process(w, ethPort, tunnelled(0, dhp1, c1, icmp6(cn, d1, 64, 1, 0, 0, udp(d1, cn, 1)))), DropErrorUnrelated)
	// The flow of another remote port is another flow, and one that uses the home address is not reached by d1.
	process(w, tunPort, out(4000, 1, 0, syn, 0))
	refused(segment{cn, d1, 81, 4000, 1, 2, synAck, 0}.bytes())
	must(t, e.SetChoice(testProfile, all, h1, 1))
	process(w, tunPort, out(4001, 1, 0, syn, 0))
	refused(in(d1, 4001, 1, 2, synAck, 0))
	// What comes to the home address for a flow that is elsewhere is not for the program.
	wantDrop(t, e, process(w, ethPort, tunnelled(0, ha, c1, in(h1, 4000, 1, 2, synAck, 0))), DropFlowElsewhere)
	// Nor may another tunnel bring it.
	wantDrop(t, e, process(w, ethPort, tunnelled(0, ha, c1, in(d1, 4000, 1, 2, synAck, 0))), DropOuterSource)
	// The host's own address gets everything.
	one(t, process(w, ethPort, tunnelled(0, dhp2, c1, in(d2, 5, 1, 0, syn, 0))), tunPort)
}

// No two flows ever share address, remote end and ports, whatever hosts and control do.
func TestNoTwoFlowsShare(t *testing.T) {
	e, first := flowNode(t, flow.Config{MaxFlows: 3000})
	workers := []*Worker{first, e.NewWorker()}
	var control, traffic sync.WaitGroup
	stop := make(chan struct{})
	control.Add(1)
	go func() {
		defer control.Done()
		w := e.NewWorker()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			switch i % 7 {
			case 0:
				_ = e.SetAddressUse(d1, flow.Role(i%3)) // may be refused
			case 1:
				_ = e.SetAddressUse(d2, flow.Role((i+1)%3))
			case 2:
				_ = e.SetChoice(testProfile, all, []netip.Addr{h1, d1, d2}[i%3], uint32(i))
			case 3:
				_ = e.RemoveChoice(testProfile, all)
			}
			for _, n := range e.TakeNews(nil) {
				if n.Event == flow.Waits {
					for w.Release(start, n.Flow.Number, []netip.Addr{h1, d1, d2}[i%3], 1).More {
					}
				}
			}
			for _, n := range e.MatchingFlows(d1, -1, nil) {
				if n>>24%17 == 0 {
					w.Terminate(start, n)
				}
			}
		}
	}()
	for k, w := range workers {
		traffic.Add(1)
		go func() {
			defer traffic.Done()
			r := rand.New(rand.NewPCG(uint64(k), 2))
			for range 2000 {
				source := []netip.Addr{h1, d1, d2}[r.IntN(3)]
				b := segment{source, cn, uint16(r.IntN(200)), 80, 0, 0, []uint8{syn, ack}[r.IntN(2)], 0}.bytes()
				for _, o := range sent(process(w, tunPort, b), ethPort) {
					if got := addrAt(o, 48); got != h1 && got != d1 && got != d2 {
						t.Errorf("from %v", got)
					}
				}
				process(w, ethPort, tunnelled(0, dhp1, c1, in(d1, uint16(r.IntN(200)), 1, 1, ack, 0)))
			}
		}()
	}
	traffic.Wait()
	close(stop)
	control.Wait()
	type end struct {
		address, remote netip.Addr
		local, port     uint16
	}
	seen := map[end]flow.Snapshot{}
	uses := map[netip.Addr]int{}
	for _, s := range e.Flows().All(nil, 0, nil) {
		if s.State != flow.InUse {
			continue
		}
		uses[s.Address]++
		k := end{s.Address, s.Key.Remote, s.Key.LocalPort, s.Key.RemotePort}
		if other, ok := seen[k]; ok {
			t.Fatalf("%+v and %+v", s, other)
		}
		seen[k] = s
	}
	for _, a := range []netip.Addr{h1, d1, d2} {
		if n := e.Flows().Uses(a); n != uses[a] {
			t.Errorf("%v: %d uses counted, %d flows", a, n, uses[a])
		}
	}
}

func TestFlowsDoNotAllocate(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	must(t, e.SetChoice(testProfile, all, d1, 1))
	connection(t, w, d1.String(), dhp1.String())
	process(w, tunPort, udp(d2, cn, 1))
	super := pkt(out(4000, 151, 601, ack, 30000))
	superPacket(super, packet.TCP, 1000)
	for _, c := range []struct {
		name string
		in   PortID
		p    *packet.Packet
	}{
		{"out", tunPort, pkt(out(4000, 151, 601, ack, 100))},
		{"in", ethPort, pkt(tunnelled(0, dhp1, c1, in(d1, 4000, 601, 151, ack, 100)))},
		{"direct", tunPort, pkt(udp(d2, cn, 100))},
		{"super-packet", tunPort, super},
		{"refused", ethPort, pkt(tunnelled(0, dhp1, c1, udp(cn, d1, 100)))},
		{"too big", tunPort, pkt(out(4000, 151, 601, ack, 1430))},
		{"error in", ethPort, pkt(tunnelled(0, dhp1, c1, icmp6(cn, d1, 64, 1, 0, 0, segment{d1, cn, 4000, 80, 151, 601, ack, 0}.bytes())))},
	} {
		now := start
		work, pkts := packet.New(packet.MaxLength), make([]*packet.Packet, 1)
		run := func() {
			now = now.Add(time.Second)
			work.CopyFrom(c.p)
			pkts[0] = work
			if r := w.Process(now, c.in, pkts); len(r.Outputs) != 1 {
				t.Fatalf("%s: %+v %v", c.name, r, drops(e.Counters()))
			}
		}
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations per packet", c.name, n)
		}
	}
}

func TestFlowsAtHome(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	native := Tunnel{Native: true, Via: true, Port: ethPort, NextHop: router}
	must(t, e.BindMobile(host(h1), native))
	must(t, e.SetChoice(testProfile, all, h1, 1))
	// The kernel takes what is for the home address; the flow hears of it.
	one(t, process(w, tunPort, out(4000, 100, 0, syn, 0)), ethPort)
	wantDrop(t, e, process(w, ethPort, in(h1, 4000, 500, 101, synAck, 0)), DropAtHome)
	one(t, process(w, tunPort, out(4000, 101, 501, ack, 0)), ethPort)
	if s := onlyFlow(t, e); s.TCP != flow.TCPEstablished || s.PacketsIn != 1 {
		t.Errorf("%+v", s)
	}
	// On the link of a home-proxy, what is for its address comes without a tunnel too.
	must(t, e.BindMobile(host(d1), native))
	must(t, e.SetChoice(testProfile, all, d1, 2))
	if b := one(t, process(w, tunPort, out(4001, 100, 0, syn, 0)), ethPort); addrAt(b, 8) != d1 {
		t.Errorf("from %v", addrAt(b, 8))
	}
	if b := one(t, process(w, ethPort, in(d1, 4001, 500, 101, synAck, 0)), tunPort); addrAt(b, 24) != h1 {
		t.Errorf("to %v", addrAt(b, 24))
	}
}

// A datagram in fragments and a super-packet wait like others.
func TestHeldFragmentsAndSuperPackets(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	fragments := cut(udp(h1, cn, 2000), 1000)
	for _, b := range fragments {
		if r := process(w, tunPort, b); len(r.Outputs) > 0 {
			t.Fatalf("sent %x", sent(r, ethPort))
		}
	}
	r := w.Release(start, onlyFlow(t, e).Number, d1, 1)
	got := sent(r, ethPort)
	if len(got) != len(fragments) {
		t.Fatalf("%d fragments, want %d", len(got), len(fragments))
	}
	for i, b := range got {
		if b = b[40:]; addrAt(b, 8) != d1 || !bytes.Equal(b[24:48], fragments[i][24:48]) {
			t.Errorf("fragment %d is %x", i, b)
		}
	}
	super := pkt(datagramFrom(4002, 5000))
	superPacket(super, packet.UDP, 1000)
	if r := w.Process(start, tunPort, []*packet.Packet{super}); len(r.Outputs) > 0 {
		t.Fatal("not held")
	}
	for _, n := range e.TakeNews(nil) {
		if n.Event == flow.Waits && n.Flow.Key.LocalPort == 4002 {
			got = sent(w.Release(start, n.Flow.Number, d1, 1), ethPort)
		}
	}
	if len(got) != 5 {
		t.Fatalf("%d segments, want 5", len(got))
	}
	for _, b := range got {
		if b := inner(t, b, dhp1); addrAt(b, 8) != d1 || len(b) != 1048 {
			t.Errorf("%d octets from %v", len(b), addrAt(b, 8))
		}
	}
}

// datagramFrom is a datagram from a port of the host.
func datagramFrom(port uint16, payload int) []byte {
	b := udp(h1, cn, payload)
	b[40], b[41] = byte(port>>8), byte(port)
	return b
}
