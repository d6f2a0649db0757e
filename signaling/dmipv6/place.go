package dmipv6

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

// maxUplinks bounds what is kept of attachments.
const maxUplinks = 32

// handleAttachment keeps what the uplink offers and hands it to every anchor's machine, so that all of them bind at once.
func (m *Machine) handleAttachment(now time.Time, e signaling.Attachment) {
	e.OnLink = slices.Clone(e.OnLink)
	i := slices.IndexFunc(m.attachments, func(a signaling.Attachment) bool { return a.Uplink == e.Uplink })
	switch {
	case i >= 0:
		m.attachments[i] = e
	case len(m.attachments) < maxUplinks:
		m.attachments = append(m.attachments, e)
	}
	m.probes.forget(m.own)
	for _, a := range slices.Clone(m.anchors) {
		m.drive(now, a, e)
	}
	m.relocate(now)
}

// uplink is where messages of no binding leave: the uplink that the home agent is reached through or, if that offers nothing
// now, the best that does; nil if there is none.
func (m *Machine) uplink() *signaling.Attachment {
	var best *signaling.Attachment
	for i := range m.attachments {
		a := &m.attachments[i]
		switch {
		case !m.here(a).IsValid():
		case a.Uplink == m.home.Uplink:
			return a
		case best == nil || a.Preference > best.Preference:
			best = a
		}
	}
	return best
}

// here is an address that tells where an uplink is; invalid if it is of no use there.
func (m *Machine) here(a *signaling.Attachment) netip.Addr {
	switch {
	case mh.UnicastRoutable(a.CareOf):
		return a.CareOf
	case !m.overUDP && !m.home.Endpoint.IsValid():
		return netip.Addr{}
	case a.Host.IsValid():
		return a.Host
	}
	return a.HostIPv4
}

// homePlace is where messages to the home agent leave: as its binding does. It has no CareOf if there is no way.
func (m *Machine) homePlace() mobilenode.Place {
	u := m.uplink()
	if u == nil {
		return mobilenode.Place{}
	}
	transport, endpoints := mobilenode.Native, []netip.AddrPort(nil)
	if e := m.home.Endpoint; e.IsValid() {
		transport, endpoints = mobilenode.UDP, []netip.AddrPort{e}
	}
	return first(mobilenode.Places(transport, endpoints, u))
}

func first(list []mobilenode.Place) mobilenode.Place {
	if len(list) == 0 {
		return mobilenode.Place{}
	}
	return list[0]
}

// places are the ways to the DHP from an uplink, the one to use first: not one that was found not to work here, as long as
// there is another. What the network does to native packets to the home agent it does to those to a DHP.
func (m *Machine) places(p *proxy, u *signaling.Attachment) []mobilenode.Place {
	list := mobilenode.Places(m.transport(p), p.reachedBy(), u)
	var failed mobilenode.PlaceKind
	if p.failedAt == m.here(u) {
		failed = p.failed
	}
	if m.home.Endpoint.IsValid() && m.home.Uplink == u.Uplink {
		failed |= mobilenode.OverNative
	}
	for i := range list {
		if failed&list[i].Kind() == 0 {
			return list[i:]
		}
	}
	return list
}

// placeTo is where messages to the DHP leave that are of no binding. It has no CareOf if there is no way.
func (m *Machine) placeTo(p *proxy) mobilenode.Place {
	u := m.uplink()
	if u == nil {
		return mobilenode.Place{}
	}
	return first(m.places(p, u))
}

// failed takes in that no answer came from the DHP by a way, and says whether there is another to try here. After the last
// they are all as good as before.
func (m *Machine) failed(p *proxy, by *mobilenode.Place) bool {
	u := m.uplink()
	if u == nil || u.Uplink != by.Uplink {
		return false
	}
	if here := m.here(u); p.failedAt != here {
		p.failed, p.failedAt = 0, here
	}
	p.failed |= by.Kind()
	if next := first(m.places(p, u)); p.failed&next.Kind() == 0 && next.CareOf.IsValid() {
		return true
	}
	p.failed = 0
	return false
}

// own says whether a is one of the addresses that this node is reached at.
func (m *Machine) own(a netip.Addr) bool {
	return slices.ContainsFunc(m.attachments, func(u signaling.Attachment) bool { return holds(&u, a) })
}

func holds(u *signaling.Attachment, a netip.Addr) bool {
	return a.IsValid() && (u.CareOf == a || u.Host == a || u.HostIPv4 == a)
}

// relocate takes in that this node is somewhere else: what was measured does not hold any more, and what is outstanding
// asks from there. Another address of the same uplink, which has the one before too, is no move.
func (m *Machine) relocate(now time.Time) {
	var here netip.Addr
	u := m.uplink()
	if u != nil {
		here = m.here(u)
	}
	if here == m.careOf {
		return
	}
	m.careOf = here
	m.reconsider = true
	if !here.IsValid() || here == m.lastCareOf {
		return
	}
	first, moved := !m.lastCareOf.IsValid(), !holds(u, m.lastCareOf)
	if m.lastCareOf = here; first {
		return
	}
	m.restartQueries(now)
	if moved {
		m.epoch++
		m.startGrace(now)
	}
	m.restartRequests(now)
}
