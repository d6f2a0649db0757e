package directory

import (
	"errors"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// authenticate decides whether q is from who has association a (RFC 4285 section 5.1.1), and fresh, last being the latest
// timestamp accepted from there. If not, it has been answered as far as it is to be.
func (m *Machine) authenticate(now time.Time, q *request, a auth.Association, last mh.NTPTime) bool {
	lookup := func(spi uint32) (auth.Association, bool) { return a, spi == a.SPI }
	_, err := auth.Verify(q.Payload, q.message, lookup, q.Source, home)
	// The sender's own identifier is what goes back to it.
	a.Identifier = ""
	q.association = a
	switch {
	case errors.Is(err, auth.ErrAuthenticator):
		if !m.refusals.Take(now) {
			m.counters.Refused[mh.StatusAuthenticationFailure]++
			m.counters.Throttled++
			return false
		}
		q.timestamp, _ = auth.Timestamp(q.message.Options)
		m.refuse(q, mh.StatusAuthenticationFailure, err.Error())
		return false
	case err != nil:
		m.counters.Discarded.MisplacedAuthentication++
		return false
	}
	q.timestamp, err = auth.Timestamp(q.message.Options)
	if err == nil {
		if err = a.Fresh(q.timestamp, last, m.clock(now)); err != nil {
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

// refuse answers q with a status of 128 or more. Where the request may come from anybody, the answer is no longer than it.
func (m *Machine) refuse(q *request, status mh.Status, why string) {
	m.counters.Refused[status]++
	kind := QueryRefused
	if q.reply == mh.DHPAdvertisementAcknowledgement {
		kind = AdvertisementRefused
	}
	m.do(signaling.Report{
		Kind: kind, Peer: q.Source, Link: q.Link, Sequence: q.message.Sequence, Status: uint8(status), Detail: why,
	})
	m.answer(q, status, 0, nil)
}

// answer sends the reply to q, by UDP if it came so, and reports whether it did.
func (m *Machine) answer(q *request, status mh.Status, lifetime time.Duration, options mh.Options) bool {
	if q.identifier != nil {
		options = append(options, q.identifier)
	}
	reply := &mh.DMIPv6{
		Subtype: q.reply, Status: status, Sequence: q.message.Sequence, Lifetime: lifetime, Options: options,
	}
	payload, err := auth.Sign(reply, q.association, q.Source, home, q.timestamp)
	if err != nil {
		return false
	}
	if !q.authentic && len(payload) > len(q.Payload) {
		m.counters.Throttled++
		return false
	}
	mh.SetChecksum(payload, m.cfg.Address, q.Source)
	m.do(signaling.Send{
		Source: m.cfg.Address, Destination: q.Source, Outer: q.Outer, OuterLocal: q.OuterLocal, Payload: payload,
	})
	return true
}
