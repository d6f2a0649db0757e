package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

type ticker struct {
	at    time.Time
	every time.Duration
	ticks []time.Time
}

func (t *ticker) next() time.Time { return t.at }

func (t *ticker) tick(now time.Time) {
	t.ticks = append(t.ticks, now)
	t.at = now.Add(t.every)
}

func TestLoopTicksWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		fast, slow := &ticker{at: start.Add(time.Second), every: time.Second}, &ticker{at: start.Add(3 * time.Second), every: time.Hour}
		never := &ticker{}
		l := newLoop()
		l.machines = []machine{fast, slow, never}
		ctx, cancel := context.WithTimeout(t.Context(), 4500*time.Millisecond)
		defer cancel()
		l.run(ctx, func() bool { return false })
		if len(fast.ticks) != 4 || fast.ticks[3] != start.Add(4*time.Second) {
			t.Errorf("fast machine ticked at %v", fast.ticks)
		}
		if len(slow.ticks) != 1 || slow.ticks[0] != start.Add(3*time.Second) || len(never.ticks) != 0 {
			t.Errorf("slow machine ticked at %v, the idle one at %v", slow.ticks, never.ticks)
		}
	})
}

func TestLoopKeepsOrderAndRefusesFloods(t *testing.T) {
	l := newLoop()
	for range offeredBacklog + 5 {
		l.offer(func(time.Time) {})
	}
	if n := l.Refused.Load(); n != 5 {
		t.Errorf("%d offers refused, want 5", n)
	}
	var order []int
	finished := false
	go func() {
		for i := range 3 {
			_ = l.post(t.Context(), func(time.Time) { order = append(order, i) })
		}
		_ = l.call(t.Context(), func(time.Time) { finished = true })
	}()
	l.run(t.Context(), func() bool { return finished })
	if len(order) != 3 || order[0] != 0 || order[2] != 2 {
		t.Errorf("order %v", order)
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	l := newLoop() // nobody runs it
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := l.call(ctx, func(time.Time) {}); err != context.DeadlineExceeded {
		t.Error(err)
	}
}
