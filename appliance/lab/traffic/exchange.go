package traffic

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/clock"
)

// Exchange is one UDP request with its response, from a socket of its own.
type Exchange struct {
	// Began is of the wall clock in nanoseconds; Took ends with the response.
	Began int64
	Took  time.Duration
	// Local is what the socket said of its address, Seen what the responder saw.
	Local, Seen netip.Addr
	// Err is why there was no response.
	Err error
}

// exchangeTime is how long a program waits for a response.
const exchangeTime = 2 * time.Second

// errNoResponse says that a request was not answered in time.
var errNoResponse = errors.New("no response")

// Exchanges are made at a steady pace, whether or not those before were answered.
type Exchanges struct {
	running sync.WaitGroup
	stop    context.CancelFunc

	mu  sync.Mutex
	all []Exchange
}

// StartExchanges makes one each spacing until Stop. Unless from has an address their sockets are bound to none.
func StartExchanges(ctx context.Context, from, to Endpoint, spacing time.Duration) *Exchanges {
	ctx, stop := context.WithCancel(ctx)
	e := &Exchanges{stop: stop}
	e.running.Go(func() {
		for next := clock.Monotonic(); ctx.Err() == nil; next = max(next+int64(spacing), clock.Monotonic()) {
			clock.SleepUntil(next)
			e.running.Go(func() { e.make(from, to) })
		}
	})
	return e
}

func (e *Exchanges) make(from, to Endpoint) {
	x := Ask(from, to, exchangeTime)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, x)
}

// exchange runs in the requester's namespace.
func exchange(from netip.Addr, to Endpoint, wait time.Duration) (x Exchange) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Exchange{Err: err}
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(int64(wait))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	if from.IsValid() {
		if err := unix.Bind(fd, &unix.SockaddrInet6{Addr: from.As16()}); err != nil {
			return Exchange{Err: err}
		}
	}
	began := time.Now()
	x.Began = began.UnixNano()
	defer func() { x.Took = time.Since(began) }()
	if err := unix.Connect(fd, &unix.SockaddrInet6{Addr: to.Address.As16(), Port: int(to.Port)}); err != nil {
		x.Err = err
		return x
	}
	if name, err := unix.Getsockname(fd); err == nil {
		if a, ok := name.(*unix.SockaddrInet6); ok {
			x.Local = netip.AddrFrom16(a.Addr)
		}
	}
	var request [16]byte
	binary.BigEndian.PutUint64(request[:], probeMagic)
	binary.BigEndian.PutUint64(request[8:], uint64(x.Began))
	if _, err := unix.Write(fd, request[:]); err != nil {
		x.Err = err
		return x
	}
	buf := make([]byte, 256)
	n, err := unix.Read(fd, buf)
	switch {
	case errors.Is(err, unix.EAGAIN):
		x.Err = errNoResponse
	case err != nil:
		x.Err = err
	case n != 32 || [16]byte(buf[:16]) != request:
		x.Err = errors.New("the response is not what was asked for")
	default:
		x.Seen = netip.AddrFrom16([16]byte(buf[16:32]))
	}
	return x
}

// RoundTrips are those exchanges that were answered.
func RoundTrips(all []Exchange) (trips []RoundTrip) {
	for _, x := range all {
		if x.Err == nil {
			trips = append(trips, RoundTrip{Sent: x.Began, Took: x.Took, Seen: x.Seen})
		}
	}
	return trips
}

// All are those that are over, in the order in which they began.
func (e *Exchanges) All() []Exchange {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.SortedStableFunc(slices.Values(e.all), func(a, b Exchange) int { return cmp.Compare(a.Began, b.Began) })
}

// Stop ends it.
func (e *Exchanges) Stop() {
	e.stop()
	e.running.Wait()
}

// SourceAddress is the address that the kernel of a node chooses for packets to a destination (RFC 6724).
func SourceAddress(from, to Endpoint) (a netip.Addr, err error) {
	err = from.Node.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet6{Addr: to.Address.As16(), Port: int(to.Port)}); err != nil {
			return err
		}
		name, err := unix.Getsockname(fd)
		if v, ok := name.(*unix.SockaddrInet6); ok {
			a = netip.AddrFrom16(v.Addr)
		}
		return err
	})
	return a, err
}

// Ask makes one exchange, and waits so long for the response.
func Ask(from, to Endpoint, wait time.Duration) (x Exchange) {
	if err := from.Node.Do(func() error { x = exchange(from.Address, to, wait); return nil }); err != nil {
		x.Err = err
	}
	return x
}
