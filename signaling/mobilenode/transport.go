package mobilenode

import (
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// Transport is how Binding Updates and what is tunnelled get to an anchor.
type Transport uint8

// The transports.
const (
	// Native is RFC 6275 as it stands, from a care-of address of kedge's own.
	Native Transport = iota
	// UDP puts the same IPv6 packets into UDP datagrams (RFC 5555 section 4.2), over IPv4 as that has it or over IPv6, from an
	// address of the host's. Flag F is always set: tunnels without UDP over IPv4 do not exist here.
	UDP
	// Auto is Native where that works, else UDP (section 4.4.1).
	Auto
)

// String is the transport's name in configurations.
func (t Transport) String() string {
	switch t {
	case Native:
		return "native"
	case UDP:
		return "udp"
	case Auto:
		return "auto"
	}
	return fmt.Sprintf("transport %d", uint8(t))
}

// Place is a way from an uplink to an anchor.
type Place struct {
	// Uplink names the link; empty if there is no place.
	Uplink string
	// CareOf is the address there: kedge's own natively, the host's over UDP.
	CareOf netip.Addr
	// CareOfUntil is when CareOf stops being valid; zero if that is not known, or never.
	CareOfUntil time.Time
	// Router is the next hop natively; over UDP it is the kernel that finds one.
	Router netip.Addr
	// Endpoint is where datagrams go; invalid natively.
	Endpoint netip.AddrPort
}

// UDP says that the place is one over UDP.
func (p *Place) UDP() bool { return p.Endpoint.IsValid() }

// Places are the ways to an anchor with these endpoints that an uplink offers, in the order in which they are to be tried
// (RFC 5555 section 4.4.1): natively, over UDP and IPv6, over UDP and IPv4. The first endpoint of a family is used.
func Places(t Transport, endpoints []netip.AddrPort, a *signaling.Attachment) []Place {
	var list []Place
	if t != UDP && a.CareOf.IsValid() {
		list = append(list, Place{Uplink: a.Uplink, CareOf: a.CareOf, CareOfUntil: a.CareOfUntil, Router: a.Router})
	}
	if t == Native {
		return list
	}
	for _, host := range [...]netip.Addr{a.Host, a.HostIPv4} {
		if !host.IsValid() {
			continue
		}
		for _, e := range endpoints {
			if e.Addr().Is4() == host.Is4() {
				list = append(list, Place{Uplink: a.Uplink, CareOf: host, Endpoint: e})
				break
			}
		}
	}
	return list
}

// Kind is what the place is like, to remember where that does not work.
func (p *Place) Kind() PlaceKind {
	switch {
	case !p.UDP():
		return OverNative
	case p.CareOf.Is6():
		return OverUDPv6
	}
	return OverUDPv4
}

// PlaceKind is a kind of places, or a set of kinds.
type PlaceKind uint8

// The kinds.
const (
	OverNative PlaceKind = 1 << iota
	OverUDPv6
	OverUDPv4
)

// CareOfOption is the option that tells an anchor which address a message over UDP left from, by which it finds whether there
// is a NAT on the way (RFC 5555 section 4.2). Over IPv6 it is RFC 6275's, in the same place.
func CareOfOption(careOf netip.Addr) mh.Option {
	if careOf.Is4() {
		return &mh.IPv4CareOfAddress{Address: careOf}
	}
	return &mh.AlternateCareOf{Address: careOf}
}

const (
	// natKeepaliveTimeout is NATKATIMEOUT (RFC 5555 section 6).
	natKeepaliveTimeout = 110 * time.Second
	// leastKeepalive keeps what an anchor suggests within the rate limit.
	leastKeepalive = 2 * time.Second
)

// Keepalive is after which time an anchor wants the NAT's mapping to be refreshed that it may have seen (RFC 5555 section
// 4.3); 0 if it saw none. Without the option, which an anchor must send, there may be one.
func Keepalive(options mh.Options) time.Duration {
	switch o, ok := mh.Find[*mh.NATDetection](options); {
	case ok && o.NoKeepalive:
		return 0
	case ok && o.Refresh > 0:
		return max(o.Refresh, leastKeepalive)
	}
	return natKeepaliveTimeout
}

const (
	// transportAttempts is how many Binding Updates without an answer make the node try another way (RFC 5555 section 4.4.1).
	transportAttempts = 3
	// provenPatience is how long a way is given that has worked: what three attempts take by the times of RFC 6275 section 12.
	// The first waits are shorter where a round trip is known, and it is rather the anchor that is away.
	provenPatience = 7 * time.Second
)

// ways are the places that an uplink offers, the one to use first: not one that was found not to work in its network, as long
// as there is another. While there is no binding, the one whose turn it is keeps it.
func (m *Machine) ways(u *uplink) []Place {
	list := Places(m.cfg.Transport, m.cfg.Endpoints, &u.Attachment)
	turn := PlaceKind(0)
	if !m.entry.held && u.triesNative(list) {
		turn = u.turns.now
	}
	first := 0
	for i := len(list) - 1; i >= 0; i-- {
		switch k := list[i].Kind(); {
		case u.failed&k != 0:
		case k == turn:
			return list[i:]
		default:
			first = i
		}
	}
	return list[first:]
}

// exhausted says that the request under way has had its attempts, and that there is another way from the uplink.
func (m *Machine) exhausted(now time.Time) bool {
	r := &m.request
	u := m.uplinkOf(m.place.Uplink)
	if u == nil || !r.active() || r.purpose == returnHome || now.Before(r.at) {
		return false
	}
	attempts := transportAttempts
	if m.sharing(u) != nil {
		attempts = 1
	}
	if r.unanswered < attempts || r.refreshing && now.Sub(r.began) < provenPatience {
		return false
	}
	return len(Places(m.cfg.Transport, m.cfg.Endpoints, &u.Attachment)) > 1
}

// fallBack gives up the way in use and takes the next. When all have failed it is rather the anchor that is away: they
// are tried anew, with first waits that double each time round.
func (m *Machine) fallBack(now time.Time) {
	u := m.uplinkOf(m.place.Uplink)
	if kinds := m.sharing(u); kinds != nil {
		m.yield(now, u, kinds)
		return
	}
	why := fmt.Sprintf("%d binding updates were not answered %s", m.request.unanswered, m.place.describe())
	u.failed |= m.place.Kind()
	all := PlaceKind(0)
	list := Places(m.cfg.Transport, m.cfg.Endpoints, &u.Attachment)
	for i := range list {
		all |= list[i].Kind()
	}
	if u.failed&all == all {
		u.allFailed()
	}
	m.report(signaling.Report{Kind: TransportChanged, Detail: why})
	m.move(now)
}

// udpRefused takes in that the home agent does not agree to UDP encapsulation. RFC 5555 section 4.4.2 has the node then "MAY
// resend" without flag F: what is left without it here is the native way, if there is one, even if that has failed before.
func (m *Machine) udpRefused(now time.Time) {
	const why = "the home agent does not agree to UDP encapsulation (RFC 5555 status 144)"
	u := m.uplinkOf(m.place.Uplink)
	if m.request.purpose != register || u == nil || len(Places(m.cfg.Transport, nil, &u.Attachment)) == 0 {
		m.refusedFor(now, mh.StatusIDMismatch, why)
		return
	}
	m.counters.Refusals++
	u.failed = OverUDPv6 | OverUDPv4
	m.fail(signaling.Report{Kind: TransportChanged, Status: uint8(mh.StatusIDMismatch), Detail: why})
	m.move(now)
}

// Reach replaces the endpoints that the home agent has for UDP.
func (m *Machine) Reach(now time.Time, endpoints []netip.AddrPort) []signaling.Effect {
	m.effects = nil
	m.cfg.Endpoints = endpoints
	if !m.stopped {
		m.move(now)
		m.pursue(now)
	}
	return m.effects
}
