package control

import "sync"

// Trace remembers a node's latest events and passes new ones on to whoever follows. A follower that does not keep up
// loses events, not the node its time: it sees the gap in the numbers.
type Trace struct {
	mu        sync.Mutex
	next      uint64  // number of the next event
	ring      []Event // at most cap(ring) latest, the oldest at first
	first     int
	followers map[chan Event]struct{}
}

// followerBacklog is how many events a follower may lag behind.
const followerBacklog = 1024

// NewTrace makes a trace that remembers the given number of events.
func NewTrace(remembered int) *Trace {
	return &Trace{next: 1, ring: make([]Event, 0, remembered), followers: map[chan Event]struct{}{}}
}

// Add numbers an event and adds it.
func (t *Trace) Add(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Number = t.next
	t.next++
	if len(t.ring) < cap(t.ring) {
		t.ring = append(t.ring, e)
	} else if len(t.ring) > 0 {
		t.ring[t.first] = e
		t.first = (t.first + 1) % len(t.ring)
	}
	for c := range t.followers {
		select {
		case c <- e:
		default:
		}
	}
}

// Follow returns the remembered events and a channel of those to come, until stop is called.
func (t *Trace) Follow() (past []Event, future <-chan Event, stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := make(chan Event, followerBacklog)
	t.followers[c] = struct{}{}
	return append(append([]Event(nil), t.ring[t.first:]...), t.ring[:t.first]...), c, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.followers, c)
	}
}
