package database

import (
	"fmt"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// deregister takes a MAAR's PBU with a lifetime of 0 (RFC 8885 section 3.5).
func (m *Machine) deregister(now time.Time, q *request) {
	switch {
	case !q.hinted:
		m.refuse(now, q, mh.StatusMissingHandoffIndicator)
		return
	case !q.typed:
		m.refuse(now, q, mh.StatusMissingAccessTechnologyType)
		return
	}
	s := m.distributed(q.id)
	if len(q.previous) > 0 && (s == nil || s.serving != q.router) {
		m.refuse(now, q, mh.StatusGatewayNotAuthorized)
		return
	}
	if s == nil || s.serving != q.router && !s.anchoredAt(q.router) {
		m.counters.Deregistrations++
		m.send(now, &q.answer, mh.StatusAccepted, 0, q.requested(), nil)
		return
	}
	if s.serving != q.router {
		// Whenever it was sent, it changes nothing, so it need not be in order.
		m.previous(now, s, q)
		return
	}
	if !m.later(now, q, s) {
		return
	}
	if len(q.previous) > 0 {
		m.cleanUp(now, s, q)
		return
	}
	m.counters.Deregistrations++
	s.ordered(q)
	m.end(now, s, "its S-MAAR de-registered it")
	m.send(now, &q.answer, mh.StatusAccepted, 0, q.requested(), nil)
}

// previous answers a P-MAAR that wants to de-register.
func (m *Machine) previous(now time.Time, s *session, q *request) {
	if m.cfg.Deregistration == DenyPrevious {
		m.refuse(now, q, mh.StatusGatewayNotAuthorized)
		return
	}
	m.counters.Renewals++
	list := mh.Options{}
	for i := range s.anchors {
		if a := &s.anchors[i]; a.router == q.router {
			list = a.options(list, &mh.AnchoredPrefix{Prefix: prefixFrom(a.prefix)})
		}
	}
	m.send(now, &q.answer, mh.StatusAccepted, s.left(m.at(now)), list, mh.Options{&mh.ServingMAAR{Address: m.address(s.serving)}})
}

// cleanUp ends the prefixes of P-MAARs that the S-MAAR says are not used any more.
func (m *Machine) cleanUp(now time.Time, s *session, q *request) {
	m.counters.CleanUps++
	s.ordered(q)
	for _, o := range q.previous {
		if p, ok := prefixOf(o.Prefix); ok {
			if at := s.find(p); at >= 0 && m.address(s.anchors[at].router) == o.Address {
				m.drop(now, s, at, "it is not used any more")
			}
		}
	}
	m.settle(now, s)
	m.reschedule(s)
	m.save(now, s)
	m.send(now, &q.answer, mh.StatusAccepted, 0, q.requested(), nil)
}

// drop takes the prefix at place i out of s and tells its MAAR, unless that is the S-MAAR, which knows.
func (m *Machine) drop(now time.Time, s *session, i int, why string) {
	a := s.anchors[i]
	m.ended(s, &a, why)
	m.takeOut(s, i)
	if a.router != s.serving && a.router != own {
		m.tellEnd(now, s, a)
	}
}

// takeOut takes the prefix at place i out of s, and its MAAR out of the handoff if it anchors no other.
func (m *Machine) takeOut(s *session, i int) {
	router := s.anchors[i].router
	delete(m.prefixes, s.anchors[i].prefix)
	s.anchors = append(s.anchors[:i], s.anchors[i+1:]...)
	if !s.anchoredAt(router) {
		m.cancel(s, router)
	}
}

// end ends s for everybody but the S-MAAR.
func (m *Machine) end(now time.Time, s *session, why string) {
	for i := range s.anchors {
		a := &s.anchors[i]
		m.ended(s, a, why)
		switch {
		case a.router == own:
			if !s.leaving {
				m.do(signaling.Unbind{Home: prefixFrom(a.prefix)})
			}
		case a.router != s.serving:
			m.tellEnd(now, s, *a)
		}
	}
	m.do(signaling.Report{Kind: SessionEnded, Peer: m.address(s.serving), Detail: fmt.Sprintf("%s: %s", text(s.id), why)})
	m.cancelAll(s)
	m.remove(s)
}
