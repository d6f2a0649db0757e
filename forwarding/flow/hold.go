package flow

import (
	"net/netip"
	"time"

	"kedge/netstack/packet"
)

// HoldLimits bound what waits for decisions. Zero values mean the defaults.
type HoldLimits struct {
	// Packets and Octets bound one flow's queue: 16 and 64 KiB by default. A super-packet is one packet, and the first packet
	// is taken whatever its length.
	Packets, Octets int
	// Total bounds all queues together in octets of memory: 4 MiB by default.
	Total int
}

func (l *HoldLimits) setDefaults() {
	if l.Packets <= 0 {
		l.Packets = 16
	}
	if l.Octets <= 0 {
		l.Octets = 64 << 10
	}
	if l.Total <= 0 {
		l.Total = 4 << 20
	}
}

// queue is what waits of one flow. decided is set from the first Drain on.
type queue struct {
	packets []*packet.Packet
	octets  int
	decided *Verdict
}

// HoldResult says what became of a packet that was to be held.
type HoldResult uint8

// What becomes of it.
const (
	// Queued: it waits.
	Queued HoldResult = iota
	// Overflowed: there is no room.
	Overflowed
	// Decided: the flow does not wait any more; its verdict says what to do with the packet.
	Decided
)

// Hold puts a copy of a packet behind those that wait.
func (t *Table) Hold(f *Flow, p *packet.Packet) HoldResult {
	s := t.shard(f.number)
	s.mu.Lock()
	defer s.mu.Unlock()
	q := f.hold
	switch {
	case f.dead:
		return Overflowed
	case q == nil:
		return Decided
	}
	limits, n := &t.config.Hold, p.Len()
	if len(q.packets) >= limits.Packets || len(q.packets) > 0 && q.octets+n > limits.Octets {
		t.stats[HoldOverflows].Add(1)
		return Overflowed
	}
	if t.held.Add(int64(memory(n))) > int64(limits.Total) {
		t.held.Add(-int64(memory(n)))
		t.stats[HoldOverflows].Add(1)
		return Overflowed
	}
	c := packet.New(n)
	c.CopyFrom(p)
	q.packets = append(q.packets, c)
	q.octets += n
	return Queued
}

func memory(octets int) int { return packet.Headroom + octets }

// Drain takes the packets that wait of a flow, to be sent with v as its verdict, and appends them to to. Packets that the
// host sends meanwhile are queued, so that they leave behind these. Call it again once they have been sent: when it finds
// nothing more waiting, v becomes the flow's verdict, and it reports done; also if the flow does not wait or is gone.
//
// The first call's verdict stands. It is the flow's local address if the address of v cannot be used any more.
func (t *Table) Drain(now time.Duration, f *Flow, v *Verdict, to []*packet.Packet) (pkts []*packet.Packet, verdict *Verdict, done bool) {
	s := t.shard(f.number)
	s.mu.Lock()
	defer s.mu.Unlock()
	q := f.hold
	if f.dead || q == nil {
		return to, f.verdict.Load(), true
	}
	if q.decided == nil {
		q.decided = t.settle(f, v)
	}
	if len(q.packets) == 0 {
		f.hold = nil
		f.verdict.Store(q.decided)
		t.tell(Released, f, now)
		return to, q.decided, true
	}
	to = append(to, q.packets...)
	t.empty(q)
	return to, q.decided, false
}

// settle counts the address that a held flow gets.
func (t *Table) settle(f *Flow, v *Verdict) *Verdict {
	local := f.tuple.Local()
	if v != nil {
		if v, err := t.uses.acquire(local, v); err == nil {
			return v
		}
	}
	v, err := t.uses.acquire(local, nil)
	if err != nil {
		// The local address itself was given to translation: nothing may leave with it.
		return &Verdict{State: Terminated, Address: local}
	}
	return v
}

// giveUp has a flow that was never decided about stay with its local address; what waited is too old to be sent. One that
// is being drained is left to whoever does it.
func (t *Table) giveUp(f *Flow, now time.Duration) {
	if f.hold.decided != nil {
		return
	}
	v := t.settle(f, nil)
	t.stats[HoldTimeouts].Add(1)
	t.discard(f)
	f.verdict.Store(v)
	t.tell(Released, f, now)
}

// discard throws away what waits of a flow.
func (t *Table) discard(f *Flow) {
	q := f.hold
	if q == nil {
		return
	}
	t.stats[HoldDiscarded].Add(uint64(len(q.packets)))
	t.empty(q)
	if q.decided != nil && q.decided.State == InUse {
		t.uses.release(q.decided)
	}
	f.hold = nil
}

func (t *Table) empty(q *queue) {
	t.held.Add(-int64(q.octets + len(q.packets)*packet.Headroom))
	clear(q.packets)
	q.packets, q.octets = q.packets[:0], 0
}

// Terminate ends a flow: from now on its verdict says so, for as long as Timeouts.Terminated. It reports whether the flow
// was alive, and the address that it used, which is invalid if the correspondent never heard of it because it was held.
func (t *Table) Terminate(now time.Duration, f *Flow) (used netip.Addr, alive bool) {
	s := t.shard(f.number)
	s.mu.Lock()
	defer s.mu.Unlock()
	v := f.verdict.Load()
	if f.dead || v.State == Terminated {
		return netip.Addr{}, false
	}
	end := &Verdict{State: Terminated, Address: f.tuple.Local()}
	if v.State == Holding && f.hold.decided != nil {
		v = f.hold.decided
	} else if v.State == InUse {
		t.uses.release(v)
	}
	if v.State != Holding {
		used = v.Address
		end.Address, end.Translate, end.Decision = v.Address, v.Translate, v.Decision
	}
	t.discard(f)
	f.seen.Store(tick(now))
	f.verdict.Store(end)
	t.tell(Ended, f, now)
	return used, true
}

// Classified tells the profile of a flow that waits for its user to be known; the flow is held on under it, and with announce
// there is news that it waits. It reports whether there was one.
func (t *Table) Classified(f *Flow, rule, profile int, announce bool) bool {
	s := t.shard(f.number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.dead || f.hold == nil || f.hold.decided != nil || f.profile.Load() != userUnknown {
		return false
	}
	f.rule.Store(int32(rule))
	f.profile.Store(int32(profile))
	if announce {
		t.news.hold(f)
	}
	return true
}

// HeldDSCP is the differentiated services code point (RFC 2474) of the first packet that waits of a flow; 0 if none does.
func (t *Table) HeldDSCP(f *Flow) uint8 {
	s := t.shard(f.number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.hold == nil || len(f.hold.packets) == 0 {
		return 0
	}
	b := f.hold.packets[0].Bytes()
	return (b[0]<<4 | b[1]>>4) >> 2
}
