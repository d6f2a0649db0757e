package mobilenode

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
)

// maxUplinks bounds what is kept of attachments.
const maxUplinks = 32

// uplink is the attachment of one uplink.
type uplink struct {
	signaling.Attachment
	// suspectUntil is set while the home agent was found unreachable through it; zero otherwise.
	suspectUntil time.Time
	// router and prefix are the last that there were: as long as others do not come, the network is the same, and what did
	// not work in it, failed, is not tried again after each move within it (RFC 5555 section 4.4.1). A network without IPv6
	// in between changes nothing.
	router netip.Addr
	prefix netip.Prefix
	failed PlaceKind
	// worked is what the home agent answered by last, and rounds how often all that there is has failed since.
	worked PlaceKind
	rounds int
	turns  turns
}

// allFailed starts another round.
func (u *uplink) allFailed() {
	u.failed = 0
	u.rounds++
}

// answered takes in that the home agent has answered by a way. If it had before by one that failed since, or nothing had
// worked, it was rather the home agent that was away: what failed gets another chance.
func (u *uplink) answered(by PlaceKind) {
	missed := u.failed | u.turns.missed
	if u.rounds > 0 {
		u.failed = 0
	}
	u.failed &^= u.worked | by
	u.worked, u.rounds, u.turns = by, 0, turns{missed: missed &^ by}
}

// offers says whether the host has the address on the uplink.
func (u *uplink) offers(a netip.Addr) bool { return a.IsValid() && (u.Host == a || u.HostIPv4 == a) }

// recognise forgets what did not work in another network.
func (u *uplink) recognise() {
	if !u.CareOf.IsValid() || !u.Router.IsValid() {
		return
	}
	prefix, _ := u.CareOf.Prefix(64)
	if u.router.IsValid() && (u.Router != u.router || prefix != u.prefix) {
		u.failed, u.worked, u.rounds, u.turns = 0, 0, 0, turns{}
	}
	u.router, u.prefix = u.Router, prefix
}

// place is where the node is: on one uplink, at home or away. CareOf may be invalid at home.
type place struct {
	Place
	home bool
}

func (p *place) valid() bool { return p.Uplink != "" }

func (p *Place) way() way {
	w := way{careOf: p.CareOf, endpoint: p.Endpoint}
	if w.udp() {
		w.link = p.Uplink
	}
	return w
}

// describe is for people.
func (p *place) describe() string {
	if p.UDP() {
		return "over UDP from " + p.Endpoint.String()
	}
	return "natively"
}

// away says that the node can and has to register.
func (p *place) away() bool { return p.valid() && !p.home }

func (m *Machine) handleAttachment(a signaling.Attachment) {
	a.OnLink = slices.Clone(a.OnLink)
	u := m.uplinkOf(a.Uplink)
	switch {
	case u != nil:
		before := u.Attachment
		if u.Attachment = a; before.CareOf != a.CareOf || before.Host != a.Host || before.HostIPv4 != a.HostIPv4 {
			u.suspectUntil = time.Time{}
		}
		if w := m.entry.way; w.udp() && w.link == a.Uplink && !u.offers(w.careOf) {
			// Should the same address come back, it need not be in the same network: private ones are everywhere.
			m.entry.sent, m.entry.away = way{}, true
		}
	case len(m.uplinks) < maxUplinks:
		m.uplinks = append(m.uplinks, uplink{Attachment: a})
		u = &m.uplinks[len(m.uplinks)-1]
		if w := m.entry.way; w.udp() && u.offers(w.careOf) {
			// A binding that was adopted was not made natively here, for a reason.
			u.failed |= OverNative
		}
	default:
		return
	}
	u.recognise()
}

func (m *Machine) uplinkOf(name string) *uplink {
	for i := range m.uplinks {
		if m.uplinks[i].Uplink == name {
			return &m.uplinks[i]
		}
	}
	return nil
}

// atHome says whether the home prefix is on the link (RFC 6275 section 11.5.2). Coming home is native only: RFC 5555 section
// 4.4.4 "does not support mobile nodes returning home while using IPv4".
func (m *Machine) atHome(u *uplink) bool {
	return m.cfg.HomePrefix.Bits() < 128 && !m.cfg.Prefix.IsValid() && m.cfg.Transport != UDP &&
		slices.ContainsFunc(u.OnLink, func(p netip.Prefix) bool { return p.Masked() == m.cfg.HomePrefix })
}

// choose finds the best place: one not suspected, the operator's choice, of the highest preference, at home rather than
// away, the one in use.
func (m *Machine) choose() place {
	var best *uplink
	for i := range m.uplinks {
		u := &m.uplinks[i]
		if !m.atHome(u) && len(m.ways(u)) == 0 {
			continue
		}
		if best == nil || m.better(u, best) {
			best = u
		}
	}
	if best == nil {
		return place{}
	}
	if m.atHome(best) {
		return place{home: true, Place: Place{Uplink: best.Uplink, CareOf: best.CareOf, CareOfUntil: best.CareOfUntil, Router: best.Router}}
	}
	return place{Place: m.ways(best)[0]}
}

func (m *Machine) better(a, b *uplink) bool {
	if x, y := a.suspectUntil.IsZero(), b.suspectUntil.IsZero(); x != y {
		return x
	}
	if x, y := a.Uplink == m.preferred, b.Uplink == m.preferred; x != y {
		return x
	}
	if a.Preference != b.Preference {
		return a.Preference > b.Preference
	}
	if x, y := m.atHome(a), m.atHome(b); x != y {
		return x
	}
	return a.Uplink == m.place.Uplink
}

// move goes to the best place there is.
func (m *Machine) move(now time.Time) {
	for i := range m.uplinks {
		if u := &m.uplinks[i]; !u.suspectUntil.IsZero() && !now.Before(u.suspectUntil) {
			u.suspectUntil = time.Time{}
		}
	}
	next, last := m.choose(), m.place
	if last.home && (!next.home || next.Uplink != last.Uplink) {
		if m.bound.how == native {
			m.report(signaling.Report{Kind: LeftHome})
		}
		m.leaveHome()
	}
	m.place = next
	switch {
	case !next.valid():
		m.request.stop()
		m.yielded = request{}
		m.agents.pause()
		if last.valid() {
			m.report(signaling.Report{Kind: Unattached, Link: last.Uplink})
		}
	case next.home && (!last.home || next.Uplink != last.Uplink):
		m.arriveHome()
	case next.Router != m.bound.effect.Router && next.Uplink == m.bound.effect.Link:
		m.rebind()
	}
}

// suspect makes another uplink the choice for a while, if there is one.
func (m *Machine) suspect(now time.Time) {
	if len(m.uplinks) < 2 {
		return
	}
	for i := range m.uplinks {
		if u := &m.uplinks[i]; u.Uplink == m.place.Uplink {
			u.suspectUntil = now.Add(suspicion)
		}
	}
}
