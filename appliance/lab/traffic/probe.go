// Package traffic is what programs on the nodes of a lab do: streams of UDP probes, one long TCP download, and as much
// TCP or as many datagrams as go. Sockets are made in a node's namespace and used by this one process, so that one clock times both ends.
package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/clock"
	"kedge/appliance/lab/space"
)

// Endpoint is where traffic starts or ends.
type Endpoint struct {
	Node    *space.Namespace
	Address netip.Addr
	Port    uint16
}

// probeMagic tells the probe's own datagrams from others.
const probeMagic = 0x6b65646765707262

// Arrival is one datagram that came in. Times are of the wall clock in nanoseconds.
type Arrival struct {
	Sequence uint64
	Sent     int64
	// Received is the kernel's time stamp, so that this process being busy does not look like a silent network.
	Received int64
}

// Stream is one direction of a probe.
type Stream struct {
	from, to *probeSocket

	mu       sync.Mutex
	sent     []int64
	arrivals []Arrival
	failures uint64
	lastErr  error
}

// Snapshot is what a stream has seen.
type Snapshot struct {
	// Sent holds the time of each datagram, by sequence number.
	Sent     []int64
	Arrivals []Arrival
	// SendFailures counts datagrams that the sender's kernel refused; they are in Sent too.
	SendFailures  uint64
	LastSendError error
}

// Snapshot copies what the stream has seen.
func (s *Stream) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Snapshot{
		Sent:          append([]int64(nil), s.sent...),
		Arrivals:      append([]Arrival(nil), s.arrivals...),
		SendFailures:  s.failures,
		LastSendError: s.lastErr,
	}
}

// Counts returns how many datagrams were sent and how many arrived.
func (s *Stream) Counts() (sent, arrived int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent), len(s.arrivals)
}

// LastArrival is the time of the latest arrival, 0 if there was none.
func (s *Stream) LastArrival() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.arrivals) == 0 {
		return 0
	}
	return s.arrivals[len(s.arrivals)-1].Received
}

// Probe is a pair of streams between a correspondent and a mobile node.
type Probe struct {
	// Downlink goes to the mobile node, Uplink from it.
	Downlink, Uplink *Stream
	sockets          [2]*probeSocket
	running          sync.WaitGroup
	stop             context.CancelFunc
}

// StartProbe sends a datagram of size octets each spacing in both directions until Stop.
func StartProbe(ctx context.Context, correspondent, mobile Endpoint, spacing time.Duration, size int) (*Probe, error) {
	c, err := openProbe(correspondent)
	if err != nil {
		return nil, err
	}
	m, err := openProbe(mobile)
	if err != nil {
		c.close()
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	p := &Probe{
		Downlink: &Stream{from: c, to: m},
		Uplink:   &Stream{from: m, to: c},
		sockets:  [2]*probeSocket{c, m},
		stop:     stop,
	}
	for i, s := range []*Stream{p.Downlink, p.Uplink} {
		// Half a spacing apart, so that the two directions do not compete for the processor at each tick.
		phase := spacing / 2 * time.Duration(i)
		p.running.Go(func() { s.receive(ctx) })
		p.running.Go(func() { s.send(ctx, spacing, phase, size) })
	}
	return p, nil
}

// Stop ends the sending, waits for what is on the way, and frees the sockets.
func (p *Probe) Stop() {
	p.stop()
	p.running.Wait()
	for _, s := range p.sockets {
		s.close()
	}
}

func (s *Stream) send(ctx context.Context, spacing, phase time.Duration, size int) {
	packet := make([]byte, size)
	binary.BigEndian.PutUint64(packet, probeMagic)
	to := &unix.SockaddrInet6{Addr: s.to.at.Address.As16(), Port: int(s.to.at.Port)}
	next := clock.Monotonic() + int64(phase)
	for sequence := uint64(0); ctx.Err() == nil; sequence++ {
		clock.SleepUntil(next)
		// After a pause of this process the missed datagrams are not sent in a burst.
		next = max(next+int64(spacing), clock.Monotonic()-int64(5*spacing))
		now := time.Now().UnixNano()
		binary.BigEndian.PutUint64(packet[8:], sequence)
		binary.BigEndian.PutUint64(packet[16:], uint64(now))
		s.mu.Lock()
		s.sent = append(s.sent, now)
		s.mu.Unlock()
		if err := unix.Sendto(s.from.fd, packet, unix.MSG_DONTWAIT, to); err != nil {
			s.mu.Lock()
			s.failures++
			s.lastErr = err
			s.mu.Unlock()
		}
	}
}

// lateTime is how long after the end datagrams are still taken.
const lateTime = 300 * time.Millisecond

func (s *Stream) receive(ctx context.Context) {
	buf := make([]byte, 2048)
	control := make([]byte, 256)
	var end time.Time
	for {
		if ctx.Err() != nil {
			if end.IsZero() {
				end = time.Now().Add(lateTime)
			} else if time.Now().After(end) {
				return
			}
		}
		// The socket's receive time-out brings us back.
		n, controlLength, _, _, err := unix.Recvmsg(s.to.fd, buf, control, 0)
		if err != nil || n < 24 || binary.BigEndian.Uint64(buf) != probeMagic {
			continue
		}
		a := Arrival{
			Sequence: binary.BigEndian.Uint64(buf[8:]),
			Sent:     int64(binary.BigEndian.Uint64(buf[16:])),
			Received: timestamp(control[:controlLength]),
		}
		s.mu.Lock()
		s.arrivals = append(s.arrivals, a)
		s.mu.Unlock()
	}
}

type probeSocket struct {
	at Endpoint
	fd int
}

func (p *probeSocket) close() { unix.Close(p.fd) }

func openProbe(at Endpoint) (*probeSocket, error) {
	s := &probeSocket{at: at}
	err := at.Node.Do(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	timeout := unix.NsecToTimeval(int64(50 * time.Millisecond))
	err = errors.Join(
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20),
		unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.Bind(s.fd, &unix.SockaddrInet6{Addr: at.Address.As16(), Port: int(at.Port)}),
	)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("probe socket on node %s at %s: %w", at.Node.Name, at.Address, err)
	}
	return s, nil
}

// timestamp finds the kernel's receive time (SO_TIMESTAMPNS) among control messages; without one it is now.
func timestamp(control []byte) int64 {
	messages, err := unix.ParseSocketControlMessage(control)
	if err == nil {
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
				t := *(*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
				return t.Nano()
			}
		}
	}
	return time.Now().UnixNano()
}
