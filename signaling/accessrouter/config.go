package accessrouter

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
)

// Method is how the registration of a mobile node that left ends (RFC 8885 section 3.5).
type Method uint8

// The methods.
const (
	// ByServing leaves de-registration to the serving MAAR: a previous MAAR stops its timer.
	ByServing Method = iota
	// AtExpiry has each previous MAAR de-register its prefix when its lifetime ends, and keep it if the CMD answers with a
	// lifetime.
	AtExpiry
)

// Ordering is how Proxy Binding Updates about one mobile node are put in order (RFC 5213 section 5.5).
type Ordering uint8

// The orderings.
const (
	// Timestamps needs clocks that agree better than a mobile node moves fast.
	Timestamps Ordering = iota
	// SequenceNumbers learns the last number from the CMD's refusal of a lower one.
	SequenceNumbers
)

// The defaults of Config's fields, used where those are 0.
const (
	DefaultLifetime          = 10 * time.Minute
	DefaultValidLifetime     = 30 * time.Minute
	DefaultPreferredLifetime = 20 * time.Minute
	DefaultDeprecatedValid   = 30 * time.Minute
	DefaultRouterLifetime    = 30 * time.Minute
	DefaultPrefixMemory      = 24 * time.Hour
	DefaultQuarantine        = 2 * time.Hour
	DefaultIdleTimeout       = 5 * time.Minute
	DefaultLocalServiceDelay = 100 * time.Millisecond
	DefaultMaxNodes          = 65536
	DefaultMaxPreviousMAARs  = 8
)

// maxRouterLifetime is the greatest that a router advertisement can tell (RFC 4861 section 6.2.1).
const maxRouterLifetime = 9000 * time.Second

// Peer is another MAAR.
type Peer struct {
	Address netip.Addr
	// SPI names the association with it, for acknowledgements from MAAR to MAAR in locator mode; 0 if there is none.
	SPI uint32
}

// Node is a mobile node that may attach.
type Node struct {
	LinkLayer signaling.LinkLayerAddress
	// Identifier is its MN-ID, a network access identifier (RFC 4283); empty for one made of LinkLayer.
	Identifier string
	// Prefix, if valid, is the /64 that it always gets here. It is in none of the Pools, or in one but nobody else's.
	Prefix netip.Prefix
}

// Config is what a MAAR is told at its start.
type Config struct {
	// Address is the MAAR's own global address on the core link: PBUs come from it and tunnels end there.
	Address netip.Addr
	// Database is the CMD's address and SPI names the association with it. With LocalMobilityAnchor there is none.
	Database netip.Addr
	SPI      uint32
	// Peers are other MAARs. Tunnels are made to these and to those that the CMD names, and to nothing else.
	Peers []Peer
	// Locator says that the CMD is a MAAR locator (RFC 8885 section 3.3): as a previous MAAR this one then acknowledges
	// to the serving MAAR too, if that is a peer with an association.
	Locator      bool
	Associations map[uint32]auth.Association
	// Pools are this MAAR's alone; each mobile node gets a /64 of them.
	Pools []netip.Prefix
	// LocalPrefixes are networks that are reached only here (RFC 8885 section 3.7).
	LocalPrefixes []netip.Prefix
	// Nodes may attach; with AllowAnyNode others may too.
	Nodes        []Node
	AllowAnyNode bool
	Ordering     Ordering
	// Lifetime is what registrations ask for, 4 s to 262,140 s, in units of 4 s.
	Lifetime time.Duration
	// ValidLifetime and PreferredLifetime are advertised of this MAAR's prefixes, DeprecatedValid is the valid lifetime of
	// those of earlier MAARs, whose preferred lifetime is 0. RouterLifetime is up to 9000 s.
	ValidLifetime, PreferredLifetime, DeprecatedValid, RouterLifetime time.Duration
	// PrefixMemory is how long a mobile node that is gone gets the same prefix again, as long as the pool has others;
	// Quarantine is how long nobody else gets it in any case.
	PrefixMemory, Quarantine time.Duration
	// IdleTimeout is after how long without a packet the prefix of an earlier MAAR is given up.
	IdleTimeout time.Duration
	// LocalServiceDelay is how long the first advertisement of a mobile node waits for the CMD's acknowledgement (RFC 8885
	// section 3.1 has it come after); then there is local service, unless DenyWithoutDatabase.
	LocalServiceDelay   time.Duration
	DenyWithoutDatabase bool
	// MaxNodes bounds the mobile nodes with state here, MaxPreviousMAARs the prefixes of earlier MAARs for each.
	MaxNodes, MaxPreviousMAARs int
	Deregistration             Method
	// Secret keys the choice of prefixes and the identities of DLIFs. It has to stay the same over restarts.
	Secret [32]byte
	// LinkLayerPrefix is what the link-layer addresses of DLIFs begin with, the same in the whole domain: access links can tell
	// by it a frame for a router that this MAAR has yet to hear of. Zero leaves it to chance.
	LinkLayerPrefix [2]byte
	// LocalMobilityAnchor, if valid, makes this a plain mobile access gateway (RFC 5213 section 6) towards it; LMASPI names
	// the association.
	LocalMobilityAnchor netip.Addr
	LMASPI              uint32
	// Store keeps over restarts which mobile node has which prefix; nil keeps nothing.
	Store binding.Store
}

func orDefault[T time.Duration | int](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (c *Config) fill() {
	orDefault(&c.Lifetime, DefaultLifetime)
	orDefault(&c.ValidLifetime, DefaultValidLifetime)
	orDefault(&c.PreferredLifetime, min(DefaultPreferredLifetime, c.ValidLifetime))
	orDefault(&c.DeprecatedValid, DefaultDeprecatedValid)
	orDefault(&c.RouterLifetime, DefaultRouterLifetime)
	orDefault(&c.PrefixMemory, DefaultPrefixMemory)
	orDefault(&c.Quarantine, DefaultQuarantine)
	orDefault(&c.IdleTimeout, DefaultIdleTimeout)
	orDefault(&c.LocalServiceDelay, DefaultLocalServiceDelay)
	orDefault(&c.MaxNodes, DefaultMaxNodes)
	orDefault(&c.MaxPreviousMAARs, DefaultMaxPreviousMAARs)
}

// Check says what makes the configuration one that New cannot run. Fields of 0 stand for their defaults.
func (c Config) Check() error {
	c.fill()
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !mh.UnicastRoutable(c.Address) {
		wrong("MAAR address %v is no unicast routable IPv6 address", c.Address)
	}
	if c.Database.IsValid() == c.LocalMobilityAnchor.IsValid() {
		wrong("a MAAR needs either a central mobility database or a local mobility anchor")
	}
	anchor, spi := c.control()
	if anchor.IsValid() && !mh.UnicastRoutable(anchor) {
		wrong("%v is no unicast routable IPv6 address", anchor)
	}
	if _, ok := c.Associations[spi]; !ok {
		wrong("there is no security association with SPI %d for %v", spi, anchor)
	}
	peers := make(map[netip.Addr]bool)
	for _, p := range c.Peers {
		if !mh.UnicastRoutable(p.Address) || p.Address == c.Address || peers[p.Address] {
			wrong("peer %v is no unicast routable IPv6 address, listed twice, or this MAAR", p.Address)
		}
		peers[p.Address] = true
		if _, ok := c.Associations[p.SPI]; p.SPI != 0 && !ok {
			wrong("peer %v: there is no security association with SPI %d", p.Address, p.SPI)
		}
	}
	c.checkPrefixes(wrong)
	c.checkNodes(wrong)
	c.checkTimes(wrong)
	return errors.Join(problems...)
}

func (c *Config) checkPrefixes(wrong func(string, ...any)) {
	if !c.LocalMobilityAnchor.IsValid() && len(c.Pools) == 0 {
		wrong("a MAAR needs a prefix pool")
	}
	for i, p := range c.Pools {
		if !global(p) || p.Bits() > 64 || p != p.Masked() {
			wrong("pool %v is no global IPv6 prefix of at most 64 bits", p)
			continue
		}
		for _, q := range c.Pools[:i] {
			if p.Overlaps(q) {
				wrong("pools %v and %v overlap", q, p)
			}
		}
	}
	for _, p := range c.LocalPrefixes {
		if !global(p) || p != p.Masked() {
			wrong("local prefix %v is no global IPv6 prefix", p)
		}
	}
}

func (c *Config) checkNodes(wrong func(string, ...any)) {
	addresses := make(map[signaling.LinkLayerAddress]bool)
	identifiers := make(map[string]bool)
	prefixes := make(map[netip.Prefix]bool)
	for _, n := range c.Nodes {
		if !individual(n.LinkLayer) || addresses[n.LinkLayer] {
			wrong("mobile node %v: no individual link-layer address, or listed twice", n.LinkLayer)
		}
		addresses[n.LinkLayer] = true
		if len(n.Identifier) > 253 || n.Identifier != "" && identifiers[n.Identifier] {
			wrong("mobile node %v: identifier %q is too long or another's", n.LinkLayer, n.Identifier)
		}
		identifiers[n.Identifier] = true
		if !n.Prefix.IsValid() {
			continue
		}
		if !global(n.Prefix) || n.Prefix.Bits() != 64 || n.Prefix != n.Prefix.Masked() || prefixes[n.Prefix] {
			wrong("mobile node %v: %v is no global IPv6 prefix of 64 bits, or another's", n.LinkLayer, n.Prefix)
		}
		prefixes[n.Prefix] = true
	}
}

func (c *Config) checkTimes(wrong func(string, ...any)) {
	if c.Lifetime < mh.LifetimeUnit || c.Lifetime > mh.MaxLifetime {
		wrong("lifetime %v is not from %v to %v", c.Lifetime, mh.LifetimeUnit, mh.MaxLifetime)
	}
	if c.PreferredLifetime < time.Second || c.ValidLifetime < c.PreferredLifetime || c.DeprecatedValid < time.Second {
		wrong("preferred lifetime %v, valid lifetime %v and that of deprecated prefixes %v: at least 1 s, and valid not below preferred",
			c.PreferredLifetime, c.ValidLifetime, c.DeprecatedValid)
	}
	if c.RouterLifetime < time.Second || c.RouterLifetime > maxRouterLifetime {
		wrong("router lifetime %v is not from 1 s to %v", c.RouterLifetime, maxRouterLifetime)
	}
	if c.PrefixMemory < 0 || c.Quarantine < 0 || c.IdleTimeout < 0 || c.LocalServiceDelay < 0 {
		wrong("prefix memory, quarantine, idle timeout and local service delay may not be below 0")
	}
	if c.MaxNodes < 1 || c.MaxPreviousMAARs < 1 {
		wrong("at least one mobile node and one previous MAAR")
	}
	if c.Ordering > SequenceNumbers || c.Deregistration > AtExpiry {
		wrong("unknown ordering %d or method of de-registration %d", c.Ordering, c.Deregistration)
	}
}

// control is who PBUs go to, and the SPI of the association with it.
func (c *Config) control() (netip.Addr, uint32) {
	if c.LocalMobilityAnchor.IsValid() {
		return c.LocalMobilityAnchor, c.LMASPI
	}
	return c.Database, c.SPI
}

// global reports whether p may be a mobile node's prefix.
func global(p netip.Prefix) bool {
	a := p.Addr()
	return p.IsValid() && p.Bits() > 0 && a.Is6() && !a.Is4In6() && a.IsGlobalUnicast() && a.Zone() == ""
}

// individual reports whether a is one station's address (IEEE 802).
func individual(a signaling.LinkLayerAddress) bool {
	return a[0]&1 == 0 && a != signaling.LinkLayerAddress{}
}
