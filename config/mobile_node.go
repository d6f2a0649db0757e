package config

import (
	"slices"
	"strings"
	"time"
)

// Lifetimes are a 16-bit count of 4-second units (RFC 6275 section 6.1.7).
const (
	lifetimeUnit    = 4 * time.Second
	longestLifetime = 65535 * lifetimeUnit
)

func (r *reader) mobileNode(d *documentMobileNode, c *Config) *MobileNode {
	m := &MobileNode{
		HomeAddress:          r.address("mobile_node.home_address", d.HomeAddress),
		HomePrefix:           r.prefix("mobile_node.home_prefix", d.HomePrefix),
		Identifier:           r.identifier("mobile_node.identifier", d.Identifier),
		Lifetime:             r.duration("mobile_node.lifetime", d.Lifetime, 10*time.Minute, lifetimeUnit, longestLifetime),
		Destinations:         r.prefixes("mobile_node.destinations", d.Destinations),
		SPI:                  r.association("mobile_node", d.SPI, d.AllowUnauthenticated, c),
		AllowUnauthenticated: d.AllowUnauthenticated,
		RouteOptimization:    d.RouteOptimization,
		PlainIPv6:            d.PlainIPv6,
	}
	if m.HomeAddress.IsValid() && m.HomePrefix.IsValid() && !m.HomePrefix.Contains(m.HomeAddress) {
		r.wrong("mobile_node.home_address", "an address in home_prefix "+m.HomePrefix.String(), "%s", m.HomeAddress)
	}
	if d.HomeAgent != nil {
		m.HomeAgent = r.address("mobile_node.home_agent", *d.HomeAgent)
		if m.HomeAgent.IsValid() && m.HomeAgent == m.HomeAddress {
			r.wrong("mobile_node.home_agent", "another address than home_address", "%s", m.HomeAgent)
		}
	}
	m.Transport, m.HomeAgentEndpoints = r.transport("mobile_node", "home_agent_endpoints", d.Transport, Native, d.HomeAgentEndpoints, false)
	if m.Transport != Native && d.HomeAgent == nil {
		r.wrong("mobile_node.home_agent", "the home agent's address, since its discovery (RFC 6275 section 11.4.1) is native only", "none")
	}
	if m.Transport != UDPTransport && !slices.ContainsFunc(c.Links, func(l Link) bool { return l.Native }) && len(c.Links) > 0 {
		r.wrong("mobile_node.transport", "\"udp\", or a [[link]] with autoconfigure = true or addresses", "%q", m.Transport)
	}
	if m.SPI != 0 && m.Identifier == "" {
		r.wrong("mobile_node.identifier", "a network access identifier such as \"mn1@example.org\", since authentication names the node by it (RFC 4285 section 5)", "none")
	}
	return m
}

// identifier is a network access identifier (RFC 4283 section 3.1); empty is none.
func (r *reader) identifier(key, s string) string {
	if len(s) > 253 || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		r.wrong(key, "a network access identifier of at most 253 octets without white space", "%q", s)
	}
	return s
}
