package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BlastOptions say what Blast sends.
type BlastOptions struct {
	// FromServer has the server send, back to where the client's first datagram came from.
	FromServer bool
	// Size is of the payload, in octets.
	Size int
	// Length is from the first datagram to the last. What arrives in its first quarter does not count.
	Length time.Duration
}

// Arrived is what came of a Blast while it was counted.
type Arrived struct {
	Datagrams int64
	Took      time.Duration
	// Seen is the client's address as the server saw it.
	Seen netip.Addr
}

// PerSecond is how many datagrams arrived in a second.
func (a Arrived) PerSecond() float64 { return float64(a.Datagrams) / a.Took.Seconds() }

// Blast sends datagrams of one flow as fast as the kernel takes them, from one thread, many with one system call and each
// a packet of its own, and counts those that a program at the other end received. The client opens the flow.
func Blast(ctx context.Context, client, server Endpoint, o BlastOptions) (a Arrived, err error) {
	atServer, err := openUDP(server, "")
	if err != nil {
		return a, err
	}
	defer unix.Close(atServer)
	atClient, err := openUDP(Endpoint{Node: client.Node, Address: client.Address}, "")
	if err != nil {
		return a, err
	}
	defer unix.Close(atClient)
	if err := unix.Connect(atClient, &unix.SockaddrInet6{Addr: server.Address.As16(), Port: int(server.Port)}); err != nil {
		return a, err
	}
	peer, err := greet(ctx, atClient, atServer)
	if err != nil {
		return a, err
	}
	a.Seen = netip.AddrFrom16(peer.Addr)
	sender, receiver := atClient, atServer
	if o.FromServer {
		sender, receiver = receiver, sender
		if err := unix.Connect(sender, peer); err != nil {
			return a, err
		}
	}
	for _, fd := range []int{sender, receiver} {
		timeout := unix.NsecToTimeval(int64(pollTime))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
			return a, err
		}
		// Without privilege, as much as the machine allows.
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, blastBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, blastBuffer)
		}
	}
	var (
		running sync.WaitGroup
		stop    atomic.Bool
		count   atomic.Int64
		refused error
	)
	running.Go(func() { refused = blast(sender, o.Size, &stop) })
	running.Go(func() { countDatagrams(receiver, &count, &stop) })
	err = Pause(ctx, o.Length/4)
	before, began := count.Load(), time.Now()
	if err == nil {
		err = Pause(ctx, o.Length*3/4)
	}
	a.Datagrams, a.Took = count.Load()-before, time.Since(began)
	stop.Store(true)
	running.Wait()
	if err = errors.Join(err, refused); err == nil && a.Datagrams == 0 {
		err = fmt.Errorf("none of the datagrams arrived in %v", o.Length)
	}
	return a, err
}

const (
	blastBatch  = 64
	blastBuffer = 4 << 20
	// greetings are tried for some seconds: what was sent before may still fill queues.
	greetings = 200
)

// greet sends datagrams from one socket until one has arrived at the other, and returns where that saw it come from.
func greet(ctx context.Context, from, at int) (*unix.SockaddrInet6, error) {
	hello, buf := []byte("kedge lab"), make([]byte, 64)
	for range greetings {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := unix.Write(from, hello); err != nil && !passing(err) {
			return nil, err
		}
		n, source, err := unix.Recvfrom(at, buf, 0)
		if peer, ok := source.(*unix.SockaddrInet6); err == nil && ok && string(buf[:n]) == string(hello) {
			return peer, nil
		}
	}
	return nil, errors.New("no datagram arrives")
}

// passing reports whether a datagram socket's error is over with the call.
func passing(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNREFUSED)
}

// message is struct mmsghdr.
type message struct {
	unix.Msghdr
	length uint32
}

// messages are headers for datagrams of one size, each with a buffer of its own.
func messages(size int) []message {
	all, vectors, room := make([]message, blastBatch), make([]unix.Iovec, blastBatch), make([]byte, blastBatch*size)
	for i := range all {
		vectors[i].Base = &room[i*size]
		vectors[i].SetLen(size)
		all[i].Iov = &vectors[i]
		all[i].SetIovlen(1)
	}
	return all
}

func blast(fd, size int, stop *atomic.Bool) error {
	all := messages(size)
	defer runtime.KeepAlive(all)
	for !stop.Load() {
		_, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&all[0])), blastBatch, 0, 0, 0)
		if errno != 0 && !passing(errno) {
			return fmt.Errorf("sending datagrams: %w", errno)
		}
	}
	return nil
}

func countDatagrams(fd int, count *atomic.Int64, stop *atomic.Bool) {
	all := messages(2048)
	defer runtime.KeepAlive(all)
	for !stop.Load() {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&all[0])), blastBatch, unix.MSG_WAITFORONE, 0, 0)
		if errno == 0 {
			count.Add(int64(n))
		}
	}
}
