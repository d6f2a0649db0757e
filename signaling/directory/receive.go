package directory

import (
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/fault"
	"kedge/signaling/mh"
)

// request is a message on its way through the directory.
type request struct {
	*signaling.Received
	message *mh.DMIPv6
	// reply is the subtype of what answers it.
	reply mh.Subtype
	// identifier is the MN-ID that it came with; nil if none.
	identifier *mh.MobileNodeIdentifier
	// association signs the reply; authentic says that it also proved the request's origin and freshness.
	association auth.Association
	authentic   bool
	// timestamp is the one for the reply.
	timestamp mh.NTPTime
}

// received takes a Mobility Header message (RFC 6275 section 9.2) if its type is 11.
func (m *Machine) received(now time.Time, r *signaling.Received) {
	const typeOffset = 2
	if len(r.Payload) <= typeOffset || mh.Type(r.Payload[typeOffset]) != mh.TypeExperimental {
		return
	}
	from, to := r.Source, r.Destination
	if r.HomeAddress.IsValid() {
		from = r.HomeAddress
	}
	if r.RoutingHome.IsValid() {
		to = r.RoutingHome
	}
	if !from.IsValid() || !to.IsValid() || !mh.ChecksumValid(r.Payload, from, to) {
		m.counters.Discarded.BadChecksum++
		return
	}
	message, err := mh.Parse(r.Payload)
	if err != nil {
		m.counters.Discarded.Malformed++
		m.complain(now, r, fault.Answer(r, err))
		return
	}
	d, ok := message.(*mh.DMIPv6)
	if !ok {
		m.counters.Discarded.UnknownType++
		m.complain(now, r, fault.Answer(r, &mh.UnknownTypeError{Type: message.Type()}))
		return
	}
	if !fault.Answerable(r.Source) || r.Destination != m.cfg.Address || r.HomeAddress.IsValid() || r.RoutingHome.IsValid() ||
		r.Outer.IsValid() && !mh.UDPReachable(r.Outer) {
		m.counters.Discarded.BadAddresses++
		return
	}
	q := &request{Received: r, message: d}
	q.identifier, _ = mh.Find[*mh.MobileNodeIdentifier](d.Options)
	switch d.Subtype {
	case mh.DHPQuery:
		q.reply = mh.DHPQueryReply
		m.query(now, q)
	case mh.DHPAdvertisement:
		q.reply = mh.DHPAdvertisementAcknowledgement
		m.advertisement(now, q)
	default:
		m.counters.Discarded.NotForDirectory++
	}
}

// complain sends the answer to a message that could not be taken, unless it is nil, the message was not for this home
// agent's own address, or there were too many lately.
func (m *Machine) complain(now time.Time, r *signaling.Received, answer signaling.Effect) {
	if answer == nil || r.Destination != m.cfg.Address {
		return
	}
	if !m.errors.Take(now) {
		m.counters.Throttled++
		return
	}
	if _, problem := answer.(signaling.SendParameterProblem); problem {
		m.counters.ParameterProblems++
	} else {
		m.counters.BindingErrors++
	}
	m.do(answer)
}
