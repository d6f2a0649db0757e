package dmipv6

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
)

// walker plays the programs of the mobile node, its network and its operator at random. What must never happen is checked
// by world.apply.
type walker struct {
	*world
	rng   *rand.Rand
	next  uint64
	flows map[netip.Addr]int
	// began is when the flows that are not decided were held.
	began map[uint64]time.Duration
	seen  int
	up    bool
}

// observe carries out what concerns flows in the effects since the last time.
func (k *walker) observe() {
	for ; k.seen < len(k.trace); k.seen++ {
		switch e := k.trace[k.seen]; x := e.effect.(type) {
		case signaling.Decide:
			if took := e.at - k.began[x.Flow]; took > defaultHoldTime {
				k.t.Fatalf("flow %d was held for %v", x.Flow, took)
			}
			delete(k.began, x.Flow)
			k.change(x.Address, 1)
		case signaling.Terminate:
			if x.Profile < 0 {
				k.change(x.Address, -k.flows[x.Address])
			}
		}
	}
}

func (k *walker) change(a netip.Addr, by int) {
	before := k.flows[a]
	k.flows[a] = max(before+by, 0)
	if a != home && (before == 0) != (k.flows[a] == 0) {
		k.use(a, k.flows[a])
	}
}

func (k *walker) step() {
	switch n := k.rng.IntN(100); {
	case n < 35:
		k.next++
		k.began[k.next] = k.now
		profile := k.rng.IntN(len(profiles()))
		remote := cnOf(k.rng.IntN(5), k.rng.IntN(3)) // of the fifth region there is no DHP
		if a := k.lookup(profile, remote); a.IsValid() {
			if !k.held[a] {
				k.t.Fatalf("%s is chosen and not held", a)
			}
			delete(k.began, k.next)
			k.change(a, 1)
			return
		}
		k.flow(k.next, profile, remote)
	case n < 55:
		for _, a := range slices.SortedFunc(maps.Keys(k.flows), netip.Addr.Compare) {
			if k.rng.IntN(2) == 0 {
				k.change(a, -1)
			}
		}
	case n < 63:
		k.up = true
		k.attach([]netip.Addr{careOfA, careOfB, careOfC}[k.rng.IntN(3)])
	case n < 66:
		k.careOf, k.up = netip.Addr{}, false
		k.handle(attached(netip.Addr{}))
		k.handle(signaling.HomeRegistration{HomeAgent: agent, Uplink: "eth0"})
	case n < 70:
		p := proxyAddr(k.rng.IntN(4))
		k.silent[p] = !k.silent[p]
	case n < 72:
		k.silent[agent] = !k.silent[agent]
	case n < 74:
		k.handle(signaling.HomeRegistration{HomeAgent: agent, Registered: true, AtHome: k.rng.IntN(2) == 0, CareOf: k.careOf, Uplink: "eth0"})
	case n < 76:
		// A DHP that has forgotten everything.
		k.addProxy(k.rng.IntN(4), nil)
	case n < 78:
		clear(k.began)
		k.kill()
		k.up = false
		for _, a := range slices.SortedFunc(maps.Keys(k.flows), netip.Addr.Compare) {
			if k.held[a] && k.flows[a] > 0 {
				k.use(a, k.flows[a])
			} else {
				k.flows[a] = 0
			}
		}
		k.seen = len(k.trace)
	case n < 80:
		k.handle(registration(k.careOf))
	default:
		k.run(time.Duration(k.rng.ExpFloat64() * float64([]time.Duration{20 * time.Millisecond, time.Second, 20 * time.Second}[k.rng.IntN(3)])))
	}
}

func TestRandomWalks(t *testing.T) {
	walks, steps := 60, 300
	if testing.Short() {
		walks = 10
	}
	for seed := range walks {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 99))
			w := newWorld(t, 4, func(c *Config) {
				c.Hints, c.Anycast = seed%2 == 0, seed%3 == 0
				c.MaxAnchors = []int{0, 2, 5}[seed%3]
				if seed%5 != 0 {
					c.Store = memory{}
				}
			})
			loss := []float64{0, 0, 0.1, 0.4}[seed%4]
			w.drop = func(netip.Addr, netip.Addr, []byte) bool { return rng.Float64() < loss }
			// Delays of their own reorder messages; duplicates come on top.
			w.oneWay = func(_, peer netip.Addr) time.Duration {
				d := 5 * time.Millisecond
				if peer == agent {
					d = 40 * time.Millisecond
				}
				return d + time.Duration(rng.ExpFloat64()*float64(d)/2)
			}
			w.alter = func(r signaling.Received) []signaling.Received {
				if rng.IntN(10) == 0 {
					return []signaling.Received{r, r}
				}
				return []signaling.Received{r}
			}
			k := &walker{world: w, rng: rng, flows: map[netip.Addr]int{}, began: map[uint64]time.Duration{}}
			k.seen = len(w.trace)
			w.attach(careOfA)
			for range steps {
				k.step()
				k.observe()
			}
			// In peace everything comes right again: flows end, and then all addresses are given back.
			w.drop, w.silent = nil, map[netip.Addr]bool{}
			w.oneWay = func(_, peer netip.Addr) time.Duration {
				if peer == agent {
					return 40 * time.Millisecond
				}
				return 5 * time.Millisecond
			}
			w.attach(careOfB)
			for a := range k.flows {
				k.change(a, -k.flows[a])
			}
			k.run(2 * time.Second)
			k.observe()
			if len(k.began) != 0 {
				t.Errorf("flows %v are still held", k.began)
			}
			for a := range k.flows {
				k.change(a, -k.flows[a])
			}
			k.run(20 * time.Minute)
			if len(w.held) != 1 || len(w.bound) != 0 || len(w.hints) != 0 {
				t.Errorf("in the end held %v, bound %v, hints %v", w.held, w.bound, w.hints)
			}
			for i := range 4 {
				w.run(time.Second)
				if a, took := w.settle(uint64(1_000_000+i), 0, cnOf(i, 1)); !poolOf(i).Contains(a) || took > 100*time.Millisecond {
					d, _ := w.m.Decision(w.decided[uint64(1_000_000+i)].Decision)
					t.Errorf("in the end a flow to %d has %s after %v: %s", i, a, took, d.Why)
				}
			}
		})
	}
}
