package discovery

import (
	"encoding/binary"
	"net/netip"
)

// HomeAgentAddressRequest is the Home Agent Address Discovery Request (RFC 6275 section 6.5).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Identifier           |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type HomeAgentAddressRequest struct{ Identifier uint16 }

// HomeAgentAddressReply is the Home Agent Address Discovery Reply (RFC 6275 section 6.6).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Identifier           |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	.              Home Agent Addresses (16 octets each)            .
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type HomeAgentAddressReply struct {
	Identifier uint16
	// Addresses are those of home agents, preferred ones first.
	Addresses []netip.Addr
}

// Type is TypeHomeAgentAddressRequest.
func (*HomeAgentAddressRequest) Type() Type { return TypeHomeAgentAddressRequest }

// Type is TypeHomeAgentAddressReply.
func (*HomeAgentAddressReply) Type() Type { return TypeHomeAgentAddressReply }

func (m *HomeAgentAddressRequest) appendBody(b []byte) ([]byte, error) {
	return append(binary.BigEndian.AppendUint16(b, m.Identifier), 0, 0), nil
}

func (m *HomeAgentAddressRequest) parseBody(b []byte) error {
	m.Identifier = binary.BigEndian.Uint16(b)
	return nil
}

func (m *HomeAgentAddressReply) appendBody(b []byte) ([]byte, error) {
	b = append(binary.BigEndian.AppendUint16(b, m.Identifier), 0, 0)
	for _, a := range m.Addresses {
		var err error
		if b, err = appendAddress(b, a); err != nil {
			return b, err
		}
	}
	return b, nil
}

func (m *HomeAgentAddressReply) parseBody(b []byte) error {
	m.Identifier = binary.BigEndian.Uint16(b)
	for b = b[4:]; len(b) > 0; b = b[16:] {
		if len(b) < 16 {
			return ErrLength
		}
		m.Addresses = append(m.Addresses, netip.AddrFrom16([16]byte(b)))
	}
	return nil
}

// homeAgentsAnycast is the anycast identifier of Mobile IPv6 home agents (RFC 2526 section 3).
const homeAgentsAnycast = 0x7e

// HomeAgentsAnycast is the Mobile IPv6 Home-Agents anycast address of a home subnet prefix (RFC 2526 section 2): the
// prefix, ones, and the anycast identifier. A prefix of 64 bits leaves an interface identifier in EUI-64 format, whose
// universal/local bit is 0: fdff:ffff:ffff:fffe. It is the invalid address if prefix is no IPv6 prefix or has more than 121
// bits.
func HomeAgentsAnycast(prefix netip.Prefix) netip.Addr { return anycast(prefix, homeAgentsAnycast) }

// proxiesAnycast is DMIPv6's anycast identifier, one that RFC 2526 section 3 keeps in reserve.
const proxiesAnycast = 0x7d

// ProxiesAnycast is the anycast address of the Distributed Home-Proxies (DMIPv6) near the /64 that address is in.
func ProxiesAnycast(address netip.Addr) netip.Addr {
	return anycast(netip.PrefixFrom(address, 64), proxiesAnycast)
}

// anycast is an address of RFC 2526 section 2.
func anycast(prefix netip.Prefix, identifier byte) netip.Addr {
	if !prefix.IsValid() || !prefix.Addr().Is6() || prefix.Bits() > 121 {
		return netip.Addr{}
	}
	a := prefix.Masked().Addr().As16()
	for bit := prefix.Bits(); bit < 128; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	if prefix.Bits() == 64 {
		a[8] &^= 0x02
	}
	a[15] = a[15]&0x80 | identifier
	return netip.AddrFrom16(a)
}
