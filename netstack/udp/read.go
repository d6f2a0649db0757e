package udp

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/packet"
)

const (
	// readBatch is how many messages one system call receives.
	readBatch = 64
	// controlRoom holds the control messages that the socket's options ask for: at most 136 octets.
	controlRoom = 192
)

// reader is the state of Read, which one goroutine calls at a time.
type reader struct {
	step     func(fd uintptr) bool
	messages [readBatch]mmsghdr
	vectors  [readBatch]unix.Iovec
	names    [readBatch]unix.RawSockaddrInet6
	controls [readBatch][controlRoom]byte
	buffers  []byte // one of 64 KiB for each message
	got      int
	errno    syscall.Errno

	// What of the messages is still to be handed over.
	message int
	rest    []byte // of the present message
	size    int    // of the datagrams in it
	origin  origin

	join joiner
}

// origin is what the datagrams of one message have in common.
type origin struct {
	peer         netip.AddrPort
	local        netip.Addr
	trafficClass uint8
}

func (l *Link) prepareRead() {
	r := &l.read
	r.step = l.readStep
	r.buffers = make([]byte, readBatch*bufferStride)
	for i := range r.messages {
		r.vectors[i].Base = &r.buffers[i*bufferStride]
		r.vectors[i].SetLen(bufferLength)
		m := &r.messages[i]
		m.Iov = &r.vectors[i]
		m.SetIovlen(1)
		m.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		m.Control = &r.controls[i][0]
		l.rearm(i)
	}
}

const (
	// bufferLength is the room for a message: no joined datagrams are longer.
	bufferLength = 1 << 16
	// bufferStride is how far buffers lie apart: packets that all began at the same place in their pages would fight for
	// the same lines of the processor's cache.
	bufferStride = bufferLength + 192
)

// Read implements netstack.Link. With Config.Coalesce each packet needs room for packet.MaxLength, without for the longest
// that peers send. Each has Peer, Local and TrafficClass set. Nothing but Close makes it fail for ever.
func (l *Link) Read(pkts []*packet.Packet) (int, error) {
	r := &l.read
	for {
		if len(r.rest) == 0 && r.message == r.got {
			if err := l.receive(); err != nil {
				return 0, err
			}
		}
		if n := l.handOver(pkts); n > 0 {
			return n, nil
		}
	}
}

// receive gets at least one message unless there was an error to pass over.
func (l *Link) receive() error {
	r := &l.read
	for i := range r.got {
		l.rearm(i)
	}
	r.message, r.got, r.errno = 0, 0, 0
	err := l.raw.Read(r.step)
	switch {
	case l.closed.Load():
		return netstack.ErrClosed
	case err != nil:
		return err
	case r.errno != 0 && r.errno != unix.EINTR:
		// An error that ICMP or an interface caused for some datagram sent earlier.
		l.drainErrors()
		if !passing(r.errno) {
			return os.NewSyscallError("recvmmsg", r.errno)
		}
	}
	return nil
}

func (l *Link) rearm(i int) {
	m := &l.read.messages[i]
	m.Namelen = unix.SizeofSockaddrInet6
	m.SetControllen(controlRoom)
	m.Flags = 0
}

// passing reports whether an error of the socket says nothing about it for the future.
func passing(errno syscall.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENETDOWN, unix.ENODEV, unix.EHOSTDOWN, unix.EMSGSIZE,
		unix.EPROTO, unix.EACCES, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.ENONET, unix.ENXIO:
		return true
	}
	return false
}

// readStep waits for a message and takes what others there are.
func (l *Link) readStep(fd uintptr) bool {
	r := &l.read
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages[0])), readBatch,
		unix.MSG_WAITFORONE, 0, 0)
	if r.errno = errno; errno == 0 {
		r.got = int(n)
	}
	return true
}

// handOver moves packets from the messages to pkts, as many as there are or fit.
func (l *Link) handOver(pkts []*packet.Packet) int {
	r := &l.read
	r.join.start(pkts, l.config.Coalesce)
	for {
		for len(r.rest) > 0 {
			datagram := r.rest[:min(r.size, len(r.rest))]
			if !l.accept(datagram) {
				r.rest = r.rest[len(datagram):]
				continue
			}
			switch r.join.add(datagram, &r.origin) {
			case full:
				return r.join.finish()
			case tooLong:
				l.counters.truncated.Add(1)
			}
			r.rest = r.rest[len(datagram):]
		}
		if r.message == r.got {
			return r.join.finish()
		}
		l.open(r.message)
		r.message++
	}
}

// open makes a message the present one.
func (l *Link) open(i int) {
	r := &l.read
	m := &r.messages[i]
	if m.Flags&unix.MSG_TRUNC != 0 {
		l.counters.truncated.Add(1)
		return
	}
	length := int(m.length)
	r.rest = r.buffers[i*bufferStride:][:length]
	r.size = length
	before := r.origin
	r.origin = origin{peer: address(&r.names[i])}
	control := r.controls[i][:m.Controllen]
	for {
		level, kind, data, rest, ok := nextControl(control)
		if !ok {
			break
		}
		control = rest
		l.openControl(level, kind, data)
	}
	if r.origin != before {
		r.join.separate()
	}
	if length == 0 {
		l.counters.notIPv6.Add(1)
	}
}

func (l *Link) openControl(level, kind int32, data []byte) {
	r := &l.read
	switch {
	case level == unix.IPPROTO_UDP && kind == unix.UDP_GRO && len(data) >= 4:
		if size := int(binary.NativeEndian.Uint32(data)); size > 0 {
			r.size = size
		}
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= 16:
		r.origin.local = netip.AddrFrom16([16]byte(data)).Unmap()
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_TCLASS && len(data) >= 4:
		r.origin.trafficClass = uint8(binary.NativeEndian.Uint32(data))
	case level == unix.IPPROTO_IP && kind == unix.IP_TOS && len(data) >= 1:
		r.origin.trafficClass = data[0]
	case level == unix.SOL_SOCKET && kind == unix.SO_RXQ_OVFL && len(data) >= 4:
		l.counters.overflow.Store(binary.NativeEndian.Uint32(data))
	}
}

// accept reports whether a datagram holds one IPv6 packet and nothing else.
func (l *Link) accept(b []byte) bool {
	switch {
	case b[0]>>4 == 4:
		l.counters.ipv4.Add(1)
	case b[0]>>4 != 6:
		l.counters.notIPv6.Add(1)
	case len(b) < 40 || 40+int(binary.BigEndian.Uint16(b[4:])) != len(b):
		l.counters.invalid.Add(1)
	default:
		return true
	}
	return false
}
