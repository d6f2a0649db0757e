// Package clock sleeps exactly. Go's timers round to a millisecond when the process is idle, which is too coarse for
// impaired wires and probes.
package clock

import "golang.org/x/sys/unix"

// Monotonic is the kernel's monotonic clock in nanoseconds.
func Monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}

// SleepUntil blocks the calling thread until Monotonic is due.
func SleepUntil(due int64) {
	if due <= Monotonic() {
		return
	}
	t := unix.NsecToTimespec(due)
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &t, nil) == unix.EINTR {
	}
}
