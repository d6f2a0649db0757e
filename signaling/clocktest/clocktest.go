// Package clocktest sets clocks in tests.
package clocktest

import (
	"fmt"
	"time"
	"unsafe"
)

// Step is t, which must have a monotonic clock reading, after somebody set the wall clock forward by whole seconds; the
// monotonic reading stays. Package time has no such function, so this reaches into its representation, and panics if that
// is not what it was.
func Step(t time.Time, seconds int64) time.Time {
	const secondsShift = 30
	s := t
	wall := (*uint64)(unsafe.Pointer(&s))
	*wall = uint64(int64(*wall) + seconds<<secondsShift)
	if s.Sub(t) != 0 || s.Unix()-t.Unix() != seconds {
		panic(fmt.Sprintf("%v has no monotonic reading, or time.Time has changed", t))
	}
	return s
}
