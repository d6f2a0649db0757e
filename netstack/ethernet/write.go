package ethernet

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/internal/wait"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

const (
	// writeBatch is how many frames one system call sends.
	writeBatch = 64
	// writeVectors is how many pieces they have in all; the largest frame has 1 + packet.MaxRun.
	writeVectors = 4 * writeBatch
)

// writer gathers frames for one system call.
type writer struct {
	step     func(fd uintptr) bool
	messages [writeBatch]mmsghdr
	headers  [writeBatch][headerLength]byte
	packets  [writeBatch]int // how many packets each message stands for
	vectors  [writeVectors]unix.Iovec
	count    int  // of messages
	used     int  // of vectors
	sent     int  // of messages, refused ones included
	good     int  // packets that the kernel took
	full     bool // this Write has waited for room in vain
	errno    syscall.Errno
	// segments hold what was cut up here until it is sent, one for each message.
	segments [writeBatch]*packet.Packet
	split    packet.Segmenter
}

func (l *Link) prepareWrite() {
	w := &l.write
	w.step = l.writeStep
	for i := range w.segments {
		w.segments[i] = packet.New(packet.SmallLength)
	}
}

// Write implements netstack.Link. A packet goes to its NextHop, or to its destination where that is invalid. One whose
// neighbour's link-layer address is not known yet is copied and sent when it is, and counts as sent. Packets that
// cannot be sent are counted and left out; the only error is netstack.ErrClosed. While the send buffer is full it waits, some
// milliseconds at most.
func (l *Link) Write(pkts []*packet.Packet) (int, error) {
	a := l.attached.Load()
	n, outs, err := l.writeAll(a, pkts)
	for _, out := range outs {
		a.tell(out) // with no lock held: it may use the link
	}
	return n, err
}

func (l *Link) writeAll(a *attachment, pkts []*packet.Packet) (n int, outs []neighbor.Output, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	source := l.state.Load().Address
	l.write.good, l.write.full = 0, false
	waiting := 0
	for len(pkts) > 0 {
		p := pkts[0]
		b := p.Bytes()
		if len(b) < 40 {
			l.counters.refused.Add(1)
			pkts = pkts[1:]
			continue
		}
		hop := p.NextHop
		if !hop.IsValid() {
			hop = netip.AddrFrom16([16]byte(b[24:40]))
		}
		address, from, ok := l.lookup(a, hop, source)
		if !ok {
			if a == nil {
				l.counters.unresolved.Add(1)
			} else {
				outs = append(outs, l.resolve(a, hop, p))
				waiting++
			}
			pkts = pkts[1:]
			continue
		}
		n := 1
		if l.config.Offload {
			n = packet.Coalesce(pkts, packet.SegmentTCP)
		}
		l.queue(pkts[:n], address, from)
		pkts = pkts[n:]
	}
	l.flush()
	if l.closed.Load() {
		return l.write.good, outs, netstack.ErrClosed
	}
	return l.write.good + waiting, outs, nil
}

// lookup says between which link-layer addresses a packet to a next hop or group (RFC 2464 section 7) travels.
func (l *Link) lookup(a *attachment, hop netip.Addr, own packet.LinkAddress) (to, from packet.LinkAddress, known bool) {
	if hop.IsMulticast() {
		b := hop.As16()
		return packet.LinkAddress{0x33, 0x33, b[12], b[13], b[14], b[15]}, own, true
	}
	if a == nil {
		return to, from, false
	}
	to, from, known = a.table.LinkAddresses(hop)
	if from == (packet.LinkAddress{}) {
		from = own
	}
	return to, from, known
}

// resolve leaves a packet with the neighbour table, behind all that was queued before it.
func (l *Link) resolve(a *attachment, hop netip.Addr, p *packet.Packet) neighbor.Output {
	out := a.table.Resolve(time.Now(), hop, p)
	l.flush()
	good := l.write.good
	l.queueFrames(out.Frames)
	l.flush()
	l.write.good = good // what the table sends is none of those given to Write
	return out
}

// sendFrames sends what the neighbour table made.
func (l *Link) sendFrames(frames []neighbor.Frame) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.queueFrames(frames)
	l.flush()
}

func (l *Link) queueFrames(frames []neighbor.Frame) {
	own := l.state.Load().Address
	for _, f := range frames {
		if f.Packet.Len() == 0 {
			l.counters.refused.Add(1)
			continue
		}
		from := f.From
		if from == (packet.LinkAddress{}) {
			from = own
		}
		l.queue([]*packet.Packet{f.Packet}, f.To, from)
	}
}

// queue adds a packet, or what Coalesce joined, to the frames to be sent. What the kernel does not take it makes ordinary
// first.
func (l *Link) queue(pkts []*packet.Packet, to, from packet.LinkAddress) {
	w := &l.write
	p := pkts[0]
	if len(pkts) > 1 || p.Offload == (packet.Offload{}) || l.takes(p) {
		l.queueFrame(pkts, to, from)
		return
	}
	if w.split.Start(p) != nil {
		l.counters.refused.Add(1)
		return
	}
	for w.split.Segments() > 0 {
		l.reserve(2)
		segment := w.segments[w.count]
		_, err := w.split.Next(segment)
		if err == packet.ErrRoom && len(segment.Room()) < packet.MaxLength {
			// The MTU is beyond SmallLength: this happens once for each buffer.
			w.segments[w.count] = packet.New(packet.MaxLength)
			continue
		}
		if err != nil {
			l.counters.refused.Add(1)
			return
		}
		l.queueFrame(w.segments[w.count:w.count+1], to, from)
		if w.split.Segments() > 0 {
			w.packets[w.count-1] = 0 // the last stands for the packet
		}
	}
}

// takes reports whether the kernel takes the packet's offload state: not with a tunnel header, where it mistakes whose
// transport header it is.
func (l *Link) takes(p *packet.Packet) bool {
	if !l.config.Offload || p.Offload.Segmentation == packet.UDP && l.noUSO.Load() {
		return false
	}
	tunnelled, err := p.Tunnelled()
	return err == nil && !tunnelled
}

// reserve makes room for a frame of n pieces.
func (l *Link) reserve(n int) {
	if w := &l.write; w.count == writeBatch || w.used+n > writeVectors {
		l.flush()
	}
}

func (l *Link) queueFrame(pkts []*packet.Packet, to, from packet.LinkAddress) {
	l.reserve(1 + len(pkts))
	w := &l.write
	header := &w.headers[w.count]
	pkts[0].PutVirtioHeader(header[:], ethernetLength)
	ethernet := header[packet.VirtioHeaderLength:]
	copy(ethernet, to[:])
	copy(ethernet[6:], from[:])
	binary.BigEndian.PutUint16(ethernet[12:], etherTypeIPv6)

	vectors := w.vectors[w.used : w.used+1+len(pkts)]
	vectors[0].Base = &header[0]
	vectors[0].SetLen(headerLength)
	for i, p := range pkts {
		b := p.Bytes()
		vectors[1+i].Base = &b[0]
		vectors[1+i].SetLen(len(b))
	}
	w.messages[w.count].Iov = &vectors[0]
	w.messages[w.count].SetIovlen(len(vectors))
	w.packets[w.count] = len(pkts)
	w.used += len(vectors)
	w.count++
}

// flush sends all queued frames. Those that the kernel refuses are counted by reason.
func (l *Link) flush() {
	w := &l.write
	for w.sent = 0; w.sent < w.count; {
		w.errno = 0
		if l.raw.Write(w.step) != nil {
			break // closed
		}
		if w.errno == 0 {
			continue
		}
		l.countRefused(w.errno, w.headers[w.sent][1], uint64(max(1, w.packets[w.sent])))
		w.sent++
	}
	w.count, w.used = 0, 0
}

func (l *Link) countRefused(errno syscall.Errno, segmentation byte, n uint64) {
	switch errno {
	case unix.EMSGSIZE:
		l.counters.tooBig.Add(n)
	case unix.ENOBUFS, unix.ENOMEM:
		l.counters.noBuffers.Add(n)
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV, unix.ENETUNREACH:
		l.counters.down.Add(n)
	case unix.EINVAL:
		if segmentation == virtioUDP {
			l.noUSO.Store(true) // kernels before 6.2
		}
		l.counters.refused.Add(n)
	default:
		l.counters.refused.Add(n)
	}
}

// virtioUDP is VIRTIO_NET_HDR_GSO_UDP_L4.
const virtioUDP = 5

// writeStep sends from the first frame that is not sent yet.
func (l *Link) writeStep(fd uintptr) bool {
	w := &l.write
	for w.sent < w.count {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.messages[w.sent])),
			uintptr(w.count-w.sent), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			for i := range int(n) {
				w.good += w.packets[w.sent+i]
			}
			w.sent += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			if w.full {
				w.errno = unix.ENOBUFS
				return true
			}
			w.full = !wait.ForRoom(fd) // and tries once more in any case: a frame may fit before the kernel says so
		default:
			w.errno = errno
			return true
		}
	}
	return true
}
