package nd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

const hopByHopLength = 8

// routerAlert is a hop-by-hop options header with the router alert for MLD (RFC 2711 section 2.1) and a PadN.
var routerAlert = [hopByHopLength]byte{protocolICMPv6, 0, 5, 2, 0, 0, 1, 0}

func isListener(t Type) bool {
	return t >= TypeListenerQuery && t <= TypeListenerDoneV1 || t == TypeListenerReport
}

// hasRouterAlert looks for the router alert for MLD in a hop-by-hop options header of 8 octets.
func hasRouterAlert(h []byte) bool {
	for o := h[2:]; len(o) >= 2; {
		if o[0] == 0 { // Pad1
			o = o[1:]
			continue
		}
		if o[0] == 5 {
			return len(o) >= 4 && o[1] == 2 && o[2] == 0 && o[3] == 0
		}
		if 2+int(o[1]) > len(o) {
			return false
		}
		o = o[2+int(o[1]):]
	}
	return false
}

// ListenerQuery asks which groups are listened to (RFC 3810 section 5.1; the first 24 octets alone are an MLDv1 query).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Type = 130   |      Code     |           Checksum            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    Maximum Response Code      |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               Multicast Address (16 octets)                   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Resv  |S| QRV |     QQIC      |     Number of Sources (N)     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               Source Address [1..N] (16 octets each)          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type ListenerQuery struct {
	// Version is 1 or 2. Version 1 is read but never written.
	Version int
	// MaximumResponseDelay is within what answers are to be spread; written in whole milliseconds up to 32,767 ms.
	MaximumResponseDelay time.Duration
	// Group is the group asked about, the unspecified address in a general query.
	Group netip.Addr
	// Sources are those asked about; a group is asked about as a whole if there are none.
	Sources []netip.Addr
}

// Type is TypeListenerQuery.
func (*ListenerQuery) Type() Type { return TypeListenerQuery }

func (m *ListenerQuery) appendBody(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint16(b, uint16(units(m.MaximumResponseDelay, time.Millisecond, 0x7fff)))
	g := m.Group.As16()
	b = append(append(b, 0, 0), g[:]...)
	b = append(b, 2, 125) // robustness variable and query interval: the defaults of section 9
	return appendSources(b, m.Sources), nil
}

func appendSources(b []byte, sources []netip.Addr) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(sources)))
	for _, s := range sources {
		a := s.As16()
		b = append(b, a[:]...)
	}
	return b
}

func (m *ListenerQuery) parseBody(b []byte) error {
	if len(b) < 20 {
		return errShort(len(b), 20)
	}
	m.Version = 1
	code := uint64(binary.BigEndian.Uint16(b))
	m.Group = netip.AddrFrom16([16]byte(b[4:20]))
	if len(b) >= 24 {
		m.Version = 2
		if code >= 0x8000 { // section 5.1.3: a floating-point value
			code = (code&0xfff | 0x1000) << (code>>12&7 + 3)
		}
		var err error
		if m.Sources, err = parseSources(b[24:], int(binary.BigEndian.Uint16(b[22:]))); err != nil {
			return err
		}
	} else if len(b) != 20 { // section 8.1: neither version
		return fmt.Errorf("query of %d octets", len(b)+icmpHeaderLength)
	}
	m.MaximumResponseDelay = time.Duration(code) * time.Millisecond
	return nil
}

func parseSources(b []byte, n int) ([]netip.Addr, error) {
	if len(b) < 16*n {
		return nil, errors.New("source addresses are truncated")
	}
	var sources []netip.Addr
	for i := range n {
		sources = append(sources, netip.AddrFrom16([16]byte(b[16*i:])))
	}
	return sources, nil
}

func (m *ListenerQuery) valid(src, _ netip.Addr) error {
	if !src.IsLinkLocalUnicast() {
		return errNotLinkLocal
	}
	if !m.Group.IsUnspecified() && !m.Group.IsMulticast() {
		return errors.New("multicast address is not multicast")
	}
	return nil
}

// RecordType is a multicast address record's type (RFC 3810 section 5.2.12).
type RecordType uint8

// The record types.
const (
	ModeIsInclude       RecordType = 1
	ModeIsExclude       RecordType = 2
	ChangeToIncludeMode RecordType = 3
	ChangeToExcludeMode RecordType = 4
	AllowNewSources     RecordType = 5
	BlockOldSources     RecordType = 6
)

// ListenerRecord is what a report says of one group.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Record Type  |  Aux Data Len |     Number of Sources (N)     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               Multicast Address (16 octets)                   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               Source Address [1..N] (16 octets each)          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type ListenerRecord struct {
	Type    RecordType
	Group   netip.Addr
	Sources []netip.Addr
}

// ListenerReport is a Version 2 Multicast Listener Report (RFC 3810 section 5.2).
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Type = 143   |    Reserved   |           Checksum            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Reserved            |Nr of Mcast Address Records (M)|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               Multicast Address Record [1..M]                 |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type ListenerReport struct {
	Records []ListenerRecord
}

// Type is TypeListenerReport.
func (*ListenerReport) Type() Type { return TypeListenerReport }

func (m *ListenerReport) appendBody(b []byte) ([]byte, error) {
	if len(m.Records) > maxMessage/20 {
		return nil, fmt.Errorf("%d records do not fit a report", len(m.Records))
	}
	b = binary.BigEndian.AppendUint16(append(b, 0, 0), uint16(len(m.Records)))
	for _, r := range m.Records {
		g := r.Group.As16()
		at := len(b)
		b = append(b, byte(r.Type), 0)
		b = appendSources(b, nil)
		b = append(b, g[:]...)
		for _, s := range r.Sources {
			a := s.As16()
			b = append(b, a[:]...)
		}
		binary.BigEndian.PutUint16(b[at+2:], uint16(len(r.Sources)))
	}
	return b, nil
}

func (m *ListenerReport) parseBody(b []byte) error {
	if len(b) < 4 {
		return errShort(len(b), 4)
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	for b = b[4:]; n > 0; n-- {
		if len(b) < 20 {
			return errors.New("record is truncated")
		}
		r := ListenerRecord{Type: RecordType(b[0]), Group: netip.AddrFrom16([16]byte(b[4:20]))}
		aux, sources := int(b[1])*4, int(binary.BigEndian.Uint16(b[2:]))
		var err error
		if r.Sources, err = parseSources(b[20:], sources); err != nil {
			return err
		}
		if len(b) < 20+16*sources+aux {
			return errors.New("auxiliary data is truncated")
		}
		b = b[20+16*sources+aux:]
		m.Records = append(m.Records, r)
	}
	return nil
}

func (m *ListenerReport) valid(src, _ netip.Addr) error { return validReportSource(src) }

// validReportSource accepts the unspecified address, from which a node reports before it has a link-local one (RFC 3590
// section 4).
func validReportSource(src netip.Addr) error {
	if !src.IsUnspecified() && !src.IsLinkLocalUnicast() {
		return errNotLinkLocal
	}
	return nil
}
