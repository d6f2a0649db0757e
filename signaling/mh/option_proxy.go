package mh

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Handoff is the Handoff Indicator field (RFC 5213 section 8.4).
type Handoff uint8

// The handoff indicators.
const (
	HandoffNewInterface      Handoff = 1 // Attachment over a new interface
	HandoffBetweenInterfaces Handoff = 2 // Handoff between two different interfaces of the mobile node
	HandoffBetweenGateways   Handoff = 3 // Handoff between mobile access gateways for the same interface
	HandoffUnknown           Handoff = 4 // Handoff state unknown
	HandoffNotChanged        Handoff = 5 // Handoff state not changed (Re-registration)
)

// HandoffIndicator is RFC 5213 section 8.4, with no alignment. AccessTechnologyType has the same layout.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 23   |   Length = 2  | Reserved (R)  |      HI       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type HandoffIndicator struct{ Indicator Handoff }

// OptionType is OptionHandoffIndicator.
func (*HandoffIndicator) OptionType() OptionType { return OptionHandoffIndicator }

func (*HandoffIndicator) align() (x, y int) { return 1, 0 }

func (o *HandoffIndicator) appendData(b []byte) ([]byte, error) {
	return append(b, 0, byte(o.Indicator)), nil
}

func (o *HandoffIndicator) parseData(d []byte) error {
	if len(d) != 2 {
		return errDataLength
	}
	o.Indicator = Handoff(d[1])
	return nil
}

// AccessTechnology is the Access Technology Type field (RFC 5213 section 8.5).
type AccessTechnology uint8

// The access technologies.
const (
	AccessVirtual  AccessTechnology = 1 // Logical Network Interface
	AccessPPP      AccessTechnology = 2 // Point-to-Point Protocol
	AccessEthernet AccessTechnology = 3 // IEEE 802.3
	AccessWLAN     AccessTechnology = 4 // IEEE 802.11a/b/g
	AccessWiMAX    AccessTechnology = 5 // IEEE 802.16e
)

// AccessTechnologyType is RFC 5213 section 8.5, with no alignment; Type is 24, the layout HandoffIndicator's.
type AccessTechnologyType struct{ Technology AccessTechnology }

// OptionType is OptionAccessTechnologyType.
func (*AccessTechnologyType) OptionType() OptionType { return OptionAccessTechnologyType }

func (*AccessTechnologyType) align() (x, y int) { return 1, 0 }

func (o *AccessTechnologyType) appendData(b []byte) ([]byte, error) {
	return append(b, 0, byte(o.Technology)), nil
}

func (o *AccessTechnologyType) parseData(d []byte) error {
	if len(d) != 2 {
		return errDataLength
	}
	o.Technology = AccessTechnology(d[1])
	return nil
}

// LinkLayerIdentifier is the Mobile Node Link-layer Identifier option (RFC 5213 section 8.6), aligned as its identifier
// needs.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 25   |    Length     |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                   Link-layer Identifier ...
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type LinkLayerIdentifier struct{ Identifier []byte }

// OptionType is OptionLinkLayerIdentifier.
func (*LinkLayerIdentifier) OptionType() OptionType { return OptionLinkLayerIdentifier }

func (o *LinkLayerIdentifier) align() (x, y int) { return linkLayerAlign(o.Identifier) }

func (o *LinkLayerIdentifier) appendData(b []byte) ([]byte, error) {
	return append(append(b, 0, 0), o.Identifier...), nil
}

func (o *LinkLayerIdentifier) parseData(d []byte) (err error) {
	o.Identifier, err = parseLinkLayer(d)
	return err
}

// linkLayerAlign puts an address that comes 4 octets after its option's beginning on its natural boundary.
func linkLayerAlign(a []byte) (x, y int) {
	switch {
	case len(a)%8 == 0:
		return 8, 4
	case len(a)%4 == 0:
		return 4, 0
	}
	return 2, 0
}

func parseLinkLayer(d []byte) ([]byte, error) {
	if len(d) < 2 {
		return nil, errDataLength
	}
	return append([]byte(nil), d[2:]...), nil
}

// LinkLocalAddress is RFC 5213 section 8.7, aligned 8n+6.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 26   |  Length = 16  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                      Link-local Address                       +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type LinkLocalAddress struct{ Address netip.Addr }

// OptionType is OptionLinkLocalAddress.
func (*LinkLocalAddress) OptionType() OptionType { return OptionLinkLocalAddress }

func (*LinkLocalAddress) align() (x, y int) { return 8, 6 }

func (o *LinkLocalAddress) appendData(b []byte) ([]byte, error) { return appendAddress(b, o.Address) }

func (o *LinkLocalAddress) parseData(d []byte) (err error) {
	o.Address, err = parseAddressData(d)
	return err
}

// Timestamp is RFC 5213 section 8.8, aligned 8n+2.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 27   |   Length = 8  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+      Timestamp: 48 bits of seconds since 1 January 1970,      +
//	|               16 bits of fractions of 1/65536 s               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Timestamp struct {
	// Time is written to the nearest 1/65536 s. What is read and written again has the same octets.
	Time time.Time
}

// OptionType is OptionTimestamp.
func (*Timestamp) OptionType() OptionType { return OptionTimestamp }

func (*Timestamp) align() (x, y int) { return 8, 2 }

func (o *Timestamp) appendData(b []byte) ([]byte, error) {
	s := o.Time.Unix()
	if s < 0 || s >= 1<<48-1 {
		return b, fmt.Errorf("%v is out of range", o.Time)
	}
	f := (uint64(o.Time.Nanosecond())<<16 + uint64(time.Second)/2) / uint64(time.Second)
	return binary.BigEndian.AppendUint64(b, uint64(s)<<16+f), nil
}

func (o *Timestamp) parseData(d []byte) error {
	if len(d) != 8 {
		return errDataLength
	}
	v := binary.BigEndian.Uint64(d)
	o.Time = time.Unix(int64(v>>16), int64(v&0xffff*uint64(time.Second)>>16))
	return nil
}
