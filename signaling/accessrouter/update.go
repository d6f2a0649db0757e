package accessrouter

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// timestampUnit is the resolution of the Timestamp option (RFC 5213 section 8.8), rounded up.
const timestampUnit = time.Second/65536 + 1

// sendUpdate sends r as a PBU.
func (m *Machine) sendUpdate(now time.Time, s *session, r *request) {
	u := &mh.BindingUpdate{
		Sequence: r.last, Acknowledge: true, ProxyRegistration: true, Distributed: !m.gateway, Lifetime: m.lifetimeOf(r),
		Options: mh.Options{s.id.option()},
	}
	switch {
	case m.gateway:
		u.Options = append(u.Options, s.homeNetworkPrefixes()...)
	case r.purpose == cleanup || r.purpose == probe:
		for _, p := range r.previous {
			u.Options = append(u.Options, p)
		}
	default:
		for _, prefix := range s.prefixes() {
			u.Options = append(u.Options, &mh.AnchoredPrefix{Prefix: prefix})
			u.Options = append(u.Options, m.router(s.id)...)
		}
	}
	u.Options = append(u.Options, &mh.HandoffIndicator{Indicator: r.indicator()},
		&mh.AccessTechnologyType{Technology: mh.AccessEthernet})
	if m.cfg.Ordering == Timestamps {
		u.Options = append(u.Options, &mh.Timestamp{Time: m.mark(now, s)})
	}
	if individual(s.linkLayer) {
		u.Options = append(u.Options, s.linkLayerIdentifier())
	}
	if m.gateway {
		u.Options = append(u.Options, &mh.LinkLocalAddress{Address: s.gatewayAddress()})
	}
	stamp := m.clock.Stamp(m.timeOfDay(now))
	if len(r.stamps) == maxStamps {
		r.stamps = r.stamps[:copy(r.stamps, r.stamps[1:])]
	}
	r.stamps = append(r.stamps, stamp)
	payload, err := auth.Sign(u, m.association, m.cfg.Address, unspecified, stamp)
	if err != nil {
		m.do(signaling.Report{Kind: Denied, Peer: m.control, Detail: s.id.String() + ": " + err.Error()})
		return
	}
	m.counters.UpdatesSent++
	m.send(m.control, payload)
	m.do(signaling.Report{
		Kind: UpdateSent, Peer: m.control, Home: s.own.Addr(), Link: s.link, Sequence: r.last, Lifetime: u.Lifetime,
		Detail: s.id.String(),
	})
}

// send sends a Mobility Header from this MAAR.
func (m *Machine) send(to netip.Addr, payload []byte) {
	mh.SetChecksum(payload, m.cfg.Address, to)
	m.counters.OctetsSent += uint64(len(payload))
	m.do(signaling.Send{Source: m.cfg.Address, Destination: to, Payload: payload})
}

// mark is a Timestamp for now, later than every one before about s.
func (m *Machine) mark(now time.Time, s *session) time.Time {
	t := m.timeOfDay(now)
	if !s.stamp.IsZero() && t.Sub(s.stamp) < timestampUnit {
		t = s.stamp.Add(timestampUnit)
	}
	s.stamp = t
	return t
}

// router is what tells others of this MAAR's DLIF: the options that follow its prefix.
func (m *Machine) router(id identity) mh.Options {
	linkLocal, linkLayer := m.ownInterface(id)
	options := mh.Options{
		&mh.DLIFLinkLocalAddress{Address: linkLocal}, &mh.DLIFLinkLayerAddress{Address: linkLayer[:]},
	}
	for _, p := range m.cfg.LocalPrefixes {
		options = append(options, &mh.LocalPrefix{Prefix: p})
	}
	return options
}

func (s *session) linkLayerIdentifier() *mh.LinkLayerIdentifier {
	return &mh.LinkLayerIdentifier{Identifier: s.linkLayer[:]}
}

// homeNetworkPrefixes are those assigned by the local mobility anchor, or the question for one (RFC 5213 section 6.9.1.1).
func (s *session) homeNetworkPrefixes() mh.Options {
	if len(s.anchors) == 0 {
		return mh.Options{&mh.HomeNetworkPrefix{Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0)}}
	}
	var options mh.Options
	for _, a := range s.anchors {
		options = append(options, &mh.HomeNetworkPrefix{Prefix: a.prefix})
	}
	return options
}

// gatewayAddress is the router's link-local address as the local mobility anchor gave it, or the question for one.
func (s *session) gatewayAddress() netip.Addr {
	if s.linkLocal.IsValid() {
		return s.linkLocal
	}
	return netip.IPv6Unspecified()
}
