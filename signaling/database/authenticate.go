package database

import (
	"errors"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// verify reports whether message is from router (RFC 4285 section 5.1.1). The error is for those that failed by their
// authenticator; all others have been counted.
func (m *Machine) verify(r *signaling.Received, router uint16, message mh.Message, careOf netip.Addr) (ok bool, err error) {
	a := m.routers[router].association
	lookup := func(spi uint32) (auth.Association, bool) { return a, spi == a.SPI }
	_, err = auth.Verify(r.Payload, message, lookup, careOf, home)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, auth.ErrAuthenticator):
		return false, err
	case errors.Is(err, auth.ErrMissing):
		m.counters.Discarded.Unauthenticated++
	case errors.Is(err, auth.ErrAssociation):
		m.counters.Discarded.UnknownAssociation++
	default:
		m.counters.Discarded.MisplacedAuthentication++
	}
	return false, nil
}

// authenticate decides whether q is from its router, and fresh. If not, it has been answered as far as it is to be.
func (m *Machine) authenticate(now time.Time, q *request, u *mh.BindingUpdate) bool {
	ok, err := m.verify(q.Received, q.router, u, q.Source)
	q.messageID, _ = auth.Timestamp(u.Options)
	if err != nil {
		if !m.refusals.Take(now) {
			m.counters.Refused[mh.StatusAuthenticationFailure]++
			m.counters.Throttled++
			return false
		}
		q.limit = len(q.Payload)
		m.refuse(now, q, mh.StatusAuthenticationFailure)
	}
	if !ok {
		return false
	}
	sender := peer{q.id, q.router}
	last, known := m.stamps.get(m.at(now), sender)
	stamp, err := auth.Timestamp(u.Options)
	switch {
	case err != nil:
	case known && stamp == last:
		m.counters.Discarded.Copies++
		return false
	default:
		if err = m.routers[q.router].association.Fresh(stamp, last, m.clock(now)); err != nil {
			q.messageID = auth.MismatchReply(stamp, m.clock(now))
		}
	}
	if err != nil {
		status, _ := auth.Status(err)
		m.refuse(now, q, status)
		return false
	}
	if !known && len(m.stamps.of) >= m.cfg.MaxSessions {
		m.refuse(now, q, mh.StatusInsufficientResources)
		return false
	}
	if q.named {
		m.stamps.put(m.at(now), sender, stamp)
	}
	return true
}
