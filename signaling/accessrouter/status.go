package accessrouter

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Info is what the control API shows of a mobile node.
type Info struct {
	Identifier string `json:"identifier"`
	LinkLayer  string `json:"link_layer"`
	Link       string `json:"link,omitempty"`
	// State is "attaching", "serving", "absent", "previous", "leaving" or "denied", since Since.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Prefixes are anchored here, the preferred one first.
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
	// Advertised says that the mobile node is told of its routers, Registered that the CMD knows of it, ExpiresIn how long
	// yet; 0 if there is no timer.
	Advertised bool          `json:"advertised"`
	Registered bool          `json:"registered"`
	ExpiresIn  time.Duration `json:"expires_in"`
	// ServingMAAR is the far end of the tunnel that Prefixes go through; invalid if they are served here.
	ServingMAAR netip.Addr `json:"serving_maar,omitzero"`
	// PreviousMAARs are the anchors of its other prefixes, the one learned of first in front.
	PreviousMAARs []Previous `json:"previous_maars,omitempty"`
}

// Previous is a prefix that another MAAR, or the local mobility anchor, anchors for a mobile node here.
type Previous struct {
	Address   netip.Addr   `json:"address"`
	Prefix    netip.Prefix `json:"prefix"`
	LinkLocal netip.Addr   `json:"link_local"`
	LinkLayer string       `json:"link_layer"`
	// Tunnel is the near and the far end of its tunnel.
	Tunnel [2]netip.Addr `json:"tunnel"`
	Since  time.Time     `json:"since"`
	// Ending says that the CMD has been asked to end it.
	Ending bool `json:"ending,omitempty"`
}

// Nodes lists the mobile nodes with a session at now, by identifier.
func (m *Machine) Nodes(now time.Time) []Info {
	all := make([]Info, 0, len(m.sessions))
	for _, s := range m.sessions {
		i := Info{
			Identifier: s.id.String(), LinkLayer: s.linkLayer.String(), Link: s.link, State: string(s.state), Since: s.since,
			Prefixes: slices.Clone(s.prefixes()), Advertised: s.told, ServingMAAR: s.tunnel,
			Registered: s.state == serving || s.state == previous || s.state == absent && s.request != nil && s.request.answered,
		}
		if !s.expires.IsZero() {
			i.ExpiresIn = max(s.expires.Sub(now), 0)
		}
		for _, a := range s.anchors {
			i.PreviousMAARs = append(i.PreviousMAARs, Previous{
				Address: a.maar, Prefix: a.prefix, LinkLocal: a.linkLocal, LinkLayer: a.linkLayer.String(),
				Tunnel: [2]netip.Addr{m.cfg.Address, a.maar}, Since: a.since, Ending: s.ending(a.prefix),
			})
		}
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b Info) int { return strings.Compare(a.Identifier, b.Identifier) })
	return all
}
