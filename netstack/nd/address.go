package nd

import (
	"net/netip"

	"kedge/netstack/packet"
)

// The link-local multicast groups of neighbour and listener discovery.
var (
	AllNodes          = netip.MustParseAddr("ff02::1")  // RFC 4291 section 2.7.1
	AllRouters        = netip.MustParseAddr("ff02::2")  // RFC 4291 section 2.7.1
	AllMLDv2Routers   = netip.MustParseAddr("ff02::16") // RFC 3810 section 5.2.14
	solicitedNodeHead = [13]byte{0xff, 0x02, 11: 0x01, 12: 0xff}
)

// SolicitedNode is the solicited-node multicast address of the IPv6 address a (RFC 4291 section 2.7.1).
func SolicitedNode(a netip.Addr) netip.Addr {
	g := a.As16()
	copy(g[:], solicitedNodeHead[:])
	return netip.AddrFrom16(g)
}

// IsSolicitedNode reports whether g is a solicited-node multicast address.
func IsSolicitedNode(g netip.Addr) bool {
	b := g.As16()
	return [13]byte(b[:13]) == solicitedNodeHead
}

// MulticastMAC is the Ethernet address that packets to the IPv6 multicast address g go to (RFC 2464 section 7).
func MulticastMAC(g netip.Addr) packet.LinkAddress {
	b := g.As16()
	return packet.LinkAddress{0x33, 0x33, b[12], b[13], b[14], b[15]}
}
