package mobilenode

import (
	"net/netip"
	"time"

	"kedge/signaling"
)

// entry is the Binding Update List entry for the home agent (RFC 6275 section 11.1).
type entry struct {
	// held says that the home agent accepted a registration whose lifetime is not over.
	held bool
	// doubtful says that somebody, perhaps not the home agent, said that it has lost the binding.
	doubtful bool
	agent    netip.Addr
	// way is what the home agent accepted last, and sent that of the last update: until they are the same, either may be
	// what it has.
	way, sent way
	// away says that the uplink has been without way's address since: it may be in another network now.
	away     bool
	lifetime time.Duration
	// keepalive is after which time a NAT's mapping has to be refreshed (RFC 5555 section 4.3); 0 if there is none.
	keepalive time.Duration
	// until is when the binding ends: its lifetime counts from when the Binding Update was sent (section 11.7.3).
	until     time.Time
	refreshAt time.Time
	// possibleUntil is until when a home agent might hold a binding from any update that was sent, acknowledged or not;
	// zero if none can.
	possibleUntil time.Time
}

// way is where a binding leads.
type way struct {
	// careOf is the address here, and endpoint where datagrams go; invalid natively.
	careOf   netip.Addr
	endpoint netip.AddrPort
	// link is the uplink, over UDP: a private IPv4 address may be the same on several. Empty natively.
	link string
}

func (w way) udp() bool { return w.endpoint.IsValid() }

// refreshAfter is when to send the next Binding Update: at the interval that the home agent advises (section 11.7.3), else
// "well before the expiration" (section 11.7.1) at 0.8 of the lifetime, which leaves a fifth of it for retransmissions. It
// also keeps a NAT's mapping alive: "the binding update/acknowledgement pair will ensure that the NAT bindings are refreshed
// in a reliable manner" (RFC 5555 section 4.3).
func refreshAfter(granted, advice, keepalive time.Duration) time.Duration {
	d := granted * 8 / 10
	if advice > 0 {
		d = min(d, advice)
	}
	if keepalive > 0 {
		d = min(d, keepalive)
	}
	return d
}

// expire ends a binding whose lifetime ran out without an acknowledgement of its refreshment.
func (m *Machine) expire(now time.Time) {
	if !m.entry.held || now.Before(m.entry.until) {
		return
	}
	m.drop()
	m.fail(signaling.Report{Kind: BindingLost, Detail: "its lifetime ended before the home agent acknowledged another"})
}

// drop forgets the binding and closes the tunnel.
func (m *Machine) drop() {
	m.entry.held, m.entry.doubtful = false, false
	if m.bound.how == tunnelled {
		m.unbind()
	}
}

// bound is what forwarding was told of the home address.
type bound struct {
	how    boundHow
	way    way
	effect signaling.Bind
}

type boundHow uint8

const (
	notBound boundHow = iota
	tunnelled
	native
)

func (m *Machine) bind(how boundHow) {
	b := signaling.Bind{Home: m.home, Mobile: true, Link: m.place.Uplink, Router: m.place.Router}
	w := m.place.way()
	switch {
	case how == native:
		b.Native = true
	case w.udp():
		b.Local, b.Remote, b.RemotePort = w.careOf, w.endpoint.Addr(), w.endpoint.Port()
	default:
		b.Local, b.Remote = w.careOf, m.agents.current
	}
	if m.bound.how == how && m.bound.effect == b {
		return
	}
	m.bound = bound{how, w, b}
	m.emit(b)
}

// rebind tells forwarding of a new router of the same place.
func (m *Machine) rebind() {
	switch {
	case m.bound.how == native,
		m.bound.how == tunnelled && !m.bound.way.udp() && m.bound.way == m.place.way() && m.bound.effect.Remote == m.agents.current:
		m.bind(m.bound.how)
	}
}

// upgrading says that the node turns from UDP to a native care-of address on an uplink that still has the address that the
// datagrams leave from, or to a way that has missed its turn. Nobody knows yet whether the network lets such packets pass, so
// that the tunnel stays where it is until the home agent has answered.
func (m *Machine) upgrading() bool {
	w := m.bound.way
	u := m.uplinkOf(m.place.Uplink)
	return m.bound.how == tunnelled && w.udp() && w == m.entry.way && w != m.place.way() && m.bound.effect.Link == m.place.Uplink &&
		u != nil && u.offers(w.careOf) && (!m.place.UDP() || u.turns.missed&m.place.Kind() != 0)
}

// proceeding is upgrading from a way that is as good as it was when the home agent answered by it.
func (m *Machine) proceeding() bool {
	if !m.upgrading() || m.entry.doubtful || m.entry.away {
		return false
	}
	u := m.uplinkOf(m.place.Uplink)
	p := Place{CareOf: m.entry.way.careOf, Endpoint: m.entry.way.endpoint}
	return u.rounds == 0 && u.failed&p.Kind() == 0
}

func (m *Machine) unbind() {
	if m.bound.how == notBound {
		return
	}
	m.bound = bound{}
	m.emit(signaling.Unbind{Home: m.home, Mobile: true})
}
