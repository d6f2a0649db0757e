package flow

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Event says what happened.
type Event uint8

// The events of the table.
const (
	// Waits: a new flow waits for the choice of its address. This is never lost while it does.
	Waits Event = iota
	// WaitsForUser: a new flow waits for Classified, since its rule takes the user to tell. This is never lost either.
	WaitsForUser
	// Created: a new flow was decided about at once.
	Created
	// Released: a flow that waited does not any more.
	Released
	// Ended: a flow's time was up, another connection took its place, or it was terminated.
	Ended
	// Evicted: a flow made room for another one.
	Evicted
	// AddressUsed: the number of flows that use Address, one with a role, has become zero or ceased to be. What holds when
	// it is told is never lost.
	AddressUsed
)

var eventNames = [...]string{"waits", "waits-for-user", "created", "released", "ended", "evicted", "address-used"}

func (e Event) String() string { return eventNames[e] }

// News is an event. Flow is zero in those about an address, and Address and Flows in the others.
type News struct {
	Event   Event
	At      time.Time
	Flow    Snapshot
	Address netip.Addr
	Flows   int
}

// maxNews bounds the events that wait to be taken, but for those that are never lost.
const maxNews = 4096

type news struct {
	pending atomic.Bool

	mu     sync.Mutex
	events []News
	// waiting are the flows that wait, as far as it has not been told.
	waiting []*Flow
}

func (n *news) hold(f *Flow) {
	n.mu.Lock()
	// Those that have gone meanwhile must not add up.
	if len(n.waiting) == cap(n.waiting) {
		kept := n.waiting[:0]
		for _, w := range n.waiting {
			if w.verdict.Load().State == Holding {
				kept = append(kept, w)
			}
		}
		clear(n.waiting[len(kept):])
		n.waiting = kept
	}
	n.waiting = append(n.waiting, f)
	n.mu.Unlock()
	n.pending.Store(true)
}

func (t *Table) tell(e Event, f *Flow, now time.Duration) {
	n := &t.news
	n.mu.Lock()
	if len(n.events) < maxNews {
		n.events = append(n.events, News{Event: e, At: t.epoch.Add(now), Flow: t.snapshot(f)})
	} else {
		t.stats[NewsLost].Add(1)
	}
	n.mu.Unlock()
	n.pending.Store(true)
}

// HasNews reports whether TakeNews has something to tell.
func (t *Table) HasNews() bool { return t.news.pending.Load() }

// TakeNews appends what has happened since it was called last to to.
func (t *Table) TakeNews(to []News) []News {
	n := &t.news
	if !n.pending.Swap(false) {
		return to
	}
	n.mu.Lock()
	to = append(to, n.events...)
	clear(n.events)
	n.events = n.events[:0]
	for _, f := range n.waiting {
		if f.verdict.Load().State != Holding {
			continue
		}
		e := News{Event: Waits, Flow: t.snapshot(f)}
		if f.profile.Load() == userUnknown {
			e.Event = WaitsForUser
		}
		e.At = e.Flow.Created
		to = append(to, e)
	}
	clear(n.waiting)
	n.waiting = n.waiting[:0]
	n.mu.Unlock()
	return t.uses.take(to)
}
