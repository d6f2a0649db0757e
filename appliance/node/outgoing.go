package node

import (
	"encoding/binary"
	"net/netip"

	"kedge/netstack/packet"
	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/mh"
)

// Next header values (RFC 8200 section 4, IANA protocol numbers).
const (
	protocolICMPv6          = 58
	protocolRouting         = 43
	protocolDestinationOpts = 60
	signalingHopLimit       = 64
	ipv6HeaderLength        = 40
	longestSignaling        = 2048 + ipv6HeaderLength + 48 // a Mobility Header with its extension headers
)

// mobilityPacket puts a Mobility Header into an IPv6 packet.
func mobilityPacket(p *packet.Packet, s signaling.Send) {
	ipv6(p, s.Source, s.Destination, s.HomeAddress, s.RoutingHome, mh.Protocol, s.Payload)
}

// discoveryPacket puts an ICMPv6 message of Mobile IPv6 into an IPv6 packet.
func discoveryPacket(p *packet.Packet, s signaling.SendICMP) {
	ipv6(p, s.Source, s.Destination, s.HomeAddress, s.RoutingHome, discovery.Protocol, s.Payload)
}

// echoPacket is an ICMPv6 Echo Request without data (RFC 4443 section 4.1).
func echoPacket(p *packet.Packet, e signaling.SendEcho) {
	const echoRequest = 128
	message := make([]byte, 8)
	message[0] = echoRequest
	binary.BigEndian.PutUint16(message[4:], e.Identifier)
	binary.BigEndian.PutUint16(message[6:], e.Sequence)
	discovery.SetChecksum(message, e.Source, e.Destination)
	ipv6(p, e.Source, e.Destination, netip.Addr{}, netip.Addr{}, protocolICMPv6, message)
}

// ipv6 writes a whole packet: IPv6 header, type 2 routing header if routingHome is valid, destination options with a Home
// Address option if homeAddress is valid (that order is RFC 6275 section 6.3's), payload.
func ipv6(p *packet.Packet, source, destination, homeAddress, routingHome netip.Addr, upper uint8, payload []byte) {
	p.Reset()
	b := append(p.Room()[:0], make([]byte, ipv6HeaderLength)...)
	b[0] = 0x60
	next := &b[6]
	if routingHome.IsValid() {
		*next = protocolRouting
		at := len(b)
		b = mh.AppendType2Routing(b, upper, routingHome)
		next = &b[at]
	}
	if homeAddress.IsValid() {
		*next = protocolDestinationOpts
		at := len(b)
		b = mh.AppendHomeAddressOption(b, upper, homeAddress)
		next = &b[at]
	}
	*next = upper
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6HeaderLength))
	b[7] = signalingHopLimit
	s, d := source.As16(), destination.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	p.SetLen(len(b))
}

// parameterProblem puts an ICMPv6 Parameter Problem, code 0 (RFC 4443 section 3.4), about a Mobility Header message into an
// IPv6 packet. The message's packet is written again from what is known of it, so that the pointer fits what is quoted.
func parameterProblem(p *packet.Packet, e signaling.SendParameterProblem) {
	const (
		parameterProblemType = 4
		icmpHeaderLength     = 8
		minimumMTU           = 1280
	)
	r := e.InReplyTo
	ipv6(p, r.Source, r.Destination, r.HomeAddress, r.RoutingHome, mh.Protocol, r.Payload)
	quoted := append([]byte(nil), p.Bytes()...)
	pointer := len(quoted) - len(r.Payload) + e.Pointer
	quoted = quoted[:min(len(quoted), minimumMTU-ipv6HeaderLength-icmpHeaderLength)]
	message := make([]byte, icmpHeaderLength, icmpHeaderLength+len(quoted))
	message[0] = parameterProblemType
	binary.BigEndian.PutUint32(message[4:], uint32(pointer))
	message = append(message, quoted...)
	discovery.SetChecksum(message, r.Destination, r.Source)
	ipv6(p, r.Destination, r.Source, netip.Addr{}, netip.Addr{}, protocolICMPv6, message)
}
