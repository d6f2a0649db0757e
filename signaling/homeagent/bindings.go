package homeagent

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
)

// Info is what the control API shows of a binding.
type Info struct {
	Home   netip.Addr `json:"home"`
	CareOf netip.Addr `json:"care_of"`
	// Port is the UDP port of CareOf, and Local the address here that datagrams to it leave from; 0 if packets are tunnelled in
	// IPv6.
	Port       uint16     `json:"port,omitempty"`
	Local      netip.Addr `json:"local,omitzero"`
	Identifier string     `json:"identifier,omitempty"`
	// SPI is that of the home agent whose ticket the home address was lent for; 0 if it was not.
	SPI      uint32         `json:"spi,omitempty"`
	Networks []netip.Prefix `json:"networks,omitempty"`
	// Left is what is left of Lifetime, the granted lifetime.
	Left         time.Duration `json:"left"`
	Lifetime     time.Duration `json:"lifetime"`
	Sequence     uint16        `json:"sequence"`
	LinkLocal    bool          `json:"link_local"`
	MobileRouter bool          `json:"mobile_router"`
	Since        time.Time     `json:"since"`
	// Timestamp is the last accepted RFC 4285 timestamp; zero for unauthenticated bindings.
	Timestamp time.Time `json:"timestamp,omitzero"`
}

// Bindings lists the bindings in no particular order.
func (m *Machine) Bindings(now time.Time) []Info {
	list := make([]Info, 0, m.cache.Len())
	for b := range m.cache.All() {
		if b.Flags&binding.Invalid != 0 || !now.Before(b.Expires) {
			continue
		}
		i := Info{
			Home:         b.Home.Addr(),
			CareOf:       b.CareOf,
			Port:         b.Port,
			Local:        b.Local,
			Identifier:   b.Owner,
			Networks:     append([]netip.Prefix(nil), b.Networks...),
			Left:         b.Expires.Sub(now),
			Lifetime:     b.Lifetime,
			Sequence:     b.Sequence,
			LinkLocal:    b.Flags&binding.LinkLocal != 0,
			MobileRouter: b.Flags&binding.MobileRouter != 0,
			Since:        b.Since,
		}
		if b.Timestamp != 0 {
			i.Timestamp = mh.NTPTime(b.Timestamp).Time()
		}
		list = append(list, i)
	}
	return list
}

// Remove ends the binding of home by the operator's word, and reports whether there was one. The mobile node learns of it
// by the Binding Error that answers its next Mobile Prefix Solicitation, or when it refreshes.
func (m *Machine) Remove(now time.Time, home netip.Addr) ([]signaling.Effect, bool) {
	m.expire(now)
	b, ok := m.valid(home)
	if ok {
		m.counters.Removed++
		m.end(now, b, BindingDeleted)
	}
	return m.take(), ok
}

// Restore takes over the bindings of the store after a restart, and returns what sets up forwarding and the home link
// again. It is called once, before the first Handle. Bindings that the configuration no longer allows end. The error is
// that of binding.Cache.Load: what could be read is served all the same.
func (m *Machine) Restore(now time.Time) ([]signaling.Effect, error) {
	err := m.cache.Load(now)
	var ended []binding.Binding
	for b := range m.cache.All() {
		if b.Timestamp != 0 {
			m.ahead = max(m.ahead, mh.NTPTime(b.Timestamp).Time().Sub(now))
		}
		home := b.Home.Addr()
		switch {
		case b.Flags&binding.Invalid != 0:
		case !now.Before(b.Expires), !m.authority.Keeps(&b):
			ended = append(ended, b)
		default:
			m.forward(&binding.Binding{}, &b)
			m.defend(binding.Binding{}, false, &b)
			m.do(signaling.Report{
				Kind: BindingRestored, Home: home, CareOf: b.CareOf, Sequence: b.Sequence, Lifetime: b.Expires.Sub(now),
			})
		}
	}
	for _, b := range ended {
		m.counters.Expired++
		m.end(now, b, BindingExpired)
	}
	return m.take(), err
}
