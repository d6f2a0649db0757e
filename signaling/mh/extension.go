package mh

import (
	"errors"
	"fmt"
	"net/netip"
)

// The extension headers that carry home addresses, as next header values.
const (
	ProtocolRouting            = 43
	ProtocolDestinationOptions = 60
)

// ExtensionLength is the length in octets of what AppendHomeAddressOption and AppendType2Routing write.
const ExtensionLength = 24

// homeAddressOption is the type of the Home Address option.
const homeAddressOption = 0xc9

// Errors of the extension headers. Packets that give one are dropped silently.
var (
	ErrExtensionLength = errors.New("extension header is cut short")
	ErrHomeAddress     = errors.New("home address is not a unicast routable address")
	ErrHomeAddressSize = errors.New("home address option is not 16 octets long")
	ErrHomeAddressMore = errors.New("more than one home address option")
	ErrRoutingHeader   = errors.New("not a type 2 routing header with one segment left")
)

// DestinationOptionError is returned for a destination option that this package does not know and whose type says that it
// must not be skipped (RFC 8200 section 4.2).
type DestinationOptionError struct {
	Type uint8
	// Pointer is where the option begins, counted from the first octet of the extension header.
	Pointer int
}

func (e *DestinationOptionError) Error() string {
	return fmt.Sprintf("unrecognized destination option %#x", e.Type)
}

// Answer reports whether an ICMPv6 Parameter Problem, code 2, is due, given whether the packet was sent to a multicast
// address.
func (e *DestinationOptionError) Answer(multicast bool) bool {
	return e.Type>>6 == 2 || e.Type>>6 == 3 && !multicast
}

// UnicastRoutable reports whether a is a unicast routable address (RFC 6275 section 3.1): a global or unique local IPv6
// address.
func UnicastRoutable(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.IsGlobalUnicast() && a.Zone() == ""
}

// AppendHomeAddressOption writes a destination options header with a Home Address option, ExtensionLength octets (RFC 6275
// section 6.3, alignment 8n+6). next is the type of what follows it. home is not checked.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Next Header  | Hdr Ext Len=2 |   PadN = 1    | Opt Data Len=2|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|       0       |       0       |  Type = 0xC9  |  Length = 16  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                         Home Address                          +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func AppendHomeAddressOption(b []byte, next uint8, home netip.Addr) []byte {
	a := home.As16()
	return append(append(b, next, 2, 1, 2, 0, 0, homeAddressOption, 16), a[:]...)
}

// DestinationOptions is what ParseHomeAddressOption found.
type DestinationOptions struct {
	// Next is the type of what follows the header, and Length the header's length in octets.
	Next   uint8
	Length int
	// HomeAddress is the Home Address option's; invalid if there was none.
	HomeAddress netip.Addr
}

// ParseHomeAddressOption reads the destination options header at the beginning of b and skips the options that it may skip.
// The errors are those of this file; RFC 6275 sections 6.3 and 9.3.1 have the rules.
func ParseHomeAddressOption(b []byte) (DestinationOptions, error) {
	if len(b) < 8 || len(b) < (int(b[1])+1)*8 {
		return DestinationOptions{}, ErrExtensionLength
	}
	d := DestinationOptions{Next: b[0], Length: (int(b[1]) + 1) * 8}
	b = b[:d.Length]
	for at := 2; at < len(b); {
		if b[at] == 0 {
			at++
			continue
		}
		if at+2 > len(b) || at+2+int(b[at+1]) > len(b) {
			return DestinationOptions{}, ErrExtensionLength
		}
		data := b[at+2 : at+2+int(b[at+1])]
		switch {
		case b[at] == homeAddressOption:
			if d.HomeAddress.IsValid() {
				return DestinationOptions{}, ErrHomeAddressMore
			}
			if len(data) != 16 {
				return DestinationOptions{}, ErrHomeAddressSize
			}
			d.HomeAddress = parseAddress(data)
			if !UnicastRoutable(d.HomeAddress) {
				return DestinationOptions{}, ErrHomeAddress
			}
		case b[at]>>6 != 0:
			return DestinationOptions{}, &DestinationOptionError{b[at], at}
		}
		at += 2 + len(data)
	}
	return d, nil
}

// AppendType2Routing writes a type 2 routing header, ExtensionLength octets (RFC 6275 section 6.4.1). next is the type of
// what follows it. home is not checked.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Next Header  | Hdr Ext Len=2 | Routing Type=2|Segments Left=1|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                           Reserved                            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                         Home Address                          +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func AppendType2Routing(b []byte, next uint8, home netip.Addr) []byte {
	a := home.As16()
	return append(append(b, next, 2, 2, 1, 0, 0, 0, 0), a[:]...)
}

// ParseType2Routing reads the type 2 routing header at the beginning of b, ExtensionLength octets, and makes the checks of
// RFC 6275 section 11.3.3, apart from the one that home is this node's. next is the type of what follows it. The errors are
// ErrExtensionLength, ErrRoutingHeader and ErrHomeAddress.
func ParseType2Routing(b []byte) (next uint8, home netip.Addr, err error) {
	if len(b) < 8 {
		return 0, netip.Addr{}, ErrExtensionLength
	}
	if b[1] != 2 || b[2] != 2 || b[3] != 1 {
		return 0, netip.Addr{}, ErrRoutingHeader
	}
	if len(b) < ExtensionLength {
		return 0, netip.Addr{}, ErrExtensionLength
	}
	if home = parseAddress(b[8:]); !UnicastRoutable(home) {
		return 0, netip.Addr{}, ErrHomeAddress
	}
	return b[0], home, nil
}
