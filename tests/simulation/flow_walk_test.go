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
	"kedge/signaling/mobilenode"
)

// wrong says what keeps the internet from being in order; empty if nothing does.
func (w *internet) wrong() string {
	for _, m := range w.mobiles {
		if s := m.wrong(); s != "" {
			return m.name + " " + s
		}
	}
	return ""
}

func (m *roamer) wrong() string {
	w := m.w
	s := m.role.home.Status(m.time())
	switch {
	case m.isHome():
		if s.State != mobilenode.StateAtHome || w.agent.tunnels[m.home].IsValid() {
			return fmt.Sprintf("at home is %q (%s)", s.State, s.LastError)
		}
	case s.State != mobilenode.StateRegistered || !m.owns(s.CareOf):
		return fmt.Sprintf("is %q with %v (%s)", s.State, s.CareOf, s.LastError)
	case w.agent.tunnels[m.home] != s.CareOf:
		return fmt.Sprintf("has %v, the home agent %v", s.CareOf, w.agent.tunnels[m.home])
	}
	late := 3*w.c.beat + time.Second
	if w.now-m.homeHeard > late {
		return fmt.Sprintf("got no answer at home for %v", w.now-m.homeHeard)
	}
	for _, a := range m.role.flows.Anchors(m.time()) {
		switch anchor := w.proxies[placeOf(a.Proxy)-placeProxy]; {
		case a.Returning || a.Flows == 0:
		case a.Registration.State != mobilenode.StateRegistered || !m.owns(a.Registration.CareOf):
			return fmt.Sprintf("has %v registered with %v: %q (%s)", a.Address, a.Registration.CareOf, a.Registration.State, a.Registration.LastError)
		case anchor.tunnels[a.Address] != a.Registration.CareOf:
			return fmt.Sprintf("has %v at %v, its DHP at %v", a.Address, a.Registration.CareOf, anchor.tunnels[a.Address])
		}
	}
	for _, f := range m.flows {
		switch {
		case !f.address.IsValid():
			return fmt.Sprintf("holds flow %d", f.number)
		case w.now-f.heard > late:
			return fmt.Sprintf("got no answer in flow %d of %v for %v", f.number, f.address, w.now-f.heard)
		}
	}
	if m.isHome() {
		return ""
	}
	for i := range w.c.proxies + 1 {
		if w.covered(i) && m.anchored(i) == nil {
			return fmt.Sprintf("has no flow by a DHP to region %d", i)
		}
	}
	return ""
}

// anchored is a flow to a region by a DHP; nil if there is none.
func (m *roamer) anchored(i int) *flow {
	for _, f := range m.flows {
		if f.profile == sessionProfile && region(i).Contains(f.key.Remote) && f.address.IsValid() && f.address != m.home {
			return f
		}
	}
	return nil
}

// retry begins flows to the regions to which none goes by a DHP, in place of those that go by the home agent.
func (m *roamer) retry() {
	for i := range m.w.c.proxies + 1 {
		if m.anchored(i) != nil {
			continue
		}
		for _, f := range m.flows {
			if f.profile == sessionProfile && region(i).Contains(f.key.Remote) {
				m.shut(f)
				break
			}
		}
		m.open(sessionProfile, peerIn(i, m.w.rng.IntN(5)))
	}
}

// settle lets the internet come to order in calm and asserts that it stays so, and that what is not used is given back.
func (w *internet) settle(limit time.Duration) time.Duration {
	w.t.Helper()
	w.heal()
	begin := w.now
	took := time.Duration(0)
	for lasts := false; !lasts; lasts = w.stays() {
		for wrong := "?"; wrong != ""; wrong = w.wrong() {
			if w.now-begin > limit {
				w.fatal("after %v of calm: %s", limit, wrong)
			}
			if (w.now-begin)%(10*time.Second) == 0 {
				for _, m := range w.mobiles {
					m.retry()
				}
			}
			w.run(time.Second)
		}
		took = w.now - begin
	}
	w.idle()
	return took
}

// stays says whether order lasts, and asserts that it is a quiet one. What hung by a thread when calm came may end yet: a
// lease whose DHP came back too late.
func (w *internet) stays() bool {
	w.t.Helper()
	before := w.effects()
	const quiet = 40 * time.Second
	for range quiet / (10 * time.Second) {
		w.run(10 * time.Second)
		if w.wrong() != "" {
			return false
		}
	}
	for i, h := range w.hosts() {
		// Refreshes, heartbeats, renewals and advertisements, and what is left to measure.
		if n := h.total - before[i]; n > 10*int(quiet/time.Second) {
			w.fatal("%s had %d effects in %v in which nothing happened", h.name, n, quiet)
		}
	}
	return true
}

// idle ends all flows and asserts that all addresses go back.
func (w *internet) idle() {
	w.t.Helper()
	for _, m := range w.mobiles {
		for len(m.flows) > 0 {
			m.shut(m.flows[0])
		}
	}
	// Addresses of the host itself go after those for translation; and the DHP may not answer for 30 s.
	w.run(2*w.c.idle + 4*time.Second + 30*time.Second)
	for _, m := range w.mobiles {
		if a := m.role.flows.Anchors(m.time()); len(a) > 0 {
			w.fatal("%s still has %+v", m.name, a)
		}
		if len(m.store) > 0 {
			w.fatal("%s still stores %d leases", m.name, len(m.store))
		}
	}
	w.run(w.c.lifetime + 5*time.Second)
	for _, l := range w.proxies {
		if a := l.leases(); len(a) > 0 {
			w.fatal("%s still lends %v", l.name, a)
		}
	}
}

func (w *internet) hosts() []*host {
	list := []*host{&w.agent.host}
	for _, l := range w.proxies {
		list = append(list, &l.host)
	}
	for _, m := range w.mobiles {
		list = append(list, &m.host)
	}
	return list
}

func (w *internet) effects() (list []int) {
	for _, h := range w.hosts() {
		list = append(list, h.total)
	}
	return list
}

// heal ends all that goes wrong.
func (w *internet) heal() {
	w.calm = true
	clear(w.cut)
	if !w.agent.up {
		w.agent.boot()
	}
	for _, l := range w.proxies {
		if !l.up {
			l.boot()
		}
	}
	for i, m := range w.mobiles {
		if !m.up || m.stopping {
			m.boot()
		}
		if _, ok := m.at["eth0"]; !ok || m.isHome() && w.rng.IntN(2) == 0 {
			m.attach("eth0", placeAccess+place(i%accesses))
		}
	}
}

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
