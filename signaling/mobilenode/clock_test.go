package mobilenode

import (
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/clocktest"
)

func TestClockStepsDoNotBreakRefresh(t *testing.T) {
	for _, step := range []int64{3600, -3600, 86400 * 300, -86400 * 300} {
		b := newBench(t)
		b.now = time.Now()
		b.register(careOfA)
		registered := b.now
		b.now = clocktest.Step(b.now, step)
		if out := b.do(signaling.Tick{}); len(out) != 0 {
			t.Errorf("step of %d s: effects at once:\n%s", step, out)
		}
		if s := b.m.Status(b.now); s.State != StateRegistered || s.Remaining != 59980*time.Millisecond {
			t.Errorf("step of %d s: %s, %v left", step, s.State, s.Remaining)
		}
		if d := b.m.Next().Sub(registered); d != 47980*time.Millisecond {
			t.Fatalf("step of %d s: refreshes after %v", step, d)
		}
		b.now = b.now.Add(47980 * time.Millisecond)
		_, bu := b.update(b.do(signaling.Tick{}))
		stamp, err := auth.Timestamp(bu.Options)
		if err != nil || step > 0 && stamp.Time().Sub(b.now.Round(0)).Abs() > time.Second {
			t.Errorf("step of %d s: timestamp %v at %v, %v", step, stamp.Time(), b.now, err)
		}
	}
}
