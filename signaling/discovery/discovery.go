// Package discovery is the codec of the ICMPv6 messages of Mobile IPv6 (RFC 6275 sections 6.5 to 6.8): dynamic home agent
// address discovery and mobile prefix discovery. What it returns never shares memory with what it was given.
package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Protocol is the next header value of ICMPv6.
const Protocol = 58

// Type is the ICMPv6 Type field.
type Type uint8

// The message types.
const (
	TypeHomeAgentAddressRequest   Type = 144 // RFC 6275 section 6.5
	TypeHomeAgentAddressReply     Type = 145 // 6.6
	TypeMobilePrefixSolicitation  Type = 146 // 6.7
	TypeMobilePrefixAdvertisement Type = 147 // 6.8
)

// Errors of Parse. Messages that give one are dropped silently.
var (
	ErrLength = errors.New("icmpv6: message is cut short")
	ErrType   = errors.New("icmpv6: not a message of Mobile IPv6")
	ErrCode   = errors.New("icmpv6: code is not 0")
	ErrOption = errors.New("icmpv6: malformed option")
)

// headerLength is the length of what all four messages begin with.
const headerLength = 8

// Message is one of the four message types, as a pointer.
type Message interface {
	// Type is the message's ICMPv6 type.
	Type() Type
	// appendBody writes what follows the Checksum field.
	appendBody(b []byte) ([]byte, error)
	// parseBody reads what appendBody writes, at least 4 octets.
	parseBody(b []byte) error
}

// Parse reads one ICMPv6 message of types 144 to 147, to its end. The checksum is not looked at.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Code      |           Checksum            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Identifier           |             ...               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func Parse(b []byte) (Message, error) {
	if len(b) < headerLength {
		return nil, ErrLength
	}
	var m Message
	switch Type(b[0]) {
	case TypeHomeAgentAddressRequest:
		m = new(HomeAgentAddressRequest)
	case TypeHomeAgentAddressReply:
		m = new(HomeAgentAddressReply)
	case TypeMobilePrefixSolicitation:
		m = new(MobilePrefixSolicitation)
	case TypeMobilePrefixAdvertisement:
		m = new(MobilePrefixAdvertisement)
	default:
		return nil, ErrType
	}
	if b[1] != 0 {
		return nil, ErrCode
	}
	if err := m.parseBody(b[4:]); err != nil {
		return nil, err
	}
	return m, nil
}

// Append writes m to the end of b, with 0 for a checksum. b is returned as it was with any error.
func Append(b []byte, m Message) ([]byte, error) {
	out, err := m.appendBody(append(b, byte(m.Type()), 0, 0, 0))
	if err != nil {
		return b, err
	}
	return out, nil
}

// checksum is the one's complement sum of the pseudo-header of RFC 8200 section 8.1 and b, uncomplemented.
func checksum(b []byte, src, dst netip.Addr) uint16 {
	s, d := src.As16(), dst.As16()
	sum := uint64(len(b)) + Protocol
	for _, p := range [...][]byte{s[:], d[:], b} {
		for ; len(p) >= 2; p = p[2:] {
			sum += uint64(binary.BigEndian.Uint16(p))
		}
		if len(p) == 1 {
			sum += uint64(p[0]) << 8
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// ChecksumValid reports whether the checksum of the ICMPv6 message b is right. src is the home address if the packet had a
// Home Address option, and dst likewise if it had a type 2 routing header.
func ChecksumValid(b []byte, src, dst netip.Addr) bool {
	return len(b) >= 4 && checksum(b, src, dst) == 0xffff
}

// SetChecksum puts the checksum into the ICMPv6 message b. src and dst are as for ChecksumValid.
func SetChecksum(b []byte, src, dst netip.Addr) {
	b[2], b[3] = 0, 0
	binary.BigEndian.PutUint16(b[2:], ^checksum(b, src, dst))
}

func appendAddress(b []byte, a netip.Addr) ([]byte, error) {
	if !a.Is6() {
		return b, fmt.Errorf("%v is not an IPv6 address", a)
	}
	w := a.As16()
	return append(b, w[:]...), nil
}
