package mh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	// LifetimeUnit is the unit of all lifetimes in Mobility Headers.
	LifetimeUnit = 4 * time.Second

	// MaxLifetime is the longest lifetime that a Mobility Header can tell of.
	MaxLifetime = 65535 * LifetimeUnit
)

// BindingUpdate is RFC 6275 section 6.1.7, and a Proxy Binding Update of RFC 5213 if ProxyRegistration is set.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |          Sequence #           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|A|H|L|K|M|R|P|F|T|B|S|D| Rsrvd |           Lifetime            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// The tenth flag has two meanings: B where P is set, O (RFC 5648 section 4.2) where it is not.
type BindingUpdate struct {
	Sequence uint16
	// Acknowledge (A), HomeRegistration (H), LinkLocal (L), KeyManagement (K).
	Acknowledge, HomeRegistration, LinkLocal, KeyManagement bool
	// MAP (M, RFC 5380), MobileRouter (R, RFC 3963), ProxyRegistration (P, RFC 5213).
	MAP, MobileRouter, ProxyRegistration bool
	// ForceUDP (F, RFC 5555), TLVHeader (T, RFC 5845).
	ForceUDP, TLVHeader bool
	// BulkUpdate (B, RFC 6602) asks for a bulk binding update; only with ProxyRegistration.
	BulkUpdate bool
	// Overwrite (O, RFC 5648) has all bindings of the mobile node replaced; only without ProxyRegistration.
	Overwrite bool
	// Subscription (S) is RFC 7161's, Distributed (D) RFC 8885's.
	Subscription, Distributed bool
	// Lifetime is what is asked for, 0 to MaxLifetime in units of LifetimeUnit (rounded down when written).
	Lifetime time.Duration
	Options  Options
}

// Type is TypeBindingUpdate.
func (*BindingUpdate) Type() Type { return TypeBindingUpdate }

// OptionList is the message's options.
func (m *BindingUpdate) OptionList() *Options { return &m.Options }

func (*BindingUpdate) bodyLength() int { return 6 }

func (m *BindingUpdate) flags() [12]*bool {
	tenth := &m.Overwrite
	if m.ProxyRegistration {
		tenth = &m.BulkUpdate
	}
	return [12]*bool{
		&m.Acknowledge, &m.HomeRegistration, &m.LinkLocal, &m.KeyManagement, &m.MAP, &m.MobileRouter,
		&m.ProxyRegistration, &m.ForceUDP, &m.TLVHeader, tenth, &m.Subscription, &m.Distributed,
	}
}

func (m *BindingUpdate) appendBody(b []byte) ([]byte, error) {
	if m.BulkUpdate && !m.ProxyRegistration || m.Overwrite && m.ProxyRegistration {
		return b, errors.New("binding update: flag B goes with flag P only, and flag O without it only")
	}
	var flags uint16
	for i, f := range m.flags() {
		if *f {
			flags |= 0x8000 >> i
		}
	}
	b = binary.BigEndian.AppendUint16(b, m.Sequence)
	b = binary.BigEndian.AppendUint16(b, flags)
	return appendLifetime(b, m.Lifetime)
}

func (m *BindingUpdate) parseBody(b []byte) error {
	m.Sequence = binary.BigEndian.Uint16(b)
	flags := binary.BigEndian.Uint16(b[2:])
	m.ProxyRegistration = flags&0x0200 != 0
	for i, f := range m.flags() {
		*f = flags&(0x8000>>i) != 0
	}
	m.Lifetime = parseLifetime(b[4:])
	return nil
}

func appendLifetime(b []byte, d time.Duration) ([]byte, error) {
	if d < 0 || d >= MaxLifetime+LifetimeUnit {
		return b, fmt.Errorf("lifetime %v is not between 0 and %v", d, MaxLifetime)
	}
	return binary.BigEndian.AppendUint16(b, uint16(d/LifetimeUnit)), nil
}

func parseLifetime(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint16(b)) * LifetimeUnit
}
