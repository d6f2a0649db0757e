package mh

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// FlowStatus is the Status field of a Flow Identification option (RFC 6089 section 4.2).
type FlowStatus uint8

// The flow statuses.
const (
	FlowAccepted                   FlowStatus = 0
	FlowAdministrativelyProhibited FlowStatus = 128
	FlowUnspecified                FlowStatus = 129
	FlowMalformed                  FlowStatus = 130
	FlowBIDNotFound                FlowStatus = 131
	FlowFIDNotFound                FlowStatus = 132
	FlowSelectorNotSupported       FlowStatus = 133
)

var flowStatusWords = map[FlowStatus]string{
	FlowAccepted:                   "Flow binding successful",
	FlowAdministrativelyProhibited: "Administratively prohibited",
	FlowUnspecified:                "Flow binding rejected, reason unspecified",
	FlowMalformed:                  "Flow identification mobility option malformed",
	FlowBIDNotFound:                "BID not found",
	FlowFIDNotFound:                "FID not found",
	FlowSelectorNotSupported:       "Traffic selector format not supported",
}

// Accepted reports whether the flow binding was accepted.
func (s FlowStatus) Accepted() bool { return s < 128 }

// String is the RFC's wording.
func (s FlowStatus) String() string {
	if w, ok := flowStatusWords[s]; ok {
		return w
	}
	return fmt.Sprintf("flow status %d", uint8(s))
}

// FlowIdentification is RFC 6089 section 4.2, aligned 2n, and more when a traffic selector needs it.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 45   |  Option Len   |              FID              |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|            FID-PRI            |   Reserved    |    Status     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Sub-options ...
//	+-+-+-+-+-+-+-+-+-
//
// A sub-option is its type, the length of its data and its data (section 4.2.1): Pad1 (0, without length) and PadN (1) come
// and go with alignment as among mobility options.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Sub-opt Type=2 |  Sub-Opt Len  |     BID       |     BID ...      Binding Reference, section 4.2.1.3
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Sub-opt Type=3 |  Sub-Opt Len  |   TS Format   |   Reserved    |  Traffic Selector, section 4.2.1.4
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Traffic Selector ...
//	+-+-+-+-+-+-+-+-+-+-+-+-
type FlowIdentification struct {
	// FID and Priority (FID-PRI) are not 0; lower Priority is looked at first.
	FID, Priority uint16
	Status        FlowStatus
	// Selector is the traffic selector; nil if there is none.
	Selector TrafficSelector
	// BIDs are those of the Binding Reference sub-option; none if there is no such sub-option.
	BIDs []uint16
	// Unknown are the sub-options of other types, octet for octet. They are written last.
	Unknown []UnknownSubOption
}

// UnknownSubOption is a sub-option of a type that this package does not know.
type UnknownSubOption struct {
	Type uint8
	Data []byte
}

// The sub-option types.
const (
	subOptionPad1             = 0
	subOptionPadN             = 1
	subOptionBindingReference = 2
	subOptionTrafficSelector  = 3
)

// OptionType is OptionFlowIdentification.
func (*FlowIdentification) OptionType() OptionType { return OptionFlowIdentification }

// align lets the sub-options, which begin 8 octets after the option, be aligned without knowing where it stands.
func (o *FlowIdentification) align() (x, y int) {
	if o.Selector != nil {
		return max(2, o.Selector.align()), 0
	}
	return 2, 0
}

func (o *FlowIdentification) appendData(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint16(b, o.FID)
	b = binary.BigEndian.AppendUint16(b, o.Priority)
	b = append(b, 0, byte(o.Status))
	subOptions := len(b)
	if o.Selector != nil {
		var err error
		b = append(b, subOptionTrafficSelector, 0, o.Selector.Format(), 0)
		if b, err = o.Selector.appendFields(b); err != nil {
			return b, err
		}
		if err = setLength(b, subOptions); err != nil {
			return b, err
		}
	}
	if len(o.BIDs) > 0 {
		b = appendPadding(b, (len(b)-subOptions)%2)
		at := len(b)
		b = append(b, subOptionBindingReference, 0)
		for _, bid := range o.BIDs {
			b = binary.BigEndian.AppendUint16(b, bid)
		}
		if err := setLength(b, at); err != nil {
			return b, err
		}
	}
	for _, u := range o.Unknown {
		at := len(b)
		b = append(append(b, u.Type, 0), u.Data...)
		if err := setLength(b, at); err != nil {
			return b, err
		}
	}
	return b, nil
}

var (
	errSubOptionCutShort = errors.New("sub-option runs past the end of its option")
	errSubOptionTwice    = errors.New("sub-option occurs twice")
)

func (o *FlowIdentification) parseData(d []byte) error {
	if len(d) < 6 {
		return errDataLength
	}
	o.FID, o.Priority = binary.BigEndian.Uint16(d), binary.BigEndian.Uint16(d[2:])
	o.Status = FlowStatus(d[5])
	for d = d[6:]; len(d) > 0; {
		if d[0] == subOptionPad1 {
			d = d[1:]
			continue
		}
		if len(d) < 2 || len(d) < 2+int(d[1]) {
			return errSubOptionCutShort
		}
		if err := o.parseSubOption(d[0], d[2:2+int(d[1])]); err != nil {
			return err
		}
		d = d[2+int(d[1]):]
	}
	return nil
}

func (o *FlowIdentification) parseSubOption(t uint8, d []byte) error {
	switch t {
	case subOptionPadN:
	case subOptionBindingReference:
		if o.BIDs != nil {
			return errSubOptionTwice
		}
		bids, err := parseUint16s(d)
		o.BIDs = bids
		return err
	case subOptionTrafficSelector:
		if o.Selector != nil {
			return errSubOptionTwice
		}
		if len(d) < 2 {
			return errDataLength
		}
		s, err := parseSelector(d[0], d[2:])
		if err != nil {
			return err
		}
		o.Selector = s
	default:
		o.Unknown = append(o.Unknown, UnknownSubOption{t, append([]byte(nil), d...)})
	}
	return nil
}

// parseUint16s reads one or more 16-bit numbers.
func parseUint16s(d []byte) ([]uint16, error) {
	if len(d) == 0 || len(d)%2 != 0 {
		return nil, errDataLength
	}
	v := make([]uint16, 0, len(d)/2)
	for ; len(d) > 0; d = d[2:] {
		v = append(v, binary.BigEndian.Uint16(d))
	}
	return v, nil
}

// FlowSummary is RFC 6089 section 4.2.2, aligned 2n.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 44   |  Option Len   |              FID              |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     FID ...
//	+-+-+-+-+-+-+-
type FlowSummary struct {
	// FIDs are one or more.
	FIDs []uint16
}

// OptionType is OptionFlowSummary.
func (*FlowSummary) OptionType() OptionType { return OptionFlowSummary }

func (*FlowSummary) align() (x, y int) { return 2, 0 }

func (o *FlowSummary) appendData(b []byte) ([]byte, error) {
	if len(o.FIDs) == 0 {
		return b, errors.New("no FID")
	}
	for _, fid := range o.FIDs {
		b = binary.BigEndian.AppendUint16(b, fid)
	}
	return b, nil
}

func (o *FlowSummary) parseData(d []byte) (err error) {
	o.FIDs, err = parseUint16s(d)
	return err
}
