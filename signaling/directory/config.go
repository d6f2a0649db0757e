package directory

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/mh"
	"kedge/signaling/ticket"
)

// Config is what a directory is told at its start.
type Config struct {
	// Address is the home agent's own global address, which messages come to.
	Address netip.Addr
	// Associations are the security associations by SPI: those with mobile nodes, and Kd for each DHP.
	Associations map[uint32]auth.Association
	// MobileNodes may query. AllowAnyMobileNode lets others query too, with those of the Associations that are nobody's own.
	MobileNodes        []MobileNode
	AllowAnyMobileNode bool
	// Registered says whether the mobile node with this identifier, whose query came from source, has a binding with the
	// home agent, without which it is refused; nil if that does not matter. source is a care-of address, or the home
	// address if the mobile node has no IPv6 care-of address.
	Registered func(identifier string, source netip.Addr) bool
	// Proxies are the DHPs that may advertise.
	Proxies []Proxy
	// TicketLifetime is how long a ticket is good for from when it is issued, 4 s to 262,140 s; 0 is 1 h.
	TicketLifetime time.Duration
	// MaxRemembered bounds the mobile nodes whose latest timestamp is remembered against replay, each for twice the
	// greatest window of the associations. More than those do not get a reply in that time. 0 is 1,048,576.
	MaxRemembered int
	// ErrorRate is how many Binding Errors and ICMPv6 errors a second are sent on average, with bursts of as many (RFC
	// 4443 section 2.4 f); 0 is 10.
	ErrorRate int
	// Clock turns now into the time of day that timestamps are held against, for a home agent whose own clock is not the
	// host's: mobile nodes keep one clock for both. nil is the host's at the start, running on by its monotonic clock.
	Clock func(now time.Time) time.Time
}

// MobileNode is one mobile node that may query.
type MobileNode struct {
	// Identifier is its MN-ID.
	Identifier string
	// SPI names its security association.
	SPI uint32
}

// Proxy is one DHP that may advertise.
type Proxy struct {
	// Address is what it advertises, and from.
	Address netip.Addr
	// SPI names Kd, the key of ticket.KeySize octets that it alone shares with this home agent.
	SPI uint32
	// Coverage are the prefixes that contain all that it may advertise.
	Coverage []netip.Prefix
	// Endpoints, mh.MaxUDPEndpoints at most, are where it is reached in UDP datagrams (RFC 5555), whatever it advertises
	// itself; none leaves it to its advertisements.
	Endpoints []netip.AddrPort
}

// Check says what makes the configuration one that New cannot run.
func (c *Config) Check() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !mh.UnicastRoutable(c.Address) {
		wrong("home agent address %v is no unicast routable IPv6 address", c.Address)
	}
	if l := c.TicketLifetime; l != 0 && (l < mh.LifetimeUnit || l > mh.MaxLifetime) {
		wrong("ticket lifetime %v is not from %v to %v", l, mh.LifetimeUnit, mh.MaxLifetime)
	}
	// used are the owners of SPIs that only one may have.
	used := make(map[uint32]string)
	addresses := make(map[netip.Addr]bool)
	for _, p := range c.Proxies {
		if !mh.UnicastRoutable(p.Address) || p.Address == c.Address || addresses[p.Address] {
			wrong("DHP address %v is no unicast routable IPv6 address, another's, or the home agent's", p.Address)
		}
		addresses[p.Address] = true
		if used[p.SPI] != "" {
			wrong("DHP %v: SPI %d is %s's", p.Address, p.SPI, used[p.SPI])
		}
		used[p.SPI] = p.Address.String()
		if a, ok := c.Associations[p.SPI]; !ok || len(a.Key) != ticket.KeySize {
			wrong("DHP %v: SPI %d names no key of %d octets", p.Address, p.SPI, ticket.KeySize)
		}
		if len(p.Coverage) == 0 {
			wrong("DHP %v: there is no prefix that it may advertise", p.Address)
		}
		if why := unfitEndpoints(p.Endpoints); why != "" {
			wrong("DHP %v: %s", p.Address, why)
		}
		for _, v := range p.Coverage {
			if !v.IsValid() || !v.Addr().Is6() || v.Addr().Is4In6() {
				wrong("DHP %v: %v is not an IPv6 prefix", p.Address, v)
			}
		}
	}
	for i, n := range c.MobileNodes {
		switch _, ok := c.Associations[n.SPI]; {
		case n.Identifier == "":
			wrong("mobile node %d has no identifier", i+1)
		case !ok:
			wrong("mobile node %s: there is no security association with SPI %d", n.Identifier, n.SPI)
		case used[n.SPI] != "":
			wrong("mobile node %s: SPI %d is DHP %s's", n.Identifier, n.SPI, used[n.SPI])
		}
	}
	return errors.Join(problems...)
}

// unfitEndpoints says why endpoints cannot be a DHP's; empty if they can.
func unfitEndpoints(endpoints []netip.AddrPort) string {
	if len(endpoints) > mh.MaxUDPEndpoints {
		return fmt.Sprintf("%d UDP endpoints, at most %d can be told", len(endpoints), mh.MaxUDPEndpoints)
	}
	for _, e := range endpoints {
		if !mh.UDPReachable(e) {
			return fmt.Sprintf("UDP endpoint %v is no unicast address and port", e)
		}
	}
	return ""
}

// permits reports whether coverage lies inside what p may advertise.
func (p *Proxy) permits(coverage netip.Prefix) bool {
	for _, v := range p.Coverage {
		if v.Bits() <= coverage.Bits() && v.Contains(coverage.Addr()) {
			return !coverage.Addr().Is4In6()
		}
	}
	return false
}
