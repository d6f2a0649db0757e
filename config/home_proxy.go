package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

func (r *reader) homeProxy(d *documentHomeProxy, c *Config) *HomeProxy {
	h := &HomeProxy{
		Address:                  r.address("home_proxy.address", d.Address),
		Preference:               uint8(r.number("home_proxy.preference", &d.Preference, 0, 0, 255)),
		MaxLifetime:              r.duration("home_proxy.max_lifetime", d.MaxLifetime, time.Hour, lifetimeUnit, longestLifetime),
		Quarantine:               r.duration("home_proxy.quarantine", d.Quarantine, 10*time.Minute, 0, 24*time.Hour),
		AdvertisementInterval:    r.duration("home_proxy.advertisement_interval", d.AdvertisementInterval, 30*time.Second, time.Second, time.Hour),
		KeepBindings:             d.KeepBindings == nil || *d.KeepBindings,
		PreviousCareOfTime:       r.duration("home_proxy.previous_care_of_time", d.PreviousCareOfTime, 0, 0, longestPreviousCareOfTime),
		MaxBindings:              int(r.number("home_proxy.max_bindings", d.MaxBindings, 100_000, 1, 10_000_000)),
		MaxBindingsPerMobileNode: int(r.number("home_proxy.max_bindings_per_mobile_node", d.MaxBindingsPerNode, 16, 1, 10_000_000)),
		Anycast:                  d.Anycast,
	}
	r.ownAddress("home_proxy.address", h.Address, c)
	h.Pools = r.pools(d.Pools, h.Address)
	h.Coverage = r.coverage(d.Coverage)
	for i := range d.HomeAgents {
		key := fmt.Sprintf("home_proxy.home_agents.%d", i)
		a := HomeProxyHomeAgent{
			Address: r.address(key+".address", d.HomeAgents[i].Address),
			SPI:     r.ticketing(key, d.HomeAgents[i].SPI, c),
		}
		if slices.ContainsFunc(h.HomeAgents, func(b HomeProxyHomeAgent) bool { return a.Address == b.Address || a.SPI == b.SPI }) {
			r.wrong(key+".spi", "each home agent once, with a key of its own", "%s with SPI %d", a.Address, a.SPI)
		}
		h.HomeAgents = append(h.HomeAgents, a)
	}
	if len(d.HomeAgents) == 0 && len(d.MobileNode) == 0 {
		r.wrong("home_proxy.home_agents", "at least one home agent, whose mobile nodes it serves, or a [[home_proxy.mobile_node]]", "neither")
	}
	var prefixes []netip.Prefix
	for _, p := range h.Pools {
		prefixes = append(prefixes, p.Prefix)
	}
	// What goes for the mobile nodes of a home agent goes for these.
	like := &HomeAgent{HomePrefixes: prefixes}
	r.anchoredMobileNodes("home_proxy", "pools", d.MobileNode, like, c)
	h.MobileNodes = like.MobileNodes
	return h
}

func (r *reader) pools(in []documentPool, own netip.Addr) []Pool {
	if len(in) == 0 {
		r.wrong("home_proxy.pools", "at least one pool, such as { prefix = \"2001:db8:d::/64\" }", "none")
	}
	var out []Pool
	for i, d := range in {
		key := fmt.Sprintf("home_proxy.pools.%d", i)
		p := Pool{Prefix: r.prefix(key+".prefix", d.Prefix), Lend: int(r.number(key+".lend", d.Lend, 128, 64, 128))}
		switch {
		case !p.Prefix.IsValid():
			continue
		case p.Lend != 64 && p.Lend != 128:
			r.wrong(key+".lend", "64 or 128", "%d", p.Lend)
		case p.Prefix.Bits() >= p.Lend, p.Lend == 128 && p.Prefix.Bits() > 112:
			r.wrong(key+".prefix", "a prefix with room for many, at least 16 bits shorter than what is lent of it if that is addresses", "%s, of which /%d are lent", p.Prefix, p.Lend)
		case p.Prefix.Contains(own) && p.Lend == 64:
			r.wrong(key+".prefix", "a pool without the proxy's own address", "%s, which contains %s", p.Prefix, own)
		}
		if slices.ContainsFunc(out, func(q Pool) bool { return q.Prefix.Overlaps(p.Prefix) }) {
			r.wrong(key+".prefix", "pools that do not overlap", "%s", p.Prefix)
		}
		out = append(out, p)
	}
	return out
}

func (r *reader) coverage(in []documentCoverage) []Coverage {
	var out []Coverage
	for i, d := range in {
		key := fmt.Sprintf("home_proxy.coverage.%d", i)
		v := Coverage{Prefix: r.prefix(key+".prefix", d.Prefix)}
		if d.Probe != nil {
			v.Probe = r.address(key+".probe", *d.Probe)
			if v.Probe.IsValid() && v.Prefix.IsValid() && !v.Prefix.Contains(v.Probe) {
				r.wrong(key+".probe", "an address in "+v.Prefix.String(), "%s", v.Probe)
			}
		}
		out = append(out, v)
	}
	const most = 24 // that fit an advertisement of 1280 octets
	if len(out) > most {
		r.wrong("home_proxy.coverage", fmt.Sprintf("at most %d prefixes, which fit one advertisement", most), "%d", len(out))
	}
	return out
}

func (r *reader) homeAgentProxies(in []documentHomeAgentProxy, h *HomeAgent, c *Config) {
	for i := range in {
		d, key := &in[i], fmt.Sprintf("home_agent.proxy.%d", i)
		p := HomeAgentProxy{
			Address:   r.address(key+".address", d.Address),
			SPI:       r.ticketing(key, d.SPI, c),
			Coverage:  r.prefixes(key+".coverage", d.Coverage),
			Endpoints: r.endpoints(key+".endpoints", d.Endpoints),
		}
		if len(d.Coverage) == 0 {
			r.wrong(key+".coverage", "the prefixes that the proxy may advertise", "none")
		}
		if slices.ContainsFunc(h.Proxies, func(q HomeAgentProxy) bool { return p.Address == q.Address || p.SPI == q.SPI }) ||
			slices.ContainsFunc(h.MobileNodes, func(m HomeAgentMobileNode) bool { return m.SPI == p.SPI && p.SPI != 0 }) {
			r.wrong(key+".spi", "each proxy once, with a key of its own", "%s with SPI %d", p.Address, p.SPI)
		}
		h.Proxies = append(h.Proxies, p)
	}
}

// ticketing is an association whose key tickets are made from.
func (r *reader) ticketing(section string, spi int64, c *Config) uint32 {
	const keySize = 32
	checked := r.association(section, &spi, false, c)
	if a, ok := c.SecurityAssociations[checked]; ok && len(a.Key) > 0 && (len(a.Key) != keySize || a.Algorithm != HMACSHA256) {
		r.wrong(section+".spi", fmt.Sprintf("a key of %d octets with %s, since tickets are made from it", keySize, HMACSHA256),
			"%d octets with %s", len(a.Key), a.Algorithm)
	}
	return checked
}

func (r *reader) correspondentNode(d *documentCorrespondentNode, c *Config) *CorrespondentNode {
	n := &CorrespondentNode{
		Address:     r.address("correspondent_node.address", d.Address),
		Link:        d.Link,
		MaxBindings: int(r.number("correspondent_node.max_bindings", d.MaxBindings, 10_000, 1, 10_000_000)),
	}
	if !slices.ContainsFunc(c.Links, func(l Link) bool { return l.Interface == n.Link }) {
		r.wrong("correspondent_node.link", "the interface of a [[link]]", "%s", quoted(n.Link))
	}
	if slices.ContainsFunc(c.Links, func(l Link) bool { return l.owns(n.Address) }) {
		r.wrong("correspondent_node.address", "an address of the link's prefix that is not in addresses of a [[link]]: programs get it", "%s", n.Address)
	}
	return n
}
