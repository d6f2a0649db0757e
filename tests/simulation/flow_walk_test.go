package simulation

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"kedge/signaling"
)

// somewhere is a place that an uplink may be at.
func (w *internet) somewhere(uplink string) place {
	n := accesses
	if w.c.physical && uplink == "eth0" {
		n++
	}
	if i := w.rng.IntN(n); i < accesses {
		return placeAccess + place(i)
	}
	return placeHome
}

// mishap is one step of a walk.
func (w *internet) mishap() {
	m := w.mobiles[w.rng.IntN(len(w.mobiles))]
	l := w.proxies[w.rng.IntN(len(w.proxies))]
	// What is to come is called off by calm, or has been seen to by it.
	in := func(d time.Duration, do func()) {
		w.after(d, func() {
			if !w.calm {
				do()
			}
		})
	}
	later := func(d time.Duration, do func()) { in(w.upTo(d), do) }
	switch w.rng.IntN(21) {
	case 0, 1, 2:
		m.attach("eth0", w.somewhere("eth0"))
	case 3:
		// Quick moves.
		for i := range 1 + w.rng.IntN(6) {
			to := w.somewhere("eth0")
			in(time.Duration(i)*w.upTo(200*time.Millisecond), func() { m.attach("eth0", to) })
		}
	case 4:
		if _, up := m.at["wlan0"]; up {
			m.detach("wlan0")
		} else {
			m.attach("wlan0", w.somewhere("wlan0"))
		}
	case 5:
		m.detach("eth0")
		to := w.somewhere("eth0")
		later(10*time.Second, func() { m.attach("eth0", to) })
	case 6:
		// A crash, and a start at once.
		w.tally.restarts++
		if !w.c.stored {
			clear(m.store)
		}
		m.boot()
	case 7:
		// A stop in good order.
		m.handle(signaling.Shutdown{})
		m.stopping = true
		later(5*time.Second, func() {
			w.tally.restarts++
			m.boot()
		})
	case 8, 9:
		l.stopAnchor()
		later(20*time.Second, func() {
			if !l.up {
				l.boot()
			}
		})
	case 10:
		l.stopAnchor()
	case 11:
		w.agent.stopAnchor()
		later(10*time.Second, func() {
			if !w.agent.up {
				w.agent.boot()
			}
		})
	case 12:
		// A partition.
		places := []place{placeHome, placeAccess, placeAccess + 1, placeAccess + 2, placeProxy + place(l.number)}
		k := pair(places[w.rng.IntN(len(places))], places[w.rng.IntN(len(places))])
		w.cut[k] = true
		later(30*time.Second, func() { delete(w.cut, k) })
	case 13:
		// An operator's command, which may be in vain.
		for _, a := range m.role.flows.Anchors(m.time()) {
			if effects, err := m.role.flows.Switch(m.time(), a.Address, [...]string{"eth0", "wlan0", ""}[w.rng.IntN(3)]); err == nil {
				m.carryAll(effects)
				m.arm()
			}
		}
	case 14, 15, 16:
		for range 1 + w.rng.IntN(8) {
			later(time.Second, func() {
				if m.up {
					m.open(w.rng.IntN(profileCount), peerIn(w.rng.IntN(w.c.proxies+2), w.rng.IntN(5)))
				}
			})
		}
	case 17, 18:
		for len(m.flows) > 0 && w.rng.IntN(4) > 0 {
			m.shut(m.flows[w.rng.IntN(len(m.flows))])
		}
	case 19:
		// Nothing, for long.
		w.run(w.upTo(5 * time.Minute))
	case 20:
		m.clock += w.step()
	}
}

// weatherOf is that of a seed.
func weatherOf(seed uint64) weather {
	r := rand.New(rand.NewPCG(seed, 3))
	coin := func() bool { return r.IntN(2) == 0 }
	ms := func(n int) time.Duration { return time.Duration(r.IntN(n)) * time.Millisecond }
	w := weather{seed: seed, mobiles: 1 + r.IntN(3), proxies: 1 + r.IntN(4), overlap: coin(),
		near: time.Millisecond + ms(20), far: ms(100), jitter: ms(100), lag: ms(5), skew: time.Duration(r.IntN(4)) * time.Second,
		loss: [...]float64{0, 0.05, 0.2, 0.5}[r.IntN(4)], double: [...]float64{0, 0.1, 0.5}[r.IntN(3)],
		kept: coin(), stored: coin(), physical: r.IntN(3) == 0, hints: r.IntN(3) == 0, anycast: r.IntN(3) == 0, static: r.IntN(4) == 0, delegated: r.IntN(4) == 0,
		lifetime:   [...]time.Duration{20 * time.Second, time.Minute, 5 * time.Minute}[r.IntN(3)],
		tickets:    [...]time.Duration{0, 5 * time.Minute, time.Hour}[r.IntN(3)],
		quarantine: [...]time.Duration{0, 30 * time.Second, 5 * time.Minute}[r.IntN(3)],
		advertised: [...]time.Duration{10 * time.Second, time.Minute}[r.IntN(2)],
		idle:       [...]time.Duration{time.Second, 10 * time.Second, time.Minute}[r.IntN(3)],
		graceful:   [...]time.Duration{5 * time.Second, time.Minute}[r.IntN(2)],
		maxAnchors: [...]int{0, 0, 10}[r.IntN(3)], beat: 4 * time.Second,
	}
	// A home agent that was restarted has no tickets before the next advertisement, and a mobile node asks for another when
	// a quarter of the time is left.
	w.tickets = max(w.tickets, 5*w.advertised)
	return w
}

// walkFlows has mobile nodes with flows wander through mishaps and asserts that all is well again after them, and how soon.
func walkFlows(t *testing.T, seed uint64, traced bool) (time.Duration, tally) {
	t.Helper()
	w := newInternet(t, weatherOf(seed))
	w.traced = traced
	for _, m := range w.mobiles {
		m.attach("eth0", w.somewhere(""))
	}
	w.run(w.upTo(10 * time.Second))
	for _, m := range w.mobiles {
		m.retry()
	}
	for range 10 + w.rng.IntN(15) {
		w.run(w.upTo(5 * time.Second))
		w.mishap()
	}
	took := w.settle(25 * time.Minute)
	return took, w.tally
}

// flowSeeds is how many walks TestRandomWalksOfFlows takes, which KEDGE_FLOW_WALKS says too.
func flowSeeds(t *testing.T) uint64 {
	n := uint64(defaultFlowSeeds)
	if s := os.Getenv("KEDGE_FLOW_WALKS"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if testing.Short() {
		n = min(n, 50)
	}
	return n
}

func TestRandomWalksOfFlows(t *testing.T) {
	n := flowSeeds(t)
	const workers = 8
	var mu sync.Mutex
	var all tally
	for part := range uint64(workers) {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			var longest time.Duration
			var which uint64
			var sum tally
			for s := part; s < n; s += workers {
				d, y := walkFlows(t, *firstSeed+s, false)
				if sum.add(&y); d > longest {
					longest, which = d, *firstSeed+s
				}
			}
			t.Logf("order came back within %v, longest with seed %d: %+v", longest, which, sum)
			mu.Lock()
			defer mu.Unlock()
			all.add(&sum)
		})
	}
	t.Cleanup(func() {
		if n > 20 && (all.translated == 0 || all.restored == 0 || all.lost == 0 || all.terminated == 0) && !t.Failed() {
			t.Errorf("walks that met with nothing: %+v", all)
		}
	})
}

// TestOneWalkOfFlows prints what happens in one: go test ./tests/simulation -run OneWalkOfFlows -v -seed 445
func TestOneWalkOfFlows(t *testing.T) {
	t.Logf("%+v", weatherOf(*seed))
	walkFlows(t, *seed, testing.Verbose())
}
