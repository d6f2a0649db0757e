package accessrouter

import (
	"bytes"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

const (
	// flagsOffset is where a Binding Acknowledgement has its flags.
	flagsOffset = 7
	// deniedTime is how long a mobile node that the CMD denies service is not asked for again.
	deniedTime = 5 * time.Minute
)

// acknowledgement takes a PBA (RFC 5213 section 6.9.1.2, RFC 8885 section 4.2).
func (m *Machine) acknowledgement(now time.Time, r *signaling.Received, b *mh.BindingAcknowledgement) {
	if !b.ProxyRegistration {
		m.counters.Discarded.WrongProtocol++
		return
	}
	id, ok := subject(b.Options)
	if !ok {
		m.counters.Discarded.Malformed++
		return
	}
	s := m.sessions[id]
	peer, isPeer := m.peers[r.Source]
	stamp, err := auth.Timestamp(b.Options)
	switch {
	case r.Source == m.control && (s != nil && s.find(stamp, b.Status) != nil || !isPeer || peer.SPI == 0):
		if m.verify(r, b, m.association, m.cfg.Address) != nil {
			return
		}
		if err != nil || s == nil || s.find(stamp, b.Status) == nil {
			m.counters.Discarded.Unmatched++
			return
		}
		defer m.schedule(s)
		m.answered(now, r, s, s.find(stamp, b.Status), b)
	case isPeer && peer.SPI != 0 && !m.gateway:
		m.fromPeer(now, r, s, m.cfg.Associations[peer.SPI], id, b)
	default:
		m.counters.Discarded.Stranger++
	}
}

// fromPeer takes a previous MAAR's own PBA, which a locator CMD leaves to it (RFC 8885 section 3.3).
func (m *Machine) fromPeer(now time.Time, r *signaling.Received, s *session, a auth.Association, id identity, b *mh.BindingAcknowledgement) {
	a.SPI = m.peers[r.Source].SPI
	if m.verify(r, b, a, m.cfg.Address) != nil {
		return
	}
	if s == nil || !s.present() || s.request == nil || s.request.tries == 0 || b.Sequence-s.request.first > s.request.last-s.request.first {
		m.counters.Discarded.Unmatched++
		return
	}
	if !b.Distributed {
		m.counters.Discarded.WrongProtocol++
		return
	}
	if _, err := m.fresh(now, a, mh.TypeBindingAcknowledgement, id, b.Options); err != nil {
		return
	}
	m.counters.Acknowledgements++
	m.reportAcknowledgement(r, s, b)
	if !b.Status.Accepted() || b.Lifetime == 0 {
		return
	}
	defer m.schedule(s)
	// The CMD has spoken, if by another's mouth; its own acknowledgement, with what else there is to know, is asked for by
	// the next transmission.
	m.begin(s)
	m.learn(now, s, m.groups(s, b.Options, r.Source), false)
}

func (m *Machine) reportAcknowledgement(r *signaling.Received, s *session, b *mh.BindingAcknowledgement) {
	m.do(signaling.Report{
		Kind: AcknowledgementReceived, Peer: r.Source, Home: s.own.Addr(), Link: s.link, Sequence: b.Sequence, Lifetime: b.Lifetime,
		Status: uint8(b.Status), Detail: s.id.String(),
	})
}

// answered takes the authentic answer to q.
func (m *Machine) answered(now time.Time, r *signaling.Received, s *session, q *request, b *mh.BindingAcknowledgement) {
	if m.gateway && b.Distributed {
		// "it MUST ignore the message, and an error MUST be returned" (RFC 8885 section 4.2).
		m.counters.Discarded.WrongProtocol++
		if m.complaints.Take(now) {
			about := *r
			about.Payload = bytes.Clone(r.Payload)
			m.do(signaling.SendParameterProblem{InReplyTo: about, Pointer: flagsOffset})
		}
		return
	}
	if !m.gateway && !b.Distributed && b.Status.Accepted() {
		m.counters.Discarded.WrongProtocol++
		return
	}
	if b.Status != mh.StatusSequenceOutOfWindow && b.Sequence-q.first > q.last-q.first {
		m.counters.Discarded.Unmatched++
		return
	}
	if !m.echoed(s, q, b) {
		// "the mobile access gateway MUST NOT retransmit" (RFC 5213 section 6.9.1.2).
		m.counters.Discarded.Mismatched++
		q.due = time.Time{}
		return
	}
	m.counters.Acknowledgements++
	m.reportAcknowledgement(r, s, b)
	if !b.Status.Accepted() {
		m.counters.RefusedByControl[b.Status]++
		m.refused(now, s, q, b)
		return
	}
	switch q.purpose {
	case cleanup:
		m.cleaned(now, s, q)
	case probe:
		m.regained(now, s, q)
	case deregistration:
		m.deregistered(now, s, q, b)
	default:
		m.registered(now, s, q, b)
	}
}

// echoed reports whether b repeats what it has to of q (RFC 5213 section 6.9.1.2, item 6).
func (m *Machine) echoed(s *session, q *request, b *mh.BindingAcknowledgement) bool {
	if o, ok := mh.Find[*mh.HandoffIndicator](b.Options); ok && o.Indicator != q.indicator() {
		return false
	}
	if o, ok := mh.Find[*mh.AccessTechnologyType](b.Options); ok && o.Technology != mh.AccessEthernet {
		return false
	}
	o, ok := mh.Find[*mh.LinkLayerIdentifier](b.Options)
	return !ok || bytes.Equal(o.Identifier, s.linkLayer[:])
}

// registered takes the acceptance of a registration; there may be more than one.
func (m *Machine) registered(now time.Time, s *session, q *request, b *mh.BindingAcknowledgement) {
	if b.Lifetime == 0 {
		return
	}
	q.answered, q.due = true, time.Time{}
	s.before = netip.Addr{}
	switch s.state {
	case attaching, serving:
	case previous:
		m.probe(now, s)
		return
	default:
		// It left meanwhile; what was granted goes on until then.
		s.expires = now.Add(b.Lifetime)
		return
	}
	m.enter(now, s, serving)
	s.expires = now.Add(b.Lifetime)
	const quarters = 4
	s.refresh = now.Add(b.Lifetime - b.Lifetime/quarters)
	told := m.groups(s, b.Options, netip.Addr{})
	if m.gateway {
		if told = m.assigned(s, b); len(told) == 0 {
			m.deny(now, s, "no home network prefix")
			return
		}
	}
	if m.gateway {
		m.learn(now, s, told, true)
		m.begin(s)
	} else {
		m.begin(s)
		m.learn(now, s, told, q.purpose == refresh)
	}
	m.save(s)
}

// begin advertises the mobile node its routers once it is known to be one of ours.
func (m *Machine) begin(s *session) {
	s.grace = time.Time{}
	if !s.told {
		m.advertise(s)
	}
}

// assigned are the prefixes that the local mobility anchor gave, and its link-local address (RFC 5213 section 6.9.1.2). Other
// gateways make the same link-layer address of them, so that the mobile node sees one router wherever it is.
func (m *Machine) assigned(s *session, b *mh.BindingAcknowledgement) []*anchor {
	told := m.groups(s, b.Options, m.control)
	if o, ok := mh.Find[*mh.LinkLocalAddress](b.Options); ok && o.Address.IsLinkLocalUnicast() {
		s.linkLocal = o.Address
	}
	for _, a := range told {
		a.linkLocal, a.linkLayer = commonInterface(told[0].prefix, s.id)
		if s.linkLocal.IsValid() {
			a.linkLocal = s.linkLocal
		}
	}
	return told
}

// deregistered takes the answer to a de-registration: a lifetime that is not 0 says that the mobile node is in the domain
// still (RFC 8885 section 3.5).
func (m *Machine) deregistered(now time.Time, s *session, q *request, b *mh.BindingAcknowledgement) {
	if b.Lifetime == 0 || m.gateway {
		m.ended(now, s)
		return
	}
	q.answered, q.due = true, time.Time{}
	s.expires = now.Add(b.Lifetime)
	o, ok := mh.Find[*mh.ServingMAAR](b.Options)
	switch {
	case ok && m.mayServe(o.Address):
		m.follow(now, s, o.Address)
	case s.state == leaving:
		m.enter(now, s, absent)
	}
}

// refused takes a refusal.
func (m *Machine) refused(now time.Time, s *session, q *request, b *mh.BindingAcknowledgement) {
	detail := s.id.String() + ": " + b.Status.String()
	switch b.Status {
	case mh.StatusSequenceOutOfWindow:
		// It has the last number accepted (RFC 6275 section 6.1.8); who asks too often waits for the retransmission.
		s.sequence = b.Sequence
		const prompt = 2
		if q.tries <= prompt {
			q.first = s.sequence + 1
			m.transmit(now, s, q)
		}
		return
	case mh.StatusTimestampLower, mh.StatusTimestampMismatch, mh.StatusIDMismatch, mh.StatusUnspecified,
		mh.StatusInsufficientResources:
		// Tried again at the pace of retransmissions (RFC 5213 section 6.9.1.2, items 8 and 9); the clocks are the
		// operator's business.
		m.do(signaling.Report{Kind: Denied, Peer: m.control, Link: s.link, Status: uint8(b.Status), Detail: detail})
		return
	}
	q.due = time.Time{}
	switch q.purpose {
	case cleanup, probe:
		m.cleaned(now, s, q)
	case deregistration:
		m.mayNotLeave(now, s, b.Status)
	default:
		m.deny(now, s, b.Status.String())
	}
}

// mayNotLeave takes in that a de-registration is refused: "deny a P-MAAR to de-register a prefix" (RFC 8885 section 3.5). The
// serving MAAR will do it; one that this MAAR does not know is heard of from the CMD.
func (m *Machine) mayNotLeave(now time.Time, s *session, status mh.Status) {
	switch {
	case s.state == previous:
		s.request, s.expires = nil, time.Time{}
	case status == mh.StatusGatewayNotAuthorized && !m.gateway:
		s.request, s.expires = nil, now.Add(m.cfg.Lifetime)
		m.enter(now, s, absent)
	default:
		m.ended(now, s)
	}
}

// deny ends the service of a mobile node that the CMD does not want registered (RFC 5213 section 6.9.1.2, items 7 and 11).
func (m *Machine) deny(now time.Time, s *session, why string) {
	if s.state == previous || s.state == absent {
		return
	}
	m.withdraw(s, true)
	m.enter(now, s, denied)
	s.grace, s.refresh, s.request, s.cleanups = time.Time{}, time.Time{}, nil, nil
	s.hold = now.Add(deniedTime)
	s.expires = now.Add(max(deniedTime, m.cfg.Lifetime))
	m.do(signaling.Report{Kind: Denied, Peer: m.control, Link: s.link, Detail: s.id.String() + ": " + why})
}
