package forwarding

import (
	"testing"
	"time"

	"kedge/netstack/packet"
)

// A mobile node that was at c2 has moved to c1, and what left before is taken for half a second.
func moved(t testing.TB) (*Engine, *Worker) {
	e, w := anchor(t)
	must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c1, Previous: &Previous{Remote: c2, Until: start.Add(500 * time.Millisecond)}}))
	return e, w
}

func TestPreviousCareOfAddress(t *testing.T) {
	at := func(w *Worker, d time.Duration, b []byte) *Result {
		return w.Process(start.Add(d), ethPort, []*packet.Packet{pkt(b)})
	}
	late := tunnelled(0, c2, ha, udp(h1, cn, 20))
	e, w := moved(t)
	for _, d := range []time.Duration{0, 499 * time.Millisecond} {
		one(t, at(w, d, late), ethPort)
	}
	wantCount(t, e, Decapsulated, 2)
	one(t, at(w, 0, tunnelled(0, c1, ha, udp(h1, cn, 20))), ethPort)
	wantDrop(t, e, at(w, 500*time.Millisecond, late), DropOuterSource)

	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"a third care-of address", tunnelled(0, addr("2001:db8:c3::1"), ha, udp(h1, cn, 1))},
		{"another outer destination", tunnelled(0, c2, addr("2001:db8:a::2"), udp(h1, cn, 1))},
		{"the home address of a node that is elsewhere", tunnelled(0, c1, ha, udp(h2, cn, 1))},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := moved(t)
			must(t, e.SetLocal(addr("2001:db8:a::2"), ethPort))
			wantDrop(t, e, at(w, 0, c.b), DropOuterSource)
		})
	}
	t.Run("packets to it go to the present one only", func(t *testing.T) {
		_, w := moved(t)
		if out := one(t, at(w, 0, udp(cn, h1, 1)), ethPort); [16]byte(out[24:40]) != c1.As16() {
			t.Errorf("tunnelled to %x", out[24:40])
		}
	})
	t.Run("unbound", func(t *testing.T) {
		e, w := moved(t)
		e.UnbindAnchored(host(h1))
		at(w, 0, late)
		wantCount(t, e, DropNoBinding, 1)
	})
}

func TestPreviousCareOfAddressDoesNotAllocate(t *testing.T) {
	_, w := moved(t)
	work, pkts := packet.New(packet.MaxLength), make([]*packet.Packet, 1)
	from := pkt(tunnelled(0, c2, ha, udp(h1, cn, 100)))
	run := func() {
		work.CopyFrom(from)
		pkts[0] = work
		w.Process(start, ethPort, pkts)
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func TestAnchored(t *testing.T) {
	e, _ := moved(t)
	if tunnel, ok := e.Anchored(host(h1)); !ok || tunnel.Remote != c1 || tunnel.Previous.Remote != c2 {
		t.Errorf("anchored %+v, %v", tunnel, ok)
	}
	if _, ok := e.Anchored(host(h3)); ok {
		t.Error("anchored without BindAnchored")
	}
	e.UnbindAnchored(host(h1))
	if _, ok := e.Anchored(host(h1)); ok {
		t.Error("anchored after UnbindAnchored")
	}
}
