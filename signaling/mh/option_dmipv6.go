package mh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The DMIPv6 options are Experimental Mobility options (RFC 5096 section 4) whose data begins with a kind and a reserved
// octet. Their layouts are this project's own. An option of another kind is an ExperimentalOption, and so is, in a message
// that is not a DMIPv6, one that has such a kind but does not fit its layout: it may be another experiment's.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 18   | Option Length |     Kind      |   Reserved    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
const (
	kindCNAddress      = 1
	kindDHoA           = 2
	kindDHPInformation = 3
	kindKeyTicket      = 4
	kindUDPEndpoint    = 5
)

// newExperimentalOption is an empty option for data d of type OptionExperimental.
func newExperimentalOption(d []byte) Option {
	if len(d) < 2 {
		return new(ExperimentalOption)
	}
	switch d[0] {
	case kindCNAddress:
		return new(CNAddress)
	case kindDHoA:
		return new(DHoA)
	case kindDHPInformation:
		return new(DHPInformation)
	case kindKeyTicket:
		return new(KeyTicket)
	case kindUDPEndpoint:
		return new(UDPEndpoint)
	}
	return new(ExperimentalOption)
}

// CNAddress is a correspondent node's address, in DHP Queries and DHoA Requests; aligned 8n+4.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 18   |  Length = 18  |   Kind = 1    |   Reserved    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                          CN Address                           +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type CNAddress struct{ Address netip.Addr }

// OptionType is OptionExperimental.
func (*CNAddress) OptionType() OptionType { return OptionExperimental }

func (*CNAddress) align() (x, y int) { return 8, 4 }

func (o *CNAddress) appendData(b []byte) ([]byte, error) {
	return appendAddress(append(b, kindCNAddress, 0), o.Address)
}

func (o *CNAddress) parseData(d []byte) error {
	if len(d) != 18 {
		return errDataLength
	}
	o.Address = parseAddress(d[2:])
	return nil
}

// DHoA is a Distributed Home Address that is wished for or lent, aligned 8n+2.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 18   |  Length = 20  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Kind = 2    |   Reserved    | Prefix Length |   Reserved    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                             DHoA                              +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type DHoA struct {
	// Prefix is 64 or 128 bits long: how much is lent. Its address is the DHoA whole, interface identifier included; :: in
	// a request leaves it to the DHP.
	Prefix netip.Prefix
}

// OptionType is OptionExperimental.
func (*DHoA) OptionType() OptionType { return OptionExperimental }

func (*DHoA) align() (x, y int) { return 8, 2 }

func (o *DHoA) appendData(b []byte) ([]byte, error) {
	if bits := o.Prefix.Bits(); bits != 64 && bits != 128 {
		return b, errLent
	}
	return appendAddress(append(b, kindDHoA, 0, byte(o.Prefix.Bits()), 0), o.Prefix.Addr())
}

func (o *DHoA) parseData(d []byte) error {
	switch {
	case len(d) != 20:
		return errDataLength
	case d[2] != 64 && d[2] != 128:
		return errLent
	}
	o.Prefix = netip.PrefixFrom(parseAddress(d[4:]), int(d[2]))
	return nil
}

var errLent = errors.New("length of what is lent is neither 64 nor 128")

// rttUnit is the unit of the RTT field; rttUnknown is its value for a round trip that was not measured.
const (
	rttUnit    = 100 * time.Microsecond
	rttUnknown = 0xffff
)

// DHPInformation is a DHP and one prefix that it is near to, in DHP Advertisements and DHP Query Replies; aligned 8n+4. A
// DHP that covers several prefixes has one each.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 18   |  Length = 42  |   Kind = 3    |   Reserved    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Preference   |     Load      |              RTT              |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Coverage Length|   Reserved    |           Lifetime            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                          DHP Address                          +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                        Coverage Prefix                        +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type DHPInformation struct {
	// Preference orders DHPs; higher wins. Load is in percent.
	Preference, Load uint8
	// RTT is the round-trip time from the DHP to the coverage, written to the nearest 100 us and as at most 6.5534 s; -1,
	// and whatever is negative, is unknown.
	RTT      time.Duration
	Coverage netip.Prefix
	// Lifetime is how long this holds, in LifetimeUnit like a message's.
	Lifetime time.Duration
	Address  netip.Addr
}

// OptionType is OptionExperimental.
func (*DHPInformation) OptionType() OptionType { return OptionExperimental }

func (*DHPInformation) align() (x, y int) { return 8, 4 }

func (o *DHPInformation) appendData(b []byte) ([]byte, error) {
	if !o.Coverage.IsValid() || !o.Coverage.Addr().Is6() {
		return b, fmt.Errorf("%v is not an IPv6 prefix", o.Coverage)
	}
	rtt := uint16(rttUnknown)
	if o.RTT >= 0 {
		rtt = uint16(min(o.RTT.Round(rttUnit)/rttUnit, rttUnknown-1))
	}
	b = binary.BigEndian.AppendUint16(append(b, kindDHPInformation, 0, o.Preference, o.Load), rtt)
	b, err := appendLifetime(append(b, byte(o.Coverage.Bits()), 0), o.Lifetime)
	if err == nil {
		b, err = appendAddress(b, o.Address)
	}
	if err != nil {
		return b, err
	}
	return appendAddress(b, o.Coverage.Masked().Addr())
}

func (o *DHPInformation) parseData(d []byte) (err error) {
	if len(d) != 42 {
		return errDataLength
	}
	o.Preference, o.Load, o.RTT = d[2], d[3], -1
	if rtt := binary.BigEndian.Uint16(d[4:]); rtt != rttUnknown {
		o.RTT = time.Duration(rtt) * rttUnit
	}
	o.Lifetime, o.Address = parseLifetime(d[8:10]), parseAddress(d[10:])
	o.Coverage, err = prefixFrom(d[26:], d[6])
	return err
}

// KeyTicket lets a mobile node and a DHP that have never met share a key, aligned 8n+4. A DHP Query Reply has it whole, after
// the DHP's information; in DHoA Requests and in Binding Updates to the DHP it is short: it ends after Expiry.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 18   |Length 10 or 86|   Kind = 4    |   Reserved    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                              SPI                              |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                            Expiry                             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                          DHP Address                          +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       Nonce (12 octets)                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                    Sealed Key (48 octets)                     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type KeyTicket struct {
	// SPI names the key that the home agent shares with the DHP.
	SPI uint32
	// Expiry is written to the next lower second; it is from 1970 to 7 February 2106.
	Expiry time.Time
	// Address is the DHP's; invalid in the short form, which has no Nonce and Sealed either.
	Address netip.Addr
	Nonce   [12]byte
	// Sealed is a key of 32 octets, encrypted, and a tag of 16.
	Sealed [48]byte
}

// OptionType is OptionExperimental.
func (*KeyTicket) OptionType() OptionType { return OptionExperimental }

func (*KeyTicket) align() (x, y int) { return 8, 4 }

func (o *KeyTicket) appendData(b []byte) ([]byte, error) {
	s := o.Expiry.Unix()
	if s < 0 || s >= 1<<32 {
		return b, fmt.Errorf("%v is out of range", o.Expiry)
	}
	b = binary.BigEndian.AppendUint32(append(b, kindKeyTicket, 0), o.SPI)
	b = binary.BigEndian.AppendUint32(b, uint32(s))
	if !o.Address.IsValid() {
		return b, nil
	}
	b, err := appendAddress(b, o.Address)
	return append(append(b, o.Nonce[:]...), o.Sealed[:]...), err
}

func (o *KeyTicket) parseData(d []byte) error {
	if len(d) != 10 && len(d) != 86 {
		return errDataLength
	}
	o.SPI, o.Expiry = binary.BigEndian.Uint32(d[2:]), time.Unix(int64(binary.BigEndian.Uint32(d[6:])), 0)
	if len(d) == 86 {
		o.Address = parseAddress(d[10:])
		copy(o.Nonce[:], d[26:])
		copy(o.Sealed[:], d[38:])
	}
	return nil
}
