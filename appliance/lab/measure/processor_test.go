package measure

import (
	"testing"
	"time"
)

func TestSpent(t *testing.T) {
	got, err := spent("cpu  100 20 3 999999 888 4 5 77 6 7\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
	if want := (Processors{Busy: 1320 * time.Millisecond, Stolen: 770 * time.Millisecond}); err != nil || got != want {
		t.Errorf("found %v, %v, expected user, nice, system, irq and softirq, and steal: %v", got, err, want)
	}
	for _, text := range []string{"", "cpu 1 2 3", "cpu 1 2 3 4 5 6 7", "cpu0 1 2 3 4 5 6 7 8", "cpu a 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 a"} {
		if _, err := spent(text); err == nil {
			t.Errorf("%q is no error", text)
		}
	}
	if v, err := Spent(); err != nil || v.Busy <= 0 {
		t.Errorf("this machine: %v, %v", v, err)
	}
}

func TestQuantile(t *testing.T) {
	all := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 6, 0.99: 10, 1: 10} {
		if got := Quantile(all, q); got != want {
			t.Errorf("%v: found %d, expected %d", q, got, want)
		}
	}
	if Quantile(nil, 0.5) != 0 {
		t.Error("of nothing there is a quantile")
	}
}
