package movement

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
)

// router is an entry of the default router list (RFC 4861 section 5.1).
type router struct {
	address        netip.Addr
	linkLayerKnown bool
	// until is when it stops being a default router; it is never zero, a router lifetime being 16 bits of seconds.
	until time.Time
	heard time.Time
	// interval is that of the Advertisement Interval option; 0 if there was none.
	interval time.Duration
	// missed says that the interval ran out and the router is being probed.
	missed      bool
	unreachable bool
	preference  int
	// fresh says that it was heard since the link came up.
	fresh bool
	// former says that it deprecates all its prefixes: the link has a better router, or will have.
	former bool
}

// minInterval keeps an Advertisement Interval option from asking for more probing than RFC 6275 section 7.5's fastest
// advertisements, 30 ms apart, give reason for.
const minInterval = 30 * time.Millisecond

// The Advertisement Interval is the longest time between two advertisements (RFC 6275 section 7.3). Half of it on top lets
// one arrive late; after that one is lost, and the router is probed. After three intervals it is taken for gone if another
// is at hand; if none is, only neighbour unreachability detection decides (section 11.5.1 leaves the number to us).
func (r *router) missAt() time.Time  { return r.heard.Add(r.interval + r.interval/2) }
func (r *router) lapseAt() time.Time { return r.heard.Add(3 * r.interval) }

// nextMiss is the next of these times that is to come; zero if none.
func (r *router) nextMiss(now time.Time) time.Time {
	switch {
	case r.interval == 0 || r.unreachable:
		return time.Time{}
	case !r.missed:
		return r.missAt()
	case now.Before(r.lapseAt()):
		return r.lapseAt()
	}
	return time.Time{}
}

func (m *Machine) findRouter(a netip.Addr) *router {
	for i := range m.routers {
		if m.routers[i].address == a {
			return &m.routers[i]
		}
	}
	return nil
}

func (m *Machine) handleAdvertisement(now time.Time, ra *RouterAdvertisement) {
	if !m.up {
		return
	}
	if !ra.Router.Is6() || !ra.Router.IsLinkLocalUnicast() {
		m.counters.Invalid++
		return
	}
	if !m.cfg.Autoconfigure {
		m.learnTimers(ra) // of neighbour discovery: the operator has said the rest
		return
	}
	first := !m.trusted
	if !m.judge(now, ra) {
		return
	}
	r := m.findRouter(ra.Router)
	if r == nil && ra.Lifetime > 0 {
		if len(m.routers) == maxRouters {
			m.counters.RoutersIgnored++
			return
		}
		if m.router.IsValid() {
			// Another router: perhaps only one more, perhaps another link. Whether the one in use still answers
			// tells (RFC 6275 section 11.5.1).
			m.emit(ProbeRouter{m.router})
		}
		m.routers = append(m.routers, router{address: ra.Router})
		r = &m.routers[len(m.routers)-1]
		first = true
	}
	if r != nil {
		r.until = now.Add(ra.Lifetime)
		r.heard, r.fresh = now, true
		r.preference, r.former = ra.Preference, deprecates(ra)
		r.linkLayerKnown = r.linkLayerKnown || ra.LinkLayerKnown
		r.missed, r.unreachable = false, false
		r.interval = 0
		if ra.Interval > 0 {
			r.interval = max(ra.Interval, minInterval)
		}
	}
	for i := range ra.Prefixes {
		if m.learn(now, ra.Router, ra.LinkLayerKnown, &ra.Prefixes[i]) {
			first = true
		}
	}
	m.learnParameters(ra)
	if ra.Lifetime > 0 {
		m.solicitation.stop()
	}
	if first {
		m.report(signaling.Report{Kind: RouterAdvertised, Link: m.cfg.Uplink, Peer: ra.Router, Lifetime: ra.Lifetime})
	}
}

// judge draws from an advertisement what it says about movement, and tells whether to learn from it.
func (m *Machine) judge(now time.Time, ra *RouterAdvertisement) bool {
	named, known := false, false
	for i := range ra.Prefixes {
		if p := &ra.Prefixes[i]; p.Valid > 0 && learnable(p.Prefix) {
			named = true
			known = known || m.findPrefix(p.Prefix) != nil
		}
	}
	r := m.findRouter(ra.Router)
	switch {
	case !m.trusted && len(m.prefixes) == 0:
		// Nothing to compare with.
		m.forget(now)
	case !m.trusted && known:
		m.confirm(now, ra)
	case !m.trusted && named:
		m.forget(now)
	case !m.trusted:
		// Router addresses are only unique on their link, so without a prefix this could be either link.
		return false
	case named && !known && !deprecates(ra) && m.recognised && now.Sub(m.trustedAt) < settlingTime:
		// An advertisement of the former link that waited in a queue while the link changed may have been what
		// confirmed it. Or it was a former router's, which looks after its prefix on the next link too.
		m.forget(now)
	case named && r != nil && !m.advertisesAny(ra):
		// The same link-local address with none of its prefixes is another router elsewhere (section 11.5.1's
		// third consideration), which no probe would tell.
		m.release(ra.Router)
	}
	if !m.trusted {
		m.trusted, m.trustedAt = true, now
	}
	return true
}

// settlingTime is how long after a link was recognised a router unheard of, with prefixes unheard of, overrules that. A
// router answers a solicitation within 0.5 s (RFC 4861 section 6.2.6).
const settlingTime = time.Second

// confirm takes the link for the former one: its addresses are good, but whoever came to the link meanwhile may hold them.
func (m *Machine) confirm(now time.Time, ra *RouterAdvertisement) {
	m.recognised = true
	m.await(now)
	for i := range m.prefixes {
		m.redetect(&m.prefixes[i], ra.LinkLayerKnown)
	}
	m.emit(ProbeRouter{ra.Router})
}

// distrust leaves open whether this is the link that is known.
func (m *Machine) distrust() {
	m.trusted, m.recognised, m.awaited = false, false, time.Time{}
	for i := range m.routers {
		m.routers[i].fresh = false
	}
}

// forget drops what was learnt from the routers of another link: all but those that were heard on this one as former
// routers, and those of an address that is to be kept.
func (m *Machine) forget(now time.Time) {
	m.recognised = false
	m.await(now)
	kept := m.kept()
	if kept != nil && !m.stayed(kept) {
		m.redetect(kept, m.anyLinkLayerKnown(kept))
	}
	m.routers = slices.DeleteFunc(m.routers, func(r router) bool {
		if r.fresh && r.former || kept != nil && kept.advertisers.has(r.address) {
			return false
		}
		m.disown(r.address)
		return true
	})
	for i := range m.prefixes {
		if p := &m.prefixes[i]; !m.routed(p) {
			m.dropAddress(p)
			p.advertisers = advertisers{}
		}
	}
	m.prefixes = slices.DeleteFunc(m.prefixes, func(p prefix) bool { return p.advertisers.empty() })
	if m.mtu != m.cfg.MTU {
		m.mtu = m.cfg.MTU
		m.emit(SetMTU{m.mtu})
	}
	if m.timers != (SetNeighborTimers{}) {
		m.timers = SetNeighborTimers{}
		m.emit(m.timers)
	}
}

// release drops a router and the prefixes that only it advertised (RFC 6275 section 11.5.4, last paragraph).
func (m *Machine) release(a netip.Addr) {
	m.routers = slices.DeleteFunc(m.routers, func(r router) bool { return r.address == a })
	m.disown(a)
	m.prefixes = slices.DeleteFunc(m.prefixes, func(p prefix) bool { return p.advertisers.empty() })
}

// disown has a router advertise nothing, and drops the addresses of prefixes that nobody else does.
func (m *Machine) disown(a netip.Addr) {
	for i := range m.prefixes {
		p := &m.prefixes[i]
		if p.advertisers.remove(a); p.advertisers.empty() {
			m.dropAddress(p)
		}
	}
}

// routed says whether a default router advertises p.
func (m *Machine) routed(p *prefix) bool {
	return slices.ContainsFunc(m.routers, func(r router) bool { return p.advertisers.has(r.address) })
}

// deprecates says whether ra names prefixes, all of them deprecated.
func deprecates(ra *RouterAdvertisement) bool {
	any := false
	for i := range ra.Prefixes {
		if p := &ra.Prefixes[i]; p.Valid > 0 && learnable(p.Prefix) {
			if !p.Autonomous || p.Preferred > 0 {
				return false
			}
			any = true
		}
	}
	return any
}

// advertisesAny says whether ra names a prefix that its router is known to advertise.
func (m *Machine) advertisesAny(ra *RouterAdvertisement) bool {
	any := false
	for i := range m.prefixes {
		if m.prefixes[i].advertisers.has(ra.Router) {
			any = true
			for j := range ra.Prefixes {
				if ra.Prefixes[j].Prefix.Masked() == m.prefixes[i].prefix {
					return true
				}
			}
		}
	}
	return !any
}

func (m *Machine) learnParameters(ra *RouterAdvertisement) {
	if ra.MTU >= minMTU && ra.MTU <= m.cfg.MTU && ra.MTU != m.mtu {
		m.mtu = ra.MTU
		m.emit(SetMTU{m.mtu})
	}
	m.learnTimers(ra)
}

func (m *Machine) learnTimers(ra *RouterAdvertisement) {
	timers := m.timers
	if ra.ReachableTime > 0 {
		timers.ReachableTime = ra.ReachableTime
	}
	if ra.RetransTimer > 0 {
		timers.RetransTimer = ra.RetransTimer
	}
	if timers != m.timers {
		m.timers = timers
		m.emit(timers)
	}
}

// handleUnreachable leaves a router that does not answer, for another if there is one. If there is none the node is
// detached until a router is heard, and what it knows is no longer trusted, as after a change of link.
func (m *Machine) handleUnreachable(now time.Time, a netip.Addr) {
	if !m.up {
		return
	}
	if a == m.cfg.Gateway && a.IsValid() && !m.gateway.unreachable {
		m.gateway = gateway{unreachable: true, probeAt: now}
		m.report(signaling.Report{Kind: RouterLost, Link: m.cfg.Uplink, Peer: a})
	}
	r := m.findRouter(a)
	if r == nil || r.unreachable {
		return
	}
	r.unreachable = true
	if p := m.kept(); p != nil && m.lost(p) {
		m.last = netip.Addr{}
	}
	if a != m.router {
		if !r.fresh && m.trusted {
			m.release(a) // it was another link's
		}
		return
	}
	m.report(signaling.Report{Kind: RouterLost, Link: m.cfg.Uplink, Peer: a})
	if m.chooseRouter(now).IsValid() {
		m.release(a)
		return
	}
	m.distrust()
	m.solicitation.begin(now)
}

// watchInterval probes the router in use when it is silent for longer than it promised.
func (m *Machine) watchInterval(now time.Time) {
	r := m.findRouter(m.router)
	if !m.up || !m.trusted || r == nil || r.interval == 0 || r.unreachable {
		return
	}
	if !r.missed && !now.Before(r.missAt()) {
		r.missed = true
		m.emit(ProbeRouter{r.address})
		m.solicitation.begin(now)
	}
	if !now.Before(r.lapseAt()) && m.otherRouter(now, r.address) {
		m.handleUnreachable(now, r.address)
	}
}
