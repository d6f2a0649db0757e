package accessrouter

import (
	"slices"
	"time"

	"kedge/signaling"
)

// elapsed does what is due about s.
func (m *Machine) elapsed(now time.Time, s *session) {
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if due(s.grace) {
		s.grace = time.Time{}
		m.graceOver(now, s)
	}
	if s.waiting != nil && due(s.hold) {
		e := *s.waiting
		s.waiting = nil
		m.attached(now, e)
	}
	if due(s.refresh) {
		s.refresh = time.Time{}
		if s.state == serving {
			m.ask(now, s, refresh)
		}
	}
	if r := s.request; r != nil && due(r.due) {
		r.due = time.Time{}
		if r.purpose == deregistration && r.tries >= m.endings() {
			m.unanswered(now, s)
			return
		}
		m.repeat(now, s, r)
	}
	for _, r := range slices.Clone(s.cleanups) {
		if !due(r.due) {
			continue
		}
		r.due = time.Time{}
		if r.tries >= endingTries {
			m.cleaned(now, s, r)
			continue
		}
		m.repeat(now, s, r)
	}
	if due(s.expires) {
		s.expires = time.Time{}
		m.expired(now, s)
	}
}

// endings is how often a de-registration is sent: a mobile access gateway waits for one timeout (RFC 5213 section 6.9.1.4).
func (m *Machine) endings() int {
	if m.gateway {
		return 1
	}
	return endingTries
}

// graceOver gives service without the CMD, or looks for a prefix again.
func (m *Machine) graceOver(now time.Time, s *session) {
	if s.state != attaching {
		return
	}
	if !s.own.IsValid() {
		m.serve(now, s, s.link, m.fixed(s))
		return
	}
	if s.told {
		return
	}
	m.counters.LocalService++
	m.do(signaling.Report{Kind: LocalService, Link: s.link, Home: s.own.Addr(), Peer: m.control, Detail: s.id.String()})
	m.advertise(s)
}

// expired ends a registration whose lifetime is over (RFC 8885 section 3.5). A mobile node that is here is served on without:
// its refresh is under way, and the CMD away.
func (m *Machine) expired(now time.Time, s *session) {
	switch s.state {
	case absent:
		m.leave(now, s)
	case previous:
		m.ask(now, s, deregistration)
	case denied:
		m.remove(now, s, "denied")
	case serving:
		if m.cfg.DenyWithoutDatabase || m.gateway {
			m.withdraw(s, true)
			m.enter(now, s, attaching)
			m.ask(now, s, registration)
		}
	}
}

// unanswered ends a de-registration that the CMD does not answer. A previous MAAR serves on and asks again later: as long as the
// CMD is away, it cannot know.
func (m *Machine) unanswered(now time.Time, s *session) {
	if s.state == previous {
		s.request, s.expires = nil, now.Add(m.cfg.Lifetime)
		return
	}
	m.ended(now, s)
}

// leave de-registers s.
func (m *Machine) leave(now time.Time, s *session) {
	m.enter(now, s, leaving)
	s.expires, s.refresh, s.grace, s.cleanups = time.Time{}, time.Time{}, time.Time{}, nil
	m.ask(now, s, deregistration)
}

// ended takes in that a de-registration is done, acknowledged or not.
func (m *Machine) ended(now time.Time, s *session) {
	s.request = nil
	if s.state == leaving || s.state == previous {
		m.remove(now, s, "de-registered")
	}
}

// remove forgets s and takes back all that there is for it.
func (m *Machine) remove(now time.Time, s *session, why string) {
	m.withdraw(s, s.present())
	if s.state == previous {
		m.untunnel(s)
	}
	for _, prefix := range s.prefixes() {
		m.pool.release(now, prefix)
		m.saveReleased(now, s, prefix)
	}
	m.watchPool(now)
	m.do(signaling.Report{Kind: Removed, Link: s.link, Home: s.own.Addr(), Detail: s.id.String() + ": " + why})
	m.timers.remove(s)
	delete(m.sessions, s.id)
	if m.byMAC[s.linkLayer] == s {
		delete(m.byMAC, s.linkLayer)
	}
}

// shutdown de-registers the mobile nodes that are served here. With a store there is no need to: their prefixes are known again
// after the restart.
func (m *Machine) shutdown(now time.Time) {
	if m.stopping {
		return
	}
	m.stopping = true
	if m.cfg.Store != nil {
		return
	}
	for _, s := range m.sessions {
		if s.present() {
			m.silence(s, true)
			m.leave(now, s)
			m.schedule(s)
		}
	}
}
