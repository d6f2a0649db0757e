package movement

import (
	"net/netip"
	"time"
)

// Event is something that happened to an uplink: one of the types of this file.
type Event interface{ event() }

// Carrier says that the interface gained or lost its link layer, or was attached to another link below IP, which is a
// Carrier{false} and a Carrier{true} in the same instant.
type Carrier struct{ Up bool }

// Infinite is the lifetime of all ones (RFC 4861 section 4.6.2): it never runs out.
const Infinite = 0xffffffff * time.Second

// RouterAdvertisement is a valid router advertisement (RFC 4861 section 6.1.2) in domain terms.
type RouterAdvertisement struct {
	// Router is its source address, which must be link-local.
	Router netip.Addr
	// LinkLayerKnown says that it had a source link-layer address option, so that Router need not be resolved.
	LinkLayerKnown bool
	// Lifetime is how long Router is a default router; 0 if it is not. Preference orders default routers (RFC 4191 section
	// 2.2), from -1 for low to 1 for high.
	Lifetime   time.Duration
	Preference int
	Prefixes   []PrefixInformation
	// MTU is the MTU option's, in octets; 0 if there was none.
	MTU int
	// HomeAgent is the H bit (RFC 6275 section 7.1).
	HomeAgent bool
	// Interval is the Advertisement Interval option's (RFC 6275 section 7.3): the longest time until the next
	// unsolicited advertisement; 0 if there was none.
	Interval time.Duration
	// ReachableTime and RetransTimer are 0 if unspecified.
	ReachableTime, RetransTimer time.Duration
}

// PrefixInformation is a prefix information option (RFC 4861 section 4.6.2, RFC 6275 section 7.2).
type PrefixInformation struct {
	Prefix             netip.Prefix
	OnLink, Autonomous bool
	// Valid and Preferred are lifetimes, up to Infinite.
	Valid, Preferred time.Duration
	// RouterAddress is the R bit: Address is then the router's global address.
	RouterAddress bool
	// Address is the prefix field with all its 128 bits.
	Address netip.Addr
}

// RouterUnreachable is the result of neighbour unreachability detection (RFC 4861 section 7.3).
type RouterUnreachable struct{ Router netip.Addr }

// RouterReachable is the other result; it is needed only of a router that was unreachable or not heard since the link came up.
type RouterReachable struct{ Router netip.Addr }

// DuplicateFound says that another node holds Address.
type DuplicateFound struct{ Address netip.Addr }

// AddressConfirmed says that duplicate address detection of Address ended and found nobody.
type AddressConfirmed struct{ Address netip.Addr }

// Tick is handed over when Next has come. Handling it early does no harm.
type Tick struct{}

func (Carrier) event()             {}
func (RouterAdvertisement) event() {}
func (RouterUnreachable) event()   {}
func (RouterReachable) event()     {}
func (DuplicateFound) event()      {}
func (AddressConfirmed) event()    {}
func (Tick) event()                {}
