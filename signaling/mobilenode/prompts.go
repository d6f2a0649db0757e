package mobilenode

import (
	"fmt"
	"time"

	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/mh"
	"kedge/signaling/quoted"
)

// prompt sends a Binding Update at once because of a message that anybody could have sent. What it says is not believed:
// the binding stays in use until the home agent answers. doubtful says that the home agent may have lost it.
func (m *Machine) prompt(now time.Time, doubtful bool) bool {
	if now.Before(m.promptAfter) || !m.place.away() || !m.entry.held || m.stopping {
		m.counters.PromptsIgnored++
		return false
	}
	if r := &m.request; r.purpose == register && len(r.sent) > 0 && now.Sub(r.sent[len(r.sent)-1].at) < promptInterval {
		// One has just left, which the prompt may have crossed.
		m.counters.PromptsIgnored++
		return false
	}
	m.promptAfter = now.Add(promptInterval)
	m.entry.doubtful = m.entry.doubtful || doubtful
	if m.request.purpose == register {
		m.request.at, m.request.wait = now, 0
	} else {
		m.entry.refreshAt = now
	}
	return true
}

// handleBindingError is RFC 6275 section 11.3.6.
func (m *Machine) handleBindingError(now time.Time, e *mh.BindingError) {
	switch e.Status {
	case mh.UnknownBinding:
		if e.HomeAddress != m.cfg.HomeAddress {
			m.counters.Ignored++
			return
		}
		if m.prompt(now, true) {
			m.fail(signaling.Report{Kind: BindingLost, Detail: "the home agent has no binding for the home address"})
		}
	case mh.UnrecognizedType:
		// No extension is in use that could be ceased.
		if !now.Before(m.promptAfter) {
			m.promptAfter = now.Add(promptInterval)
			m.fail(signaling.Report{Kind: TypeUnsupported, Detail: "the home agent does not know a message type that it was sent"})
		}
	default:
		m.counters.Ignored++
	}
}

// handleRefreshRequest answers a Binding Refresh Request with a Binding Update (section 11.7.4); a home agent's needs no
// return routability procedure.
func (m *Machine) handleRefreshRequest(now time.Time) { m.prompt(now, false) }

// The ICMPv6 errors of RFC 4443 that matter here.
const (
	icmpUnreachable      = 1
	icmpTimeExceeded     = 3
	icmpParameterProblem = 4
	codePolicy           = 5 // "source address failed ingress/egress policy"
	codeNextHeader       = 1 // "unrecognized Next Header type encountered"
)

// handleICMP takes a reply of home agent address discovery, a prefix advertisement, or an error about a packet of ours.
func (m *Machine) handleICMP(now time.Time, r *signaling.ReceivedICMP) {
	if len(r.Payload) < 8 {
		m.counters.Malformed++
		return
	}
	switch r.Payload[0] {
	case icmpUnreachable, icmpTimeExceeded, icmpParameterProblem:
		m.handleICMPError(now, r)
	case byte(discovery.TypeHomeAgentAddressReply), byte(discovery.TypeMobilePrefixAdvertisement):
		message, err := discovery.Parse(r.Payload)
		if err != nil {
			m.counters.Malformed++
			return
		}
		switch d := message.(type) {
		case *discovery.HomeAgentAddressReply:
			m.handleDiscovered(d)
		case *discovery.MobilePrefixAdvertisement:
			m.handlePrefixAdvertisement(r)
		}
	default:
		m.counters.Ignored++
	}
}

// handlePrefixAdvertisement reports one; nothing solicits them, and one that is not solicited "MUST be discarded" (RFC 6275
// section 11.4.3).
func (m *Machine) handlePrefixAdvertisement(r *signaling.ReceivedICMP) {
	if r.Source != m.agents.current || r.RoutingHome != m.cfg.HomeAddress || !m.entry.held {
		m.counters.Ignored++
		return
	}
	m.report(signaling.Report{Kind: PrefixAdvertised, Detail: "the home agent advertises a change of home prefixes"})
}

// handleICMPError takes an error if the packet that it quotes is ours: a Binding Update of the outstanding request, or one
// out of our tunnel.
func (m *Machine) handleICMPError(now time.Time, r *signaling.ReceivedICMP) {
	q := quoted.Parse(r.Payload[8:])
	if m.unboundError(now, r, &q) {
		return
	}
	if !q.Destination.IsValid() || q.Destination != m.agents.current || !m.place.valid() {
		m.counters.Ignored++
		return
	}
	kind, code := r.Payload[0], r.Payload[1]
	switch {
	case q.Tunnelled == m.cfg.HomeAddress:
		// A home agent without a binding refuses what comes out of the tunnel (section 10.4.5).
		if kind == icmpUnreachable && code == codePolicy && r.Source == m.agents.current &&
			m.bound.how == tunnelled && q.Source == m.bound.effect.Local {
			if m.prompt(now, true) {
				m.fail(signaling.Report{Kind: BindingLost, Detail: "the home agent refuses packets from the tunnel"})
			}
			return
		}
	case q.Mobility && q.Type == mh.TypeBindingUpdate && m.request.awaits(q.Sequence()):
		if q.Source != m.place.CareOf && q.Source != m.cfg.HomeAddress {
			break
		}
		detail := fmt.Sprintf("%s cannot deliver binding updates: ICMPv6 type %d code %d", r.Source, kind, code)
		if kind == icmpParameterProblem && code == codeNextHeader {
			detail = fmt.Sprintf("%s does not know the mobility header", r.Source)
		}
		m.fail(signaling.Report{Kind: ICMPError, Sequence: q.Sequence(), Detail: detail})
		if kind == icmpUnreachable {
			m.suspect(now)
		}
		return
	}
	m.counters.Ignored++
}

// unboundError takes an error that an anchor without a binding sends back by the datagrams' way, from whichever of its
// addresses: it quotes what came out of them, a packet from the home address, which it is for.
func (m *Machine) unboundError(now time.Time, r *signaling.ReceivedICMP, q *quoted.Packet) bool {
	if m.bound.how != tunnelled || !m.bound.way.udp() || r.Payload[0] != icmpUnreachable || r.Payload[1] != codePolicy ||
		r.Destination != q.Source || !m.home.Contains(q.Source) {
		return false
	}
	if m.prompt(now, true) {
		m.fail(signaling.Report{Kind: BindingLost, Detail: "the home agent refuses packets from the tunnel"})
	}
	return true
}

// awaits says whether a Binding Update with this sequence number is outstanding.
func (r *request) awaits(sequence uint16) bool {
	for i := range r.sent {
		if r.active() && r.sent[i].sequence == sequence {
			return true
		}
	}
	return false
}
