package translate

import (
	"encoding/binary"
	"net/netip"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// Quote is what an ICMPv6 error shows of the packet that it is about. All directions are that packet's.
type Quote struct {
	Source, Destination netip.Addr
	Protocol            uint8
	// HasPorts says that the ports, which are those of Ports, are in the quote.
	HasPorts                    bool
	SourcePort, DestinationPort uint16
	// Fragmented says that the packet was a fragment with this Identification. Without ports it is a later one, and its
	// Protocol is only what its Fragment header says.
	Fragmented     bool
	Identification uint32
}

// Embedded reads the packet that an ICMPv6 error (RFC 4443 section 3), p with header h, is about. It reports false if p is
// none, or one about something that is never translated or not to be told from the quote.
func Embedded(p *packet.Packet, h *ip6.Header) (Quote, bool) {
	b := trim(h, p.Bytes())
	var inner ip6.Header
	quoted, ok := quotation(b, h, &inner)
	if !ok {
		return Quote{}, false
	}
	q := Quote{Source: inner.Source, Destination: inner.Destination, Protocol: inner.Upper}
	if k, ok := KeyOf(quoted, &inner); ok {
		q.Fragmented, q.Identification = true, k.Identification
	}
	if later(&inner) {
		q.Protocol = quoted[inner.UpperOffset]
		return q, true
	}
	q.SourcePort, q.DestinationPort, q.HasPorts = Ports(&inner, quoted)
	return q, q.HasPorts
}

// ErrorInbound translates an ICMPv6 error about a packet that left with a Distributed Home Address as its source: that
// address gives way to home as the destination of the error and the source in the quote, whose transport checksum, where
// it is in the quote, becomes what it was when the program sent the packet. It reports false if p is no such error or its
// quote has another source than that which p came to.
func ErrorInbound(p *packet.Packet, h *ip6.Header, home netip.Addr) bool {
	if !translateError(p, h, home, destinationAt, sourceAt) {
		return false
	}
	h.Destination = home
	return true
}

// ErrorOutbound translates an ICMPv6 error that the host sends about a packet that was translated on its way in: lent, the
// Distributed Home Address that it had come to, becomes the source of the error and the destination in the quote, whose
// transport checksum, where it is in the quote, becomes what the correspondent sent. It reports false if p is no such
// error or its quote has another destination than the source of p.
func ErrorOutbound(p *packet.Packet, h *ip6.Header, lent netip.Addr) bool {
	if !translateError(p, h, lent, sourceAt, destinationAt) {
		return false
	}
	h.Source = lent
	return true
}

// translateError makes to the address at outerAt of an error's own header and at innerAt of the one that it quotes.
func translateError(p *packet.Packet, h *ip6.Header, to netip.Addr, outerAt, innerAt int) bool {
	b := trim(h, p.Bytes())
	var inner ip6.Header
	quoted, ok := quotation(b, h, &inner)
	if !ok || !to.Is6() || !fits(p, h, icmpChecksum) || string(b[outerAt:outerAt+16]) != string(quoted[innerAt:innerAt+16]) {
		return false
	}
	after := to.As16()
	before := [16]byte(quoted[innerAt:])
	message := b[h.UpperOffset:]
	field := message[icmpChecksum:]
	partial := p.Offload.NeedsChecksum
	exchange(b, outerAt, after, field, ip6.ICMP, partial)

	// A partial checksum does not cover the message yet.
	cover := func(before, after []byte) {
		if !partial {
			checksum := packet.UpdateChecksumOver(binary.BigEndian.Uint16(field), before, after)
			binary.BigEndian.PutUint16(field, checksum)
		}
	}
	cover(before[:], after[:])
	offset := quotedChecksum(&inner)
	if offset == 0 || inner.UpperOffset+offset+2 > len(quoted) {
		copy(quoted[innerAt:], after[:])
		return true
	}
	checksum := quoted[inner.UpperOffset+offset:][:2]
	old := [2]byte(checksum)
	exchange(quoted, innerAt, after, checksum, inner.Upper, false)
	cover(old[:], checksum)
	return true
}

// quotation returns the packet that an ICMPv6 error embeds, and reads its headers, if it is one that may be translated.
func quotation(b []byte, h *ip6.Header, inner *ip6.Header) ([]byte, bool) {
	if h.Upper != ip6.ICMP || later(h) || !exposed(h, b) || checksumOffset(h, b) == 0 || !isError(b[h.UpperOffset]) {
		return nil, false
	}
	quoted := b[h.UpperOffset+icmp.HeaderLength:]
	if inner.ParseEmbedded(quoted) != nil {
		return nil, false
	}
	quoted = trim(inner, quoted)
	if !exposed(inner, quoted) {
		return nil, false
	}
	if later(inner) {
		return quoted, true
	}
	switch inner.Upper {
	case ip6.TCP, ip6.UDP:
		return quoted, true
	case ip6.ICMP:
		return quoted, inner.UpperOffset < len(quoted) && echo(inner, quoted)
	}
	return nil, false
}

// quotedChecksum is where the checksum is in the transport header of a quoted packet, which may end in front of it.
func quotedChecksum(inner *ip6.Header) int {
	if later(inner) {
		return 0
	}
	switch inner.Upper {
	case ip6.TCP:
		return tcpChecksum
	case ip6.UDP:
		return udpChecksum
	}
	return icmpChecksum
}
