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
	// careOf is the care-of address that the home agent accepted last, and sent the one in the last update: until they
	// are the same, either may be what it has.
	careOf, sent netip.Addr
	lifetime     time.Duration
	// until is when the binding ends: its lifetime counts from when the Binding Update was sent (section 11.7.3).
	until     time.Time
	refreshAt time.Time
	// possibleUntil is until when a home agent might hold a binding from any update that was sent, acknowledged or not;
	// zero if none can.
	possibleUntil time.Time
}

// refreshAfter is when to send the next Binding Update: at the interval that the home agent advises (section 11.7.3), else
// "well before the expiration" (section 11.7.1) at 0.8 of the lifetime, which leaves a fifth of it for retransmissions.
func refreshAfter(granted, advice time.Duration) time.Duration {
	d := granted * 8 / 10
	if advice > 0 {
		d = min(d, advice)
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
	effect signaling.Bind
}

type boundHow uint8

const (
	notBound boundHow = iota
	tunnelled
	native
)

func (m *Machine) bind(how boundHow) {
	b := signaling.Bind{Home: m.home, Mobile: true, Link: m.place.uplink, Router: m.place.router}
	if how == native {
		b.Native = true
	} else {
		b.Local, b.Remote = m.place.careOf, m.agents.current
	}
	if m.bound.how == how && m.bound.effect == b {
		return
	}
	m.bound = bound{how, b}
	m.emit(b)
}

// rebind tells forwarding of a new router of the same place.
func (m *Machine) rebind() {
	switch {
	case m.bound.how == native,
		m.bound.how == tunnelled && m.bound.effect.Local == m.place.careOf && m.bound.effect.Remote == m.agents.current:
		m.bind(m.bound.how)
	}
}

func (m *Machine) unbind() {
	if m.bound.how == notBound {
		return
	}
	m.bound = bound{}
	m.emit(signaling.Unbind{Home: m.home, Mobile: true})
}
