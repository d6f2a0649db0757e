// Package neighbor is the neighbour discovery of one Ethernet interface (RFC 4861 section 7): whom packets go to, and which
// addresses are answered for. It does no I/O and reads no clock: it is handed what arrived and what time it is, and
// returns what is to be sent and what happened.
//
// # Concurrency
//
// All methods may be called from any goroutine. Lookup, which every packet needs, takes no lock. The others hold one
// mutex; times handed to them should not go back. Addresses have no zone.
//
// # How it is driven
//
// One goroutine waits until Next, or until Wake says that Next may have come nearer, and calls Tick. Received packets for
// which nd.Is holds go to Handle. Whatever Output a method returns is sent and looked at by its caller, in order.
package neighbor

import (
	"crypto/rand"
	"io"
	"net/netip"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

// Protocol constants and defaults (RFC 4861 section 10, RFC 4862 section 5.1).
const (
	MaxMulticastSolicit       = 3
	MaxUnicastSolicit         = 3
	MaxNeighborAdvertisement  = 3
	DupAddrDetectTransmits    = 1
	DelayFirstProbeTime       = 5 * time.Second
	DefaultReachableTime      = 30 * time.Second
	DefaultRetransTimer       = time.Second
	DefaultMaxNeighbors       = 4096
	DefaultMaxIncomplete      = 256
	MaxPendingPerNeighbor     = 8
	unsolicitedReportInterval = time.Second // RFC 3810 section 9.11
)

// Config is what a table is made with. Only LinkAddress is required.
type Config struct {
	// LinkAddress is the interface's own.
	LinkAddress packet.LinkAddress
	// Router makes this node a router on the link: the R flag of its own advertisements is set, and router
	// solicitations teach neighbours (RFC 4861 section 6.2.6).
	Router bool
	// MaxNeighbors and MaxIncomplete bound the neighbours in all and those whose link-layer address is being asked for.
	MaxNeighbors, MaxIncomplete int
	// Random gives nonces and jitter; crypto/rand.Reader if nil.
	Random io.Reader
}

func (c *Config) setDefaults() {
	if c.MaxNeighbors <= 0 {
		c.MaxNeighbors = DefaultMaxNeighbors
	}
	if c.MaxIncomplete <= 0 {
		c.MaxIncomplete = DefaultMaxIncomplete
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
}

// Kind is how an address is held.
type Kind uint8

// The kinds of addresses.
const (
	// Own is an address of this node's, known to be unique or defended without asking.
	Own Kind = iota + 1
	// Optimistic is an address of this node's that is used while duplicate address detection runs (RFC 4429). It is
	// answered for without the Override flag and is no source of solicitations. It becomes Own with event Unique, or
	// is removed with event Duplicate.
	Optimistic
	// Proxy is another node's address that this node answers for with its own link-layer address and the Override flag
	// (RFC 6275 section 10.4.1).
	Proxy
	// Anycast is an address that several nodes answer for, without the Override flag (RFC 4861 section 7.2.7), at once:
	// the delay that spreads their answers is left out. Others' advertisements of it are no conflict.
	Anycast
	// Returning is the home address of a mobile node that came home while its home agent still defends it (RFC 6275
	// section 11.5.5): solicitations for it are answered by unicast alone, it is no source of solicitations, and the home
	// agent's advertisements of it are no conflict.
	Returning
	// ProxyRouter is Proxy for an address of a mobile router, whose advertisements have the Router flag (RFC 3963 section
	// 6.2): without it, the neighbours that use the mobile router as a router would stop doing so.
	ProxyRouter
)

// proxied reports whether the address is another node's.
func (k Kind) proxied() bool { return k == Proxy || k == ProxyRouter }

// Frame is a packet to be sent to a link-layer address.
type Frame struct {
	// Packet has packet.Headroom in front and belongs to the receiver.
	Packet *packet.Packet
	To     packet.LinkAddress
	// From is the source link-layer address; zero stands for the interface's own.
	From packet.LinkAddress
}

// Output is what a call asks for, in order.
type Output struct {
	Frames []Frame
	// Undeliverable are packets given to Resolve whose neighbour did not answer; they call for an ICMPv6 Destination
	// Unreachable with code 3 (RFC 4861 section 7.2.2).
	Undeliverable []*packet.Packet
	Events        []Event
	// Readdressed says that the link-layer addresses that the interface must receive frames for have changed, which those of
	// a Table never do.
	Readdressed bool
}

// Event is something that happened: one of the types below, or of those of package access.
type Event interface{ NeighborEvent() }

// NeighborReachable says that a neighbour confirmed to be reachable: its state became REACHABLE from another.
type NeighborReachable struct {
	Addr     netip.Addr
	Neighbor packet.LinkAddress
}

// NeighborUnreachable says that a neighbour did not answer address resolution or unreachability detection. It is
// forgotten.
type NeighborUnreachable struct{ Addr netip.Addr }

// RouterGone says that a neighbour that was a router is none any more (RFC 4861 section 7.2.5).
type RouterGone struct{ Addr netip.Addr }

// Unique says that Probe, or the detection of an Optimistic address, met no other holder of the address.
type Unique struct{ Addr netip.Addr }

// Duplicate says that Probe, or the detection of an Optimistic address, met another holder. An Optimistic address has been
// removed.
type Duplicate struct {
	Addr     netip.Addr
	Neighbor packet.LinkAddress
}

// Conflict says that another node advertised an address that this node holds. It is still held.
type Conflict struct {
	Addr     netip.Addr
	Neighbor packet.LinkAddress
}

// Joined and Left say that the interface must begin or stop to receive a multicast group.
type (
	Joined struct{ Group netip.Addr }
	Left   struct{ Group netip.Addr }
)

// RouterAdvertised is a valid router advertisement. The table has already learned the router's link-layer address.
type RouterAdvertised struct {
	Router   netip.Addr
	Neighbor packet.LinkAddress
	Message  *nd.RouterAdvertisement
}

// RouterSolicited is a valid router solicitation; Source may be the unspecified address.
type RouterSolicited struct {
	Source   netip.Addr
	Neighbor packet.LinkAddress
	Message  *nd.RouterSolicitation
}

// Redirected is a valid redirect. The table ignores it, since it does not know first-hop routers.
type Redirected struct {
	Router  netip.Addr
	Message *nd.Redirect
}

// NeighborEvent makes each of these types an Event.
func (NeighborReachable) NeighborEvent()   {}
func (NeighborUnreachable) NeighborEvent() {}
func (RouterGone) NeighborEvent()          {}
func (Unique) NeighborEvent()              {}
func (Duplicate) NeighborEvent()           {}
func (Conflict) NeighborEvent()            {}
func (Joined) NeighborEvent()              {}
func (Left) NeighborEvent()                {}
func (RouterAdvertised) NeighborEvent()    {}
func (RouterSolicited) NeighborEvent()     {}
func (Redirected) NeighborEvent()          {}

// Counters count what was dropped and why, since the table was made.
type Counters struct {
	// Invalid packets failed a check of nd.Parse. Looped ones were this node's own.
	Invalid, Looped uint64
	// PendingDropped packets gave way to newer ones or went with a forgotten neighbour.
	PendingDropped uint64
	// IncompleteDropped neighbours gave way while being resolved, Evicted ones while STALE, because the table was full.
	IncompleteDropped, Evicted uint64
	// Refused neighbours were not learned because nothing could give way.
	Refused uint64
}
