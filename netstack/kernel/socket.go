package kernel

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// receiveBuffer is the octets of notifications that may wait; a kernel doubles it for its own overhead.
const receiveBuffer = 1 << 20

// dumpTimeout is how long a kernel may take between two parts of a dump. It takes microseconds.
const dumpTimeout = 5 * time.Second

// socket is an rtnetlink socket that is subscribed to changes of interfaces and addresses.
type socket struct {
	file     *os.File
	raw      syscall.RawConn
	sequence uint32
	buffer   [64 << 10]byte
}

func subscribe() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "rtnetlink")
	groups := uint32(1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1))
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		file.Close()
		return nil, fmt.Errorf("subscribe to rtnetlink: %w", err)
	}
	// Without CAP_NET_ADMIN the kernel caps it to net.core.rmem_max, which does too.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("rtnetlink socket: %w", err)
	}
	return &socket{file: file, raw: raw}, nil
}

// closeWith closes the socket when ctx is done, which ends a receive. The returned function closes it at once.
func (s *socket) closeWith(ctx context.Context) (stop func()) {
	release := context.AfterFunc(ctx, func() { s.file.Close() })
	return func() {
		release()
		s.file.Close()
	}
}

// dump asks for all objects of the kind that request (RTM_GETLINK, RTM_GETADDR) gets. The answers bear the sequence
// number that it returns and come amid notifications, each as of the moment it is queued.
func (s *socket) dump(request uint16) (uint32, error) {
	r := nl.NewNetlinkRequest(int(request), unix.NLM_F_DUMP)
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	s.sequence++
	r.Seq = s.sequence
	message := r.Serialize()
	var failure error
	err := s.raw.Write(func(fd uintptr) bool {
		failure = unix.Sendto(int(fd), message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return failure != unix.EAGAIN
	})
	if err == nil {
		err = failure
	}
	if err != nil {
		return 0, fmt.Errorf("rtnetlink dump: %w", err)
	}
	return s.sequence, nil
}

// receive returns the messages of the next datagram, valid until the next call. ENOBUFS says that some were lost,
// os.ErrDeadlineExceeded that a dump that is being awaited does not come.
func (s *socket) receive(awaiting bool) ([]syscall.NetlinkMessage, error) {
	var deadline time.Time
	if awaiting {
		deadline = time.Now().Add(dumpTimeout)
	}
	if err := s.file.SetReadDeadline(deadline); err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	var (
		n       int
		from    unix.Sockaddr
		failure error
	)
	err := s.raw.Read(func(fd uintptr) bool {
		n, from, failure = unix.Recvfrom(int(fd), s.buffer[:], 0)
		return failure != unix.EAGAIN && failure != unix.EINTR
	})
	if err == nil {
		err = failure
	}
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
		return nil, nil
	}
	messages, err := syscall.ParseNetlinkMessage(s.buffer[:n])
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	return messages, nil
}
