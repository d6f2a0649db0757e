package mh

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Subtype tells the DMIPv6 messages apart.
type Subtype uint8

// The subtypes.
const (
	DHPQuery                        Subtype = 1 // mobile node to home agent: which DHPs are near these CNs?
	DHPQueryReply                   Subtype = 2
	DHoARequest                     Subtype = 3 // mobile node to DHP: lend me an address
	DHoAResponse                    Subtype = 4
	DHPAdvertisement                Subtype = 5 // DHP to home agent: this is what I am near to
	DHPAdvertisementAcknowledgement Subtype = 6
)

var subtypeWords = map[Subtype]string{
	DHPQuery:                        "DHP Query",
	DHPQueryReply:                   "DHP Query Reply",
	DHoARequest:                     "DHoA Request",
	DHoAResponse:                    "DHoA Response",
	DHPAdvertisement:                "DHP Advertisement",
	DHPAdvertisementAcknowledgement: "DHP Advertisement Acknowledgement",
}

// String is the message's name.
func (s Subtype) String() string {
	if w, ok := subtypeWords[s]; ok {
		return w
	}
	return fmt.Sprintf("DMIPv6 subtype %d", uint8(s))
}

// magicDMIPv6 is "DMv1". It keeps DMIPv6 apart from the other experiments that use the Experimental Mobility Header.
const magicDMIPv6 = 0x444d7631

// maxDMIPv6Length is the length of the longest DMIPv6 message: with an IPv6 header in front it fits the smallest MTU of an
// IPv6 link, 1280 octets.
const maxDMIPv6Length = 1280 - 40

// DMIPv6 is a message between mobile node, home agent and Distributed Home-Proxy (DHP) that Mobile IPv6 has no message for,
// in an Experimental Mobility Header (RFC 5096 section 3). The layout is this project's own; one with another Magic is an
// Experimental. Append writes none that is longer than 1240 octets.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Payload Proto | Header Len > 0|  MH Type = 11 |   Reserved    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Checksum            |    Subtype    |    Status     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Sequence #           |           Lifetime            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                      Magic = 0x444D7631                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	.                       Mobility options                        .
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type DMIPv6 struct {
	Subtype Subtype
	// Status is 0 in requests.
	Status Status
	// Sequence is the same in a request and its reply.
	Sequence uint16
	// Lifetime is 0 to MaxLifetime in units of LifetimeUnit (rounded down when written). 0 gives back.
	Lifetime time.Duration
	Options  Options
}

// Type is TypeExperimental.
func (*DMIPv6) Type() Type { return TypeExperimental }

// OptionList is m.Options.
func (m *DMIPv6) OptionList() *Options { return &m.Options }

func (*DMIPv6) bodyLength() int { return 10 }

func (m *DMIPv6) appendBody(b []byte) ([]byte, error) {
	b = append(b, byte(m.Subtype), byte(m.Status))
	b, err := appendLifetime(binary.BigEndian.AppendUint16(b, m.Sequence), m.Lifetime)
	if err != nil {
		return b, err
	}
	return binary.BigEndian.AppendUint32(b, magicDMIPv6), nil
}

func (m *DMIPv6) parseBody(b []byte) error {
	m.Subtype, m.Status = Subtype(b[0]), Status(b[1])
	m.Sequence, m.Lifetime = binary.BigEndian.Uint16(b[2:]), parseLifetime(b[4:6])
	return nil
}

// isDMIPv6 reports whether the Experimental message b, of which the first 8 octets are there, has the magic of DMIPv6.
func isDMIPv6(b []byte) bool { return len(b) >= 16 && binary.BigEndian.Uint32(b[12:]) == magicDMIPv6 }
