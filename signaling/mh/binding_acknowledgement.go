package mh

import (
	"encoding/binary"
	"time"
)

// BindingAcknowledgement is RFC 6275 section 6.1.8, and a Proxy Binding Acknowledgement of RFC 5213 if
// ProxyRegistration is set. The flags go with those of BindingUpdate.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |    Status     |K|R|P|T|B|S|D| |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Sequence #          |           Lifetime            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type BindingAcknowledgement struct {
	Status                                                                Status
	KeyManagement, MobileRouter, ProxyRegistration, TLVHeader, BulkUpdate bool
	Subscription, Distributed                                             bool
	Sequence                                                              uint16
	// Lifetime is what is granted, 0 to MaxLifetime in units of LifetimeUnit (rounded down when written).
	Lifetime time.Duration
	Options  Options
}

// Type is TypeBindingAcknowledgement.
func (*BindingAcknowledgement) Type() Type { return TypeBindingAcknowledgement }

// OptionList is the message's options.
func (m *BindingAcknowledgement) OptionList() *Options { return &m.Options }

func (*BindingAcknowledgement) bodyLength() int { return 6 }

func (m *BindingAcknowledgement) flags() [7]*bool {
	return [7]*bool{
		&m.KeyManagement, &m.MobileRouter, &m.ProxyRegistration, &m.TLVHeader, &m.BulkUpdate, &m.Subscription,
		&m.Distributed,
	}
}

func (m *BindingAcknowledgement) appendBody(b []byte) ([]byte, error) {
	var flags byte
	for i, f := range m.flags() {
		if *f {
			flags |= 0x80 >> i
		}
	}
	b = append(b, byte(m.Status), flags)
	b = binary.BigEndian.AppendUint16(b, m.Sequence)
	return appendLifetime(b, m.Lifetime)
}

func (m *BindingAcknowledgement) parseBody(b []byte) error {
	m.Status = Status(b[0])
	for i, f := range m.flags() {
		*f = b[1]&(0x80>>i) != 0
	}
	m.Sequence = binary.BigEndian.Uint16(b[2:])
	m.Lifetime = parseLifetime(b[4:])
	return nil
}
