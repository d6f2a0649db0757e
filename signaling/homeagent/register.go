package homeagent

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
)

// register makes or refreshes the binding that q asks for (RFC 6275 section 10.3.1), after duplicate address detection if
// the address is to be defended and is not yet.
func (m *Machine) register(now time.Time, q *request) {
	old, bound := m.valid(q.home)
	if probes := m.undefended(q, old, bound); len(probes) > 0 {
		m.probe(now, q, probes)
		return
	}
	if m.pending.remove(q.home) {
		m.counters.Superseded++
	}
	m.complete(now, q)
}

// grant decides on the lifetime and the status that goes with it (RFC 6275 section 10.3.1).
func (m *Machine) grant(now time.Time, q *request) {
	valid, preferred := m.cfg.prefixOf(q.home).validity(now, binding.MaxLifetime+binding.LifetimeUnit)
	q.granted = min(q.update.Lifetime, m.cfg.MaxLifetime, valid).Truncate(binding.LifetimeUnit)
	q.expires = now.Add(q.granted)
	if preferred.Truncate(binding.LifetimeUnit) <= q.granted || valid.Truncate(binding.LifetimeUnit) <= q.granted {
		q.status = mh.StatusPrefixDiscoveryNecessary
	}
}

// complete writes the binding down, hands it to forwarding and acknowledges.
func (m *Machine) complete(now time.Time, q *request) {
	m.grant(now, q)
	if q.granted == 0 {
		m.refuse(q, mh.StatusNotHomeSubnet, "home prefix is no longer valid")
		return
	}
	b := binding.Binding{
		Home:      q.host(),
		CareOf:    q.careOf,
		Port:      q.received.Outer.Port(),
		Local:     q.received.OuterLocal,
		Owner:     q.claim.Owner,
		Networks:  q.networks,
		Flags:     binding.HomeRegistration | binding.AskRefresh,
		Sequence:  q.update.Sequence,
		Timestamp: uint64(q.acceptedTimestamp()),
		Lifetime:  q.granted,
		Since:     now,
		Expires:   q.expires,
	}
	if q.update.LinkLocal {
		b.Flags |= binding.LinkLocal
	}
	if q.update.MobileRouter {
		b.Flags |= binding.MobileRouter
	}
	kind, err := m.establish(b)
	if err != nil {
		m.refuse(q, mh.StatusInsufficientResources, err.Error())
		return
	}
	m.counters.Registered++
	m.acknowledge(now, q, q.status, q.granted)
	m.do(signaling.Report{
		Kind: kind, Home: q.home, CareOf: q.careOf, Sequence: q.update.Sequence, Lifetime: q.granted, Status: uint8(q.status),
	})
}

// establish makes or refreshes the binding b, and says which of the two. The error is one of the cache's limits, and then
// nothing has changed.
func (m *Machine) establish(b binding.Binding) (signaling.ReportKind, error) {
	kind := BindingCreated
	old, bound := m.valid(b.Home.Addr())
	if bound {
		kind, b.Since = BindingRefreshed, old.Since
	}
	// The cache may reuse what old points to.
	old.Networks = slices.Clone(old.Networks)
	if err := m.put(b); err != nil {
		return "", err
	}
	m.forward(&old, &b)
	m.defend(old, bound, &b)
	return kind, nil
}

// acceptedTimestamp is the timestamp to remember.
func (q *request) acceptedTimestamp() mh.NTPTime {
	if q.authentic {
		return q.timestamp
	}
	return 0
}

// forward tells forwarding what changed from old, which is zero for a new binding, to b.
func (m *Machine) forward(old, b *binding.Binding) {
	moved := old.CareOf != b.CareOf || old.Port != b.Port || old.Local != b.Local
	for _, n := range old.Networks {
		if !slices.Contains(b.Networks, n) {
			m.do(signaling.Unbind{Home: n})
		}
	}
	if moved {
		m.bind(b.Home, b)
	}
	for _, n := range b.Networks {
		if moved || !slices.Contains(old.Networks, n) {
			m.bind(n, b)
		}
	}
}

// bind has packets for home tunnelled the way that b says.
func (m *Machine) bind(home netip.Prefix, b *binding.Binding) {
	e := signaling.Bind{Home: home, Local: m.cfg.Address, Remote: b.CareOf, RemotePort: b.Port}
	if b.Port != 0 {
		e.Local = b.Local
	}
	m.do(e)
}

// deregister ends the binding that q asks to end (RFC 6275 section 10.3.2). There is one.
func (m *Machine) deregister(now time.Time, q *request) {
	if m.pending.remove(q.home) {
		m.counters.Superseded++
	}
	b, _ := m.valid(q.home)
	b.Sequence = q.update.Sequence
	if t := q.acceptedTimestamp(); t != 0 {
		b.Timestamp = uint64(t)
	}
	m.counters.Deregistered++
	m.end(now, b, BindingDeleted)
	m.acknowledge(now, q, mh.StatusAccepted, 0)
}

// end takes the valid binding b back from forwarding and the home link, and remembers its sequence number and timestamp for
// as long as a delayed or replayed Binding Update could bring it back.
func (m *Machine) end(now time.Time, b binding.Binding, kind signaling.ReportKind) {
	m.do(signaling.Unbind{Home: b.Home})
	for _, n := range b.Networks {
		m.do(signaling.Unbind{Home: n})
	}
	m.undefend(&b)
	m.do(signaling.Report{Kind: kind, Home: b.Home.Addr(), CareOf: b.CareOf, Sequence: b.Sequence})
	quarantine := m.authority.Quarantine(&b)
	if kind == BindingExpired && b.Timestamp == 0 && quarantine == 0 {
		// Any sequence number is good for a home address without a binding (section 9.5.1).
		m.forget(b.Home)
		return
	}
	b.Flags = binding.HomeRegistration | binding.Invalid
	b.Networks = nil
	b.Expires = now.Add(max(m.memory, quarantine))
	m.put(b)
}

// acknowledge sends a Binding Acknowledgement to where the Binding Update came from (RFC 6275 sections 9.5.4 and 10.3.1).
func (m *Machine) acknowledge(now time.Time, q *request, status mh.Status, lifetime time.Duration) {
	ack := &mh.BindingAcknowledgement{
		Status:       status,
		Sequence:     q.update.Sequence,
		Lifetime:     lifetime,
		MobileRouter: q.update.MobileRouter && status.Accepted(),
	}
	// One that anybody may ask for by UDP is to be no longer than the question.
	if advice := m.advice(lifetime); advice > 0 && (q.authentic || !q.datagram()) {
		ack.Options = append(ack.Options, &mh.BindingRefreshAdvice{Interval: advice})
	}
	if lifetime > 0 {
		ack.Options = appendIPv4Refusals(ack.Options, q.update.Options)
	}
	m.send(q, ack)
}

// advice is the Refresh Interval that goes with a granted lifetime, less than it; 0 for none.
func (m *Machine) advice(lifetime time.Duration) time.Duration {
	if m.cache.Durable() || m.cfg.RefreshAdvice == 0 {
		return 0
	}
	return max(min(m.cfg.RefreshAdvice, lifetime-binding.LifetimeUnit), 0).Truncate(binding.LifetimeUnit)
}

// refuse sends a Binding Acknowledgement with a status of 128 or more. Where the request may come from anybody, it is no
// longer than the request.
func (m *Machine) refuse(q *request, status mh.Status, why string) {
	m.counters.Refused[status]++
	m.do(signaling.Report{
		Kind: BindingUpdateRefused, Home: q.home, CareOf: q.careOf, Peer: q.received.Source, Sequence: q.update.Sequence,
		Status: uint8(status), Detail: why,
	})
	m.send(q, &mh.BindingAcknowledgement{Status: status, Sequence: q.update.Sequence})
}

func (m *Machine) send(q *request, ack *mh.BindingAcknowledgement) {
	if q.datagram() {
		ack.Options = append(ack.Options, NATDetection(&q.received, q.told, m.cfg.NATRefresh))
	}
	if q.identifier != nil {
		ack.Options = append(ack.Options, q.identifier)
	}
	var (
		payload []byte
		err     error
	)
	if q.signed {
		payload, err = auth.Sign(ack, q.claim.Association, q.authenticated(), q.home, q.timestamp)
	} else {
		payload, err = mh.Append(nil, ack)
	}
	if err != nil {
		return
	}
	if !q.authentic && (q.datagram() || !ack.Status.Accepted()) && len(payload) > q.length {
		m.counters.Throttled++
		return
	}
	s := signaling.Send{Source: m.cfg.Address, Destination: q.received.Source, Payload: payload}
	to := s.Destination
	switch {
	case q.datagram():
		s.Outer, s.OuterLocal = q.received.Outer, q.received.OuterLocal
	case q.away:
		s.RoutingHome, to = q.home, q.home
	case m.cfg.HomeLink != "":
		// The mobile node is on the home link, even if a binding still sends its packets elsewhere (section 10.3.2).
		s.Link, s.Router = m.cfg.HomeLink, q.home
	}
	mh.SetChecksum(payload, s.Source, to)
	m.do(s)
	m.do(signaling.Report{
		Kind: BindingAcknowledgementSent, Home: q.home, CareOf: q.careOf, Peer: s.Destination, Sequence: ack.Sequence,
		Lifetime: ack.Lifetime, Status: uint8(ack.Status),
	})
}
