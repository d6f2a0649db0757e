package host

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// clock is a clock whose timers can all be stopped at once. gVisor leaves some running when a stack is destroyed (that
// for incomplete packets for a minute), and each would keep the whole stack in memory.
type clock struct {
	tcpip.Clock

	mu      sync.Mutex // guards what follows
	timers  map[*timer]struct{}
	stopped bool
}

func newClock(base tcpip.Clock) *clock {
	return &clock{Clock: base, timers: make(map[*timer]struct{})}
}

// timer is a timer of a clock, and in its set while it is due to fire.
type timer struct {
	clock *clock
	tcpip.Timer
}

// AfterFunc implements tcpip.Clock.
func (c *clock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{clock: c}
	t.Timer = c.Clock.AfterFunc(d, func() {
		c.mu.Lock()
		_, due := c.timers[t]
		delete(c.timers, t)
		c.mu.Unlock()
		if due {
			f()
		}
	})
	if c.stopped {
		t.Timer.Stop()
		return t
	}
	c.timers[t] = struct{}{}
	return t
}

// Stop implements tcpip.Timer.
func (t *timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	_, due := t.clock.timers[t]
	delete(t.clock.timers, t)
	return t.Timer.Stop() || due
}

// Reset implements tcpip.Timer.
func (t *timer) Reset(d time.Duration) {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	if t.clock.stopped {
		return
	}
	t.clock.timers[t] = struct{}{}
	t.Timer.Reset(d)
}

// stop stops all timers for good.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	for t := range c.timers {
		t.Timer.Stop()
	}
	clear(c.timers)
}
