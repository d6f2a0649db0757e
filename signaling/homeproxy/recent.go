package homeproxy

import "time"

// recent remembers values for a while, and no more than a limit of them.
type recent[K comparable, V any] struct {
	limit   int
	keep    time.Duration
	entries map[K]remembered[V]
	// order has one notice for each put, the oldest at head. A notice whose serial number is not its entry's any more has
	// been overtaken.
	order  []notice[K]
	head   int
	serial uint64
}

type remembered[V any] struct {
	value  V
	serial uint64
}

type notice[K comparable] struct {
	key    K
	serial uint64
	until  time.Time
}

func newRecent[K comparable, V any](limit int, keep time.Duration) recent[K, V] {
	return recent[K, V]{limit: limit, keep: keep, entries: make(map[K]remembered[V])}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	e, ok := r.entries[k]
	return e.value, ok
}

// put remembers v from now on. What has to go for it, before its time, is handed to evicted.
func (r *recent[K, V]) put(now time.Time, k K, v V, evicted func(V)) {
	r.serial++
	r.entries[k] = remembered[V]{v, r.serial}
	r.order = append(r.order, notice[K]{k, r.serial, now.Add(r.keep)})
	for len(r.order)-r.head > r.limit {
		if v, ok := r.pop(); ok {
			evicted(v)
		}
	}
}

// expire forgets what has been remembered long enough.
func (r *recent[K, V]) expire(now time.Time) {
	for r.head < len(r.order) && !now.Before(r.order[r.head].until) {
		r.pop()
	}
	if r.head > 0 && r.head == len(r.order) {
		// A map that once was large stays so.
		r.order, r.head, r.entries = nil, 0, make(map[K]remembered[V])
	}
}

// pop takes the oldest notice away, and its entry if it has not been overtaken.
func (r *recent[K, V]) pop() (V, bool) {
	n := r.order[r.head]
	r.order[r.head] = notice[K]{}
	r.head++
	if r.head > len(r.order)/2 && r.head > 64 {
		r.order = append([]notice[K](nil), r.order[r.head:]...)
		r.head = 0
	}
	e := r.entries[n.key]
	if e.serial != n.serial {
		var none V
		return none, false
	}
	delete(r.entries, n.key)
	return e.value, true
}
