package homeproxy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// lease is one in the slow model: of an address or, for a delegated prefix, its home address.
type lease struct {
	home netip.Addr
	who  string
	ends time.Time
	// ended says that it was given back, at ends.
	ended bool
}

// model is a list of everything that was ever lent.
type model struct{ leases []lease }

// holder is who has home at now, and if nobody has, before is who had it last, not longer ago than the quarantine.
func (m *model) holder(home netip.Addr, now time.Time, quarantine time.Duration) (who, before string) {
	for _, l := range m.leases {
		switch {
		case l.home != home:
		case !l.ended && now.Before(l.ends):
			return l.who, ""
		case now.Before(l.ends.Add(quarantine)):
			before = l.who
		}
	}
	return "", before
}

func (m *model) lend(home netip.Addr, who string, ends time.Time, now time.Time) {
	for i, l := range m.leases {
		if l.home == home && l.who == who && !l.ended && now.Before(l.ends) {
			m.leases[i].ends = ends
			return
		}
	}
	m.leases = append(m.leases, lease{home: home, who: who, ends: ends})
}

func (m *model) end(home netip.Addr, who string, now time.Time) {
	for i, l := range m.leases {
		if l.home == home && l.who == who && !l.ended && now.Before(l.ends) {
			m.leases[i].ends, m.leases[i].ended = now, true
		}
	}
}

// TestNoAddressIsLentTwice sends random requests and Binding Updates of few mobile nodes for few addresses, across restarts.
func TestNoAddressIsLentTwice(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, rand.New(rand.NewPCG(seed, 99))) })
	}
}

func runModel(t *testing.T, random *rand.Rand) {
	const quarantine = 30 * time.Second
	s := memory{}
	change := func(c *Config) {
		c.Pools = []Pool{{Prefix: small, Lend: 128}, {Prefix: netip.MustParsePrefix("2001:db8:d:10::/60"), Lend: 64}}
		c.MobileNodes, c.Quarantine, c.MaxLifetime, c.Store = nil, quarantine, time.Minute, s
		c.MaxBindings, c.MaxBindingsPerNode = 40, 5
	}
	w := start(t, change)
	m := &model{}
	nodes := make([]node, 12)
	for i := range nodes {
		nodes[i] = holder(nai(fmt.Sprint("mn", i%8)))
		if i >= 8 {
			nodes[i] = nodes[i].of(kd2)
		}
	}
	known := []netip.Prefix{anything, anyNet}
	lent := 0
	for step := range 700 {
		w.after(time.Duration(1+random.IntN(900)) * time.Millisecond)
		i := random.IntN(len(nodes))
		n, who := nodes[i], fmt.Sprint(i)
		wish := known[random.IntN(len(known))]
		home := wish.Addr()
		if wish.Bits() == 64 && wish != anyNet {
			home = (&pool{Pool: Pool{Lend: 64}}).home(home)
		}
		holds, last := m.holder(home, w.now, quarantine)
		lifetime := time.Duration(1+random.IntN(15)) * 4 * time.Second
		switch random.IntN(12) {
		case 0: // give back
			r, _ := w.response(w.handle(n.request(t, uint16(step), wish, 0, w.now)), n)
			if r == nil || r.Status.Accepted() != (holds == who) {
				t.Fatalf("step %d: %v of %s is given back by %s: %+v", step, wish, holds, who, r)
			}
			m.end(home, who, w.now)
		case 1, 2: // refresh or deregister
			if home.IsUnspecified() {
				continue
			}
			if random.IntN(3) == 0 {
				lifetime = 0
			}
			a := effects(w.handle(n.update(t, uint16(step), home, lifetime, w.now))).acknowledgement()
			// Leases from before the start are taken on trust.
			trusted := holds == "" && (last == who || last == "" && w.now.Sub(w.m.start) < time.Minute)
			if a == nil || a.Status.Accepted() && holds != who && !trusted {
				t.Fatalf("step %d: %v of %q, before of %q, is bound by %s: %+v", step, home, holds, last, who, a)
			}
			switch {
			case !a.Status.Accepted() && holds == who:
				t.Fatalf("step %d: %s may not bind its %v: %+v", step, who, home, a)
			case a.Status.Accepted() && lifetime == 0:
				m.end(home, who, w.now)
			case a.Status.Accepted():
				m.lend(home, who, w.now.Add(lifetime), w.now)
			}
		case 3:
			if random.IntN(10) > 0 {
				continue
			}
			w = startAt(t, w.now, change)
			if _, err := w.m.Restore(w.now); err != nil {
				t.Fatal(err)
			}
		default:
			r, _ := w.response(w.handle(n.request(t, uint16(step), wish, lifetime, w.now)), n)
			if r == nil || r.Status != 0 && r.Status != 242 {
				t.Fatalf("step %d: %+v", step, r)
			}
			if holds == who && r.Status != 0 {
				t.Fatalf("step %d: %s may not have its %v again", step, who, wish)
			}
			if r.Status != 0 {
				continue
			}
			o, _ := mh.Find[*mh.DHoA](r.Options)
			got := o.Prefix.Addr()
			before, late := m.holder(got, w.now, quarantine)
			if o.Prefix.Bits() != wish.Bits() || before != "" && before != who || late != "" {
				t.Fatalf("step %d: lent %v to %s, held by %q, before by %q", step, o.Prefix, who, before, late)
			}
			if holds == who && got != home {
				t.Fatalf("step %d: %s wishes for its %v and gets %v", step, who, home, got)
			}
			lent++
			m.lend(got, who, w.now.Add(r.Lifetime), w.now)
			if len(known) < 60 {
				known = append(known, o.Prefix)
			}
		}
		checkModel(t, w, m)
	}
	if lent < 100 {
		t.Errorf("%d lent: too few to show anything", lent)
	}
}

// checkModel compares all bindings with the model's leases.
func checkModel(t *testing.T, w *world, m *model) {
	t.Helper()
	w.handle(signaling.Tick{})
	bound := make(map[netip.Addr]bool)
	for _, b := range w.m.Bindings(w.now) {
		if who, _ := m.holder(b.Home, w.now, 0); who == "" || bound[b.Home] {
			t.Fatalf("%v is bound, held by %q", b.Home, who)
		}
		bound[b.Home] = true
	}
	m.leases = slices.DeleteFunc(m.leases, func(l lease) bool { return w.now.Sub(l.ends) > time.Minute })
	for _, l := range m.leases {
		if !l.ended && w.now.Before(l.ends) && !bound[l.home] {
			t.Fatalf("%v of %s is not bound", l.home, l.who)
		}
	}
}
