// Package config turns a TOML file into validated domain types. Behind it nobody sees strings, and what it returns can be
// run: everything that can be found wrong without touching the machine has been.
package config

import (
	"net/netip"
	"time"
)

// Role is what a node is.
type Role string

// The roles.
const (
	MobileNodeRole        Role = "mobile-node"
	HomeAgentRole         Role = "home-agent"
	HomeProxyRole         Role = "home-proxy"
	CorrespondentNodeRole Role = "correspondent-node"
	AccessRouterRole      Role = "maar"
	DatabaseRole          Role = "cmd"
)

// Config is one node.
type Config struct {
	Roles []Role
	// StateDirectory holds what survives a restart: the undo journal, the home agent's bindings.
	StateDirectory string
	Log            Log
	Control        Control
	// TUN is nil where the node has no TUN device.
	TUN *TUN
	// UDP is nil where the UDP transport is not in use.
	UDP *UDP
	// SegmentRouting has the kernel's segment routing encapsulate what leaves for native tunnels.
	SegmentRouting bool
	Links          []Link
	// SecurityAssociations are the RFC 4285 keys, by SPI.
	SecurityAssociations map[uint32]SecurityAssociation
	MobileNode           *MobileNode
	HomeAgent            *HomeAgent
	HomeProxy            *HomeProxy
	CorrespondentNode    *CorrespondentNode
	// AccessRouter and Database may be roles of one node.
	AccessRouter *AccessRouter
	Database     *Database
	// DMIPv6 is nil unless a mobile node picks anchors per service flow.
	DMIPv6 *DMIPv6
	// Warnings are what an operator should know of an otherwise valid file, a line each.
	Warnings []string
}

// Log says what is logged and how.
type Log struct {
	// Level is debug, info, warn or error; Format is text or json.
	Level, Format string
}

// Control is the control API.
type Control struct {
	// Socket is the path of the unix socket.
	Socket string
}

// TUN is the device by which programs of the host, or the routes of an anchor's host, reach kedge.
type TUN struct {
	Name string
	// MTU in octets, 1280 to 65535.
	MTU int
	// Offload enables checksum offload, with OffloadTCP and OffloadUDP also super-packets of the one and the other.
	Offload, OffloadTCP, OffloadUDP bool
	// ForwardByHost hands what comes out of tunnels to the host's kernel, which forwards it.
	ForwardByHost bool
}

// Link is an Ethernet interface ([[link]]).
type Link struct {
	Interface string
	// Native says that kedge has addresses of its own there; else it is an uplink for the UDP transport alone, which uses
	// the kernel's.
	Native bool
	// Autoconfigure takes addresses and routers from router advertisements (a mobile node's uplinks).
	Autoconfigure bool
	// Access makes it a link to mobile nodes without mobility software, to which kedge is a router for each.
	Access bool
	// Addresses are static addresses of kedge's own, with the prefix length of the link.
	Addresses []netip.Prefix
	// Gateway is the static default router; invalid if none.
	Gateway netip.Addr
	// KeepCareOfAddress stays with the care-of address on the links that the node moves to, while it is valid there.
	KeepCareOfAddress bool
	// Preference orders uplinks; higher wins.
	Preference int
	// Offload reads and writes super-packets with a virtio header.
	Offload bool
}

// Algorithm is an authentication algorithm of the RFC 4285 mobility message authentication option.
type Algorithm string

// The algorithms.
const (
	HMACSHA1   Algorithm = "hmac-sha1-96"
	HMACSHA256 Algorithm = "hmac-sha-256-128"
)

// SecurityAssociation is a shared key (RFC 4285 section 1.1).
type SecurityAssociation struct {
	SPI       uint32
	Algorithm Algorithm
	Key       []byte
	// TimestampWindow is the allowed difference of clocks for replay protection (RFC 4285 section 6).
	TimestampWindow time.Duration
}

// MobileNode is the mobile node role.
type MobileNode struct {
	HomeAddress netip.Addr
	HomePrefix  netip.Prefix
	// HomeAgent is the home agent's address; invalid if it is to be discovered (RFC 6275 section 11.4.1).
	HomeAgent netip.Addr
	// Transport is how the home agent is reached, over UDP by one of HomeAgentEndpoints.
	Transport          Transport
	HomeAgentEndpoints []netip.AddrPort
	// Identifier is the MN-ID (RFC 4283) as a network access identifier; empty sends none.
	Identifier string
	// Lifetime is what binding updates ask for.
	Lifetime time.Duration
	// Destinations are the prefixes that programs of the host reach through kedge; the home address always does.
	Destinations []netip.Prefix
	// SPI names the security association with the home agent; 0 with AllowUnauthenticated.
	SPI                  uint32
	AllowUnauthenticated bool
	// RouteOptimization allows return routability (RFC 6275 section 5.2) on the operator's command.
	RouteOptimization bool
	// PlainIPv6 lets programs use the host's own addresses for Destinations while no home agent answers.
	PlainIPv6 bool
}

// HomeAgent is the home agent role.
type HomeAgent struct {
	// Address is the home agent's own address, one of Links[].Addresses.
	Address netip.Addr
	// HomePrefixes are the prefixes it serves.
	HomePrefixes []netip.Prefix
	// HomeLink is the interface that is the home link; empty if the home link is virtual and the prefixes are routed here.
	HomeLink string
	// Preference in home agent lists; higher wins (RFC 6275 section 7.4).
	Preference uint16
	// MaxLifetime bounds what is granted.
	MaxLifetime time.Duration
	// KeepBindings keeps bindings in the state directory, so that they survive a restart.
	KeepBindings bool
	// PreviousCareOfTime is how long after a move tunnel packets from the care-of address before are taken; 0 for not.
	PreviousCareOfTime time.Duration
	// RefreshAdvice is the refresh interval that acknowledgements suggest, 0 for none; only without KeepBindings (RFC 6275
	// section 10.3.1).
	RefreshAdvice time.Duration
	// MaxBindings bounds the bindings in total, MaxBindingsPerMobileNode those with one identifier; 0 for no such bound.
	MaxBindings, MaxBindingsPerMobileNode int
	// MobileNodes are those that may register. With AllowAnyMobileNode others may too, within HomePrefixes.
	MobileNodes []HomeAgentMobileNode
	// Proxies are the Distributed Home-Proxies of its directory; without any it knows nothing of DMIPv6.
	Proxies              []HomeAgentProxy
	TicketLifetime       time.Duration
	AllowAnyMobileNode   bool
	AllowUnauthenticated bool
}

// HomeAgentMobileNode is one mobile node that a home agent serves.
type HomeAgentMobileNode struct {
	Identifier           string
	HomeAddress          netip.Addr
	MobileNetworks       []netip.Prefix
	SPI                  uint32
	AllowUnauthenticated bool
}
