package config

import (
	"net/netip"
	"time"
)

// AccessRouter is the mobility anchor and access router role (MAAR, RFC 8885), or that of a mobile access gateway (MAG, RFC
// 5213) where it has a LocalMobilityAnchor.
type AccessRouter struct {
	// Address is the router's own on its core link, one of Links[].Addresses.
	Address netip.Addr
	// Database is the central mobility database's; invalid for a plain MAG.
	Database netip.Addr
	// LocalMobilityAnchor is that of a plain MAG; else invalid.
	LocalMobilityAnchor netip.Addr
	// SPI names the security association with the one or the other.
	SPI   uint32
	Peers []SignalingPeer
	// AccessLinks are the interfaces of links to mobile nodes.
	AccessLinks []string
	// Pools are what mobile nodes get a /64 each of; they are routed to Address.
	Pools         []netip.Prefix
	LocalPrefixes []netip.Prefix
	Ordering      Ordering
	// Lifetime is that of registrations, asked for.
	Lifetime                         time.Duration
	ValidLifetime, PreferredLifetime time.Duration
	// DeprecatedLifetime is the valid lifetime of prefixes of earlier MAARs.
	DeprecatedLifetime time.Duration
	RouterLifetime     time.Duration
	// PrefixMemory is how long a mobile node that has left gets the same prefix again, Quarantine how long after that
	// nobody gets it.
	PrefixMemory, Quarantine time.Duration
	// IdleTimeout is how long a prefix of an earlier MAAR may go unused.
	IdleTimeout    time.Duration
	Deregistration Deregistration
	// MaxMobileNodes bounds those attached, MaxPreviousMAARs the earlier MAARs of each.
	MaxMobileNodes, MaxPreviousMAARs int
	KeepSessions                     bool
	MobileNodes                      []AccessMobileNode
	AllowAnyMobileNode               bool
}

// Database is the central mobility database role (CMD, RFC 8885), which may serve plain MAGs as a local mobility anchor.
type Database struct {
	Address netip.Addr
	Mode    DatabaseMode
	// Routers are the MAARs and MAGs.
	Routers  []DatabaseRouter
	Ordering Ordering
	// MaxLifetime bounds registrations.
	MaxLifetime time.Duration
	// AggregationTimeout is how long a relay waits for acknowledgements of previous MAARs.
	AggregationTimeout time.Duration
	// Pacing is the least time between two messages of one fan-out.
	Pacing                        time.Duration
	MaxSessions, MaxPreviousMAARs int
	Deregistration                Deregistration
	KeepSessions                  bool
	// ServePlain answers proxy binding updates without flag D as a local mobility anchor, with home network prefixes of
	// HomePrefixes, which are routed to Address.
	ServePlain         bool
	HomePrefixes       []netip.Prefix
	MobileNodes        []DatabaseMobileNode
	AllowAnyMobileNode bool
}

// SignalingPeer is another node and the security association with it.
type SignalingPeer struct {
	Address netip.Addr
	SPI     uint32
}

// DatabaseRouter is a MAAR, or a plain MAG, that a database serves.
type DatabaseRouter struct {
	Address netip.Addr
	SPI     uint32
	// Pools are what it alone may anchor; none for a plain MAG.
	Pools []netip.Prefix
	Plain bool
}

// AccessMobileNode is a mobile node that an access router knows.
type AccessMobileNode struct {
	LinkLayer [6]byte
	// Identifier is its MN-ID as a network access identifier; empty makes one of the link-layer address.
	Identifier string
	// Prefix is the /64 that it always gets; invalid for any of the pools.
	Prefix netip.Prefix
}

// DatabaseMobileNode is a mobile node that a database knows. LinkLayer is of those that are identified by it, then
// Identifier is empty.
type DatabaseMobileNode struct {
	Identifier string
	LinkLayer  [6]byte
	// Prefix is its home network prefix with the database as a local mobility anchor; invalid for any.
	Prefix netip.Prefix
}

// Ordering says how proxy binding updates are ordered (RFC 5213 section 5.5).
type Ordering string

// The orderings.
const (
	ByTimestamp Ordering = "timestamp"
	BySequence  Ordering = "sequence"
)

// DatabaseMode is what a database does on a handoff (RFC 8885 sections 3.2 to 3.4).
type DatabaseMode string

// The modes.
const (
	Relay   DatabaseMode = "relay"
	Locator DatabaseMode = "locator"
	Proxy   DatabaseMode = "proxy"
)

// Deregistration is how a session ends that its mobile node has left (RFC 8885 section 3.5).
type Deregistration string

// The methods: previous MAARs stop their timers, or have them renewed by the database.
const (
	StopTimers  Deregistration = "stop-timers"
	RenewTimers Deregistration = "renew-timers"
)
