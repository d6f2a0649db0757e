package mobilenode

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// purpose is what a Binding Update is for.
type purpose uint8

const (
	// idle: no acknowledgement is awaited.
	idle purpose = iota
	// register makes or refreshes the binding (RFC 6275 section 11.7.1).
	register
	// deregister ends it from a foreign link.
	deregister
	// returnHome ends it from the home link (section 11.5.5).
	returnHome
)

// request is a Binding Update that awaits its acknowledgement, with its retransmissions.
type request struct {
	purpose purpose
	agent   netip.Addr
	// way is where the binding is to lead; its care-of address is the home address when returning home.
	way    way
	uplink string
	// began is when the first transmission was; unanswered is how many there were since, or since an answer.
	began      time.Time
	unanswered int
	// at is when to transmit again, and wait what was waited for the last time; 0 before the first.
	at   time.Time
	wait time.Duration
	// sent are the last transmissions, any of which may be acknowledged; count is the number of all.
	sent  []transmission
	count int
	// resent counts answers that asked for another attempt at once.
	resent int
	// refreshing says that the home agent had the same binding already.
	refreshing bool
}

// maxTransmissions bounds request.sent. The last ones of a series are 32 s apart.
const maxTransmissions = 8

// maxResent is how often an answer of 135 or 144 brings on another attempt at once. A home agent that answers so again and
// again is left to the back-off.
const maxResent = 3

// transmission is one Binding Update of a request.
type transmission struct {
	sequence  uint16
	at        time.Time
	lifetime  time.Duration
	timestamp mh.NTPTime
}

func (r *request) active() bool { return r.purpose != idle }

func (r *request) stop() { *r = request{sent: r.sent[:0]} }

// pursue sees what there is to register or deregister, and sends what is due.
func (m *Machine) pursue(now time.Time) {
	if m.stopping && m.conclude(now) {
		return
	}
	if !now.Before(m.refusal.until) {
		m.ticketWanted = false
		m.refusal.until = time.Time{}
	}
	if !m.place.valid() {
		return
	}
	if !m.agents.current.IsValid() {
		m.discover(now)
		m.pursueHome(now)
		return
	}
	if m.exhausted(now) {
		m.fallBack(now)
	}
	wanted := m.wanted(now)
	switch {
	case wanted == idle:
		if m.request.active() {
			m.request.stop()
		}
	case !m.sameRequest(wanted):
		m.begin(now, wanted)
	}
	if m.request.active() && !now.Before(m.request.at) {
		m.transmit(now)
	}
	m.pursueHome(now)
}

// wanted is what the present situation asks for.
func (m *Machine) wanted(now time.Time) purpose {
	switch {
	case m.place.home:
		if m.homeLink.acknowledged || now.Before(m.refusal.until) {
			return idle
		}
		return returnHome
	case m.stopping:
		return deregister
	case now.Before(m.refusal.until):
		return idle
	case m.request.purpose == register,
		!m.entry.held,
		m.entry.doubtful,
		m.entry.way != m.place.way(),
		m.entry.sent != m.place.way(),
		m.entry.agent != m.agents.current,
		!now.Before(m.entry.refreshAt):
		return register
	}
	return idle
}

func (m *Machine) way(p purpose) way {
	if p == returnHome {
		return way{careOf: m.cfg.HomeAddress}
	}
	return m.place.way()
}

// sameRequest says whether what is wanted is being done. Each care-of address has a back-off of its own (section 11.8).
func (m *Machine) sameRequest(p purpose) bool {
	r := &m.request
	return r.purpose == p && r.agent == m.agents.current && r.way == m.way(p) && r.uplink == m.place.Uplink
}

func (m *Machine) begin(now time.Time, p purpose) {
	m.request = request{
		purpose: p, agent: m.agents.current, way: m.way(p), uplink: m.place.Uplink,
		at: now, sent: m.request.sent[:0],
		refreshing: m.entry.held && m.entry.way == m.way(p) && m.entry.agent == m.agents.current,
	}
}

// transmit sends the request's Binding Update, with a new sequence number (section 11.8), once the rate limit allows it.
func (m *Machine) transmit(now time.Time) {
	r := &m.request
	if free := m.cfg.Limit.Earliest(now); free.After(now) {
		r.at = free
		return
	}
	if r.wait >= maxBindackTimeout && m.nextAgent(now, 0, "the home agent does not answer") {
		if !m.agents.current.IsValid() {
			r.stop()
			return
		}
		m.begin(now, r.purpose)
	}
	m.sequence++
	t := transmission{sequence: m.sequence, at: now, lifetime: m.askFor(now, r.purpose)}
	payload, err := m.bindingUpdate(now, r, &t)
	if err != nil {
		// Only a configuration that cannot be encoded, such as an identifier of more than 254 octets, gets here.
		r.at = now.Add(maxBindackTimeout)
		m.fail(signaling.Report{Kind: BindingRefused, Detail: err.Error()})
		return
	}
	m.cfg.Limit.Record(now)
	m.entry.sent = r.way
	if u := m.uplinkOf(r.uplink); u != nil && r.purpose == register && !m.entry.held {
		u.turns.now = m.place.Kind()
	}
	if len(r.sent) == maxTransmissions {
		r.sent = append(r.sent[:0], r.sent[1:]...)
	}
	r.sent = append(r.sent, t)
	if r.count == 0 {
		r.began = now
	}
	r.count++
	r.unanswered++
	m.counters.UpdatesSent++
	if r.count > 1 {
		m.counters.Retransmissions++
	}
	if end := now.Add(t.lifetime); t.lifetime > 0 && end.After(m.entry.possibleUntil) {
		m.entry.possibleUntil = end
	}
	send := signaling.Send{Source: m.place.CareOf, Destination: r.agent, HomeAddress: m.cfg.HomeAddress, Payload: payload,
		Link: r.uplink, Router: m.place.Router}
	switch {
	case r.purpose == returnHome:
		send.Source, send.HomeAddress = m.cfg.HomeAddress, netip.Addr{}
		send.Router = m.homeNextHop(r.count)
	case r.way.udp():
		send.Source, send.HomeAddress = m.cfg.HomeAddress, netip.Addr{}
		send.Outer, send.OuterLocal = r.way.endpoint, r.way.careOf
	}
	if r.purpose == returnHome {
		m.defend(false) // first: the home agent may ask for the address before this node has done anything else
	}
	m.emit(send)
	m.report(signaling.Report{Kind: BindingUpdateSent, CareOf: r.way.careOf, Sequence: t.sequence, Lifetime: t.lifetime})
	if r.wait == 0 {
		r.wait = m.firstWait()
	} else {
		r.wait = min(2*r.wait, maxBindackTimeout)
	}
	r.at = now.Add(r.wait)
	m.afterUpdate(r.purpose)
}

// afterUpdate is what follows a Binding Update out at once.
func (m *Machine) afterUpdate(p purpose) {
	switch {
	case p == register && m.entry.held && m.entry.agent == m.agents.current && !m.upgrading():
		m.bind(tunnelled)
	case p == deregister:
		m.unbind()
	}
}

// askFor is the lifetime to ask for: what is configured, but no more than is left of the care-of address, and not zero,
// which would deregister (RFC 6275 section 11.7.1).
func (m *Machine) askFor(now time.Time, p purpose) time.Duration {
	if p != register {
		return 0
	}
	d := m.cfg.Lifetime
	if !m.place.CareOfUntil.IsZero() {
		d = min(d, m.place.CareOfUntil.Sub(now))
	}
	return max(d.Truncate(mh.LifetimeUnit), mh.LifetimeUnit)
}

// bindingUpdate encodes a Binding Update to the home agent: A and H set, the Alternate Care-of Address option always there
// (section 11.7.1), or over UDP its like, authenticated.
func (m *Machine) bindingUpdate(now time.Time, r *request, t *transmission) ([]byte, error) {
	bu := &mh.BindingUpdate{
		Sequence: t.sequence, Acknowledge: true, HomeRegistration: true, LinkLocal: m.cfg.LinkLocalCompatible,
		Lifetime: t.lifetime,
		ForceUDP: r.way.udp(),
		Options:  mh.Options{CareOfOption(r.way.careOf)},
	}
	bu.Options = append(bu.Options, m.cfg.Options...)
	if m.cfg.Identifier != "" {
		bu.Options = append(bu.Options, &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: m.cfg.Identifier})
	}
	var payload []byte
	var err error
	if a := m.cfg.Association; a != nil {
		t.timestamp = m.clock.Stamp(now)
		payload, err = auth.Sign(bu, *a, r.way.careOf, m.cfg.HomeAddress, t.timestamp)
	} else {
		payload, err = mh.Append(nil, bu)
	}
	if err != nil {
		return nil, err
	}
	// The pseudo-header has the home address, from the option or from the header (RFC 6275 section 6.1.1).
	mh.SetChecksum(payload, m.cfg.HomeAddress, r.agent)
	return payload, nil
}

// conclude ends the node's work after Shutdown and says whether that is done.
func (m *Machine) conclude(now time.Time) bool {
	switch {
	case m.place.home && !m.homeLink.acknowledged && m.place.valid() && !m.homeLink.unanswered:
		return false
	case m.place.away() && m.agents.current.IsValid() && now.Before(m.entry.possibleUntil):
		return false
	}
	if !m.place.valid() && now.Before(m.entry.possibleUntil) {
		m.finish("no uplink to tell the home agent through")
	} else {
		m.finish("")
	}
	return true
}

// finish takes back what was set up. why says what kept the home agent from being told; empty if it was, or had no need.
func (m *Machine) finish(why string) {
	if m.place.home {
		m.leaveHome()
	}
	m.unbind()
	m.entry = entry{}
	m.request.stop()
	m.agents.pause()
	m.stopped = true
	m.report(signaling.Report{Kind: Deregistered, Detail: why})
}
