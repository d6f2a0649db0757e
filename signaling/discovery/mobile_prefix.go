package discovery

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// MobilePrefixSolicitation is RFC 6275 section 6.7.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Identifier           |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Options ...
//	+-+-+-+-+-+-+-
type MobilePrefixSolicitation struct {
	Identifier uint16
	// Unknown are the options, of which RFC 6275 defines none.
	Unknown []UnknownOption
}

// MobilePrefixAdvertisement is RFC 6275 section 6.8.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Identifier           |M|O|         Reserved          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Options ...
//	+-+-+-+-+-+-+-
type MobilePrefixAdvertisement struct {
	Identifier uint16
	// Managed (M) and Other (O) are Managed Address Configuration and Other Stateful Configuration.
	Managed, Other bool
	Prefixes       []PrefixInformation
	// Unknown are the other options. They are written after Prefixes.
	Unknown []UnknownOption
}

// Infinity is the lifetime of a prefix that does not end.
const Infinity = 0xffffffff * time.Second

// PrefixInformation is the Prefix Information option of RFC 4861 section 4.6.2 with the R flag of RFC 6275 section 7.2.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 3    |  Length = 4   | Prefix Length |L|A|R|Reserved1|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                        Valid Lifetime                         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                      Preferred Lifetime                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                           Reserved2                           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                      Prefix (16 octets)                       +
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type PrefixInformation struct {
	// OnLink (L), Autonomous (A) and RouterAddress (R).
	OnLink, Autonomous, RouterAddress bool
	// Prefix is the prefix; with RouterAddress, Prefix.Addr() is the full address of the router (home agent), and else
	// its bits past the prefix length are 0.
	Prefix netip.Prefix
	// Valid and Preferred are lifetimes in whole seconds (rounded down when written), 0 to Infinity.
	Valid, Preferred time.Duration
}

// UnknownOption is an option of another type, octet for octet.
type UnknownOption struct {
	Type uint8
	// Data is what follows Type and Length: 6 to 2038 octets, 2 less than a multiple of 8.
	Data []byte
}

// optionPrefixInformation is the type of the Prefix Information option.
const optionPrefixInformation = 3

// Type is TypeMobilePrefixSolicitation.
func (*MobilePrefixSolicitation) Type() Type { return TypeMobilePrefixSolicitation }

// Type is TypeMobilePrefixAdvertisement.
func (*MobilePrefixAdvertisement) Type() Type { return TypeMobilePrefixAdvertisement }

func (m *MobilePrefixSolicitation) appendBody(b []byte) ([]byte, error) {
	return appendUnknown(append(binary.BigEndian.AppendUint16(b, m.Identifier), 0, 0), m.Unknown)
}

func (m *MobilePrefixSolicitation) parseBody(b []byte) error {
	m.Identifier = binary.BigEndian.Uint16(b)
	return parseOptions(b[4:], func(t uint8, d []byte) error {
		m.Unknown = append(m.Unknown, UnknownOption{t, append([]byte(nil), d...)})
		return nil
	})
}

func (m *MobilePrefixAdvertisement) appendBody(b []byte) ([]byte, error) {
	var flags byte
	if m.Managed {
		flags |= 0x80
	}
	if m.Other {
		flags |= 0x40
	}
	b = append(binary.BigEndian.AppendUint16(b, m.Identifier), flags, 0)
	for _, p := range m.Prefixes {
		var err error
		if b, err = p.appendTo(b); err != nil {
			return b, err
		}
	}
	return appendUnknown(b, m.Unknown)
}

func (m *MobilePrefixAdvertisement) parseBody(b []byte) error {
	m.Identifier = binary.BigEndian.Uint16(b)
	m.Managed, m.Other = b[2]&0x80 != 0, b[2]&0x40 != 0
	return parseOptions(b[4:], func(t uint8, d []byte) error {
		if t != optionPrefixInformation {
			m.Unknown = append(m.Unknown, UnknownOption{t, append([]byte(nil), d...)})
			return nil
		}
		p, err := parsePrefixInformation(d)
		m.Prefixes = append(m.Prefixes, p)
		return err
	})
}

func (p *PrefixInformation) appendTo(b []byte) ([]byte, error) {
	if !p.Prefix.IsValid() || !p.Prefix.Addr().Is6() {
		return b, fmt.Errorf("%v is not an IPv6 prefix", p.Prefix)
	}
	var flags byte
	for i, f := range [...]bool{p.OnLink, p.Autonomous, p.RouterAddress} {
		if f {
			flags |= 0x80 >> i
		}
	}
	b = append(b, optionPrefixInformation, 4, byte(p.Prefix.Bits()), flags)
	for _, d := range [...]time.Duration{p.Valid, p.Preferred} {
		if d < 0 || d >= Infinity+time.Second {
			return b, fmt.Errorf("prefix lifetime %v is not between 0 and %v", d, Infinity)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(d/time.Second))
	}
	a := p.Prefix.Addr()
	if !p.RouterAddress {
		a = p.Prefix.Masked().Addr()
	}
	return appendAddress(append(b, 0, 0, 0, 0), a)
}

// parsePrefixInformation reads an option without its type and length.
func parsePrefixInformation(d []byte) (PrefixInformation, error) {
	if len(d) != 30 || d[0] > 128 {
		return PrefixInformation{}, ErrOption
	}
	p := PrefixInformation{
		OnLink:        d[1]&0x80 != 0,
		Autonomous:    d[1]&0x40 != 0,
		RouterAddress: d[1]&0x20 != 0,
		Valid:         time.Duration(binary.BigEndian.Uint32(d[2:])) * time.Second,
		Preferred:     time.Duration(binary.BigEndian.Uint32(d[6:])) * time.Second,
		Prefix:        netip.PrefixFrom(netip.AddrFrom16([16]byte(d[14:])), int(d[0])),
	}
	if !p.RouterAddress {
		p.Prefix = p.Prefix.Masked()
	}
	return p, nil
}

func appendUnknown(b []byte, opts []UnknownOption) ([]byte, error) {
	for _, o := range opts {
		n := len(o.Data) + 2
		if n%8 != 0 || n == 0 || n/8 > 255 {
			return b, fmt.Errorf("option %d: %d octets of data, want 2 less than a multiple of 8", o.Type, len(o.Data))
		}
		b = append(append(b, o.Type, byte(n/8)), o.Data...)
	}
	return b, nil
}

// parseOptions hands each option's type and data to take (RFC 4861 section 4.6).
func parseOptions(b []byte, take func(t uint8, d []byte) error) error {
	for len(b) > 0 {
		if len(b) < 2 || b[1] == 0 || len(b) < int(b[1])*8 {
			return ErrOption
		}
		n := int(b[1]) * 8
		if err := take(b[0], b[2:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
