// Package icmp makes ICMPv6 error messages (RFC 4443) and limits their rate.
package icmp

import (
	"encoding/binary"
	"net/netip"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// Message types.
const (
	DestinationUnreachable = 1
	PacketTooBig           = 2
	TimeExceeded           = 3
	ParameterProblem       = 4
	// FirstInformational is the lowest type that is not an error.
	FirstInformational = 128
	EchoRequest        = 128
	EchoReply          = 129
	Query              = 130 // multicast listener discovery, RFC 2710
	Done               = 132
	RouterSolicitation = 133
	Redirect           = 137
	ReportV2           = 143 // RFC 3810
	// The messages of Mobile IPv6 (RFC 6275 sections 6.5 to 6.8).
	HomeAgentDiscoveryRequest = 144
	MobilePrefixAdvertisement = 147
)

// Codes of Destination Unreachable, Time Exceeded and Parameter Problem.
const (
	NoRoute            = 0
	BeyondScope        = 2
	AddressUnreachable = 3
	PortUnreachable    = 4
	SourceFailedPolicy = 5
	HopLimitExceeded   = 0
	UnrecognizedHeader = 1
)

// HeaderLength is that of an ICMPv6 error message in octets, up to the invoking packet.
const HeaderLength = 8

const hopLimit = 64

// Error is an ICMPv6 error message to be made.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Code      |          Checksum             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                   Unused or MTU (Parameter)                   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   As much of the invoking packet as fits                      |
//
// (RFC 4443 section 3.)
type Error struct {
	Type, Code          uint8
	Parameter           uint32
	Source, Destination netip.Addr
	// Invoking is the packet that it is about. Limit is the longest that the whole error may be in octets, at least
	// 48; 0 and anything above 1280 mean 1280.
	Invoking []byte
	Limit    int
}

// Put makes p the error, with its IPv6 header and checksum. p has room for at least 1280 octets and does not hold
// Invoking.
func (e *Error) Put(p *packet.Packet) {
	limit := e.Limit
	if limit <= 0 || limit > ip6.MinimumMTU {
		limit = ip6.MinimumMTU
	}
	n := min(HeaderLength+len(e.Invoking), limit-ip6.HeaderLength)
	p.Reset()
	p.SetLen(ip6.HeaderLength + n)
	b := p.Bytes()
	ip6.PutHeader(b, 0, 0, n, ip6.ICMP, hopLimit, e.Source, e.Destination)
	m := b[ip6.HeaderLength:]
	m[0], m[1], m[2], m[3] = e.Type, e.Code, 0, 0
	binary.BigEndian.PutUint32(m[4:], e.Parameter)
	copy(m[HeaderLength:], e.Invoking)
	binary.BigEndian.PutUint16(m[2:], ^packet.Sum(m, packet.PseudoHeaderSum(b[8:24], b[24:40], n, ip6.ICMP)))
}

// ChecksumValid verifies the checksum of the ICMPv6 message b between the given ends.
func ChecksumValid(b []byte, source, destination netip.Addr) bool {
	s, d := source.As16(), destination.As16()
	return packet.Sum(b, packet.PseudoHeaderSum(s[:], d[:], len(b), ip6.ICMP)) == 0xffff
}

// Refuses reports whether no ICMPv6 error may be sent about the packet b with header h (RFC 4443 section 2.4 e): it is
// an ICMPv6 error or redirect itself, or its source or destination is not one node.
func Refuses(b []byte, h *ip6.Header) bool {
	if h.Destination.IsMulticast() || ip6.Bogon(h.Source) {
		return true
	}
	if h.Upper != ip6.ICMP || (h.Fragmented && !h.FirstFragment) {
		return false
	}
	if h.UpperOffset >= len(b) {
		return true
	}
	t := b[h.UpperOffset]
	return t < FirstInformational || t == Redirect
}
