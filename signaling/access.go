package signaling

import (
	"fmt"
	"net/netip"
	"time"
)

// LinkLayerAddress is a 48-bit IEEE 802 address.
type LinkLayerAddress [6]byte

func (a LinkLayerAddress) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4], a[5])
}

// MobileNodeAttached says that a mobile node without mobility software is on an access link (RFC 5213 section 6.3): it was
// seen for the first time, or has just done what a host does after a change of link. It may be handed over again.
type MobileNodeAttached struct {
	Link      string
	LinkLayer LinkLayerAddress
	// Cause is for people: router solicitation, neighbour solicitation, multicast listener report, data, ...
	Cause string
}

// MobileNodeDetached says that a mobile node is not on the link any more: its link layer says so, or it does not answer.
type MobileNodeDetached struct {
	Link      string
	LinkLayer LinkLayerAddress
	Cause     string
}

// PrefixIdle says that no packet has passed for a mobile node's prefix since a time.
type PrefixIdle struct {
	Prefix netip.Prefix
	Since  time.Time
}

func (MobileNodeAttached) event() {}
func (MobileNodeDetached) event() {}
func (PrefixIdle) event()         {}

// Router is a distributed logical interface (RFC 8885 section 3.7): one router among those that a mobile node sees on its
// link, whichever MAAR serves it.
type Router struct {
	LinkLocal netip.Addr
	LinkLayer LinkLayerAddress
	// Prefix is advertised for stateless autoconfiguration, not on-link to others (RFC 5213 section 6.9.3: point-to-point).
	Prefix netip.Prefix
	// Preferred and Valid are the prefix's lifetimes; Preferred is 0 for a prefix of an earlier MAAR.
	Preferred, Valid time.Duration
	// Lifetime is the router's (RFC 4861 section 4.2).
	Lifetime time.Duration
	// LocalPrefixes are advertised as more specific routes (RFC 4191).
	LocalPrefixes []netip.Prefix
}

// Advertise has a mobile node on Link see Router, by unicast router advertisements, at once and then from time to time. It
// replaces the one before with the same prefix.
type Advertise struct {
	Link       string
	MobileNode LinkLayerAddress
	Router     Router
}

// Unadvertise takes an Advertise back: with lifetimes of 0 if Tell, else in silence.
type Unadvertise struct {
	Link       string
	MobileNode LinkLayerAddress
	Prefix     netip.Prefix
	Tell       bool
}

// BindAttached has packets to Prefix leave by Link to the mobile node there, and takes packets from the mobile node with a
// source in it. They are routed here if Remote is invalid; else they come and go through a tunnel from Local to Remote,
// the MAAR or local mobility anchor that Prefix is anchored at. It replaces what was bound to Prefix.
type BindAttached struct {
	Prefix        netip.Prefix
	Link          string
	MobileNode    LinkLayerAddress
	Local, Remote netip.Addr
}

// UnbindAttached takes a BindAttached back.
type UnbindAttached struct{ Prefix netip.Prefix }

func (Advertise) effect()      {}
func (Unadvertise) effect()    {}
func (BindAttached) effect()   {}
func (UnbindAttached) effect() {}
