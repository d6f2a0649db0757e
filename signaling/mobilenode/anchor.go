package mobilenode

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// Registration is a binding that this machine did not register itself: it was made along with the address, or before the
// program was restarted.
type Registration struct {
	// CareOf is the care-of address that it was made with. Invalid says that it is not known what the anchor has, so that
	// the first attachment brings an update, and nothing is bound before that.
	CareOf netip.Addr
	// Endpoint is where it was made over UDP, and CareOf then an address of the host's on Uplink; invalid if it was made
	// natively. An empty Uplink says that it is not known.
	Endpoint netip.AddrPort
	Uplink   string
	// Keepalive is after which time a NAT's mapping has to be refreshed; 0 if there is none.
	Keepalive time.Duration
	// Since is when the message was sent that made it; Lifetime counts from there.
	Since    time.Time
	Lifetime time.Duration
	// Sequence is that message's number, from which Binding Updates go on.
	Sequence uint16
	// RoundTrip is to the anchor; 0 if not known.
	RoundTrip time.Duration
}

// Adopt takes r over as the machine's own binding with the home agent that is configured, and returns what follows from it
// on the uplinks that attachments tell of. It comes before all events.
func (m *Machine) Adopt(now time.Time, r Registration, attachments []signaling.Attachment) []signaling.Effect {
	m.effects = nil
	made := Place{Uplink: r.Uplink, CareOf: r.CareOf, Endpoint: r.Endpoint}
	until := r.Since.Add(r.Lifetime)
	m.entry = entry{held: true, agent: m.agents.current, way: made.way(), lifetime: r.Lifetime, until: until,
		keepalive: r.Keepalive, refreshAt: r.Since.Add(refreshAfter(r.Lifetime, 0, r.Keepalive)), possibleUntil: until}
	for _, a := range attachments {
		m.handleAttachment(a)
	}
	m.entry.sent = m.entry.way
	m.sequence, m.rtt = r.Sequence, r.RoundTrip
	m.request.stop()
	m.expire(now)
	m.move(now)
	if m.entry.held && m.place.away() && m.place.way() == m.entry.way {
		m.bind(tunnelled)
		m.report(signaling.Report{Kind: BindingRegistered, Lifetime: r.Lifetime, Sequence: r.Sequence})
	} else {
		m.entry.sent = way{}
	}
	m.pursue(now)
	return m.effects
}

// Renew replaces the security association and the options that go into every Binding Update. A home agent that refused the
// ones before is asked again at once.
func (m *Machine) Renew(now time.Time, association *auth.Association, options mh.Options) []signaling.Effect {
	m.effects = nil
	m.retired, m.cfg.Association, m.cfg.Options = m.cfg.Association, association, options
	if m.ticketWanted {
		m.ticketWanted = false
		m.refusal = refusal{}
		m.entry.refreshAt = now
	}
	m.pursue(now)
	return m.effects
}

// ticketRefused takes in that the anchor does not take the ticket that came with the update any more. The binding itself is
// not in question: it lasts, and waits for Renew.
func (m *Machine) ticketRefused(now time.Time) {
	m.fail(signaling.Report{Kind: BindingRefused, Status: uint8(mh.StatusTicketRefused), Detail: mh.StatusTicketRefused.String()})
	m.counters.Refusals++
	if m.request.purpose == deregister {
		m.finish(mh.StatusTicketRefused.String())
		return
	}
	m.ticketWanted = true
	m.request.stop()
	m.refusal.until = now.Add(firstRefusalWait)
}

// TicketWanted says that the home agent has refused the ticket in the options, and that Renew has to bring another.
func (m *Machine) TicketWanted() bool { return m.ticketWanted }

// Prefer makes the uplink of that name the choice, as long as it offers a care-of address and the home agent is reached
// through it, whatever the uplinks' preferences; empty goes back to those.
func (m *Machine) Prefer(now time.Time, uplink string) []signaling.Effect {
	m.effects = nil
	m.preferred = uplink
	m.move(now)
	m.pursue(now)
	return m.effects
}

// Held says whether the home agent has accepted a binding whose lifetime is not over, and with which care-of address it
// did so last.
func (m *Machine) Held() (careOf netip.Addr, held bool) { return m.entry.way.careOf, m.entry.held }

// Bound says whether forwarding has a tunnel for the home address.
func (m *Machine) Bound() bool { return m.bound.how == tunnelled }

// Registration is the binding that is held, as Adopt takes it.
func (m *Machine) Registration() Registration {
	e := &m.entry
	return Registration{CareOf: e.way.careOf, Endpoint: e.way.endpoint, Uplink: e.way.link, Keepalive: e.keepalive, Since: e.until.Add(-e.lifetime), Lifetime: e.lifetime, Sequence: m.sequence, RoundTrip: m.rtt}
}

// Place is the way in use; the zero Place if there is none.
func (m *Machine) Place() Place { return m.place.Place }

// BoundBy says whether forwarding has a tunnel for the home address that is the one of p.
func (m *Machine) BoundBy(p *Place) bool { return m.bound.how == tunnelled && m.bound.way == p.way() }

// Unanswered is how many Binding Updates of the registration under way have not been answered.
func (m *Machine) Unanswered() int { return m.request.count }

// Abandon stops the machine without a message: the anchor is gone.
func (m *Machine) Abandon(why string) []signaling.Effect {
	m.effects = nil
	if !m.stopped {
		m.finish(why)
	}
	return m.effects
}
