// Package control is the control API of a running node: JSON over HTTP on a unix socket, and the client that the command
// line uses.
//
//	GET    /v1/status            Status
//	GET    /v1/bindings          []Binding
//	DELETE /v1/bindings/{home}   removes a binding at an anchor; 404 if there is none
//	GET    /v1/flows             []Flow of a mobile node with DMIPv6, the youngest first; ?limit=N, 1000 by default
//	GET    /v1/flows/{number}    Flow with its Decision; 404 if there is none
//	POST   /v1/flows/{number}/path?mode=M&uplink=U  moves a live flow to another communication mode or uplink
//	GET    /v1/anchors           []Anchor of a mobile node with DMIPv6
//	GET    /v1/directory         []Proxy of a home agent's directory
//	GET    /v1/mobile-nodes      []AccessMobileNode of a MAAR
//	GET    /v1/sessions          []MobilitySession of a central mobility database; ?limit=N, 1000 by default
//	DELETE /v1/sessions/{mn}     ends a mobile node's session; 404 if there is none
//	GET    /v1/events            the event trace as server-sent events: what is remembered, then, with ?follow=1, what happens
//	GET    /v1/health            200 while sessions work, 503 with the reason while they do not
//
// Field names are part of the API and stay.
package control

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Node is what the API shows of a node. Its methods may be called from any goroutine.
type Node interface {
	Status(ctx context.Context) (Status, error)
	Bindings(ctx context.Context) ([]Binding, error)
	// RemoveBinding reports whether there was one.
	RemoveBinding(ctx context.Context, home netip.Addr) (bool, error)
	// Flows lists at most limit flows, the youngest first.
	Flows(ctx context.Context, limit int) ([]Flow, error)
	// Flow is one flow with its decision; the error wraps ErrNoFlow if there is none.
	Flow(ctx context.Context, number uint64) (Flow, error)
	// SwitchFlow moves a live flow to another mode, or uplink; empty leaves it.
	SwitchFlow(ctx context.Context, number uint64, mode, uplink string) error
	Anchors(ctx context.Context) ([]Anchor, error)
	Directory(ctx context.Context) ([]Proxy, error)
	MobileNodes(ctx context.Context) ([]AccessMobileNode, error)
	// Sessions lists at most limit sessions.
	Sessions(ctx context.Context, limit int) ([]MobilitySession, error)
	// RemoveSession reports whether there was one.
	RemoveSession(ctx context.Context, mobileNode string) (bool, error)
	Trace() *Trace
}

// ErrNoFlow says that there is no flow of a number, or none that could be switched so.
var ErrNoFlow = errors.New("no such flow")

// ErrNotThisRole says that the node's role has nothing of the kind.
var ErrNotThisRole = errors.New("the node has none of that")

// Status is a node at one moment.
type Status struct {
	Version string    `json:"version"`
	Roles   []string  `json:"roles"`
	Started time.Time `json:"started"`
	// Healthy says that the node does what it is for: a mobile node is registered or at home, a home agent's links are up.
	Healthy bool `json:"healthy"`
	// Reason says why it is not.
	Reason     string      `json:"reason,omitempty"`
	MobileNode *MobileNode `json:"mobile_node,omitempty"`
	HomeAgent  *HomeAgent  `json:"home_agent,omitempty"`
	HomeProxy  *HomeProxy  `json:"home_proxy,omitempty"`
	// CorrespondentNode is the address of a correspondent node.
	CorrespondentNode netip.Addr        `json:"correspondent_node,omitzero"`
	DMIPv6            *DMIPv6           `json:"dmipv6,omitempty"`
	AccessRouter      *AccessRouter     `json:"access_router,omitempty"`
	Database          *Database         `json:"database,omitempty"`
	Links             []Link            `json:"links"`
	Counters          map[string]uint64 `json:"counters"`
}

// MobileNode is the state of the mobile node role.
type MobileNode struct {
	// State is one of the words of the mobile node machine: unattached, registering, registered, at-home, refused, ...
	State           string     `json:"state"`
	HomeAddress     netip.Addr `json:"home_address"`
	CareOf          netip.Addr `json:"care_of,omitzero"`
	Uplink          string     `json:"uplink,omitempty"`
	HomeAgent       netip.Addr `json:"home_agent,omitzero"`
	LifetimeSeconds float64    `json:"lifetime_seconds"`
	Sequence        uint16     `json:"sequence"`
	RTTMilliseconds float64    `json:"rtt_milliseconds,omitempty"`
	LastError       string     `json:"last_error,omitempty"`
	Path
}

// HomeAgent is the state of the home agent role.
type HomeAgent struct {
	Address      netip.Addr     `json:"address"`
	HomePrefixes []netip.Prefix `json:"home_prefixes"`
	HomeLink     string         `json:"home_link,omitempty"`
	Bindings     int            `json:"bindings"`
}

// HomeProxy is the state of the Distributed Home-Proxy role.
type HomeProxy struct {
	Address     netip.Addr     `json:"address"`
	Pools       []netip.Prefix `json:"pools"`
	Leases      int            `json:"leases"`
	LoadPercent int            `json:"load_percent"`
	Coverage    []Covered      `json:"coverage"`
	HomeAgents  []Advertised   `json:"home_agents"`
}

// Covered is a network near a proxy. The round trip is below 0 if not known.
type Covered struct {
	Prefix                netip.Prefix `json:"prefix"`
	RoundTripMilliseconds float64      `json:"round_trip_milliseconds"`
}

// Advertised is a home agent that a proxy advertises itself to.
type Advertised struct {
	HomeAgent netip.Addr `json:"home_agent"`
	// Acknowledged says that the home agent took the last advertisement.
	Acknowledged bool   `json:"acknowledged"`
	Detail       string `json:"detail,omitempty"`
}

// DMIPv6 is the state of a mobile node's choice of anchors.
type DMIPv6 struct {
	// State says whether new flows get an anchor of their own, or why not.
	State   string `json:"state"`
	Flows   int    `json:"flows"`
	Held    int    `json:"held"`
	Anchors int    `json:"anchors"`
}

// Proxy is an entry of a home agent's directory.
type Proxy struct {
	Address               netip.Addr   `json:"address"`
	Coverage              netip.Prefix `json:"coverage"`
	RoundTripMilliseconds float64      `json:"round_trip_milliseconds"`
	Preference            uint8        `json:"preference"`
	LoadPercent           uint8        `json:"load_percent"`
	LifetimeSeconds       float64      `json:"lifetime_seconds"`
}

// Link is one link of a node.
type Link struct {
	Name string `json:"name"`
	// Kind is tun, ethernet, udp or seg6.
	Kind string `json:"kind"`
	Up   bool   `json:"up"`
	// Absent says that there is no interface of that name; the node waits for it.
	Absent bool `json:"absent,omitempty"`
	MTU    int  `json:"mtu"`
	// Addresses are kedge's own on it.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Router    netip.Addr   `json:"router,omitzero"`
}

// Binding is one entry of a home agent's binding cache, or of a mobile node's binding update list.
type Binding struct {
	Home            netip.Prefix `json:"home"`
	CareOf          netip.Addr   `json:"care_of"`
	Peer            netip.Addr   `json:"peer,omitzero"`
	Identifier      string       `json:"identifier,omitempty"`
	LifetimeSeconds float64      `json:"lifetime_seconds"`
	Sequence        uint16       `json:"sequence"`
	Since           time.Time    `json:"since,omitzero"`
	State           string       `json:"state"`
	Path
}

// Path is how the other end of a binding is reached.
type Path struct {
	// Transport is native or udp; empty while there is no binding.
	Transport string `json:"transport,omitempty"`
	// Endpoint is the other end's address and port over UDP, Local this end's address.
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`
	Local    netip.Addr     `json:"local,omitzero"`
	// NAT says that there is one on the way; a mobile node refreshes its mapping each KeepaliveSeconds.
	NAT              bool    `json:"nat,omitempty"`
	KeepaliveSeconds float64 `json:"keepalive_seconds,omitempty"`
}

// Event is one entry of the event trace.
type Event struct {
	// Number counts the node's events from 1.
	Number          uint64     `json:"number"`
	Time            time.Time  `json:"time"`
	Kind            string     `json:"kind"`
	Home            netip.Addr `json:"home,omitzero"`
	CareOf          netip.Addr `json:"care_of,omitzero"`
	Peer            netip.Addr `json:"peer,omitzero"`
	Link            string     `json:"link,omitempty"`
	Sequence        uint16     `json:"sequence,omitzero"`
	LifetimeSeconds float64    `json:"lifetime_seconds,omitzero"`
	Status          uint8      `json:"status,omitzero"`
	Detail          string     `json:"detail,omitempty"`
}
