package simulation

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"
)

// timeline is virtual time and what happens in it.
type timeline struct {
	t     *testing.T
	rng   *rand.Rand
	epoch time.Time
	// now counts from the epoch.
	now    time.Duration
	queue  queue
	queued int
}

func newTimeline(t *testing.T, seed uint64) timeline {
	return timeline{t: t, rng: rand.New(rand.NewPCG(seed, 1)), epoch: time.Now()}
}

func (l *timeline) upTo(d time.Duration) time.Duration {
	return time.Duration(l.rng.Float64() * float64(d))
}

// event is something to do at a time.
type event struct {
	at    time.Duration
	order int
	do    func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

func (l *timeline) after(d time.Duration, do func()) {
	l.queued++
	heap.Push(&l.queue, event{l.now + d, l.queued, do})
}

// run lets d pass.
func (l *timeline) run(d time.Duration) {
	end := l.now + d
	for len(l.queue) > 0 && l.queue[0].at <= end {
		e := heap.Pop(&l.queue).(event)
		l.now = e.at
		e.do()
	}
	l.now = end
}

// timer ticks a machine when it asks for it. It asks again for every time that it wants.
type timer struct {
	at time.Duration
}

// arm has tick called at next, unless that is armed already. tick must check that it still is wanted.
func (l *timeline) arm(t *timer, next time.Time, local func() time.Time, tick func()) {
	if next.IsZero() {
		t.at = -1
		return
	}
	at := l.now + max(next.Sub(local()), 0)
	if t.at == at {
		return
	}
	t.at = at
	l.after(at-l.now, func() {
		if t.at == at {
			t.at = -1
			tick()
		}
	})
}

// step is by how much somebody sets a clock.
func (l *timeline) step() int64 {
	far := [...]int64{1, 5, 10, 3600, 86400}
	d := far[l.rng.IntN(len(far))]
	return l.rng.Int64N(2*d+1) - d
}
