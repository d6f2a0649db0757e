package homeproxy

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/homeagent"
	"kedge/signaling/mh"
	"kedge/signaling/ticket"
)

// authority is the homeagent.Authority of a DHP: a DHoA may be registered by the mobile node that it is lent to, which its
// ticket proves, and a plain mobile node's home address as with any home agent.
type authority struct {
	*Machine
	nodes homeagent.Authority
}

// ticketAssociation is the security association between a mobile node and this DHP, if there can be one: ticket, MN-ID and
// authentication option are all there, and the home agent is known.
func (m *Machine) ticketAssociation(options mh.Options) (a auth.Association, t *mh.KeyTicket, ok bool) {
	spi, signed := auth.SPI(options)
	id, identified := mh.Find[*mh.MobileNodeIdentifier](options)
	t, ticketed := mh.Find[*mh.KeyTicket](options)
	if !signed || !identified || !ticketed || t.SPI != spi || len(id.Identifier) > maxIdentifier {
		return auth.Association{}, nil, false
	}
	kd, known := m.keys[spi]
	if !known {
		return auth.Association{}, nil, false
	}
	key := ticket.SessionKey(kd.Key, m.cfg.Address, t.Expiry, id)
	return auth.Association{SPI: spi, Algorithm: auth.HMACSHA256, Key: key}, t, true
}

// expired reports whether a ticket has been for as long as clocks may differ.
func (m *Machine) expired(now time.Time, t *mh.KeyTicket) bool {
	return m.inner.Clock(now).Sub(t.Expiry) > auth.DefaultWindow
}

// Claim implements homeagent.Authority.
func (a *authority) Claim(now time.Time, update *mh.BindingUpdate, home netip.Addr) homeagent.Claim {
	association, t, ok := a.ticketAssociation(update.Options)
	if !ok {
		return a.plainClaim(now, update, home)
	}
	id, _ := mh.Find[*mh.MobileNodeIdentifier](update.Options)
	c := a.leaseClaim(now, ownerOf(association.SPI, id), home)
	c.Association, c.Known = association, true
	if a.expired(now, t) {
		c.Refused = mh.StatusTicketRefused
	}
	return c
}

// plainClaim is that of a mobile node without a ticket.
func (a *authority) plainClaim(now time.Time, update *mh.BindingUpdate, home netip.Addr) homeagent.Claim {
	id, identified := mh.Find[*mh.MobileNodeIdentifier](update.Options)
	_, signed := auth.SPI(update.Options)
	if a.cfg.AllowUnauthenticated && !signed && identified && len(id.Identifier) <= maxIdentifier && !a.nodes.Fixed(home) {
		c := a.leaseClaim(now, ownerOf(0, id), home)
		c.Unauthenticated = true
		return c
	}
	c := a.nodes.Claim(now, update, home)
	if _, _, lease := parseOwner(c.Owner); lease {
		// An MN-ID that is made to look like another mobile node's leases.
		c.Owner = ""
	}
	return c
}

// leaseClaim is what goes for owner and home, whoever says so.
func (a *authority) leaseClaim(now time.Time, owner string, home netip.Addr) homeagent.Claim {
	c := homeagent.Claim{Owner: owner, MobileRouters: true}
	p := a.poolOf(home)
	if p == nil {
		return c
	}
	c.Delegated = p.delegated(home)
	c.Networks = c.Delegated
	b, known := a.inner.Cache().Get(host(home))
	switch {
	case !a.lendable(p, home):
		c.Prohibited = "home address is none that is lent"
	case known && b.Owner != owner:
		c.Prohibited = "home address is, or was, lent to another mobile node"
	case !known && now.Sub(a.start) >= a.cfg.MaxLifetime:
		// Before that, it may be a lease that was made before the start and is not in the store.
		c.Prohibited = "home address is not lent to the mobile node"
	case !known && a.exhausts(owner):
		c.Prohibited = "mobile node has had too many home addresses of late"
	}
	return c
}

// Keeps implements homeagent.Authority.
func (a *authority) Keeps(b *binding.Binding) bool {
	spi, _, lease := parseOwner(b.Owner)
	if !lease {
		return a.nodes.Keeps(b)
	}
	_, known := a.keys[spi]
	home := b.Home.Addr()
	p := a.poolOf(home)
	return (known || spi == 0 && a.cfg.AllowUnauthenticated) && p != nil && a.lendable(p, home) &&
		slices.Equal(b.Networks, p.delegated(home))
}

// Fixed implements homeagent.Authority.
func (a *authority) Fixed(home netip.Addr) bool { return a.nodes.Fixed(home) }

// Quarantine implements homeagent.Authority.
func (a *authority) Quarantine(b *binding.Binding) time.Duration {
	if _, _, lease := parseOwner(b.Owner); !lease {
		return 0
	}
	return max(a.cfg.Quarantine, auth.Association{}.Memory())
}
