// Package access is the neighbour discovery of an access link: one Ethernet interface on which a mobile access gateway or
// MAAR is, to each mobile node, the routers that this mobile node has and no others (the point-to-point link model of RFC
// 5213 section 6.5 on a shared link; the distributed logical interfaces of RFC 8885 section 3.7). A mobile node is an
// unmodified host, known by its link-layer address. The package does no I/O and reads no clock.
//
// # What a host sees
//
// Each Router served to a host has a link-local and a link-layer address of its own. It advertises itself to that host by
// frames to that host only, as do its neighbour advertisements. Prefixes are not on-link, so that hosts reach each other
// through their routers and solicit no other host. What a host asks of other hosts' routers, or of other hosts, is not
// answered.
//
// # Attachment and departure
//
// A host of which nothing was known has attached: event Attached, at once. One that is known has attached again if it shows
// itself while no router is served to it, after it had departed or for the first time, or if it solicits routers or neighbours, reports groups
// or advertises itself, as hosts do after a change of link, having been silent for SilenceTime. Repetitions are damped,
// not lost: an event waits until RepeatInterval after the last one of the same host, and while nobody serves the host the
// interval doubles each time up to MaxRepeatInterval.
//
// A host has departed, event Departed, when the interface loses its carrier, when somebody says so, or when it was silent
// for IdleTime and then did not answer MaxUnicastSolicit solicitations of its router. The routers of a host that has
// departed are there again when it comes back, until they are withdrawn. A host that nobody serves is forgotten when it was
// silent for ForgetTime.
//
// # Concurrency
//
// All methods may be called from any goroutine. LinkAddresses, Receives, Heard and Owner, which packets need, take no lock
// and do not allocate. The others hold one mutex; times handed to them should not go back. Addresses have no zone.
//
// # How it is driven
//
// By an ethernet.Link, to which it is attached. Outputs of methods that the owner calls go to its Perform.
package access

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

// Defaults of Config, and limits.
const (
	DefaultInterval     = 30 * time.Second
	DefaultIdleTime     = 10 * time.Second
	DefaultRetransTimer = time.Second
	DefaultMaxHosts     = 4096
	DefaultMaxStrangers = 512
	DefaultStrangerRate = 100

	MaxUnicastSolicit = 3 // RFC 4861 section 10
	SilenceTime       = 3 * time.Second
	RepeatInterval    = time.Second
	MaxRepeatInterval = 64 * time.Second
	ForgetTime        = 30 * time.Second
	// MinDelayBetweenAdvertisements spaces what one router sends to one host, however often that solicits.
	MinDelayBetweenAdvertisements = 100 * time.Millisecond
	// MaxAddresses is how many addresses of a host are remembered.
	MaxAddresses = 8
	// MaxLocalPrefixes keeps an advertisement within the minimum MTU.
	MaxLocalPrefixes = 32
)

// Config is what a table is made with. Only LinkAddress is required.
type Config struct {
	// LinkAddress is the interface's own.
	LinkAddress packet.LinkAddress
	// MTU is advertised to hosts, in octets; 0 leaves it out.
	MTU int
	// Interval is the longest time between two advertisements of a router; a quarter of the lifetimes that it advertises
	// if that is shorter.
	Interval time.Duration
	// IdleTime is for how long a host may be silent before it is asked whether it is there. It is asked between one and two
	// IdleTimes after its last frame.
	IdleTime time.Duration
	// RetransTimer is the time between two such questions.
	RetransTimer time.Duration
	// MaxHosts bounds the hosts in all. While MaxStrangers or more have no router served to them, the one of these heard of
	// longest ago gives way to a new host.
	MaxHosts, MaxStrangers int
	// StrangerRate bounds the hosts a second, and at once, that are reported as attached while nothing was known of them:
	// whoever makes up link-layer addresses makes others no work beyond that.
	StrangerRate int
	// Random gives jitter and keys; crypto/rand.Reader if nil.
	Random io.Reader
}

func (c *Config) setDefaults() {
	setDefault(&c.Interval, DefaultInterval)
	setDefault(&c.IdleTime, DefaultIdleTime)
	setDefault(&c.RetransTimer, DefaultRetransTimer)
	setDefault(&c.MaxHosts, DefaultMaxHosts)
	setDefault(&c.MaxStrangers, DefaultMaxStrangers)
	setDefault(&c.StrangerRate, DefaultStrangerRate)
	if c.Random == nil {
		c.Random = rand.Reader
	}
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Router is a router as one host sees it.
type Router struct {
	// LinkLocal is where its advertisements come from.
	LinkLocal netip.Addr
	// LinkLayer is its link-layer address; zero is the interface's own.
	LinkLayer packet.LinkAddress
	// Prefix is the host's: a /64 advertised for autoconfiguration and not on-link.
	Prefix netip.Prefix
	// Preferred and Valid are the prefix's lifetimes in whole seconds up to nd.Infinity. A router whose prefix is not
	// preferred has low preference (RFC 4191), so that hosts favour the others.
	Preferred, Valid time.Duration
	// Lifetime is the router's as a default router, up to 65,535 s in whole seconds.
	Lifetime time.Duration
	// LocalPrefixes are advertised as routes with the same lifetime.
	LocalPrefixes []netip.Prefix
}

// ErrInvalid is returned, wrapped, for a Router or a mobile node that cannot be served.
var ErrInvalid = errors.New("cannot be served on an access link")

func (r *Router) check() error {
	a := r.Prefix.Addr()
	switch {
	case !r.LinkLocal.Is6() || !r.LinkLocal.IsLinkLocalUnicast():
		return fmt.Errorf("router address %v: %w: not link-local", r.LinkLocal, ErrInvalid)
	case r.LinkLayer[0]&1 != 0:
		return fmt.Errorf("router link-layer address %x: %w: a group", r.LinkLayer, ErrInvalid)
	case !a.Is6() || a.Is4In6() || r.Prefix.Bits() != 64 || r.Prefix != r.Prefix.Masked() || a.IsLinkLocalUnicast() ||
		a.IsMulticast() || a.IsUnspecified():
		return fmt.Errorf("prefix %v: %w: not a unicast /64", r.Prefix, ErrInvalid)
	case r.Preferred < 0 || r.Valid < r.Preferred || r.Lifetime < 0:
		return fmt.Errorf("lifetimes %v, %v, %v: %w", r.Preferred, r.Valid, r.Lifetime, ErrInvalid)
	case len(r.LocalPrefixes) > MaxLocalPrefixes:
		return fmt.Errorf("%d local prefixes: %w: more than %d", len(r.LocalPrefixes), ErrInvalid, MaxLocalPrefixes)
	}
	for _, p := range r.LocalPrefixes {
		if !p.IsValid() || !p.Addr().Is6() {
			return fmt.Errorf("local prefix %v: %w: not IPv6", p, ErrInvalid)
		}
	}
	return nil
}

// Cause is what an event was concluded from.
type Cause uint8

// The causes of Attached, and after them those of Departed.
const (
	RouterSolicitation Cause = iota + 1
	NeighborSolicitation
	NeighborAdvertisement
	ListenerReport
	Data
	LinkUp // the host's link layer says so

	CarrierLost // by the interface
	Unreachable
	LinkDown // the host's link layer says so
)

var causes = [...]string{
	RouterSolicitation: "router solicitation", NeighborSolicitation: "neighbour solicitation",
	NeighborAdvertisement: "neighbour advertisement", ListenerReport: "multicast listener report", Data: "data",
	LinkUp: "link up", CarrierLost: "carrier lost", Unreachable: "unreachable", LinkDown: "link down",
}

func (c Cause) String() string {
	if int(c) < len(causes) && causes[c] != "" {
		return causes[c]
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

// Attached says that a host has attached, or may have attached again.
type Attached struct {
	LinkLayer packet.LinkAddress
	// LinkLocal is invalid if it is not known yet.
	LinkLocal netip.Addr
	Cause     Cause
}

// Departed says that a host that was there, as Attached or Serve said, is there no more.
type Departed struct {
	LinkLayer packet.LinkAddress
	Cause     Cause
}

// Contested says that a host claims the address of a router that is served to Victim. The address is defended; this event
// comes at most once in RepeatInterval for each victim.
type Contested struct {
	Address           netip.Addr
	LinkLayer, Victim packet.LinkAddress
}

// NeighborEvent makes each of these types an event of package neighbor.
func (Attached) NeighborEvent()  {}
func (Departed) NeighborEvent()  {}
func (Contested) NeighborEvent() {}

var _ = [...]neighbor.Event{Attached{}, Departed{}, Contested{}}

// Counters count what was passed over and why, since the table was made.
type Counters struct {
	// Invalid packets failed a check of nd.Parse. Looped ones came from link-layer addresses of this node's own or of no
	// single node.
	Invalid, Looped uint64
	// Foreign solicitations were for an address that is none of the asking host's routers'.
	Foreign uint64
	// Rogue messages were router advertisements and redirects, which no host may send.
	Rogue uint64
	// Contested messages claimed a router's address.
	Contested uint64
	// Damped attachments were reported late, Unreported ones not at all, because too many strangers came at once.
	Damped, Unreported uint64
	// Evicted hosts gave way to others, Refused ones found nobody who could give way.
	Evicted, Refused uint64
	// Undeliverable packets were for no host that is served.
	Undeliverable uint64
}

// Host is what is known of a host, for people.
type Host struct {
	LinkLayer packet.LinkAddress
	Present   bool
	// Addresses are those that it was seen to use, link-local ones and those of its prefixes.
	Addresses []netip.Addr
	Routers   []Router
}
