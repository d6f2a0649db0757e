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
}

// place is where the node is: on one uplink, at home or away.
type place struct {
	uplink string
	// careOf may be invalid at home.
	careOf      netip.Addr
	careOfUntil time.Time
	router      netip.Addr
	home        bool
}

func (p *place) valid() bool { return p.uplink != "" }

// away says that the node can and has to register.
func (p *place) away() bool { return p.valid() && !p.home }

func (m *Machine) handleAttachment(a signaling.Attachment) {
	a.OnLink = slices.Clone(a.OnLink)
	for i := range m.uplinks {
		u := &m.uplinks[i]
		if u.Uplink != a.Uplink {
			continue
		}
		if u.CareOf != a.CareOf {
			u.suspectUntil = time.Time{}
		}
		u.Attachment = a
		return
	}
	if len(m.uplinks) < maxUplinks {
		m.uplinks = append(m.uplinks, uplink{Attachment: a})
	}
}

// atHome says whether the home prefix is on the link (RFC 6275 section 11.5.2).
func (m *Machine) atHome(u *uplink) bool {
	return m.cfg.HomePrefix.Bits() < 128 && !m.cfg.Prefix.IsValid() &&
		slices.ContainsFunc(u.OnLink, func(p netip.Prefix) bool { return p.Masked() == m.cfg.HomePrefix })
}

// choose finds the best place: one not suspected, the operator's choice, of the highest preference, at home rather than
// away, the one in use.
func (m *Machine) choose() place {
	var best *uplink
	for i := range m.uplinks {
		u := &m.uplinks[i]
		if !u.CareOf.IsValid() && !m.atHome(u) {
			continue
		}
		if best == nil || m.better(u, best) {
			best = u
		}
	}
	if best == nil {
		return place{}
	}
	return place{uplink: best.Uplink, careOf: best.CareOf, careOfUntil: best.CareOfUntil, router: best.Router, home: m.atHome(best)}
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
	return a.Uplink == m.place.uplink
}

// move goes to the best place there is.
func (m *Machine) move(now time.Time) {
	for i := range m.uplinks {
		if u := &m.uplinks[i]; !u.suspectUntil.IsZero() && !now.Before(u.suspectUntil) {
			u.suspectUntil = time.Time{}
		}
	}
	next, last := m.choose(), m.place
	if last.home && (!next.home || next.uplink != last.uplink) {
		if m.bound.how == native {
			m.report(signaling.Report{Kind: LeftHome})
		}
		m.leaveHome()
	}
	m.place = next
	switch {
	case !next.valid():
		m.request.stop()
		m.agents.pause()
		if last.valid() {
			m.report(signaling.Report{Kind: Unattached, Link: last.uplink})
		}
	case next.home && (!last.home || next.uplink != last.uplink):
		m.arriveHome()
	case next.router != m.bound.effect.Router && next.uplink == m.bound.effect.Link:
		m.rebind()
	}
}

// suspect makes another uplink the choice for a while, if there is one.
func (m *Machine) suspect(now time.Time) {
	if len(m.uplinks) < 2 {
		return
	}
	for i := range m.uplinks {
		if u := &m.uplinks[i]; u.Uplink == m.place.uplink {
			u.suspectUntil = now.Add(suspicion)
		}
	}
}
