package homeagent

import (
	"errors"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
)

// authenticate decides whether q is from whom it says (RFC 6275 section 5.1, RFC 4285), and fresh. If not, it has been
// answered as far as it is to be.
func (m *Machine) authenticate(now time.Time, q *request) bool {
	if _, signed := auth.SPI(q.update.Options); !signed {
		// "the entity should silently discard the received message" (RFC 4285 section 5)
		if !q.claim.Unauthenticated {
			m.counters.Discarded.Unauthenticated++
		}
		return q.claim.Unauthenticated
	}
	lookup := func(uint32) (auth.Association, bool) { return q.claim.Association, q.claim.Known }
	_, err := auth.Verify(q.received.Payload, q.update, lookup, q.authenticated(), q.home)
	a := &q.claim.Association
	// The mobile node's own identifier is what goes back to it.
	a.Identifier = ""
	switch {
	case errors.Is(err, auth.ErrAuthenticator):
		if !m.refusals.Take(now) {
			m.counters.Refused[mh.StatusAuthenticationFailure]++
			m.counters.Throttled++
			return false
		}
		q.signed = true
		q.timestamp, _ = auth.Timestamp(q.update.Options)
		m.refuse(q, mh.StatusAuthenticationFailure, err.Error())
		return false
	case errors.Is(err, auth.ErrAssociation):
		m.counters.Discarded.UnknownAssociation++
		return false
	case err != nil:
		m.counters.Discarded.MisplacedAuthentication++
		return false
	}
	q.signed = true
	q.timestamp, err = auth.Timestamp(q.update.Options)
	if q.claim.Refused != mh.StatusAccepted {
		m.refuse(q, q.claim.Refused, "key is not to be used any more")
		return false
	}
	if err == nil {
		if err = a.Fresh(q.timestamp, m.lastTimestamp(q), m.Clock(now)); err != nil {
			q.timestamp = auth.MismatchReply(q.timestamp, m.Clock(now))
		}
	}
	if err != nil {
		status, _ := auth.Status(err)
		m.refuse(q, status, err.Error())
		return false
	}
	q.authentic = true
	return true
}

// lastTimestamp is the latest timestamp accepted for the home address, 0 if none is remembered. In a datagram, which could have
// been copied before a restart that lost its timestamp and now come from elsewhere, none from before the start is later.
func (m *Machine) lastTimestamp(q *request) mh.NTPTime {
	if p := m.pending.get(q.home); p != nil {
		return p.request.timestamp
	}
	b, _ := m.cache.Get(host(q.home))
	if b.Timestamp == 0 && q.datagram() {
		return mh.NTPTimeOf(m.Clock(m.start)) - 1
	}
	return mh.NTPTime(b.Timestamp)
}

// inSequence checks the sequence number (RFC 6275 section 9.5.1), also against deregistered bindings that are still
// remembered (section 10.3.2). RFC 4285 section 7 has it unused where timestamps protect from replay.
func (m *Machine) inSequence(q *request) (last uint16, ok bool) {
	if q.authentic {
		return 0, true
	}
	if p := m.pending.get(q.home); p != nil {
		last = p.request.update.Sequence
	} else if b, exists := m.cache.Get(host(q.home)); exists {
		last = b.Sequence
	} else {
		return 0, true
	}
	return last, binding.Newer(q.update.Sequence, last)
}
