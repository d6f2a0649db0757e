package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrRoom means that packets to be filled were too few or too small.
var ErrRoom = errors.New("no room for segments")

const (
	ipv6HeaderLength = 40
	udpHeaderLength  = 8
	tcpHeaderLength  = 20

	protocolHopByHop    = 0
	protocolTCP         = 6
	protocolUDP         = 17
	protocolIPv6        = 41
	protocolRouting     = 43
	protocolDestination = 60

	tcpFIN, tcpPSH, tcpCWR = 0x01, 0x08, 0x80

	// maxNesting is how many IPv6 headers may stand in front of a transport header: tunnels in tunnels.
	maxNesting = 4
)

// headers are the IPv6 headers in front of a transport header.
type headers struct {
	at       [maxNesting]int
	count    int
	protocol uint8
}

// walk finds the IPv6 headers of b that stand in front of its octet transport, through extension headers and tunnels. It
// checks that each one's payload length is that of b.
func walk(b []byte, transport int) (h headers, err error) {
	next, at := uint8(protocolIPv6), 0
	for {
		switch {
		case at == transport && h.count > 0:
			h.protocol = next
			return h, nil
		case next == protocolIPv6:
			if h.count == maxNesting || at+ipv6HeaderLength > transport || transport > len(b) || b[at]>>4 != 6 ||
				int(binary.BigEndian.Uint16(b[at+4:])) != len(b)-at-ipv6HeaderLength {
				return h, ErrOffload
			}
			h.at[h.count] = at
			h.count++
			next = b[at+6]
			at += ipv6HeaderLength
		case next == protocolHopByHop, next == protocolRouting, next == protocolDestination:
			if at+8 > transport {
				return h, ErrOffload
			}
			next, at = b[at], at+8+8*int(b[at+1])
		default:
			return h, ErrOffload
		}
	}
}

// Tunnelled reports whether the transport header whose checksum is partial stands behind more than one IPv6 header.
// Kernels and network cards mistake the offload state of such a packet for that of its outer one, so a link makes it
// ordinary first. It returns ErrOffload if the headers do not lead to the transport header.
func (p *Packet) Tunnelled() (bool, error) {
	h, err := walk(p.Bytes(), int(p.Offload.ChecksumStart))
	return h.count > 1, err
}

// Segmenter cuts a super-packet up into ordinary packets as network cards do (TSO, USO). Start begins, each Next makes one
// segment; between them the super-packet must not change. The zero value has no segments. It does not allocate.
type Segmenter struct {
	source    *Packet
	headers   headers
	transport int // where the TCP or UDP header begins
	payload   int // where its payload begins
	size      int // payload octets in each segment but the last
	next      int // where the next segment's payload begins
	more      bool
}

// Start prepares to cut up p, whose every length it checks. An ordinary packet yields one segment, itself with a finished
// checksum. It returns ErrOffload, perhaps wrapped, if the headers do not agree with the offload state.
func (s *Segmenter) Start(p *Packet) error {
	*s = Segmenter{source: p}
	o := p.Offload
	if o.Segmentation == NotSegmented {
		s.more = true
		return nil
	}
	b := p.Bytes()
	s.transport = int(o.ChecksumStart)
	if !o.NeedsChecksum || o.SegmentSize == 0 {
		return fmt.Errorf("%w: super-packet without segment size or partial checksum", ErrOffload)
	}
	var err error
	if s.headers, err = walk(b, s.transport); err != nil {
		return fmt.Errorf("%w: its headers do not lead to the transport header", err)
	}
	switch {
	case o.Segmentation == TCP && s.headers.protocol == protocolTCP && o.ChecksumOffset == 16 &&
		len(b) >= s.transport+tcpHeaderLength:
		length := int(b[s.transport+12]>>4) * 4
		if length < tcpHeaderLength {
			return fmt.Errorf("%w: TCP header of %d octets", ErrOffload, length)
		}
		s.payload = s.transport + length
	case o.Segmentation == UDP && s.headers.protocol == protocolUDP && o.ChecksumOffset == 6:
		s.payload = s.transport + udpHeaderLength
	default:
		return fmt.Errorf("%w: segmentation kind %d of protocol %d", ErrOffload, o.Segmentation, s.headers.protocol)
	}
	if len(b) <= s.payload {
		return fmt.Errorf("%w: super-packet without payload", ErrOffload)
	}
	s.size, s.next, s.more = int(o.SegmentSize), s.payload, true
	return nil
}

// Segments is how many calls of Next are still to make a segment.
func (s *Segmenter) Segments() int {
	switch {
	case !s.more:
		return 0
	case s.size == 0:
		return 1
	}
	return (s.source.Len() - s.next + s.size - 1) / s.size
}

// HeaderLength is how many octets of headers each segment begins with, for Cut.
func (s *Segmenter) HeaderLength() int { return s.payload }

// Cut writes the headers of the next segment of a super-packet, with a finished checksum, to the first HeaderLength octets
// of header, and returns the segment's payload, which stays where it is. There must be a next segment, and the source a
// super-packet.
func (s *Segmenter) Cut(header []byte) (payload []byte) {
	p := s.source
	whole := p.Bytes()
	end := min(s.next+s.size, len(whole))
	payload = whole[s.next:end]
	b := header[:s.payload]
	copy(b, whole)
	for _, at := range s.headers.at[:s.headers.count] {
		binary.BigEndian.PutUint16(b[at+4:], uint16(len(b)+len(payload)-at-ipv6HeaderLength))
	}
	first, last := s.next == s.payload, end == len(whole)
	transport := b[s.transport:]
	length := len(transport) + len(payload)
	field := transport[p.Offload.ChecksumOffset:]
	if p.Offload.Segmentation == TCP {
		binary.BigEndian.PutUint32(transport[4:], binary.BigEndian.Uint32(transport[4:])+uint32(s.next-s.payload))
		if !first {
			transport[13] &^= tcpCWR
		}
		if !last {
			transport[13] &^= tcpFIN | tcpPSH
		}
	} else {
		binary.BigEndian.PutUint16(transport[4:], uint16(length))
	}
	// The field holds the sum of the pseudo-header with the super-packet's length. Exchanging only the length leaves
	// the addresses to whoever made that sum, who knew of home addresses and routing headers.
	seed := ^UpdateChecksum(^binary.BigEndian.Uint16(field), uint16(len(whole)-s.transport), uint16(length))
	binary.BigEndian.PutUint16(field, seed)
	putChecksum(field, ^Sum(payload, Sum(transport, 0)))
	s.next, s.more = end, !last
	return payload
}

// Next fills out with the next segment and reports whether there was one. If out has too little room it returns ErrRoom
// and the segment is still to come.
func (s *Segmenter) Next(out *Packet) (bool, error) {
	if !s.more {
		return false, nil
	}
	p := s.source
	if s.size == 0 {
		if !out.CopyFrom(p) {
			return false, ErrRoom
		}
		s.more = false
		err := FinishChecksum(out)
		return err == nil, err
	}
	length := s.payload + min(s.size, p.Len()-s.next)
	out.Reset()
	if len(out.Room()) < length {
		return false, ErrRoom
	}
	out.SetLen(length)
	out.NextHop, out.Neighbor, out.Group = p.NextHop, p.Neighbor, p.Group
	out.Peer, out.Local, out.TrafficClass = p.Peer, p.Local, p.TrafficClass
	b := out.Bytes()
	copy(b[s.payload:], s.Cut(b))
	return true, nil
}

// Split cuts the super-packet p up into out and returns how many packets it filled. It returns ErrRoom, with nothing worth
// sending in out, if they are too few or too small. Use a Segmenter where the number of segments is not bounded.
func Split(p *Packet, out []*Packet) (n int, err error) {
	var s Segmenter
	if err := s.Start(p); err != nil {
		return 0, err
	}
	if n = s.Segments(); n > len(out) {
		return 0, ErrRoom
	}
	for i := range n {
		if _, err := s.Next(out[i]); err != nil {
			return 0, err
		}
	}
	return n, nil
}
