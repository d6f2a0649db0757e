package mh

import (
	"fmt"
	"net/netip"
)

// MobileNetworkPrefix is RFC 3963 section 4.3, aligned 8n+4. HomeNetworkPrefix, AnchoredPrefix and LocalPrefix have the
// same layout.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |  Length = 18  |   Reserved    | Prefix Length |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                            Prefix                             +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type MobileNetworkPrefix struct{ Prefix netip.Prefix }

// HomeNetworkPrefix is RFC 5213 section 8.3, aligned 8n+4. ::/0 asks for a prefix.
type HomeNetworkPrefix struct{ Prefix netip.Prefix }

// AnchoredPrefix is RFC 8885 section 4.3, aligned 8n+4.
type AnchoredPrefix struct{ Prefix netip.Prefix }

// LocalPrefix is RFC 8885 section 4.4, aligned 8n+4.
type LocalPrefix struct{ Prefix netip.Prefix }

// OptionType is OptionMobileNetworkPrefix.
func (*MobileNetworkPrefix) OptionType() OptionType { return OptionMobileNetworkPrefix }

// OptionType is OptionHomeNetworkPrefix.
func (*HomeNetworkPrefix) OptionType() OptionType { return OptionHomeNetworkPrefix }

// OptionType is OptionAnchoredPrefix.
func (*AnchoredPrefix) OptionType() OptionType { return OptionAnchoredPrefix }

// OptionType is OptionLocalPrefix.
func (*LocalPrefix) OptionType() OptionType { return OptionLocalPrefix }

func (*MobileNetworkPrefix) align() (x, y int) { return 8, 4 }
func (*HomeNetworkPrefix) align() (x, y int)   { return 8, 4 }
func (*AnchoredPrefix) align() (x, y int)      { return 8, 4 }
func (*LocalPrefix) align() (x, y int)         { return 8, 4 }

func (o *MobileNetworkPrefix) appendData(b []byte) ([]byte, error) { return appendPrefix(b, o.Prefix) }
func (o *HomeNetworkPrefix) appendData(b []byte) ([]byte, error)   { return appendPrefix(b, o.Prefix) }
func (o *AnchoredPrefix) appendData(b []byte) ([]byte, error)      { return appendPrefix(b, o.Prefix) }
func (o *LocalPrefix) appendData(b []byte) ([]byte, error)         { return appendPrefix(b, o.Prefix) }

func (o *MobileNetworkPrefix) parseData(d []byte) (err error) {
	o.Prefix, err = parsePrefix(d)
	return err
}

func (o *HomeNetworkPrefix) parseData(d []byte) (err error) {
	o.Prefix, err = parsePrefix(d)
	return err
}

func (o *AnchoredPrefix) parseData(d []byte) (err error) {
	o.Prefix, err = parsePrefix(d)
	return err
}

func (o *LocalPrefix) parseData(d []byte) (err error) {
	o.Prefix, err = parsePrefix(d)
	return err
}

// appendPrefix writes Reserved, Prefix Length and Prefix, whose bits past its length are 0.
func appendPrefix(b []byte, p netip.Prefix) ([]byte, error) {
	if !p.IsValid() || !p.Addr().Is6() {
		return b, fmt.Errorf("%v is not an IPv6 prefix", p)
	}
	return appendAddress(append(b, 0, byte(p.Bits())), p.Masked().Addr())
}

// parsePrefix reads data that appendPrefix writes and clears the bits past the prefix length.
func parsePrefix(d []byte) (netip.Prefix, error) {
	if len(d) != 18 {
		return netip.Prefix{}, errDataLength
	}
	return prefixFrom(d[2:], d[1])
}

func prefixFrom(addr []byte, bits byte) (netip.Prefix, error) {
	if bits > 128 {
		return netip.Prefix{}, errPrefixLength
	}
	return netip.PrefixFrom(parseAddress(addr), int(bits)).Masked(), nil
}
