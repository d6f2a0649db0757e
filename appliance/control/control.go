// Package control is the control API of a running node: JSON over HTTP on a unix socket, and the client that the command
// line uses.
//
//	GET    /v1/status            Status
//	GET    /v1/bindings          []Binding
//	DELETE /v1/bindings/{home}   removes a binding at an anchor; 404 if there is none
//	GET    /v1/events            the event trace as server-sent events: what is remembered, then, with ?follow=1, what happens
//	GET    /v1/health            200 while sessions work, 503 with the reason while they do not
//
// Field names are part of the API and stay.
package control

import (
	"context"
	"net/netip"
	"time"
)

// Node is what the API shows of a node. Its methods may be called from any goroutine.
type Node interface {
	Status(ctx context.Context) (Status, error)
	Bindings(ctx context.Context) ([]Binding, error)
	// RemoveBinding reports whether there was one.
	RemoveBinding(ctx context.Context, home netip.Addr) (bool, error)
	Trace() *Trace
}

// Status is a node at one moment.
type Status struct {
	Version string    `json:"version"`
	Roles   []string  `json:"roles"`
	Started time.Time `json:"started"`
	// Healthy says that the node does what it is for: a mobile node is registered or at home, a home agent's links are up.
	Healthy bool `json:"healthy"`
	// Reason says why it is not.
	Reason     string            `json:"reason,omitempty"`
	MobileNode *MobileNode       `json:"mobile_node,omitempty"`
	HomeAgent  *HomeAgent        `json:"home_agent,omitempty"`
	Links      []Link            `json:"links"`
	Counters   map[string]uint64 `json:"counters"`
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
}

// HomeAgent is the state of the home agent role.
type HomeAgent struct {
	Address      netip.Addr     `json:"address"`
	HomePrefixes []netip.Prefix `json:"home_prefixes"`
	HomeLink     string         `json:"home_link,omitempty"`
	Bindings     int            `json:"bindings"`
}

// Link is one link of a node.
type Link struct {
	Name string `json:"name"`
	// Kind is tun or ethernet.
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
