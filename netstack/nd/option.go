package nd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/netstack/packet"
)

// OptionType is an option's Type field.
type OptionType uint8

// The option types that this package knows, and OptionRDNSS (RFC 8106 section 5.1), which it keeps as *UnknownOption.
const (
	OptionSourceLinkLayerAddress OptionType = 1
	OptionTargetLinkLayerAddress OptionType = 2
	OptionPrefixInformation      OptionType = 3
	OptionMTU                    OptionType = 5
	OptionAdvertisementInterval  OptionType = 7
	OptionHomeAgentInformation   OptionType = 8
	OptionNonce                  OptionType = 14
	OptionRouteInformation       OptionType = 24
	OptionRDNSS                  OptionType = 25
)

// Infinity is the lifetime that is written as all one bits and never ends (RFC 4861 section 4.6.2).
const Infinity = 0xffffffff * time.Second

// Option is one decoded option: one of the option types of this package.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |  Length (* 8) |              ...              |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Option interface {
	// OptionType is the option's type (RFC 4861 section 4.6).
	OptionType() OptionType
	// appendData writes the option's data, without type and length.
	appendData(b []byte) []byte
}

// Options are a message's options in order.
type Options []Option

// Find returns the first option of type O.
func Find[O Option](opts Options) (o O, ok bool) {
	for _, v := range opts {
		if t, is := v.(O); is {
			return t, true
		}
	}
	return o, false
}

func (opts Options) append(b []byte) ([]byte, error) {
	for _, o := range opts {
		start := len(b)
		b = o.appendData(append(b, byte(o.OptionType()), 0))
		n := len(b) - start
		if n%8 != 0 || n > 255*8 {
			return nil, fmt.Errorf("option %d of %d octets: must be a multiple of 8 up to 2040", o.OptionType(), n)
		}
		b[start+1] = byte(n / 8)
	}
	return b, nil
}

// parseOptions keeps an option of a known type whose length is wrong as unknown, since it is no reason to discard the
// message (RFC 4861 sections 6.1 and 7.1 ask only for lengths greater than zero).
func parseOptions(b []byte) (Options, error) {
	var opts Options
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, errors.New("option is truncated")
		}
		n := int(b[1]) * 8
		if n == 0 {
			return nil, errors.New("option has length 0")
		}
		if n > len(b) {
			return nil, errors.New("option is truncated")
		}
		opts = append(opts, parseOption(OptionType(b[0]), b[2:n]))
		b = b[n:]
	}
	return opts, nil
}

func parseOption(t OptionType, d []byte) Option {
	switch {
	case t == OptionSourceLinkLayerAddress && len(d) == 6:
		return SourceLinkLayerAddress(d)
	case t == OptionTargetLinkLayerAddress && len(d) == 6:
		return TargetLinkLayerAddress(d)
	case t == OptionMTU && len(d) == 6:
		return MTU(binary.BigEndian.Uint32(d[2:]))
	case t == OptionAdvertisementInterval && len(d) == 6:
		return AdvertisementInterval(time.Duration(binary.BigEndian.Uint32(d[2:])) * time.Millisecond)
	case t == OptionHomeAgentInformation && len(d) == 6:
		return HomeAgentInformation{
			Preference: binary.BigEndian.Uint16(d[2:]),
			Lifetime:   time.Duration(binary.BigEndian.Uint16(d[4:])) * time.Second,
		}
	case t == OptionNonce:
		return Nonce(d)
	case t == OptionPrefixInformation && len(d) == 30 && d[0] <= 128:
		return parsePrefixInformation(d)
	case t == OptionRouteInformation && routeInformationFits(d):
		return parseRouteInformation(d)
	}
	return &UnknownOption{Type: t, Data: append([]byte(nil), d...)}
}

// SourceLinkLayerAddress is the sender's link-layer address (RFC 4861 section 4.6.1, RFC 2464 section 6).
type SourceLinkLayerAddress packet.LinkAddress

// OptionType is OptionSourceLinkLayerAddress.
func (SourceLinkLayerAddress) OptionType() OptionType { return OptionSourceLinkLayerAddress }

func (o SourceLinkLayerAddress) appendData(b []byte) []byte { return append(b, o[:]...) }

// TargetLinkLayerAddress is the target's link-layer address (RFC 4861 section 4.6.1, RFC 2464 section 6).
type TargetLinkLayerAddress packet.LinkAddress

// OptionType is OptionTargetLinkLayerAddress.
func (TargetLinkLayerAddress) OptionType() OptionType { return OptionTargetLinkLayerAddress }

func (o TargetLinkLayerAddress) appendData(b []byte) []byte { return append(b, o[:]...) }

// MTU is the link's recommended MTU in octets (RFC 4861 section 4.6.4).
type MTU uint32

// OptionType is OptionMTU.
func (MTU) OptionType() OptionType { return OptionMTU }

func (o MTU) appendData(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0), uint32(o))
}

// AdvertisementInterval is the longest time between a router's unsolicited advertisements, 0 to 4,294,967,295 ms in whole
// milliseconds (RFC 6275 section 7.3).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |    Length     |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                     Advertisement Interval                    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type AdvertisementInterval time.Duration

// OptionType is OptionAdvertisementInterval.
func (AdvertisementInterval) OptionType() OptionType { return OptionAdvertisementInterval }

func (o AdvertisementInterval) appendData(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0), uint32(units(time.Duration(o), time.Millisecond, 0xffffffff)))
}

// HomeAgentInformation is RFC 6275 section 7.4.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |    Length     |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Home Agent Preference     |      Home Agent Lifetime      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type HomeAgentInformation struct {
	// Preference orders home agents; higher is preferred.
	Preference uint16
	// Lifetime is 1 to 65,535 s in whole seconds; a receiver must not make use of 0.
	Lifetime time.Duration
}

// OptionType is OptionHomeAgentInformation.
func (HomeAgentInformation) OptionType() OptionType { return OptionHomeAgentInformation }

func (o HomeAgentInformation) appendData(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, 0, 0), o.Preference)
	return binary.BigEndian.AppendUint16(b, uint16(units(o.Lifetime, time.Second, 0xffff)))
}

// Nonce tells a node its own solicitations that a link loops back (RFC 7527 section 4.1, RFC 3971 section 5.3.2). Its
// length in octets is 6 plus a multiple of 8.
type Nonce string

// OptionType is OptionNonce.
func (Nonce) OptionType() OptionType { return OptionNonce }

func (o Nonce) appendData(b []byte) []byte { return append(b, o...) }

// UnknownOption is an option of a type that this package does not know or whose length is not what its type asks for.
type UnknownOption struct {
	Type OptionType
	// Data is what follows type and length; its length in octets is 6 plus a multiple of 8.
	Data []byte
}

// OptionType is the option's type.
func (o *UnknownOption) OptionType() OptionType { return o.Type }

func (o *UnknownOption) appendData(b []byte) []byte { return append(b, o.Data...) }

// PrefixInformation is RFC 4861 section 4.6.2 with the R flag of RFC 6275 section 7.2.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |    Length     | Prefix Length |L|A|R|Reserved1|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                         Valid Lifetime                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       Preferred Lifetime                      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                           Reserved2                           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                     Prefix (16 octets)                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type PrefixInformation struct {
	// Prefix is as it stands in the option, not masked: with RouterAddress, Prefix.Addr() is the router's own address.
	Prefix netip.Prefix
	// OnLink (L), Autonomous (A), RouterAddress (R).
	OnLink, Autonomous, RouterAddress bool
	// ValidLifetime and PreferredLifetime are 0 to Infinity in whole seconds.
	ValidLifetime, PreferredLifetime time.Duration
}

// OptionType is OptionPrefixInformation.
func (PrefixInformation) OptionType() OptionType { return OptionPrefixInformation }

func (o PrefixInformation) appendData(b []byte) []byte {
	var flags byte
	setBit(&flags, 0x80, o.OnLink)
	setBit(&flags, 0x40, o.Autonomous)
	setBit(&flags, 0x20, o.RouterAddress)
	b = append(b, byte(max(o.Prefix.Bits(), 0)), flags)
	b = binary.BigEndian.AppendUint32(b, uint32(units(o.ValidLifetime, time.Second, 0xffffffff)))
	b = binary.BigEndian.AppendUint32(b, uint32(units(o.PreferredLifetime, time.Second, 0xffffffff)))
	p := o.Prefix.Addr().As16()
	return append(append(b, 0, 0, 0, 0), p[:]...)
}

func parsePrefixInformation(d []byte) PrefixInformation {
	return PrefixInformation{
		Prefix:            netip.PrefixFrom(netip.AddrFrom16([16]byte(d[14:30])), int(d[0])),
		OnLink:            d[1]&0x80 != 0,
		Autonomous:        d[1]&0x40 != 0,
		RouterAddress:     d[1]&0x20 != 0,
		ValidLifetime:     time.Duration(binary.BigEndian.Uint32(d[2:])) * time.Second,
		PreferredLifetime: time.Duration(binary.BigEndian.Uint32(d[6:])) * time.Second,
	}
}

// RouteInformation is a route by way of the advertising router (RFC 4191 section 2.3).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |    Length     | Prefix Length |Resvd|Prf|Resvd|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                        Route Lifetime                         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                   Prefix (0, 8 or 16 octets)                  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type RouteInformation struct {
	// Prefix is masked.
	Prefix     netip.Prefix
	Preference Preference
	// Lifetime is 0 to Infinity in whole seconds.
	Lifetime time.Duration
}

// OptionType is OptionRouteInformation.
func (RouteInformation) OptionType() OptionType { return OptionRouteInformation }

func (o RouteInformation) appendData(b []byte) []byte {
	bits := max(o.Prefix.Bits(), 0)
	b = append(b, byte(bits), o.Preference.wire())
	b = binary.BigEndian.AppendUint32(b, uint32(units(o.Lifetime, time.Second, 0xffffffff)))
	p := o.Prefix.Masked().Addr().As16()
	return append(b, p[:(bits+63)/64*8]...)
}

// routeInformationFits also refuses the reserved preference, for which the option must be ignored.
func routeInformationFits(d []byte) bool {
	return (len(d) == 6 || len(d) == 14 || len(d) == 22) && d[0] <= 128 && int(d[0]) <= (len(d)-6)*8 &&
		preferenceFrom(d[1]) != preferenceReserved
}

func parseRouteInformation(d []byte) RouteInformation {
	var p [16]byte
	copy(p[:], d[6:])
	return RouteInformation{
		Prefix:     netip.PrefixFrom(netip.AddrFrom16(p), int(d[0])).Masked(),
		Preference: preferenceFrom(d[1]),
		Lifetime:   time.Duration(binary.BigEndian.Uint32(d[2:])) * time.Second,
	}
}
