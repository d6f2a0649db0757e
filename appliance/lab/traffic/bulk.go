package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// BulkOptions say what Bulk carries.
type BulkOptions struct {
	// FromServer has the acceptor of the connections send, not who opened them.
	FromServer bool
	// Streams is how many connections there are at a time.
	Streams int
	// Length is from the first octet to the end. What arrives in its first quarter, slow start, does not count.
	Length time.Duration
	// Counting is called as counting begins and Counted as it ends; either may be nil.
	Counting, Counted func()
}

// Carried is what TCP connections have carried while they were counted.
type Carried struct {
	Octets int64
	Took   time.Duration
	// Seen are the client's addresses as the server saw them, one for each connection.
	Seen []netip.Addr
}

// PerSecond is in bits.
func (c Carried) PerSecond() float64 { return float64(c.Octets) * 8 / c.Took.Seconds() }

// bulkCongestionControl is the same for all, whatever the machine's default is.
const bulkCongestionControl = "cubic"

// Bulk sends as much TCP as goes between a client and a server.
func Bulk(ctx context.Context, client, server Endpoint, o BulkOptions) (c Carried, err error) {
	var (
		opened    []net.Conn
		running   sync.WaitGroup
		octets    atomic.Int64
		mu        sync.Mutex
		failures  []error
		senders   []*net.TCPConn
		receivers []*net.TCPConn
	)
	defer func() {
		for _, conn := range opened {
			conn.Close()
		}
		running.Wait()
	}()
	for range o.Streams {
		fromClient, fromServer, err := connect(ctx, client, server)
		if err != nil {
			return c, err
		}
		opened = append(opened, fromClient, fromServer)
		c.Seen = append(c.Seen, fromServer.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
		sender, receiver := fromClient, fromServer
		if o.FromServer {
			sender, receiver = receiver, sender
		}
		// What has not arrived by the end is not to disturb what is measured next.
		_ = sender.SetLinger(0)
		if err := controlCongestion(sender); err != nil {
			return c, err
		}
		senders, receivers = append(senders, sender), append(receivers, receiver)
	}
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failures = append(failures, err)
	}
	for i := range senders {
		running.Go(func() { fail(send(senders[i])) })
		running.Go(func() { fail(receive(receivers[i], &octets)) })
	}
	if err := Pause(ctx, o.Length/4); err != nil {
		return c, err
	}
	call(o.Counting)
	before, began := octets.Load(), time.Now()
	if err := Pause(ctx, o.Length*3/4); err != nil {
		return c, err
	}
	c.Octets, c.Took = octets.Load()-before, time.Since(began)
	call(o.Counted)
	mu.Lock()
	defer mu.Unlock()
	if err := errors.Join(failures...); err != nil {
		return c, fmt.Errorf("bulk transfer: %w", err)
	}
	if c.Octets == 0 {
		return c, fmt.Errorf("bulk transfer: nothing arrived in %v", o.Length)
	}
	return c, nil
}

func call(f func()) {
	if f != nil {
		f()
	}
}

func send(c *net.TCPConn) error {
	block := make([]byte, 256<<10)
	for {
		if _, err := c.Write(block); err != nil {
			return err
		}
	}
}

func receive(c *net.TCPConn, octets *atomic.Int64) error {
	block := make([]byte, 1<<20)
	for {
		n, err := c.Read(block)
		octets.Add(int64(n))
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
}

func controlCongestion(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	if err := raw.Control(func(fd uintptr) {
		failure = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, bulkCongestionControl)
	}); err != nil {
		return err
	}
	if failure != nil {
		return fmt.Errorf("TCP congestion control %s: %w", bulkCongestionControl, failure)
	}
	return nil
}

// Pause waits for d, and fails if ctx ends first.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
