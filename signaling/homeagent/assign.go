package homeagent

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
)

// ErrCareOf is wrapped by what Assign says of a care-of address that cannot be one here.
var ErrCareOf = errors.New("unfit care-of address")

// Assignment is a home address that goes to a mobile node together with its binding.
type Assignment struct {
	Home, CareOf netip.Addr
	// Port and Local are as in binding.Binding, for a mobile node that speaks in datagrams.
	Port  uint16
	Local netip.Addr
	Owner string
	// Networks go the same way as Home.
	Networks []netip.Prefix
	// Sequence and Timestamp are those of the request; 0 for the latter if it is not authentic.
	Sequence  uint16
	Timestamp mh.NTPTime
	// Lifetime is granted as it is, in whole units of binding.LifetimeUnit.
	Lifetime time.Duration
}

// Assign makes or refreshes a binding on the word of the role that this home agent is part of, which has checked whose Home
// is and that there is no home link. The error wraps ErrCareOf, binding.ErrFull or binding.ErrOwnerFull, and then nothing
// has changed.
func (m *Machine) Assign(now time.Time, a Assignment) ([]signaling.Effect, error) {
	if a.Port == 0 && !routable(a.CareOf) {
		return nil, fmt.Errorf("%w: it is not unicast routable", ErrCareOf)
	}
	if why := m.unfit(a.CareOf, a.Networks); why != "" {
		return nil, fmt.Errorf("%w: %s", ErrCareOf, why)
	}
	kind, err := m.establish(binding.Binding{
		Home:      host(a.Home),
		CareOf:    a.CareOf,
		Port:      a.Port,
		Local:     a.Local,
		Owner:     a.Owner,
		Networks:  a.Networks,
		Flags:     binding.HomeRegistration | binding.AskRefresh,
		Sequence:  a.Sequence,
		Timestamp: uint64(a.Timestamp),
		Lifetime:  a.Lifetime,
		Since:     now,
		Expires:   now.Add(a.Lifetime),
	})
	if err != nil {
		return m.take(), err
	}
	m.do(signaling.Report{Kind: kind, Home: a.Home, CareOf: a.CareOf, Sequence: a.Sequence, Lifetime: a.Lifetime})
	return m.take(), nil
}

// Release ends the binding of home, which there is, at the request with that sequence number and timestamp.
func (m *Machine) Release(now time.Time, home netip.Addr, sequence uint16, timestamp mh.NTPTime) []signaling.Effect {
	b, ok := m.valid(home)
	if !ok {
		return nil
	}
	b.Sequence = sequence
	if timestamp != 0 {
		b.Timestamp = uint64(timestamp)
	}
	m.end(now, b, BindingDeleted)
	return m.take()
}

// Cache is the binding cache, to be read only.
func (m *Machine) Cache() *binding.Cache { return m.cache }
