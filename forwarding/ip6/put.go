package ip6

import (
	"encoding/binary"
	"net/netip"
)

// PutHeader writes a fixed header into b[:40]. payload is the Payload Length, at most 65,535, and flowLabel has 20 bits.
func PutHeader(b []byte, trafficClass uint8, flowLabel uint32, payload int, next, hopLimit uint8, source, destination netip.Addr) {
	_ = b[HeaderLength-1]
	binary.BigEndian.PutUint32(b, 6<<28|uint32(trafficClass)<<20|flowLabel)
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	b[6], b[7] = next, hopLimit
	s, d := source.As16(), destination.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
}

// SetECN replaces the ECN field, the low two bits of the traffic class (RFC 3168 section 5).
func SetECN(b []byte, ecn uint8) { b[1] = b[1]&^0x30 | ecn<<4 }

// PutFirst writes what differs between packets of one kind into a fixed header in b: see PutHeader.
func PutFirst(b []byte, trafficClass uint8, flowLabel uint32, payload int) {
	binary.BigEndian.PutUint32(b, 6<<28|uint32(trafficClass)<<20|flowLabel)
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
}
