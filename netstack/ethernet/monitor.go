package ethernet

import (
	"encoding/binary"
	"errors"
	"iter"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// openMonitor makes a socket on which the kernel tells of changes of interfaces and of its IPv6 addresses, and first of
// those that it has.
func openMonitor() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("netlink socket", err)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV6_IFADDR})
	if err == nil {
		err = askAddresses(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("netlink bind", err)
	}
	return os.NewFile(uintptr(fd), "link messages"), nil
}

// askAddresses has the kernel tell of all its IPv6 addresses, as if they were new.
func askAddresses(fd int) error {
	var request [unix.SizeofNlMsghdr + unix.SizeofIfAddrmsg]byte
	binary.NativeEndian.PutUint32(request[:], uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], unix.RTM_GETADDR)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[unix.SizeofNlMsghdr] = unix.AF_INET6
	return unix.Sendto(fd, request[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// hostAddress is an address of the kernel's on an interface.
type hostAddress struct {
	index   int
	address netip.Addr
}

// watch follows the interface until the link is closed.
func (l *Link) watch() {
	defer l.running.Done()
	b := make([]byte, 1<<16)
	known := map[hostAddress]bool{}
	for {
		n, err := l.monitor.Read(b)
		switch {
		case l.closed.Load():
			return
		case errors.Is(err, unix.ENOBUFS):
			l.bound = 0 // a message was lost: it may have been the interface's end
			clear(known)
			control(l.monitor, func(fd int) { _ = askAddresses(fd) })
		case err != nil:
			return
		}
		addresses := l.follow(b[:max(n, 0)], known)
		l.refresh()
		if addresses || l.bound != l.hostsOf {
			l.hostsOf = l.bound
			l.excludeHost(known)
		}
	}
}

// control calls f with a file's descriptor.
func control(file *os.File, f func(fd int)) {
	if raw, err := file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// follow takes in messages of the kernel and reports whether its addresses have changed. An interface that comes after the
// end of the one that the socket is bound to may have its number.
func (l *Link) follow(b []byte, known map[hostAddress]bool) (addresses bool) {
	for kind, body := range netlinkMessages(b) {
		switch kind {
		case unix.RTM_DELLINK:
			if len(body) >= unix.SizeofIfInfomsg && int(int32(binary.NativeEndian.Uint32(body[4:]))) == l.bound {
				l.bound = 0
			}
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			a, ok := parseAddress(body)
			if ok && known[a] != (kind == unix.RTM_NEWADDR) {
				addresses = true
				if known[a] = kind == unix.RTM_NEWADDR; !known[a] {
					delete(known, a)
				}
			}
		}
	}
	return addresses
}

// netlinkMessages are the types and bodies of the messages in b.
func netlinkMessages(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlMsghdr {
			length := int(binary.NativeEndian.Uint32(b))
			if length < unix.SizeofNlMsghdr || length > len(b) ||
				!yield(binary.NativeEndian.Uint16(b[4:]), b[unix.SizeofNlMsghdr:length]) {
				return
			}
			b = b[min(len(b), (length+3)&^3):]
		}
	}
}

// parseAddress takes an address out of an RTM_NEWADDR or RTM_DELADDR message.
func parseAddress(b []byte) (a hostAddress, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg || b[0] != unix.AF_INET6 {
		return a, false
	}
	a.index = int(binary.NativeEndian.Uint32(b[4:]))
	for b = b[unix.SizeofIfAddrmsg:]; len(b) >= unix.SizeofRtAttr; {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			return a, false
		}
		value := b[unix.SizeofRtAttr:length]
		switch kind := binary.NativeEndian.Uint16(b[2:]); {
		case len(value) != 16:
		case kind == unix.IFA_LOCAL, kind == unix.IFA_ADDRESS && !ok:
			// Of an interface with a peer IFA_ADDRESS is the peer's.
			a.address, ok = netip.AddrFrom16([16]byte(value)), true
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return a, ok
}

// excludeHost keeps TCP and UDP for the kernel's addresses on the interface from being copied to the socket.
func (l *Link) excludeHost(known map[hostAddress]bool) {
	var addresses []netip.Addr
	for a := range known {
		if a.index == l.bound {
			addresses = append(addresses, a.address)
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	addresses = addresses[:min(len(addresses), maxHostAddresses)]
	l.members.Lock()
	defer l.members.Unlock()
	if slices.Equal(addresses, l.membership.host) {
		return
	}
	l.membership.host = addresses
	l.raw.Control(func(fd uintptr) { l.refilter(int(fd), true) })
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
