package simulation

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kedge/signaling/mobilenode"
)

// wrong says what keeps the world from being in order; empty if it is.
func (w *world) wrong() string {
	s := w.mn.status()
	switch {
	case w.mn.at == homeLink && w.c.physical:
		switch {
		case s.State != mobilenode.StateAtHome:
			return fmt.Sprintf("mobile node at home is %q (%s)", s.State, s.LastError)
		case w.mn.bind == nil || !w.mn.bind.Native:
			return fmt.Sprintf("mobile node at home has %+v", w.mn.bind)
		case w.ha.defends || w.ha.careOf.IsValid():
			return fmt.Sprintf("home agent serves a mobile node at home through %v", w.ha.careOf)
		}
	default:
		switch {
		case s.State != mobilenode.StateRegistered:
			return fmt.Sprintf("mobile node away is %q (%s)", s.State, s.LastError)
		case !links[w.mn.at].prefix.Contains(s.CareOf):
			return fmt.Sprintf("care-of address %v on %s", s.CareOf, links[w.mn.at].name)
		case w.mn.bind == nil || w.mn.bind.Local != s.CareOf || w.mn.bind.Remote != agentAddr:
			return fmt.Sprintf("mobile node has %+v for care-of address %v", w.mn.bind, s.CareOf)
		case w.ha.careOf != s.CareOf:
			return fmt.Sprintf("home agent has %v, mobile node %v", w.ha.careOf, s.CareOf)
		case w.c.physical && !w.ha.defends:
			return "home agent does not defend the home address"
		}
	}
	if w.now-w.delivered > time.Second {
		return fmt.Sprintf("no data for %v", w.now-w.delivered)
	}
	return ""
}

// settle lets the world come to order in calm, and returns how long that took.
func (w *world) settle(limit time.Duration) time.Duration {
	w.t.Helper()
	w.calm = true
	if !w.ha.up {
		w.ha.start()
	}
	if !w.mn.up {
		w.mn.carrier(true)
	}
	begin := w.now
	for w.now-begin < limit {
		w.run(time.Second)
		if w.wrong() == "" {
			took := w.now - begin
			w.stays()
			return took
		}
	}
	w.t.Fatalf("seed %d: after %v of calm: %s\n%+v\n%+v", w.c.seed, limit, w.wrong(), w.mn.status(), w.c)
	return 0
}

// stays lets calm last, over several lifetimes where they are short, and fails if order does not.
func (w *world) stays() {
	w.t.Helper()
	for range 6 {
		w.run(10 * time.Second)
		if wrong := w.wrong(); wrong != "" {
			w.t.Fatalf("seed %d: order did not last: %s\n%+v\n%+v", w.c.seed, wrong, w.mn.status(), w.c)
		}
	}
}

// mishap is one step of a walk.
func (w *world) mishap() {
	places := len(links)
	if !w.c.physical {
		places = homeLink
	}
	switch w.rng.IntN(12) {
	case 0, 1, 2, 3:
		w.mn.goTo(w.rng.IntN(places), true)
	case 4:
		w.mn.goTo(w.rng.IntN(places), false)
	case 5:
		w.mn.carrier(!w.mn.up)
	case 6:
		w.mn.carrier(true)
	case 7:
		w.ha.stop()
		w.after(w.upTo(5*time.Second), func() {
			if !w.ha.up {
				w.ha.start()
			}
		})
	case 8:
		w.mn.start()
	case 9:
		w.mn.clock += w.step()
	case 10:
		w.ha.clock += w.step()
	case 11:
		// Quick moves.
		for i := range 1 + w.rng.IntN(6) {
			to := w.rng.IntN(places)
			w.after(time.Duration(i)*w.upTo(200*time.Millisecond), func() { w.mn.goTo(to, true) })
		}
	}
}

// drawn are the conditions of a seed.
func drawn(seed uint64) conditions {
	r := rand.New(rand.NewPCG(seed, 0))
	c := conditions{
		seed:  seed,
		delay: time.Duration(1+r.IntN(100)) * time.Millisecond, jitter: time.Duration(r.IntN(200)) * time.Millisecond,
		loss: [...]float64{0, 0.05, 0.2, 0.5}[r.IntN(4)], double: [...]float64{0, 0.1, 0.5}[r.IntN(3)],
		physical: r.IntN(2) == 0, stored: r.IntN(2) == 0, unauthenticated: r.IntN(4) == 0, discover: r.IntN(4) == 0,
		lifetime: [...]time.Duration{4 * time.Second, 20 * time.Second, time.Minute, time.Hour}[r.IntN(4)],
		interval: [...]time.Duration{70 * time.Millisecond, time.Second, 2 * time.Second, 3 * time.Second}[r.IntN(4)],
		told:     r.IntN(2) == 0,
	}
	return c
}

var (
	seeds = flag.Uint64("seeds", defaultSeeds, "how many random walks to take")
	seed  = flag.Uint64("seed", 0, "which random walk TestOneWalk and TestOneWalkOfFlows print")
	// firstSeed lets later runs of many walks go on where earlier ones ended.
	firstSeed = flag.Uint64("first-seed", 0, "the first random walk of TestRandomWalksOfFlows")
)

// walk has a mobile node wander through mishaps and asserts that all is well again after them, and how soon.
func walk(t *testing.T, seed uint64, traced bool) time.Duration {
	t.Helper()
	w := newWorld(t, drawn(seed))
	w.traced = traced
	w.mn.carrier(true)
	for range 10 + w.rng.IntN(10) {
		w.run(w.upTo(8 * time.Second))
		w.mishap()
	}
	return w.settle(15 * time.Minute)
}

func TestRandomWalks(t *testing.T) {
	n := *seeds
	if testing.Short() {
		n = min(n, 200)
	}
	const workers = 8
	for part := range uint64(workers) {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			var longest time.Duration
			var which uint64
			for s := part; s < n; s += workers {
				if d := walk(t, s, false); d > longest {
					longest, which = d, s
				}
			}
			t.Logf("order came back within %v, longest with seed %d", longest, which)
		})
	}
}

// TestOneWalk prints what happens in one: go test ./tests/simulation -run OneWalk -v -seed 445
func TestOneWalk(t *testing.T) {
	t.Logf("%+v", drawn(*seed))
	walk(t, *seed, true)
}
