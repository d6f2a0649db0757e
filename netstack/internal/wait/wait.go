// Package wait has a goroutine wait in the kernel for what a descriptor has, keeping its thread. Where packets come again and
// again, that thread is woken by the first at once; by way of Go's poller it is another thread that is woken, and then hands
// over to this one.
package wait

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Reader is for the one goroutine that reads a descriptor, by calls that do not wait.
type Reader struct {
	ended   atomic.Bool
	event   int        // wakes the goroutine for good
	waiting sync.Mutex // guards event and poll
	poll    [2]unix.PollFd
}

// NewReader makes a Reader, which End must release.
func NewReader() (*Reader, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &Reader{event: event}, nil
}

// Await waits until fd has something to read or an error to tell, and reports whether that came before End.
func (r *Reader) Await(fd uintptr) bool {
	r.waiting.Lock()
	defer r.waiting.Unlock()
	r.poll = [2]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(r.event), Events: unix.POLLIN}}
	for !r.ended.Load() {
		if _, err := unix.Poll(r.poll[:], -1); err != unix.EINTR {
			return r.poll[1].Revents == 0 && !r.ended.Load()
		}
	}
	return false
}

// End ends the waiting, now and for ever.
func (r *Reader) End() {
	if r.ended.Swap(true) {
		return
	}
	_, _ = unix.Write(r.event, []byte{0, 0, 0, 0, 0, 0, 0, 1})
	r.waiting.Lock()
	defer r.waiting.Unlock()
	unix.Close(r.event)
}

// Patience is how long a writer waits for room in a send buffer.
const Patience = 20 * time.Millisecond

// ForRoom waits at most for Patience until fd takes something to write, and reports whether it does.
func ForRoom(fd uintptr) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(poll, int(Patience/time.Millisecond))
	return n > 0 || err == unix.EINTR
}
