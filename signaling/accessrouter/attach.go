package accessrouter

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
)

const (
	// repeatInterval is how often a sign of life from a mobile node that is served has its routers advertised again.
	repeatInterval = 100 * time.Millisecond
	// confirmInterval is how often it has it registered again.
	confirmInterval = time.Second
	// prefixRetry is how often a mobile node without a prefix is looked for one.
	prefixRetry = 10 * time.Second
	// A mobile node that others took over takeovers times within contention is left to them for as long.
	takeovers  = 4
	contention = 10 * time.Second
)

// attached takes in that a mobile node is on a link here.
func (m *Machine) attached(now time.Time, e signaling.MobileNodeAttached) {
	if m.stopping {
		return
	}
	id, fixed, ok := m.authorise(e.LinkLayer)
	if !ok {
		m.counters.NotAuthorized++
		if m.complaints.Take(now) {
			m.do(signaling.Report{Kind: NotAuthorized, Link: e.Link, Detail: e.LinkLayer.String()})
		}
		return
	}
	s := m.sessions[id]
	if s == nil {
		if s = m.open(now, id); s == nil {
			return
		}
	}
	defer m.schedule(s)
	m.know(s, e.LinkLayer)
	switch {
	case s.present() && s.link == e.Link:
		m.stillHere(now, s)
		return
	case s.present():
		m.counters.Attachments++
		m.relink(now, s, e.Link)
		return
	case now.Before(s.hold) && s.state == denied:
		return
	case now.Before(s.hold):
		if s.waiting == nil {
			m.counters.Contended++
			m.do(signaling.Report{Kind: Contended, Link: e.Link, Peer: s.tunnel, Detail: id.String()})
		}
		s.waiting = &e
		return
	}
	m.counters.Attachments++
	m.do(signaling.Report{Kind: Attached, Link: e.Link, Detail: id.String() + ": " + e.Cause})
	m.serve(now, s, e.Link, fixed)
}

// authorise finds out who has a link-layer address, and the prefix that it always has.
func (m *Machine) authorise(a signaling.LinkLayerAddress) (id identity, fixed netip.Prefix, ok bool) {
	if n := m.nodes[a]; n != nil {
		return n.identify(), n.Prefix, true
	}
	if !m.cfg.AllowAnyNode || !individual(a) {
		return identity{}, netip.Prefix{}, false
	}
	n := Node{LinkLayer: a}
	return n.identify(), netip.Prefix{}, true
}

// open makes a session, unless there are too many.
func (m *Machine) open(now time.Time, id identity) *session {
	if len(m.sessions) >= m.cfg.MaxNodes {
		m.counters.NoRoom++
		return nil
	}
	s := &session{id: id, state: absent, since: now}
	m.sessions[id] = s
	return s
}

// know remembers the link-layer address of the mobile node.
func (m *Machine) know(s *session, a signaling.LinkLayerAddress) {
	if s.linkLayer == a || !individual(a) {
		return
	}
	if m.byMAC[s.linkLayer] == s {
		delete(m.byMAC, s.linkLayer)
	}
	s.linkLayer = a
	m.byMAC[a] = s
}

// serve begins to serve s on link.
func (m *Machine) serve(now time.Time, s *session, link string, fixed netip.Prefix) {
	again := s.state == absent && s.link == link && !s.expires.IsZero() && now.Before(s.expires)
	if s.link != "" && s.link != link {
		m.withdraw(s, false)
	}
	if s.state == previous {
		s.before = s.tunnel
		m.untunnel(s)
	}
	s.link, s.told, s.waiting, s.cleanups = link, false, nil, nil
	if !again {
		s.expires = time.Time{}
	}
	m.enter(now, s, attaching)
	if !m.gateway && !m.provide(now, s, fixed) {
		return
	}
	for _, prefix := range s.prefixes() {
		m.bind(s, prefix, netip.Addr{})
	}
	for _, a := range s.anchors {
		m.bind(s, a.prefix, a.maar)
	}
	if again {
		m.enter(now, s, serving)
		m.advertise(s)
		m.ask(now, s, refresh)
	} else {
		if !m.gateway && !m.cfg.DenyWithoutDatabase {
			s.grace = now.Add(m.cfg.LocalServiceDelay)
		}
		m.ask(now, s, registration)
	}
	m.save(s)
}

// provide sees that s has a prefix of this MAAR.
func (m *Machine) provide(now time.Time, s *session, fixed netip.Prefix) bool {
	if s.own.IsValid() {
		return true
	}
	prefix, ok := m.pool.take(now, s.id, fixed)
	if !ok {
		m.counters.PoolExhausted++
		s.grace = now.Add(prefixRetry)
		m.do(signaling.Report{Kind: PoolExhausted, Link: s.link, Detail: s.id.String()})
		return false
	}
	s.own = prefix
	m.watchPool(now)
	return true
}

// stillHere takes in that a host that is served did what hosts do after a change of link. It may have lost what it knew of its
// routers, and it may have been elsewhere, without this MAAR having heard of that yet.
func (m *Machine) stillHere(now time.Time, s *session) {
	if s.state == serving && !m.gateway && s.request != nil && s.request.answered && now.Sub(s.request.began) >= confirmInterval {
		m.ask(now, s, registration)
	}
	if s.told && now.Sub(s.repeated) >= repeatInterval {
		s.repeated = now
		m.advertise(s)
	}
}

// relink moves what is served to another link of this MAAR.
func (m *Machine) relink(now time.Time, s *session, link string) {
	told := s.told
	m.silence(s, false)
	s.link = link
	for _, prefix := range s.prefixes() {
		m.bind(s, prefix, netip.Addr{})
	}
	for _, a := range s.anchors {
		m.bind(s, a.prefix, a.maar)
	}
	if told {
		m.advertise(s)
	}
	m.do(signaling.Report{Kind: Attached, Link: link, Detail: s.id.String() + ": another link"})
	m.save(s)
}

// detached takes in that a mobile node is on its link no more (RFC 8885 section 3.5: no reason yet to de-register; RFC 5213
// section 6.9.1.4: one).
func (m *Machine) detached(now time.Time, e signaling.MobileNodeDetached) {
	s := m.byMAC[e.LinkLayer]
	if s == nil || s.link != e.Link {
		return
	}
	defer m.schedule(s)
	if s.state == denied {
		m.remove(now, s, "left")
		return
	}
	if s.state == previous {
		// Whatever is under way, it is not here.
		s.request, s.cleanups, s.waiting = nil, nil, nil
	}
	if !s.present() {
		return
	}
	m.counters.Detachments++
	m.do(signaling.Report{Kind: Detached, Link: e.Link, Home: s.own.Addr(), Detail: s.id.String() + ": " + e.Cause})
	m.silence(s, false)
	m.enter(now, s, absent)
	s.grace, s.refresh, s.cleanups = time.Time{}, time.Time{}, nil
	if s.request != nil {
		// There is no retransmission for a mobile node that is gone (RFC 5213 section 6.9.4).
		s.request.due = time.Time{}
	}
	switch {
	case m.gateway:
		m.leave(now, s)
	case s.before.IsValid():
		// As far as the CMD has said, it is still where it was before it turned up here.
		m.follow(now, s, s.before)
		s.expires = now.Add(m.cfg.Lifetime)
	case s.expires.IsZero():
		s.expires = now.Add(m.cfg.Lifetime)
	}
	m.save(s)
}

// lost takes in that another MAAR has taken s over, and defers its return if that happens all the time.
func (s *session) lost(now time.Time) {
	s.takenAt = slices.DeleteFunc(s.takenAt, func(t time.Time) bool { return now.Sub(t) > contention })
	if s.takenAt = append(s.takenAt, now); len(s.takenAt) >= takeovers {
		s.hold, s.takenAt = now.Add(contention), nil
	}
}
