package mh

import (
	"errors"
	"fmt"
	"net/netip"
)

// OptionType is the type of a mobility option (RFC 6275 section 6.2.1).
type OptionType uint8

// The option types.
const (
	OptionPad1                       OptionType = 0  // RFC 6275 section 6.2.2
	OptionPadN                       OptionType = 1  // 6.2.3
	OptionBindingRefreshAdvice       OptionType = 2  // 6.2.4
	OptionAlternateCareOf            OptionType = 3  // 6.2.5
	OptionNonceIndices               OptionType = 4  // 6.2.6
	OptionBindingAuthorizationData   OptionType = 5  // 6.2.7
	OptionMobileNetworkPrefix        OptionType = 6  // RFC 3963 section 4.3
	OptionMobileNodeIdentifier       OptionType = 8  // RFC 4283 section 3
	OptionMessageAuthentication      OptionType = 9  // RFC 4285 section 5
	OptionReplayProtection           OptionType = 10 // RFC 4285 section 6
	OptionExperimental               OptionType = 18 // RFC 5096 section 4
	OptionHomeNetworkPrefix          OptionType = 22 // RFC 5213 section 8.3
	OptionHandoffIndicator           OptionType = 23 // 8.4
	OptionAccessTechnologyType       OptionType = 24 // 8.5
	OptionLinkLayerIdentifier        OptionType = 25 // 8.6
	OptionLinkLocalAddress           OptionType = 26 // 8.7
	OptionTimestamp                  OptionType = 27 // 8.8
	OptionRestartCounter             OptionType = 28 // RFC 5847 section 3.4
	OptionIPv4HomeAddress            OptionType = 29 // RFC 5555 section 3.1.1
	OptionIPv4AddressAcknowledgement OptionType = 30 // 3.2.1
	OptionNATDetection               OptionType = 31 // 3.2.2
	OptionIPv4CareOfAddress          OptionType = 32 // 3.1.2
	OptionBindingIdentifier          OptionType = 35 // RFC 5648 section 4.3
	OptionFlowSummary                OptionType = 44 // RFC 6089 section 4.2.2
	OptionFlowIdentification         OptionType = 45 // RFC 6089 section 4.2
	OptionAnchoredPrefix             OptionType = 65 // RFC 8885 section 4.3
	OptionLocalPrefix                OptionType = 66 // 4.4
	OptionPreviousMAAR               OptionType = 67 // 4.5
	OptionServingMAAR                OptionType = 68 // 4.6
	OptionDLIFLinkLocalAddress       OptionType = 69 // 4.7
	OptionDLIFLinkLayerAddress       OptionType = 70 // 4.8
)

// newOption is an empty option for data d of type t; nil for types that this package does not know, and for padding.
func newOption(t OptionType, d []byte) Option {
	switch t {
	case OptionBindingRefreshAdvice:
		return new(BindingRefreshAdvice)
	case OptionAlternateCareOf:
		return new(AlternateCareOf)
	case OptionNonceIndices:
		return new(NonceIndices)
	case OptionBindingAuthorizationData:
		return new(BindingAuthorizationData)
	case OptionMobileNetworkPrefix:
		return new(MobileNetworkPrefix)
	case OptionMobileNodeIdentifier:
		return new(MobileNodeIdentifier)
	case OptionMessageAuthentication:
		return new(MessageAuthentication)
	case OptionReplayProtection:
		return new(ReplayProtection)
	case OptionExperimental:
		return newExperimentalOption(d)
	case OptionHomeNetworkPrefix:
		return new(HomeNetworkPrefix)
	case OptionHandoffIndicator:
		return new(HandoffIndicator)
	case OptionAccessTechnologyType:
		return new(AccessTechnologyType)
	case OptionLinkLayerIdentifier:
		return new(LinkLayerIdentifier)
	case OptionLinkLocalAddress:
		return new(LinkLocalAddress)
	case OptionTimestamp:
		return new(Timestamp)
	case OptionRestartCounter:
		return new(RestartCounter)
	case OptionIPv4HomeAddress:
		return new(IPv4HomeAddress)
	case OptionIPv4AddressAcknowledgement:
		return new(IPv4AddressAcknowledgement)
	case OptionNATDetection:
		return new(NATDetection)
	case OptionIPv4CareOfAddress:
		return new(IPv4CareOfAddress)
	case OptionBindingIdentifier:
		return new(BindingIdentifier)
	case OptionFlowSummary:
		return new(FlowSummary)
	case OptionFlowIdentification:
		return new(FlowIdentification)
	case OptionAnchoredPrefix:
		return new(AnchoredPrefix)
	case OptionLocalPrefix:
		return new(LocalPrefix)
	case OptionPreviousMAAR:
		return new(PreviousMAAR)
	case OptionServingMAAR:
		return new(ServingMAAR)
	case OptionDLIFLinkLocalAddress:
		return new(DLIFLinkLocalAddress)
	case OptionDLIFLinkLayerAddress:
		return new(DLIFLinkLayerAddress)
	}
	return nil
}

// UnknownOption is an option of a type that this package does not know, kept octet for octet. Receivers skip it (RFC 6275
// section 6.2.1).
type UnknownOption struct {
	Type OptionType
	Data []byte
}

// OptionType is o.Type.
func (o *UnknownOption) OptionType() OptionType { return o.Type }

func (*UnknownOption) align() (x, y int) { return 1, 0 }

func (o *UnknownOption) appendData(b []byte) ([]byte, error) {
	if o.Type == OptionPad1 || o.Type == OptionPadN {
		return b, errors.New("padding is not an option")
	}
	return append(b, o.Data...), nil
}

func (o *UnknownOption) parseData(d []byte) error {
	o.Data = append([]byte(nil), d...)
	return nil
}

// OptionError is returned for an option whose data does not fit its type's layout, or that stands where it must not.
type OptionError struct {
	Type OptionType
	// Offset is where the option begins, counted from the first octet of the Mobility Header; -1 when writing.
	Offset int
	Err    error
}

func (e *OptionError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("mobility option %d: %v", uint8(e.Type), e.Err)
	}
	return fmt.Sprintf("mobility option %d at octet %d: %v", uint8(e.Type), e.Offset, e.Err)
}

func (e *OptionError) Unwrap() error { return e.Err }

var (
	errDataLength   = errors.New("wrong length")
	errCutShort     = errors.New("runs past the end of the message")
	errPrefixLength = errors.New("prefix length is above 128")
	errNotLast      = errors.New("is not the last option")
)

// appendAddress writes an IPv6 address; a zone is not written.
func appendAddress(b []byte, a netip.Addr) ([]byte, error) {
	if !a.Is6() {
		return b, fmt.Errorf("%v is not an IPv6 address", a)
	}
	w := a.As16()
	return append(b, w[:]...), nil
}

// parseAddress reads an IPv6 address from the first 16 octets of b.
func parseAddress(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b[:16])) }
