package database

import (
	"fmt"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

const notChanged = mh.HandoffNotChanged

// acknowledgement takes a P-MAAR's PBA.
func (m *Machine) acknowledgement(now time.Time, r *signaling.Received, router uint16, a *mh.BindingAcknowledgement) {
	groups, ok := readGroups(a.Options)
	if !ok && len(groups) == 0 {
		m.counters.Discarded.Malformed++
		return
	}
	switch ok, err := m.verify(r, router, a, m.cfg.Address); {
	case err != nil:
		m.counters.Discarded.BadAuthenticator++
		return
	case !ok:
		return
	}
	x := m.asked(router, a)
	if x == nil {
		m.counters.Discarded.Unasked++
		return
	}
	m.counters.Acknowledgements++
	m.do(signaling.Report{
		Kind: AcknowledgementReceived, Peer: r.Source, Sequence: a.Sequence, Lifetime: a.Lifetime, Status: uint8(a.Status),
		Detail: text(x.id),
	})
	switch a.Status {
	case mh.StatusIDMismatch:
		stamp, _ := auth.Timestamp(a.Options)
		m.routers[router].clock.Resynchronise(stamp, m.clock(now))
		if x.sent < maxSent {
			m.outgoing.push(x)
		}
		return
	case mh.StatusInsufficientResources, mh.StatusTimestampMismatch, mh.StatusTimestampLower:
		return // it is sent again in its time
	}
	s := x.session
	if s == nil {
		m.stop(x)
		return
	}
	m.cancel(s, router)
	if a.Status.Accepted() {
		m.confirm(now, s, router, groups)
	} else {
		m.counters.Declined++
		m.lose(s, router, a.Status.String())
	}
	m.settle(now, s)
	m.reschedule(s)
	m.save(now, s)
}

// asked is the exchange that a answers; nil if none.
func (m *Machine) asked(router uint16, a *mh.BindingAcknowledgement) *exchange {
	identifier, ok := mh.Find[*mh.MobileNodeIdentifier](a.Options)
	if !ok {
		return nil
	}
	p := peer{key(identifier), router}
	if x := m.ends[p]; x.answeredBy(a) {
		return x
	}
	s := m.distributed(p.id)
	if s == nil || s.handoff == nil {
		return nil
	}
	if serving, ok := mh.Find[*mh.ServingMAAR](a.Options); ok && serving.Address != m.address(s.serving) {
		return nil
	}
	if x := s.handoff.with(router); x.answeredBy(a) {
		return x
	}
	return nil
}

// answeredBy reports whether a is the answer to one of x's PBUs.
func (x *exchange) answeredBy(a *mh.BindingAcknowledgement) bool {
	stamp, err := auth.Timestamp(a.Options)
	if x == nil || err != nil {
		return false
	}
	for i := range x.sent {
		// RFC 4285 section 6 has only the lower half repeated in a mismatch.
		same := x.stamps[i] == stamp || a.Status == mh.StatusIDMismatch && uint32(x.stamps[i]) == uint32(stamp)
		if same && x.sequences[i] == a.Sequence {
			return true
		}
	}
	return false
}

// confirm notes that router knows who serves s.
func (m *Machine) confirm(now time.Time, s *session, router uint16, groups []group) {
	for i := range s.anchors {
		a := &s.anchors[i]
		if a.router != router {
			continue
		}
		a.confirmed = true
		for j := range groups {
			if groups[j].prefix == prefixFrom(a.prefix) {
				a.describe(&groups[j])
			}
		}
	}
	h := s.handoff
	if !h.answered || m.cfg.Mode != Relay || h.answer.id == "" {
		return
	}
	m.counters.Late++
	which := func(a *anchor) bool { return a.router == router }
	if h.answer.indicator == notChanged {
		which = confirmed
	}
	m.accept(now, s, &h.answer, which)
}

// lose takes the prefixes of router out of s without telling it.
func (m *Machine) lose(s *session, router uint16, why string) {
	for i := 0; i < len(s.anchors); {
		if a := s.anchors[i]; a.router == router {
			m.ended(s, &a, why)
			m.takeOut(s, i)
			continue
		}
		i++
	}
}

// unanswered gives a P-MAAR up.
func (m *Machine) unanswered(now time.Time, x *exchange) {
	m.counters.Unanswered++
	m.do(signaling.Report{
		Kind: Unanswered, Peer: m.address(x.router), Sequence: x.sequences[max(x.sent, 1)-1],
		Detail: fmt.Sprintf("%s: %d PBUs without an answer", text(x.id), x.sent),
	})
	s := x.session
	if s == nil {
		m.stop(x)
		return
	}
	m.cancel(s, x.router)
	m.lose(s, x.router, "its MAAR does not answer")
	m.settle(now, s)
	m.reschedule(s)
	m.save(now, s)
}
