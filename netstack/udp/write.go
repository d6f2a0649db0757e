package udp

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/internal/wait"
	"kedge/netstack/packet"
)

const (
	// writeBatch is how many messages one system call sends, writeVectors how many pieces they have in all, and arenaLength
	// how many octets of headers are made for them.
	writeBatch   = 64
	writeVectors = 1024
	arenaLength  = 1 << 16
	// maxSegments is UDP_MAX_SEGMENTS of kernels before 6.9.
	maxSegments = 64
)

// writer gathers messages for one system call.
type writer struct {
	step     func(fd uintptr) bool
	messages [writeBatch]mmsghdr
	names    [writeBatch]unix.RawSockaddrInet6
	controls [writeBatch][controlRoom]byte
	infos    [writeBatch]info
	vectors  [writeVectors]unix.Iovec
	arena    [arenaLength]byte
	count    int // of messages
	used     int // of vectors
	headers  int // octets of the arena in use
	split    packet.Segmenter
	refusal  refusal

	sent  int  // of messages, refused ones included
	good  int  // packets that the kernel took
	full  bool // waiting for room was in vain
	errno syscall.Errno
}

// info is what is known of a message while it grows and when it fails.
type info struct {
	peer         netip.AddrPort
	local        netip.Addr
	trafficClass uint8
	size         int // octets of each datagram but the last
	octets       int // of all
	segments     int
	limit        int  // of segments
	short        bool // the last was shorter: nothing can follow
	packets      int  // of those given to Write that end here
	plain        int  // octets of control messages but for UDP_SEGMENT
}

func (l *Link) prepareWrite() {
	w := &l.write
	w.step = l.writeStep
	w.refusal.never = !l.config.Segment
	for i := range w.messages {
		m := &w.messages[i]
		m.Name = (*byte)(unsafe.Pointer(&w.names[i]))
		m.Namelen = unix.SizeofSockaddrInet6
		m.Control = &w.controls[i][0]
	}
}

// Write implements netstack.Link: it sends each packet to its Peer, from its Local address if that is valid, with its
// TrafficClass. Packets that cannot be sent are counted and left out; the only error is netstack.ErrClosed. Where the
// socket's send buffer is full it waits, but no more once that was in vain for 20 ms: the rest is sent as far as there is room.
func (l *Link) Write(pkts []*packet.Packet) (int, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	w := &l.write
	w.good, w.full = 0, false
	for _, p := range pkts {
		l.queue(p)
	}
	l.flush()
	if l.closed.Load() {
		return w.good, netstack.ErrClosed
	}
	return w.good, nil
}

// queue adds a packet to the messages to be sent.
func (l *Link) queue(p *packet.Packet) {
	w := &l.write
	if !l.reachable(p) {
		l.counters.noPeer.Add(1)
		return
	}
	if p.Offload.Segmentation == packet.NotSegmented {
		if p.Len() == 0 || packet.FinishChecksum(p) != nil {
			l.counters.refused.Add(1)
			return
		}
		if p.Len() > maxPayload(p) {
			l.counters.tooBig.Add(1)
			return
		}
		l.reserve(1, 0)
		m := l.message(p, p.Len(), 1)
		l.put(p.Bytes())
		m.packets++
		return
	}
	s := &w.split
	if s.Start(p) != nil {
		l.counters.refused.Add(1)
		return
	}
	header := s.HeaderLength()
	length := header + int(p.Offload.SegmentSize)
	if length > maxPayload(p) {
		l.counters.tooBig.Add(1)
		return
	}
	rest := p.Len() - header
	for left := s.Segments(); left > 0; left-- {
		size := min(rest, int(p.Offload.SegmentSize))
		rest -= size
		l.reserve(2, header)
		// This may send what there is and so empty the arena, in which headers come afterwards.
		m := l.message(p, header+size, left)
		headers := w.arena[w.headers : w.headers+header]
		w.headers += header
		payload := s.Cut(headers)
		l.put(headers)
		l.put(payload)
		if left == 1 {
			m.packets++
		}
	}
}

// reachable reports whether the packet says where to send it.
func (l *Link) reachable(p *packet.Packet) bool {
	to := p.Peer.Addr()
	return to.IsValid() && p.Peer.Port() != 0 && (!p.Local.IsValid() || p.Local.Is4() == to.Is4())
}

// maxPayload is how many octets the datagrams of one message to the packet's peer may have.
func maxPayload(p *packet.Packet) int {
	if p.Peer.Addr().Is4() {
		return maxDatagram - Overhead4
	}
	return maxDatagram - Overhead6
}

// reserve makes room for a datagram of that many pieces, and of headers in the arena.
func (l *Link) reserve(vectors, headers int) {
	if w := &l.write; w.used+vectors > writeVectors || w.headers+headers > arenaLength {
		l.flush()
	}
}

// message is the one that a datagram of length octets is to be put into: the last one if it fits, or else a new one. Left
// is how many of this kind are still to come, this one included.
func (l *Link) message(p *packet.Packet, length, left int) *info {
	w := &l.write
	if w.count > 0 {
		m := &w.infos[w.count-1]
		if !m.short && length <= m.size && m.segments < m.limit && m.octets+length <= maxPayload(p) &&
			p.Peer == m.peer && p.TrafficClass == m.trafficClass && p.Local == m.local {
			m.segments++
			m.octets += length
			m.short = length < m.size
			return m
		}
		l.complete()
	}
	if w.count == writeBatch {
		l.flush()
	}
	i := w.count
	w.count++
	m := &w.infos[i]
	*m = info{
		peer: p.Peer, local: p.Local, trafficClass: p.TrafficClass, size: length, octets: length, segments: 1, limit: 1,
	}
	if w.refusal.permits(p.Peer.Addr(), length) {
		// One that does not fit a message is spread evenly.
		m.limit = min(maxSegments, maxPayload(p)/length)
		if left > m.limit {
			n := (left + m.limit - 1) / m.limit
			m.limit = (left + n - 1) / n
		}
	}
	putAddress(&w.names[i], p.Peer)
	if p.Peer.Addr().Is6() && p.Peer.Addr().IsLinkLocalUnicast() && l.binding != nil {
		w.names[i].Scope_id = uint32(l.binding.index.Load())
	}
	m.plain = len(putControls(w.controls[i][:0], p))
	w.messages[i].SetControllen(m.plain)
	w.messages[i].Iov = &w.vectors[w.used]
	w.messages[i].SetIovlen(0)
	return m
}

// putControls says where a message is to leave from, and with which traffic class.
func putControls(b []byte, p *packet.Packet) []byte {
	four := p.Peer.Addr().Is4()
	if p.Local.IsValid() && four {
		info := unix.Inet4Pktinfo{Spec_dst: p.Local.As4()}
		b = appendControl(b, unix.IPPROTO_IP, unix.IP_PKTINFO, (*[unix.SizeofInet4Pktinfo]byte)(unsafe.Pointer(&info))[:])
	} else if p.Local.IsValid() {
		info := unix.Inet6Pktinfo{Addr: p.Local.As16()}
		b = appendControl(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, (*[unix.SizeofInet6Pktinfo]byte)(unsafe.Pointer(&info))[:])
	}
	if p.TrafficClass == 0 {
		return b
	}
	var class [4]byte
	binary.NativeEndian.PutUint32(class[:], uint32(p.TrafficClass))
	if four {
		return appendControl(b, unix.IPPROTO_IP, unix.IP_TOS, class[:])
	}
	return appendControl(b, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, class[:])
}

// put adds a piece to the message that was begun last.
func (l *Link) put(b []byte) {
	w := &l.write
	w.vectors[w.used].Base = &b[0]
	w.vectors[w.used].SetLen(len(b))
	w.used++
	w.messages[w.count-1].Iovlen++
}

// complete ends the message that was begun last.
func (l *Link) complete() {
	w := &l.write
	m := &w.infos[w.count-1]
	if m.segments == 1 {
		return
	}
	var size [2]byte
	binary.NativeEndian.PutUint16(size[:], uint16(m.size))
	control := appendControl(w.controls[w.count-1][:m.plain], unix.IPPROTO_UDP, unix.UDP_SEGMENT, size[:])
	w.messages[w.count-1].SetControllen(len(control))
}

// flush sends all messages. Those that the kernel refuses are counted by reason.
func (l *Link) flush() {
	w := &l.write
	if w.count > 0 {
		l.complete()
	}
	for retried := -1; w.sent < w.count; {
		w.errno = 0
		if l.raw.Write(w.step) != nil {
			break // closed
		}
		switch {
		case w.errno == 0:
		case w.errno == unix.EAGAIN:
			if !w.full {
				// Room for one is not enough to be woken by, so that the message is tried again in any case.
				w.full = !l.awaitRoom()
				continue
			}
			l.countRefused(&w.infos[w.sent], w.errno)
			w.sent++
		case retried != w.sent && w.errno != unix.ENOBUFS:
			// It may be what ICMP said of another datagram, which the kernel tells whoever comes first.
			retried = w.sent
			l.drainErrors()
		default:
			l.refused(w.sent, w.errno)
			w.sent++
		}
	}
	w.count, w.used, w.headers, w.sent = 0, 0, 0, 0
}

// writeStep sends from the first message that is not sent yet. It does not wait.
func (l *Link) writeStep(fd uintptr) bool {
	w := &l.write
	for w.sent < w.count {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.messages[w.sent])),
			uintptr(w.count-w.sent), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			for i := range int(n) {
				w.good += w.infos[w.sent+i].packets
			}
			w.sent += int(n)
		case unix.EINTR:
		default:
			w.errno = errno
			return true
		}
	}
	return true
}

// awaitRoom waits until the socket takes a message again and reports whether it does.
func (l *Link) awaitRoom() (ready bool) {
	_ = l.raw.Control(func(fd uintptr) { ready = wait.ForRoom(fd) })
	return ready
}
