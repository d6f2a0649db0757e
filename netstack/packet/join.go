package packet

import "encoding/binary"

// Joiner makes a super-packet of packets that follow each other in one TCP connection, or of UDP datagrams of one length in
// one flow, by copying them into one. Cut up again, the super-packet gives exactly the packets that went in. Only packets
// with TCP or UDP directly behind the IPv6 header and a right checksum are joined: a wrong one would be hidden. The zero
// value is one that nothing is added to. It does not allocate.
type Joiner struct {
	packet *Packet
	header int // octets that segments repeat
	size   int // payload octets of all segments but the last
	count  int
	open   bool
}

// Begin copies b, an IPv6 packet whose length is right, to p as the first. It reports whether it fitted.
func (j *Joiner) Begin(p *Packet, b []byte) bool {
	*j = Joiner{packet: p, count: 1}
	p.Reset()
	if len(b) > len(p.Room()) {
		return false
	}
	p.SetLen(len(b))
	kind, header := joinable(b)
	if kind == NotSegmented {
		copy(p.Bytes(), b)
		return true
	}
	j.header, j.size = header, len(b)-header
	copy(p.Bytes(), b[:ipv6HeaderLength])
	j.open = copySum(p.Bytes()[ipv6HeaderLength:], b[ipv6HeaderLength:], pseudoSum(b)) == 0xffff &&
		(kind == UDP || b[53]&tcpPSH == 0)
	return true
}

// Open reports whether a packet may still be added.
func (j *Joiner) Open() bool { return j.open }

// SameFlow reports whether b has the addresses, protocol and ports of the first packet, as far as such packets can be
// joined at all.
func (j *Joiner) SameFlow(b []byte) bool {
	first := j.packet.Bytes()
	return len(b) >= ipv6HeaderLength+4 && first[6] == b[6] && string(first[8:44]) == string(b[8:44])
}

// Add copies b, an IPv6 packet whose length is right, behind the others and reports whether it could. If not, or if it was
// one that ends a super-packet, nothing can be added any more.
func (j *Joiner) Add(b []byte) bool {
	if !j.open {
		return false
	}
	j.open = false
	p := j.packet
	first := p.Bytes()
	kind, header := joinable(b)
	payload := len(b) - header
	if kind == NotSegmented || header != j.header || payload > j.size || len(first)+payload > MaxLength ||
		len(first)+payload > len(p.Room()) || !continues(first, b, header, len(first)-header) {
		return false
	}
	sum := Sum(b[ipv6HeaderLength:header], pseudoSum(b))
	if copySum(p.Room()[len(first):], b[header:], sum) != 0xffff {
		return false
	}
	p.SetLen(len(first) + payload)
	j.count++
	j.open = payload == j.size
	if kind == TCP {
		first[53] |= b[53] & tcpPSH
		j.open = j.open && b[53]&tcpPSH == 0
	}
	return true
}

// Finish gives what was joined the headers and the offload state of a super-packet. A single packet stays as it is.
func (j *Joiner) Finish() {
	j.open = false
	if j.count > 1 {
		j.packet.makeSuper(j.packet.Len(), j.header, j.size)
	}
}

// makeSuper gives the packet the lengths, the partial checksum and the offload state of a super-packet of length octets,
// the rest of which may lie elsewhere.
func (p *Packet) makeSuper(length, header, size int) {
	b := p.Bytes()
	length -= ipv6HeaderLength
	binary.BigEndian.PutUint16(b[4:], uint16(length))
	kind, offset := TCP, 16
	if b[6] == protocolUDP {
		kind, offset = UDP, 6
		binary.BigEndian.PutUint16(b[44:], uint16(length))
	}
	binary.BigEndian.PutUint16(b[ipv6HeaderLength+offset:], PseudoHeaderSum(b[8:], b[24:], length, b[6]))
	p.Offload = Offload{
		Segmentation: kind, SegmentSize: uint16(size), HeaderLength: uint16(header),
		NeedsChecksum: true, ChecksumStart: ipv6HeaderLength, ChecksumOffset: uint16(offset),
	}
}

// joinable says what super-packet an IPv6 packet may be part of, NotSegmented if of none, and how long its headers are.
func joinable(b []byte) (kind Segmentation, header int) {
	if len(b) < ipv6HeaderLength+udpHeaderLength || b[0]>>4 != 6 ||
		int(binary.BigEndian.Uint16(b[4:])) != len(b)-ipv6HeaderLength {
		return NotSegmented, 0
	}
	switch b[6] {
	case protocolTCP:
		if len(b) <= ipv6HeaderLength+tcpHeaderLength {
			return NotSegmented, 0
		}
		header = ipv6HeaderLength + int(b[52]>>4)*4
		if header < ipv6HeaderLength+tcpHeaderLength || len(b) <= header || b[53]&^tcpPSH != tcpACK {
			return NotSegmented, 0
		}
		return TCP, header
	case protocolUDP:
		header = ipv6HeaderLength + udpHeaderLength
		if len(b) == header || int(binary.BigEndian.Uint16(b[44:])) != len(b)-ipv6HeaderLength ||
			b[46] == 0 && b[47] == 0 {
			return NotSegmented, 0
		}
		return UDP, header
	}
	return NotSegmented, 0
}

// continues reports whether b, payload octets behind first in the stream, repeats its headers. Both are joinable, though
// first may be a super-packet already.
func continues(first, b []byte, header, payload int) bool {
	if binary.BigEndian.Uint32(first) != binary.BigEndian.Uint32(b) || // version, traffic class, flow label
		string(first[6:44]) != string(b[6:44]) { // next header, hop limit, addresses, ports
		return false
	}
	return b[6] == protocolUDP ||
		binary.BigEndian.Uint32(b[44:]) == binary.BigEndian.Uint32(first[44:])+uint32(payload) &&
			string(first[48:53]) == string(b[48:53]) && // acknowledgement, data offset
			string(first[54:56]) == string(b[54:56]) && // window
			string(first[58:header]) == string(b[58:header]) // urgent pointer, options
}

func pseudoSum(b []byte) uint16 {
	return PseudoHeaderSum(b[8:], b[24:], len(b)-ipv6HeaderLength, b[6])
}
