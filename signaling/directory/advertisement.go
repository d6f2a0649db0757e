package directory

import (
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// advertisement takes a DHP Advertisement, which replaces all that its DHP advertised before.
func (m *Machine) advertisement(now time.Time, q *request) {
	m.counters.Advertisements++
	spi, signed := auth.SPI(q.message.Options)
	if !signed {
		m.counters.Discarded.Unauthenticated++
		return
	}
	p := m.bySPI[spi]
	if p == nil {
		m.counters.Discarded.UnknownAssociation++
		return
	}
	last := p.timestamp
	if now.Sub(p.accepted) > p.association.Memory() {
		last = 0
	}
	if !m.authenticate(now, q, p.association, last) {
		return
	}
	p.timestamp, p.accepted = q.timestamp, now
	lifetime := q.message.Lifetime
	information := mh.FindAll[*mh.DHPInformation](q.message.Options)
	var endpoints []netip.AddrPort
	for _, o := range mh.FindAll[*mh.UDPEndpoint](q.message.Options) {
		endpoints = append(endpoints, o.Endpoint)
	}
	if lifetime == 0 {
		information, endpoints = nil, nil
	}
	why := p.prohibits(q, information)
	if why == "" {
		why = unfitEndpoints(endpoints)
	}
	if why != "" {
		m.refuse(q, mh.StatusAdministrativelyProhibited, why)
		return
	}
	m.replace(p, p.entriesOf(now, lifetime, information))
	p.advertised, p.advertisedUntil = endpoints, now.Add(lifetime)
	m.counters.Accepted++
	kind := Advertised
	if lifetime == 0 {
		kind = Withdrawn
		m.counters.Withdrawn++
	}
	m.do(signaling.Report{
		Kind: kind, Peer: p.Address, Link: q.Link, Sequence: q.message.Sequence, Lifetime: lifetime,
		Detail: fmt.Sprintf("%d coverage prefixes", len(p.entries)),
	})
	m.answer(q, mh.StatusAccepted, lifetime, nil)
}

// prohibits says why p may not advertise what it does; empty if it may.
func (p *proxy) prohibits(q *request, information []*mh.DHPInformation) string {
	if q.Source != p.Address {
		return fmt.Sprintf("SPI %d is %v's", p.SPI, p.Address)
	}
	for _, o := range information {
		switch {
		case o.Address != p.Address:
			return fmt.Sprintf("%v is advertised by another DHP", o.Address)
		case !p.permits(o.Coverage):
			return fmt.Sprintf("%v is not within what it may advertise", o.Coverage)
		}
	}
	return ""
}

// entriesOf makes entries of information that lasts for lifetime, or for its own if that is shorter and not 0. Of two about
// one prefix, the last counts.
func (p *proxy) entriesOf(now time.Time, lifetime time.Duration, information []*mh.DHPInformation) []*entry {
	entries := make([]*entry, 0, len(information))
	for i, o := range information {
		if covers(information[i+1:], o) {
			continue
		}
		d := lifetime
		if o.Lifetime != 0 {
			d = min(d, o.Lifetime)
		}
		entries = append(entries, &entry{
			proxy: p, coverage: o.Coverage, preference: o.Preference, load: o.Load, rtt: o.RTT, expires: now.Add(d),
		})
	}
	return entries
}

func covers(information []*mh.DHPInformation, o *mh.DHPInformation) bool {
	for _, v := range information {
		if v.Coverage == o.Coverage {
			return true
		}
	}
	return false
}
