// Package translate exchanges an address of packets in place: a home address, which the programs of a mobile node use, for
// a Distributed Home Address, which the flow's correspondent sees, and back. Transport checksums follow incrementally
// (RFC 1624), so that a wrong one stays wrong.
//
// It translates what reaches its peer unharmed by it: TCP, UDP and ICMPv6 echoes, all fragments of these, and ICMPv6 errors
// about them. It knows no flows; a flow table says which address is to stand where. A function that reports false has
// changed nothing.
package translate

import (
	"encoding/binary"
	"net/netip"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

const (
	tcpHeaderLength  = 20
	udpHeaderLength  = 8
	echoHeaderLength = 8

	tcpChecksum  = 16
	udpChecksum  = 6
	icmpChecksum = 2

	// RFC 4443 section 4.
	echoRequest = 128
	echoReply   = 129

	sourceAt, destinationAt = 8, 24
)

// Translatable reports whether the packet b with header h belongs to what is translated on its own account: TCP, UDP, an
// ICMPv6 Echo Request or Reply with its transport header complete, or a later fragment that may be of one. ICMPv6 errors
// are not among them: see ErrorInbound.
//
// A later fragment does not show what it is of. Fragments, filled at the first one, does.
func Translatable(h *ip6.Header, b []byte) bool {
	b = trim(h, b)
	if !exposed(h, b) {
		return false
	}
	if later(h) {
		switch b[h.UpperOffset] {
		// Destination options of the fragmentable part (RFC 8200 section 4.5) are in the first fragment.
		case ip6.TCP, ip6.UDP, ip6.ICMP, ip6.DestinationOptions:
			return true
		}
		return false
	}
	return checksumOffset(h, b) != 0 && (h.Upper != ip6.ICMP || echo(h, b))
}

// Ports returns the ports of a translatable packet that is no later fragment. Of an ICMPv6 echo the identifier stands in for
// the port of whoever asks, that is the source port of a request and the destination port of a reply; the other one is 0.
// b may end behind them.
func Ports(h *ip6.Header, b []byte) (source, destination uint16, ok bool) {
	at := h.UpperOffset
	if later(h) {
		return 0, 0, false
	}
	switch h.Upper {
	case ip6.TCP, ip6.UDP:
		if at+4 <= len(b) {
			return binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:]), true
		}
	case ip6.ICMP:
		if at+6 <= len(b) && echo(h, b) {
			id := binary.BigEndian.Uint16(b[at+4:])
			if b[at] == echoRequest {
				return id, 0, true
			}
			return 0, id, true
		}
	}
	return 0, 0, false
}

// Source makes to the source of the packet p, whose header is h, and has h say so. It reports false for what is neither
// Translatable nor an ICMPv6 error, for packets whose transport checksum covers another address than the header's, and
// where the offload state does not fit the headers.
func Source(p *packet.Packet, h *ip6.Header, to netip.Addr) bool {
	if !rewrite(p, h, sourceAt, to) {
		return false
	}
	h.Source = to
	return true
}

// Destination is Source for the destination.
func Destination(p *packet.Packet, h *ip6.Header, to netip.Addr) bool {
	if !rewrite(p, h, destinationAt, to) {
		return false
	}
	h.Destination = to
	return true
}

func rewrite(p *packet.Packet, h *ip6.Header, at int, to netip.Addr) bool {
	b := trim(h, p.Bytes())
	if !to.Is6() || !exposed(h, b) {
		return false
	}
	after := to.As16()
	if later(h) {
		if p.Offload.NeedsChecksum {
			return false
		}
		copy(b[at:], after[:])
		return true
	}
	offset := checksumOffset(h, b)
	if offset == 0 || !fits(p, h, offset) {
		return false
	}
	exchange(b, at, after, b[h.UpperOffset+offset:], h.Upper, p.Offload.NeedsChecksum)
	return true
}

// exchange puts an address at b[at:] and adjusts the checksum field of a transport header. A partial checksum is the sum of
// the pseudo-header itself.
func exchange(b []byte, at int, after [16]byte, field []byte, protocol uint8, partial bool) {
	address := b[at : at+16]
	checksum := binary.BigEndian.Uint16(field)
	switch {
	case partial:
		checksum = ^packet.UpdateChecksumOver(^checksum, address, after[:])
	case protocol != ip6.UDP:
		checksum = packet.UpdateChecksumOver(checksum, address, after[:])
	case checksum != 0: // 0: none (RFC 6935)
		if checksum = packet.UpdateChecksumOver(checksum, address, after[:]); checksum == 0 {
			checksum = 0xffff
		}
	}
	binary.BigEndian.PutUint16(field, checksum)
	copy(address, after[:])
}

// trim cuts off what lies behind the packet by its Payload Length.
func trim(h *ip6.Header, b []byte) []byte { return b[:min(h.Length, len(b))] }

// later reports whether there is no transport header because this is not the first fragment.
func later(h *ip6.Header) bool { return h.Fragmented && !h.FirstFragment }

// echo reports whether the ICMPv6 message of b, which has one, is an Echo Request or Reply.
func echo(h *ip6.Header, b []byte) bool {
	return b[h.UpperOffset] == echoRequest || b[h.UpperOffset] == echoReply
}

// exposed reports whether the addresses of the header are those that the transport checksum covers, and nothing else
// covers them: there is no Home Address option (RFC 6275 section 6.3), routing header (RFC 8200 section 8.1) or
// Authentication Header (RFC 4302).
func exposed(h *ip6.Header, b []byte) bool {
	if h.Mobile || h.UpperOffset > len(b) || len(b) < ip6.HeaderLength {
		return false
	}
	next := b[6]
	for at := ip6.HeaderLength; at < h.UpperOffset; {
		if at+8 > len(b) {
			return false
		}
		length := 8 + 8*int(b[at+1])
		switch next {
		case ip6.Routing, ip6.Authentication:
			return false
		case ip6.Fragment:
			length = ip6.FragmentHeaderLength
		}
		next, at = b[at], at+length
	}
	return !later(h) || h.UpperOffset+ip6.FragmentHeaderLength <= len(b)
}

// checksumOffset is where in the transport header of b the checksum is; 0 if it is not one that is translated or not
// wholly there.
func checksumOffset(h *ip6.Header, b []byte) int {
	switch n := len(b) - h.UpperOffset; h.Upper {
	case ip6.TCP:
		if n >= tcpHeaderLength {
			return tcpChecksum
		}
	case ip6.UDP:
		if n >= udpHeaderLength {
			return udpChecksum
		}
	case ip6.ICMP:
		if n >= echoHeaderLength && (echo(h, b) || isError(b[h.UpperOffset])) {
			return icmpChecksum
		}
	}
	return 0
}

func isError(kind uint8) bool {
	return kind >= icmp.DestinationUnreachable && kind <= icmp.ParameterProblem
}

// fits reports whether the offload state is about the transport header that the headers lead to.
func fits(p *packet.Packet, h *ip6.Header, offset int) bool {
	o := &p.Offload
	return !o.NeedsChecksum || int(o.ChecksumStart) == h.UpperOffset && int(o.ChecksumOffset) == offset
}
