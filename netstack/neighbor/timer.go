package neighbor

import (
	"container/heap"
	"time"
)

// timer is one thing that is due at a time. Its zero value is not set.
type timer struct {
	at   time.Time
	fire func()
	// place is the index in the heap plus one; 0 if not set.
	place int
	// turn orders timers of the same time by when they were set.
	turn uint64
}

// timers are those that are set.
type timers struct {
	heap queue
	turn uint64
}

// set makes tm due at the time given, instead of when it was due before.
func (s *timers) set(tm *timer, at time.Time) {
	s.turn++
	tm.at, tm.turn = at, s.turn
	if tm.place > 0 {
		heap.Fix(&s.heap, tm.place-1)
	} else {
		heap.Push(&s.heap, tm)
	}
}

func (s *timers) cancel(tm *timer) {
	if tm.place > 0 {
		heap.Remove(&s.heap, tm.place-1)
	}
}

// due takes the earliest timer away if its time has come by now, else it is nil.
func (s *timers) due(now time.Time) *timer {
	if len(s.heap) == 0 || s.heap[0].at.After(now) {
		return nil
	}
	return heap.Pop(&s.heap).(*timer)
}

// next is the earliest time; zero if there is none.
func (s *timers) next() time.Time {
	if len(s.heap) == 0 {
		return time.Time{}
	}
	return s.heap[0].at
}

// queue is a heap of timers by time.
type queue []*timer

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].turn < q[j].turn
	}
	return q[i].at.Before(q[j].at)
}
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i+1, j+1
}

// Push is for package heap.
func (q *queue) Push(x any) {
	tm := x.(*timer)
	*q = append(*q, tm)
	tm.place = len(*q)
}

// Pop is for package heap.
func (q *queue) Pop() any {
	last := len(*q) - 1
	tm := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	tm.place = 0
	return tm
}
