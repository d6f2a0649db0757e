package translate

import (
	"encoding/binary"
	"net/netip"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// Exchange is the exchange of one address for another in many packets, all of them plain: whole, and TCP or UDP directly
// behind the IPv6 header. What it does to the checksum is computed once.
type Exchange struct {
	after         [16]byte
	before, since uint16 // the sums of both
}

// NewExchange prepares the exchange of before for after, both IPv6.
func NewExchange(before, after netip.Addr) Exchange {
	b, a := before.As16(), after.As16()
	return Exchange{after: a, before: packet.Sum(b[:], 0), since: packet.Sum(a[:], 0)}
}

// Source makes the exchange in the source of a plain packet, whose source is the former address and whose offload state Fits.
func (x *Exchange) Source(p *packet.Packet) { x.exchange(p, sourceAt) }

// Destination is Source for the destination.
func (x *Exchange) Destination(p *packet.Packet) { x.exchange(p, destinationAt) }

func (x *Exchange) exchange(p *packet.Packet, at int) {
	b := p.Bytes()
	protocol := b[6]
	field := b[ip6.HeaderLength+plainChecksum(protocol):]
	checksum := binary.BigEndian.Uint16(field)
	switch {
	case p.Offload.NeedsChecksum:
		checksum = ^packet.UpdateChecksum(^checksum, x.before, x.since)
	case protocol != ip6.UDP:
		checksum = packet.UpdateChecksum(checksum, x.before, x.since)
	case checksum != 0: // 0: none (RFC 6935)
		if checksum = packet.UpdateChecksum(checksum, x.before, x.since); checksum == 0 {
			checksum = 0xffff
		}
	}
	binary.BigEndian.PutUint16(field, checksum)
	copy(b[at:], x.after[:])
}

// Fits reports whether the offload state of a plain packet, if any, is about its transport header.
func Fits(p *packet.Packet) bool {
	o := &p.Offload
	return !o.NeedsChecksum || o.ChecksumStart == ip6.HeaderLength && int(o.ChecksumOffset) == plainChecksum(p.Bytes()[6])
}

func plainChecksum(protocol uint8) int {
	if protocol == ip6.TCP {
		return tcpChecksum
	}
	return udpChecksum
}
