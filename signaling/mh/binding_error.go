package mh

import (
	"fmt"
	"net/netip"
)

// BindingErrorStatus is the Status field of a Binding Error.
type BindingErrorStatus uint8

// The reasons for a Binding Error (RFC 6275 section 6.1.9).
const (
	UnknownBinding   BindingErrorStatus = 1 // Unknown binding for Home Address destination option
	UnrecognizedType BindingErrorStatus = 2 // Unrecognized MH Type value
)

// String is the RFC's wording.
func (s BindingErrorStatus) String() string {
	switch s {
	case UnknownBinding:
		return "Unknown binding for Home Address destination option"
	case UnrecognizedType:
		return "Unrecognized MH Type value"
	}
	return fmt.Sprintf("Binding Error status %d", uint8(s))
}

// BindingError is RFC 6275 section 6.1.9.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |     Status    |   Reserved    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                                                               |
//	+                         Home Address                          +
//	|                          (16 octets)                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type BindingError struct {
	Status BindingErrorStatus
	// HomeAddress is the Home Address option's, and the unspecified address (also if left invalid) where there was
	// none (section 9.3.3).
	HomeAddress netip.Addr
	Options     Options
}

// Type is TypeBindingError.
func (*BindingError) Type() Type { return TypeBindingError }

// OptionList is the message's options.
func (m *BindingError) OptionList() *Options { return &m.Options }

func (*BindingError) bodyLength() int { return 18 }

func (m *BindingError) appendBody(b []byte) ([]byte, error) {
	home := m.HomeAddress
	if !home.IsValid() {
		home = netip.IPv6Unspecified()
	}
	return appendAddress(append(b, byte(m.Status), 0), home)
}

func (m *BindingError) parseBody(b []byte) error {
	m.Status = BindingErrorStatus(b[0])
	m.HomeAddress = parseAddress(b[2:])
	return nil
}
