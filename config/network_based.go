package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	// mostPreviousMAARs and mostLocalPrefixes are as many as a message has room for.
	mostPreviousMAARs = 16
	mostLocalPrefixes = 4
)

func (r *reader) accessRouter(d *documentAccessRouter, c *Config) *AccessRouter {
	const longest = 30 * 24 * time.Hour
	a := &AccessRouter{
		Address:            r.address("maar.address", d.Address),
		AccessLinks:        d.AccessLinks,
		Pools:              r.prefixes("maar.pools", d.Pools),
		LocalPrefixes:      r.prefixes("maar.local_prefixes", d.LocalPrefixes),
		Ordering:           Ordering(r.oneOf("maar.ordering", text(d.Ordering, string(ByTimestamp)), string(ByTimestamp), string(BySequence))),
		Lifetime:           r.duration("maar.lifetime", d.Lifetime, 10*time.Minute, lifetimeUnit, longestLifetime),
		ValidLifetime:      r.duration("maar.valid_lifetime", d.ValidLifetime, 2*time.Hour, time.Minute, longest),
		PreferredLifetime:  r.duration("maar.preferred_lifetime", d.PreferredLifetime, time.Hour, time.Minute, longest),
		DeprecatedLifetime: r.duration("maar.deprecated_lifetime", d.DeprecatedLifetime, 2*time.Hour, time.Minute, longest),
		RouterLifetime:     r.duration("maar.router_lifetime", d.RouterLifetime, 30*time.Minute, time.Second, 9000*time.Second),
		PrefixMemory:       r.duration("maar.prefix_memory", d.PrefixMemory, time.Hour, 0, longest),
		Quarantine:         r.duration("maar.quarantine", d.Quarantine, 10*time.Minute, 0, longest),
		IdleTimeout:        r.duration("maar.idle_timeout", d.IdleTimeout, 10*time.Minute, time.Second, longest),
		Deregistration:     r.deregistration("maar.deregistration", d.Deregistration),
		MaxMobileNodes:     int(r.number("maar.max_mobile_nodes", d.MaxMobileNodes, 4096, 1, 1_000_000)),
		MaxPreviousMAARs:   int(r.number("maar.max_previous_maars", d.MaxPreviousMAARs, 8, 1, mostPreviousMAARs)),
		KeepSessions:       d.KeepSessions == nil || *d.KeepSessions,
		AllowAnyMobileNode: d.AllowAnyMobileNode,
	}
	if a.Address.IsValid() && !slices.ContainsFunc(c.Links, func(l Link) bool { return l.owns(a.Address) }) {
		r.wrong("maar.address", "one of the addresses of a [[link]]", "%s", a.Address)
	}
	r.upstream(d, a, c)
	a.Peers = r.signalingPeers("maar.peers", d.Peers, a.SPI, c)
	if len(a.AccessLinks) == 0 {
		r.wrong("maar.access_links", "the interfaces of links to mobile nodes, each a [[link]] with access = true", "none")
	}
	for i, name := range a.AccessLinks {
		if !slices.ContainsFunc(c.Links, func(l Link) bool { return l.Interface == name && l.Access }) {
			r.wrong(fmt.Sprintf("maar.access_links.%d", i), "the interface of a [[link]] with access = true", "%q", name)
		}
	}
	for i, p := range a.Pools {
		if p.Bits() > 64 {
			r.wrong(fmt.Sprintf("maar.pools.%d", i), "a prefix of 64 bits or fewer, of which each mobile node gets a /64", "%s", p)
		}
	}
	if len(a.LocalPrefixes) > mostLocalPrefixes {
		r.wrong("maar.local_prefixes", fmt.Sprintf("at most %d prefixes, which fit a proxy binding update", mostLocalPrefixes), "%d", len(a.LocalPrefixes))
	}
	if a.PreferredLifetime > a.ValidLifetime {
		r.wrong("maar.preferred_lifetime", fmt.Sprintf("at most valid_lifetime (%v)", a.ValidLifetime), "%v", a.PreferredLifetime)
	}
	r.accessMobileNodes(d.MobileNode, a)
	if len(a.MobileNodes) == 0 && !a.AllowAnyMobileNode {
		r.wrong("maar.mobile_node", "at least one [[maar.mobile_node]], or allow_any_mobile_node = true", "neither")
	}
	return a
}

// upstream reads whom the router registers mobile nodes with.
func (r *reader) upstream(d *documentAccessRouter, a *AccessRouter, c *Config) {
	switch {
	case d.Database != nil && d.LocalMobilityAnchor != nil:
		r.wrong("maar.local_mobility_anchor", "either database or local_mobility_anchor", "both")
	case d.Database != nil:
		a.Database = r.address("maar.database", *d.Database)
		if len(d.Pools) == 0 {
			r.wrong("maar.pools", "at least one pool, of which mobile nodes get their prefixes", "none")
		}
	case d.LocalMobilityAnchor != nil:
		a.LocalMobilityAnchor = r.address("maar.local_mobility_anchor", *d.LocalMobilityAnchor)
		if len(d.Pools) > 0 {
			r.wrong("maar.pools", "none beside local_mobility_anchor, which assigns the prefixes", "%d", len(d.Pools))
		}
	default:
		r.wrong("maar.database", "the address of the central mobility database (or local_mobility_anchor, for a plain mobile access gateway)", "neither")
	}
	a.SPI = r.association("maar", d.SPI, false, c)
	if a.Database.IsValid() && a.Database == a.Address {
		r.wrong("maar.database", "another address than the router's own, also where both are one process", "%s", a.Database)
	}
}

func (r *reader) accessMobileNodes(in []documentAccessMobileNode, a *AccessRouter) {
	seen := map[[6]byte]bool{}
	for i, d := range in {
		key := fmt.Sprintf("maar.mobile_node.%d", i)
		m := AccessMobileNode{LinkLayer: r.linkLayer(key+".link_layer_address", d.LinkLayer), Identifier: r.identifier(key+".identifier", d.Identifier)}
		if seen[m.LinkLayer] {
			r.wrong(key+".link_layer_address", "each link-layer address once", "%s again", d.LinkLayer)
		}
		seen[m.LinkLayer] = true
		if d.Prefix != nil {
			m.Prefix = r.prefix(key+".prefix", *d.Prefix)
			inPool := func(p netip.Prefix) bool { return p.Bits() <= m.Prefix.Bits() && p.Contains(m.Prefix.Addr()) }
			if m.Prefix.IsValid() && (m.Prefix.Bits() != 64 || !slices.ContainsFunc(a.Pools, inPool)) {
				r.wrong(key+".prefix", fmt.Sprintf("a /64 of the pools %v", a.Pools), "%s", m.Prefix)
			}
		}
		a.MobileNodes = append(a.MobileNodes, m)
	}
}

func (r *reader) linkLayer(key, s string) (a [6]byte) {
	b, err := net.ParseMAC(s)
	if err != nil || len(b) != len(a) || b[0]&1 != 0 {
		r.wrong(key, "a unicast link-layer address such as \"02:00:00:00:00:01\"", "%s", quoted(s))
		return a
	}
	return [6]byte(b)
}

func (r *reader) deregistration(key string, s *string) Deregistration {
	return Deregistration(r.oneOf(key, text(s, string(StopTimers)), string(StopTimers), string(RenewTimers)))
}

// signalingPeers reads peers; other is an SPI that is in use already.
func (r *reader) signalingPeers(key string, in []documentHomeProxyHomeAgent, other uint32, c *Config) []SignalingPeer {
	var out []SignalingPeer
	for i := range in {
		at := fmt.Sprintf("%s.%d", key, i)
		p := SignalingPeer{Address: r.address(at+".address", in[i].Address), SPI: r.association(at, &in[i].SPI, false, c)}
		// Replays are told by the latest timestamp under each key, which two senders would get ahead of each other.
		if p.SPI == other || slices.ContainsFunc(out, func(q SignalingPeer) bool { return p.Address == q.Address || p.SPI == q.SPI }) {
			r.wrong(at+".spi", "each peer once, with a key of its own", "%s with SPI %d", p.Address, p.SPI)
		}
		out = append(out, p)
	}
	return out
}

func (r *reader) database(d *documentDatabase, c *Config) *Database {
	const section = "central_mobility_database"
	b := &Database{
		Address:            r.address(section+".address", d.Address),
		Mode:               DatabaseMode(r.oneOf(section+".mode", text(d.Mode, string(Proxy)), string(Relay), string(Locator), string(Proxy))),
		Ordering:           Ordering(r.oneOf(section+".ordering", text(d.Ordering, string(ByTimestamp)), string(ByTimestamp), string(BySequence))),
		MaxLifetime:        r.duration(section+".max_lifetime", d.MaxLifetime, time.Hour, lifetimeUnit, longestLifetime),
		AggregationTimeout: r.duration(section+".aggregation_timeout", d.AggregationTimeout, 500*time.Millisecond, time.Millisecond, time.Minute),
		Pacing:             r.duration(section+".pacing", d.Pacing, 200*time.Microsecond, 0, time.Second),
		MaxSessions:        int(r.number(section+".max_sessions", d.MaxSessions, 1_000_000, 1, 100_000_000)),
		MaxPreviousMAARs:   int(r.number(section+".max_previous_maars", d.MaxPreviousMAARs, 8, 1, mostPreviousMAARs)),
		Deregistration:     r.deregistration(section+".deregistration", d.Deregistration),
		KeepSessions:       d.KeepSessions == nil || *d.KeepSessions,
		ServePlain:         d.ServePlain,
		HomePrefixes:       r.prefixes(section+".home_prefixes", d.HomePrefixes),
		AllowAnyMobileNode: d.AllowAnyMobileNode,
	}
	if b.Address.IsValid() && !slices.ContainsFunc(c.Links, func(l Link) bool { return l.owns(b.Address) }) {
		r.wrong(section+".address", "one of the addresses of a [[link]]", "%s", b.Address)
	}
	var pools []netip.Prefix
	for i, q := range d.Router {
		key := fmt.Sprintf("%s.router.%d", section, i)
		p := DatabaseRouter{
			Address: r.address(key+".address", q.Address), SPI: r.association(key, &q.SPI, false, c),
			Pools: r.prefixes(key+".pools", q.Pools), Plain: q.Plain,
		}
		if p.Plain == (len(p.Pools) > 0) {
			r.wrong(key+".pools", "pools that the MAAR alone anchors, or plain = true for a mobile access gateway", "%d pools and plain = %v", len(p.Pools), p.Plain)
		}
		for j, pool := range p.Pools {
			if k := slices.IndexFunc(pools, pool.Overlaps); k >= 0 {
				r.wrong(fmt.Sprintf("%s.pools.%d", key, j), "a pool of this MAAR alone", "%s, which overlaps %s", pool, pools[k])
			}
		}
		pools = append(pools, p.Pools...)
		if slices.ContainsFunc(b.Routers, func(o DatabaseRouter) bool { return o.Address == p.Address || o.SPI == p.SPI }) {
			r.wrong(key+".spi", "each router once, with a key of its own", "%s with SPI %d", p.Address, p.SPI)
		}
		b.Routers = append(b.Routers, p)
	}
	if len(d.Router) == 0 {
		r.wrong(section+".router", "at least one [[central_mobility_database.router]]", "none")
	}
	if b.ServePlain && len(b.HomePrefixes) == 0 {
		r.wrong(section+".home_prefixes", "prefixes for mobile nodes of plain mobile access gateways", "none")
	}
	for i, q := range d.MobileNode {
		key := fmt.Sprintf("%s.mobile_node.%d", section, i)
		m := DatabaseMobileNode{Identifier: r.identifier(key+".identifier", q.Identifier)}
		if q.LinkLayer != "" {
			m.LinkLayer = r.linkLayer(key+".link_layer_address", q.LinkLayer)
		}
		if (m.Identifier == "") == (q.LinkLayer == "") {
			r.wrong(key+".identifier", "either an identifier or a link_layer_address", "%q and %q", q.Identifier, q.LinkLayer)
		}
		if q.Prefix != nil {
			m.Prefix = r.prefix(key+".prefix", *q.Prefix)
		}
		b.MobileNodes = append(b.MobileNodes, m)
	}
	if len(b.MobileNodes) == 0 && !b.AllowAnyMobileNode {
		r.wrong(section+".mobile_node", "at least one [[central_mobility_database.mobile_node]], or allow_any_mobile_node = true", "neither")
	}
	return b
}
