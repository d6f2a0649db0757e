package dmipv6

import (
	"net/netip"
	"time"

	"kedge/signaling"
)

// Decision explains how an address was chosen: for one held flow, or for those that are not held any more because of a
// choice.
type Decision struct {
	ID uint32
	// Flow and Key are the held flow's; Key is zero for a choice.
	Flow uint64
	Key  signaling.FlowKey
	// Profile is the number of the flow's profile, Name and Class that profile's.
	Profile int
	Name    string
	Class   Class
	// Prefix is the coverage prefix that the correspondent is in; invalid if none is known.
	Prefix netip.Prefix
	// Source is where Candidates came from.
	Source     Source
	Candidates []Candidate
	// Winner is the DHP whose address was taken; invalid if it is the home address.
	Winner  netip.Addr
	Address netip.Addr
	// Reused says that the address was in hand when the flow came, and otherwise it was lent for it.
	Reused bool
	// Mode is how packets go: "bidirectional tunnel" or "home agent".
	Mode string
	Why  string
	// Steps are what happened, in order.
	Steps []Step
}

// Step is one step of a decision.
type Step struct {
	At     time.Time
	Kind   signaling.ReportKind
	Detail string
}

// The communication modes that this machine decides on.
const (
	ModeTunnel    = "bidirectional tunnel"
	ModeHomeAgent = "home agent"
)

const (
	// maxDecisions bounds the decisions that are remembered, and maxSteps the steps of each.
	maxDecisions = 4096
	maxSteps     = 32
)

// decisions remembers the latest.
type decisions struct {
	last  uint32
	byID  map[uint32]*Decision
	order []uint32
}

func (d *decisions) begin() { d.byID = map[uint32]*Decision{} }

// add numbers a new decision, from 1, and forgets the oldest.
func (d *decisions) add() *Decision {
	d.last++
	if d.last == 0 {
		d.last = 1
	}
	x := &Decision{ID: d.last}
	if len(d.order) == maxDecisions {
		delete(d.byID, d.order[0])
		d.order = append(d.order[:0], d.order[1:]...)
	}
	d.order = append(d.order, x.ID)
	d.byID[x.ID] = x
	return x
}

func (d *Decision) step(now time.Time, kind signaling.ReportKind, detail string) {
	if len(d.Steps) < maxSteps {
		d.Steps = append(d.Steps, Step{now, kind, detail})
	}
}

// take takes a selection's outcome in.
func (d *Decision) take(s *sel) {
	d.Prefix, d.Candidates = s.region, s.candidates
	if d.Source == "" || len(s.candidates) > 0 && s.source == FromConfiguration {
		d.Source = s.source
	}
}

func (m *Machine) newDecision(profile int) *Decision {
	d := m.decisions.add()
	p := &m.cfg.Profiles[profile]
	d.Profile, d.Name, d.Class = profile, p.Name, p.Class
	return d
}

// Decision is the explanation of a Decide or Choose effect. False says that it is forgotten; that of a choice that holds is
// not.
func (m *Machine) Decision(id uint32) (Decision, bool) {
	d := m.decisions.byID[id]
	if d == nil {
		for _, p := range m.published {
			if p.decision.ID == id {
				d = p.decision
			}
		}
	}
	if d == nil {
		return Decision{}, false
	}
	return *d, true
}
