package nd

import (
	"errors"
	"net/netip"
)

// ListenerReportV1 and ListenerDoneV1 say that the sender listens, or no longer listens, to a group (RFC 2710 section 3).
// A report goes to the group itself, a done to AllRouters.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Code      |          Checksum             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Maximum Response Delay    |          Reserved             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               Multicast Address (16 octets)                   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type (
	ListenerReportV1 struct{ Group netip.Addr }
	ListenerDoneV1   struct{ Group netip.Addr }
)

// Type is TypeListenerReportV1.
func (*ListenerReportV1) Type() Type { return TypeListenerReportV1 }

// Type is TypeListenerDoneV1.
func (*ListenerDoneV1) Type() Type { return TypeListenerDoneV1 }

func (m *ListenerReportV1) appendBody(b []byte) ([]byte, error) { return appendGroup(b, m.Group), nil }
func (m *ListenerDoneV1) appendBody(b []byte) ([]byte, error)   { return appendGroup(b, m.Group), nil }

func (m *ListenerReportV1) parseBody(b []byte) (err error) {
	m.Group, err = parseGroup(b)
	return err
}

func (m *ListenerDoneV1) parseBody(b []byte) (err error) {
	m.Group, err = parseGroup(b)
	return err
}

func (m *ListenerReportV1) valid(src, _ netip.Addr) error { return validReportSource(src) }
func (m *ListenerDoneV1) valid(src, _ netip.Addr) error   { return validReportSource(src) }

func appendGroup(b []byte, group netip.Addr) []byte {
	g := group.As16()
	return append(append(b, 0, 0, 0, 0), g[:]...)
}

func parseGroup(b []byte) (netip.Addr, error) {
	if len(b) < 20 {
		return netip.Addr{}, errShort(len(b), 20)
	}
	g := netip.AddrFrom16([16]byte(b[4:20]))
	if !g.IsMulticast() {
		return netip.Addr{}, errors.New("multicast address is not multicast")
	}
	return g, nil
}
