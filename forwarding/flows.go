package forwarding

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"

	"kedge/forwarding/flow"
	"kedge/forwarding/policy"
)

// Service flows of a mobile node. A new flow that one of its programs begins from the home address is classified; the choice
// for its profile and destination says which address it uses for its whole life, and without a choice its packets are held
// until one is made. One that uses another address than the home address is translated on its way to the host and back.
//
//	host -> flow -> source translated -> tunnel of that address (or past it: reverse)
//	tunnel of a Distributed Home Address -> flow that uses it -> destination translated -> host
//
// Every packet finds its flow without a lock; the first one of a flow takes that of one of 256 shards for a moment.

// FlowConfig says how a mobile node keeps flows.
type FlowConfig struct {
	// Home is the home address, whose flows may be translated. BindMobile has it held.
	Home netip.Addr
	flow.Config
}

// flows is nil in a state of a node that keeps none. It and what is in it are immutable, but for the table.
type flows struct {
	table      *flow.Table
	home       netip.Addr
	classifier *policy.Classifier
	// choices are by profile, then by destination.
	choices []*bart.Table[*flow.Verdict]
	// roles are those of Distributed Home Addresses.
	roles map[netip.Addr]flow.Role
}

// maxProfiles bounds the numbers of profiles.
const maxProfiles = 1 << 16

// Errors of the control side of flows.
var (
	// ErrNoFlows means that the engine keeps no flows: see EnableFlows.
	ErrNoFlows = errors.New("flows are not enabled")
	ErrNoFlow  = errors.New("no such flow")
	ErrProfile = errors.New("profile out of range")
)

// EnableFlows has the engine keep a table of flows, once. Without a classifier and choices, all use the address that the host
// gave them.
func (e *Engine) EnableFlows(c FlowConfig) error {
	if !unicast(c.Home) {
		return fmt.Errorf("home address of flows: %w: %v", ErrAddress, c.Home)
	}
	table := flow.NewTable(c.Config, e.epoch)
	e.changeIf(func(s *state) bool {
		if s.flows != nil {
			return false
		}
		s.flows = &flows{table: table, home: c.Home, roles: map[netip.Addr]flow.Role{}}
		return true
	})
	return nil
}

// changeFlows publishes a copy of the state with what edit makes of its flows.
func (e *Engine) changeFlows(edit func(*flows) error) error {
	return e.editFlows(edit, false)
}

// changeChoices is changeFlows for what is about new flows only: what workers remember of addresses, and what is noted of
// the flows that there are, holds on.
func (e *Engine) changeChoices(edit func(*flows) error) error {
	return e.editFlows(edit, true)
}

func (e *Engine) editFlows(edit func(*flows) error, sameGeneration bool) (err error) {
	e.changeIf(func(s *state) bool {
		if s.flows == nil {
			err = ErrNoFlows
			return false
		}
		f := *s.flows
		if err = edit(&f); err == nil {
			s.flows = &f
		}
		if sameGeneration {
			s.generation--
		}
		return err == nil
	})
	return err
}

// SetClassifier says which profile new flows have; nil means that they have none and stay with the home address. Flows in the
// table keep what they have.
func (e *Engine) SetClassifier(c *policy.Classifier) error {
	return e.changeChoices(func(f *flows) error {
		f.classifier = c
		return nil
	})
}

// SetChoice has new flows of a profile to prefix use address from their first packet on. The longest prefix wins. address
// is the home address, or one whose role is flow.Translation; where that is not so, or its binding is down, when a flow
// begins, the flow stays with the home address. It replaces the choice for the same profile and prefix.
func (e *Engine) SetChoice(profile int, prefix netip.Prefix, address netip.Addr, decision uint32) error {
	switch {
	case profile < 0 || profile >= maxProfiles:
		return fmt.Errorf("choice: %w: %d", ErrProfile, profile)
	case !isPrefix(prefix):
		return fmt.Errorf("choice: %w: %v", ErrPrefix, prefix)
	case !unicast(address):
		return fmt.Errorf("choice for %v: %w: %v", prefix, ErrAddress, address)
	}
	return e.changeChoices(func(f *flows) error {
		v := &flow.Verdict{State: flow.InUse, Address: address, Translate: address != f.home, Decision: decision}
		choices := slices.Clone(f.choices)
		for len(choices) <= profile {
			choices = append(choices, new(bart.Table[*flow.Verdict]))
		}
		choices[profile] = choices[profile].InsertPersist(prefix.Masked(), v)
		f.choices = choices
		return nil
	})
}

// RemoveChoice takes a SetChoice back. Flows under way keep what they have.
func (e *Engine) RemoveChoice(profile int, prefix netip.Prefix) error {
	return e.changeChoices(func(f *flows) error {
		if profile >= 0 && profile < len(f.choices) && isPrefix(prefix) {
			f.choices = slices.Clone(f.choices)
			f.choices[profile] = f.choices[profile].DeletePersist(prefix.Masked())
		}
		return nil
	})
}

func (f *flows) choice(profile int, destination netip.Addr) *flow.Verdict {
	if profile < 0 || profile >= len(f.choices) {
		return nil
	}
	v, _ := f.choices[profile].Lookup(destination)
	return v
}

// SetAddressUse says what a Distributed Home Address serves: flow.Translation, flow.Host, or flow.Unassigned when it is given
// back. It is held by BindMobile besides. It fails with flow.ErrRole while flows use it otherwise.
func (e *Engine) SetAddressUse(address netip.Addr, role flow.Role) error {
	if !unicast(address) {
		return fmt.Errorf("use of address: %w: %v", ErrAddress, address)
	}
	return e.changeFlows(func(f *flows) error {
		if address == f.home {
			return fmt.Errorf("use of %v: %w: it is the home address", address, flow.ErrRole)
		}
		if err := f.table.SetRole(address, role); err != nil {
			return fmt.Errorf("use of %v: %w", address, err)
		}
		f.roles = maps.Clone(f.roles)
		if role == flow.Unassigned {
			delete(f.roles, address)
		} else {
			f.roles[address] = role
		}
		return nil
	})
}

// Flows gives the table of flows, to be looked at: Snapshot, All, Uses, Stats, Len; nil if there is none.
func (e *Engine) Flows() *flow.Table {
	if f := e.state.Load().flows; f != nil {
		return f.table
	}
	return nil
}

// TakeNews appends what has happened to flows since it was called last to news. Result.News says when it is worth it.
func (e *Engine) TakeNews(news []flow.News) []flow.News {
	if t := e.Flows(); t != nil {
		return t.TakeNews(news)
	}
	return news
}

// SweepFlows removes flows whose time is up, looking at the next budget buckets of the table, and returns how many. Called
// every second with an eighth of Flows().Buckets() it finds them within 8 s; news of them is to be taken afterwards.
func (e *Engine) SweepFlows(now time.Time, budget int) int {
	if t := e.Flows(); t != nil {
		return t.Sweep(now.Sub(e.epoch), budget)
	}
	return 0
}

// MatchingFlows appends the numbers of the flows that use address as their source, or wait with it as their local one, to
// numbers: of one profile, or of all if that is -1. Worker.Terminate ends each.
func (e *Engine) MatchingFlows(address netip.Addr, profile int, numbers []uint64) []uint64 {
	if t := e.Flows(); t != nil {
		return t.Matching(address, profile, numbers)
	}
	return numbers
}

// RestoreFlow makes a flow as it was before a restart. Of the snapshot count Key, Address, Decision, Profile, Rule and
// Initiator. Address is the local one of Key, or one whose role is flow.Translation if that is the home address. It fails
// with flow.ErrRole, flow.ErrFull or flow.ErrExists.
func (e *Engine) RestoreFlow(now time.Time, s *flow.Snapshot) error {
	f := e.state.Load().flows
	switch {
	case f == nil:
		return ErrNoFlows
	case !unicast(s.Key.Local) || !unicast(s.Key.Remote) || !unicast(s.Address):
		return fmt.Errorf("restoring the flow %v: %w", s.Key, ErrAddress)
	case s.Address != s.Key.Local && (s.Key.Local != f.home || !translatable(s.Key.Protocol)):
		return fmt.Errorf("restoring the flow %v: %w: it cannot use %v", s.Key, flow.ErrRole, s.Address)
	}
	if err := f.table.Restore(now.Sub(e.epoch), s); err != nil {
		return fmt.Errorf("restoring the flow %v: %w", s.Key, err)
	}
	return nil
}

// ClassifyHeld tells the user of a flow that waits for that (flow.WaitsForUser). If there is a choice for the profile that
// follows, it returns it with decided, and the caller hands it to Worker.Release; else the flow waits on and news of it
// (flow.Waits) follows. known is false if nobody owns the socket any more.
func (e *Engine) ClassifyHeld(number uint64, user uint32, known bool) (address netip.Addr, decision uint32, decided bool, err error) {
	s := e.state.Load().flows
	if s == nil {
		return address, 0, false, ErrNoFlows
	}
	f := s.table.Find(number)
	if f == nil {
		return address, 0, false, fmt.Errorf("%w: %d", ErrNoFlow, number)
	}
	k := f.Key()
	rule, profile := -1, -1
	if s.classifier != nil {
		r := s.classifier.Classify(&policy.Packet{
			Source: k.Local, Destination: k.Remote, Protocol: k.Protocol, SourcePort: portOf(&k, k.LocalPort),
			DestinationPort: portOf(&k, k.RemotePort), DSCP: s.table.HeldDSCP(f), User: user, UserKnown: known,
		})
		rule, profile = r.Rule, r.Profile
	}
	v := s.choice(profile, k.Remote)
	if profile < 0 {
		v = &flow.Verdict{Address: k.Local}
	}
	if !s.table.Classified(f, rule, profile, v == nil) {
		return address, 0, false, fmt.Errorf("%w: %d does not wait for its user", ErrNoFlow, number)
	}
	if v == nil {
		return address, 0, false, nil
	}
	return v.Address, v.Decision, true, nil
}
