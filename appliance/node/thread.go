package node

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// ownThread gives the goroutine a thread for itself, as of the kind that the scheduler calls a batch (sched(7)): woken by a
// packet, it does not push aside what runs on its processor, which is most often the thread that sends the packets, so that
// it finds more of them when its turn comes. Whoever runs kedge under another policy than the usual one keeps that.
func ownThread() {
	runtime.LockOSThread()
	if a, err := unix.SchedGetAttr(0, 0); err == nil && a.Policy == unix.SCHED_NORMAL {
		a.Policy = unix.SCHED_BATCH
		_ = unix.SchedSetAttr(0, a, 0)
	}
}
