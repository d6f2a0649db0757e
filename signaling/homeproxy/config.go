package homeproxy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/homeagent"
	"kedge/signaling/mh"
	"kedge/signaling/ticket"
)

// Config is what a DHP is told at its start.
type Config struct {
	// Address is the DHP's own global address, as in DHP Information options: everything but anycast queries comes to it, and
	// tunnels start and end there.
	Address netip.Addr
	// Pools are what DHoAs are lent from; there is at least one, and they do not overlap.
	Pools []Pool
	// Coverage is what the DHP is near to, and says so in its advertisements. As many fit as one message holds.
	Coverage []Coverage
	// Endpoints, mh.MaxUDPEndpoints at most, are where the DHP is reached in UDP datagrams (RFC 5555), which its advertisements
	// tell; none if it is not.
	Endpoints []netip.AddrPort
	// NATRefresh is homeagent.Config's.
	NATRefresh time.Duration
	// HomeAgents get the advertisements, and their tickets are honoured.
	HomeAgents []HomeAgent
	// Associations are the security associations by SPI: those shared with HomeAgents, whose keys have ticket.KeySize octets,
	// and those of MobileNodes.
	Associations map[uint32]auth.Association
	// MobileNodes are plain RFC 6275 mobile nodes, each with a fixed home address of a pool, which is lent to nobody else.
	MobileNodes []homeagent.MobileNode
	// AllowUnauthenticated lends DHoAs to, and takes Binding Updates from, mobile nodes that show neither ticket nor
	// authentication option: anybody, under any MN-ID.
	AllowUnauthenticated bool
	// Preference orders DHPs; higher wins.
	Preference uint8
	// MaxLifetime bounds granted lifetimes, 4 s to 262,140 s.
	MaxLifetime time.Duration
	// Quarantine is how long an address is lent to nobody after its lease has ended.
	Quarantine time.Duration
	// AdvertisementInterval is how often each home agent is told, and AdvertisementLifetime how long that holds: at least 4 s
	// and as long as the interval. They matter only with HomeAgents.
	AdvertisementInterval, AdvertisementLifetime time.Duration
	// MaxBindings bounds the bindings in total, those in quarantine included, and MaxBindingsPerNode those of one mobile
	// node; 0 is no limit. A mobile node may besides have three times as many in quarantine.
	MaxBindings, MaxBindingsPerNode int
	// Anycast answers DHP Queries that are sent to the CN's prefix.
	Anycast bool

	// Store makes the leases survive a restart; nil if they need not.
	Store binding.Store
	// Random draws DHoAs; nil is a source of its own that cannot be predicted.
	Random *rand.Rand
}

// Pool is what DHoAs are lent from.
type Pool struct {
	// Prefix is routed to the DHP. It leaves at least 8 bits to addresses.
	Prefix netip.Prefix
	// Lend is the length of what each mobile node gets: 128, an address, or 64, a prefix with the address ::1 in it for its
	// home address.
	Lend int
}

// Coverage is a prefix that the DHP is near to.
type Coverage struct {
	Prefix netip.Prefix
	// Probe is an address in it that answers echo requests, by which the round trip is measured; invalid if it is not.
	Probe netip.Addr
}

// HomeAgent is a home agent that knows the DHP.
type HomeAgent struct {
	Address netip.Addr
	// SPI names the key that both have, and no one else.
	SPI uint32
}

// Check says what makes the configuration one that New cannot run.
func (c *Config) Check() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	c.checkPools(wrong)
	for i, a := range c.HomeAgents {
		switch k, ok := c.Associations[a.SPI]; {
		case !mh.UnicastRoutable(a.Address) || a.Address == c.Address:
			wrong("home agent address %v is no other node's unicast routable IPv6 address", a.Address)
		case !ok || a.SPI < auth.FirstSPI:
			wrong("home agent %v: there is no security association with SPI %d", a.Address, a.SPI)
		case len(k.Key) != ticket.KeySize:
			wrong("home agent %v: key of %d octets, want %d", a.Address, len(k.Key), ticket.KeySize)
		}
		if slices.ContainsFunc(c.HomeAgents[:i], func(b HomeAgent) bool { return a.Address == b.Address || a.SPI == b.SPI }) {
			wrong("home agent %v with SPI %d: address or SPI is another home agent's too", a.Address, a.SPI)
		}
	}
	for _, n := range c.MobileNodes {
		if !n.HomeAddress.IsValid() {
			wrong("mobile node %s has no home address of its own", n.Identifier)
		}
		if _, _, lease := parseOwner(n.Identifier); lease {
			wrong("mobile node %v: identifier %q begins with NUL", n.HomeAddress, n.Identifier)
		}
		if slices.ContainsFunc(c.HomeAgents, func(a HomeAgent) bool { return a.SPI == n.SPI }) {
			wrong("mobile node %v: SPI %d is a home agent's", n.HomeAddress, n.SPI)
		}
		for _, network := range n.MobileNetworks {
			if slices.ContainsFunc(c.Pools, func(p Pool) bool { return p.Prefix.Overlaps(network) }) {
				wrong("mobile node %v: mobile network %v is in a pool", n.HomeAddress, network)
			}
		}
	}
	if c.Quarantine < 0 {
		wrong("quarantine %v is negative", c.Quarantine)
	}
	if len(c.HomeAgents) > 0 {
		if c.AdvertisementInterval <= 0 || c.AdvertisementLifetime < max(c.AdvertisementInterval, binding.LifetimeUnit) ||
			c.AdvertisementLifetime > binding.MaxLifetime {
			wrong("advertisements each %v that hold for %v", c.AdvertisementInterval, c.AdvertisementLifetime)
		}
	}
	for _, v := range c.Coverage {
		if !v.Prefix.IsValid() || !v.Prefix.Addr().Is6() || v.Probe.IsValid() && !v.Prefix.Contains(v.Probe) {
			wrong("coverage %v with probe %v is no IPv6 prefix with an address in it", v.Prefix, v.Probe)
		}
	}
	if len(c.Endpoints) > mh.MaxUDPEndpoints {
		wrong("%d UDP endpoints, at most %d can be told", len(c.Endpoints), mh.MaxUDPEndpoints)
	}
	for _, e := range c.Endpoints {
		if !mh.UDPReachable(e) {
			wrong("UDP endpoint %v is no unicast address and port", e)
		}
	}
	if len(problems) == 0 {
		if err := c.checkAdvertisement(); err != nil {
			wrong("%d coverage prefixes are too many: with %d UDP endpoints: %w", len(c.Coverage), len(c.Endpoints), err)
		}
		inner := c.homeAgent()
		if err := inner.Check(); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (c *Config) checkPools(wrong func(string, ...any)) {
	for i, p := range c.Pools {
		switch {
		case !p.Prefix.IsValid() || !mh.UnicastRoutable(p.Prefix.Addr()) || p.Prefix != p.Prefix.Masked():
			wrong("pool %v is no unicast routable IPv6 prefix", p.Prefix)
		case p.Lend != 64 && p.Lend != 128:
			wrong("pool %v: lends /%d, want 64 or 128", p.Prefix, p.Lend)
		case p.Lend == 64 && p.Prefix.Bits() > 64, p.Prefix.Bits() > 120:
			wrong("pool %v is too small to lend /%d of it", p.Prefix, p.Lend)
		}
		if slices.ContainsFunc(c.Pools[:i], func(q Pool) bool { return p.Prefix.Overlaps(q.Prefix) }) {
			wrong("pool %v overlaps another one", p.Prefix)
		}
	}
}

// checkAdvertisement makes the longest advertisement there can be.
func (c *Config) checkAdvertisement() error {
	a := auth.Association{SPI: auth.FirstSPI, Algorithm: auth.HMACSHA256}
	m := &mh.DMIPv6{Subtype: mh.DHPAdvertisement, Options: c.advertised(0, 0, nil)}
	_, err := auth.Sign(m, a, c.Address, netip.IPv6Unspecified(), 1)
	return err
}

// homeAgent is the configuration of the home agent within, without its authority.
func (c *Config) homeAgent() homeagent.Config {
	h := homeagent.Config{
		Address: c.Address, MaxLifetime: c.MaxLifetime, MaxBindings: c.MaxBindings, MaxBindingsPerNode: c.MaxBindingsPerNode,
		NATRefresh: c.NATRefresh, MobileNodes: c.MobileNodes, Store: c.Store, Random: c.Random, Associations: make(map[uint32]auth.Association),
	}
	for _, p := range c.Pools {
		h.HomePrefixes = append(h.HomePrefixes, homeagent.HomePrefix{Prefix: p.Prefix})
	}
	for _, n := range c.MobileNodes {
		if a, ok := c.Associations[n.SPI]; ok {
			h.Associations[n.SPI] = a
		}
	}
	return h
}
