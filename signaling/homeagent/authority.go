package homeagent

import (
	"net/netip"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
)

// Authority says who may register which home address, and with which key. The mobile nodes that a Config lists are one; a
// Distributed Home-Proxy has another one, on top of it.
type Authority interface {
	// Claim is what goes for the mobile node that sent update for home. The update is not authentic yet, so that nothing
	// may be kept of it.
	Claim(now time.Time, update *mh.BindingUpdate, home netip.Addr) Claim
	// Keeps reports whether a binding that the store had could still be registered.
	Keeps(b *binding.Binding) bool
	// Fixed reports whether a is the home address of a certain mobile node, be it bound or not.
	Fixed(a netip.Addr) bool
	// Quarantine is how long b, which ends, is remembered at least, so that nobody else gets its home address; 0 if no
	// longer than delayed and replayed Binding Updates ask for.
	Quarantine(b *binding.Binding) time.Duration
}

// Claim is what an Authority has to say about a Binding Update.
type Claim struct {
	// Owner is the name that the mobile node's bindings are counted under; empty if they are not.
	Owner string
	// Association is that of the update's SPI, if Known.
	Association auth.Association
	Known       bool
	// Unauthenticated lets an update without authentication option pass.
	Unauthenticated bool
	// Refused is what an update that proves to be made with Association gets even so, because that is not to be used any
	// more; 0 if nothing is wrong with it.
	Refused mh.Status
	// Prohibited says why the mobile node may not have the home address; empty if it may.
	Prohibited string
	// Fixed says that the home address is the mobile node's by name.
	Fixed bool
	// MobileRouters says that there are mobile routers (RFC 3963) at all. Networks are those of this mobile node, and
	// Delegated those that come with its home address unasked.
	MobileRouters       bool
	Networks, Delegated []netip.Prefix
}
