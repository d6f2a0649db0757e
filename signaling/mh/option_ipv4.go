package mh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// IPv4HomeAddress is RFC 5555 section 3.1.1, aligned 4n.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 29   |  Length = 6   |Prefix-len |P|    Reserved     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       IPv4 Home Address                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type IPv4HomeAddress struct {
	// PrefixLength is 1 to 32; 32 for a single address.
	PrefixLength uint8
	// RequestPrefix (P) asks for a mobile network prefix.
	RequestPrefix bool
	// Address is an IPv4 address; 0.0.0.0 asks for one.
	Address netip.Addr
}

// OptionType is OptionIPv4HomeAddress.
func (*IPv4HomeAddress) OptionType() OptionType { return OptionIPv4HomeAddress }

func (*IPv4HomeAddress) align() (x, y int) { return 4, 0 }

func (o *IPv4HomeAddress) appendData(b []byte) ([]byte, error) {
	if o.PrefixLength == 0 || o.PrefixLength > 32 {
		return b, errIPv4PrefixLength
	}
	first := o.PrefixLength << 2
	if o.RequestPrefix {
		first |= 2
	}
	return appendIPv4(append(b, first, 0), o.Address)
}

func (o *IPv4HomeAddress) parseData(d []byte) error {
	if len(d) != 6 {
		return errDataLength
	}
	if o.PrefixLength = d[0] >> 2; o.PrefixLength == 0 || o.PrefixLength > 32 {
		return errIPv4PrefixLength
	}
	o.RequestPrefix, o.Address = d[0]&2 != 0, parseIPv4(d[2:])
	return nil
}

// IPv4AddressStatus is the Status field of IPv4AddressAcknowledgement; from 128 on it tells of a failure.
type IPv4AddressStatus uint8

// The statuses of RFC 5555 section 3.2.1.
const (
	IPv4Success                       IPv4AddressStatus = 0
	IPv4Unspecified                   IPv4AddressStatus = 128
	IPv4AdministrativelyProhibited    IPv4AddressStatus = 129
	IPv4IncorrectHomeAddress          IPv4AddressStatus = 130
	IPv4InvalidAddress                IPv4AddressStatus = 131
	IPv4DynamicAssignmentNotAvailable IPv4AddressStatus = 132
	IPv4PrefixAllocationNotAuthorized IPv4AddressStatus = 133
)

// IPv4AddressAcknowledgement is RFC 5555 section 3.2.1, aligned 4n.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 30   |  Length = 6   |    Status     |Pref-len   |Res|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       IPv4 Home Address                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type IPv4AddressAcknowledgement struct {
	Status IPv4AddressStatus
	// PrefixLength is 0 to 63 as it came; it is written as 0 with a failure, and else is at most 32.
	PrefixLength uint8
	Address      netip.Addr
}

// OptionType is OptionIPv4AddressAcknowledgement.
func (*IPv4AddressAcknowledgement) OptionType() OptionType { return OptionIPv4AddressAcknowledgement }

func (*IPv4AddressAcknowledgement) align() (x, y int) { return 4, 0 }

func (o *IPv4AddressAcknowledgement) appendData(b []byte) ([]byte, error) {
	length := o.PrefixLength
	switch {
	case o.Status >= IPv4Unspecified:
		length = 0
	case length > 32:
		return b, errIPv4PrefixLength
	}
	return appendIPv4(append(b, byte(o.Status), length<<2), o.Address)
}

func (o *IPv4AddressAcknowledgement) parseData(d []byte) error {
	if len(d) != 6 {
		return errDataLength
	}
	o.Status, o.PrefixLength, o.Address = IPv4AddressStatus(d[0]), d[1]>>2, parseIPv4(d[2:])
	switch {
	case o.Status >= IPv4Unspecified:
		// "MUST be set to zero and ignored in case of failure"
		o.PrefixLength = 0
	case o.PrefixLength > 32:
		return errIPv4PrefixLength
	}
	return nil
}

// NATDetection is RFC 5555 section 3.2.2, aligned 4n.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 31   |  Length = 6   |F|          Reserved           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                         Refresh time                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type NATDetection struct {
	// ForceUDP (F) says that the mobile node must use UDP encapsulation, NAT or not.
	ForceUDP bool
	// Refresh is after which time to refresh the NAT's binding, in whole seconds (rounded down when written) and less
	// than 2^32-1 of them; 0 suggests none.
	Refresh time.Duration
	// NoKeepalive says that there is no NAT's binding to refresh: a Refresh time of all ones. Refresh is 0 then.
	NoKeepalive bool
}

// OptionType is OptionNATDetection.
func (*NATDetection) OptionType() OptionType { return OptionNATDetection }

func (*NATDetection) align() (x, y int) { return 4, 0 }

func (o *NATDetection) appendData(b []byte) ([]byte, error) {
	var flags uint16
	if o.ForceUDP {
		flags = 0x8000
	}
	refresh := o.Refresh / time.Second
	switch {
	case o.NoKeepalive && o.Refresh != 0:
		return b, errors.New("has a refresh time and says that there is none")
	case o.NoKeepalive:
		refresh = math.MaxUint32
	case refresh < 0 || refresh >= math.MaxUint32:
		return b, fmt.Errorf("refresh time %v is out of range", o.Refresh)
	}
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, flags), uint32(refresh)), nil
}

func (o *NATDetection) parseData(d []byte) error {
	if len(d) != 6 {
		return errDataLength
	}
	o.ForceUDP = d[0]&0x80 != 0
	refresh := binary.BigEndian.Uint32(d[2:])
	if o.NoKeepalive = refresh == math.MaxUint32; !o.NoKeepalive {
		o.Refresh = time.Duration(refresh) * time.Second
	}
	return nil
}

// IPv4CareOfAddress is RFC 5555 section 3.1.2, aligned 4n.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 32   |  Length = 6   |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                     IPv4 Care-of Address                      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type IPv4CareOfAddress struct{ Address netip.Addr }

// OptionType is OptionIPv4CareOfAddress.
func (*IPv4CareOfAddress) OptionType() OptionType { return OptionIPv4CareOfAddress }

func (*IPv4CareOfAddress) align() (x, y int) { return 4, 0 }

func (o *IPv4CareOfAddress) appendData(b []byte) ([]byte, error) {
	return appendIPv4(append(b, 0, 0), o.Address)
}

func (o *IPv4CareOfAddress) parseData(d []byte) error {
	if len(d) != 6 {
		return errDataLength
	}
	o.Address = parseIPv4(d[2:])
	return nil
}

var errIPv4PrefixLength = errors.New("IPv4 prefix length is not from 1 to 32")
