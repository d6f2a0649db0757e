package traffic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Mark says that the first Octets octets of one direction of a session had been written, or had arrived, at Time of the
// wall clock in nanoseconds. For arrivals that is the kernel's time stamp.
type Mark struct {
	Time   int64
	Octets int64
}

// Way is one direction of a session.
type Way struct {
	Sent, Received int64
	// Verified is how many of the octets received, from the first on, are those that were sent.
	Verified int64
	Writes   []Mark
	Arrivals []Mark
}

// Intact reports whether all that was sent has arrived unchanged.
func (w Way) Intact() bool { return w.Sent == w.Received && w.Verified == w.Received && w.Received > 0 }

// Snapshot is the direction as a stream of arrivals, each sent when its last octet was written. It does not say what was
// sent, since TCP loses nothing.
func (w Way) Snapshot() Snapshot {
	var s Snapshot
	i := 0
	for n, a := range w.Arrivals {
		for i+1 < len(w.Writes) && w.Writes[i].Octets < a.Octets {
			i++
		}
		if len(w.Writes) > 0 {
			s.Arrivals = append(s.Arrivals, Arrival{Sequence: uint64(n), Sent: w.Writes[i].Time, Received: a.Time})
		}
	}
	return s
}

// End is what one end of a session has seen.
type End struct {
	// Local and Remote are what the program's socket says.
	Local, Remote netip.AddrPort
	// Closed is when the connection ended for this end, 0 if it did not; Err is why, nil if in order.
	Closed int64
	Err    error
}

// SessionOutcome is what became of a session.
type SessionOutcome struct {
	// Opened is when connect() was called, and Connect how long it took.
	Opened           int64
	Connect          time.Duration
	Opener, Acceptor End
	// Forward goes from the opener to the acceptor.
	Forward, Backward Way
}

// Survived reports whether the connection lived to an orderly end at both ends.
func (o SessionOutcome) Survived() bool {
	return o.Opener.Err == nil && o.Acceptor.Err == nil && o.Opener.Closed != 0 && o.Acceptor.Closed != 0
}

// Session is one TCP connection with pseudo-random octets both ways at a steady rate. The receivers make the same octets
// and compare.
type Session struct {
	ends       [2]*sessionEnd // opener, acceptor
	finish     chan struct{}
	finishOnce sync.Once
	running    sync.WaitGroup
	opened     int64
	connect    time.Duration
}

type sessionEnd struct {
	conn *net.TCPConn
	// random makes what this end sends, expected what it receives.
	random, expected *rand.ChaCha8
	received         atomic.Int64

	mu sync.Mutex
	// out is what this end sends, in what it receives; each knows its own half.
	out, in Way
	closed  int64
	err     error
}

// OpenSession connects a program at from to one at to. Without an address from's program binds to none.
func OpenSession(ctx context.Context, from, to Endpoint, rate float64, seed uint64) (*Session, error) {
	var listener *net.TCPListener
	err := to.Node.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp6", tcpAddr(to))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening on node %s: %w", to.Node.Name, err)
	}
	defer listener.Close()
	s := &Session{finish: make(chan struct{})}
	var opener, acceptor *net.TCPConn
	err = from.Node.Do(func() error {
		dialer := net.Dialer{Timeout: 5 * time.Second}
		if from.Address.IsValid() {
			dialer.LocalAddr = tcpAddr(Endpoint{Address: from.Address})
		}
		began := time.Now()
		c, err := dialer.DialContext(ctx, "tcp6", netip.AddrPortFrom(to.Address, to.Port).String())
		if err == nil {
			s.opened, s.connect, opener = began.UnixNano(), time.Since(began), c.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", from.Node.Name, err)
	}
	_ = listener.SetDeadline(time.Now().Add(5 * time.Second))
	if acceptor, err = listener.AcceptTCP(); err != nil {
		opener.Close()
		return nil, fmt.Errorf("accepting on node %s: %w", to.Node.Name, err)
	}
	generator := func(way byte) *rand.ChaCha8 {
		return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), way, 'f', 'l', 'o', 'w'})
	}
	s.ends[0] = &sessionEnd{conn: opener, random: generator(0), expected: generator(1)}
	s.ends[1] = &sessionEnd{conn: acceptor, random: generator(1), expected: generator(0)}
	for _, e := range s.ends {
		s.running.Go(func() { e.send(rate, s.finish) })
		s.running.Go(e.receive)
	}
	return s, nil
}

// Opener is the connection's address and port at the opener, and its peer's.
func (s *Session) Opener() (local, remote netip.AddrPort) { return addresses(s.ends[0].conn) }

// Acceptor is the same as the acceptor sees it.
func (s *Session) Acceptor() (local, remote netip.AddrPort) { return addresses(s.ends[1].conn) }

// Received is how many octets have arrived at both ends.
func (s *Session) Received() int64 { return s.ends[0].received.Load() + s.ends[1].received.Load() }

// Ended reports whether the connection has ended for both ends.
func (s *Session) Ended() bool {
	for _, e := range s.ends {
		e.mu.Lock()
		closed := e.closed
		e.mu.Unlock()
		if closed == 0 {
			return false
		}
	}
	return true
}

// Finish lets both programs stop sending and end the connection in order, waits until that is done, at most limit, and
// says how it went. An end whose peer is gone already is not waited for.
func (s *Session) Finish(limit time.Duration) SessionOutcome {
	s.finishOnce.Do(func() { close(s.finish) })
	for _, e := range s.ends {
		if e.failed() {
			limit = min(limit, 200*time.Millisecond)
		}
	}
	for _, e := range s.ends {
		_ = e.conn.SetDeadline(time.Now().Add(limit))
	}
	s.running.Wait()
	o := SessionOutcome{Opened: s.opened, Connect: s.connect}
	o.Opener, o.Acceptor = s.ends[0].end(), s.ends[1].end()
	o.Forward = way(s.ends[0].out, s.ends[1].in)
	o.Backward = way(s.ends[1].out, s.ends[0].in)
	for _, e := range s.ends {
		e.conn.Close()
	}
	return o
}

func way(out, in Way) Way {
	in.Sent, in.Writes = out.Sent, out.Writes
	return in
}

func addresses(c *net.TCPConn) (local, remote netip.AddrPort) {
	return c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
}

func (e *sessionEnd) end() End {
	local, remote := addresses(e.conn)
	e.mu.Lock()
	defer e.mu.Unlock()
	return End{Local: local, Remote: remote, Closed: e.closed, Err: e.err}
}

func (e *sessionEnd) failed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err != nil
}

// close notes the connection's end as this end learns of it: the kernel tells one of its two goroutines why, and the
// other merely that it is over.
func (e *sessionEnd) close(err error) {
	now := time.Now().UnixNano()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed == 0 {
		e.closed = now
	}
	if e.err == nil || errors.Is(e.err, unix.EPIPE) && !errors.Is(err, unix.EPIPE) {
		e.err = err
	}
}

// sendTick is how often a session's program writes.
const sendTick = 5 * time.Millisecond

func (e *sessionEnd) send(rate float64, finish <-chan struct{}) {
	ticker := time.NewTicker(sendTick)
	defer ticker.Stop()
	start := time.Now()
	block := make([]byte, 16<<10)
	for total := int64(0); ; {
		select {
		case <-finish:
			_ = e.conn.CloseWrite()
			return
		case <-ticker.C:
		}
		owed := int64(rate/8*time.Since(start).Seconds()) - total
		if owed > int64(len(block)) {
			// What a silent network held up is made up for only in part.
			start = start.Add(time.Duration(float64(owed-int64(len(block))) * 8 / rate * float64(time.Second)))
			owed = int64(len(block))
		}
		if owed <= 0 {
			continue
		}
		_, _ = e.random.Read(block[:owed])
		now := time.Now().UnixNano()
		n, err := e.conn.Write(block[:owed])
		total += int64(n)
		e.mu.Lock()
		e.out.Sent = total
		e.out.Writes = append(e.out.Writes, Mark{Time: now, Octets: total})
		e.mu.Unlock()
		if err != nil {
			e.close(cause(err))
			return
		}
	}
}

func (e *sessionEnd) receive() {
	raw, err := e.conn.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		}), err)
	}
	if err != nil {
		e.close(err)
		return
	}
	block, expected, control := make([]byte, 64<<10), make([]byte, 64<<10), make([]byte, 128)
	good := true
	for {
		var n, controlLength int
		var failure error
		err := raw.Read(func(fd uintptr) bool {
			n, controlLength, _, _, failure = unix.Recvmsg(int(fd), block, control, unix.MSG_DONTWAIT)
			return failure != unix.EAGAIN && failure != unix.EINTR
		})
		if err = errors.Join(err, failure); err != nil {
			e.close(cause(err))
			// The other goroutine must not write on.
			_ = e.conn.SetWriteDeadline(time.Now())
			return
		}
		if n == 0 {
			e.close(nil)
			return
		}
		at := timestamp(control[:controlLength])
		_, _ = e.expected.Read(expected[:n])
		good = good && bytes.Equal(block[:n], expected[:n])
		total := e.received.Add(int64(n))
		e.mu.Lock()
		e.in.Received = total
		if good {
			e.in.Verified = total
		}
		e.in.Arrivals = append(e.in.Arrivals, Mark{Time: at, Octets: total})
		e.mu.Unlock()
	}
}

// cause is the error number of the system call, where there is one.
func cause(err error) error {
	var number unix.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}
