// Package nd is the codec of neighbour discovery (RFC 4861 with the changes of RFC 6275 section 7, RFC 4191 and RFC 7527)
// and of multicast listener discovery (RFC 3810). It works on whole IPv6 packets, because most validity rules are about
// the IPv6 header. It knows octets only: it sends nothing and remembers nothing.
package nd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Type is an ICMPv6 Type field.
type Type uint8

// The message types.
const (
	TypeListenerQuery         Type = 130 // RFC 3810 section 5.1
	TypeListenerReportV1      Type = 131 // RFC 2710 section 3
	TypeListenerDoneV1        Type = 132 // RFC 2710 section 3
	TypeRouterSolicitation    Type = 133 // RFC 4861 section 4.1
	TypeRouterAdvertisement   Type = 134 // 4.2
	TypeNeighborSolicitation  Type = 135 // 4.3
	TypeNeighborAdvertisement Type = 136 // 4.4
	TypeRedirect              Type = 137 // 4.5
	TypeListenerReport        Type = 143 // RFC 3810 section 5.2
)

const (
	ipv6Length       = 40
	icmpHeaderLength = 4
	protocolICMPv6   = 58
	protocolHopByHop = 0
	// hopLimit shows a receiver that no router forwarded the message (RFC 4861 section 3.1).
	hopLimit = 255
	// maxMessage keeps a message's length within the IPv6 Payload Length field, hop-by-hop header included.
	maxMessage = 65535 - hopByHopLength
)

// ErrNotND is returned, wrapped, by Parse for packets that are no message of this package: the packet may be sound.
var ErrNotND = errors.New("not a neighbour discovery message")

// ErrInvalid is returned, wrapped, by Parse for messages that fail a validity check and must be silently discarded.
var ErrInvalid = errors.New("invalid neighbour discovery message")

// Message is one decoded message: a pointer to one of the message types of this package.
type Message interface {
	// Type is the message's ICMPv6 type.
	Type() Type
	// appendBody writes what follows the checksum.
	appendBody(b []byte) ([]byte, error)
	// parseBody reads what follows the checksum.
	parseBody(b []byte) error
	// valid makes the checks of its section that are about more than length.
	valid(src, dst netip.Addr) error
}

// Is reports whether the IPv6 packet b claims to be a message that Parse reads, so that a link can tell in a few
// nanoseconds what goes to the neighbour table.
func Is(b []byte) bool {
	if len(b) < ipv6Length+icmpHeaderLength {
		return false
	}
	switch b[6] {
	case protocolICMPv6:
		t := Type(b[ipv6Length])
		return t >= TypeRouterSolicitation && t <= TypeRedirect
	case protocolHopByHop:
		if len(b) < ipv6Length+hopByHopLength+icmpHeaderLength || b[ipv6Length] != protocolICMPv6 || b[ipv6Length+1] != 0 {
			return false
		}
		return isListener(Type(b[ipv6Length+hopByHopLength]))
	}
	return false
}

// Append writes an IPv6 packet from src to dst with the message m behind b, checksum done. Neighbour discovery gets hop
// limit 255; listener discovery hop limit 1 and a router alert (RFC 3810 section 5). It fails if an address is not
// IPv6, an option cannot be written, or the message does not fit a packet; b is then returned unchanged.
func Append(b []byte, src, dst netip.Addr, m Message) ([]byte, error) {
	if !src.Is6() || !dst.Is6() {
		return b, fmt.Errorf("%v to %v: not IPv6 addresses", src, dst)
	}
	start := len(b)
	out := append(b, 0x60, 0, 0, 0, 0, 0, protocolICMPv6, hopLimit)
	s, d := src.As16(), dst.As16()
	out = append(out, s[:]...)
	out = append(out, d[:]...)
	if isListener(m.Type()) {
		out[start+6], out[start+7] = protocolHopByHop, 1
		out = append(out, routerAlert[:]...)
	}
	icmp := len(out)
	out = append(out, byte(m.Type()), 0, 0, 0)
	out, err := m.appendBody(out)
	if err != nil {
		return b, err
	}
	if len(out)-icmp > maxMessage {
		return b, fmt.Errorf("message of %d octets is too long for an IPv6 packet", len(out)-icmp)
	}
	binary.BigEndian.PutUint16(out[start+4:], uint16(len(out)-start-ipv6Length))
	binary.BigEndian.PutUint16(out[icmp+2:], ^checksum(s, d, out[icmp:]))
	return out, nil
}

// Parse reads the IPv6 packet b and makes every validity check of RFC 4861 sections 6.1, 7.1 and 8.1 (but the one that
// needs to know the first-hop router) and RFC 3810 section 6.2. What stands behind the IPv6 payload, as Ethernet
// padding does, is not looked at. The message does not refer to b. The error wraps ErrNotND or ErrInvalid.
func Parse(b []byte) (src, dst netip.Addr, m Message, err error) {
	none := netip.Addr{}
	if len(b) < ipv6Length || b[0]>>4 != 6 {
		return none, none, nil, fmt.Errorf("%w: no IPv6 header", ErrNotND)
	}
	end := ipv6Length + int(binary.BigEndian.Uint16(b[4:]))
	if end > len(b) {
		return none, none, nil, fmt.Errorf("%w: IPv6 payload is truncated", ErrNotND)
	}
	if !Is(b[:end]) {
		return none, none, nil, ErrNotND
	}
	s, d := [16]byte(b[8:24]), [16]byte(b[24:40])
	src, dst = netip.AddrFrom16(s), netip.AddrFrom16(d)
	icmp := b[ipv6Length:end]
	wantLimit := byte(hopLimit)
	if b[6] == protocolHopByHop {
		if !hasRouterAlert(icmp[:hopByHopLength]) {
			return none, none, nil, fmt.Errorf("%w: no router alert", ErrInvalid)
		}
		icmp, wantLimit = icmp[hopByHopLength:], 1
	}
	t := Type(icmp[0])
	switch {
	case b[7] != wantLimit:
		err = fmt.Errorf("hop limit is %d, not %d", b[7], wantLimit)
	case icmp[1] != 0 && !isListener(t): // RFC 3810 sections 5.1.1 and 5.2 ignore it
		err = fmt.Errorf("code is %d, not 0", icmp[1])
	case src.IsMulticast():
		err = errors.New("source is multicast")
	case checksum(s, d, icmp) != 0xffff:
		err = errors.New("bad checksum")
	default:
		m = newMessage(t)
		if err = m.parseBody(icmp[icmpHeaderLength:]); err == nil {
			err = m.valid(src, dst)
		}
	}
	if err != nil {
		return none, none, nil, fmt.Errorf("%w: type %d: %w", ErrInvalid, t, err)
	}
	return src, dst, m, nil
}

// newMessage makes an empty message of a type for which Is holds.
func newMessage(t Type) Message {
	switch t {
	case TypeListenerQuery:
		return new(ListenerQuery)
	case TypeListenerReport:
		return new(ListenerReport)
	case TypeListenerReportV1:
		return new(ListenerReportV1)
	case TypeListenerDoneV1:
		return new(ListenerDoneV1)
	case TypeRouterSolicitation:
		return new(RouterSolicitation)
	case TypeRouterAdvertisement:
		return new(RouterAdvertisement)
	case TypeNeighborSolicitation:
		return new(NeighborSolicitation)
	case TypeNeighborAdvertisement:
		return new(NeighborAdvertisement)
	default:
		return new(Redirect)
	}
}

// checksum sums the pseudo-header (RFC 8200 section 8.1) and the ICMPv6 message; 0xffff if the message holds a right one.
func checksum(src, dst [16]byte, icmp []byte) uint16 {
	sum := uint64(len(icmp)) + protocolICMPv6
	for _, part := range [...][]byte{src[:], dst[:], icmp} {
		for len(part) >= 2 {
			sum += uint64(part[0])<<8 | uint64(part[1])
			part = part[2:]
		}
		if len(part) == 1 {
			sum += uint64(part[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

func errShort(have, want int) error {
	return fmt.Errorf("%d octets long, needs %d", have+icmpHeaderLength, want+icmpHeaderLength)
}
