package forwarding

import (
	"bytes"
	"testing"
	"time"

	"kedge/netstack/packet"
)

var c3 = addr("2001:db8:c3::1")

// update is a Mobility Header message of h1 from c3, as long as a Binding Update.
func update() []byte {
	return ipv6(0, c3, ha, 60, 64, append(homeOption(135, h1), make([]byte, 32)...))
}

func patient(t testing.TB) (*Engine, *Worker) {
	e := New(Options{Anchor: true, AwaitBindings: true})
	must(t, e.SetPort(Port{ID: ethPort, MTU: 1500}))
	must(t, e.SetLocal(ha, ethPort))
	must(t, e.SetRoute(host(cn), ethPort, router))
	must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c1}))
	return e, e.NewWorker()
}

// What comes behind a Binding Update in the same batch leaves once signalling has bound the new care-of address.
func TestPacketsBehindABindingUpdate(t *testing.T) {
	e, w := patient(t)
	inner := udp(h1, cn, 20)
	r := w.Process(start, ethPort, []*packet.Packet{pkt(update()), pkt(tunnelled(0, c3, ha, inner)), pkt(tunnelled(3, c3, ha, inner))})
	if len(r.Signals) != 1 || len(r.Early) != 2 || len(r.Outputs) != 0 {
		t.Fatalf("came out as %+v", *r)
	}
	early := r.Early[0]
	if early.In != ethPort || early.OuterSource != c3 || early.OuterDestination != ha || r.Early[1].OuterTrafficClass != 3 {
		t.Errorf("early %+v", r.Early)
	}
	if !bytes.Equal(early.Packet.Bytes(), inner) {
		t.Errorf("early inner packet %x, want %x", early.Packet.Bytes(), inner)
	}
	wantCount(t, e, DeliveredEarly, 2)
	must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c3}))
	other := e.NewWorker()
	again := func() *Result {
		return other.Reassembled(start, early.In, early.OuterSource, early.OuterDestination, early.OuterTrafficClass, pkt(inner))
	}
	out := one(t, again(), ethPort)
	inner[7]--
	if !bytes.Equal(out, inner) {
		t.Errorf("got %x, want %x", out, inner)
	}
	inner[7]++
	// It was refused: no second chance.
	must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c1}))
	wantDrop(t, e, again(), DropOuterSource)
	w.Reassembled(start, ethPort, c3, ha, 0, pkt(inner))
	wantCount(t, e, DropOuterSource, 2)
}

func TestEarlyIsBounded(t *testing.T) {
	late := tunnelled(0, c3, ha, udp(h1, cn, 1))
	early := func(w *Worker, d time.Duration, b []byte) int {
		return len(w.Process(start.Add(d), ethPort, []*packet.Packet{pkt(b)}).Early)
	}
	for _, c := range []struct {
		name string
		d    time.Duration
		b    []byte
		want int
	}{
		{"at once", 0, late, 1},
		{"just in time", earlyTime - 1, late, 1},
		{"too late", earlyTime, late, 0},
		{"from elsewhere", 0, tunnelled(0, c2, ha, udp(h1, cn, 1)), 0},
		{"of nobody", 0, tunnelled(0, c3, ha, udp(h3, cn, 1)), 0},
	} {
		_, w := patient(t)
		process(w, ethPort, update())
		if n := early(w, c.d, c.b); n != c.want {
			t.Errorf("%s: %d early", c.name, n)
		}
	}
	_, w := patient(t)
	if early(w, 0, late) != 0 {
		t.Error("early without a message")
	}
	process(w, ethPort, update())
	n := 0
	for range 2 * earlyPackets {
		n += early(w, 0, late)
	}
	if n != earlyPackets {
		t.Errorf("%d early after one message", n)
	}
	e, w := anchor(t)
	process(w, ethPort, update())
	wantDrop(t, e, process(w, ethPort, late), DropOuterSource)
}

func TestEarlyDoesNotAllocate(t *testing.T) {
	_, w := patient(t)
	first, second := pkt(update()), pkt(tunnelled(0, c3, ha, udp(h1, cn, 100)))
	pkts := []*packet.Packet{packet.New(packet.MaxLength), packet.New(packet.MaxLength)}
	run := func() {
		pkts[0].CopyFrom(first)
		pkts[1].CopyFrom(second)
		if r := w.Process(start, ethPort, pkts); len(r.Early) != 1 {
			t.Fatal("not early")
		}
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
