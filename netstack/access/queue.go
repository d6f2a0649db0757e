package access

import (
	"container/heap"
	"time"
)

// queue is a heap of the hosts for which something is due, by time.
type queue []*host

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i+1, j+1
}

// Push is for package heap.
func (q *queue) Push(x any) {
	h := x.(*host)
	*q = append(*q, h)
	h.place = len(*q)
}

// Pop is for package heap.
func (q *queue) Pop() any {
	last := len(*q) - 1
	h := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	h.place = 0
	return h
}

// set makes something due for h at a time; never if that is zero.
func (q *queue) set(h *host, at time.Time) {
	h.due = at
	switch {
	case at.IsZero() && h.place > 0:
		heap.Remove(q, h.place-1)
	case at.IsZero():
	case h.place > 0:
		heap.Fix(q, h.place-1)
	default:
		heap.Push(q, h)
	}
}

// next is when something is due; zero if nothing is.
func (q queue) next() time.Time {
	if len(q) == 0 {
		return time.Time{}
	}
	return q[0].due
}
