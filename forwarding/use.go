package forwarding

import (
	"iter"
	"net/netip"
	"sync/atomic"
	"time"
)

// Use is how much a prefix has been used since it was bound.
type Use struct {
	// Attached says that it is attached here, whether it is anchored here too or not.
	Attached bool
	// From is what mobile nodes sent from the prefix, and To what went to it.
	From, To Traffic
}

// Traffic is what passed in one direction.
type Traffic struct {
	// Last is when the last packet passed, to the second; zero if none has.
	Last time.Time
	// Native and Tunneled count packets of attached prefixes: those that were routed, and those that went into, or came
	// out of, the tunnel of the Attached. A super-packet counts as one.
	Native, Tunneled uint64
}

// Last is when the last packet passed in either direction, to the second; zero if none has.
func (u Use) Last() time.Time {
	if u.From.Last.After(u.To.Last) {
		return u.From.Last
	}
	return u.To.Last
}

// AttachedUse is the use of a prefix that BindAttached or BindAnchored bound; ok is false if neither did.
func (e *Engine) AttachedUse(prefix netip.Prefix) (u Use, ok bool) {
	if !isPrefix(prefix) {
		return Use{}, false
	}
	b := e.state.Load().servedExactly(prefix.Masked())
	if b == nil {
		return Use{}, false
	}
	return e.use(b), true
}

// AttachedUses is the use of all prefixes that BindAttached or BindAnchored bound, in no order.
func (e *Engine) AttachedUses() iter.Seq2[netip.Prefix, Use] {
	return func(yield func(netip.Prefix, Use) bool) {
		s := e.state.Load()
		for prefix, b := range s.served.All() {
			if !yield(prefix, e.use(b)) {
				return
			}
		}
		for b := range s.hosts.all() {
			if !yield(netip.PrefixFrom(addressOf(b.high, b.low), 128), e.use(b)) {
				return
			}
		}
	}
}

func (e *Engine) use(b *binding) Use {
	if b.attached == nil {
		return Use{From: Traffic{Last: e.date(&b.from)}, To: Traffic{Last: e.date(&b.to)}}
	}
	u := b.attached.use
	return Use{Attached: true, From: e.traffic(&u.from), To: e.traffic(&u.to)}
}

func (e *Engine) traffic(s *side) Traffic {
	return Traffic{Last: e.date(&s.last), Native: s.native.Load(), Tunneled: s.tunneled.Load()}
}

func (e *Engine) date(s *stamp) time.Time {
	if v := s.Load(); v != 0 {
		return e.epoch.Add(time.Duration(v>>1) * time.Second)
	}
	return time.Time{}
}

// stamp is a time in seconds since the engine's epoch, times two plus one, so that 0 is none.
type stamp struct{ atomic.Uint32 }

func stampOf(now time.Duration) uint32 { return uint32(now/time.Second)<<1 | 1 }

// touch writes once a second at most, so that workers do not take the cache line from each other with every packet.
func (s *stamp) touch(now uint32) {
	if s.Load() != now {
		s.Store(now)
	}
}

// use is what workers count of an attached prefix. Its sides are cache lines of their own, since packets from mobile nodes
// and to them come in by different links, and so with different workers.
type use struct{ from, to side }

type side struct {
	last             stamp
	native, tunneled atomic.Uint64
	_                [40]byte
}

func (s *side) count(now uint32, tunneled bool) {
	s.last.touch(now)
	if tunneled {
		s.tunneled.Add(1)
	} else {
		s.native.Add(1)
	}
}
