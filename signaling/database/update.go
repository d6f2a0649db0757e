package database

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// update takes a PBU of a known router, through RFC 5213 section 5.3.1 in its order.
func (m *Machine) update(now time.Time, r *signaling.Received, router uint16, u *mh.BindingUpdate) {
	q := newRequest(r, router, u)
	if q == nil {
		m.counters.Discarded.Malformed++
		return
	}
	m.counters.Updates++
	if !m.authenticate(now, q, u) {
		return
	}
	m.do(signaling.Report{
		Kind: UpdateReceived, Peer: q.Source, Sequence: q.sequence, Lifetime: q.lifetime, Link: q.Link, Detail: q.text(),
	})
	if status := m.permitted(q); status != mh.StatusAccepted {
		m.refuse(now, q, status)
		return
	}
	if !m.timely(now, q) {
		return
	}
	switch {
	case !q.distributed:
		m.plain(now, q)
	case q.lifetime > 0:
		m.register(now, q)
	default:
		m.deregister(now, q)
	}
}

// permitted is the status for q as far as who sends it about whom goes (RFC 5213 section 5.3.1, 4 to 8).
func (m *Machine) permitted(q *request) mh.Status {
	if !q.named {
		return mh.StatusMissingMobileNodeIdentifier
	}
	r := &m.routers[q.router]
	switch {
	case q.careOf.IsValid() && q.careOf != r.Address:
		return mh.StatusInvalidCareOfAddress
	case q.distributed && m.cfg.Mode == PlainOnly, !q.distributed && !m.cfg.ServePlain:
		return mh.StatusAdministrativelyProhibited
	case q.distributed && r.Plain:
		return mh.StatusGatewayNotAuthorized
	case q.distributed && q.serving.IsValid():
		// Only the database says who serves.
		return mh.StatusGatewayNotAuthorized
	}
	if n, ok := m.nodes[q.id]; ok && n.Barred {
		return mh.StatusProxyNotEnabled
	} else if !ok && !m.cfg.AllowAnyNode {
		return mh.StatusNotLocalMobilityAnchor
	}
	return mh.StatusAccepted
}

// register makes or changes the session of a MAAR's mobile node (RFC 8885 sections 3.1 to 3.4).
func (m *Machine) register(now time.Time, q *request) {
	s := m.distributed(q.id)
	if !m.later(now, q, s) {
		return
	}
	if status := m.registrable(q, s); status != mh.StatusAccepted {
		m.refuse(now, q, status)
		return
	}
	moved := s != nil && s.serving != q.router
	switch {
	case s == nil:
		m.counters.Registrations++
		s = &session{id: q.id}
		m.insert(s)
		m.do(signaling.Report{Kind: SessionCreated, Peer: q.Source, Lifetime: q.lifetime, Detail: text(s.id)})
	case moved:
		m.counters.Handoffs++
		m.do(signaling.Report{
			Kind: SessionMoved, Peer: q.Source, CareOf: m.address(s.serving), Lifetime: q.lifetime, Detail: text(s.id),
		})
	default:
		m.counters.Refreshes++
	}
	m.serve(now, s, q)
	m.takeUp(now, s, q)
	if moved && s.handoff != nil && !s.handoff.answered {
		// Whoever served for a moment hears that it was heard, and from its PBU who serves now.
		m.accept(now, s, &s.handoff.answer, none)
		s.handoff.answered = true
	}
	m.notify(now, s, &q.answer, moved)
	m.reschedule(s)
	m.save(now, s)
}

// registrable is the status for the prefixes of q.
func (m *Machine) registrable(q *request, s *session) mh.Status {
	switch {
	case len(q.groups) == 0:
		return mh.StatusMissingHomeNetworkPrefix
	case !q.hinted:
		return mh.StatusMissingHandoffIndicator
	case !q.typed:
		return mh.StatusMissingAccessTechnologyType
	}
	r := &m.routers[q.router]
	for _, g := range q.groups {
		p, ok := prefixOf(g.prefix)
		if !ok || !slices.ContainsFunc(r.Prefixes, containing(g.prefix.Addr())) {
			return mh.StatusNotAuthorizedForHomePrefix
		}
		if other := m.prefixes[p]; other != nil && other != s {
			return mh.StatusNotAuthorizedForHomePrefix
		}
	}
	if s == nil && m.count >= m.cfg.MaxSessions {
		return mh.StatusInsufficientResources
	}
	return mh.StatusAccepted
}

// serve has q's router be the one that serves s.
func (m *Machine) serve(now time.Time, s *session, q *request) {
	s.ordered(q)
	s.serving, s.indicator, s.access, s.leaving = q.router, q.indicator, q.access, false
	s.linkLayer = ""
	if q.linkLayer != nil {
		s.linkLayer = string(q.linkLayer.Identifier)
	}
	granted := min(q.lifetime, m.cfg.MaxLifetime)
	s.lifetime = uint16(granted / mh.LifetimeUnit)
	s.expires = m.at(now) + time.Duration(s.lifetime)*mh.LifetimeUnit
}

// takeUp puts the prefixes of q at the end of the anchors of s, and sees that there are not too many others.
func (m *Machine) takeUp(now time.Time, s *session, q *request) {
	for i := range q.groups {
		g := &q.groups[i]
		a := g.anchor(q.router)
		if at := s.find(a.prefix); at >= 0 {
			a = s.anchors[at]
			a.router = q.router
			a.describe(g)
			s.anchors = slices.Delete(s.anchors, at, at+1)
		} else if s.anchors == nil {
			s.anchors = make([]anchor, 0, 1)
		}
		s.anchors = append(s.anchors, a)
		m.prefixes[a.prefix] = s
		m.spare(peer{s.id, q.router}, a.prefix)
	}
	for len(s.anchors)-len(q.groups) > m.cfg.MaxPreviousMAARs {
		m.counters.Dropped++
		m.drop(now, s, 0, fmt.Sprintf("there are more than %d others", m.cfg.MaxPreviousMAARs))
	}
}

func containing(a netip.Addr) func(netip.Prefix) bool {
	return func(p netip.Prefix) bool { return p.Contains(a) }
}
