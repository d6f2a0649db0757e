package translate

import (
	"testing"
	"time"
)

func TestFragments(t *testing.T) {
	f := NewFragments(64)
	k := FragmentKey{home, peer, 7}
	if _, ok := f.Get(0, k); ok {
		t.Error("an empty table has something")
	}
	if _, ok := f.Get(0, FragmentKey{}); ok {
		t.Error("an empty table has the zero key")
	}
	f.Put(time.Second, k, 11)
	for _, other := range []FragmentKey{{peer, home, 7}, {home, peer, 8}, {home, lent, 7}, {lent, peer, 7}} {
		if v, ok := f.Get(time.Second, other); ok {
			t.Errorf("%v: %d", other, v)
		}
	}
	if v, ok := f.Get(61*time.Second-1, k); !ok || v != 11 {
		t.Errorf("%d, %v", v, ok)
	}
	if _, ok := f.Get(61*time.Second, k); ok {
		t.Error("still there after 60 s")
	}
	f.Put(2*time.Second, k, 12)
	if v, ok := f.Get(3*time.Second, k); !ok || v != 12 {
		t.Errorf("%d, %v", v, ok)
	}
	if _, ok := f.Get(0, k); ok {
		t.Error("there although the clock went back")
	}
}

// TestFragmentsBounded: one bucket takes the place of the oldest, then of what has expired.
func TestFragmentsBounded(t *testing.T) {
	f := NewFragments(1)
	for i := range uint32(ways + 3) {
		f.Put(time.Duration(i)*time.Second, FragmentKey{home, peer, i}, uint64(i))
	}
	for i := range uint32(ways + 3) {
		if v, ok := f.Get((ways+2)*time.Second, FragmentKey{home, peer, i}); ok != (i >= 3) || ok && v != uint64(i) {
			t.Errorf("%d: %d, %v", i, v, ok)
		}
	}
	f.Put(63*time.Second, FragmentKey{home, peer, 100}, 100) // 3 has expired
	for i := range uint32(ways - 1) {
		if _, ok := f.Get(63*time.Second, FragmentKey{home, peer, 4 + i}); !ok {
			t.Errorf("%d has gone", 4+i)
		}
	}
}

// TestFragmentsMany: half as many packets as there is room for lose next to none.
func TestFragmentsMany(t *testing.T) {
	const n = 2048
	f := NewFragments(2 * n)
	for i := range uint32(n) {
		f.Put(1, FragmentKey{home, peer, i}, uint64(i))
	}
	lost := 0
	for i := range uint32(n) {
		if v, ok := f.Get(1, FragmentKey{home, peer, i}); !ok {
			lost++
		} else if v != uint64(i) {
			t.Fatalf("%d: %d", i, v)
		}
	}
	if lost > n/10 {
		t.Errorf("%d of %d lost", lost, n)
	}
}
