package ethernet

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openMonitor makes a socket on which the kernel tells of changes of interfaces.
func openMonitor() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("netlink socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("netlink bind", err)
	}
	return os.NewFile(uintptr(fd), "link messages"), nil
}

// watch follows the interface until the link is closed.
func (l *Link) watch() {
	defer l.running.Done()
	b := make([]byte, 1<<16)
	for {
		n, err := l.monitor.Read(b)
		switch {
		case l.closed.Load():
			return
		case errors.Is(err, unix.ENOBUFS):
			l.bound = 0 // a message was lost: it may have been the interface's end
		case err != nil:
			return
		case l.ended(b[:n]):
			l.bound = 0
		}
		l.refresh()
	}
}

// ended reports whether netlink messages tell of the end of the interface that the socket is bound to. An interface that
// comes afterwards may have its number.
func (l *Link) ended(b []byte) bool {
	for len(b) >= unix.SizeofNlMsghdr+unix.SizeofIfInfomsg {
		length := int(binary.NativeEndian.Uint32(b))
		index := int(int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr+4:])))
		if binary.NativeEndian.Uint16(b[4:]) == unix.RTM_DELLINK && index == l.bound {
			return true
		}
		if length < unix.SizeofNlMsghdr || length > len(b) {
			return false
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return false
}

// refresh looks at the interface, binds the socket to it if it is a new one, and tells Config.Changed.
func (l *Link) refresh() {
	l.members.Lock()
	var s State
	l.raw.Control(func(fd uintptr) {
		s = queryInterface(int(fd), l.config.Interface)
		if s.Present && s.Index != l.bound {
			l.membership.promiscuous = 0
			if bindSocket(int(fd), s.Index) != nil {
				// It vanished meanwhile; the kernel will say so.
				s = State{}
			}
		}
		l.promiscuous(int(fd), s.Index)
	})
	l.bound = s.Index
	before := l.state.Swap(&s)
	l.members.Unlock()
	if *before != s && l.config.Changed != nil {
		l.config.Changed(s)
	}
}
