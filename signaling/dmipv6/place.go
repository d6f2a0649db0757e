package dmipv6

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
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

// source is where messages of no binding leave: the uplink that the home agent is reached through or, if that has no
// care-of address now, the best that has one. CareOf is invalid if there is none.
func (m *Machine) source() signaling.Attachment {
	var best signaling.Attachment
	for _, a := range m.attachments {
		switch {
		case !mh.UnicastRoutable(a.CareOf):
		case a.Uplink == m.home.Uplink:
			return a
		case !best.CareOf.IsValid() || a.Preference > best.Preference:
			best = a
		}
	}
	return best
}

// own says whether a is one of this node's care-of addresses.
func (m *Machine) own(a netip.Addr) bool {
	return slices.ContainsFunc(m.attachments, func(u signaling.Attachment) bool { return a.IsValid() && u.CareOf == a })
}

// relocate takes in that this node is somewhere else: what was measured does not hold any more, and what is outstanding
// asks from there.
func (m *Machine) relocate(now time.Time) {
	careOf := m.source().CareOf
	if careOf == m.careOf {
		return
	}
	m.careOf = careOf
	m.reconsider = true
	if !careOf.IsValid() || careOf == m.lastCareOf {
		return
	}
	moved := m.lastCareOf.IsValid()
	m.lastCareOf = careOf
	if !moved {
		return
	}
	m.epoch++
	m.restartQueries(now)
	m.restartRequests(now)
	m.startGrace(now)
}
