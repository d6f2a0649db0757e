package mh

import "net/netip"

// PreviousMAAR is RFC 8885 section 4.5, aligned 8n+4.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 67   |  Length = 34  |   Reserved    | Prefix Length |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                         Previous MAAR                         +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                      Home Network Prefix                      +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type PreviousMAAR struct {
	Address netip.Addr
	Prefix  netip.Prefix
}

// OptionType is OptionPreviousMAAR.
func (*PreviousMAAR) OptionType() OptionType { return OptionPreviousMAAR }

func (*PreviousMAAR) align() (x, y int) { return 8, 4 }

func (o *PreviousMAAR) appendData(b []byte) ([]byte, error) {
	// appendPrefix puts the length and the prefix next to each other; here the address comes between.
	b, err := appendPrefix(b, o.Prefix)
	if err != nil {
		return b, err
	}
	prefix := [16]byte(b[len(b)-16:])
	if b, err = appendAddress(b[:len(b)-16], o.Address); err != nil {
		return b, err
	}
	return append(b, prefix[:]...), nil
}

func (o *PreviousMAAR) parseData(d []byte) (err error) {
	if len(d) != 34 {
		return errDataLength
	}
	o.Address = parseAddress(d[2:])
	o.Prefix, err = prefixFrom(d[18:], d[1])
	return err
}

// ServingMAAR is RFC 8885 section 4.6, aligned 8n+6.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 68   |  Length = 16  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                       S-MAAR's Address                        +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type ServingMAAR struct{ Address netip.Addr }

// OptionType is OptionServingMAAR.
func (*ServingMAAR) OptionType() OptionType { return OptionServingMAAR }

func (*ServingMAAR) align() (x, y int) { return 8, 6 }

func (o *ServingMAAR) appendData(b []byte) ([]byte, error) { return appendAddress(b, o.Address) }

func (o *ServingMAAR) parseData(d []byte) (err error) {
	o.Address, err = parseAddressData(d)
	return err
}

// DLIFLinkLocalAddress is RFC 8885 section 4.7, aligned 8n+6; Type is 69, the layout ServingMAAR's.
type DLIFLinkLocalAddress struct{ Address netip.Addr }

// OptionType is OptionDLIFLinkLocalAddress.
func (*DLIFLinkLocalAddress) OptionType() OptionType { return OptionDLIFLinkLocalAddress }

func (*DLIFLinkLocalAddress) align() (x, y int) { return 8, 6 }

func (o *DLIFLinkLocalAddress) appendData(b []byte) ([]byte, error) {
	return appendAddress(b, o.Address)
}

func (o *DLIFLinkLocalAddress) parseData(d []byte) (err error) {
	o.Address, err = parseAddressData(d)
	return err
}

// DLIFLinkLayerAddress is RFC 8885 section 4.8; Type is 70, layout and alignment are LinkLayerIdentifier's.
type DLIFLinkLayerAddress struct{ Address []byte }

// OptionType is OptionDLIFLinkLayerAddress.
func (*DLIFLinkLayerAddress) OptionType() OptionType { return OptionDLIFLinkLayerAddress }

func (o *DLIFLinkLayerAddress) align() (x, y int) { return linkLayerAlign(o.Address) }

func (o *DLIFLinkLayerAddress) appendData(b []byte) ([]byte, error) {
	return append(append(b, 0, 0), o.Address...), nil
}

func (o *DLIFLinkLayerAddress) parseData(d []byte) (err error) {
	o.Address, err = parseLinkLayer(d)
	return err
}
