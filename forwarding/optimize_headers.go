package forwarding

import (
	"encoding/binary"
	"net/netip"

	"kedge/forwarding/ip6"
)

// homeHeaderLength is the length in octets of a destination options header with a Home Address option (RFC 6275 section 6.3),
// and of a type 2 routing header (section 6.4).
const homeHeaderLength = 24

const (
	optionPad1, optionPadN = 0, 1
	optionHomeAddress      = 0xc9
	optionHomeLength       = 18 // with its type and length
	routingType2           = 2
)

// detour is what is put into a packet so that it goes past the home agent.
type detour struct {
	// source and destination are those of the packet on its way. homeAddress goes into a Home Address option, and
	// routingHome into a type 2 routing header; invalid if there is none.
	source, destination      netip.Addr
	homeAddress, routingHome netip.Addr
}

// length is by how many octets a packet grows.
func (d *detour) length() (n int) {
	if d.homeAddress.IsValid() {
		n += homeHeaderLength
	}
	if d.routingHome.IsValid() {
		n += homeHeaderLength
	}
	return n
}

// put turns b, a packet behind d.length() spare octets, into one that takes the detour. The routing header comes behind
// hop-by-hop options and other routing headers, the Home Address option behind it and before everything else (RFC 6275
// sections 6.3 and 6.4).
//
//	IPv6 | hop-by-hop | destination options, routing | type 2 routing | Home Address option | fragment, ESP, upper layer
func (d *detour) put(b []byte) {
	n := d.length()
	next, at := insertAt(b[n:])
	copy(b, b[n:n+at])
	binary.BigEndian.PutUint16(b[4:], binary.BigEndian.Uint16(b[4:])+uint16(n))
	source, destination := d.source.As16(), d.destination.As16()
	copy(b[8:], source[:])
	copy(b[24:], destination[:])
	header := func(kind uint8, home netip.Addr, rest [6]byte) {
		a := home.As16()
		b[at], b[at+1], b[next] = b[next], homeHeaderLength/8-1, kind
		copy(b[at+2:], rest[:])
		copy(b[at+8:], a[:])
		next, at = at, at+homeHeaderLength
	}
	if d.routingHome.IsValid() {
		header(ip6.Routing, d.routingHome, [6]byte{routingType2, 1})
	}
	if d.homeAddress.IsValid() {
		header(ip6.DestinationOptions, d.homeAddress, [6]byte{optionPadN, 2, 0, 0, optionHomeAddress, 16})
	}
}

// insertAt is where in the packet b, whose headers have been walked, new extension headers begin, and where the next header
// value is that leads there.
func insertAt(b []byte) (next, at int) {
	next, at = 6, ip6.HeaderLength
	for {
		switch k := b[next]; {
		case k == ip6.HopByHop, k == ip6.Routing, k == ip6.DestinationOptions && b[at] == ip6.Routing:
			next, at = at, at+8+8*int(b[at+1])
		default:
			return next, at
		}
	}
}

// undo takes the Home Address option and the type 2 routing header out of the packet b, whose headers have been walked, and
// gives it the source and destination that they stand for. It returns the packet, which ends where b ends, and how many of
// the two there were in front of the payload that an IPv6 fragment may have a piece of.
func undo(b []byte, source, destination netip.Addr) (packet []byte, found int) {
	next, at := 6, ip6.HeaderLength
walk:
	for {
		switch b[next] {
		case ip6.HopByHop:
		case ip6.Routing:
			if b[at+2] == routingType2 && b[at+3] == 1 {
				b[next] = b[at]
				b = remove(b, at, homeHeaderLength)
				found++
				continue
			}
		case ip6.DestinationOptions:
			length := 8 + 8*int(b[at+1])
			option, alone := findHomeOption(b[at : at+length])
			switch {
			case option < 0:
			case alone:
				b[next] = b[at]
				b = remove(b, at, length)
				found++
				continue
			default:
				// What is left of the option is padding, so that those behind it stay aligned.
				option += at
				b[option], b[option+1] = optionPadN, 0
				b[at+1] -= (optionHomeLength - 2) / 8
				b = remove(b, option+2, optionHomeLength-2)
				found++
			}
		default:
			break walk
		}
		next, at = at, at+8+8*int(b[at+1])
	}
	s, d := source.As16(), destination.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return b, found
}

// remove takes n octets out of the packet b at b[at:], moving what is in front of them.
func remove(b []byte, at, n int) []byte {
	copy(b[n:n+at], b[:at])
	b = b[n:]
	binary.BigEndian.PutUint16(b[4:], binary.BigEndian.Uint16(b[4:])-uint16(n))
	return b
}

// findHomeOption finds the Home Address option in a destination options header, which has been walked; -1 if there is none.
// alone says that there is nothing else but padding.
func findHomeOption(b []byte) (option int, alone bool) {
	option, alone = -1, true
	for at := 2; at < len(b); {
		switch b[at] {
		case optionPad1:
			at++
			continue
		case optionPadN:
		case optionHomeAddress:
			option = at
		default:
			alone = false
		}
		at += 2 + int(b[at+1])
	}
	return option, alone
}
