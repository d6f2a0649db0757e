package routeoptimization

import (
	"net/netip"
	"time"

	"kedge/signaling"
)

// The kinds of report.
const (
	// Optimized is of packets that go past the home agent from now on, Tunnelled of such as take the tunnel again.
	Optimized                      signaling.ReportKind = "route-optimized"
	Tunnelled                      signaling.ReportKind = "route-tunnelled"
	BindingUpdateSent              signaling.ReportKind = "correspondent-binding-update-sent"
	BindingAcknowledgementReceived signaling.ReportKind = "correspondent-binding-acknowledgement-received"
	// Failed is of a correspondent node that does not answer, or refuses; Unsupported of one without Mobile IPv6.
	Failed      signaling.ReportKind = "route-optimization-failed"
	Unsupported signaling.ReportKind = "route-optimization-unsupported"
	// ICMPError is of an ICMPv6 error about packets past the home agent that nothing is done about.
	ICMPError signaling.ReportKind = "route-optimization-icmp-error"
)

// State is a word for where a pair stands. The strings are part of the control API and stay.
type State string

// The states. In all but StateOptimized packets take the tunnel, or none at home.
const (
	// StateWaiting: the home address has no tunnel, or the home agent has not accepted the care-of address yet.
	StateWaiting State = "waiting"
	// StateTesting: the return routability procedure is under way.
	StateTesting State = "testing"
	// StateRegistering: a Binding Update waits for its acknowledgement.
	StateRegistering State = "registering"
	// StateOptimized: packets go past the home agent.
	StateOptimized State = "optimized"
	// StateUnsupported: the correspondent node is without Mobile IPv6.
	StateUnsupported State = "unsupported"
	// StateFailed: the correspondent node did not answer, or refused, and is asked again later.
	StateFailed State = "failed"
	// StateAtHome: there is nothing to optimise.
	StateAtHome State = "at-home"
	// StateDeregistering: the pair has been cancelled, and the correspondent node is being told.
	StateDeregistering State = "deregistering"
)

// Status is a snapshot of one pair, for people.
type Status struct {
	Home, Correspondent netip.Addr
	State               State
	// CareOf is the one that the correspondent node has acknowledged; invalid if none. Remaining is what is left of its
	// binding.
	CareOf    netip.Addr
	Remaining time.Duration
	// LastError is what went wrong last; empty if the last registration succeeded.
	LastError string
}

// Status returns a snapshot of one pair; false if it has not been asked for.
func (m *Machine) Status(now time.Time, home, correspondent netip.Addr) (Status, bool) {
	e := m.entries[pair{home, correspondent}]
	if e == nil {
		return Status{}, false
	}
	return m.status(now, e), true
}

// List returns a snapshot of all pairs in the order of their requests.
func (m *Machine) List(now time.Time) []Status {
	list := make([]Status, 0, len(m.list))
	for _, e := range m.list {
		list = append(list, m.status(now, e))
	}
	return list
}

func (m *Machine) status(now time.Time, e *entry) Status {
	s := Status{Home: e.home, Correspondent: e.peer, State: m.state(now, e), LastError: e.lastError}
	if e.bound.held(now) {
		s.CareOf, s.Remaining = e.bound.careOf, e.bound.until.Sub(now)
	}
	return s
}

func (m *Machine) state(now time.Time, e *entry) State {
	path := m.paths[e.home]
	switch {
	case now.Before(m.peerOf(e).unsupportedUntil):
		return StateUnsupported
	case !e.wanted:
		return StateDeregistering
	case path.AtHome:
		return StateAtHome
	case e.published != nil && e.published.CareOf.IsValid():
		return StateOptimized
	case now.Before(e.retryAt):
		return StateFailed
	case e.request.active():
		return StateRegistering
	case e.homeTested.active() || e.careOfTested.active():
		return StateTesting
	}
	return StateWaiting
}

// Counters count messages.
type Counters struct {
	// Tests are Home Test Init and Care-of Test Init messages sent.
	Tests         uint64 `json:"tests"`
	UpdatesSent   uint64 `json:"updates_sent"`
	Registrations uint64 `json:"registrations"`
	// Refusals were mended at once; Failures left a pair in its tunnel for a while.
	Refusals uint64 `json:"refusals"`
	Failures uint64 `json:"failures"`
	// Unauthentic acknowledgements did not authenticate, or were of nothing outstanding.
	Unauthentic uint64 `json:"unauthentic"`
	Malformed   uint64 `json:"malformed"`
	Ignored     uint64 `json:"ignored"`
}

// Counters returns the counts so far.
func (m *Machine) Counters() Counters { return m.counters }
