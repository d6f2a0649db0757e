package database

import (
	"kedge/signaling/mh"
)

// lookUp is the session without flag D that q is about (RFC 5213 section 5.4.1); nil if it is to make a new one. Where the mobile
// node might have changed interfaces or not (Handoff Indicator 4), a new session is made without waiting, as section 5.4.1.2
// permits. The status says what is wrong with its prefixes.
func (m *Machine) lookUp(q *request) (*session, mh.Status) {
	prefixes := make([]uint64, 0, maxGroups)
	for i := range q.groups {
		if g := &q.groups[i]; !g.prefix.Addr().IsUnspecified() {
			p, ok := prefixOf(g.prefix)
			if !ok {
				return nil, mh.StatusNotAuthorizedForHomePrefix
			}
			prefixes = append(prefixes, p)
		}
	}
	if len(prefixes) > 0 {
		return m.lookUpPrefixes(q, prefixes)
	}
	var only *session
	several := false
	for s := m.sessions[q.id]; s != nil; s = s.next {
		if !s.plain {
			continue
		}
		if q.linkLayer != nil && s.access == q.access && s.linkLayer == string(q.linkLayer.Identifier) {
			return s, mh.StatusAccepted
		}
		several = only != nil
		only = s
	}
	switch {
	case only == nil || several:
	case q.lifetime == 0 && q.linkLayer == nil, q.indicator == mh.HandoffBetweenInterfaces:
		return only, mh.StatusAccepted
	case q.linkLayer == nil && (q.indicator == mh.HandoffBetweenGateways || only.serving == q.router && q.indicator == notChanged):
		return only, mh.StatusAccepted
	}
	return nil, mh.StatusAccepted
}

// lookUpPrefixes is section 5.4.1.1.
func (m *Machine) lookUpPrefixes(q *request, prefixes []uint64) (*session, mh.Status) {
	var s *session
	matching := 0
	for _, p := range prefixes {
		if o := m.prefixes[p]; o != nil {
			if o.id != q.id || !o.plain {
				return nil, mh.StatusNotAuthorizedForHomePrefix
			}
			s = o
		}
	}
	if s == nil {
		return nil, mh.StatusAccepted
	}
	for _, p := range prefixes {
		if s.find(p) >= 0 {
			matching++
		}
	}
	if matching != len(prefixes) || len(prefixes) != len(s.anchors) {
		return s, mh.StatusPrefixSetDoesNotMatch
	}
	same := s.access == q.access
	switch {
	case q.linkLayer != nil && same && s.linkLayer == string(q.linkLayer.Identifier),
		q.indicator == mh.HandoffBetweenInterfaces,
		q.linkLayer == nil && s.linkLayer == "" && same && q.indicator == mh.HandoffBetweenGateways,
		s.serving == q.router && same:
		return s, mh.StatusAccepted
	}
	// A new session with the prefixes of another: they are in use.
	return s, mh.StatusNotAuthorizedForHomePrefix
}
