package simulation

import (
	"fmt"
	"time"

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
