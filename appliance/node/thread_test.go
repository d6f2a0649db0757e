package node

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A pump's thread is a batch's, and no thread that Go starts meanwhile becomes one.
func TestOwnThread(t *testing.T) {
	usual := scheduling(t)
	if usual != unix.SCHED_NORMAL {
		t.Skip("the tests run under another scheduling policy than the usual one")
	}
	pumping, done := make(chan uint32), make(chan struct{})
	go func() {
		ownThread()
		pumping <- scheduling(t)
		<-done // and the thread ends with it
	}()
	if got := <-pumping; got != unix.SCHED_BATCH {
		t.Errorf("a pump's thread has policy %d", got)
	}
	defer close(done)
	for range 20 {
		other := make(chan uint32)
		go func() {
			runtime.LockOSThread()
			other <- scheduling(t)
			<-done
		}()
		if got := <-other; got != usual {
			t.Fatalf("another thread has policy %d", got)
		}
	}
}

func scheduling(t *testing.T) uint32 {
	a, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Error(err)
		return 0
	}
	return a.Policy
}
