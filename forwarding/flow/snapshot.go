package flow

import (
	"net/netip"
	"time"
)

// Snapshot is what a flow is at one moment.
type Snapshot struct {
	Number uint64
	Key    Key
	State  State
	// Address is the source that the correspondent sees; that of a flow that is being held is the local one.
	Address   netip.Addr
	Decision  uint32
	Initiator Initiator
	// Profile and Rule are -1 if there is none, or while NeedsUser says that it takes the user to tell.
	Profile, Rule int
	NeedsUser     bool
	TCP           TCPState
	// Created and LastSeen are good to 1/16 s.
	Created, LastSeen time.Time
	// What the host has sent, and what it got. A super-packet counts as one.
	PacketsOut, OctetsOut, PacketsIn, OctetsIn uint64
}

func (t *Table) snapshot(f *Flow) Snapshot {
	v := f.verdict.Load()
	s := Snapshot{
		Number: f.number, Key: f.tuple.Key(), State: v.State, Address: v.Address, Decision: v.Decision,
		Initiator: f.initiator, Profile: int(f.profile.Load()), Rule: int(f.rule.Load()), TCP: f.tcpState(f.flags.Load()),
		Created: t.at(f.created), LastSeen: t.at(f.seen.Load()),
		PacketsOut: f.packets[0].Load(), OctetsOut: f.octets[0].Load(),
		PacketsIn: f.packets[1].Load(), OctetsIn: f.octets[1].Load(),
	}
	if v.State == Holding {
		s.Address = s.Key.Local
	}
	if s.Profile == userUnknown {
		s.Profile, s.NeedsUser = -1, true
	}
	return s
}

func (t *Table) at(tick uint32) time.Time { return t.epoch.Add(time.Duration(tick) * Tick) }

// Snapshot returns what the flow with a number is; false if there is none.
func (t *Table) Snapshot(number uint64) (Snapshot, bool) {
	f := t.Find(number)
	if f == nil {
		return Snapshot{}, false
	}
	return t.snapshot(f), true
}

// All appends the flows that match to to, at most limit of them if that is above 0. A nil match takes all. Flows that come
// and go meanwhile may be missing.
func (t *Table) All(to []Snapshot, limit int, match func(*Snapshot) bool) []Snapshot {
	n := 0
	t.each(func(f *Flow) bool {
		s := t.snapshot(f)
		if match == nil || match(&s) {
			to = append(to, s)
			n++
		}
		return limit <= 0 || n < limit
	})
	return to
}

// Matching appends the numbers of flows that use an address as their source, or are held and have it as their local one,
// to to. profile is -1 for all.
func (t *Table) Matching(a netip.Addr, profile int, to []uint64) []uint64 {
	t.each(func(f *Flow) bool {
		v := f.verdict.Load()
		if v.State == Holding {
			v = t.decided(f)
		}
		fits := v.State == InUse && v.Address == a || v.State == Holding && f.tuple.Local() == a
		if fits && (profile == -1 || int(f.profile.Load()) == profile) {
			to = append(to, f.number)
		}
		return true
	})
	return to
}

// decided is the verdict that a flow gets once its queue has drained, if that has begun.
func (t *Table) decided(f *Flow) *Verdict {
	s := t.shard(f.number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.hold != nil && f.hold.decided != nil {
		return f.hold.decided
	}
	return f.verdict.Load()
}

// each calls visit for flows, one shard after another, until it says false. It holds no lock for longer than a copy of
// a shard's pointers takes.
func (t *Table) each(visit func(*Flow) bool) {
	var flows []*Flow
	for i := range t.sharding {
		s := &t.sharding[i]
		flows = flows[:0]
		s.mu.Lock()
		for c := range s.lists {
			for f := s.lists[c].oldest; f != nil; f = f.newer {
				flows = append(flows, f)
			}
		}
		s.mu.Unlock()
		for _, f := range flows {
			if !visit(f) {
				return
			}
		}
	}
}

// Restore makes a flow as a snapshot taken before a restart says: its Key, Address, Decision, Profile, Rule and Initiator
// count. A TCP connection counts as established; where it is the packets to come will tell. It fails with ErrFull,
// ErrRole if the address does not serve translation, or ErrExists.
func (t *Table) Restore(now time.Duration, s *Snapshot) error {
	v := &Verdict{State: InUse, Address: s.Address, Translate: s.Address != s.Key.Local, Decision: s.Decision}
	o := Opening{Tuple: s.Key.Tuple(), Verdict: v, Profile: s.Profile, Rule: s.Rule, Initiator: s.Initiator}
	f, created, err := t.Insert(now, &o)
	switch {
	case err != nil:
		return err
	case !created:
		return ErrExists
	}
	f.flags.Or(sawOut | sawOut<<inward | ackOut | ackOut<<inward)
	t.reclassify(f)
	return nil
}

// Stat names a thing that the table counts.
type Stat uint8

// What is counted.
const (
	Evictions     Stat = iota // flows that made room for others
	Refused                   // new flows that found no room
	HoldOverflows             // packets that found no room to wait
	HoldDiscarded             // packets that waited in vain
	HoldTimeouts              // flows that nobody decided about
	NewsLost                  // events that nobody took in time
	statCount
)

var statNames = [statCount]string{"evictions", "refused", "hold-overflows", "hold-discarded", "hold-timeouts", "news-lost"}

func (s Stat) String() string { return statNames[s] }

// Stats are a value for each Stat.
type Stats [statCount]uint64

// Stats returns what has been counted.
func (t *Table) Stats() (s Stats) {
	for i := range s {
		s[i] = t.stats[i].Load()
	}
	return s
}

// HeldOctets is the memory that packets waiting for decisions take.
func (t *Table) HeldOctets() int { return int(t.held.Load()) }
