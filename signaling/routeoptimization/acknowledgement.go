package routeoptimization

import (
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
	"kedge/signaling/routability"
)

// acknowledgement is RFC 6275 section 11.7.3.
func (m *Machine) acknowledgement(now time.Time, r *signaling.Received, home netip.Addr, ba *mh.BindingAcknowledgement) {
	e := m.entries[pair{home, r.Source}]
	if e == nil || !e.request.active() {
		m.counters.Ignored++
		return
	}
	t := m.match(e, r.Payload, ba)
	if t == nil {
		m.counters.Unauthentic++
		return
	}
	m.report(e, signaling.Report{Kind: BindingAcknowledgementReceived, Sequence: ba.Sequence, Lifetime: ba.Lifetime, Status: uint8(ba.Status)})
	switch ba.Status {
	case mh.StatusSequenceOutOfWindow:
		if p := m.peerOf(e); binding.Newer(ba.Sequence, p.sequence) || ba.Sequence == p.sequence {
			p.sequence = ba.Sequence
		}
		m.again(now, e, "the correspondent node had a later sequence number")
	case mh.StatusExpiredHomeNonce:
		e.homeTested = test{}
		m.again(now, e, ba.Status.String())
	case mh.StatusExpiredCareOfNonce:
		e.careOfTested = test{}
		m.again(now, e, ba.Status.String())
	case mh.StatusExpiredNonces:
		e.homeTested, e.careOfTested = test{}, test{}
		m.again(now, e, ba.Status.String())
	default:
		switch {
		case !ba.Status.Accepted():
			m.fail(now, e, fmt.Sprintf("the correspondent node refuses: %s", ba.Status))
			e.retryAt = now.Add(m.cfg.RetryUnsupported)
		case e.request.careOf == e.home:
			e.request, e.bound, e.remembered = request{}, bound{}, time.Time{}
		case ba.Lifetime == 0:
			m.fail(now, e, "the correspondent node grants no lifetime")
		default:
			m.registered(e, t, min(ba.Lifetime, t.lifetime))
		}
	}
}

// match finds the transmission that is acknowledged; nil if there is none, or the acknowledgement does not authenticate.
// Those of status 135 have the correspondent node's sequence number instead, and those that tell of expired nonces are not
// authenticated.
func (m *Machine) match(e *entry, payload []byte, ba *mh.BindingAcknowledgement) *transmission {
	for i := len(e.request.sent) - 1; i >= 0; i-- {
		t := &e.request.sent[i]
		switch ba.Status {
		case mh.StatusExpiredHomeNonce, mh.StatusExpiredCareOfNonce, mh.StatusExpiredNonces:
			// Only about the last one: the tokens that it was made of are the ones held.
			if i == len(e.request.sent)-1 && t.sequence == ba.Sequence {
				return t
			}
			continue
		case mh.StatusSequenceOutOfWindow:
		default:
			if t.sequence != ba.Sequence {
				continue
			}
		}
		if routability.Verify(payload, t.key, e.request.careOf, e.peer) {
			return t
		}
	}
	return nil
}

// registered takes an accepted registration in. The lifetime counts from the sending of the update.
func (m *Machine) registered(e *entry, t *transmission, lifetime time.Duration) {
	until := t.at.Add(lifetime)
	e.bound = bound{careOf: e.request.careOf, lifetime: lifetime, until: until, refreshAt: until.Add(-refreshLead(lifetime))}
	e.request = request{}
	e.failures, e.refusals, e.lastError = 0, 0, ""
	m.counters.Registrations++
}

// again sends what was refused once more at once, with what has been learned, but not for ever.
func (m *Machine) again(now time.Time, e *entry, why string) {
	m.counters.Refusals++
	e.refusals++
	e.lastError = why
	if e.refusals > maxRefusals {
		e.refusals = 0
		m.fail(now, e, why)
		return
	}
	e.request.attempt = attempt{}
}
