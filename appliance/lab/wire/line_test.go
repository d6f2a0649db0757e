package wire

import (
	"math/rand/v2"
	"testing"
	"time"
)

func newSchedule(i Impairment) *schedule {
	return &schedule{Impairment: i, random: rand.New(rand.NewPCG(1, 2))}
}

func TestDelay(t *testing.T) {
	s := newSchedule(Impairment{Delay: 10 * time.Millisecond})
	if due, f := s.admit(5_000_000, 1500); due != 15_000_000 || f != carried {
		t.Errorf("a frame at 5 ms is due at %d ns, fate %d", due, f)
	}
}

// 1250 octets at 1 Mbit/s take 10 ms each; the queue holds 100 ms.
func TestRate(t *testing.T) {
	s := newSchedule(Impairment{Rate: 1e6, Delay: time.Millisecond})
	for i := range int64(11) {
		due, f := s.admit(0, 1250)
		if want := (i+1)*10_000_000 + 1_000_000; due != want || f != carried {
			t.Fatalf("frame %d is due at %d ns, expected %d; fate %d", i, due, want, f)
		}
	}
	if _, f := s.admit(0, 1250); f != dropped {
		t.Errorf("a frame behind 110 ms of others has fate %d, expected it dropped", f)
	}
	if due, f := s.admit(200_000_000, 1250); due != 211_000_000 || f != carried {
		t.Errorf("a frame on an idle line is due at %d ns, fate %d", due, f)
	}
}

func TestLoss(t *testing.T) {
	s := newSchedule(Impairment{Loss: 0.25})
	count := 0
	for range 10_000 {
		if _, f := s.admit(0, 100); f == lost {
			count++
		}
	}
	// Five standard deviations are 217.
	if count < 2283 || count > 2717 {
		t.Errorf("of 10000 frames %d are lost, 2500 stated", count)
	}
	if _, f := newSchedule(Impairment{Loss: 1}).admit(0, 100); f != lost {
		t.Error("a certain loss is carried")
	}
}
