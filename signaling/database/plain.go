package database

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// plain serves a PBU without flag D as a local mobility anchor (RFC 5213 section 5.3.1, from 9).
func (m *Machine) plain(now time.Time, q *request) {
	for i := range q.groups {
		// Nobody without flag D has an Anchored Prefix option (RFC 8885 section 4.3).
		if !q.groups[i].home {
			m.refuse(now, q, mh.StatusMissingHomeNetworkPrefix)
			return
		}
	}
	s, status := m.lookUp(q)
	if !m.later(now, q, s) {
		return
	}
	switch {
	case len(q.groups) == 0:
		status = mh.StatusMissingHomeNetworkPrefix
	case !q.hinted:
		status = mh.StatusMissingHandoffIndicator
	case !q.typed:
		status = mh.StatusMissingAccessTechnologyType
	}
	if status != mh.StatusAccepted {
		m.refuse(now, q, status)
		return
	}
	if q.lifetime == 0 {
		m.leave(now, s, q)
		return
	}
	moved := s != nil && s.serving != q.router
	bind := s == nil || moved || s.leaving
	switch {
	case s == nil:
		prefixes, status := m.assign(q)
		if status != mh.StatusAccepted {
			m.refuse(now, q, status)
			return
		}
		m.counters.Registrations++
		s = &session{id: q.id, plain: true}
		for _, p := range prefixes {
			s.anchors = append(s.anchors, anchor{prefix: p, router: own, confirmed: true})
			m.prefixes[p] = s
		}
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
	m.counters.Plain++
	m.serve(now, s, q)
	m.pointToPoint(s, q)
	if bind {
		m.bind(s)
	}
	m.reschedule(s)
	m.save(now, s)
	m.grant(now, s, q, time.Duration(s.lifetime)*mh.LifetimeUnit)
}

// bind has forwarding carry the prefixes of s to its gateway.
func (m *Machine) bind(s *session) {
	for i := range s.anchors {
		m.do(signaling.Bind{
			Home: prefixFrom(s.anchors[i].prefix), Local: m.cfg.Address, Remote: m.address(s.serving),
		})
	}
}

// leave de-registers s for as long as it takes another gateway to register it (RFC 5213 section 5.3.5).
func (m *Machine) leave(now time.Time, s *session, q *request) {
	if s == nil || s.serving != q.router {
		m.counters.Discarded.NoSession++
		return
	}
	m.counters.Deregistrations++
	m.counters.Plain++
	s.ordered(q)
	if !s.leaving {
		s.leaving = true
		s.expires = m.at(now) + m.cfg.DeleteDelay
		for i := range s.anchors {
			m.do(signaling.Unbind{Home: prefixFrom(s.anchors[i].prefix)})
		}
	}
	m.reschedule(s)
	m.save(now, s)
	m.grant(now, s, q, 0)
}

// grant answers an accepted PBU (RFC 5213 section 5.3.6).
func (m *Machine) grant(now time.Time, s *session, q *request, lifetime time.Duration) {
	var list mh.Options
	for i := range s.anchors {
		list = append(list, &mh.HomeNetworkPrefix{Prefix: prefixFrom(s.anchors[i].prefix)})
	}
	if q.linkLocal != nil {
		q.linkLocal = &mh.LinkLocalAddress{Address: linkLocalOf(s.linkLocal)}
	}
	m.send(now, &q.answer, mh.StatusAccepted, lifetime, list, nil)
}

// pointToPoint keeps the link-local address that all gateways of the mobile node use towards it (RFC 5213 section 5.3.6).
func (m *Machine) pointToPoint(s *session, q *request) {
	switch {
	case q.linkLocal == nil:
	case interfaceOf(q.linkLocal.Address) != 0:
		s.linkLocal = interfaceOf(q.linkLocal.Address)
	case s.linkLocal == 0:
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %x", m.cfg.Address, s.id))
		// An interface identifier with its first octets 0 could be that of an address written by hand.
		s.linkLocal = binary.BigEndian.Uint64(sum[:]) | 1<<62
	}
}
