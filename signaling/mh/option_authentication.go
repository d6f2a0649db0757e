package mh

import (
	"encoding/binary"
	"time"
)

// Subtypes of mobile node identifiers.
const (
	// IdentifierNAI is a network access identifier, user@realm (RFC 4283 section 3.1).
	IdentifierNAI = 1
	// IdentifierEUI48 is a link-layer address of 6 octets (RFC 8371 section 4).
	IdentifierEUI48 = 5
)

// MobileNodeIdentifier is RFC 4283 section 3, with no alignment.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 8    | Option Length |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    Subtype    |                Identifier ...
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type MobileNodeIdentifier struct {
	// Subtype is IdentifierNAI, or another whose octets Identifier holds unread.
	Subtype    uint8
	Identifier string
}

// OptionType is OptionMobileNodeIdentifier.
func (*MobileNodeIdentifier) OptionType() OptionType { return OptionMobileNodeIdentifier }

func (*MobileNodeIdentifier) align() (x, y int) { return 1, 0 }

func (o *MobileNodeIdentifier) appendData(b []byte) ([]byte, error) {
	return append(append(b, o.Subtype), o.Identifier...), nil
}

func (o *MobileNodeIdentifier) parseData(d []byte) error {
	if len(d) < 1 {
		return errDataLength
	}
	o.Subtype, o.Identifier = d[0], string(d[1:])
	return nil
}

// The subtypes of MessageAuthentication.
const (
	AuthenticationMNHA  = 1 // RFC 4285 section 5.1
	AuthenticationMNAAA = 2 // RFC 4285 section 5.2
)

// MessageAuthentication is the Mobility Message Authentication option (RFC 4285 section 5), aligned 4n+1.
//
//	                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                |   Type = 9    | Option Length |    Subtype    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                         Mobility SPI                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                    Authentication Data ...
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type MessageAuthentication struct {
	// Subtype is AuthenticationMNHA or AuthenticationMNAAA.
	Subtype uint8
	SPI     uint32
	// Data is 12 octets for MN-HA (HMAC-SHA1-96). To send a message, write it with Data of the right length, work out
	// the value over what Append wrote, and put it at AuthenticatorRange.
	Data []byte
}

// OptionType is OptionMessageAuthentication.
func (*MessageAuthentication) OptionType() OptionType { return OptionMessageAuthentication }

func (*MessageAuthentication) align() (x, y int) { return 4, 1 }

func (o *MessageAuthentication) appendData(b []byte) ([]byte, error) {
	return append(binary.BigEndian.AppendUint32(append(b, o.Subtype), o.SPI), o.Data...), nil
}

func (o *MessageAuthentication) parseData(d []byte) error {
	if len(d) < 5 {
		return errDataLength
	}
	o.Subtype, o.SPI, o.Data = d[0], binary.BigEndian.Uint32(d[1:]), append([]byte(nil), d[5:]...)
	return nil
}

// NTPTime is a time in the 64-bit format of the Network Time Protocol: seconds since 1 January 1900 in the high 32 bits and
// fractions of 2^-32 s in the low. RFC 4285 section 6 compares and copies it bit for bit, which time.Time is too coarse
// for.
type NTPTime uint64

// ntpEpoch is 1 January 1900 on the Unix time scale.
const ntpEpoch = -2208988800

// NTPTimeOf is t to the next lower 2^-32 s. Times from 20 January 1968 to 26 February 2104 can be told apart.
func NTPTimeOf(t time.Time) NTPTime {
	s := uint32(t.Unix() - ntpEpoch)
	f := uint64(t.Nanosecond()) << 32 / uint64(time.Second)
	return NTPTime(uint64(s)<<32 | f)
}

// Time is n to the next lower nanosecond. Times whose first bit is clear are taken to be after 7 February 2036.
func (n NTPTime) Time() time.Time {
	s := int64(n >> 32)
	if s < 1<<31 {
		s += 1 << 32
	}
	return time.Unix(s+ntpEpoch, int64(uint64(uint32(n))*uint64(time.Second)>>32))
}

// ReplayProtection is the Mobility Message Replay Protection option, or MESG-ID (RFC 4285 section 6), aligned 8n+2.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 10   |   Length = 8  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                      Timestamp (8 octets)                     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type ReplayProtection struct{ Timestamp NTPTime }

// OptionType is OptionReplayProtection.
func (*ReplayProtection) OptionType() OptionType { return OptionReplayProtection }

func (*ReplayProtection) align() (x, y int) { return 8, 2 }

func (o *ReplayProtection) appendData(b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(b, uint64(o.Timestamp)), nil
}

func (o *ReplayProtection) parseData(d []byte) error {
	if len(d) != 8 {
		return errDataLength
	}
	o.Timestamp = NTPTime(binary.BigEndian.Uint64(d))
	return nil
}
