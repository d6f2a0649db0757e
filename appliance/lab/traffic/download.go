package traffic

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// SampleTime is how often a download's throughput is sampled.
const SampleTime = 50 * time.Millisecond

// Sample is how much a download received in the SampleTime before Time.
type Sample struct {
	// Time of the wall clock in nanoseconds.
	Time   int64
	Octets int64
}

// Outcome of a download.
type Outcome struct {
	// Connections is how many TCP connections were opened: one, or none that worked.
	Connections    int
	Sent, Received int64
	// SentHash and ReceivedHash are SHA-256 in hexadecimal; the sender's is over what it handed to its kernel.
	SentHash, ReceivedHash string
	// Retransmissions and RetransmissionTimeouts of the sender.
	Retransmissions, RetransmissionTimeouts uint32
	// Err is why the connection broke, if it did.
	Err     error
	Samples []Sample
}

// Survived reports whether the one connection lived to its orderly end.
func (o Outcome) Survived() bool { return o.Connections == 1 && o.Err == nil }

// Verified reports whether all octets that were sent arrived unchanged.
func (o Outcome) Verified() bool {
	return o.Err == nil && o.Received > 0 && o.Sent == o.Received && o.SentHash == o.ReceivedHash
}

// Download is a running download.
type Download struct {
	client, server *net.TCPConn
	received       atomic.Int64
	finish         chan struct{}
	finishOnce     sync.Once
	running        sync.WaitGroup

	mu      sync.Mutex
	outcome Outcome
}

// StartDownload opens a connection from a program at the receiving end to a server at from, which sends pseudo-random
// octets at rate bits per second.
func StartDownload(ctx context.Context, from, to Endpoint, rate float64, seed uint64) (*Download, error) {
	client, server, err := connect(ctx, to, from)
	if err != nil {
		return nil, err
	}
	d := &Download{client: client, server: server, finish: make(chan struct{})}
	d.outcome.Connections = 1
	d.running.Go(func() { d.send(rate, seed) })
	d.running.Go(d.receive)
	go d.sample(ctx)
	return d, nil
}

// Received is how many octets have arrived.
func (d *Download) Received() int64 { return d.received.Load() }

// Finish lets the sender end in order, waits until the receiver has everything or limit has passed, and says how it went.
func (d *Download) Finish(limit time.Duration) Outcome {
	d.finishOnce.Do(func() { close(d.finish) })
	deadline := time.Now().Add(limit)
	_ = d.client.SetDeadline(deadline)
	_ = d.server.SetDeadline(deadline)
	d.running.Wait()
	d.client.Close()
	d.server.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.outcome
}

func (d *Download) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outcome.Err = errors.Join(d.outcome.Err, err)
}

func (d *Download) send(rate float64, seed uint64) {
	const tick = 5 * time.Millisecond
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), 'k', 'e', 'd', 'g', 'e'})
	sum, total := sha256.New(), int64(0)
	block := make([]byte, 64<<10)
	start := time.Now()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var err error
loop:
	for {
		select {
		case <-d.finish:
			break loop
		case <-ticker.C:
		}
		owed := int64(rate/8*time.Since(start).Seconds()) - total
		// What a silent network held up is not sent in one burst afterwards beyond a quarter of a second's worth.
		if most := int64(rate / 8 / 4); owed > most {
			start = start.Add(time.Duration(float64(owed-most) * 8 / rate * float64(time.Second)))
			owed = most
		}
		for owed > 0 && err == nil {
			b := block[:min(owed, int64(len(block)))]
			_, _ = source.Read(b)
			var n int
			n, err = d.server.Write(b)
			sum.Write(b[:n])
			total += int64(n)
			owed -= int64(n)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = d.server.CloseWrite()
	}
	if err != nil {
		d.fail(fmt.Errorf("sending: %w", err))
		d.client.Close()
	}
	info := tcpInfo(d.server)
	d.mu.Lock()
	d.outcome.Sent, d.outcome.SentHash = total, digest(sum)
	if info != nil {
		d.outcome.Retransmissions, d.outcome.RetransmissionTimeouts = info.Total_retrans, uint32(info.Total_rto)
	}
	d.mu.Unlock()
}

func (d *Download) receive() {
	sum := sha256.New()
	block := make([]byte, 64<<10)
	for {
		n, err := d.client.Read(block)
		sum.Write(block[:n])
		d.received.Add(int64(n))
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			d.fail(fmt.Errorf("receiving: %w", err))
			d.server.Close()
		}
		break
	}
	d.mu.Lock()
	d.outcome.Received, d.outcome.ReceivedHash = d.received.Load(), digest(sum)
	d.mu.Unlock()
}

func (d *Download) sample(ctx context.Context) {
	ticker := time.NewTicker(SampleTime)
	defer ticker.Stop()
	last := int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.finish:
			return
		case <-ticker.C:
		}
		now, total := time.Now().UnixNano(), d.received.Load()
		d.mu.Lock()
		d.outcome.Samples = append(d.outcome.Samples, Sample{Time: now, Octets: total - last})
		d.mu.Unlock()
		last = total
	}
}

func digest(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// connect opens a TCP connection from a program at client, which binds to its address, to a listener at server.
func connect(ctx context.Context, client, server Endpoint) (fromClient, fromServer *net.TCPConn, err error) {
	var listener *net.TCPListener
	err = server.Node.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp6", tcpAddr(server))
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("listening on node %s: %w", server.Node.Name, err)
	}
	defer listener.Close()
	err = client.Node.Do(func() error {
		dialer := net.Dialer{LocalAddr: tcpAddr(Endpoint{Address: client.Address}), Timeout: 3 * time.Second}
		c, err := dialer.DialContext(ctx, "tcp6", netip.AddrPortFrom(server.Address, uint16(listener.Addr().(*net.TCPAddr).Port)).String())
		if err == nil {
			fromClient = c.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("node %s: %w", client.Node.Name, err)
	}
	_ = listener.SetDeadline(time.Now().Add(5 * time.Second))
	if fromServer, err = listener.AcceptTCP(); err != nil {
		fromClient.Close()
		return nil, nil, fmt.Errorf("accepting on node %s: %w", server.Node.Name, err)
	}
	return fromClient, fromServer, nil
}

func tcpAddr(e Endpoint) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(e.Address, e.Port))
}

func tcpInfo(c *net.TCPConn) (info *unix.TCPInfo) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) {
		info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	return info
}
