package packet

import (
	"encoding/binary"
	"errors"
)

// ErrNotIPv6 means that a link read something other than an IPv6 packet, such as an IPv4 super-packet.
var ErrNotIPv6 = errors.New("not an IPv6 packet")

// VirtioHeaderLength is the length in octets of the legacy virtio_net_hdr, which TUN devices (IFF_VNET_HDR) and packet
// sockets (PACKET_VNET_HDR) put in front of a packet. Its integers are in the machine's order
// (Virtio 1.2 section 5.1.6.1).
//
//	+-------+----------+-------------+-------------+--------------+---------------+
//	| flags | gso type |  hdr len    |  gso size   |  csum start  |  csum offset  |
//	+-------+----------+-------------+-------------+--------------+---------------+
//	   1         1           2             2              2               2
const VirtioHeaderLength = 10

const (
	virtioNeedsChecksum = 1

	virtioGSONone  = 0
	virtioGSOTCPv4 = 1
	virtioGSOTCPv6 = 4
	virtioGSOUDP   = 5 // VIRTIO_NET_HDR_GSO_UDP_L4
	virtioGSOECN   = 0x80
)

// PutVirtioHeader writes the packet's offload state into the first VirtioHeaderLength octets of b. linkHeader is the
// number of octets that stand between the virtio header and the packet.
func (p *Packet) PutVirtioHeader(b []byte, linkHeader int) {
	clear(b[:VirtioHeaderLength])
	o := &p.Offload
	if o.NeedsChecksum {
		b[0] = virtioNeedsChecksum
		binary.NativeEndian.PutUint16(b[6:], o.ChecksumStart+uint16(linkHeader))
		binary.NativeEndian.PutUint16(b[8:], o.ChecksumOffset)
	}
	switch o.Segmentation {
	case NotSegmented:
		return
	case TCP:
		b[1] = virtioGSOTCPv6
		if flags := int(o.ChecksumStart) + 13; flags < p.Len() && p.Bytes()[flags]&tcpCWR != 0 {
			b[1] |= virtioGSOECN
		}
	case UDP:
		b[1] = virtioGSOUDP
	}
	binary.NativeEndian.PutUint16(b[2:], o.HeaderLength+uint16(linkHeader))
	binary.NativeEndian.PutUint16(b[4:], o.SegmentSize)
}

// SetVirtioHeader sets the packet's offload state from the virtio header in the first octets of b, that was linkHeader
// octets in front of the packet. It returns ErrNotIPv6 for any other packet, and ErrOffload for a state that does not fit
// it; then the packet is not fit for use. What it accepts, a Segmenter accepts, whoever wrote the header.
func (p *Packet) SetVirtioHeader(b []byte, linkHeader int) error {
	p.Offload = Offload{}
	packet := p.Bytes()
	if len(packet) < ipv6HeaderLength || packet[0]>>4 != 6 {
		return ErrNotIPv6
	}
	if b[0]&virtioNeedsChecksum != 0 {
		start := int(binary.NativeEndian.Uint16(b[6:])) - linkHeader
		offset := int(binary.NativeEndian.Uint16(b[8:]))
		if start < ipv6HeaderLength || start+offset+2 > len(packet) {
			return ErrOffload
		}
		p.Offload.NeedsChecksum, p.Offload.ChecksumStart, p.Offload.ChecksumOffset = true, uint16(start), uint16(offset)
	}
	switch b[1] &^ virtioGSOECN {
	case virtioGSONone:
		return nil
	case virtioGSOTCPv6:
		p.Offload.Segmentation = TCP
	case virtioGSOUDP:
		p.Offload.Segmentation = UDP
	case virtioGSOTCPv4:
		return ErrNotIPv6
	default:
		return ErrOffload
	}
	p.Offload.SegmentSize = binary.NativeEndian.Uint16(b[4:])
	if !p.Offload.NeedsChecksum {
		if err := p.unfinishChecksum(); err != nil {
			return err
		}
	}
	var s Segmenter
	if err := s.Start(p); err != nil {
		return err
	}
	// The header's own hdr_len is no guide: for forwarded packets it is the length of what lies in the first buffer.
	p.Offload.HeaderLength = uint16(s.payload)
	return nil
}

// unfinishChecksum makes the finished checksum of a super-packet partial. A network card that merges packets itself
// hands over such ones; a segment's checksum is made anew in any case.
func (p *Packet) unfinishChecksum() error {
	b := p.Bytes()
	want, offset := uint8(protocolTCP), 16
	if p.Offload.Segmentation == UDP {
		want, offset = protocolUDP, 6
	}
	next, at, inner := uint8(protocolIPv6), 0, 0
	for next != want {
		switch {
		case next == protocolIPv6 && at+ipv6HeaderLength <= len(b):
			next, inner, at = b[at+6], at, at+ipv6HeaderLength
		case next == protocolHopByHop && at+8 <= len(b):
			next, at = b[at], at+8+8*int(b[at+1])
		default:
			// Behind a routing header or a Home Address option the pseudo-header holds other addresses than the
			// header; no card merges those.
			return ErrOffload
		}
	}
	if at+offset+2 > len(b) {
		return ErrOffload
	}
	sum := PseudoHeaderSum(b[inner+8:], b[inner+24:], len(b)-at, want)
	binary.BigEndian.PutUint16(b[at+offset:], sum)
	p.Offload.NeedsChecksum, p.Offload.ChecksumStart, p.Offload.ChecksumOffset = true, uint16(at), uint16(offset)
	return nil
}
