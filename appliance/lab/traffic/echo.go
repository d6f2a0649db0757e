package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/clock"
)

// pollTime is how soon a receiving goroutine notices that it shall end.
const pollTime = 50 * time.Millisecond

// Responder answers UDP datagrams: it appends to each the 16 octets of the address that it came from.
type Responder struct {
	fd      int
	running sync.WaitGroup
	stop    context.CancelFunc
}

// StartResponder answers at an endpoint until Stop.
func StartResponder(ctx context.Context, at Endpoint) (*Responder, error) {
	fd, err := openUDP(at, "")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	r := &Responder{fd: fd, stop: stop}
	r.running.Go(func() {
		buf := make([]byte, 2048)
		for ctx.Err() == nil {
			n, from, err := unix.Recvfrom(fd, buf[:len(buf)-16], 0)
			source, ok := from.(*unix.SockaddrInet6)
			if err != nil || !ok {
				continue
			}
			_ = unix.Sendto(fd, append(buf[:n], source.Addr[:]...), unix.MSG_DONTWAIT, from)
		}
	})
	return r, nil
}

// Stop ends it.
func (r *Responder) Stop() {
	r.stop()
	r.running.Wait()
	unix.Close(r.fd)
}

// openUDP makes a UDP socket bound to an address and port, or to an interface, that gives up receiving after pollTime.
func openUDP(at Endpoint, iface string) (fd int, err error) {
	if err = at.Node.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		return 0, err
	}
	timeout := unix.NsecToTimeval(int64(pollTime))
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
	)
	if err == nil && iface != "" {
		err = unix.BindToDevice(fd, iface)
	}
	if err == nil && at.Address.IsValid() {
		err = unix.Bind(fd, &unix.SockaddrInet6{Addr: at.Address.As16(), Port: int(at.Port)})
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("UDP socket on node %s at %v: %w", at.Node.Name, at.Address, err)
	}
	return fd, nil
}

// RoundTrip is one request that was answered.
type RoundTrip struct {
	// Sent is of the wall clock in nanoseconds.
	Sent int64
	Took time.Duration
	// Seen is the requester's address as the responder saw it.
	Seen netip.Addr
}

// Echo sends requests to a responder from one socket at a steady pace.
type Echo struct {
	fd      int
	running sync.WaitGroup
	stop    context.CancelFunc

	mu      sync.Mutex
	trips   []RoundTrip
	lastErr error
}

// StartEcho sends a request each spacing from a socket bound to from's address, or to the interface if one is named.
func StartEcho(ctx context.Context, from Endpoint, iface string, to Endpoint, spacing time.Duration) (*Echo, error) {
	fd, err := openUDP(Endpoint{Node: from.Node, Address: from.Address}, iface)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	e := &Echo{fd: fd, stop: stop}
	e.running.Go(func() { e.send(ctx, to, spacing) })
	e.running.Go(func() { e.receive(ctx) })
	return e, nil
}

func (e *Echo) send(ctx context.Context, to Endpoint, spacing time.Duration) {
	address := &unix.SockaddrInet6{Addr: to.Address.As16(), Port: int(to.Port)}
	request := make([]byte, 16)
	binary.BigEndian.PutUint64(request, probeMagic)
	for next := clock.Monotonic(); ctx.Err() == nil; next = max(next+int64(spacing), clock.Monotonic()) {
		clock.SleepUntil(next)
		binary.BigEndian.PutUint64(request[8:], uint64(time.Now().UnixNano()))
		if err := unix.Sendto(e.fd, request, unix.MSG_DONTWAIT, address); err != nil {
			e.mu.Lock()
			e.lastErr = err
			e.mu.Unlock()
		}
	}
}

func (e *Echo) receive(ctx context.Context) {
	buf, control := make([]byte, 256), make([]byte, 128)
	for ctx.Err() == nil {
		n, controlLength, _, _, err := unix.Recvmsg(e.fd, buf, control, 0)
		if err != nil || n != 32 || binary.BigEndian.Uint64(buf) != probeMagic {
			continue
		}
		sent := int64(binary.BigEndian.Uint64(buf[8:]))
		seen := netip.AddrFrom16([16]byte(buf[16:32]))
		e.mu.Lock()
		e.trips = append(e.trips, RoundTrip{Sent: sent, Took: time.Duration(timestamp(control[:controlLength]) - sent), Seen: seen})
		e.mu.Unlock()
	}
}

// RoundTrips are those so far, in order of arrival.
func (e *Echo) RoundTrips() []RoundTrip {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]RoundTrip(nil), e.trips...)
}

// Err is why the kernel last refused to send, nil if it never did.
func (e *Echo) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lastErr
}

// Stop ends it.
func (e *Echo) Stop() {
	e.stop()
	e.running.Wait()
	unix.Close(e.fd)
}
