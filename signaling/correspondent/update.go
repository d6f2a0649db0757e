package correspondent

import (
	"errors"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/binding"
	"kedge/signaling/fault"
	"kedge/signaling/mh"
	"kedge/signaling/routability"
)

// request is a Binding Update on its way through the correspondent node.
type request struct {
	source netip.Addr
	update *mh.BindingUpdate
	home   netip.Addr
	// careOf is the home address in a deregistration.
	careOf netip.Addr
	// away says that it came with a Home Address option, so that its acknowledgement gets a type 2 routing header.
	away bool
	// key signs the acknowledgement; nil if it is not known.
	key *routability.Key
}

func (q *request) deregisters() bool { return q.careOf == q.home }

// bindingUpdate goes through the tests of RFC 6275 section 9.5.1. What fails them is discarded in silence unless said
// otherwise there.
func (m *Machine) bindingUpdate(now time.Time, r *signaling.Received, update *mh.BindingUpdate) {
	q := &request{source: r.Source, update: update, home: r.Source}
	if r.HomeAddress.IsValid() {
		q.home, q.away = r.HomeAddress, true
	}
	q.careOf = r.Source
	if o, ok := mh.Find[*mh.AlternateCareOf](update.Options); ok {
		q.careOf = o.Address
	}
	if update.Lifetime == 0 {
		q.careOf = q.home
	}
	indices, indexed := mh.Find[*mh.NonceIndices](update.Options)
	switch {
	case !fault.Answerable(r.Source), !mh.UnicastRoutable(q.home), !mh.UnicastRoutable(q.careOf), q.home == m.cfg.Address:
		m.counters.Discarded++
		return
	case !m.updates.Take(now):
		m.counters.Limited++
		return
	case update.HomeRegistration && indexed:
		m.counters.Discarded++
		return
	case update.HomeRegistration:
		// Section 10.3.1: a node that is no home agent says so.
		m.refuse(now, q, mh.StatusHomeRegistrationNotSupported, update.Sequence)
		return
	case !indexed:
		m.counters.Discarded++
		return
	}
	home, careOf := m.nonces.find(now, indices.Home), m.nonces.find(now, indices.CareOf)
	switch {
	case q.deregisters() && home == nil, home == nil && careOf != nil:
		m.refuse(now, q, mh.StatusExpiredHomeNonce, update.Sequence)
		return
	case home == nil:
		m.refuse(now, q, mh.StatusExpiredNonces, update.Sequence)
		return
	case careOf == nil && !q.deregisters():
		m.refuse(now, q, mh.StatusExpiredCareOfNonce, update.Sequence)
		return
	}
	key := routability.DeletionKey(home.token(q.home, homeToken))
	if !q.deregisters() {
		key = routability.BindingKey(home.token(q.home, homeToken), careOf.token(q.careOf, careOfToken))
	}
	if !routability.Verify(r.Payload, key, q.careOf, m.cfg.Address) {
		m.counters.Unauthentic++
		return
	}
	q.key = &key
	m.counters.BindingUpdates++
	m.emit(signaling.Report{Kind: BindingUpdateReceived, Home: q.home, CareOf: q.careOf, Peer: m.cfg.Address,
		Link: r.Link, Sequence: update.Sequence, Lifetime: update.Lifetime})
	old, known := m.cache.Get(host(q.home))
	switch {
	case known && !binding.Newer(update.Sequence, old.Sequence):
		m.refuse(now, q, mh.StatusSequenceOutOfWindow, old.Sequence)
	case q.deregisters():
		m.deregister(now, q, old, known)
	case q.careOf == m.cfg.Address:
		m.refuse(now, q, mh.StatusInvalidCareOfAddress, update.Sequence)
	default:
		m.register(now, q, old, known)
	}
}

// register is RFC 6275 section 9.5.2.
func (m *Machine) register(now time.Time, q *request, old binding.Binding, known bool) {
	granted := min(q.update.Lifetime, m.cfg.MaxLifetime).Truncate(mh.LifetimeUnit)
	had := known && old.Flags&binding.Invalid == 0
	b := binding.Binding{
		Home: host(q.home), CareOf: q.careOf, Flags: binding.AskRefresh, Sequence: q.update.Sequence,
		Lifetime: granted, Since: now, Expires: now.Add(granted),
	}
	if had {
		b.Since = old.Since
	}
	if err := m.cache.Put(b); errors.Is(err, binding.ErrFull) {
		m.refuse(now, q, mh.StatusInsufficientResources, q.update.Sequence)
		return
	}
	delete(m.troubles, q.home)
	m.counters.Registered++
	if !had || old.CareOf != q.careOf {
		m.emit(signaling.Optimize{Home: q.home, CareOf: q.careOf, Correspondent: m.cfg.Address})
		m.emit(signaling.Report{Kind: BindingCreated, Home: q.home, CareOf: q.careOf, Peer: m.cfg.Address,
			Sequence: b.Sequence, Lifetime: granted})
	}
	if q.update.Acknowledge {
		m.acknowledge(q, mh.StatusAccepted, b.Sequence, granted)
	}
}

// deregister is RFC 6275 section 9.5.3.
func (m *Machine) deregister(now time.Time, q *request, old binding.Binding, known bool) {
	if known {
		m.end(now, old, now.Add(routability.MaxNonceLifetime), q.update.Sequence, BindingDeleted, "")
	}
	m.counters.Deregistered++
	if q.update.Acknowledge {
		m.acknowledge(q, mh.StatusAccepted, q.update.Sequence, 0)
	}
}

// refuse sends a Binding Acknowledgement that rejects (RFC 6275 section 9.5.4). To senders that have not been authenticated
// there is a limit.
func (m *Machine) refuse(now time.Time, q *request, status mh.Status, sequence uint16) {
	if q.key == nil && !m.faults.Take(now) {
		m.counters.Limited++
		return
	}
	m.counters.Refused++
	m.emit(signaling.Report{Kind: BindingUpdateRefused, Home: q.home, CareOf: q.careOf, Peer: m.cfg.Address,
		Sequence: sequence, Status: uint8(status), Detail: status.String()})
	m.acknowledge(q, status, sequence, 0)
}

// acknowledge sends a Binding Acknowledgement to the update's source, signed if the key is known: it is not for nonces that
// have expired (RFC 6275 section 9.5.4).
func (m *Machine) acknowledge(q *request, status mh.Status, sequence uint16, lifetime time.Duration) {
	ack := &mh.BindingAcknowledgement{Status: status, Sequence: sequence, Lifetime: lifetime}
	var payload []byte
	var err error
	if q.key != nil {
		payload, err = routability.Sign(ack, *q.key, q.careOf, m.cfg.Address)
	} else {
		payload, err = mh.Append(nil, ack)
	}
	if err != nil {
		return
	}
	mh.SetChecksum(payload, m.cfg.Address, q.home)
	s := signaling.Send{Destination: q.source, Payload: payload}
	if q.away {
		s.RoutingHome = q.home
	}
	m.counters.Acknowledgements++
	m.send(s)
}
