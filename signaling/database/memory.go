package database

import (
	"time"

	"kedge/signaling/mh"
)

// peer is one router's dealings about one mobile node.
type peer struct {
	id     string
	router uint16
}

// noted is something about a peer that matters for a while after at.
type noted[V any] struct {
	value V
	at    time.Duration
}

// recent has something about each peer for as long as it was noted within keep.
type recent[V any] struct {
	keep time.Duration
	of   map[peer]noted[V]
	// order has each noting; those noted again since are passed over.
	order []step
	// head is the first of order that counts.
	head int
}

type step struct {
	peer peer
	at   time.Duration
}

func newRecent[V any](keep time.Duration) recent[V] {
	return recent[V]{keep: keep, of: make(map[peer]noted[V])}
}

// forget drops what was noted more than keep before now.
func (r *recent[V]) forget(now time.Duration) {
	for ; r.head < len(r.order) && now-r.order[r.head].at > r.keep; r.head++ {
		s := r.order[r.head]
		if n, ok := r.of[s.peer]; ok && n.at == s.at {
			delete(r.of, s.peer)
		}
		r.order[r.head] = step{}
	}
	if r.head > len(r.order)/2 {
		r.order = r.order[:copy(r.order, r.order[r.head:])]
		r.head = 0
	}
}

func (r *recent[V]) get(now time.Duration, p peer) (v V, ok bool) {
	r.forget(now)
	n, ok := r.of[p]
	return n.value, ok
}

func (r *recent[V]) put(now time.Duration, p peer, v V) {
	r.of[p] = noted[V]{v, now}
	r.order = append(r.order, step{p, now})
}

// stamps are the latest MESG-IDs accepted (RFC 4285 section 6).
type stamps = recent[mh.NTPTime]

const (
	// maxUpdateRate is RFC 6275 section 12's MAX_UPDATE_RATE, in updateWindow.
	maxUpdateRate = 3
	updateWindow  = time.Second
)

// sendings are the times of the latest PBUs to a peer, the oldest first.
type sendings = recent[[maxUpdateRate]time.Duration]

// earliest is when the next PBU to p may be sent (RFC 8885 section 3.6).
func earliest(r *sendings, now time.Duration, p peer) time.Duration {
	if s, ok := r.get(now, p); ok {
		return s[0] + updateWindow
	}
	return now
}

// sent notes a PBU to p.
func sent(r *sendings, now time.Duration, p peer) {
	s, ok := r.get(now, p)
	if !ok {
		for i := range s {
			s[i] = now - 2*updateWindow
		}
	}
	copy(s[:], s[1:])
	s[maxUpdateRate-1] = now
	r.put(now, p, s)
}
