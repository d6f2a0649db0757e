package ip6

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Errors of Parse.
var (
	ErrVersion   = errors.New("not IPv6")
	ErrTruncated = errors.New("truncated IPv6 packet")
	ErrExtension = errors.New("malformed extension header")
	ErrTooMany   = errors.New("too many extension headers or options")
)

// Bounds on the work that one packet can ask for.
const (
	maxExtensions = 8
	maxOptions    = 64
)

// Header is what one pass over a packet's headers finds.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Version| Traffic Class |           Flow Label                  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|         Payload Length        |  Next Header  |   Hop Limit   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               Source Address (128), Destination Address (128) |
//
// (RFC 8200 section 3.)
type Header struct {
	Source, Destination netip.Addr
	// Length is that of the whole packet in octets by its Payload Length field.
	Length       int
	TrafficClass uint8
	HopLimit     uint8
	FlowLabel    uint32

	// Upper is the first next header value that is not an extension header that was walked, and UpperOffset where its
	// header begins. Behind a Fragment header with a nonzero offset there is none: see Fragmented.
	Upper       uint8
	UpperOffset int
	// Fragmented says that there is a Fragment header, and FirstFragment that the upper-layer header
	// is in this packet.
	Fragmented, FirstFragment bool
	// Mobile says that there is a Home Address option or a type 2 routing header; only then are these two meaningful.
	Mobile                   bool
	HomeAddress, RoutingHome netip.Addr
}

// Parse reads the headers of the packet b, which may be longer than its Payload Length says. It fails with one of the
// errors of this package; then the contents of h are unspecified. A super-packet's Payload Length counts all of it.
func (h *Header) Parse(b []byte) error {
	if len(b) < HeaderLength {
		if len(b) > 0 && b[0]>>4 != 6 {
			return ErrVersion
		}
		return ErrTruncated
	}
	if b[0]>>4 != 6 {
		return ErrVersion
	}
	h.Length = HeaderLength + int(binary.BigEndian.Uint16(b[4:]))
	if h.Length > len(b) {
		return ErrTruncated
	}
	h.fixed(b)
	if !extension(h.Upper) {
		return nil
	}
	return h.walk(b[:h.Length])
}

// ParseEmbedded reads the headers of the beginning of a packet, as ICMPv6 errors embed it: Length may be beyond the end
// of b. The upper-layer header may lie at the end of b.
func (h *Header) ParseEmbedded(b []byte) error {
	if len(b) < HeaderLength {
		return ErrTruncated
	}
	if b[0]>>4 != 6 {
		return ErrVersion
	}
	h.Length = HeaderLength + int(binary.BigEndian.Uint16(b[4:]))
	h.fixed(b)
	if !extension(h.Upper) {
		return nil
	}
	return h.walk(b)
}

func (h *Header) fixed(b []byte) {
	first := binary.BigEndian.Uint32(b)
	h.TrafficClass = uint8(first >> 20)
	h.FlowLabel = first & 0xfffff
	h.HopLimit = b[7]
	h.Source = netip.AddrFrom16([16]byte(b[8:24]))
	h.Destination = netip.AddrFrom16([16]byte(b[24:40]))
	h.Upper, h.UpperOffset = b[6], HeaderLength
	h.Fragmented, h.FirstFragment, h.Mobile = false, false, false
}

func extension(next uint8) bool {
	switch next {
	case HopByHop, Routing, Fragment, DestinationOptions, Authentication:
		return true
	}
	return false
}

// walk goes over extension headers from h.Upper at h.UpperOffset (RFC 8200 section 4).
func (h *Header) walk(b []byte) error {
	for n := 0; extension(h.Upper); n++ {
		if n == maxExtensions {
			return ErrTooMany
		}
		at := h.UpperOffset
		if at+8 > len(b) {
			return ErrExtension
		}
		length := 8 + 8*int(b[at+1])
		switch h.Upper {
		case HopByHop:
			if n != 0 {
				return ErrExtension
			}
		case Fragment:
			length = FragmentHeaderLength
			h.Fragmented = true
			if binary.BigEndian.Uint16(b[at+2:])&^7 != 0 {
				return nil
			}
			h.FirstFragment = true
		case Authentication: // RFC 4302 section 2.2: in 4-octet units, less 2
			length = 8 + 4*int(b[at+1])
		}
		if at+length > len(b) {
			return ErrExtension
		}
		switch h.Upper {
		case DestinationOptions:
			if err := h.options(b[at+2 : at+length]); err != nil {
				return err
			}
		case Routing:
			if err := h.routing(b[at : at+length]); err != nil {
				return err
			}
		}
		h.Upper, h.UpperOffset = b[at], at+length
	}
	return nil
}

const (
	pad1              = 0
	homeAddressOption = 0xc9 // RFC 6275 section 6.3
	type2Routing      = 2    // RFC 6275 section 6.4
)

// options looks for a Home Address option, of which there may be one (RFC 6275 section 6.3).
func (h *Header) options(b []byte) error {
	for n := 0; len(b) > 0; n++ {
		if n == maxOptions {
			return ErrTooMany
		}
		if b[0] == pad1 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return ErrExtension
		}
		if b[0] == homeAddressOption {
			if b[1] != 16 || (h.Mobile && h.HomeAddress.IsValid()) {
				return ErrExtension
			}
			h.mobile()
			h.HomeAddress = netip.AddrFrom16([16]byte(b[2:18]))
		}
		b = b[2+int(b[1]):]
	}
	return nil
}

// routing reads a type 2 routing header; others are for whoever owns the destination.
func (h *Header) routing(b []byte) error {
	if b[2] != type2Routing || b[3] == 0 {
		return nil
	}
	if len(b) != 24 || b[3] != 1 || (h.Mobile && h.RoutingHome.IsValid()) {
		return ErrExtension
	}
	h.mobile()
	h.RoutingHome = netip.AddrFrom16([16]byte(b[8:24]))
	return nil
}

func (h *Header) mobile() {
	if !h.Mobile {
		h.Mobile, h.HomeAddress, h.RoutingHome = true, netip.Addr{}, netip.Addr{}
	}
}

// Bogon reports whether an address may not be the source of a packet that crosses a router or ends here: unspecified,
// loopback, multicast, or one with an IPv4 address in its low bits and zeroes above (RFC 4291 section 2.5).
func Bogon(a netip.Addr) bool { return a.IsMulticast() || neverDestination(a) }

// BogonDestination reports whether an address may not be the destination of a packet on a link.
func BogonDestination(a netip.Addr) bool { return neverDestination(a) }

func neverDestination(a netip.Addr) bool {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:]) == 0 && (binary.BigEndian.Uint32(b[8:]) == 0 || binary.BigEndian.Uint32(b[8:]) == 0xffff)
}

// HasPorts reports whether the upper-layer header begins with source and destination ports and these lie within the
// first n octets of the packet.
func (h *Header) HasPorts(n int) bool {
	switch h.Upper {
	case TCP, UDP, DCCP, SCTP, UDPLite:
		return !h.Fragmented && h.UpperOffset+4 <= n
	}
	return false
}
