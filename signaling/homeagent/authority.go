package homeagent

import (
	"net/netip"
	"slices"
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

// nodes is the Authority of the mobile nodes of a Config.
type nodes struct {
	cfg       *Config
	byHome    map[netip.Addr]*MobileNode
	byID      map[string]*MobileNode
	exclusive map[uint32]bool
	routers   bool
}

// Nodes is the Authority of c.MobileNodes, c.AllowAnyMobileNode, c.AllowUnauthenticated and c.Associations. c must not change
// while it is in use.
func (c *Config) Nodes() Authority {
	a := &nodes{
		cfg:       c,
		byHome:    make(map[netip.Addr]*MobileNode),
		byID:      make(map[string]*MobileNode),
		exclusive: make(map[uint32]bool),
	}
	for i := range c.MobileNodes {
		n := &c.MobileNodes[i]
		if n.HomeAddress.IsValid() {
			a.byHome[n.HomeAddress] = n
		}
		if n.Identifier != "" {
			a.byID[n.Identifier] = n
		}
		if n.SPI != 0 {
			a.exclusive[n.SPI] = true
		}
		a.routers = a.routers || len(n.MobileNetworks) > 0
	}
	return a
}

// node finds the mobile node that a request comes from: the one whose home address it is, else the one with its MN-ID; nil
// if there is none.
func (a *nodes) node(home netip.Addr, identifier *mh.MobileNodeIdentifier) *MobileNode {
	if n := a.byHome[home]; n != nil {
		return n
	}
	if identifier != nil {
		return a.byID[identifier.Identifier]
	}
	return nil
}

func (a *nodes) Claim(_ time.Time, update *mh.BindingUpdate, home netip.Addr) Claim {
	identifier, _ := mh.Find[*mh.MobileNodeIdentifier](update.Options)
	n := a.node(home, identifier)
	c := Claim{Unauthenticated: a.cfg.AllowUnauthenticated, MobileRouters: a.routers}
	if identifier != nil {
		c.Owner = identifier.Identifier
	}
	if n != nil {
		c.Unauthenticated = n.SPI == 0 && n.AllowUnauthenticated
		c.Networks = n.MobileNetworks
		if n.Identifier != "" {
			c.Owner = n.Identifier
		}
		c.Fixed = n.HomeAddress.IsValid()
	}
	if spi, signed := auth.SPI(update.Options); signed && (n == nil && !a.exclusive[spi] || n != nil && n.SPI == spi) {
		c.Association, c.Known = a.cfg.Associations[spi]
	}
	switch {
	case n == nil && !a.cfg.AllowAnyMobileNode:
		c.Prohibited = "mobile node is not known"
	case n != nil && n.HomeAddress.IsValid() && n.HomeAddress != home:
		c.Prohibited = "home address is not the mobile node's"
	case n != nil && n.Identifier != "" && identifier != nil && n.Identifier != identifier.Identifier:
		c.Prohibited = "home address is another mobile node's"
	}
	return c
}

func (a *nodes) Keeps(b *binding.Binding) bool {
	home := b.Home.Addr()
	if a.cfg.prefixOf(home) == nil {
		return false
	}
	n := a.byHome[home]
	if n == nil {
		n = a.byID[b.Owner]
	}
	if n == nil {
		return a.cfg.AllowAnyMobileNode && len(b.Networks) == 0
	}
	if n.HomeAddress.IsValid() && n.HomeAddress != home {
		return false
	}
	return !slices.ContainsFunc(b.Networks, func(p netip.Prefix) bool { return !slices.Contains(n.MobileNetworks, p) })
}

func (a *nodes) Fixed(home netip.Addr) bool { return a.byHome[home] != nil }

func (*nodes) Quarantine(*binding.Binding) time.Duration { return 0 }
