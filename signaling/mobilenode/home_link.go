package mobilenode

import (
	"time"

	"kedge/signaling"
)

// homeLink is the state of a stay at home (RFC 6275 section 11.5.5).
type homeLink struct {
	// defended says that neighbour solicitations for the home address are answered.
	defended bool
	// acknowledged says that the home agent has no binding any more.
	acknowledged bool
	// unanswered says that the home address is in use although the home agent has not answered.
	unanswered bool
	refused    bool
	// probing says that duplicate address detection of the home address was asked for; probeAt is when to ask (again).
	probing bool
	probeAt time.Time
}

const (
	// homeAttempts is how many unanswered deregistrations make the node look whether anybody defends its home address.
	homeAttempts = 3
	// probeWait is how long to wait for an answer to ProbeDuplicate, and probeAgain after one that found somebody.
	probeWait  = 5 * time.Second
	probeAgain = 30 * time.Second
)

// arriveHome starts a stay. The update that pursue sends comes first: "until the mobile node sends such a de-registration
// Binding Update, it MUST NOT attempt to send and receive packets using its home address from the home link". What was
// refused elsewhere is another question here.
func (m *Machine) arriveHome() {
	m.homeLink = homeLink{}
	m.refusal = refusal{}
}

// leaveHome ends a stay. A deregistration that was sent and not acknowledged may have been carried out.
func (m *Machine) leaveHome() {
	if m.homeLink.defended {
		m.emit(signaling.Undefend{Link: m.place.Uplink, Address: m.cfg.HomeAddress})
	}
	if m.request.purpose == returnHome && m.request.count > 0 {
		m.drop()
	}
	if m.bound.how == native {
		m.unbind()
	}
	m.homeLink = homeLink{}
}

// defend answers neighbour solicitations for the home address, which the home agent sends before it acknowledges; with
// announce it also tells all nodes.
func (m *Machine) defend(announce bool) {
	if m.homeLink.defended && !announce {
		return
	}
	m.homeLink.defended = true
	m.emit(signaling.Defend{Link: m.place.Uplink, Address: m.cfg.HomeAddress, Announce: announce})
}

// settleHome uses the home address on the home link.
func (m *Machine) settleHome(detail string) {
	m.homeLink.probing, m.homeLink.probeAt = false, time.Time{}
	m.defend(true)
	if m.bound.how == native {
		return
	}
	m.bind(native)
	m.report(signaling.Report{Kind: ReturnedHome, CareOf: m.cfg.HomeAddress, Detail: detail})
}

// pursueHome gives a node at home its address although no home agent answers: once any binding that one might have is
// over, it does duplicate address detection (section 11.5.5), and if nobody defends the address, uses it.
func (m *Machine) pursueHome(now time.Time) {
	h := &m.homeLink
	if !m.place.home || h.acknowledged || h.unanswered {
		h.probeAt = time.Time{}
		return
	}
	given := h.refused || m.refusal.until.After(now) || m.request.count > homeAttempts ||
		!m.agents.current.IsValid() && (m.agents.count > homeAttempts || !m.place.CareOf.IsValid())
	if !given {
		return
	}
	h.refused = h.refused || m.refusal.until.After(now)
	if h.probeAt.IsZero() {
		h.probeAt = later(now, m.entry.possibleUntil)
	}
	if !now.Before(h.probeAt) {
		h.probing = true
		h.probeAt = now.Add(probeWait)
		m.emit(signaling.ProbeDuplicate{Link: m.place.Uplink, Address: m.cfg.HomeAddress})
	}
}

func (m *Machine) handleDuplicateResult(now time.Time, d signaling.DuplicateResult) {
	h := &m.homeLink
	if !h.probing || d.Link != m.place.Uplink || d.Address != m.cfg.HomeAddress {
		return
	}
	h.probing = false
	if d.Duplicate {
		h.probeAt = now.Add(probeAgain)
		m.fail(signaling.Report{Kind: HomeAddressDuplicate, Detail: "another node answers for the home address at home"})
		return
	}
	h.unanswered = true
	m.settleHome("the home agent does not answer, and nobody else has the home address")
}
