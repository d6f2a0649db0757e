package mh

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// MaxUDPEndpoints is how many UDPEndpoint options may go with one DHPInformation.
const MaxUDPEndpoints = 4

// UDPEndpoint is where a DHP is reached by the UDP transport (RFC 5555), aligned 8n. It follows the DHPInformation that it
// goes with.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 18   |  Length = 22  |   Kind = 5    |   Reserved    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|             Port              |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                            Address                            +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type UDPEndpoint struct {
	// Endpoint is an IPv6 or a plain IPv4 address, which is mapped to IPv6 on the wire only, and a port.
	Endpoint netip.AddrPort
}

// OptionType is OptionExperimental.
func (*UDPEndpoint) OptionType() OptionType { return OptionExperimental }

func (*UDPEndpoint) align() (x, y int) { return 8, 0 }

func (o *UDPEndpoint) appendData(b []byte) ([]byte, error) {
	if !o.Endpoint.IsValid() {
		return b, fmt.Errorf("%v is not an address and port", o.Endpoint)
	}
	b = binary.BigEndian.AppendUint16(append(b, kindUDPEndpoint, 0), o.Endpoint.Port())
	w := o.Endpoint.Addr().As16()
	return append(append(b, 0, 0), w[:]...), nil
}

func (o *UDPEndpoint) parseData(d []byte) error {
	if len(d) != 22 {
		return errDataLength
	}
	o.Endpoint = netip.AddrPortFrom(parseAddress(d[6:]).Unmap(), binary.BigEndian.Uint16(d[2:]))
	return nil
}

// UDPReachable reports whether datagrams can be sent to e from anywhere: to a port that is not 0 of a unicast address of more
// than link-local and host-local scope. An IPv4 address of a private network is one.
func UDPReachable(e netip.AddrPort) bool {
	a := e.Addr()
	return e.Port() != 0 && a.IsGlobalUnicast() && !a.Is4In6() && a.Zone() == ""
}
