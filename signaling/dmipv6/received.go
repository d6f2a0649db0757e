package dmipv6

import (
	"encoding/binary"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/quoted"
)

// handleReceived takes a Mobility Header message that concerns DMIPv6. What cannot be read is the home address's machine's to
// answer.
func (m *Machine) handleReceived(now time.Time, r *signaling.Received) {
	message, err := mh.Parse(r.Payload)
	if err != nil {
		return
	}
	about := r.RoutingHome
	if r.Outer.IsValid() && r.Destination != m.cfg.HomeAddress {
		about = r.Destination
	}
	if about.IsValid() {
		if a := m.anchorOf(about); a != nil && r.Source == a.proxy.address {
			m.drive(now, a, *r)
		}
		return
	}
	if r.HomeAddress.IsValid() || !r.Outer.IsValid() && !m.own(r.Destination) || !mh.ChecksumValid(r.Payload, r.Source, r.Destination) {
		return
	}
	switch b := message.(type) {
	case *mh.DMIPv6:
		switch b.Subtype {
		case mh.DHPQueryReply:
			m.handleQueryReply(now, r, b)
		case mh.DHoAResponse:
			m.handleResponse(now, r, b)
		default:
			m.counters.Ignored++
		}
	case *mh.BindingError:
		if b.Status == mh.UnrecognizedType {
			m.unsupported(now, r, "it does not know the Experimental Mobility Header")
		}
		m.driveAll(now, r)
	case *mh.BindingRefreshRequest:
		m.driveAll(now, r)
	}
}

// driveAll hands a message that names no home address to the machines of all the sender's addresses.
func (m *Machine) driveAll(now time.Time, r *signaling.Received) {
	for _, a := range slices.Clone(m.anchors) {
		if a.proxy.address == r.Source {
			m.drive(now, a, *r)
		}
	}
}

// unsupported takes in that the sender knows nothing of the type 11. Only who was asked is believed.
func (m *Machine) unsupported(now time.Time, r *signaling.Received, why string) {
	if r.Source == m.home.HomeAgent && len(m.directory.queries) > 0 {
		m.directory.answered = false
		m.directoryFailed(now, why)
	}
	for _, q := range slices.Clone(m.requests) {
		if q.proxy.address == r.Source && len(q.sent) > 0 {
			m.requestFailed(now, q, why)
		}
	}
}

// ICMPv6 error types (RFC 4443 section 3).
const (
	icmpUnreachable      = 1
	icmpParameterProblem = 4
)

// handleICMP takes an ICMPv6 error about a packet of DMIPv6.
func (m *Machine) handleICMP(now time.Time, r *signaling.ReceivedICMP) {
	if len(r.Payload) < 8 || r.Payload[0] > icmpParameterProblem {
		return
	}
	p := quoted.Parse(r.Payload[8:])
	for _, a := range slices.Clone(m.anchors) {
		if a.proxy.address == p.Destination || a.prefix.Contains(r.Destination) {
			m.drive(now, a, *r)
		}
	}
	if !p.Mobility || p.Type != mh.TypeExperimental || len(p.Header) < 10 {
		return
	}
	kind, sequence := r.Payload[0], binary.BigEndian.Uint16(p.Header[8:])
	if kind != icmpUnreachable && kind != icmpParameterProblem {
		return
	}
	why := text("%s says it cannot be delivered: ICMPv6 type %d code %d", r.Source, kind, r.Payload[1])
	for _, q := range m.directory.queries {
		// A network that cannot reach the home agent for a moment is no reason not to ask again.
		if q.peer.address == p.Destination && q.sequence == sequence && kind == icmpParameterProblem {
			m.directory.answered = false
			m.directoryFailed(now, why)
			break
		}
	}
	for _, q := range slices.Clone(m.requests) {
		if q.proxy.address == p.Destination && q.sequence == sequence && len(q.sent) > 0 && !q.givenUp {
			m.requestFailed(now, q, why)
		}
	}
}
