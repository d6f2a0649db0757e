package space

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Children are the processes that this process waits for itself. As first process of a process namespace it also
// inherits orphans, which Reap collects.
type Children struct {
	mu    sync.Mutex
	known map[int]bool
}

// Start runs start, which returns the id of the process it made, without an orphan's collection in between.
func (c *Children) Start(start func() (int, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := start()
	if err != nil {
		return err
	}
	if c.known == nil {
		c.known = map[int]bool{}
	}
	c.known[pid] = true
	return nil
}

// Forget says that the process has been waited for.
func (c *Children) Forget(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, pid)
}

// Reap collects orphans until ctx ends.
func (c *Children) Reap(ctx context.Context) {
	news := make(chan os.Signal, 1)
	signal.Notify(news, unix.SIGCHLD)
	defer signal.Stop(news)
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
		for c.reapOne() {
		}
	}
}

func (c *Children) reapOne() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		return false
	}
	// The process id follows signal, error and code, aligned as the union of the C structure is.
	pid := int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), 12+unsafe.Sizeof(uintptr(0))-4)))
	if pid == 0 || c.known[pid] {
		return false
	}
	_, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
	return err == nil
}
