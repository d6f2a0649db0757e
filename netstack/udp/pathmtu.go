package udp

import (
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errorQueue reads what the kernel has to say about datagrams that it sent earlier.
type errorQueue struct {
	mu       sync.Mutex
	message  unix.Msghdr
	vector   unix.Iovec
	name     unix.RawSockaddrInet6
	control  [256]byte
	datagram [1]byte
}

// drainErrors empties the error queue, which also takes back errors that the next call would return, and tells of path
// MTUs.
func (l *Link) drainErrors() {
	q := &l.errors
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		q.vector.Base = &q.datagram[0]
		q.vector.SetLen(len(q.datagram))
		q.message = unix.Msghdr{
			Name: (*byte)(unsafe.Pointer(&q.name)), Namelen: unix.SizeofSockaddrInet6, Iov: &q.vector, Control: &q.control[0],
		}
		q.message.SetIovlen(1)
		q.message.SetControllen(len(q.control))
		var errno syscall.Errno
		if l.raw.Control(func(fd uintptr) {
			_, _, errno = unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&q.message)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		}) != nil || errno != 0 {
			return
		}
		mtu, found := tooBig(q.control[:q.message.Controllen])
		if found && q.message.Namelen == unix.SizeofSockaddrInet6 && l.config.PathMTU != nil {
			l.config.PathMTU(address(&q.name).Addr(), mtu)
		}
	}
}

// tooBig finds the path MTU in the control messages of an error.
func tooBig(control []byte) (mtu int, found bool) {
	for {
		level, kind, data, rest, ok := nextControl(control)
		if !ok {
			return 0, false
		}
		control = rest
		if level == unix.IPPROTO_IPV6 && kind == unix.IPV6_RECVERR || level == unix.IPPROTO_IP && kind == unix.IP_RECVERR {
			if len(data) < int(unsafe.Sizeof(unix.SockExtendedErr{})) {
				return 0, false
			}
			e := (*unix.SockExtendedErr)(unsafe.Pointer(&data[0]))
			return int(e.Info), e.Errno == uint32(unix.EMSGSIZE)
		}
	}
}

// openProbe makes the socket that PathMTU asks with: it is in the link's network namespace, whichever the caller's is.
func openProbe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("UDP socket", err)
	}
	return os.NewFile(uintptr(fd), "path MTU probe"), nil
}

// PathMTU asks the kernel how long IP packets to remote may be by all that it knows now: the route, and what path MTU
// discovery has found. It sends nothing.
func (l *Link) PathMTU(remote netip.Addr) (mtu int, err error) {
	l.probing.Lock()
	defer l.probing.Unlock()
	control := l.probeRaw.Control(func(fd uintptr) {
		to := unix.SockaddrInet6{Port: Port, Addr: remote.As16()}
		if err = unix.Connect(int(fd), &to); err != nil {
			err = os.NewSyscallError("connect", err)
			return
		}
		mtu, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU)
		err = os.NewSyscallError("IPV6_MTU", err)
	})
	if control != nil {
		err = control
	}
	return mtu, err
}
