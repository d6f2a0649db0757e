package dmipv6

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

const (
	// drainTime is for how long an idle address is not given to new flows any more before it is given back: a flow of a
	// worker that had not heard of that yet keeps it.
	drainTime = time.Second
	// returnTime is how long a DHP is told that its address is given back.
	returnTime = 30 * time.Second
)

// anchor is a DHoA that is held, or being given back.
type anchor struct {
	proxy   *proxy
	address netip.Addr
	prefix  netip.Prefix
	machine *mobilenode.Machine
	// host says that the host holds the address itself.
	host bool
	// near is the correspondent, and region the prefix, that it was asked for.
	near   netip.Addr
	region netip.Prefix
	epoch  int
	since  time.Time

	flows int
	// idleAt is when it is given back, and drainAt when that is for certain; zero while it has flows.
	idleAt, drainAt time.Time
	// uses are the profiles and regions that it was chosen for, true where a flow was decided so that was held. Of a
	// restored one that is not known.
	uses     map[use]bool
	restored bool
	// graceEnds is when flows of GracefulReplacement have to end; zero if not.
	graceEnds time.Time
	// ended says that flows of it were terminated, so that it is given back without waiting once it has none.
	ended bool
	// returning says that it is being given back, until returnBy at the latest. Nothing may use it.
	returning bool
	returnBy  time.Time

	judge judgement
	saved []byte
}

type use struct {
	profile int
	region  netip.Prefix
}

func (a *anchor) use(now time.Time, profile int, region netip.Prefix, held bool) {
	if a.uses == nil {
		a.uses = map[use]bool{}
	}
	u := use{profile, region}
	a.uses[u] = a.uses[u] || held
	if a.flows == 0 && a.idleAt.Before(now.Add(drainTime)) && !a.idleAt.IsZero() {
		a.idleAt = now.Add(drainTime)
	}
	a.drainAt = time.Time{}
}

// usedBy says whether flows of the profile may use the address.
func (a *anchor) usedBy(profile int) bool {
	if a.restored {
		return true
	}
	for u := range a.uses {
		if u.profile == profile {
			return true
		}
	}
	return false
}

func (m *Machine) anchorOf(address netip.Addr) *anchor {
	i := slices.IndexFunc(m.anchors, func(a *anchor) bool { return a.address == address || a.prefix.Contains(address) })
	if i < 0 {
		return nil
	}
	return m.anchors[i]
}

// usable says that new flows may take the address.
func (a *anchor) usable() bool {
	_, held := a.machine.Held()
	return held && a.machine.Bound() && !a.returning && a.drainAt.IsZero()
}

// inHand is the latest address of the DHP that new flows of the profile may take; nil if there is none. An address from
// before the last move does not do for GracefulReplacement.
func (m *Machine) inHand(now time.Time, p *proxy, profile int) *anchor {
	for _, a := range slices.Backward(m.anchors) {
		if a.proxy == p && !a.host && a.usable() && (m.cfg.Profiles[profile].Class != GracefulReplacement || a.epoch == m.epoch) {
			return a
		}
	}
	return nil
}

// roomForAnchor says whether one more address may be asked for, also in place of one that is idle.
func (m *Machine) roomForAnchor(p *proxy) bool {
	n := 0
	for _, a := range m.anchors {
		if !a.returning && (a.flows > 0 || a.proxy == p) {
			n++
		}
	}
	return n < m.cfg.MaxAnchors
}

// placeOf is where messages to the DHP leave: as its addresses' bindings do.
func (m *Machine) placeOf(p *proxy) mobilenode.Place {
	for _, a := range m.anchors {
		if a.proxy == p && !a.returning {
			if place := a.machine.Place(); place.CareOf.IsValid() {
				return place
			}
		}
	}
	return m.placeTo(p)
}

// lend takes up an address. One that is idle makes room for it, unless it is for the host only.
func (m *Machine) lend(now time.Time, q *request, prefix netip.Prefix, t *transmission, lifetime, keepalive time.Duration, association *auth.Association, roundTrip time.Duration) {
	var idle *anchor
	if m.live() >= m.cfg.MaxAnchors {
		i := slices.IndexFunc(m.anchors, func(a *anchor) bool { return a.flows == 0 && !a.returning })
		if i < 0 || q.host {
			m.counters.Refused++
			return // nobody uses it, and it ends by itself
		}
		idle = m.anchors[i]
	}
	a := &anchor{proxy: q.proxy, address: prefix.Addr(), prefix: prefix.Masked(), host: q.host, near: q.correspondent,
		region: q.region, epoch: q.epoch, since: now, idleAt: now.Add(m.cfg.IdleTime)}
	a.proxy.near, a.proxy.skipFor, a.proxy.skipUntil = q.correspondent, 0, time.Time{}
	if err := m.begin(a, association); err != nil {
		m.skip(now, q.proxy, err.Error())
		return
	}
	m.anchors = append(m.anchors, a)
	m.counters.Lent++
	m.report(signaling.Report{Kind: DHoALent, Home: a.address, CareOf: t.place.CareOf, Peer: a.proxy.address, Lifetime: lifetime,
		Sequence: q.sequence, Detail: purpose(a)})
	a.judge.careOf = t.place.CareOf
	r := mobilenode.Registration{CareOf: t.place.CareOf, Endpoint: t.place.Endpoint, Uplink: t.place.Uplink, Keepalive: keepalive,
		Since: t.at, Lifetime: lifetime, Sequence: q.sequence, RoundTrip: roundTrip}
	m.take(now, a, a.machine.Adopt(now, r, m.attachments))
	m.save(a)
	if idle != nil {
		m.giveBack(now, idle) // now that its place is taken, nothing else is asked for
	}
}

func purpose(a *anchor) string {
	if a.host {
		return "for the host"
	}
	return "for translation"
}

// begin makes the machine that keeps the address registered.
func (m *Machine) begin(a *anchor, association *auth.Association) error {
	cfg := mobilenode.Config{HomeAddress: a.address, HomePrefix: a.prefix, HomeAgent: a.proxy.address, Identifier: m.cfg.Identifier,
		Lifetime: m.cfg.Lifetime, Association: association, Options: m.credentials(a.proxy), Clock: a.proxy.clock,
		Transport: m.transport(a.proxy), Endpoints: a.proxy.reachedBy(), Limit: &a.proxy.updates, Random: m.cfg.Random}
	if a.prefix.Bits() < 128 {
		cfg.Prefix = a.prefix
	}
	machine, err := mobilenode.New(cfg)
	a.machine = machine
	return err
}

func (m *Machine) live() (n int) {
	for _, a := range m.anchors {
		if !a.returning {
			n++
		}
	}
	return n
}

// drive hands an event to an anchor's machine.
func (m *Machine) drive(now time.Time, a *anchor, e signaling.Event) {
	m.take(now, a, a.machine.Handle(now, e))
}

// take carries on what an anchor's machine returned, and looks what has become of the address.
func (m *Machine) take(now time.Time, a *anchor, effects []signaling.Effect) {
	for _, e := range effects {
		m.emit(e)
		r, ok := e.(signaling.Report)
		switch {
		case !ok:
		case r.Kind == mobilenode.BindingAcknowledgementIgnored && r.Status == uint8(mh.StatusTicketRefused):
			m.wantTicket(now, a.proxy, "the DHP refuses the present one")
		case r.Kind == mobilenode.BindingAcknowledgementReceived:
			a.proxy.heard = now
		}
	}
	if slices.ContainsFunc(effects, func(e signaling.Effect) bool { _, ok := e.(signaling.Bind); return ok }) {
		m.reconsider = true
	}
	switch careOf, held := a.machine.Held(); {
	case a.returning:
		if a.machine.Stopped() {
			m.release(now, a, DHoAReturned, "")
		}
	case !held:
		m.lose(now, a, "the binding with the DHP has ended")
	default:
		if a.machine.TicketWanted() {
			m.wantTicket(now, a.proxy, "the DHP refuses the present one")
		}
		m.bound(now, a, careOf)
		m.save(a)
	}
}

// handleAddressUse takes in how many flows use an address.
func (m *Machine) handleAddressUse(now time.Time, e signaling.AddressUse) {
	a := m.anchorOf(e.Address)
	if a == nil {
		return
	}
	a.flows = max(e.Flows, 0)
	a.idleAt, a.drainAt = time.Time{}, time.Time{}
	m.reconsider = true
	switch {
	case a.flows > 0 && a.returning:
		m.terminate(a, -1, "the address is being given back")
	case a.flows > 0:
		a.ended = false
		a.proxy.beat(now, m.cfg.HeartbeatInterval)
	case a.ended:
		m.giveBack(now, a)
	case !a.returning:
		a.idleAt = now.Add(m.cfg.IdleTime)
	}
}

// terminate ends flows; profile -1 stands for all. It is not reported of a profile that may well have none.
func (m *Machine) terminate(a *anchor, profile int, why string) {
	a.ended = true
	m.counters.Terminations++
	m.emit(signaling.Terminate{Address: a.address, Profile: profile, Detail: why})
	if profile >= 0 && !a.restored && !a.decidedFor(profile) {
		return
	}
	m.report(signaling.Report{Kind: FlowsTerminated, Home: a.address, Peer: a.proxy.address, Detail: why})
}

// decidedFor says whether a flow of the profile got the address that was held for it.
func (a *anchor) decidedFor(profile int) bool {
	for u, held := range a.uses {
		if u.profile == profile && held {
			return true
		}
	}
	return false
}

// giveBack ends the possession of an address in good order.
func (m *Machine) giveBack(now time.Time, a *anchor) {
	if a.returning {
		return
	}
	if a.flows > 0 {
		m.terminate(a, -1, "the address is given back")
	}
	a.returning, a.returnBy = true, now.Add(returnTime)
	m.reconcile(now) // before its tunnel closes
	m.drive(now, a, signaling.Shutdown{})
	m.forget(a)
}

// lose ends the possession of an address that its DHP does not serve any more.
func (m *Machine) lose(now time.Time, a *anchor, why string) {
	if a.returning {
		return
	}
	a.returning = true
	m.counters.Lost++
	m.reconcile(now)
	m.terminate(a, -1, why)
	for _, e := range a.machine.Abandon(why) {
		m.emit(e)
	}
	m.release(now, a, DHoALost, why)
	m.forget(a)
}

func (m *Machine) release(now time.Time, a *anchor, kind signaling.ReportKind, why string) {
	m.anchors = slices.DeleteFunc(m.anchors, func(o *anchor) bool { return o == a })
	if !m.held(a.proxy) {
		m.probes.drop(&a.proxy.peer)
	}
	m.reconsider = true
	m.report(signaling.Report{Kind: kind, Home: a.address, Peer: a.proxy.address, Detail: why})
	m.emit(signaling.Release{Address: a.address})
}

func (m *Machine) tickAnchors(now time.Time) {
	for _, a := range slices.Clone(m.anchors) {
		if at := a.machine.Next(); !at.IsZero() && !now.Before(at) {
			m.drive(now, a, signaling.Tick{})
		}
		switch {
		case !slices.Contains(m.anchors, a):
		case a.returning:
			if !now.Before(a.returnBy) {
				for _, e := range a.machine.Abandon("the DHP does not acknowledge that its address is given back") {
					m.emit(e)
				}
				m.release(now, a, DHoAReturned, "without an acknowledgement")
			}
		case m.stopping:
		default:
			m.tickIdle(now, a)
			m.tickGrace(now, a)
			m.tickJudgement(now, a)
			m.tickHeartbeat(now, a)
		}
	}
}

// tickIdle gives an address back that has had no flows for long. The host keeps its own as long as there is one of the same
// DHP for translation.
func (m *Machine) tickIdle(now time.Time, a *anchor) {
	switch {
	case a.idleAt.IsZero() || now.Before(a.idleAt):
	case a.host && slices.ContainsFunc(m.anchors, func(o *anchor) bool { return o.proxy == a.proxy && !o.host && !o.returning }):
		a.idleAt, a.drainAt = now.Add(m.cfg.IdleTime), time.Time{}
		m.reconsider = true
	case a.drainAt.IsZero():
		a.drainAt = now.Add(drainTime)
		m.reconsider = true
	case !now.Before(a.drainAt):
		m.giveBack(now, a)
	}
}

// startGrace sets the end of GracefulReplacement flows' old addresses.
func (m *Machine) startGrace(now time.Time) {
	for _, a := range m.anchors {
		if a.graceEnds.IsZero() && slices.ContainsFunc(m.graceful(), a.usedBy) {
			a.graceEnds = now.Add(m.cfg.GracefulTime)
		}
	}
}

func (m *Machine) graceful() (profiles []int) {
	for i := range m.cfg.Profiles {
		if m.cfg.Profiles[i].Class == GracefulReplacement {
			profiles = append(profiles, i)
		}
	}
	return profiles
}

func (m *Machine) tickGrace(now time.Time, a *anchor) {
	if a.graceEnds.IsZero() || now.Before(a.graceEnds) || a.returning {
		return
	}
	a.graceEnds = time.Time{}
	if a.flows == 0 {
		return
	}
	for _, profile := range m.graceful() {
		if a.usedBy(profile) {
			m.terminate(a, profile, "the time is over that flows may keep their address after a move")
		}
	}
}

func (m *Machine) nextAnchors(n *next) {
	for _, a := range m.anchors {
		if n.at(a.machine.Next()); a.returning {
			n.at(a.returnBy)
			continue
		}
		if m.stopping {
			continue
		}
		if a.drainAt.IsZero() {
			n.at(a.idleAt)
		} else {
			n.at(a.drainAt)
		}
		n.at(a.graceEnds)
		n.at(a.judge.by)
		n.at(a.proxy.beatAt)
	}
}
