// Package binding is the Binding Cache (RFC 6275 section 9.1) of every role that keeps one: compact entries, limits in
// total and per mobile node, expiry in order, and an optional store that makes it survive a restart.
package binding

import (
	"net/netip"
	"time"
)

// Flags are facts about a binding.
type Flags uint16

// The flags. Their values are part of the record format.
const (
	// HomeRegistration marks bindings registered at their home agent (H).
	HomeRegistration Flags = 1 << iota
	// LinkLocal says that the link-local address with the home address's interface identifier is defended too (L).
	LinkLocal
	// MobileRouter marks bindings of a mobile router (R, RFC 3963).
	MobileRouter
	// AskRefresh makes the binding due, once, RefreshLead before it expires.
	AskRefresh
	// Invalid marks a binding that is gone and only remembered for its sequence number and timestamp (RFC 6275 section
	// 10.3.2, RFC 4285 section 6).
	Invalid
)

// Binding is one entry of the cache.
type Binding struct {
	// Home is the key: a home address as a /128, or a prefix.
	Home netip.Prefix
	// CareOf is an IPv6 address, or with a Port an IPv6 or a plain IPv4 one.
	CareOf netip.Addr
	// Port is the UDP port of CareOf (RFC 5555 section 4.2); 0 if the tunnel is of IPv6 packets.
	Port uint16
	// Local is the anchor's address that datagrams to CareOf leave from; invalid without a Port.
	Local netip.Addr
	// Owner is the MN-ID (RFC 4283) of the mobile node; empty if it has none, and then no limit per mobile node applies.
	Owner string
	// Networks are the mobile network prefixes (RFC 3963) that are reached by the same care-of address.
	Networks []netip.Prefix
	Flags    Flags
	// Sequence is the last accepted sequence number.
	Sequence uint16
	// Timestamp is the last accepted RFC 4285 timestamp; 0 if there was none.
	Timestamp uint64
	// Lifetime is what was granted, at most MaxLifetime in whole units of 4 s.
	Lifetime time.Duration
	// Since is when the binding was first made, Expires when it ends.
	Since, Expires time.Time
}

// LifetimeUnit is the unit of the Lifetime fields of RFC 6275 sections 6.1.7 and 6.1.8.
const LifetimeUnit = 4 * time.Second

// MaxLifetime is the longest that fits them.
const MaxLifetime = 0xffff * LifetimeUnit

// Newer reports whether sequence number a is greater than b, modulo 2^16: b and the 32768 values before it are not (RFC
// 6275 section 9.5.1).
func Newer(a, b uint16) bool {
	d := a - b
	return d != 0 && d < 1<<15
}

// RefreshLead is how long before its end a binding with AskRefresh is due: one part in 32 of its lifetime, between 2 s and
// 10 s but at most a quarter of it. Mobile nodes refresh before that by themselves (UMIP at 95 %), so that only those
// that are late are asked.
func RefreshLead(lifetime time.Duration) time.Duration {
	return min(max(lifetime/32, 2*time.Second), 10*time.Second, lifetime/4)
}

// Due is when the cache hands the binding out as due: when it expires, or RefreshLead before with AskRefresh.
func (b *Binding) Due() time.Time {
	if b.Flags&AskRefresh != 0 {
		return b.Expires.Add(-RefreshLead(b.Lifetime))
	}
	return b.Expires
}
