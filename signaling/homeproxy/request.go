package homeproxy

import (
	"errors"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/homeagent"
	"kedge/signaling/mh"
)

// request is a DHoA Request on its way through the DHP.
type request struct {
	incoming
	// wish is its DHoA option's; an unspecified address leaves it to the DHP.
	wish netip.Prefix
	// told is, in a datagram, the care-of address that the mobile node knows of.
	told       netip.Addr
	identifier *mh.MobileNodeIdentifier
	owner      string
	// association signs the response; authentic says that it also proved the request's origin and freshness.
	association *auth.Association
	authentic   bool
	// timestamp is the one for the response, and if authentic the request's.
	timestamp mh.NTPTime
}

// request takes a DHoA Request. Its care-of address is the source, and it has no home address.
//
// In a UDP datagram (RFC 5555) the source is the mobile node's home address, which stands for the care-of address where the
// request is authenticated, and the lease is bound to where the datagram came from. An option tells of the care-of address
// that the mobile node knows, as in a Binding Update: that is for NAT detection, and because a request without datagram, which
// has no such option, must not be made into one with it. The response has the NAT Detection option, since a mobile node that
// only has leases has nothing else to learn from when to refresh the NAT's binding.
func (m *Machine) request(now time.Time, i incoming) {
	m.counters.Requests++
	q := &request{incoming: i, wish: netip.PrefixFrom(netip.IPv6Unspecified(), 128)}
	if !mh.UnicastRoutable(i.Source) || i.Destination != m.cfg.Address || !homeagent.FitDatagram(i.Received) {
		m.counters.Discarded.BadAddresses++
		return
	}
	if q.datagram() {
		q.told = homeagent.ToldCareOf(i.Received, i.message.Options)
	}
	wish, wishes := mh.Find[*mh.DHoA](i.message.Options)
	if wishes {
		q.wish = wish.Prefix
	}
	if _, signed := auth.SPI(i.message.Options); signed {
		if !m.authenticate(now, q) {
			return
		}
	} else if !m.admit(q, wishes) {
		return
	}
	m.do(signaling.Report{
		Kind: DHoARequestReceived, Home: specified(q.wish.Addr()), CareOf: q.careOf(), Peer: i.Source, Link: i.Link,
		Sequence: i.message.Sequence, Lifetime: i.message.Lifetime, Detail: q.identifier.Identifier,
	})
	if q.datagram() && !q.told.IsValid() {
		m.refuse(q, mh.StatusUnspecified, "there is no option with the care-of address")
		return
	}
	if i.message.Lifetime == 0 {
		m.giveBack(now, q)
	} else {
		m.lend(now, q)
	}
}

// datagram says that the request came in a UDP datagram.
func (q *request) datagram() bool { return q.Outer.IsValid() }

// careOf is where packets for the mobile node go.
func (q *request) careOf() netip.Addr {
	if q.datagram() {
		return q.Outer.Addr()
	}
	return q.Source
}

// admit decides on a request without authentication. The response has no option that the request must not have, so that it
// is no longer.
func (m *Machine) admit(q *request, wishes bool) bool {
	id, ok := mh.Find[*mh.MobileNodeIdentifier](q.message.Options)
	if !m.cfg.AllowUnauthenticated || !ok || len(id.Identifier) > maxIdentifier || !wishes {
		m.counters.Discarded.Unauthenticated++
		return false
	}
	q.identifier, q.owner = id, ownerOf(0, id)
	return true
}

// authenticate decides whether q is from whom it says, by a ticket that still holds, and fresh (RFC 4285 sections 5.1 and 6).
// If not, it has been answered as far as it is to be, and nothing is remembered of it.
func (m *Machine) authenticate(now time.Time, q *request) bool {
	a, t, ok := m.ticketAssociation(q.message.Options)
	if !ok {
		m.counters.Discarded.UnknownAssociation++
		return false
	}
	q.identifier, _ = mh.Find[*mh.MobileNodeIdentifier](q.message.Options)
	lookup := func(uint32) (auth.Association, bool) { return a, true }
	_, err := auth.Verify(q.Payload, q.message, lookup, q.Source, netip.IPv6Unspecified())
	forged := errors.Is(err, auth.ErrAuthenticator)
	switch {
	case err != nil && !forged:
		m.counters.Discarded.MisplacedAuthentication++
		return false
	case forged || m.expired(now, t):
		status, why := mh.StatusTicketRefused, "ticket has expired"
		if forged {
			status, why = mh.StatusAuthenticationFailure, err.Error()
		}
		if !m.refusals.Take(now) {
			m.counters.Refused[status]++
			m.counters.Throttled++
			return false
		}
		q.association = &a
		q.timestamp, _ = auth.Timestamp(q.message.Options)
		m.refuse(q, status, why)
		return false
	}
	q.association = &a
	q.owner = ownerOf(a.SPI, q.identifier)
	if q.timestamp, err = auth.Timestamp(q.message.Options); err == nil {
		if err = m.fresh(now, &a, q); err != nil {
			q.timestamp = auth.MismatchReply(q.timestamp, m.inner.Clock(now))
		}
	}
	if err != nil {
		status, _ := auth.Status(err)
		m.refuse(q, status, err.Error())
		return false
	}
	q.authentic = true
	m.stamp(now, q.owner, q.timestamp)
	return true
}

// fresh checks the timestamp of q against the last of its owner.
func (m *Machine) fresh(now time.Time, a *auth.Association, q *request) error {
	last, ok := m.stamps.get(q.owner)
	if !ok {
		last = m.floor
	}
	return a.Fresh(q.timestamp, last, m.inner.Clock(now))
}

// stamp remembers t as owner's last timestamp.
func (m *Machine) stamp(now time.Time, owner string, t mh.NTPTime) {
	m.stamps.put(now, owner, t, func(evicted mh.NTPTime) {
		if later(evicted, m.floor) {
			m.floor = evicted
		}
	})
}

// later reports whether a is after b, modulo 2^64.
func later(a, b mh.NTPTime) bool { return int64(a-b) > 0 }

// specified is a, or the invalid address for the unspecified one.
func specified(a netip.Addr) netip.Addr {
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// refuse sends a DHoA Response with a status of 128 or more.
func (m *Machine) refuse(q *request, status mh.Status, why string) {
	m.counters.Refused[status]++
	m.do(signaling.Report{
		Kind: DHoARequestRefused, Home: specified(q.wish.Addr()), CareOf: q.careOf(), Peer: q.Source,
		Sequence: q.message.Sequence, Status: uint8(status), Detail: why,
	})
	m.respond(q, status, netip.Prefix{}, 0)
}

// respond sends the DHoA Response. One to a request that is not authentic is no longer than it.
func (m *Machine) respond(q *request, status mh.Status, lent netip.Prefix, lifetime time.Duration) {
	response := &mh.DMIPv6{
		Subtype: mh.DHoAResponse, Status: status, Sequence: q.message.Sequence, Lifetime: lifetime,
		Options: mh.Options{q.identifier},
	}
	if lent.IsValid() {
		response.Options = append(response.Options, &mh.DHoA{Prefix: lent})
	}
	if q.told.IsValid() {
		response.Options = append(response.Options, homeagent.NATDetection(q.Received, q.told, m.cfg.NATRefresh))
	}
	var (
		payload []byte
		err     error
	)
	if q.association != nil {
		payload, err = auth.Sign(response, *q.association, q.Source, netip.IPv6Unspecified(), q.timestamp)
	} else {
		payload, err = mh.Append(nil, response)
	}
	if err != nil {
		return
	}
	if !q.authentic && len(payload) > len(q.Payload) {
		m.counters.Throttled++
		return
	}
	mh.SetChecksum(payload, m.cfg.Address, q.Source)
	m.do(
		signaling.Send{
			Source: m.cfg.Address, Destination: q.Source, Outer: q.Outer, OuterLocal: q.OuterLocal, Payload: payload,
		},
		signaling.Report{
			Kind: DHoAResponseSent, Home: lent.Addr(), CareOf: q.careOf(), Peer: q.Source, Sequence: response.Sequence,
			Lifetime: lifetime, Status: uint8(status),
		},
	)
}
