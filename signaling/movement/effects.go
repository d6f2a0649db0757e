package movement

import (
	"net/netip"
	"time"

	"kedge/signaling"
)

// Effect is something that the machine wants done on its uplink: one of the types of this file.
type Effect interface{ effect() }

// SendRouterSolicitation sends a router solicitation to all routers.
type SendRouterSolicitation struct {
	// Source is the uplink's link-local address; invalid for the unspecified address.
	Source netip.Addr
	// LinkLayerAddress puts a source link-layer address option in. It is never asked for while Source is optimistic
	// (RFC 4429 section 3.2: "a node MUST NOT send a Router Solicitation with a SLLAO from an Optimistic Address").
	LinkLayerAddress bool
}

// Detection is what stands between an address and its use.
type Detection uint8

// The ways of duplicate address detection.
const (
	// Optimistic addresses are used at once while detection runs (RFC 4429). Section 3.2 forbids them as source of a
	// neighbour solicitation and in a router solicitation with a source link-layer address option; section 3.3 has
	// advertisements for them sent without the override flag, and solicitations for them from the unspecified
	// address taken as proof of a duplicate, not answered.
	Optimistic Detection = iota
	// Tentative addresses are not used until AddressConfirmed (RFC 4862 section 5.4).
	Tentative
	// Assigned addresses are used at once and without restriction: the operator's own, for which RFC 4429 section 3.1
	// advises against optimism and RFC 4862 section 5.1 allows a DupAddrDetectTransmits of zero. Whoever holds one
	// already is to be reported by DuplicateFound all the same.
	Assigned
)

// AddAddress gives the uplink an address, with the prefix length of its link. For an address that the uplink has already
// it starts detection anew.
type AddAddress struct {
	Address   netip.Prefix
	Detection Detection
}

// RemoveAddress takes an address away.
type RemoveAddress struct{ Address netip.Addr }

// SetRouter sets the default router; invalid for none.
type SetRouter struct{ Router netip.Addr }

// SetOnLink sets the prefixes whose addresses are neighbours.
type SetOnLink struct{ Prefixes []netip.Prefix }

// SetMTU sets the link's MTU in octets (RFC 4861 section 6.3.4).
type SetMTU struct{ MTU int }

// SetNeighborTimers sets BaseReachableTime and RetransTimer (RFC 4861 section 6.3.2); 0 leaves the default.
type SetNeighborTimers struct{ ReachableTime, RetransTimer time.Duration }

// ProbeRouter asks for neighbour unreachability detection of Router now, without waiting for traffic (RFC 6275 section
// 11.5.1). RouterUnreachable answers it if there is no answer.
type ProbeRouter struct{ Router netip.Addr }

// Attach hands the attachment to the mobile node's machine.
type Attach struct{ signaling.Attachment }

// Report adds to the event trace.
type Report struct{ signaling.Report }

// The kinds of report.
const (
	LinkUp   signaling.ReportKind = "link-up"
	LinkDown signaling.ReportKind = "link-down"
	// RouterAdvertised is of the first advertisement after the link came up, and of each from a router or with a
	// prefix not known before.
	RouterAdvertised signaling.ReportKind = "router-advertisement"
	// RouterLost is of a default router that does not answer.
	RouterLost signaling.ReportKind = "router-unreachable"
	// CareOfUsable is of the moment from which a care-of address can be a source address.
	CareOfUsable signaling.ReportKind = "care-of-address-usable"
	// AddressDuplicate is of an address that another node holds.
	AddressDuplicate signaling.ReportKind = "duplicate-address"
)

func (SendRouterSolicitation) effect() {}
func (AddAddress) effect()             {}
func (RemoveAddress) effect()          {}
func (SetRouter) effect()              {}
func (SetOnLink) effect()              {}
func (SetMTU) effect()                 {}
func (SetNeighborTimers) effect()      {}
func (ProbeRouter) effect()            {}
func (Attach) effect()                 {}
func (Report) effect()                 {}
