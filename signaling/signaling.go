// Package signaling is what every protocol role speaks in: the events that a role's state machine is handed and the
// effects that it returns. The machines are in the packages below, one per role. None reads a clock, opens a socket,
// starts a goroutine or logs: time comes with each event, and whoever runs the machine carries out its effects in order.
package signaling

import (
	"net/netip"
	"time"
)

// Machine is a protocol role. It is not safe for concurrent use.
type Machine interface {
	// Handle takes one event that happened at now and returns what is to be done, in order. now never goes back by
	// more than the host's clock does; intervals are measured on its monotonic part.
	Handle(now time.Time, event Event) []Effect
	// Next is when the machine wants a Tick at the latest; the zero time if never.
	Next() time.Time
}

// Event is something that happened to a machine: one of the types of this package whose names end the list at event().
// Roles ignore events that do not concern them.
type Event interface{ event() }

// Effect is something a machine wants done.
type Effect interface{ effect() }

// Tick is handed to a machine when its Next time has come. Handling it early does no harm.
type Tick struct{}

// Received is a Mobility Header message (RFC 6275 section 6.1) that arrived for this node.
type Received struct {
	// Source and Destination are those of the IPv6 header next to the Mobility Header.
	Source, Destination netip.Addr
	// HomeAddress is the Home Address option's (RFC 6275 section 6.3); invalid if there was none.
	HomeAddress netip.Addr
	// RoutingHome is the address in the type 2 routing header (section 6.4); invalid if there was none.
	RoutingHome netip.Addr
	// Outer is where the UDP datagram came from that carried the message (RFC 5555 section 4.2), and OuterLocal the address
	// that it was sent to; invalid if none did. IPv4 addresses are plain ones, never mapped to IPv6.
	Outer      netip.AddrPort
	OuterLocal netip.Addr
	// Payload is the Mobility Header from its Payload Proto octet to its end. Valid during Handle only.
	Payload []byte
	// Link names the link that it came in on; Tunneled says that it came through a tunnel to this node.
	Link     string
	Tunneled bool
}

// ReceivedICMP is an ICMPv6 message of Mobile IPv6 (types 144 to 147), or an ICMPv6 error (types 1 to 4) about a packet
// that this node's signalling or tunnels sent.
type ReceivedICMP struct {
	Source, Destination netip.Addr
	HomeAddress         netip.Addr
	RoutingHome         netip.Addr
	// Payload is the ICMPv6 message, whose checksum has been verified. Valid during Handle only.
	Payload []byte
	Link    string
}

// Attachment is what one uplink of a mobile node offers now. It is handed over again, whole, whenever any of it changes.
type Attachment struct {
	// Uplink names the link.
	Uplink string
	// CareOf is the care-of address in use on it; invalid while there is none.
	CareOf netip.Addr
	// CareOfUntil is when CareOf stops being valid; zero if never.
	CareOfUntil time.Time
	// Host and HostIPv4 are addresses of the host's kernel on the link, from which datagrams of the UDP transport (RFC
	// 5555) leave; invalid while there are none.
	Host, HostIPv4 netip.Addr
	// Router is the default router's address on the link.
	Router netip.Addr
	// OnLink holds the prefixes that the routers of the link say are on it.
	OnLink []netip.Prefix
	// MTU is that of the link in octets.
	MTU int
	// Preference orders uplinks; higher wins.
	Preference int
}

// DuplicateResult answers ProbeDuplicate.
type DuplicateResult struct {
	Link    string
	Address netip.Addr
	// Duplicate says that another node on the link holds the address.
	Duplicate bool
}

// UnverifiedHomeAddress is a packet other than a Mobility Header message that arrived for this node with a Home Address
// option and that no binding of forwarding bears out (RFC 6275 section 9.3.1). It has been dropped.
type UnverifiedHomeAddress struct {
	Source, Destination netip.Addr
	HomeAddress         netip.Addr
}

// HomeAgentSeen is what a valid router advertisement on a home link says of its sender as a home agent (RFC 6275 section
// 10.5.1). It is handed over for each advertisement from the link.
type HomeAgentSeen struct {
	Link string
	// Router is the link-local source of the advertisement.
	Router netip.Addr
	// Addresses are all the router's global addresses that are known and whose prefixes are still valid: those of Prefix
	// Information options with the R bit (section 7.2).
	Addresses []netip.Addr
	// Preference and Lifetime are those of the Home Agent Information option (section 7.4), or 0 and the Router Lifetime
	// without one. Lifetime is 0 if the Home Agent (H) bit is not set.
	Preference uint16
	Lifetime   time.Duration
}

// Shutdown asks a machine to end its bindings in good order; it gets Ticks until the node stops.
type Shutdown struct{}

func (Tick) event()            {}
func (Received) event()        {}
func (ReceivedICMP) event()    {}
func (Attachment) event()      {}
func (DuplicateResult) event() {}
func (Shutdown) event()        {}

func (UnverifiedHomeAddress) event() {}
func (HomeAgentSeen) event()         {}

// Send sends a Mobility Header message.
type Send struct {
	Source, Destination netip.Addr
	// HomeAddress, if valid, goes in a Home Address option, and RoutingHome in a type 2 routing header.
	HomeAddress netip.Addr
	RoutingHome netip.Addr
	// Outer, if valid, is where the message goes in a UDP datagram (RFC 5555 section 4.2), from OuterLocal. An anchor
	// answers with the addresses that the question came with.
	Outer      netip.AddrPort
	OuterLocal netip.Addr
	// Payload is the whole Mobility Header, checksum and authentication done.
	Payload []byte
	// Link names the link it must leave by; empty leaves it to the routes. Router is its next hop there.
	Link   string
	Router netip.Addr
	// Tunnel, if valid, is this node's home address (mobile node) or the mobile node's (home agent) whose tunnel
	// carries the message.
	Tunnel netip.Addr
}

// SendICMP sends an ICMPv6 message of Mobile IPv6 (types 144 to 147); the checksum in Payload is done.
type SendICMP struct {
	Source, Destination netip.Addr
	HomeAddress         netip.Addr
	RoutingHome         netip.Addr
	Payload             []byte
	Link                string
	Router              netip.Addr
	Tunnel              netip.Addr
}

// SendParameterProblem sends an ICMPv6 Parameter Problem message, code 0 (RFC 4443 section 3.4), about a Mobility Header
// message, directly to InReplyTo.Source (RFC 6275 section 9.2). It has been rate limited.
type SendParameterProblem struct {
	// InReplyTo is the message; its Payload is the effect's own copy.
	InReplyTo Received
	// Pointer is the octet at fault, counted from the first of InReplyTo.Payload; the sender adds what stood before it.
	Pointer int
}

// Bind tells forwarding that Home is reached, or speaks, through a tunnel from Local to Remote. It replaces what was
// bound to Home before.
type Bind struct {
	// Home is the home address as a /128, or a mobile network prefix (RFC 3963).
	Home netip.Prefix
	// Mobile is true on a mobile node, for addresses it holds, and false on an anchor, for addresses it serves.
	Mobile        bool
	Local, Remote netip.Addr
	// RemotePort, if not zero, is the UDP port of Remote: the tunnel is of datagrams (RFC 5555 section 4.1), and Local and
	// Remote are addresses of kernels, IPv6 or IPv4.
	RemotePort uint16
	// Native says that Home is at home: no tunnel (mobile node only).
	Native bool
	// Link and Router say where the tunnel's packets leave; empty and invalid leave it to the routes.
	Link   string
	Router netip.Addr
}

// Unbind takes a Bind back.
type Unbind struct {
	Home   netip.Prefix
	Mobile bool
}

// Defend asks for Address to be answered for in neighbour discovery on Link with this node's link-layer address (RFC 6275
// section 10.4.1 at the home agent; section 11.5.5 at a mobile node that came home). Announce also sends unsolicited
// neighbour advertisements with the override flag.
type Defend struct {
	Link     string
	Address  netip.Addr
	Announce bool
	// Router is the Router flag of the advertisements; Proxy says that packets for Address are not for this node itself.
	Router, Proxy bool
}

// Undefend takes a Defend back.
type Undefend struct {
	Link    string
	Address netip.Addr
}

// ProbeDuplicate asks for duplicate address detection (RFC 4862 section 5.4) of Address on Link.
type ProbeDuplicate struct {
	Link    string
	Address netip.Addr
}

// ReportKind names a kind of Report. The strings are part of the control API and stay.
type ReportKind string

// Report is one typed entry of the event trace, which operators, labs and tests read. Fields that do not apply are zero.
type Report struct {
	Kind ReportKind
	// Home, CareOf and Peer are the addresses it is about.
	Home, CareOf, Peer netip.Addr
	Link               string
	Sequence           uint16
	Lifetime           time.Duration
	// Status is an RFC 6275 section 6.1.8 status code, where the report is of an acknowledgement.
	Status uint8
	// Detail is for people: why, in a few words.
	Detail string
}

func (Send) effect()           {}
func (SendICMP) effect()       {}
func (Bind) effect()           {}
func (Unbind) effect()         {}
func (Defend) effect()         {}
func (Undefend) effect()       {}
func (ProbeDuplicate) effect() {}
func (Report) effect()         {}

func (SendParameterProblem) effect() {}
