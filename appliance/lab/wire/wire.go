package wire

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
)

// End is one end of a wire: an interface to make in a node's namespace.
type End struct {
	Node      *space.Namespace
	Interface string
}

// Wire is an impaired wire that runs until Close.
type Wire struct {
	// Forward counts from the first end to the second, Backward the other way.
	Forward, Backward Counters
	taps              [2]*os.File
	running           sync.WaitGroup
}

// Connect makes both interfaces and joins them. The interfaces are down.
func Connect(a, b End, forward, backward Impairment, seed uint64) (*Wire, error) {
	w := &Wire{}
	for i, end := range []End{a, b} {
		tap, err := openTAP(end)
		if err != nil {
			if i == 1 {
				w.taps[0].Close()
			}
			return nil, err
		}
		w.taps[i] = tap
	}
	w.running.Go(func() { line(w.taps[0], w.taps[1], forward, seed, &w.Forward) })
	w.running.Go(func() { line(w.taps[1], w.taps[0], backward, seed+1, &w.Backward) })
	return w, nil
}

// Close removes the wire and its interfaces.
func (w *Wire) Close() error {
	for _, t := range w.taps {
		t.Close()
	}
	w.running.Wait()
	return nil
}

func openTAP(end End) (*os.File, error) {
	var tap *os.File
	err := end.Node.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("/dev/net/tun: %w", err)
		}
		request, err := unix.NewIfreq(end.Interface)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		// Non-blocking from the start, so that the runtime's poller takes it and Close ends a Read.
		tap = os.NewFile(uintptr(fd), end.Interface)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("TAP device %s of node %s: %w", end.Interface, end.Node.Name, err)
	}
	return tap, nil
}
