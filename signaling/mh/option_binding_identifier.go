package mh

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// BindingIdentifier is RFC 5648 section 4.3 as RFC 6089 section 4.1 changes it, aligned 2n, or 8n+2 with a care-of
// address.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 35   |     Length    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|       Binding ID (BID)        |     Status    |H|   BID-PRI   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	:           IPv4 or IPv6 care-of address (CoA), or none         :
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type BindingIdentifier struct {
	BID    uint16
	Status Status
	// HomeAndForeign is the Simultaneous Home and Foreign Binding (H) flag.
	HomeAndForeign bool
	// Priority is BID-PRI, 0 to 127; lower is preferred, 0 is from senders that do not know RFC 6089.
	Priority uint8
	// CareOf is invalid if there is none.
	CareOf netip.Addr
}

// OptionType is OptionBindingIdentifier.
func (*BindingIdentifier) OptionType() OptionType { return OptionBindingIdentifier }

func (o *BindingIdentifier) align() (x, y int) {
	if o.CareOf.IsValid() {
		return 8, 2
	}
	return 2, 0
}

func (o *BindingIdentifier) appendData(b []byte) ([]byte, error) {
	if o.Priority > 127 {
		return b, fmt.Errorf("BID-PRI %d is above 127", o.Priority)
	}
	last := o.Priority
	if o.HomeAndForeign {
		last |= 0x80
	}
	b = append(binary.BigEndian.AppendUint16(b, o.BID), byte(o.Status), last)
	return append(b, o.CareOf.AsSlice()...), nil
}

func (o *BindingIdentifier) parseData(d []byte) error {
	switch len(d) {
	case 4:
	case 8:
		o.CareOf = netip.AddrFrom4([4]byte(d[4:]))
	case 20:
		o.CareOf = parseAddress(d[4:])
	default:
		return errDataLength
	}
	o.BID, o.Status = binary.BigEndian.Uint16(d), Status(d[2])
	o.HomeAndForeign, o.Priority = d[3]&0x80 != 0, d[3]&0x7f
	return nil
}
