package control

import (
	"net/netip"
	"time"
)

// AccessRouter is the state of a MAAR, or of a mobile access gateway.
type AccessRouter struct {
	Address             netip.Addr     `json:"address"`
	Database            netip.Addr     `json:"database,omitzero"`
	LocalMobilityAnchor netip.Addr     `json:"local_mobility_anchor,omitzero"`
	Pools               []netip.Prefix `json:"pools,omitempty"`
	MobileNodes         int            `json:"mobile_nodes"`
}

// Database is the state of a central mobility database.
type Database struct {
	Address  netip.Addr `json:"address"`
	Mode     string     `json:"mode"`
	Routers  int        `json:"routers"`
	Sessions int        `json:"sessions"`
}

// AccessMobileNode is a mobile node that a MAAR serves, or anchors a prefix of.
type AccessMobileNode struct {
	Identifier string `json:"identifier"`
	LinkLayer  string `json:"link_layer"`
	Link       string `json:"link,omitempty"`
	// State is attaching, serving, absent, previous, leaving or denied.
	State           string         `json:"state"`
	Since           time.Time      `json:"since"`
	ServingMAAR     netip.Addr     `json:"serving_maar,omitzero"`
	Registered      bool           `json:"registered"`
	LifetimeSeconds float64        `json:"lifetime_seconds"`
	Prefixes        []AccessPrefix `json:"prefixes"`
}

// AccessPrefix is one prefix of a mobile node as a MAAR sees it. Counts are of packets to and from the mobile node.
type AccessPrefix struct {
	Prefix netip.Prefix `json:"prefix"`
	Anchor netip.Addr   `json:"anchor"`
	// Tunnel says that its packets go through a tunnel between MAARs.
	Tunnel          bool       `json:"tunnel"`
	RouterLinkLocal netip.Addr `json:"router_link_local,omitzero"`
	RouterLinkLayer string     `json:"router_link_layer,omitempty"`
	NativeIn        uint64     `json:"native_in"`
	NativeOut       uint64     `json:"native_out"`
	TunneledIn      uint64     `json:"tunneled_in"`
	TunneledOut     uint64     `json:"tunneled_out"`
	LastUsed        time.Time  `json:"last_used,omitzero"`
}

// MobilitySession is an entry of a central mobility database.
type MobilitySession struct {
	MobileNode  string `json:"mobile_node"`
	Distributed bool   `json:"distributed"`
	// Serving is the Proxy-CoA: the serving MAAR, or the mobile access gateway.
	Serving         netip.Addr       `json:"serving"`
	LifetimeSeconds float64          `json:"lifetime_seconds"`
	Sequence        uint16           `json:"sequence"`
	Prefixes        []AnchoredPrefix `json:"prefixes"`
}

// AnchoredPrefix is one prefix of a session.
type AnchoredPrefix struct {
	Prefix netip.Prefix `json:"prefix"`
	Anchor netip.Addr   `json:"anchor"`
	// Acknowledged says that the anchor knows who serves the mobile node.
	Acknowledged    bool       `json:"acknowledged"`
	RouterLinkLocal netip.Addr `json:"router_link_local,omitzero"`
	RouterLinkLayer string     `json:"router_link_layer,omitempty"`
}
