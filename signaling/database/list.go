package database

import (
	"fmt"
	"iter"
	"net"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// Session is what the control API shows of a mobility session.
type Session struct {
	// MobileNode is FormatIdentifier's text.
	MobileNode string `json:"mobile_node"`
	// Distributed says that MAARs registered it, with flag D.
	Distributed bool `json:"distributed"`
	// Serving is the Proxy-CoA: the S-MAAR or mobile access gateway.
	Serving  netip.Addr `json:"serving"`
	Prefixes []Prefix   `json:"prefixes"`
	// Left is what is left of Lifetime.
	Lifetime         time.Duration `json:"lifetime"`
	Left             time.Duration `json:"left"`
	Sequence         uint16        `json:"sequence"`
	Handoff          uint8         `json:"handoff_indicator"`
	AccessTechnology uint8         `json:"access_technology_type"`
	// LinkLayer is the mobile node's link-layer identifier in hexadecimal, with colons.
	LinkLayer string `json:"link_layer_identifier,omitempty"`
	// LinkLocal is that of the point-to-point link without flag D.
	LinkLocal netip.Addr `json:"link_local"`
	// Leaving says that it was de-registered and waits for DeleteDelay; Waiting that its S-MAAR waits for P-MAARs.
	Leaving bool `json:"leaving,omitempty"`
	Waiting bool `json:"waiting,omitempty"`
}

// Prefix is one prefix of a session.
type Prefix struct {
	Prefix netip.Prefix `json:"prefix"`
	// Anchor is the MAAR that it is anchored at, or the database itself.
	Anchor netip.Addr `json:"anchor"`
	// Acknowledged says that Anchor knows who serves the mobile node.
	Acknowledged bool `json:"acknowledged"`
	// LinkLocal and LinkLayer, in hexadecimal with colons, are those of the DLIF.
	LinkLocal     netip.Addr     `json:"dlif_link_local"`
	LinkLayer     string         `json:"dlif_link_layer,omitempty"`
	LocalPrefixes []netip.Prefix `json:"local_prefixes,omitempty"`
}

func (m *Machine) show(now time.Time, s *session) Session {
	v := Session{
		MobileNode: text(s.id), Distributed: !s.plain, Serving: m.address(s.serving),
		Lifetime: time.Duration(s.lifetime) * mh.LifetimeUnit, Left: s.expires - m.at(now), Sequence: s.sequence,
		Handoff: uint8(s.indicator), AccessTechnology: uint8(s.access), LinkLayer: net.HardwareAddr(s.linkLayer).String(),
		LinkLocal: linkLocalOf(s.linkLocal), Leaving: s.leaving, Waiting: s.handoff != nil && !s.handoff.answered,
	}
	for i := range s.anchors {
		a := &s.anchors[i]
		v.Prefixes = append(v.Prefixes, Prefix{
			Prefix: prefixFrom(a.prefix), Anchor: m.address(a.router), Acknowledged: a.confirmed, LinkLocal: linkLocalOf(a.linkLocal),
			LinkLayer: net.HardwareAddr(a.linkLayer[:a.linkLayerLength]).String(), LocalPrefixes: a.local,
		})
	}
	return v
}

// Sessions are all sessions, in no order. The machine must not be used while they are gone through.
func (m *Machine) Sessions(now time.Time) iter.Seq[Session] {
	return func(yield func(Session) bool) {
		for _, s := range m.due.items {
			if !yield(m.show(now, s)) {
				return
			}
		}
	}
}

// Session are the sessions of one mobile node, named as FormatIdentifier does: one with flag D, and one for each of its interfaces
// without.
func (m *Machine) Session(now time.Time, mobileNode string) []Session {
	var list []Session
	id := ParseIdentifier(mobileNode)
	for s := m.sessions[key(&id)]; s != nil; s = s.next {
		list = append(list, m.show(now, s))
	}
	return list
}

// Remove ends all sessions of a mobile node by force and has every MAAR in them told, the S-MAAR too. It reports whether there was
// one.
func (m *Machine) Remove(now time.Time, mobileNode string) ([]signaling.Effect, bool) {
	id := ParseIdentifier(mobileNode)
	k := key(&id)
	found := false
	for s := m.sessions[k]; s != nil; s = m.sessions[k] {
		found = true
		m.counters.Removed++
		for i := range s.anchors {
			if a := s.anchors[i]; a.router == s.serving {
				m.tellEnd(now, s, a)
			}
		}
		m.end(now, s, "an operator removed it")
	}
	return m.finish(now), found
}

// Restore takes the sessions of the store in, as New makes a machine without any. Those that expired meanwhile end at the next
// Tick; P-MAARs that had not acknowledged are asked again. The error joins what was wrong with single records, which are left
// out, and the store's; the machine is usable with any error.
func (m *Machine) Restore(now time.Time) ([]signaling.Effect, error) {
	err := m.load(now)
	if err != nil {
		err = fmt.Errorf("mobility sessions: %w", err)
	}
	for _, s := range m.due.items {
		switch {
		case !s.plain:
			m.tellWhere(now, s, false)
		case !s.leaving:
			m.bind(s)
		}
	}
	return m.finish(now), err
}
