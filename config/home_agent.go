package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// longestPreviousCareOfTime bounds the exception to RFC 6275 section 10.4.5: what is under way when a mobile node moves
// has arrived by then.
const longestPreviousCareOfTime = 10 * time.Second

func (r *reader) homeAgent(d *documentHomeAgent, c *Config) *HomeAgent {
	h := &HomeAgent{
		Address:                  r.address("home_agent.address", d.Address),
		HomePrefixes:             r.prefixes("home_agent.home_prefixes", d.HomePrefixes),
		HomeLink:                 text(d.HomeLink, ""),
		Preference:               uint16(r.number("home_agent.preference", &d.Preference, 0, 0, 65535)),
		MaxLifetime:              r.duration("home_agent.max_lifetime", d.MaxLifetime, time.Hour, lifetimeUnit, longestLifetime),
		KeepBindings:             d.KeepBindings == nil || *d.KeepBindings,
		PreviousCareOfTime:       r.duration("home_agent.previous_care_of_time", d.PreviousCareOfTime, 0, 0, longestPreviousCareOfTime),
		RefreshAdvice:            r.duration("home_agent.refresh_advice", d.RefreshAdvice, 0, lifetimeUnit, longestLifetime),
		MaxBindings:              int(r.number("home_agent.max_bindings", d.MaxBindings, 100_000, 1, 10_000_000)),
		MaxBindingsPerMobileNode: int(r.number("home_agent.max_bindings_per_mobile_node", d.MaxBindingsPerNode, 0, 1, 10_000_000)),
		AllowAnyMobileNode:       d.AllowAnyMobileNode,
		AllowUnauthenticated:     d.AllowUnauthenticated,
	}
	r.ownAddress("home_agent.address", h.Address, c)
	if len(d.HomePrefixes) == 0 {
		r.wrong("home_agent.home_prefixes", "at least one prefix", "none")
	}
	if h.HomeLink != "" && !slices.ContainsFunc(c.Links, func(l Link) bool { return l.Interface == h.HomeLink }) {
		r.wrong("home_agent.home_link", "the interface of a [[link]], or no home_link where the home prefixes are routed here", "%q", h.HomeLink)
	}
	if h.RefreshAdvice > 0 && h.KeepBindings {
		r.wrong("home_agent.refresh_advice", "keep_bindings = false beside it, since RFC 6275 section 10.3.1 gives no advice where bindings survive a restart", "%v", h.RefreshAdvice)
	}
	if h.RefreshAdvice > h.MaxLifetime {
		r.wrong("home_agent.refresh_advice", fmt.Sprintf("at most max_lifetime (%v)", h.MaxLifetime), "%v", h.RefreshAdvice)
	}
	if h.AllowAnyMobileNode && !h.AllowUnauthenticated {
		r.wrong("home_agent.allow_any_mobile_node", "allow_unauthenticated_signaling = true beside it, since mobile nodes that are not listed have no key", "false")
	}
	if len(d.MobileNode) == 0 && !h.AllowAnyMobileNode {
		r.wrong("home_agent.mobile_node", "at least one [[home_agent.mobile_node]], or allow_any_mobile_node = true", "neither")
	}
	r.anchoredMobileNodes("home_agent", "home_prefixes", d.MobileNode, h, c)
	h.TicketLifetime = r.duration("home_agent.ticket_lifetime", d.TicketLifetime, time.Hour, time.Minute, 30*24*time.Hour)
	r.homeAgentProxies(d.Proxy, h, c)
	return h
}

func (l Link) owns(a netip.Addr) bool {
	return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
}

// anchoredMobileNodes reads the mobile nodes of an anchor, whose section has its prefixes under a key.
func (r *reader) anchoredMobileNodes(section, prefixes string, in []documentHomeAgentMobileNode, h *HomeAgent, c *Config) {
	homes, identifiers := map[netip.Addr]bool{}, map[string]bool{}
	networks := slices.Clone(h.HomePrefixes)
	for i := range in {
		d, key := &in[i], fmt.Sprintf("%s.mobile_node.%d", section, i)
		m := HomeAgentMobileNode{
			Identifier:           r.identifier(key+".identifier", d.Identifier),
			HomeAddress:          r.address(key+".home_address", d.HomeAddress),
			MobileNetworks:       r.prefixes(key+".mobile_networks", d.MobileNetworks),
			SPI:                  r.association(key, d.SPI, d.AllowUnauthenticated, c),
			AllowUnauthenticated: d.AllowUnauthenticated,
		}
		switch {
		case !m.HomeAddress.IsValid():
		case !slices.ContainsFunc(h.HomePrefixes, func(p netip.Prefix) bool { return p.Contains(m.HomeAddress) }):
			r.wrong(key+".home_address", fmt.Sprintf("an address in %s %v", prefixes, h.HomePrefixes), "%s", m.HomeAddress)
		case slices.ContainsFunc(c.Links, func(l Link) bool { return l.owns(m.HomeAddress) }):
			r.wrong(key+".home_address", "an address of the mobile node's own", "%s, which a [[link]] of this node has", m.HomeAddress)
		case homes[m.HomeAddress]:
			r.wrong(key+".home_address", "each home address once", "%s again", m.HomeAddress)
		}
		homes[m.HomeAddress] = true
		if m.Identifier != "" && identifiers[m.Identifier] {
			r.wrong(key+".identifier", "each identifier once", "%q again", m.Identifier)
		}
		identifiers[m.Identifier] = true
		if m.SPI != 0 && m.Identifier == "" {
			r.wrong(key+".identifier", "the network access identifier that the mobile node authenticates with", "none")
		}
		for j, p := range m.MobileNetworks {
			if k := slices.IndexFunc(networks, p.Overlaps); k >= 0 {
				r.wrong(fmt.Sprintf("%s.mobile_networks.%d", key, j), "a prefix of this mobile node alone", "%s, which overlaps %s", p, networks[k])
			}
		}
		networks = append(networks, m.MobileNetworks...)
		h.MobileNodes = append(h.MobileNodes, m)
	}
}
