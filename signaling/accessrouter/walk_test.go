package accessrouter

import (
	"math/rand/v2"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/database"
)

// TestWalk moves a host about at random while messages are lost, doubled and overtake each other, and looks at what is left when
// it stays and when it has gone. The network itself checks at every step that nothing is advertised unbound, nor attached and
// tunnelled at once.
func TestWalk(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		for _, ordering := range []Ordering{Timestamps, SequenceNumbers} {
			for seed := range uint64(5) {
				walk(t, mode, ordering, seed)
				if t.Failed() {
					t.Fatalf("ordering %d, seed %d", ordering, seed)
				}
			}
		}
	})
}

func walk(t *testing.T, mode database.Mode, ordering Ordering, seed uint64) {
	const count = 4
	random := rand.New(rand.NewPCG(seed, uint64(mode)))
	method := Method(random.IntN(2))
	w := network(t, mode, count, func(c *Config, d *database.Config) {
		c.Lifetime, c.Ordering, c.Deregistration = time.Minute, ordering, method
		d.Ordering, d.Deregistration = database.Ordering(ordering), database.Method(method)
	})
	w.fate = lossy(random, 5, 6, 30*time.Millisecond)
	at := 0
	for range 40 {
		switch random.IntN(10) {
		case 0:
			if at > 0 {
				w.detach(at)
			}
		case 1:
			if at > 0 {
				if i := w.info(at); len(i.PreviousMAARs) > 0 {
					w.handle(at, signaling.PrefixIdle{Prefix: i.PreviousMAARs[0].Prefix, Since: w.now.Add(-time.Hour)})
				}
			}
		case 2:
			if at > 0 {
				w.attach(at)
			}
		default:
			at = 1 + random.IntN(count)
			w.attach(at)
		}
		w.run(time.Duration(random.Int64N(int64(4 * time.Second))))
		missed(w, at, count, func() bool { return random.IntN(2) == 0 })
	}
	missed(w, at, count, func() bool { return true })
	// It stays where it is seen, in a network that works.
	w.fate = nil
	w.run(contention)
	w.attach(at)
	w.run(4 * time.Minute)
	settled(t, w, at, count)
	w.detach(at)
	w.run(8 * time.Minute)
	w.empty()
}

// missed has the links that the host has left notice, by neighbour unreachability, if at all.
func missed(w *world, at, count int, noticed func() bool) {
	for n := 1; n <= count; n++ {
		if n != at && noticed() {
			w.detach(n)
		}
	}
}

// settled checks that the host is served at MAAR at, and that all tunnels have both ends there.
func settled(t *testing.T, w *world, at, count int) {
	t.Helper()
	here := w.at(at)
	if s := w.info(at).State; s != "serving" {
		t.Errorf("MAAR %d: %s", at, s)
	}
	ends := 0
	for n := 1; n <= count; n++ {
		there := w.at(n)
		if n != at && len(there.native)+len(there.routers) > 0 {
			t.Errorf("MAAR %d still has %v, %v", n, there.native, there.routers)
		}
		for prefix, remote := range there.tunnels {
			ends++
			if remote != maar(at) || here.native[prefix].Remote != maar(n) {
				t.Errorf("MAAR %d has %v go to %v, where it is %+v", n, prefix, remote, here.native[prefix])
			}
		}
	}
	if len(here.routers) != ends+1 || len(here.native) != ends+1 {
		t.Errorf("MAAR %d has %d prefixes and %d routers, and there are %d tunnels", at, len(here.native), len(here.routers), ends)
	}
}
