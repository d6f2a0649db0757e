// Package tun is the link to programs on the host: a TUN device whose super-packets, with a virtio header in front, are
// read and written without a copy.
//
// golang.zx2c4.com/wireguard/tun is not used because it always splits what it reads into buffers that it presumes large
// enough, rebuilds checksums without regard to Home Address options and routing headers, joins what it writes only
// where the first packet's buffer holds it all, and gives up where the MTU may not be set.
package tun

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/internal/wait"
	"kedge/netstack/packet"
)

// Link is a TUN device. It implements netstack.Link.
//
// A read gathers what the device has without waiting for more, up to the batch or the first super-packet: small packets are
// worth a batch, but one that is a batch in itself goes on at once. Ordinary TCP packets that follow each other in one
// Write, and equal UDP datagrams, are joined to a super-packet where the device takes such ones.
type Link struct {
	name     string
	file     *os.File
	raw      syscall.RawConn
	socket   int // for ioctls in the device's network namespace
	waiting  *wait.Reader
	virtio   bool
	offload  Offload // what the kernel granted
	closed   atomic.Bool
	counters counters

	reading sync.Mutex
	read    struct { // guarded by reading
		whole  bool // hand over super-packets
		super  *packet.Packet
		split  packet.Segmenter // of super, where the last batch had no room for all of it
		step   func(fd uintptr) bool
		pkts   []*packet.Packet
		n      int
		errno  syscall.Errno
		header [packet.VirtioHeaderLength]byte
		vector [2]unix.Iovec
	}

	writing sync.Mutex
	write   struct { // guarded by writing
		segment *packet.Packet
		step    func(fd uintptr) bool
		count   int
		errno   syscall.Errno
		header  [packet.VirtioHeaderLength]byte
		vector  [1 + packet.MaxRun]unix.Iovec
	}
}

var _ netstack.Link = (*Link)(nil)

type counters struct {
	notIPv6, invalid, refused atomic.Uint64
}

// Counters count dropped packets since the link was opened.
type Counters struct {
	// NotIPv6 packets came from the host but are of another protocol; Invalid ones have an offload state that does not
	// fit them or are longer than the buffers given to Read.
	NotIPv6, Invalid uint64
	// Refused packets were given to Write but not taken by the kernel: the device is down, or they are malformed.
	Refused uint64
}

// Counters returns the counts up to now.
func (l *Link) Counters() Counters {
	return Counters{
		NotIPv6: l.counters.notIPv6.Load(), Invalid: l.counters.invalid.Load(), Refused: l.counters.refused.Load(),
	}
}

func (l *Link) prepare() (err error) {
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return err
	}
	l.read.step, l.write.step = l.readStep, l.writeStep
	l.read.super = packet.New(packet.MaxLength)
	l.write.segment = packet.New(packet.MaxLength)
	return nil
}

// KeepSuperPackets makes Read hand over super-packets whole, with their offload state, instead of cutting them up. The
// packets given to Read must then have room for packet.MaxLength. Call it before the first Read.
func (l *Link) KeepSuperPackets() { l.read.whole = true }

// Name is the device's name when it was opened.
func (l *Link) Name() string { return l.name }

// MTU asks the kernel for the device's MTU; 0 if it is gone.
func (l *Link) MTU() int {
	if l.closed.Load() {
		return 0
	}
	mtu, _ := l.deviceMTU()
	return mtu
}

// Features is what the device was opened with.
func (l *Link) Features() packet.Features {
	if !l.virtio {
		return 0
	}
	features := packet.PartialChecksum
	if l.offload.TCP {
		features |= packet.SegmentTCP
	}
	if l.offload.UDP {
		features |= packet.SegmentUDP
	}
	return features
}

// Read implements netstack.Link. It returns ErrGone once the device has been removed. Without KeepSuperPackets, each
// packet needs room for the device's MTU.
func (l *Link) Read(pkts []*packet.Packet) (int, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.closed.Load() {
		return 0, netstack.ErrClosed
	}
	r := &l.read
	r.pkts, r.n = pkts, 0
	l.drain()
	for r.n == 0 {
		r.errno = 0
		err := l.raw.Read(r.step)
		switch {
		case l.closed.Load():
			return 0, netstack.ErrClosed
		case err != nil:
			return 0, err
		case r.n > 0:
		case gone(r.errno):
			return 0, ErrGone
		case r.errno != 0:
			return 0, os.NewSyscallError("readv", r.errno)
		}
	}
	n := r.n
	r.pkts = nil
	return n, nil
}

// worthwhile is the length in octets from which a packet is not kept waiting for others.
const worthwhile = 4096

// readStep reads until the batch is full, the device empty, or a super-packet read, and reports whether there is something to
// return.
func (l *Link) readStep(fd uintptr) bool {
	r := &l.read
	for r.n < len(r.pkts) {
		target := r.pkts[r.n]
		if l.virtio && !r.whole {
			target = r.super
		}
		target.Reset()
		vector := r.vector[1:]
		if l.virtio {
			vector = r.vector[:]
			vector[0].Base = &r.header[0]
			vector[0].SetLen(len(r.header))
		}
		room := target.Room()
		vector[len(vector)-1].Base = &room[0]
		vector[len(vector)-1].SetLen(len(room))
		n, _, errno := unix.Syscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&vector[0])), uintptr(len(vector)))
		switch errno {
		case 0:
			l.received(target, int(n))
			if n > worthwhile && r.n > 0 {
				return true
			}
		case unix.EINTR:
		case unix.EAGAIN:
			if r.n > 0 || !l.waiting.Await(fd) {
				return true
			}
		default:
			r.errno = errno
			return true
		}
	}
	return true
}

// received looks at a packet that was read with n octets in all.
func (l *Link) received(p *packet.Packet, n int) {
	r := &l.read
	if l.virtio {
		n -= len(r.header)
	}
	if n <= 0 {
		l.counters.invalid.Add(1)
		return
	}
	p.SetLen(n)
	var err error
	switch b := p.Bytes(); {
	case len(b) < 40 || b[0]>>4 != 6:
		err = packet.ErrNotIPv6
	case 40+int(b[4])<<8+int(b[5]) > len(b):
		// The kernel cuts off what does not fit the buffer without a word.
		err = packet.ErrRoom
	case l.virtio:
		err = p.SetVirtioHeader(r.header[:], 0)
	}
	if err == nil && p == r.super {
		if err = r.split.Start(p); err == nil {
			l.drain()
			return
		}
	}
	switch {
	case errors.Is(err, packet.ErrNotIPv6):
		l.counters.notIPv6.Add(1)
	case err != nil:
		l.counters.invalid.Add(1)
	default:
		r.n++
	}
}

// drain moves segments of the super-packet that was read last to the batch.
func (l *Link) drain() {
	r := &l.read
	for r.n < len(r.pkts) && r.split.Segments() > 0 {
		switch more, err := r.split.Next(r.pkts[r.n]); {
		case err != nil:
			l.counters.invalid.Add(1)
			r.split = packet.Segmenter{}
		case more:
			r.n++
		}
	}
}

// Write implements netstack.Link. Packets that the kernel refuses are counted and left out. It returns ErrGone once the
// device has been removed.
func (l *Link) Write(pkts []*packet.Packet) (int, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	sent := 0
	for len(pkts) > 0 {
		n := packet.Coalesce(pkts, l.Features())
		ok, err := l.send(pkts[:n])
		if err != nil {
			return sent, err
		}
		if ok {
			sent += n
		}
		pkts = pkts[n:]
	}
	return sent, nil
}

// send sends one packet, or what Coalesce joined. What the device does not take it makes ordinary first.
func (l *Link) send(pkts []*packet.Packet) (bool, error) {
	p := pkts[0]
	if len(pkts) > 1 || p.Offload == (packet.Offload{}) || l.takes(p) {
		return l.writePacket(pkts)
	}
	w := &l.write
	var s packet.Segmenter
	if err := s.Start(p); err != nil {
		l.counters.refused.Add(1)
		return false, nil
	}
	all := true
	for s.Segments() > 0 {
		if _, err := s.Next(w.segment); err != nil {
			l.counters.refused.Add(1)
			return false, nil
		}
		ok, err := l.writePacket([]*packet.Packet{w.segment})
		if err != nil {
			return false, err
		}
		all = all && ok
	}
	return all, nil
}

// takes reports whether the device takes the packet's offload state. The kernel loses super-packets with a tunnel header
// silently.
func (l *Link) takes(p *packet.Packet) bool {
	switch kind := p.Offload.Segmentation; {
	case !l.virtio, kind == packet.TCP && !l.offload.TCP, kind == packet.UDP && !l.offload.UDP:
		return false
	}
	tunnelled, err := p.Tunnelled()
	return err == nil && !tunnelled
}

func (l *Link) writePacket(pkts []*packet.Packet) (bool, error) {
	w := &l.write
	w.count = 0
	if l.virtio {
		pkts[0].PutVirtioHeader(w.header[:], 0)
		w.vector[0].Base = &w.header[0]
		w.vector[0].SetLen(len(w.header))
		w.count = 1
	}
	for _, p := range pkts {
		if b := p.Bytes(); len(b) > 0 {
			w.vector[w.count].Base = &b[0]
			w.vector[w.count].SetLen(len(b))
			w.count++
		}
	}
	w.errno = 0
	if err := l.raw.Write(w.step); err != nil {
		return false, netstack.ErrClosed
	}
	switch {
	case w.errno == 0:
		return true, nil
	case gone(w.errno):
		return false, ErrGone
	}
	l.counters.refused.Add(uint64(len(pkts)))
	return false, nil
}

func (l *Link) writeStep(fd uintptr) bool {
	w := &l.write
	for {
		_, _, errno := unix.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&w.vector[0])), uintptr(w.count))
		if errno != unix.EINTR {
			w.errno = errno
			return true
		}
	}
}

// Close implements netstack.Link. A device that is not persistent vanishes.
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	if l.waiting != nil {
		l.waiting.End()
	}
	l.reading.Lock()
	defer l.reading.Unlock()
	err := l.file.Close()
	if l.socket >= 0 {
		unix.Close(l.socket)
	}
	return err
}
