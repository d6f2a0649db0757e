package mobilenode

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// handleAcknowledgement is RFC 6275 section 11.7.3.
func (m *Machine) handleAcknowledgement(now time.Time, ba *mh.BindingAcknowledgement, in *signaling.Received) {
	if last := m.entry.sent; m.resume(ba, in) {
		// The home agent may have had another update since, and turned to that way.
		defer func() { m.entry.sent = last }()
	}
	r := &m.request
	if !r.active() || len(r.sent) == 0 || in.Outer != r.way.endpoint {
		m.counters.Unmatched++
		return
	}
	if err := m.authentic(ba, in.Payload, r.way.careOf); err != nil {
		m.counters.Unauthentic++
		m.fail(signaling.Report{Kind: BindingAcknowledgementIgnored, Sequence: ba.Sequence, Status: uint8(ba.Status),
			Detail: fmt.Sprintf("acknowledgement (%s) ignored: %v", ba.Status, err)})
		return
	}
	t := m.match(ba)
	if t == nil {
		m.counters.Unmatched++
		return
	}
	m.counters.AcknowledgementsReceived++
	r.unanswered = 0
	m.report(signaling.Report{Kind: BindingAcknowledgementReceived, CareOf: r.way.careOf, Sequence: ba.Sequence,
		Lifetime: ba.Lifetime, Status: uint8(ba.Status)})
	switch {
	case ba.Status == mh.StatusSequenceOutOfWindow:
		m.sequence = ba.Sequence
		m.again(now, signaling.Report{Kind: SequenceAdopted, Sequence: ba.Sequence, Status: uint8(ba.Status),
			Detail: "the home agent had a later sequence number"})
	case ba.Status == mh.StatusIDMismatch && m.cannotForceUDP(ba, t):
		m.udpRefused(now)
	case ba.Status == mh.StatusIDMismatch:
		m.resynchronise(now, ba, t)
	case r.purpose != register && (ba.Status.Accepted() || ba.Status == mh.StatusNotHomeAgent):
		// A home agent without a binding answers a deregistration with 133 (section 10.3.2), and that is as good.
		m.deregistered()
	case ba.Status.Accepted():
		m.registered(now, ba, t)
	case ba.Status == mh.StatusTicketRefused:
		m.ticketRefused(now)
	default:
		m.refused(now, ba.Status)
	}
}

// authentic checks the acknowledgement of an update with that care-of address against the security association; without one
// nothing is checked.
func (m *Machine) authentic(ba *mh.BindingAcknowledgement, payload []byte, careOf netip.Addr) error {
	if m.cfg.Association == nil {
		return nil
	}
	verify := func(a *auth.Association) error {
		known := func(spi uint32) (auth.Association, bool) { return *a, spi == a.SPI }
		_, err := auth.Verify(payload, ba, known, careOf, m.cfg.HomeAddress)
		return err
	}
	err := verify(m.cfg.Association)
	if err != nil && m.retired != nil {
		err = verify(m.retired)
	}
	if err != nil {
		return err
	}
	if _, err := auth.Timestamp(ba.Options); err != nil {
		return err
	}
	return nil
}

// match finds the transmission that is acknowledged: the one with the acknowledgement's sequence number and, with
// authentication, its timestamp (RFC 4285 section 6); nil if there is none. Status 135 has the home agent's sequence
// number instead, and status 144 only the lower half of the timestamp.
//
// Any transmission of this request will do, not only the last: where the round trip is longer than the first waits, an
// acknowledgement always finds that another update has left meanwhile.
func (m *Machine) match(ba *mh.BindingAcknowledgement) *transmission {
	stamp, err := auth.Timestamp(ba.Options)
	stamped := err == nil && m.cfg.Association != nil
	for i := len(m.request.sent) - 1; i >= 0; i-- {
		t := &m.request.sent[i]
		switch ba.Status {
		case mh.StatusSequenceOutOfWindow:
			// The home agent refuses numbers up to 32768 behind its own. That it would not refuse the last one
			// sent says that this answers an older one, and there is nothing to adopt.
			if ahead := m.sequence - ba.Sequence; ahead != 0 && ahead < 1<<15 {
				return nil
			}
			if stamped && stamp != t.timestamp {
				continue
			}
			return t
		case mh.StatusIDMismatch:
			if ba.Sequence == t.sequence && (stamped && uint32(stamp) == uint32(t.timestamp) || m.cfg.Association == nil && m.request.way.udp()) {
				return t
			}
		default:
			if ba.Sequence == t.sequence && (!stamped || stamp == t.timestamp) {
				return t
			}
		}
	}
	return nil
}

// again sends the request once more at once, as far as the rate limit and maxResent let it.
func (m *Machine) again(now time.Time, why signaling.Report) {
	m.fail(why)
	r := &m.request
	r.resent++
	if r.resent <= maxResent {
		r.at, r.wait = now, 0
	}
}

// cannotForceUDP tells the two meanings of status 144 apart in the answer to an update with flag F: that of RFC 4285 section 8,
// MIPV6-ID-MISMATCH, has a replay protection option with the home agent's time in its upper half. That of RFC 5555 section
// 3.2.3, that UDP encapsulation cannot be forced, has none without authentication, and with it the timestamp as it was sent.
// A mismatch may have that too, in the second in which one update overtook another; then another attempt is accepted, so that
// it is only believed after those.
func (m *Machine) cannotForceUDP(ba *mh.BindingAcknowledgement, t *transmission) bool {
	if !m.request.way.udp() {
		return false
	}
	stamp, err := auth.Timestamp(ba.Options)
	return m.cfg.Association == nil || err == nil && stamp == t.timestamp && m.request.resent >= maxResent
}

// resynchronise takes in a status 144, which has two causes that the home agent's time in the answer tells apart, to the
// second. Either the timestamp was out of the window: then its time is taken over. Or it has accepted one as late before,
// as it has when updates are doubled or overtake each other on their way: then the clock is right, setting it back would
// make what follows earlier still, and another update is later by itself.
func (m *Machine) resynchronise(now time.Time, ba *mh.BindingAcknowledgement, t *transmission) {
	r := &m.request
	stamp, _ := auth.Timestamp(ba.Options)
	ahead := stamp.Time().Sub(t.timestamp.Time())
	window := cmp.Or(m.cfg.Association.Window, auth.DefaultWindow)
	report := signaling.Report{Kind: ClockAdjusted, Sequence: ba.Sequence, Status: uint8(ba.Status),
		Detail: fmt.Sprintf("the home agent's clock is %v ahead of this node's", ahead)}
	switch {
	case ahead >= time.Second, ahead <= -window-time.Second, ahead <= -window && r.resent > 0:
		m.clock.Resynchronise(stamp, now)
	case t.sequence == m.sequence:
		report.Kind, report.Detail = TimestampOvertaken, "the home agent had accepted a later timestamp"
	default:
		// The answer to the later one is on its way.
		return
	}
	m.again(now, report)
}

// errNoLifetime is of an acknowledgement that accepts a registration for no time at all.
var errNoLifetime = errors.New("the home agent granted no lifetime")

// registered takes in an accepted registration.
func (m *Machine) registered(now time.Time, ba *mh.BindingAcknowledgement, t *transmission) {
	granted := min(ba.Lifetime, t.lifetime)
	if granted <= 0 {
		m.lastError = errNoLifetime.Error()
		m.refused(now, mh.StatusUnspecified)
		return
	}
	advice := time.Duration(0)
	if o, ok := mh.Find[*mh.BindingRefreshAdvice](ba.Options); ok {
		advice = o.Interval
	}
	m.measure(now.Sub(t.at))
	isNew := !m.request.refreshing || !m.entry.held || m.entry.doubtful
	until := t.at.Add(granted)
	m.entry = entry{held: true, agent: m.request.agent, way: m.request.way, sent: m.request.way, lifetime: granted, until: until,
		possibleUntil: later(until, m.entry.possibleUntil)}
	if m.entry.way.udp() {
		m.entry.keepalive = Keepalive(ba.Options)
	}
	m.entry.refreshAt = t.at.Add(refreshAfter(granted, advice, m.entry.keepalive))
	if u := m.uplinkOf(m.request.uplink); u != nil {
		u.answered(m.place.Kind())
	}
	m.request.stop()
	m.yielded = request{}
	m.refusal = refusal{}
	m.lastError = ""
	m.bind(tunnelled)
	if isNew {
		m.report(signaling.Report{Kind: BindingRegistered, Lifetime: granted, Sequence: ba.Sequence})
	}
	if ba.Status == mh.StatusPrefixDiscoveryNecessary {
		m.lastError = ba.Status.String()
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// deregistered takes in that the home agent has no binding any more.
func (m *Machine) deregistered() {
	m.drop()
	m.entry = entry{}
	m.refusal = refusal{}
	m.lastError = ""
	purpose := m.request.purpose
	m.request.stop()
	if purpose == deregister {
		m.finish("")
		return
	}
	m.homeLink.acknowledged = true
	m.settleHome("")
}

// refusal is the wait after a home agent's refusal.
type refusal struct {
	until time.Time
	wait  time.Duration
}

// refused takes in a status of 128 or more that this node cannot do anything about. It tries the next home agent after
// InitialBindackTimeoutFirstReg (RFC 6275 section 11.4.1) or, if there is none, waits long: asking again soon would get the
// same answer. Status 134 says that another node has the home address, which must not be used until that changes (section
// 11.7.1); status 146 asks the node to stop (RFC 4285 section 5.3). Both wait longest.
func (m *Machine) refused(now time.Time, status mh.Status) {
	m.refusedFor(now, status, status.String())
}

func (m *Machine) refusedFor(now time.Time, status mh.Status, why string) {
	p := m.request.purpose
	m.fail(signaling.Report{Kind: BindingRefused, Status: uint8(status), Detail: why})
	m.counters.Refusals++
	if p == deregister {
		m.finish(why)
		return
	}
	if m.entry.possibleUntil = (time.Time{}); m.entry.held {
		// It may keep what it had.
		m.entry.possibleUntil = m.entry.until
	}
	m.drop()
	m.request.stop()
	switch {
	case status == mh.StatusDuplicateAddress, status == mh.StatusAuthenticationFailure:
		m.refusal.wait = maxRefusalWait
	case m.refusal.wait == 0:
		m.refusal.wait = firstRefusalWait
	default:
		m.refusal.wait = min(2*m.refusal.wait, maxRefusalWait)
	}
	if !m.nextAgent(now, m.refusal.wait, why) {
		m.refusal.until = now.Add(m.refusal.wait)
		return
	}
	if m.agents.current.IsValid() {
		m.begin(now, p)
		m.request.at = now.Add(m.cfg.FirstRegistrationTimeout)
	}
}

// homeNextHop is the neighbour that a Binding Update on the home link is handed to. The default router's link-layer address
// came with its advertisement, and it is often the home agent; asking for the home agent's own needs a solicitation, and
// there is no address to send one from before the update is accepted (RFC 6275 section 11.5.5) or the link-local address is
// confirmed (RFC 4429 section 3.2). In case that router does not pass it on, every other transmission goes direct.
func (m *Machine) homeNextHop(count int) netip.Addr {
	if m.place.Router.IsValid() && count%2 == 1 {
		return m.place.Router
	}
	return m.request.agent
}
