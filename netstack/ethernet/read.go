package ethernet

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

const (
	// readBatch is how many frames one system call receives.
	readBatch = 64
	// scratchBatch is how many it receives without Config.Offload, where each needs a buffer for a super-packet here.
	scratchBatch = 16
	// headerLength is what stands in front of a packet: the virtio and the Ethernet header.
	headerLength = packet.VirtioHeaderLength + ethernetLength
)

// reader is the state of Read, which one goroutine calls at a time.
type reader struct {
	step     func(fd uintptr) bool
	messages [readBatch]mmsghdr
	vectors  [readBatch][2]unix.Iovec
	headers  [readBatch][headerLength]byte
	want     int
	got      int
	errno    syscall.Errno

	// Without Config.Offload packets are received into scratch and from there moved to the reader's, in pieces if need be.
	scratch []*packet.Packet
	next    int // of scratch
	filled  int
	split   packet.Segmenter
}

func (l *Link) prepareRead() {
	r := &l.read
	r.step = l.readStep
	for i := range r.messages {
		r.vectors[i][0].Base = &r.headers[i][0]
		r.vectors[i][0].SetLen(headerLength)
		r.messages[i].Iov = &r.vectors[i][0]
		r.messages[i].SetIovlen(2)
	}
	if !l.config.Offload {
		r.scratch = packet.NewBatch(scratchBatch, packet.MaxLength)
	}
}

// Read implements netstack.Link. It waits while the interface is down or absent. With Config.Offload each packet needs
// room for packet.MaxLength, without for the interface's MTU. Neighbour discovery messages are among the packets, after
// the neighbour table has seen them.
func (l *Link) Read(pkts []*packet.Packet) (int, error) {
	for {
		n, err := 0, error(nil)
		if l.config.Offload {
			n, err = l.readWhole(pkts)
		} else {
			n, err = l.readOrdinary(pkts)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (l *Link) readWhole(pkts []*packet.Packet) (int, error) {
	if err := l.receive(pkts); err != nil {
		return 0, err
	}
	n := 0
	for i := range l.read.got {
		if l.accept(i, pkts[i]) {
			pkts[n], pkts[i] = pkts[i], pkts[n]
			n++
		}
	}
	return n, nil
}

func (l *Link) readOrdinary(pkts []*packet.Packet) (n int, err error) {
	r := &l.read
	if r.split.Segments() == 0 && r.next == r.filled {
		r.next, r.filled = 0, 0
		if err := l.receive(r.scratch); err != nil {
			return 0, err
		}
		r.filled = r.got
	}
	for n < len(pkts) {
		if r.split.Segments() == 0 {
			if r.next == r.filled {
				break
			}
			p := r.scratch[r.next]
			r.next++
			if l.accept(r.next-1, p) && r.split.Start(p) != nil {
				l.counters.invalid.Add(1)
			}
			continue
		}
		more, err := r.split.Next(pkts[n])
		if err != nil {
			l.counters.truncated.Add(1)
			r.split = packet.Segmenter{}
		}
		if more {
			n++
		}
	}
	return n, nil
}

// receive fills pkts from the front with what has come, at least one frame unless there was an error to pass over.
func (l *Link) receive(pkts []*packet.Packet) error {
	r := &l.read
	r.want, r.got, r.errno = min(len(pkts), readBatch), 0, 0
	for i, p := range pkts[:r.want] {
		p.Reset()
		room := p.Room()
		r.vectors[i][1].Base = &room[0]
		r.vectors[i][1].SetLen(len(room))
	}
	err := l.raw.Read(r.step)
	switch {
	case l.closed.Load():
		return netstack.ErrClosed
	case err != nil:
		return err
	}
	switch r.errno {
	case 0:
	case unix.ENETDOWN:
		// The interface went down or away. The socket keeps waiting for it.
	case unix.EINVAL:
		// A super-packet of a kind that the virtio header cannot tell.
		l.counters.invalid.Add(1)
	default:
		return os.NewSyscallError("recvmmsg", r.errno)
	}
	return nil
}

// readStep waits for a frame and takes what others there are.
func (l *Link) readStep(fd uintptr) bool {
	r := &l.read
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages[0])), uintptr(r.want),
			unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.got = int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			if !l.waiting.Await(fd) {
				return true
			}
		default:
			r.errno = errno
			return true
		}
	}
}

// accept makes the i-th received frame a packet, shows it to the neighbour table, and reports whether it is sound.
func (l *Link) accept(i int, p *packet.Packet) bool {
	r := &l.read
	m, header := &r.messages[i], &r.headers[i]
	length := int(m.length) - headerLength
	if m.Flags&unix.MSG_TRUNC != 0 {
		l.counters.truncated.Add(1)
		return false
	}
	if length < 40 {
		l.counters.invalid.Add(1)
		return false
	}
	p.SetLen(length)
	b := p.Bytes()
	if said := 40 + int(b[4])<<8 + int(b[5]); said > length {
		l.counters.invalid.Add(1)
		return false
	} else if said < length {
		p.SetLen(said) // short frames are padded
	}
	if p.SetVirtioHeader(header[:packet.VirtioHeaderLength], ethernetLength) != nil {
		l.counters.invalid.Add(1)
		return false
	}
	ethernet := header[packet.VirtioHeaderLength:]
	p.Group = ethernet[0]&1 != 0
	p.Neighbor = packet.LinkAddress(ethernet[6:12])
	a := l.attached.Load()
	if a == nil {
		return true
	}
	if to := packet.LinkAddress(ethernet[:6]); a.access != nil && !p.Group && to != l.state.Load().Address && !a.access.Receives(to) && !a.access.Expects(to, p.Neighbor) {
		return false // the kernel's filter may know an older set of addresses, or not all
	}
	switch {
	case nd.Is(p.Bytes()):
		if packet.FinishChecksum(p) != nil {
			l.counters.invalid.Add(1)
			return false
		}
		l.perform(a, a.table.Handle(time.Now(), p.Bytes(), p.Neighbor))
	case a.access != nil && !a.access.Heard(p.Neighbor):
		l.perform(a, a.access.Stranger(time.Now(), p.Neighbor))
	}
	return true
}
