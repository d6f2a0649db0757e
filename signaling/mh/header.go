package mh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Header is the part that all messages begin with (RFC 6275 section 6.1.1).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Payload Proto |  Header Len   |   MH Type     |   Reserved    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Checksum            |                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               |
//	|                                                               |
//	.                       Message Data                            .
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Header struct {
	// PayloadProto is the next header value; always 59 (no next header) in what Append writes.
	PayloadProto uint8
	// Length is that of the whole Mobility Header in octets, 8 to 2048: (Header Len + 1) times 8.
	Length   int
	Type     Type
	Checksum uint16
}

const (
	// noNextHeader is IPPROTO_NONE.
	noNextHeader = 59

	// headerLength is how many octets come before Message Data.
	headerLength = 6

	// maxLength is the length of the longest Mobility Header, by its Header Len field.
	maxLength = 256 * 8
)

// ErrLength is returned for a Mobility Header that is cut short, or followed by something. It is dropped silently.
var ErrLength = errors.New("mobility header: length differs from what Header Len says")

// HeaderError is a defect that RFC 6275 section 9.2 has answered with an ICMPv6 Parameter Problem message, code 0.
type HeaderError struct {
	// Pointer is the octet at fault, counted from the first of the Mobility Header: 0 for Payload Proto and 1 for
	// Header Len. The sender of the ICMPv6 message adds the octets in front of the Mobility Header.
	Pointer int
	Reason  string
}

func (e *HeaderError) Error() string { return "mobility header: " + e.Reason }

// UnknownTypeError is returned for an MH Type that this package does not know. RFC 6275 section 9.2 has it answered with a
// Binding Error, status UnrecognizedType.
type UnknownTypeError struct{ Type Type }

func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("mobility header: unrecognized MH Type %d", uint8(e.Type))
}

// ParseHeader reads the first octets of a Mobility Header and makes the checks of RFC 6275 section 9.2 in its order, apart
// from the checksum. The Header is returned with any error but ErrLength. The errors are ErrLength, *UnknownTypeError and
// *HeaderError.
func ParseHeader(b []byte) (Header, error) {
	h, _, err := parseHeader(b)
	return h, err
}

func parseHeader(b []byte) (Header, *kind, error) {
	if len(b) < 8 {
		return Header{}, nil, ErrLength
	}
	h := Header{
		PayloadProto: b[0],
		Length:       (int(b[1]) + 1) * 8,
		Type:         Type(b[2]),
		Checksum:     binary.BigEndian.Uint16(b[4:]),
	}
	if len(b) != h.Length {
		return Header{}, nil, ErrLength
	}
	k := kindOfHeader(b)
	if k == nil {
		return h, nil, &UnknownTypeError{h.Type}
	}
	if h.PayloadProto != noNextHeader {
		return h, nil, &HeaderError{0, fmt.Sprintf("Payload Proto is %d, want 59", h.PayloadProto)}
	}
	if h.Length < headerLength+k.bodyLength {
		return h, nil, &HeaderError{1, fmt.Sprintf("Header Len %d is too short for MH Type %d", b[1], uint8(h.Type))}
	}
	return h, k, nil
}

// checksum is the one's complement sum of the pseudo-header of RFC 8200 section 8.1 and b, uncomplemented.
func checksum(b []byte, src, dst netip.Addr) uint16 {
	s, d := src.As16(), dst.As16()
	sum := add(add(uint32(len(b))+Protocol, s[:]), d[:])
	sum = add(sum, b)
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// add adds the 16-bit words of b, at most maxLength octets, to sum.
func add(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

// ChecksumValid reports whether the checksum of the Mobility Header b is right (RFC 6275 section 6.1.1). src is the home
// address if the packet had a Home Address option, and dst likewise if it had a type 2 routing header. A message whose
// checksum is wrong is dropped silently (section 9.2).
func ChecksumValid(b []byte, src, dst netip.Addr) bool {
	return len(b) >= 8 && len(b) <= maxLength && checksum(b, src, dst) == 0xffff
}

// SetChecksum puts the checksum into the Mobility Header b that Append wrote. src and dst are as for ChecksumValid.
func SetChecksum(b []byte, src, dst netip.Addr) {
	b[4], b[5] = 0, 0
	binary.BigEndian.PutUint16(b[4:], ^checksum(b, src, dst))
}
