package homeagent

import (
	"errors"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
)

// nodeOf finds the configured mobile node that a request comes from: the one whose home address it is, else the one with
// its MN-ID; nil if there is none.
func (m *Machine) nodeOf(q *request) *MobileNode {
	if n := m.byHome[q.home]; n != nil {
		return n
	}
	if q.identifier != nil {
		return m.byID[q.identifier.Identifier]
	}
	return nil
}

// authenticate decides whether q is from whom it says (RFC 6275 section 5.1, RFC 4285), and fresh. If not, it has been
// answered as far as it is to be.
func (m *Machine) authenticate(now time.Time, q *request) bool {
	spi, signed := auth.SPI(q.update.Options)
	if !signed {
		// "the entity should silently discard the received message" (RFC 4285 section 5)
		allowed := m.cfg.AllowUnauthenticated
		if q.node != nil {
			allowed = q.node.SPI == 0 && q.node.AllowUnauthenticated
		}
		if !allowed {
			m.counters.Discarded.Unauthenticated++
		}
		return allowed
	}
	if q.node == nil && m.exclusive[spi] || q.node != nil && q.node.SPI != spi {
		m.counters.Discarded.UnknownAssociation++
		return false
	}
	lookup := func(spi uint32) (auth.Association, bool) {
		a, ok := m.cfg.Associations[spi]
		return a, ok
	}
	a, err := auth.Verify(q.received.Payload, q.update, lookup, q.careOf, q.home)
	// The mobile node's own identifier is what goes back to it.
	a.Identifier = ""
	switch {
	case errors.Is(err, auth.ErrAuthenticator):
		if !m.refusals.Take(now) {
			m.counters.Refused[mh.StatusAuthenticationFailure]++
			m.counters.Throttled++
			return false
		}
		q.association = &a
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
	q.association = &a
	q.timestamp, err = auth.Timestamp(q.update.Options)
	if err == nil {
		if err = a.Fresh(q.timestamp, m.lastTimestamp(q), m.clock(now)); err != nil {
			q.timestamp = auth.MismatchReply(q.timestamp, m.clock(now))
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

// lastTimestamp is the latest timestamp accepted for the home address, 0 if none is remembered.
func (m *Machine) lastTimestamp(q *request) mh.NTPTime {
	if p := m.pending.get(q.home); p != nil {
		return p.request.timestamp
	}
	b, _ := m.cache.Get(host(q.home))
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
