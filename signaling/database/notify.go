package database

import (
	"slices"
	"time"
)

// handoff is what goes on while P-MAARs are told of a new S-MAAR.
type handoff struct {
	// answer is for the S-MAAR's latest PBU, without id if that came before a restart; answered says that it has had a PBA.
	answer   answer
	answered bool
	// deadline is when it gets one at the latest.
	deadline time.Duration
	// exchanges are those with P-MAARs that have not acknowledged.
	exchanges []*exchange
}

// notify tells the P-MAARs of s who serves it, if they do not know, and answers the S-MAAR when it is time (RFC 8885 sections 3.2
// to 3.4). moved says that the S-MAAR has changed.
func (m *Machine) notify(now time.Time, s *session, a *answer, moved bool) {
	asked := s.handoff != nil && !s.handoff.answered
	m.tellWhere(now, s, moved)
	h := s.handoff
	if h == nil || len(h.exchanges) == 0 {
		s.handoff = nil
		m.accept(now, s, a, every)
		return
	}
	h.answer = *a
	switch {
	case m.cfg.Mode == Proxy:
		h.answered = true
		m.accept(now, s, a, every)
	case moved:
		h.answered, h.deadline = false, m.at(now)+m.cfg.AggregationTimeout
	case asked && m.cfg.Mode == Relay && a.indicator != notChanged:
		// It goes on waiting, for an answer to this PBU instead.
	default:
		h.answered = true
		m.accept(now, s, a, confirmed)
	}
}

// tellWhere starts the exchanges with the P-MAARs of s that do not know who serves it: all if it moved.
func (m *Machine) tellWhere(now time.Time, s *session, moved bool) {
	m.cancel(s, s.serving)
	for i := range s.anchors {
		a := &s.anchors[i]
		switch {
		case a.router == s.serving:
			a.confirmed = true
		case moved:
			a.confirmed = false
		}
	}
	for i := range s.anchors {
		a := &s.anchors[i]
		if a.confirmed || i > 0 && slices.ContainsFunc(s.anchors[:i], func(o anchor) bool { return o.router == a.router }) {
			continue
		}
		if s.handoff == nil {
			s.handoff = &handoff{answered: true}
		}
		h := s.handoff
		x := h.with(a.router)
		switch {
		case x == nil:
			x = &exchange{peer: peer{s.id, a.router}, session: s, position: -1}
			h.exchanges = append(h.exchanges, x)
		case !moved:
			continue
		}
		m.begin(x)
	}
}

// with is the exchange with router; nil if there is none.
func (h *handoff) with(router uint16) *exchange {
	for _, x := range h.exchanges {
		if x.router == router {
			return x
		}
	}
	return nil
}

// cancel ends the exchange of s with router, if there is one.
func (m *Machine) cancel(s *session, router uint16) {
	if s.handoff == nil {
		return
	}
	if x := s.handoff.with(router); x != nil {
		m.stop(x)
		s.handoff.exchanges = slices.DeleteFunc(s.handoff.exchanges, func(o *exchange) bool { return o == x })
	}
}

func (m *Machine) cancelAll(s *session) {
	if s.handoff == nil {
		return
	}
	for _, x := range s.handoff.exchanges {
		m.stop(x)
	}
	s.handoff = nil
}

// settle ends the handoff of s if no P-MAAR has to acknowledge any more.
func (m *Machine) settle(now time.Time, s *session) {
	h := s.handoff
	if h == nil || len(h.exchanges) > 0 {
		return
	}
	s.handoff = nil
	// In locator mode, whoever has confirmed has answered the S-MAAR too.
	heard := m.cfg.Mode == Locator && slices.ContainsFunc(s.anchors, func(a anchor) bool { return a.confirmed && a.router != s.serving })
	if !h.answered && !heard {
		m.accept(now, s, &h.answer, confirmed)
	}
}

// aggregated answers the S-MAAR of s after it has waited long enough.
func (m *Machine) aggregated(now time.Time, s *session) {
	h := s.handoff
	h.answered = true
	m.accept(now, s, &h.answer, confirmed)
	m.reschedule(s)
}
