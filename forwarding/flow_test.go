package forwarding

import (
	"bytes"
	"testing"

	"kedge/forwarding/flow"
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
