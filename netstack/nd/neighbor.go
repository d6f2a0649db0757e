package nd

import (
	"errors"
	"net/netip"
)

// NeighborSolicitation asks for the link-layer address of Target, whether it is still reachable, or, from the unspecified
// address, whether anybody holds it (RFC 4861 section 4.3).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Code      |          Checksum             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                           Reserved                            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 Target Address (16 octets)                    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Options ...
type NeighborSolicitation struct {
	Target  netip.Addr
	Options Options
}

// Type is TypeNeighborSolicitation.
func (*NeighborSolicitation) Type() Type { return TypeNeighborSolicitation }

func (m *NeighborSolicitation) appendBody(b []byte) ([]byte, error) {
	t := m.Target.As16()
	return m.Options.append(append(append(b, 0, 0, 0, 0), t[:]...))
}

func (m *NeighborSolicitation) parseBody(b []byte) (err error) {
	if len(b) < 20 {
		return errShort(len(b), 20)
	}
	m.Target = netip.AddrFrom16([16]byte(b[4:20]))
	m.Options, err = parseOptions(b[20:])
	return err
}

func (m *NeighborSolicitation) valid(src, dst netip.Addr) error {
	if m.Target.IsMulticast() {
		return errTargetMulticast
	}
	if !src.IsUnspecified() {
		return nil
	}
	if !IsSolicitedNode(dst) {
		return errors.New("from the unspecified address to other than a solicited-node multicast address")
	}
	if _, has := Find[SourceLinkLayerAddress](m.Options); has {
		return errors.New("source link-layer address option from the unspecified address")
	}
	return nil
}

// NeighborAdvertisement tells of Target's link-layer address (RFC 4861 section 4.4).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Code      |          Checksum             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|R|S|O|                     Reserved                            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 Target Address (16 octets)                    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Options ...
type NeighborAdvertisement struct {
	// Router (R), Solicited (S), Override (O).
	Router, Solicited, Override bool
	Target                      netip.Addr
	Options                     Options
}

// Type is TypeNeighborAdvertisement.
func (*NeighborAdvertisement) Type() Type { return TypeNeighborAdvertisement }

func (m *NeighborAdvertisement) appendBody(b []byte) ([]byte, error) {
	var flags byte
	setBit(&flags, 0x80, m.Router)
	setBit(&flags, 0x40, m.Solicited)
	setBit(&flags, 0x20, m.Override)
	t := m.Target.As16()
	return m.Options.append(append(append(b, flags, 0, 0, 0), t[:]...))
}

func (m *NeighborAdvertisement) parseBody(b []byte) (err error) {
	if len(b) < 20 {
		return errShort(len(b), 20)
	}
	m.Router, m.Solicited, m.Override = b[0]&0x80 != 0, b[0]&0x40 != 0, b[0]&0x20 != 0
	m.Target = netip.AddrFrom16([16]byte(b[4:20]))
	m.Options, err = parseOptions(b[20:])
	return err
}

func (m *NeighborAdvertisement) valid(_, dst netip.Addr) error {
	if m.Target.IsMulticast() {
		return errTargetMulticast
	}
	if dst.IsMulticast() && m.Solicited {
		return errors.New("solicited flag on a multicast advertisement")
	}
	return nil
}

var errTargetMulticast = errors.New("target address is multicast")
