package packet

import "encoding/binary"

// MaxRun is the largest number of packets that Coalesce joins.
const MaxRun = 64

// tcpACK is the only flag that segments to be joined carry, with PSH on the last.
const tcpACK = 0x10

// Coalesce joins the packets at the front of pkts that are consecutive segments of one TCP connection to one super-packet,
// and returns how many it joined; 1 means that it changed nothing. pkts must not be empty.
//
// It copies no payload: pkts[0] gets the super-packet's headers and offload state in front of its own payload, and of the
// others only the payload is left, for the caller to send behind it with one gathering write. Cut up again, the
// super-packet gives exactly the packets that went in. It joins only ordinary packets, TCP directly behind the IPv6
// header, whose checksums are right: a wrong one would be hidden.
func Coalesce(pkts []*Packet) int {
	head := pkts[0]
	first := head.Bytes()
	if len(pkts) == 1 || !joinable(head) {
		return 1
	}
	header := ipv6HeaderLength + int(first[52]>>4)*4
	size, total := len(first)-header, len(first)
	last := first
	n := 1
	for n < len(pkts) && n < MaxRun && last[53]&tcpPSH == 0 && len(last)-header == size {
		next := pkts[n]
		b := next.Bytes()
		if next.NextHop != head.NextHop || !joinable(next) || !continues(first, b, header, total-header) ||
			len(b)-header > size || total+len(b)-header > MaxLength {
			break
		}
		if n == 1 && !checksumRight(first) || !checksumRight(b) {
			break
		}
		total += len(b) - header
		last = b
		n++
	}
	if n == 1 {
		return 1
	}
	first[53] |= last[53] & tcpPSH
	binary.BigEndian.PutUint16(first[4:], uint16(total-ipv6HeaderLength))
	binary.BigEndian.PutUint16(first[56:], PseudoHeaderSum(first[8:], first[24:], total-ipv6HeaderLength, protocolTCP))
	head.Offload = Offload{
		Segmentation: TCP, SegmentSize: uint16(size), HeaderLength: uint16(header),
		NeedsChecksum: true, ChecksumStart: ipv6HeaderLength, ChecksumOffset: 16,
	}
	for _, p := range pkts[1:n] {
		p.TrimFront(header)
	}
	return n
}

// joinable reports whether a packet may be part of a super-packet at all.
func joinable(p *Packet) bool {
	b := p.Bytes()
	if len(b) <= ipv6HeaderLength+tcpHeaderLength || b[0]>>4 != 6 || b[6] != protocolTCP || p.Offload != (Offload{}) ||
		int(binary.BigEndian.Uint16(b[4:])) != len(b)-ipv6HeaderLength {
		return false
	}
	header := int(b[52]>>4) * 4
	return header >= tcpHeaderLength && len(b) > ipv6HeaderLength+header && b[53]&^tcpPSH == tcpACK
}

// continues reports whether b, payload octets behind first in the stream, repeats its headers.
func continues(first, b []byte, header, payload int) bool {
	return len(b) > header &&
		binary.BigEndian.Uint32(first) == binary.BigEndian.Uint32(b) && // version, traffic class, flow label
		string(first[6:44]) == string(b[6:44]) && // next header, hop limit, addresses, ports
		binary.BigEndian.Uint32(b[44:]) == binary.BigEndian.Uint32(first[44:])+uint32(payload) &&
		string(first[48:53]) == string(b[48:53]) && // acknowledgement, data offset
		string(first[54:56]) == string(b[54:56]) && // window
		string(first[58:header]) == string(b[58:header]) // urgent pointer, options
}

func checksumRight(b []byte) bool {
	return Sum(b[ipv6HeaderLength:], PseudoHeaderSum(b[8:], b[24:], len(b)-ipv6HeaderLength, protocolTCP)) == 0xffff
}
