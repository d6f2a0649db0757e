package endtoend

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
)

// chunk is how much a stream sends each pause, each way.
const (
	chunk = 8 << 10
	pause = 10 * time.Millisecond
	// slowPause comes on top where a stream leaves room for others.
	slowPause = 90 * time.Millisecond
)

// tcpRTOMax is the socket option that bounds the time between retransmissions (Linux 6.15), in milliseconds.
const tcpRTOMax = 44

// stream is one TCP connection between ordinary kernel sockets that carries random octets both ways until it is finished.
// Each octet is verified when it arrives.
type stream struct {
	t    *testing.T
	ends [2]*end
}

// end is one end of a stream.
type end struct {
	conn     *net.TCPConn
	stop     atomic.Bool
	slow     atomic.Bool
	sent     atomic.Int64
	received atomic.Int64
	running  sync.WaitGroup
	// failure is of receiving, unsent of sending; both are written before running is done. The kernel reports an error to
	// one of the two.
	failure, unsent error
}

// connect opens a stream from a program on one node to one on another, and waits until octets flow.
func connect(t *testing.T, from *space.Namespace, source netip.Addr, to *space.Namespace, destination netip.Addr) *stream {
	t.Helper()
	var listener *net.TCPListener
	if err := to.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp6", net.TCPAddrFromAddrPort(netip.AddrPortFrom(destination, 0)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := &stream{t: t}
	remote := listener.Addr().(*net.TCPAddr)
	dialled := make(chan error, 1)
	var a *net.TCPConn
	go func() {
		dialled <- from.Do(func() (err error) {
			a, err = net.DialTCP("tcp6", net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), remote)
			return err
		})
	}()
	_ = listener.SetDeadline(time.Now().Add(patience))
	b, err := listener.AcceptTCP()
	if err = errors.Join(err, <-dialled); err != nil {
		t.Fatalf("connection from %v to %v: %v", source, destination, err)
	}
	for i, conn := range []*net.TCPConn{a, b} {
		impatient(conn)
		e := &end{conn: conn}
		s.ends[i] = e
		seed := uint64(remote.Port)
		e.running.Go(func() { e.send(seed + uint64(i)) })
		e.running.Go(func() { e.failure = e.receive(seed + uint64(1-i)) })
	}
	t.Cleanup(func() {
		for _, e := range s.ends {
			e.stop.Store(true)
			e.conn.Close()
			e.running.Wait()
		}
	})
	s.progress("at first")
	return s
}

// impatient has the kernel retransmit at least once a second, where it can, so that tests need not wait for its back-off.
func impatient(conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, tcpRTOMax, 1000) })
	}
}

func source(seed uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

func (e *end) send(seed uint64) {
	random, b := source(seed), make([]byte, chunk)
	for !e.stop.Load() {
		_, _ = random.Read(b)
		n, err := e.conn.Write(b)
		e.sent.Add(int64(n))
		if err != nil {
			e.unsent = err
			return
		}
		time.Sleep(pause)
		if e.slow.Load() {
			time.Sleep(slowPause)
		}
	}
	_ = e.conn.CloseWrite()
}

func (e *end) receive(seed uint64) error {
	random, b, want := source(seed), make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := e.conn.Read(b)
		_, _ = random.Read(want[:n])
		if string(b[:n]) != string(want[:n]) {
			return fmt.Errorf("octets after the first %d are not those that were sent", e.received.Load())
		}
		e.received.Add(int64(n))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// slow leaves room for others from now on.
func (s *stream) slow() {
	for _, e := range s.ends {
		e.slow.Store(true)
	}
}

// progress waits until both ends have received more than is under way now.
func (s *stream) progress(when string) {
	s.t.Helper()
	var goal [2]int64
	for i := range s.ends {
		goal[i] = s.ends[1-i].sent.Load() + 4*chunk
	}
	await(s.t, "octets flow both ways "+when, func() bool {
		return s.ends[0].received.Load() >= goal[0] && s.ends[1].received.Load() >= goal[1]
	})
}

// finish ends the connection in good order, and checks that all arrived that was sent.
func (s *stream) finish() {
	s.t.Helper()
	s.progress("at last")
	for _, e := range s.ends {
		e.stop.Store(true)
	}
	late := time.AfterFunc(patience, func() {
		for _, e := range s.ends {
			e.conn.Close()
		}
	})
	defer late.Stop()
	for i, e := range s.ends {
		e.running.Wait()
		s.ends[1-i].running.Wait()
		if err := errors.Join(e.failure, e.unsent); err != nil {
			s.t.Errorf("end %d of the connection: %v", i, err)
		}
		if got, want := e.received.Load(), s.ends[1-i].sent.Load(); got != want {
			s.t.Errorf("end %d of the connection received %d octets of %d", i, got, want)
		}
	}
}
