// Package packet holds the one packet type that every link and the forwarding engine share.
//
// A packet is read by a link into the middle of its buffer, so that outer headers are written in front of it and never
// move it. It carries its offload state, so that one Packet may be a 64 KiB super-packet whose checksum nobody has
// finished yet. A Packet and its buffer are reused: whoever holds a batch owns it until it passes the batch on.
package packet

import "net/netip"

const (
	// Headroom is the number of octets in front of a packet that a link leaves free when it reads one. It holds an
	// outer IPv6 header (40), a UDP header (8), a Home Address option or type 2 routing header (24), an Ethernet
	// header (14) and a virtio header (10), rounded up.
	Headroom = 128

	// MaxLength is the length in octets of the longest packet: an IPv6 header and the largest payload without the
	// jumbo payload option (RFC 8200 section 4.5).
	MaxLength = 40 + 65535

	// SmallLength is the payload room of packets for links that never hand over super-packets.
	SmallLength = 2048
)

// Segmentation says which transport a super-packet is to be cut up by.
type Segmentation uint8

// The kinds of super-packet.
const (
	// NotSegmented marks an ordinary packet.
	NotSegmented Segmentation = iota
	// TCP marks TCP over IPv6: each segment repeats all headers with its own sequence number (TSO).
	TCP
	// UDP marks UDP over IPv6: each segment is a datagram of its own (USO).
	UDP
)

// Features is the set of offload states that a link takes on Write without help.
type Features uint8

// The offloads a link may have.
const (
	PartialChecksum Features = 1 << iota
	SegmentTCP
	SegmentUDP
)

// Offload is the work on a packet that its sender left to whoever puts it on a wire. Positions count from the first
// octet of the packet, Packet.Bytes()[0]; Prepend and TrimFront keep them right.
type Offload struct {
	// Segmentation is the kind of super-packet, or NotSegmented.
	Segmentation Segmentation
	// SegmentSize is the number of transport payload octets in each segment but the last; 0 for ordinary packets.
	SegmentSize uint16
	// HeaderLength is the number of octets that every segment repeats: all up to the transport payload.
	HeaderLength uint16
	// NeedsChecksum says that the checksum field holds only the (uncomplemented) sum of the pseudo-header, and that
	// the Internet checksum from ChecksumStart to the end is still to be put at ChecksumStart+ChecksumOffset.
	NeedsChecksum  bool
	ChecksumStart  uint16
	ChecksumOffset uint16
}

// LinkAddress is an IEEE 802 MAC address.
type LinkAddress [6]byte

// RouterPrefix is what the link-layer addresses begin with that kedge gives to the routers of access links: locally
// administered unicast ones.
var RouterPrefix = [2]byte{0x0e, 0x6b}

// Packet is one IP packet in its buffer.
type Packet struct {
	buf        []byte
	start, end int

	// Offload is the work left to do on the packet.
	Offload Offload
	// NextHop is set on the way out: the on-link IPv6 neighbour that gets the packet. A link without neighbours
	// (TUN) ignores it.
	NextHop netip.Addr
	// Neighbor is set on the way in by links that have link-layer addresses: the sender's.
	Neighbor LinkAddress
	// Group says that the packet came in by link-layer broadcast or multicast.
	Group bool
	// Peer is the other end of a UDP link (RFC 5555 section 4.1): the sender's address and port on the way in, the
	// receiver's on the way out. Its IPv4 addresses are plain ones, as everywhere in kedge, never mapped to IPv6.
	Peer netip.AddrPort
	// Local is this node's end of a UDP link: the address that the datagram came to, or is to leave from; invalid leaves
	// that to the kernel.
	Local netip.Addr
	// TrafficClass is that of the outer IP header of a UDP link: DSCP and ECN field.
	TrafficClass uint8
}

// New makes a packet with room for length octets behind Headroom.
func New(length int) *Packet {
	p := &Packet{buf: make([]byte, Headroom+length)}
	p.Reset()
	return p
}

// NewBatch makes n packets with room for length octets each. They share one piece of memory, each beginning some cache
// lines further into its page than the one before: headers that all lay at the same place in their pages would fight for
// the same few lines of the processor's cache.
func NewBatch(n, length int) []*Packet {
	const page, lines = 4096, 192
	stride := (Headroom+length+page-1)/page*page + lines
	slab := make([]byte, n*stride)
	b := make([]*Packet, n)
	for i := range b {
		b[i] = &Packet{buf: slab[i*stride : i*stride+Headroom+length : i*stride+Headroom+length]}
		b[i].Reset()
	}
	return b
}

// Reset empties the packet and restores its headroom.
func (p *Packet) Reset() {
	*p = Packet{buf: p.buf, start: Headroom, end: Headroom}
}

// Bytes is the packet. It stays valid until the packet is changed or passed on.
func (p *Packet) Bytes() []byte { return p.buf[p.start:p.end] }

// Len is the number of octets in the packet.
func (p *Packet) Len() int { return p.end - p.start }

// Available is the whole buffer, for links that read a header of their own in front of the packet, and Frame then says
// where in it the packet lies.
func (p *Packet) Available() []byte { return p.buf }

// Frame makes buf[start:end] of the buffer that Available returned the packet.
func (p *Packet) Frame(start, end int) { p.start, p.end = start, end }

// Room is the space from the packet's first octet to the end of the buffer, where a link reads a packet to.
func (p *Packet) Room() []byte { return p.buf[p.start:] }

// SetLen makes the packet n octets long, counted from its first octet; n is at most len(Room()).
func (p *Packet) SetLen(n int) { p.end = p.start + n }

// Set copies b into the packet, whose headroom it restores, and reports whether it fitted.
func (p *Packet) Set(b []byte) bool {
	p.Reset()
	if len(b) > len(p.buf)-p.start {
		return false
	}
	p.end = p.start + copy(p.buf[p.start:], b)
	return true
}

// Prepend makes the packet n octets longer in front and returns the new octets, whose contents are unspecified; nil if
// the headroom is used up, and then nothing has changed.
func (p *Packet) Prepend(n int) []byte {
	if n > p.start {
		return nil
	}
	p.start -= n
	p.shiftOffload(n)
	return p.buf[p.start : p.start+n]
}

// TrimFront removes n octets, at most Len, from the front.
func (p *Packet) TrimFront(n int) {
	p.start += n
	p.shiftOffload(-n)
}

func (p *Packet) shiftOffload(n int) {
	if p.Offload.Segmentation != NotSegmented {
		p.Offload.HeaderLength = uint16(int(p.Offload.HeaderLength) + n)
	}
	if p.Offload.NeedsChecksum {
		p.Offload.ChecksumStart = uint16(int(p.Offload.ChecksumStart) + n)
	}
}

// CopyFrom makes p a copy of q, offload state and link-layer facts included, and reports whether it fitted.
func (p *Packet) CopyFrom(q *Packet) bool {
	if !p.Set(q.Bytes()) {
		return false
	}
	p.Offload, p.NextHop, p.Neighbor, p.Group = q.Offload, q.NextHop, q.Neighbor, q.Group
	p.Peer, p.Local, p.TrafficClass = q.Peer, q.Local, q.TrafficClass
	return true
}
