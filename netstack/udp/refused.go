package udp

import (
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// refusalTime is how long a message of several datagrams is not tried again where one was refused: often enough to
	// notice that a path or a driver has changed.
	refusalTime = 30 * time.Second
	// maxRefusals bounds the peers that are remembered.
	maxRefusals = 1024
)

// refusal remembers where the kernel did not cut up messages.
type refusal struct {
	never bool      // by configuration, or the kernel cannot
	until time.Time // for all peers
	peers map[netip.Addr]narrow
}

// narrow is a peer whose path is too narrow for datagrams of this many octets and more; the kernel fragments those, but only
// single ones.
type narrow struct {
	octets int
	until  time.Time
}

// permits reports whether datagrams of length octets to an address may be sent several in a message.
func (r *refusal) permits(to netip.Addr, length int) bool {
	if r.never {
		return false
	}
	if !r.until.IsZero() {
		if time.Now().Before(r.until) {
			return false
		}
		r.until = time.Time{}
	}
	if len(r.peers) == 0 {
		return true
	}
	n, known := r.peers[to]
	if !known || length < n.octets {
		return true
	}
	if time.Now().Before(n.until) {
		return false
	}
	delete(r.peers, to)
	return true
}

func (r *refusal) remember(to netip.Addr, length int) {
	if r.peers == nil {
		r.peers = make(map[netip.Addr]narrow)
	}
	if len(r.peers) >= maxRefusals {
		clear(r.peers)
	}
	r.peers[to] = narrow{octets: length, until: time.Now().Add(refusalTime)}
}

// refused deals with a message that the kernel did not take: one of several datagrams is sent again one by one.
func (l *Link) refused(i int, errno syscall.Errno) {
	w := &l.write
	m := &w.infos[i]
	packets := uint64(max(1, m.packets))
	switch errno {
	case unix.EMSGSIZE, unix.EINVAL, unix.EIO, unix.EOPNOTSUPP:
		if m.segments > 1 {
			l.sendSingly(i, errno)
			return
		}
	}
	switch errno {
	case unix.EMSGSIZE:
		l.counters.tooBig.Add(packets)
	case unix.ENOBUFS, unix.ENOMEM:
		l.counters.noBuffers.Add(packets)
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENODEV, unix.ENXIO, unix.EADDRNOTAVAIL, unix.EINVAL:
		// EINVAL: the local address is none of this node's.
		l.counters.unreachable.Add(packets)
	default:
		l.counters.refused.Add(packets)
	}
}

// sendSingly sends the datagrams of a message each by itself. If that succeeds, it is several at once that the kernel did
// not take, and later messages know.
func (l *Link) sendSingly(i int, refused syscall.Errno) {
	w := &l.write
	m := &w.infos[i]
	vectors := unsafe.Slice(w.messages[i].Iov, int(w.messages[i].Iovlen))
	message := w.messages[i].Msghdr
	message.SetControllen(m.plain)
	ok := false
	var errno syscall.Errno
	for len(vectors) > 0 {
		n, octets := 0, 0
		for n < len(vectors) && octets < m.size {
			octets += int(vectors[n].Len)
			n++
		}
		message.Iov = &vectors[0]
		message.SetIovlen(n)
		vectors = vectors[n:]
		if l.raw.Control(func(fd uintptr) {
			_, _, errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&message)), unix.MSG_DONTWAIT)
		}) != nil {
			return
		}
		if errno == 0 {
			ok = true
		}
	}
	if !ok {
		m.segments = 1
		l.refused(i, errno)
		return
	}
	w.good += m.packets
	if refused != unix.EMSGSIZE {
		w.refusal.until = time.Now().Add(refusalTime)
		return
	}
	w.refusal.remember(m.peer.Addr(), m.size)
	if l.config.PathMTU != nil {
		if mtu, err := l.PathMTU(m.peer.Addr()); err == nil {
			l.config.PathMTU(m.peer.Addr(), mtu)
		}
	}
}
