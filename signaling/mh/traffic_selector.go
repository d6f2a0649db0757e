package mh

import (
	"cmp"
	"encoding/binary"
	"net/netip"
)

// TrafficSelector is what a flow binding matches packets by: *IPv4Selector, *IPv6Selector, or *UnknownSelector.
type TrafficSelector interface {
	// Format is the TS Format field (RFC 6088 section 3): 1 for IPv4Selector and 2 for IPv6Selector.
	Format() uint8
	// align is the alignment xn of the sub-option.
	align() int
	// appendFields writes what follows TS Format and Reserved.
	appendFields(b []byte) ([]byte, error)
}

// The traffic selector formats.
const (
	selectorIPv4 = 1
	selectorIPv6 = 2
)

// Range is First to Last, both included. On the wire Last is left out if it equals First.
type Range[T any] struct{ First, Last T }

// IPv4Selector is the IPv4 binary traffic selector (RFC 6088 section 3.1). Fields are nil if they do not matter. Source and
// destination are those of packets on their way to the mobile node.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|A|B|C|D|E|F|G|H|I|J|K|L|M|N|             Reserved              |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                    (A)Start Source Address                    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                     (B)End Source Address                     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                 (C)Start Destination Address                  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                  (D)End Destination Address                   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                      (E)Start IPsec SPI                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       (F)End IPsec SPI                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     (G)Start Source port      |      (H)End Source port       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   (I)Start Destination port   |    (J)End Destination port    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  (K)Start DS  |   (L)End DS   |(M)Start Prot. | (N) End Prot. |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type IPv4Selector struct {
	Source, Destination         *Range[netip.Addr]
	SPI                         *Range[uint32]
	SourcePort, DestinationPort *Range[uint16]
	// DS is compared without its two low bits.
	DS       *Range[uint8]
	Protocol *Range[uint8]
}

// IPv6Selector is the IPv6 binary traffic selector (RFC 6088 section 3.2). Fields are nil if they do not matter. Source and
// destination are those of packets on their way to the mobile node. Flags that are set say which of the fields, A to P in
// order, are there.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|A|B|C|D|E|F|G|H|I|J|K|L|M|N|O|P|           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|              (A)Start Source Address (16 octets)              |
//	|               (B)End Source Address (16 octets)               |
//	|           (C)Start Destination Address (16 octets)            |
//	|            (D)End Destination Address (16 octets)             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                      (E)Start IPsec SPI                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       (F)End IPsec SPI                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                      (G)Start Flow Label                      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       (H)End Flow Label                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     (I)Start Source port      |      (J)End Source port       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   (K)Start Destination port   |    (L)End Destination port    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  (M)Start TC  |   (N)End TC   |  (O)Start NH  |   (P)End NH   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type IPv6Selector struct {
	Source, Destination *Range[netip.Addr]
	SPI                 *Range[uint32]
	// FlowLabel is compared without its 8 high bits.
	FlowLabel                   *Range[uint32]
	SourcePort, DestinationPort *Range[uint16]
	// TrafficClass is compared without its two low bits.
	TrafficClass *Range[uint8]
	NextHeader   *Range[uint8]
}

// UnknownSelector is a traffic selector of a format that this package does not know, octet for octet.
type UnknownSelector struct {
	TSFormat uint8
	Data     []byte
}

// Format is 1.
func (*IPv4Selector) Format() uint8 { return selectorIPv4 }

// Format is 2.
func (*IPv6Selector) Format() uint8 { return selectorIPv6 }

// Format is s.TSFormat.
func (s *UnknownSelector) Format() uint8 { return s.TSFormat }

func (s *IPv4Selector) align() int {
	switch {
	case s.Source != nil || s.Destination != nil || s.SPI != nil:
		return 4
	case s.SourcePort != nil || s.DestinationPort != nil:
		return 2
	}
	return 1
}

func (s *IPv6Selector) align() int {
	switch {
	case s.Source != nil || s.Destination != nil:
		return 8
	case s.SPI != nil || s.FlowLabel != nil:
		return 4
	case s.SourcePort != nil || s.DestinationPort != nil:
		return 2
	}
	return 1
}

func (*UnknownSelector) align() int { return 1 }

func (s *IPv4Selector) appendFields(b []byte) ([]byte, error) {
	w := newSelectorWriter(b)
	writeRange(w, s.Source, netip.Addr.Compare, appendIPv4)
	writeRange(w, s.Destination, netip.Addr.Compare, appendIPv4)
	writeRange(w, s.SPI, cmp.Compare[uint32], appendNumber32)
	writeRange(w, s.SourcePort, cmp.Compare[uint16], appendNumber16)
	writeRange(w, s.DestinationPort, cmp.Compare[uint16], appendNumber16)
	writeRange(w, s.DS, cmp.Compare[uint8], appendNumber8)
	writeRange(w, s.Protocol, cmp.Compare[uint8], appendNumber8)
	return w.b, w.err
}

func (s *IPv6Selector) appendFields(b []byte) ([]byte, error) {
	w := newSelectorWriter(b)
	writeRange(w, s.Source, netip.Addr.Compare, appendAddress)
	writeRange(w, s.Destination, netip.Addr.Compare, appendAddress)
	writeRange(w, s.SPI, cmp.Compare[uint32], appendNumber32)
	writeRange(w, s.FlowLabel, cmp.Compare[uint32], appendNumber24)
	writeRange(w, s.SourcePort, cmp.Compare[uint16], appendNumber16)
	writeRange(w, s.DestinationPort, cmp.Compare[uint16], appendNumber16)
	writeRange(w, s.TrafficClass, cmp.Compare[uint8], appendNumber8)
	writeRange(w, s.NextHeader, cmp.Compare[uint8], appendNumber8)
	return w.b, w.err
}

func (s *UnknownSelector) appendFields(b []byte) ([]byte, error) { return append(b, s.Data...), nil }

func parseSelector(format uint8, d []byte) (TrafficSelector, error) {
	if format != selectorIPv4 && format != selectorIPv6 {
		return &UnknownSelector{format, append([]byte(nil), d...)}, nil
	}
	if len(d) < 4 {
		return nil, errDataLength
	}
	r := &selectorReader{flags: binary.BigEndian.Uint32(d), d: d[4:]}
	var s TrafficSelector
	if format == selectorIPv4 {
		s = &IPv4Selector{
			Source:          readRange(r, 4, parseIPv4, netip.Addr.Compare),
			Destination:     readRange(r, 4, parseIPv4, netip.Addr.Compare),
			SPI:             readRange(r, 4, binary.BigEndian.Uint32, cmp.Compare[uint32]),
			SourcePort:      readRange(r, 2, binary.BigEndian.Uint16, cmp.Compare[uint16]),
			DestinationPort: readRange(r, 2, binary.BigEndian.Uint16, cmp.Compare[uint16]),
			DS:              readRange(r, 1, parseNumber8, cmp.Compare[uint8]),
			Protocol:        readRange(r, 1, parseNumber8, cmp.Compare[uint8]),
		}
	} else {
		s = &IPv6Selector{
			Source:          readRange(r, 16, parseAddress, netip.Addr.Compare),
			Destination:     readRange(r, 16, parseAddress, netip.Addr.Compare),
			SPI:             readRange(r, 4, binary.BigEndian.Uint32, cmp.Compare[uint32]),
			FlowLabel:       readRange(r, 4, parseNumber24, cmp.Compare[uint32]),
			SourcePort:      readRange(r, 2, binary.BigEndian.Uint16, cmp.Compare[uint16]),
			DestinationPort: readRange(r, 2, binary.BigEndian.Uint16, cmp.Compare[uint16]),
			TrafficClass:    readRange(r, 1, parseNumber8, cmp.Compare[uint8]),
			NextHeader:      readRange(r, 1, parseNumber8, cmp.Compare[uint8]),
		}
	}
	if r.err == nil && len(r.d) > 0 {
		r.err = errDataLength
	}
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}
