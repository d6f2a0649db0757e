package node

import (
	"context"
	"sync/atomic"
	"time"
)

// machine is whatever wants to be told when its time has come: protocol roles and movement detection.
type machine interface {
	// next is when tick is wanted at the latest; zero for never.
	next() time.Time
	tick(now time.Time)
}

// loop runs everything that touches a state machine, on one goroutine and in the order in which it happened, so that no
// machine needs a lock. What the network can cause without limit (received signalling) is offered and may be refused;
// what the host does (link events, commands) is posted and waits its turn.
type loop struct {
	posted  chan func(now time.Time)
	offered chan func(now time.Time)
	// woken is for the one waker that never has more than one call outstanding, so that it is never lost.
	woken    chan func(now time.Time)
	machines []machine
	// Refused counts offers that found the queue full.
	Refused atomic.Uint64
}

const (
	postedBacklog  = 64
	offeredBacklog = 1024
)

func newLoop() *loop {
	return &loop{posted: make(chan func(time.Time), postedBacklog), offered: make(chan func(time.Time), offeredBacklog), woken: make(chan func(time.Time), 1)}
}

// post waits until the loop has taken f, or ctx ends.
func (l *loop) post(ctx context.Context, f func(now time.Time)) error {
	select {
	case l.posted <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// call is post that waits until f has been done.
func (l *loop) call(ctx context.Context, f func(now time.Time)) error {
	done := make(chan struct{})
	if err := l.post(ctx, func(now time.Time) { f(now); close(done) }); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// offer hands f over if there is room, and never waits.
func (l *loop) offer(f func(now time.Time)) {
	select {
	case l.offered <- f:
	default:
		l.Refused.Add(1)
	}
}

// wake hands f over, which the caller does not do again before f has begun.
func (l *loop) wake(f func(now time.Time)) { l.woken <- f }

// run works until done says so, which is asked after each step, or ctx ends.
func (l *loop) run(ctx context.Context, done func() bool) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !done() {
		timer.Reset(l.wait(time.Now()))
		select {
		case <-ctx.Done():
			return
		case f := <-l.posted:
			f(time.Now())
		case f := <-l.woken:
			f(time.Now())
		case f := <-l.offered:
			f(time.Now())
		case <-timer.C:
			now := time.Now()
			for _, m := range l.machines {
				if at := m.next(); !at.IsZero() && !at.After(now) {
					m.tick(now)
				}
			}
		}
	}
}

// wait is how long until the first machine wants its tick.
func (l *loop) wait(now time.Time) time.Duration {
	wait := time.Hour
	for _, m := range l.machines {
		if at := m.next(); !at.IsZero() {
			wait = min(wait, at.Sub(now))
		}
	}
	return max(wait, 0)
}
