package dmipv6

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

// linger is how long after the last wait a late DHoA Response is still taken, for later flows.
const linger = 10 * time.Second

// request is a DHoA Request.
type request struct {
	exchange
	proxy *proxy
	// host says that the address is for the host itself and not for translation.
	host bool
	// correspondent and region are what it was asked for.
	correspondent netip.Addr
	region        netip.Prefix
	epoch         int
	// overdue says that the first wait is over; given up, that no more are sent, and that the request ends at the time at.
	overdue, givenUp bool
}

// request returns the outstanding request for an address of the DHP, which flows share, and begins one if there is none.
func (m *Machine) request(now time.Time, p *proxy, host bool, correspondent netip.Addr, region netip.Prefix) *request {
	for _, r := range m.requests {
		if r.proxy == p && r.host == host && !r.givenUp {
			return r
		}
	}
	r := &request{exchange: exchange{peer: &p.peer, sequence: m.random(), at: now}, proxy: p, host: host,
		correspondent: correspondent, region: region, epoch: m.epoch}
	m.requests = append(m.requests, r)
	return r
}

func (m *Machine) transmitRequest(now time.Time, r *request) {
	association := r.proxy.association(now)
	if association == nil {
		m.endRequest(r)
		m.skipUntilTicket(now, r.proxy, "its ticket has expired")
		return
	}
	place := m.placeTo(r.proxy)
	message := &mh.DMIPv6{Subtype: mh.DHoARequest, Lifetime: m.lifetime(now, &place)}
	message.Options = append(mh.Options{m.id, &mh.CNAddress{Address: r.correspondent},
		&mh.DHoA{Prefix: m.cfg.wish()}}, m.credentials(r.proxy)...)
	if place.UDP() {
		message.Options = append(message.Options, mobilenode.CareOfOption(place.CareOf))
	}
	roundTrip := r.proxy.path.from(place.CareOf)
	if roundTrip == 0 {
		roundTrip = m.homeRoundTrip()
	}
	switch err := m.send(now, &r.exchange, &place, message, association, roundTrip); err {
	case nil:
		m.counters.RequestsSent++
		detail := text("try %d", r.tries)
		m.report(signaling.Report{Kind: DHoARequestSent, CareOf: place.CareOf, Peer: r.proxy.address, Sequence: r.sequence,
			Lifetime: message.Lifetime, Detail: detail})
		m.stepProxy(now, r.proxy, DHoARequestSent, detail)
	case errLimited:
	default:
		m.requestFailed(now, r, err.Error())
	}
}

// lifetime is what is asked for, but no more than is left of the care-of address.
func (m *Machine) lifetime(now time.Time, place *mobilenode.Place) time.Duration {
	d := m.cfg.Lifetime
	if until := place.CareOfUntil; !until.IsZero() {
		d = min(d, until.Sub(now))
	}
	return max(d.Truncate(mh.LifetimeUnit), mh.LifetimeUnit)
}

func (m *Machine) restartRequests(now time.Time) {
	m.requests = slices.DeleteFunc(m.requests, func(r *request) bool { return r.givenUp })
	for _, r := range m.requests {
		// By the number the DHP knows it to be the same, so that it does not lend another address.
		r.restart(now, r.sequence)
		r.overdue, r.epoch = false, m.epoch
	}
}

func (m *Machine) tickRequests(now time.Time) {
	for _, r := range slices.Clone(m.requests) {
		switch {
		case now.Before(r.at):
		case r.givenUp:
			m.endRequest(r)
		case r.over(now) && m.failed(r.proxy, &r.sent[len(r.sent)-1].place):
			// By the same number, as after a move.
			r.restart(now, r.sequence)
			m.transmitRequest(now, r)
		case r.over(now):
			r.givenUp, r.at = true, now.Add(linger)
			m.skip(now, r.proxy, "it does not answer")
		case !m.placeTo(r.proxy).CareOf.IsValid():
			m.endRequest(r)
			m.reconsider = true
		default:
			if r.tries > 0 && !r.overdue {
				r.overdue = true
				m.reconsider = true
			}
			m.transmitRequest(now, r)
		}
	}
}

func (m *Machine) nextRequests(n *next) {
	for _, r := range m.requests {
		n.at(r.at)
	}
}

func (m *Machine) endRequest(r *request) {
	m.requests = slices.DeleteFunc(m.requests, func(o *request) bool { return o == r })
}

func (m *Machine) requestFailed(now time.Time, r *request, why string) {
	m.endRequest(r)
	m.skip(now, r.proxy, why)
}

// handleResponse takes a DHoA Response in.
func (m *Machine) handleResponse(now time.Time, r *signaling.Received, reply *mh.DMIPv6) {
	i := slices.IndexFunc(m.requests, func(q *request) bool {
		return q.proxy.address == r.Source && q.sequence == reply.Sequence && len(q.sent) > 0
	})
	if i < 0 {
		m.counters.Unmatched++
		return
	}
	q := m.requests[i]
	association := q.proxy.association(now)
	if association == nil {
		m.counters.Unmatched++
		return
	}
	err := authentic(r, reply, association)
	var t *transmission
	if err == nil {
		t, err = q.match(r, reply)
	}
	if err != nil {
		m.ignoreReply(r, reply, err)
		if reply.Status == mh.StatusTicketRefused {
			// A DHP that does not know the ticket's key cannot sign with it. That another ticket is asked for does no harm,
			// should it have been somebody else.
			m.ticketRefused(now, q)
		}
		return
	}
	roundTrip := now.Sub(t.at)
	q.proxy.heardFrom(now, t.place.CareOf, roundTrip)
	if reply.Status == mh.StatusIDMismatch && q.resynchronise(now, reply, t, window(association)) {
		m.transmitRequest(now, q)
		return
	}
	m.counters.ResponsesReceived++
	detail := text("%s after %v", reply.Status, roundTrip)
	m.report(signaling.Report{Kind: DHoAResponseReceived, CareOf: t.place.CareOf, Peer: r.Source, Sequence: reply.Sequence,
		Lifetime: reply.Lifetime, Status: uint8(reply.Status), Detail: detail})
	m.stepProxy(now, q.proxy, DHoAResponseReceived, detail)
	switch {
	case reply.Status == mh.StatusTicketRefused:
		m.ticketRefused(now, q)
	case !reply.Status.Accepted():
		m.counters.Refused++
		m.requestFailed(now, q, reply.Status.String())
	default:
		m.accept(now, q, t, reply, association, roundTrip)
	}
}

// ticketRefused forgets the ticket and asks for another, which flows wait for as they do for the first.
func (m *Machine) ticketRefused(now time.Time, q *request) {
	m.counters.Refused++
	m.endRequest(q)
	m.reconsider = true
	p := q.proxy
	if p.sealed == nil || now.Before(p.askedAt.Add(ticketRetry)) {
		m.skipUntilTicket(now, p, "it refuses the ticket")
		return
	}
	if !m.held(p) {
		p.sealed = nil
	}
	m.wantTicket(now, p, "it refuses the present one")
	if p.sealed != nil {
		m.skipUntilTicket(now, p, "it refuses the ticket") // until the next comes
	}
}

// accept takes up the address that was lent.
func (m *Machine) accept(now time.Time, q *request, t *transmission, reply *mh.DMIPv6, association *auth.Association, roundTrip time.Duration) {
	o, ok := mh.Find[*mh.DHoA](reply.Options)
	lifetime := min(reply.Lifetime, m.cfg.Lifetime)
	if !ok || lifetime <= 0 || o.Prefix.Bits() != m.cfg.wish().Bits() || !m.sensible(o.Prefix.Addr(), q) {
		m.counters.Refused++
		m.requestFailed(now, q, "what it lends is not an address that this node could use")
		return
	}
	m.endRequest(q)
	m.reconsider = true
	keepalive := time.Duration(0)
	if t.place.UDP() {
		keepalive = mobilenode.Keepalive(reply.Options)
	}
	m.lend(now, q, o.Prefix, t, lifetime, keepalive, association, roundTrip)
}

// sensible says whether a may be an address lent to this node: a unicast address that nobody has who is known.
func (m *Machine) sensible(a netip.Addr, q *request) bool {
	return mh.UnicastRoutable(a) && a != m.cfg.HomeAddress && a != m.home.HomeAgent && a != q.correspondent && !m.own(a) &&
		m.proxies[a] == nil && m.anchorOf(a) == nil
}
