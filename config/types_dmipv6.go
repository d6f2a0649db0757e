package config

import (
	"net/netip"
	"time"
)

// HomeAgentProxy is a Distributed Home-Proxy that may advertise itself to a home agent.
type HomeAgentProxy struct {
	Address netip.Addr
	// Endpoints are told to mobile nodes where the proxy does not advertise its own.
	Endpoints []netip.AddrPort
	// SPI names the key that the two share.
	SPI uint32
	// Coverage is what it may advertise: these prefixes and all within them.
	Coverage []netip.Prefix
}

// HomeProxy is the Distributed Home-Proxy role.
type HomeProxy struct {
	// Address is the proxy's own, one of Links[].Addresses.
	Address netip.Addr
	// Pools are what it lends Distributed Home Addresses of; the prefixes are routed here.
	Pools []Pool
	// Coverage are the networks near it.
	Coverage   []Coverage
	HomeAgents []HomeProxyHomeAgent
	// Preference among proxies of equal round trip; higher wins.
	Preference uint8
	// MaxLifetime bounds leases; Quarantine is how long an address rests before it is lent again.
	MaxLifetime, Quarantine time.Duration
	AdvertisementInterval   time.Duration
	KeepBindings            bool
	// PreviousCareOfTime is how long after a move tunnel packets from the care-of address before are taken; 0 for not.
	PreviousCareOfTime time.Duration
	// MaxBindings bounds the leases in total, MaxBindingsPerMobileNode those of one mobile node; 0 for no such bound.
	MaxBindings, MaxBindingsPerMobileNode int
	// MobileNodes are plain RFC 6275 mobile nodes that may register a home address of a pool.
	MobileNodes []HomeAgentMobileNode
	Anycast     bool
}

// Pool is a prefix of a Distributed Home-Proxy and the length of what it lends of it, 64 or 128.
type Pool struct {
	Prefix netip.Prefix
	Lend   int
}

// Coverage is a network that a Distributed Home-Proxy is near to. Probe is what it measures the round trip to; invalid for
// none.
type Coverage struct {
	Prefix netip.Prefix
	Probe  netip.Addr
}

// HomeProxyHomeAgent is a home agent that a proxy advertises itself to.
type HomeProxyHomeAgent struct {
	Address netip.Addr
	SPI     uint32
}

// CorrespondentNode is the route-optimising correspondent node role (RFC 6275 section 9).
type CorrespondentNode struct {
	// Address is kedge's own on Link, by which programs of the host are reached.
	Address     netip.Addr
	Link        string
	MaxBindings int
}

// DMIPv6 is a mobile node's choice of an anchor per service flow.
type DMIPv6 struct {
	// UseHomeAgent asks the home agent's directory, Anycast the networks of correspondents themselves.
	UseHomeAgent, Anycast bool
	// SourceHints has the host hold addresses of its own for regions that are known.
	SourceHints bool
	// Transport is how Distributed Home-Proxies are reached of which others tell.
	Transport Transport
	Lifetime  time.Duration
	// HoldTime is how long a new flow's first packets wait for its anchor at most.
	HoldTime time.Duration
	// IdleTime is how long an address is kept after its last flow.
	IdleTime     time.Duration
	GracefulTime time.Duration
	Heartbeat    time.Duration
	// MaxFlows bounds the flow table, MaxAnchors the addresses held at a time.
	MaxFlows, MaxAnchors int
	// Rules are in order, the first that matches counts. The last matches everything.
	Rules   []Rule
	Proxies []DMIPv6Proxy
}

// Class is a class of RFC 8653 section 4.
type Class string

// The classes.
const (
	Fixed               Class = "fixed"
	SessionLasting      Class = "session-lasting"
	GracefulReplacement Class = "graceful-replacement"
	NonPersistent       Class = "non-persistent"
)

// Rule gives flows a class. Empty selectors match everything.
type Rule struct {
	Name             string
	Class            Class
	Destinations     []netip.Prefix
	Protocols        []uint8
	DestinationPorts []Range
	SourcePorts      []Range
	// DSCPs are 6-bit code points (RFC 2474).
	DSCPs []uint8
	// Users are user identifiers of the host.
	Users []Range
	// MaxRoundTrip and MaxLoss bound what an access network and an anchor may cost the flow; 0 is no bound. Loss is a
	// share from 0 to 1.
	MaxRoundTrip time.Duration
	MaxLoss      float64
}

// Range is a range of numbers, both ends included.
type Range struct{ First, Last uint32 }

// DMIPv6Proxy is a Distributed Home-Proxy that needs no directory.
type DMIPv6Proxy struct {
	Address netip.Addr
	// Transport is how it is reached, over UDP by one of Endpoints.
	Transport  Transport
	Endpoints  []netip.AddrPort
	Coverage   []netip.Prefix
	Preference uint8
}
