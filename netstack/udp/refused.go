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

// refused deals with a message that the kernel did not take: one of several datagrams is sent again one by one, and one that
// is too long for its path in fragments.
func (l *Link) refused(i int, errno syscall.Errno) {
	m := &l.write.infos[i]
	switch {
	case errno == unix.EMSGSIZE && (m.segments > 1 || m.peer.Addr().Is4()):
		l.sendSingly(i, true)
	case m.segments > 1 && (errno == unix.EINVAL || errno == unix.EIO || errno == unix.EOPNOTSUPP):
		l.sendSingly(i, false)
	default:
		l.countRefused(m, errno)
	}
}

func (l *Link) countRefused(m *info, errno syscall.Errno) {
	packets := uint64(max(1, m.packets))
	switch errno {
	case unix.EMSGSIZE:
		l.counters.tooBig.Add(packets)
	case unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN:
		l.counters.noBuffers.Add(packets)
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENODEV, unix.ENXIO, unix.EADDRNOTAVAIL, unix.EINVAL:
		// EINVAL: the local address is none of this node's.
		l.counters.unreachable.Add(packets)
	default:
		l.counters.refused.Add(packets)
	}
}

// sendSingly sends the datagrams of a message each by itself. If that succeeds where they were several, it is several at
// once that the kernel did not take, and later messages know.
func (l *Link) sendSingly(i int, tooLong bool) {
	w := &l.write
	m := &w.infos[i]
	vectors := unsafe.Slice(w.messages[i].Iov, int(w.messages[i].Iovlen))
	message := w.messages[i].Msghdr
	message.SetControllen(m.plain)
	sent := 0
	var last syscall.Errno
	if l.raw.Control(func(fd uintptr) {
		if tooLong && m.peer.Addr().Is4() {
			mayFragment(fd, true)
			defer mayFragment(fd, false)
		}
		for len(vectors) > 0 {
			n, octets := 0, 0
			for n < len(vectors) && octets < m.size {
				octets += int(vectors[n].Len)
				n++
			}
			message.Iov = &vectors[0]
			message.SetIovlen(n)
			vectors = vectors[n:]
			_, _, errno := unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&message)), unix.MSG_DONTWAIT)
			if errno == 0 {
				sent++
			} else {
				last = errno
			}
		}
	}) != nil {
		return
	}
	if last != 0 {
		l.countRefused(m, last)
	} else {
		w.good += m.packets
	}
	switch {
	case sent == 0 || m.segments == 1:
	case !tooLong:
		w.refusal.until = time.Now().Add(refusalTime)
	default:
		w.refusal.remember(m.peer.Addr(), m.size)
		if mtu, err := l.PathMTU(m.peer.Addr()); err == nil && l.config.PathMTU != nil {
			l.config.PathMTU(m.peer.Addr(), mtu)
		}
	}
}

// mayFragment says whether IPv4 datagrams that are too long for their path are fragmented. It cannot always be so, as with
// IPv6: in messages of several datagrams the kernel would let routers fragment them too, and nobody learnt of the path MTU.
func mayFragment(fd uintptr, may bool) {
	value := unix.IP_PMTUDISC_DO
	if may {
		value = unix.IP_PMTUDISC_WANT
	}
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, value)
}
