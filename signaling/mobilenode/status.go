package mobilenode

import (
	"net/netip"
	"time"
)

// State is a word for where the node stands. The strings are part of the control API and stay.
type State string

// The states.
const (
	// StateUnattached: no uplink has a care-of address.
	StateUnattached State = "unattached"
	// StateRegistering: the home agent has not accepted the care-of address yet.
	StateRegistering State = "registering"
	// StateRegistered: the home agent has a binding for the care-of address.
	StateRegistered State = "registered"
	// StateReturningHome: the node is at home, and the home agent has not acknowledged that yet.
	StateReturningHome State = "returning-home"
	// StateAtHome: the home address is used on the home link.
	StateAtHome State = "at-home"
	// StateDeregistering: the node is stopping.
	StateDeregistering State = "deregistering"
	// StateRefused: the home agent refused, and the node waits before it asks again.
	StateRefused State = "refused"
	// StateStopped: the node has stopped.
	StateStopped State = "stopped"
)

// Counters count messages.
type Counters struct {
	UpdatesSent, Retransmissions       uint64
	AcknowledgementsReceived, Refusals uint64
	// Unmatched counts acknowledgements of nothing that is outstanding, Unauthentic those that failed authentication.
	Unmatched, Unauthentic uint64
	// Malformed counts messages that could not be read, Ignored those that do not concern this node.
	Malformed, Ignored uint64
	// PromptsIgnored counts Binding Errors, refresh requests and ICMPv6 errors that asked for an update too soon.
	PromptsIgnored uint64
}

// Status is a snapshot for people.
type Status struct {
	State State
	// HomeAddress, CareOf and HomeAgent may be invalid but for the first.
	HomeAddress, CareOf, HomeAgent netip.Addr
	Uplink                         string
	// Transport is the one that traffic takes, Native or UDP; UDP is from CareOf, an address of the host's, to Endpoint.
	Transport Transport
	Endpoint  netip.AddrPort
	// NATDetected says that the home agent saw a NAT, or may have, and Keepalive after which time its mapping is refreshed.
	NATDetected bool
	Keepalive   time.Duration
	// Lifetime is what the home agent granted, Remaining what is left of it.
	Lifetime, Remaining time.Duration
	// Sequence is that of the last Binding Update.
	Sequence uint16
	// RTT is the smoothed time between Binding Update and acknowledgement; 0 if none was measured.
	RTT time.Duration
	// LastError is what went wrong since the home agent accepted last; empty if nothing did.
	LastError string
	Counters  Counters
}

// Status returns a snapshot at now.
func (m *Machine) Status(now time.Time) Status {
	p := m.place.Place
	if m.proceeding() {
		// Traffic goes on over UDP, whatever comes of the native way.
		p = Place{Uplink: m.bound.way.link, CareOf: m.bound.way.careOf, Endpoint: m.bound.way.endpoint}
	}
	s := Status{
		State: m.state(now), HomeAddress: m.cfg.HomeAddress, CareOf: p.CareOf, HomeAgent: m.agents.current,
		Uplink: p.Uplink, Endpoint: p.Endpoint, Sequence: m.sequence, RTT: m.rtt, LastError: m.lastError, Counters: m.counters,
	}
	if p.UDP() {
		s.Transport = UDP
	}
	if m.entry.held {
		s.Keepalive, s.NATDetected = m.entry.keepalive, m.entry.keepalive > 0
		s.Lifetime = m.entry.lifetime
		s.Remaining = max(m.entry.until.Sub(now), 0)
	}
	return s
}

func (m *Machine) state(now time.Time) State {
	switch {
	case m.stopped:
		return StateStopped
	case m.stopping:
		return StateDeregistering
	case !m.place.valid():
		return StateUnattached
	case m.place.home && (m.homeLink.acknowledged || m.homeLink.unanswered):
		return StateAtHome
	case now.Before(m.refusal.until):
		return StateRefused
	case m.place.home:
		return StateReturningHome
	case m.entry.held && (m.entry.way == m.place.way() || m.proceeding()) && m.entry.agent == m.agents.current:
		return StateRegistered
	}
	return StateRegistering
}
