package binding

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The versions, which are the first octet of every record: bindings with a UDP port are written as recordUDP, others as
// recordNative.
const (
	recordNative = 1
	recordUDP    = 2
)

// ErrRecord is wrapped by errors about records that cannot be read.
var ErrRecord = errors.New("binding record")

const (
	// recordFixed is the length of a record up to the owner's name, without what recordUDP adds.
	recordFixed = 1 + 2 + 2 + 2 + 8 + 8 + 8 + 16 + 1
	// recordOutside is the length of what recordUDP adds.
	recordOutside = 2 + 16
)

// recordKey is the name of home's record: its 16 octets and its prefix length.
func recordKey(home netip.Prefix) []byte {
	a := home.Addr().As16()
	return append(a[:], uint8(home.Bits()))
}

// AppendRecord writes b's record, without b.Home, which is the record's key. Integers are in network byte order, times in
// milliseconds of the Unix epoch, so that a lifetime goes on while the node is down. Owner and Networks have at most 255
// octets and entries.
//
//	 0      1       3          5          7           15      23        31        47
//	+---------+-------+----------+----------+-----------+-------+---------+---------+-------------+-------+
//	| version | flags | sequence | lifetime | timestamp | since | expires | care-of | owner       | n     |
//	| 1       | 2     | 2        | 2 (4 s)  | 8         | 8     | 8       | 16      | 1 + length  | 1     |
//	+---------+-------+----------+----------+-----------+-------+---------+---------+-------------+-------+
//	n times: prefix (16), prefix length (1)
//
// Version 2 has the port (2) and the anchor's local address (16) between care-of and owner. IPv4 addresses are mapped to
// IPv6.
func AppendRecord(r []byte, b *Binding) ([]byte, error) {
	if len(b.Owner) > 255 || len(b.Networks) > 255 {
		return r, fmt.Errorf("%w: owner of %d octets, %d networks; 255 each is the most", ErrRecord, len(b.Owner), len(b.Networks))
	}
	version := byte(recordNative)
	if b.Port != 0 {
		version = recordUDP
	}
	r = append(r, version)
	r = binary.BigEndian.AppendUint16(r, uint16(b.Flags))
	r = binary.BigEndian.AppendUint16(r, b.Sequence)
	r = binary.BigEndian.AppendUint16(r, uint16(b.Lifetime/LifetimeUnit))
	r = binary.BigEndian.AppendUint64(r, b.Timestamp)
	r = binary.BigEndian.AppendUint64(r, uint64(b.Since.UnixMilli()))
	r = binary.BigEndian.AppendUint64(r, uint64(b.Expires.UnixMilli()))
	a := addressBytes(b.CareOf)
	r = append(r, a[:]...)
	if version == recordUDP {
		l := addressBytes(b.Local)
		r = append(binary.BigEndian.AppendUint16(r, b.Port), l[:]...)
	}
	r = append(append(r, uint8(len(b.Owner))), b.Owner...)
	r = append(r, uint8(len(b.Networks)))
	for _, n := range b.Networks {
		r = append(r, recordKey(n)...)
	}
	return r, nil
}

// ParseRecord reads what AppendRecord wrote. Errors wrap ErrRecord.
func ParseRecord(key, record []byte) (Binding, error) {
	home, err := parsePrefix(key)
	if err != nil {
		return Binding{}, err
	}
	if len(record) == 0 || record[0] != recordNative && record[0] != recordUDP {
		return Binding{}, fmt.Errorf("%w of %v: not of version %d or %d", ErrRecord, home, recordNative, recordUDP)
	}
	short := fmt.Errorf("%w of %v: %d octets do not hold it", ErrRecord, home, len(record))
	fixed := recordFixed
	if record[0] == recordUDP {
		fixed += recordOutside
	}
	if len(record) < fixed {
		return Binding{}, short
	}
	b := Binding{
		Home:      home,
		Flags:     Flags(binary.BigEndian.Uint16(record[1:])),
		Sequence:  binary.BigEndian.Uint16(record[3:]),
		Lifetime:  time.Duration(binary.BigEndian.Uint16(record[5:])) * LifetimeUnit,
		Timestamp: binary.BigEndian.Uint64(record[7:]),
		Since:     time.UnixMilli(int64(binary.BigEndian.Uint64(record[15:]))),
		Expires:   time.UnixMilli(int64(binary.BigEndian.Uint64(record[23:]))),
		CareOf:    address([16]byte(record[31:47])),
	}
	if record[0] == recordUDP {
		b.Port, b.Local = binary.BigEndian.Uint16(record[47:]), address([16]byte(record[49:65]))
		if b.Port == 0 {
			return Binding{}, fmt.Errorf("%w of %v: UDP port is 0", ErrRecord, home)
		}
	}
	rest := record[fixed:]
	n := int(record[fixed-1])
	if len(rest) < n+1 {
		return Binding{}, short
	}
	b.Owner = string(rest[:n])
	count := int(rest[n])
	rest = rest[n+1:]
	if len(rest) != 17*count {
		return Binding{}, short
	}
	for ; len(rest) > 0; rest = rest[17:] {
		network, err := parsePrefix(rest[:17])
		if err != nil {
			return Binding{}, err
		}
		b.Networks = append(b.Networks, network)
	}
	return b, nil
}

func parsePrefix(b []byte) (netip.Prefix, error) {
	if len(b) != 17 || b[16] > 128 {
		return netip.Prefix{}, fmt.Errorf("%w: %x is no prefix", ErrRecord, b)
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), int(b[16])), nil
}
