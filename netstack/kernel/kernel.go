// Package kernel is what kedge asks of the host's kernel: addresses, routes, rules and sysctls, each written to a Journal
// before it is made and undone when kedge ends, or on its next start if it could not; a Monitor of interfaces and
// addresses; the owners of sockets; and the questions by which one finds out what the host lacks.
//
// Everything concerns the network namespace of the calling thread and uses rtnetlink, sock_diag and /proc/sys alone.
package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Protocol is the number by which kedge marks its routes and rules (rtm_protocol), so that `ip -6 route show proto 107`
// and `ip -6 rule` tell whose they are. A route or rule that does not bear it is never removed.
const Protocol = 107

// ErrInUse is what Open returns, wrapped, when another kedge has the journal open.
var ErrInUse = errors.New("journal is in use by another process")

// ErrExists is what an operation returns, wrapped, when what it is to make is there already and is not kedge's.
var ErrExists = errors.New("exists already and is not kedge's")

// ErrNoLink is what an operation returns, wrapped, for an interface that does not exist.
var ErrNoLink = errors.New("no such interface")

// SysctlError says that a sysctl could not be set.
type SysctlError struct {
	// Path is below /proc/sys with slashes, net/ipv6/conf/all/forwarding; Value is what it was to become.
	Path, Value string
	// ReadOnly says that /proc/sys is mounted read-only, as it is in most containers.
	ReadOnly bool
	Err      error
}

// Error implements error.
func (e *SysctlError) Error() string {
	if e.ReadOnly {
		return fmt.Sprintf("cannot set %s to %s: /proc/sys is read-only", e.Path, e.Value)
	}
	return fmt.Sprintf("cannot set %s to %s: %v", e.Path, e.Value, e.Err)
}

// Unwrap returns the cause.
func (e *SysctlError) Unwrap() error { return e.Err }

// Assignment is the sysctl in the form that sysctl -w and docker run --sysctl take.
func (e *SysctlError) Assignment() string { return Assignment(e.Path, e.Value) }

// Remedy is what a person can do, in a sentence.
func (e *SysctlError) Remedy() string {
	if e.ReadOnly {
		return fmt.Sprintf("start the container with --sysctl %s, or mount /proc/sys writable", e.Assignment())
	}
	return fmt.Sprintf("run as root: sysctl -w %s", e.Assignment())
}

// IPv6DisabledError says that an interface has no IPv6 because a sysctl says so.
type IPv6DisabledError struct {
	Interface string
	// Path is the sysctl, below /proc/sys with slashes, that is to become 0; empty if the kernel has no IPv6 at all.
	Path string
}

// Error implements error.
func (e *IPv6DisabledError) Error() string {
	if e.Path == "" {
		return "the kernel has no IPv6"
	}
	return fmt.Sprintf("IPv6 is disabled on %s: set %s", e.Interface, Assignment(e.Path, "0"))
}

// Remedy is what a person can do, in a sentence.
func (e *IPv6DisabledError) Remedy() string {
	if e.Path == "" {
		return "boot the kernel without ipv6.disable=1"
	}
	return fmt.Sprintf("run as root: sysctl -w %s (in a container: start it with --sysctl %[1]s)", Assignment(e.Path, "0"))
}

// Assignment writes a path of /proc/sys as sysctl does: slashes and dots change places.
func Assignment(path, value string) string {
	return strings.NewReplacer("/", ".", ".", "/").Replace(path) + "=" + value
}

// Route is an IPv6 route.
type Route struct {
	// Table is the routing table, 1 to 2^32-1.
	Table  uint32       `json:"table"`
	Prefix netip.Prefix `json:"prefix"`
	// Interface is the outgoing one. Empty makes the route a blackhole.
	Interface string `json:"interface,omitempty"`
	// Gateway is the neighbour on Interface that gets the packets; invalid where the destination is one. If it is not
	// link-local, the table or the main one has to lead to it by Interface already.
	Gateway netip.Addr `json:"gateway,omitzero"`
	// Source is the preferred source address; invalid for none.
	Source netip.Addr `json:"source,omitzero"`
	// MTU is in octets; 0 leaves it to the kernel.
	MTU int `json:"mtu,omitempty"`
	// Metric orders routes to one prefix, the lowest wins; 0 is the kernel's default, 1024.
	Metric int `json:"metric,omitempty"`
}

// Ports is a range of ports, both ends included. The zero Ports are any.
type Ports struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

// Users is a range of user ids, both ends included.
type Users struct {
	First uint32 `json:"first"`
	Last  uint32 `json:"last"`
}

// Rule is an IPv6 policy routing rule.
type Rule struct {
	// Priority orders rules; the lowest is asked first.
	Priority int `json:"priority"`
	// From and To are what the addresses of the packet must be within; invalid for any.
	From netip.Prefix `json:"from,omitzero"`
	To   netip.Prefix `json:"to,omitzero"`
	// Interface is the one that the packet must have come in by, "lo" for packets of the host's own; empty for any.
	Interface string `json:"interface,omitempty"`
	// Protocol is the upper-layer protocol; 0 for any.
	Protocol uint8 `json:"protocol,omitempty"`
	// SourcePorts and DestinationPorts are 1 to 65534: kernels know no range that takes in 65535.
	SourcePorts      Ports `json:"source_ports,omitzero"`
	DestinationPorts Ports `json:"destination_ports,omitzero"`
	// Users are those whose socket it is, each less than 2^32-1; nil for any.
	Users *Users `json:"users,omitempty"`
	// DSCP is 1 to 63; 0 for any.
	DSCP uint8 `json:"dscp,omitempty"`
	// Table is the routing table asked; 0 makes the rule a blackhole unless it has a Goto.
	Table uint32 `json:"table,omitempty"`
	// Goto, greater than Priority, is that of the rule to go on with, instead of asking a table.
	Goto int `json:"goto,omitempty"`
	// SuppressDefault ignores an answer that is a default route.
	SuppressDefault bool `json:"suppress_default,omitempty"`
}
