package host

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"kedge/netstack/packet"
)

// isLinkManagement reports whether the packet is neighbour discovery (RFC 4861: ICMPv6 133 to 137) or multicast listener
// discovery (RFC 2710, RFC 3810: 130 to 132 and 143, behind a Hop-by-Hop Options header of 8 octets).
func isLinkManagement(b []byte) bool {
	if len(b) < header.IPv6MinimumSize+1 {
		return false
	}
	next, at := b[6], header.IPv6MinimumSize
	if next == 0 && len(b) > at+8 && b[at+1] == 0 {
		next, at = b[at], at+8
	}
	if next != uint8(header.ICMPv6ProtocolNumber) {
		return false
	}
	return b[at] >= 130 && b[at] <= 137 || b[at] == 143
}

// eachSegment calls f with p in a state that gVisor takes: checksum finished, one datagram at a time. A TCP super-packet
// is one long segment to gVisor and stays whole. The octets that f gets are its own until it returns.
func eachSegment(p *packet.Packet, f func([]byte)) {
	o := p.Offload
	switch {
	case o.Segmentation == packet.UDP:
		splitDatagrams(p.Bytes(), int(o.HeaderLength), int(o.SegmentSize), f)
	case o.NeedsChecksum:
		b := append([]byte(nil), p.Bytes()...)
		start, at := int(o.ChecksumStart), int(o.ChecksumStart)+int(o.ChecksumOffset)
		if at+2 > len(b) {
			return
		}
		binary.BigEndian.PutUint16(b[at:], finish(checksum.Checksum(b[start:], 0)))
		f(b)
	default:
		f(p.Bytes())
	}
}

// splitDatagrams cuts a UDP super-packet, headers of headerLength octets in front, into datagrams of size octets.
func splitDatagrams(b []byte, headerLength, size int, f func([]byte)) {
	udpStart := headerLength - header.UDPMinimumSize
	if udpStart < header.IPv6MinimumSize || headerLength > len(b) || size == 0 {
		return
	}
	headers, payload := b[:headerLength], b[headerLength:]
	ip := header.IPv6(headers)
	segment := make([]byte, 0, headerLength+size)
	for len(payload) > 0 {
		n := min(size, len(payload))
		segment = append(append(segment[:0], headers...), payload[:n]...)
		payload = payload[n:]
		header.IPv6(segment).SetPayloadLength(uint16(len(segment) - header.IPv6MinimumSize))
		udp := header.UDP(segment[udpStart:])
		udp.SetLength(uint16(len(udp)))
		udp.SetChecksum(0)
		sum := header.PseudoHeaderChecksum(tcpip.TransportProtocolNumber(header.UDPProtocolNumber), ip.SourceAddress(), ip.DestinationAddress(), uint16(len(udp)))
		udp.SetChecksum(finish(checksum.Checksum(udp, sum)))
		f(segment)
	}
}

// finish makes an Internet checksum of a sum; 0 means none in UDP and is written as its equal (RFC 8200 section 8.1).
func finish(sum uint16) uint16 {
	if sum == 0xffff {
		return sum
	}
	return ^sum
}
