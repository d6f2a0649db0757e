package nd

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// Preference is the preference of a default router or route (RFC 4191 section 2.1), a two-bit signed integer.
type Preference int8

// The preferences.
const (
	PreferenceLow    Preference = -1
	PreferenceMedium Preference = 0
	PreferenceHigh   Preference = 1
	// preferenceReserved must be treated as medium in a router advertisement (section 2.2).
	preferenceReserved Preference = -2
)

// wire is the two bits at positions 3 and 4 of an octet.
func (p Preference) wire() byte { return byte(p) & 3 << 3 }

func preferenceFrom(b byte) Preference { return Preference(int8(b<<3) >> 6) }

// RouterSolicitation asks routers for an advertisement at once (RFC 4861 section 4.1).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Code      |          Checksum             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                            Reserved                           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Options ...
type RouterSolicitation struct {
	Options Options
}

// Type is TypeRouterSolicitation.
func (*RouterSolicitation) Type() Type { return TypeRouterSolicitation }

func (m *RouterSolicitation) appendBody(b []byte) ([]byte, error) {
	return m.Options.append(append(b, 0, 0, 0, 0))
}

func (m *RouterSolicitation) parseBody(b []byte) (err error) {
	if len(b) < 4 {
		return errShort(len(b), 4)
	}
	m.Options, err = parseOptions(b[4:])
	return err
}

func (m *RouterSolicitation) valid(src, _ netip.Addr) error {
	if _, has := Find[SourceLinkLayerAddress](m.Options); has && src.IsUnspecified() {
		return errors.New("source link-layer address option from the unspecified address")
	}
	return nil
}

// RouterAdvertisement is RFC 4861 section 4.2, with the H flag of RFC 6275 section 7.1 and the preference of RFC 4191
// section 2.2.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Code      |          Checksum             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Cur Hop Limit |M|O|H|Prf|Resvd|       Router Lifetime         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                         Reachable Time                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                          Retrans Timer                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Options ...
type RouterAdvertisement struct {
	// CurHopLimit is the hop limit for hosts to use; 0 leaves it to them.
	CurHopLimit uint8
	// Managed (M), Other (O), HomeAgent (H).
	Managed, Other, HomeAgent bool
	// Preference is that of the router as a default router; the reserved value reads as medium.
	Preference Preference
	// RouterLifetime is 0 to 65,535 s in whole seconds; 0 says that it is no default router.
	RouterLifetime time.Duration
	// ReachableTime and RetransTimer are 0 to 4,294,967,295 ms in whole milliseconds; 0 leaves them to hosts.
	ReachableTime, RetransTimer time.Duration
	Options                     Options
}

// Type is TypeRouterAdvertisement.
func (*RouterAdvertisement) Type() Type { return TypeRouterAdvertisement }

func (m *RouterAdvertisement) appendBody(b []byte) ([]byte, error) {
	flags := m.Preference.wire()
	setBit(&flags, 0x80, m.Managed)
	setBit(&flags, 0x40, m.Other)
	setBit(&flags, 0x20, m.HomeAgent)
	b = append(b, m.CurHopLimit, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(units(m.RouterLifetime, time.Second, 0xffff)))
	b = binary.BigEndian.AppendUint32(b, uint32(units(m.ReachableTime, time.Millisecond, 0xffffffff)))
	b = binary.BigEndian.AppendUint32(b, uint32(units(m.RetransTimer, time.Millisecond, 0xffffffff)))
	return m.Options.append(b)
}

func (m *RouterAdvertisement) parseBody(b []byte) (err error) {
	if len(b) < 12 {
		return errShort(len(b), 12)
	}
	m.CurHopLimit = b[0]
	m.Managed, m.Other, m.HomeAgent = b[1]&0x80 != 0, b[1]&0x40 != 0, b[1]&0x20 != 0
	if m.Preference = preferenceFrom(b[1]); m.Preference == preferenceReserved {
		m.Preference = PreferenceMedium
	}
	m.RouterLifetime = time.Duration(binary.BigEndian.Uint16(b[2:])) * time.Second
	m.ReachableTime = time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Millisecond
	m.RetransTimer = time.Duration(binary.BigEndian.Uint32(b[8:])) * time.Millisecond
	m.Options, err = parseOptions(b[12:])
	return err
}

func (m *RouterAdvertisement) valid(src, _ netip.Addr) error {
	if !src.IsLinkLocalUnicast() {
		return errNotLinkLocal
	}
	return nil
}

// Redirect tells a host of a better first hop (RFC 4861 section 4.5).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Code      |          Checksum             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                           Reserved                            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 Target Address (16 octets)                    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               Destination Address (16 octets)                 |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Options ...
type Redirect struct {
	// Target is the better first hop for Destination; equal to it if Destination is a neighbour.
	Target, Destination netip.Addr
	Options             Options
}

// Type is TypeRedirect.
func (*Redirect) Type() Type { return TypeRedirect }

func (m *Redirect) appendBody(b []byte) ([]byte, error) {
	t, d := m.Target.As16(), m.Destination.As16()
	b = append(b, 0, 0, 0, 0)
	b = append(b, t[:]...)
	return m.Options.append(append(b, d[:]...))
}

func (m *Redirect) parseBody(b []byte) (err error) {
	if len(b) < 36 {
		return errShort(len(b), 36)
	}
	m.Target, m.Destination = netip.AddrFrom16([16]byte(b[4:20])), netip.AddrFrom16([16]byte(b[20:36]))
	m.Options, err = parseOptions(b[36:])
	return err
}

func (m *Redirect) valid(src, _ netip.Addr) error {
	switch {
	case !src.IsLinkLocalUnicast():
		return errNotLinkLocal
	case m.Destination.IsMulticast():
		return errors.New("destination address is multicast")
	case m.Target != m.Destination && !m.Target.IsLinkLocalUnicast():
		return errors.New("target address is neither link-local nor the destination")
	}
	return nil
}

var errNotLinkLocal = errors.New("source is not link-local")

func setBit(b *byte, bit byte, on bool) {
	if on {
		*b |= bit
	}
}

// units is d in whole units, kept within 0 to limit.
func units(d, unit time.Duration, limit int64) int64 {
	return min(max(int64(d/unit), 0), limit)
}
