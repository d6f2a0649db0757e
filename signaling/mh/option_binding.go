package mh

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// BindingRefreshAdvice is RFC 6275 section 6.2.4, aligned 2n.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 2    |   Length = 2  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|       Refresh Interval        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type BindingRefreshAdvice struct {
	// Interval is 0 to MaxLifetime in units of LifetimeUnit (rounded down when written).
	Interval time.Duration
}

// OptionType is OptionBindingRefreshAdvice.
func (*BindingRefreshAdvice) OptionType() OptionType { return OptionBindingRefreshAdvice }

func (*BindingRefreshAdvice) align() (x, y int) { return 2, 0 }

func (o *BindingRefreshAdvice) appendData(b []byte) ([]byte, error) {
	return appendLifetime(b, o.Interval)
}

func (o *BindingRefreshAdvice) parseData(d []byte) error {
	if len(d) != 2 {
		return errDataLength
	}
	o.Interval = parseLifetime(d)
	return nil
}

// AlternateCareOf is the Alternate Care-of Address option (RFC 6275 section 6.2.5), aligned 8n+6.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 3    |  Length = 16  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                   Alternate Care-of Address                   +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type AlternateCareOf struct{ Address netip.Addr }

// OptionType is OptionAlternateCareOf.
func (*AlternateCareOf) OptionType() OptionType { return OptionAlternateCareOf }

func (*AlternateCareOf) align() (x, y int) { return 8, 6 }

func (o *AlternateCareOf) appendData(b []byte) ([]byte, error) { return appendAddress(b, o.Address) }

func (o *AlternateCareOf) parseData(d []byte) (err error) {
	o.Address, err = parseAddressData(d)
	return err
}

// parseAddressData reads data that is one address.
func parseAddressData(d []byte) (netip.Addr, error) {
	if len(d) != 16 {
		return netip.Addr{}, errDataLength
	}
	return parseAddress(d), nil
}

// NonceIndices is RFC 6275 section 6.2.6, aligned 2n.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 4    |   Length = 4  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|       Home Nonce Index        |      Care-of Nonce Index      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type NonceIndices struct{ Home, CareOf uint16 }

// OptionType is OptionNonceIndices.
func (*NonceIndices) OptionType() OptionType { return OptionNonceIndices }

func (*NonceIndices) align() (x, y int) { return 2, 0 }

func (o *NonceIndices) appendData(b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, o.Home), o.CareOf), nil
}

func (o *NonceIndices) parseData(d []byte) error {
	if len(d) != 4 {
		return errDataLength
	}
	o.Home, o.CareOf = binary.BigEndian.Uint16(d), binary.BigEndian.Uint16(d[2:])
	return nil
}

// BindingAuthorizationData is RFC 6275 section 6.2.7. It is the last option and nothing pads behind it, which aligns it
// 8n+2 with an authenticator of 12 octets.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 5    | Option Length |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                         Authenticator                         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type BindingAuthorizationData struct {
	// Authenticator is 12 octets with return routability.
	Authenticator []byte
}

// OptionType is OptionBindingAuthorizationData.
func (*BindingAuthorizationData) OptionType() OptionType { return OptionBindingAuthorizationData }

func (o *BindingAuthorizationData) align() (x, y int) {
	return 8, -(2 + len(o.Authenticator)) & 7
}

func (o *BindingAuthorizationData) appendData(b []byte) ([]byte, error) {
	return append(b, o.Authenticator...), nil
}

func (o *BindingAuthorizationData) parseData(d []byte) error {
	o.Authenticator = append([]byte(nil), d...)
	return nil
}

// ExperimentalOption is the Experimental Mobility option (RFC 5096 section 4), with no alignment of its own.
type ExperimentalOption struct{ Data []byte }

// OptionType is OptionExperimental.
func (*ExperimentalOption) OptionType() OptionType { return OptionExperimental }

func (*ExperimentalOption) align() (x, y int) { return 1, 0 }

func (o *ExperimentalOption) appendData(b []byte) ([]byte, error) { return append(b, o.Data...), nil }

func (o *ExperimentalOption) parseData(d []byte) error {
	o.Data = append([]byte(nil), d...)
	return nil
}
