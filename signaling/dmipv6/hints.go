package dmipv6

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
)

// hint is what Hint is about.
type hint struct {
	address netip.Addr
	prefix  netip.Prefix
}

// reconcileHints makes the host's addresses preferred for the prefixes that are chosen for the same DHP's translation. A
// DHP whose address is used gets asked for one for the host.
func (m *Machine) reconcileHints(now time.Time) {
	if !m.cfg.Hints {
		return
	}
	want := map[hint]bool{}
	for _, c := range slices.SortedFunc(maps.Keys(m.published), choice.compare) {
		a := m.anchorOf(m.published[c].address)
		if a == nil || a.host || m.cfg.Profiles[c.profile].Class != SessionLasting || c.prefix.Bits() == 0 {
			continue
		}
		if host := m.hostAddress(a.proxy); host != nil {
			want[hint{host.address, c.prefix}] = true
		} else if a.flows > 0 && m.mayAskForHost(now, a.proxy) {
			r := m.request(now, a.proxy, true, a.near, a.region)
			m.transmitRequest(now, r)
		}
	}
	// Connections of an earlier run that use an address of the host's go on, whether or not anything is known yet of where to.
	for _, a := range m.anchors {
		if a.host && a.restored && a.usable() && a.region.Bits() > 0 && !m.hintedFor(a.region) {
			want[hint{a.address, a.region}] = true
		}
	}
	var gone, come []hint
	for h := range m.hinted {
		if !want[h] {
			gone = append(gone, h)
		}
	}
	for h := range want {
		if !m.hinted[h] {
			come = append(come, h)
		}
	}
	slices.SortFunc(gone, hint.compare)
	slices.SortFunc(come, hint.compare)
	for _, h := range gone {
		delete(m.hinted, h)
		m.emit(signaling.Unhint{Address: h.address, Prefix: h.prefix})
	}
	for _, h := range come {
		m.hinted[h] = true
		m.emit(signaling.Hint{Address: h.address, Prefix: h.prefix})
	}
}

// hintedFor says whether it is known which DHP's address is best for a prefix.
func (m *Machine) hintedFor(prefix netip.Prefix) bool {
	for c := range m.published {
		if c.prefix == prefix && m.cfg.Profiles[c.profile].Class == SessionLasting {
			return true
		}
	}
	return false
}

func (h hint) compare(o hint) int {
	if d := h.address.Compare(o.address); d != 0 {
		return d
	}
	return choice{prefix: h.prefix}.compare(choice{prefix: o.prefix})
}

func (m *Machine) hostAddress(p *proxy) *anchor {
	for _, a := range slices.Backward(m.anchors) {
		if a.proxy == p && a.host && a.usable() {
			return a
		}
	}
	return nil
}

// mayAskForHost says whether an address for the host may be asked for and was not yet. It takes nobody's place.
func (m *Machine) mayAskForHost(now time.Time, p *proxy) bool {
	return !m.stopping && m.placeTo(p).CareOf.IsValid() && p.association(now) != nil && !now.Before(p.skipUntil) &&
		m.live()+len(m.requests) < m.cfg.MaxAnchors &&
		!slices.ContainsFunc(m.requests, func(r *request) bool { return r.proxy == p && r.host }) &&
		!slices.ContainsFunc(m.anchors, func(a *anchor) bool { return a.proxy == p && a.host && !a.returning })
}
