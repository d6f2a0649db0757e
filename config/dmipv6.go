package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The bounds of DMIPv6's tables. A flow takes some 200 octets.
const (
	defaultFlows   = 1 << 17
	mostFlows      = 1 << 22
	defaultAnchors = 64
	mostAnchors    = 4096
)

// protocols are the names of upper-layer protocols.
var protocols = map[string]uint8{"tcp": 6, "udp": 17, "icmpv6": 58, "dccp": 33, "sctp": 132, "udplite": 136}

// defaultRules stand behind the operator's: look-ups of names and of the time are over before a move could hurt them.
var defaultRules = []Rule{
	{Name: "name look-ups", Class: NonPersistent, Protocols: []uint8{6, 17}, DestinationPorts: []Range{{53, 53}, {853, 853}}},
	{Name: "time", Class: NonPersistent, Protocols: []uint8{17}, DestinationPorts: []Range{{37, 37}, {123, 123}}},
}

// everythingElse is the last rule.
var everythingElse = Rule{Name: "everything else", Class: SessionLasting}

func (r *reader) dmipv6(d *documentDMIPv6, c *Config) *DMIPv6 {
	m := &DMIPv6{
		UseHomeAgent: d.UseHomeAgent == nil || *d.UseHomeAgent,
		Anycast:      d.Anycast,
		SourceHints:  d.SourceHints != nil && *d.SourceHints,
		Lifetime:     r.duration("dmipv6.lifetime", d.Lifetime, 10*time.Minute, lifetimeUnit, longestLifetime),
		HoldTime:     r.duration("dmipv6.hold_time", d.HoldTime, 500*time.Millisecond, time.Millisecond, 10*time.Second),
		IdleTime:     r.duration("dmipv6.idle_time", d.IdleTime, 30*time.Second, 0, 24*time.Hour),
		GracefulTime: r.duration("dmipv6.graceful_time", d.GracefulTime, 5*time.Minute, time.Second, 24*time.Hour),
		Heartbeat:    r.duration("dmipv6.heartbeat_interval", d.Heartbeat, 10*time.Second, time.Second, time.Hour),
		MaxFlows:     int(r.number("dmipv6.max_flows", d.MaxFlows, defaultFlows, 16, mostFlows)),
		MaxAnchors:   int(r.number("dmipv6.max_anchors", d.MaxAnchors, defaultAnchors, 1, mostAnchors)),
	}
	otherwise := Native
	if c.MobileNode != nil {
		otherwise = c.MobileNode.Transport
	}
	m.Transport, _ = r.transport("dmipv6", "", d.Transport, otherwise, nil, true)
	if c.MobileNode == nil {
		r.wrong("dmipv6", `a [dmipv6] section only where roles has "mobile-node"`, "another role")
	}
	if c.MobileNode != nil && c.MobileNode.AllowUnauthenticated {
		r.wrong("dmipv6.enabled", "spi in [mobile_node], since the home agent seals the keys for proxies with that association's", "allow_unauthenticated_signaling")
	}
	names := map[string]bool{}
	for i := range d.Rule {
		m.Rules = append(m.Rules, r.rule(fmt.Sprintf("dmipv6.rule.%d", i), &d.Rule[i], i, names))
	}
	if d.DefaultRules == nil || *d.DefaultRules {
		m.Rules = append(m.Rules, defaultRules...)
	}
	m.Rules = append(m.Rules, everythingElse)
	proxies := map[netip.Addr]bool{}
	for i := range d.Proxy {
		q, key := &d.Proxy[i], fmt.Sprintf("dmipv6.proxy.%d", i)
		p := DMIPv6Proxy{
			Address:    r.address(key+".address", q.Address),
			Coverage:   r.prefixes(key+".coverage", q.Coverage),
			Preference: uint8(r.number(key+".preference", &q.Preference, 0, 0, 255)),
		}
		p.Transport, p.Endpoints = r.transport(key, "endpoints", q.Transport, m.Transport, q.Endpoints, false)
		if len(q.Coverage) == 0 {
			r.wrong(key+".coverage", "the prefixes that the proxy is near to", "none")
		}
		if proxies[p.Address] {
			r.wrong(key+".address", "each proxy once", "%s again", p.Address)
		}
		proxies[p.Address] = true
		m.Proxies = append(m.Proxies, p)
	}
	if !m.UseHomeAgent && !m.Anycast && len(m.Proxies) == 0 {
		r.wrong("dmipv6.use_home_agent", "some source of Distributed Home-Proxies: use_home_agent, anycast or a [[dmipv6.proxy]]", "none")
	}
	if !d.Enabled {
		return nil
	}
	return m
}

func (r *reader) rule(key string, d *documentRule, number int, names map[string]bool) Rule {
	classes := []string{string(Fixed), string(SessionLasting), string(GracefulReplacement), string(NonPersistent)}
	rule := Rule{
		Name:             d.Name,
		Class:            Class(r.oneOf(key+".class", d.Class, classes...)),
		Destinations:     r.prefixes(key+".destinations", d.Destinations),
		DestinationPorts: r.ranges(key+".destination_ports", d.DestinationPorts, 1<<16-1),
		SourcePorts:      r.ranges(key+".source_ports", d.SourcePorts, 1<<16-1),
		Users:            r.ranges(key+".users", d.Users, 1<<32-2),
		MaxRoundTrip:     r.duration(key+".max_round_trip", d.MaxRoundTrip, 0, time.Microsecond, time.Minute),
	}
	if rule.Name == "" {
		rule.Name = fmt.Sprintf("rule %d", number+1)
	}
	if names[rule.Name] {
		r.wrong(key+".name", "a name that no other rule has", "%q again", rule.Name)
	}
	names[rule.Name] = true
	for i, name := range d.Protocols {
		p, known := protocols[name]
		if n, err := strconv.ParseUint(name, 10, 8); err == nil {
			p, known = uint8(n), true
		}
		if !known {
			r.wrong(fmt.Sprintf("%s.protocols.%d", key, i), "tcp, udp, icmpv6, sctp, dccp, udplite or a number from 0 to 255", "%q", name)
		}
		rule.Protocols = append(rule.Protocols, p)
	}
	for i := range d.DSCPs {
		rule.DSCPs = append(rule.DSCPs, uint8(r.number(fmt.Sprintf("%s.dscps.%d", key, i), &d.DSCPs[i], 0, 0, 63)))
	}
	if d.MaxLoss != nil {
		if rule.MaxLoss = *d.MaxLoss; !(rule.MaxLoss > 0 && rule.MaxLoss < 1) {
			r.wrong(key+".max_loss", "a share above 0 and below 1, such as 0.1", "%v", *d.MaxLoss)
		}
	}
	portless := func(p uint8) bool { return !slices.Contains([]uint8{6, 17, 33, 132, 136}, p) }
	if (len(rule.DestinationPorts) > 0 || len(rule.SourcePorts) > 0) && slices.ContainsFunc(rule.Protocols, portless) {
		r.wrong(key+".protocols", "protocols with ports, since the rule has ports", "%v", d.Protocols)
	}
	if rule.Class == NonPersistent && (rule.MaxRoundTrip > 0 || rule.MaxLoss > 0) {
		r.wrong(key+".class", "a class that has an anchor, since the rule has bounds", "%q", rule.Class)
	}
	return rule
}

// ranges reads numbers and ranges of them, such as "443" and "6000-6100".
func (r *reader) ranges(key string, in []string, highest uint32) []Range {
	var out []Range
	for i, s := range in {
		first, last, isRange := strings.Cut(s, "-")
		if !isRange {
			last = first
		}
		a, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 32)
		b, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 32)
		if err1 != nil || err2 != nil || a > b || b > uint64(highest) {
			r.wrong(fmt.Sprintf("%s.%d", key, i), fmt.Sprintf("a number or range from 0 to %d, such as \"443\" or \"6000-6100\"", highest), "%q", s)
			continue
		}
		out = append(out, Range{uint32(a), uint32(b)})
	}
	return out
}
