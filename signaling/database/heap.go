package database

import "time"

// scheduled is something that comes due.
type scheduled interface {
	when() time.Duration
	// place is where it keeps its position in the heap, -1 while it is in none.
	place() *int32
}

// schedule is a binary heap, what is due first on top.
type schedule[T scheduled] struct{ items []T }

// put takes t in, or moves it to where it belongs by now.
func (h *schedule[T]) put(t T) {
	p := t.place()
	if *p < 0 {
		*p = int32(len(h.items))
		h.items = append(h.items, t)
	}
	if !h.down(*p) {
		h.up(*p)
	}
}

// remove takes t out if it is in.
func (h *schedule[T]) remove(t T) {
	p := *t.place()
	if p < 0 {
		return
	}
	last := int32(len(h.items) - 1)
	h.swap(p, last)
	var none T
	h.items[last] = none
	h.items = h.items[:last]
	*t.place() = -1
	if p < last {
		h.put(h.items[p])
	}
}

// first is what is due first.
func (h *schedule[T]) first() (t T, ok bool) {
	if len(h.items) == 0 {
		return t, false
	}
	return h.items[0], true
}

func (h *schedule[T]) up(p int32) {
	for p > 0 {
		parent := (p - 1) / 2
		if h.items[parent].when() <= h.items[p].when() {
			return
		}
		h.swap(p, parent)
		p = parent
	}
}

func (h *schedule[T]) down(p int32) (moved bool) {
	for n := int32(len(h.items)); ; moved = true {
		child := 2*p + 1
		if child >= n {
			return moved
		}
		if child+1 < n && h.items[child+1].when() < h.items[child].when() {
			child++
		}
		if h.items[p].when() <= h.items[child].when() {
			return moved
		}
		h.swap(p, child)
		p = child
	}
}

func (h *schedule[T]) swap(p, q int32) {
	h.items[p], h.items[q] = h.items[q], h.items[p]
	*h.items[p].place(), *h.items[q].place() = p, q
}
