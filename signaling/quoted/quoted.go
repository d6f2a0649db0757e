// Package quoted reads the packet that an ICMPv6 error message quotes (RFC 4443 section 3), as far as signalling has to tell
// its own packets from others.
package quoted

import (
	"encoding/binary"
	"net/netip"

	"kedge/signaling/mh"
)

// Packet is what an ICMPv6 error quotes. Addresses that do not apply are invalid.
type Packet struct {
	Source, Destination netip.Addr
	// Tunnelled is the inner source of an IPv6-in-IPv6 packet.
	Tunnelled netip.Addr
	// Mobility says that it has a Mobility Header, of type Type, and Header is as much of that as was quoted, at least 8
	// octets.
	Mobility bool
	Type     mh.Type
	Header   []byte
}

// Sequence is the Sequence # of a quoted Binding Update (RFC 6275 section 6.1.7).
func (p *Packet) Sequence() uint16 { return binary.BigEndian.Uint16(p.Header[6:]) }

// Parse reads the beginning of an IPv6 packet; the zero value if it is none. Header shares memory with b.
func Parse(b []byte) (p Packet) {
	const (
		hopByHop, ipv6, routing, fragment, destinationOptions = 0, 41, 43, 44, 60
		header                                                = 40
	)
	if len(b) < header || b[0]>>4 != 6 {
		return Packet{}
	}
	p.Source, p.Destination = address(b[8:]), address(b[24:])
	next, rest := b[6], b[header:]
	for {
		switch next {
		case hopByHop, routing, destinationOptions:
			if len(rest) < 8 || len(rest) < 8*(int(rest[1])+1) {
				return p
			}
			next, rest = rest[0], rest[8*(int(rest[1])+1):]
		case fragment:
			if len(rest) < 8 || binary.BigEndian.Uint16(rest[2:])>>3 != 0 {
				return p
			}
			next, rest = rest[0], rest[8:]
		case ipv6:
			if len(rest) >= header && rest[0]>>4 == 6 {
				p.Tunnelled = address(rest[8:])
			}
			return p
		case mh.Protocol:
			if len(rest) >= 8 {
				p.Mobility, p.Type, p.Header = true, mh.Type(rest[2]), rest
			}
			return p
		default:
			return p
		}
	}
}

func address(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }
