package mh

import (
	"encoding/binary"
	"fmt"
)

// The B.R. Type field.
const (
	revocationIndication      = 1
	revocationAcknowledgement = 2
)

// RevocationTrigger is why bindings are revoked (RFC 5846 section 5.1).
type RevocationTrigger uint8

// The revocation triggers: those below 128 are about one mobile node, the others go with the Global flag.
const (
	TriggerUnspecified             RevocationTrigger = 0
	TriggerAdministrative          RevocationTrigger = 1
	TriggerHandoverSameAccess      RevocationTrigger = 2
	TriggerHandoverDifferentAccess RevocationTrigger = 3
	TriggerHandoverUnknown         RevocationTrigger = 4
	TriggerUserInitiated           RevocationTrigger = 5
	TriggerAccessNetworkInitiated  RevocationTrigger = 6
	TriggerPossibleOutOfSync       RevocationTrigger = 7
	TriggerPerPeerPolicy           RevocationTrigger = 128
	TriggerRevokingNodeLocalPolicy RevocationTrigger = 129
)

// RevocationStatus is the Status field of a Binding Revocation Acknowledgement (RFC 5846 section 5.2).
type RevocationStatus uint8

// The revocation statuses.
const (
	RevocationSuccess                 RevocationStatus = 0
	RevocationPartialSuccess          RevocationStatus = 1
	RevocationNoBinding               RevocationStatus = 128
	RevocationIPv4HomeAddressRequired RevocationStatus = 129
	RevocationGlobalNotAuthorized     RevocationStatus = 130
	RevocationIdentityRequired        RevocationStatus = 131
	RevocationMobileNodeAttached      RevocationStatus = 132
	RevocationTriggerNotSupported     RevocationStatus = 133
	RevocationNotSupported            RevocationStatus = 134
	RevocationProxyNotSupported       RevocationStatus = 135
)

var revocationStatusWords = map[RevocationStatus]string{
	RevocationSuccess:                 "success",
	RevocationPartialSuccess:          "partial success",
	RevocationNoBinding:               "Binding Does NOT Exist",
	RevocationIPv4HomeAddressRequired: "IPv4 Home Address Option Required",
	RevocationGlobalNotAuthorized:     "Global Revocation NOT Authorized",
	RevocationIdentityRequired:        "Revoked Mobile Nodes Identity Required",
	RevocationMobileNodeAttached:      "Revocation Failed - MN is Attached",
	RevocationTriggerNotSupported:     "Revocation Trigger NOT Supported",
	RevocationNotSupported:            "Revocation Function NOT Supported",
	RevocationProxyNotSupported:       "Proxy Binding Revocation NOT Supported",
}

// Accepted reports whether the revocation was carried out, at least in part.
func (s RevocationStatus) Accepted() bool { return s < 128 }

// String is the RFC's wording.
func (s RevocationStatus) String() string {
	if w, ok := revocationStatusWords[s]; ok {
		return w
	}
	return fmt.Sprintf("revocation status %d", uint8(s))
}

// BindingRevocationIndication is RFC 5846 section 5.1.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                | B.R. Type = 1 |  R. Trigger   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Sequence #           |P|V|G|        Reserved         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type BindingRevocationIndication struct {
	Trigger  RevocationTrigger
	Sequence uint16
	// ProxyBinding (P), IPv4Only (V) and Global (G).
	ProxyBinding, IPv4Only, Global bool
	Options                        Options
}

// BindingRevocationAcknowledgement is RFC 5846 section 5.2. Its layout is the Indication's, with B.R. Type 2, and Status
// in place of R. Trigger.
type BindingRevocationAcknowledgement struct {
	Status   RevocationStatus
	Sequence uint16
	// ProxyBinding (P), IPv4Only (V) and Global (G), as in the Indication.
	ProxyBinding, IPv4Only, Global bool
	Options                        Options
}

// Type is TypeBindingRevocation.
func (*BindingRevocationIndication) Type() Type { return TypeBindingRevocation }

// Type is TypeBindingRevocation.
func (*BindingRevocationAcknowledgement) Type() Type { return TypeBindingRevocation }

// OptionList is the message's options.
func (m *BindingRevocationIndication) OptionList() *Options { return &m.Options }

// OptionList is the message's options.
func (m *BindingRevocationAcknowledgement) OptionList() *Options { return &m.Options }

func (*BindingRevocationIndication) bodyLength() int      { return 6 }
func (*BindingRevocationAcknowledgement) bodyLength() int { return 6 }

func appendRevocation(b []byte, seq uint16, p, v, g bool) []byte {
	var flags byte
	for i, f := range [...]bool{p, v, g} {
		if f {
			flags |= 0x80 >> i
		}
	}
	return append(binary.BigEndian.AppendUint16(b, seq), flags, 0)
}

func (m *BindingRevocationIndication) appendBody(b []byte) ([]byte, error) {
	b = append(b, revocationIndication, byte(m.Trigger))
	return appendRevocation(b, m.Sequence, m.ProxyBinding, m.IPv4Only, m.Global), nil
}

func (m *BindingRevocationAcknowledgement) appendBody(b []byte) ([]byte, error) {
	b = append(b, revocationAcknowledgement, byte(m.Status))
	return appendRevocation(b, m.Sequence, m.ProxyBinding, m.IPv4Only, m.Global), nil
}

func (m *BindingRevocationIndication) parseBody(b []byte) error {
	m.Trigger, m.Sequence = RevocationTrigger(b[1]), binary.BigEndian.Uint16(b[2:])
	m.ProxyBinding, m.IPv4Only, m.Global = b[4]&0x80 != 0, b[4]&0x40 != 0, b[4]&0x20 != 0
	return nil
}

func (m *BindingRevocationAcknowledgement) parseBody(b []byte) error {
	m.Status, m.Sequence = RevocationStatus(b[1]), binary.BigEndian.Uint16(b[2:])
	m.ProxyBinding, m.IPv4Only, m.Global = b[4]&0x80 != 0, b[4]&0x40 != 0, b[4]&0x20 != 0
	return nil
}
