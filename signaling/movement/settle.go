package movement

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
)

// linkLocal is the uplink's link-local address, which router solicitations come from.
type linkLocal struct {
	address   netip.Addr
	confirmed bool
	attempts  uint8
}

// source is what to solicit routers from; invalid when no link-local address could be had.
func (l *linkLocal) source() netip.Addr { return l.address }

// beginLinkLocal adds the link-local address, optimistically: RFC 6275 section 11.5.1 has it checked anew on each link.
func (m *Machine) beginLinkLocal() {
	l := &m.linkLocal
	if l.attempts >= maxAddressAttempts {
		l.attempts = 0
	}
	l.address = m.address(linkLocalPrefix, l.attempts)
	l.confirmed = false
	m.emit(AddAddress{Address: netip.PrefixFrom(l.address, linkLocalPrefix.Bits()), Detection: Optimistic})
}

// nextLinkLocal replaces a duplicate and says whether it could.
func (m *Machine) nextLinkLocal() bool {
	l := &m.linkLocal
	m.emit(RemoveAddress{l.address})
	l.attempts++
	if l.attempts >= maxAddressAttempts {
		l.address, l.confirmed = netip.Addr{}, false
		return false
	}
	m.beginLinkLocal()
	return true
}

// staticAddress is an address that the operator gave.
type staticAddress struct {
	prefix    netip.Prefix
	duplicate bool
}

// settle chooses router and care-of address from what is known, and hands over what changed.
func (m *Machine) settle(now time.Time) {
	router := m.chooseRouter(now)
	careOf, careOfUntil := m.chooseCareOf(now, router)
	if router != m.router {
		m.router = router
		m.emit(SetRouter{router})
		if !router.IsValid() && m.up && m.cfg.Autoconfigure && !m.solicitation.running() {
			m.solicitation.begin(now)
		}
		if r := m.findRouter(router); r != nil && r.heard.Before(now) {
			// It may be gone for as long as the one before.
			m.emit(ProbeRouter{router})
		}
	}
	next := m.detached()
	if m.up {
		next.Router = router
		next.OnLink = m.onLink()
		next.CareOf, next.CareOfUntil = careOf, careOfUntil
		next.MTU = m.mtu
	}
	if !slices.Equal(next.OnLink, m.attachment.OnLink) {
		m.emit(SetOnLink{next.OnLink})
	}
	if careOf.IsValid() && careOf != m.careOf {
		m.report(signaling.Report{Kind: CareOfUsable, Link: m.cfg.Uplink, CareOf: careOf, Peer: router})
	}
	m.careOf = careOf
	if careOf.IsValid() {
		m.last = careOf
	}
	if changed(now, &m.attachment, &next) {
		m.attachment = next
		m.emit(Attach{next})
	}
	for _, a := range m.removed {
		// It may have been formed again meanwhile.
		if !slices.ContainsFunc(m.prefixes, func(p prefix) bool { return p.address == a }) {
			m.emit(RemoveAddress{a})
		}
	}
	m.removed = m.removed[:0]
}

func (m *Machine) detached() signaling.Attachment {
	return signaling.Attachment{Uplink: m.cfg.Uplink, MTU: m.mtu, Preference: m.cfg.Preference}
}

// changed says whether b is worth handing over after a. Each advertisement moves the end of an address's life a little;
// that matters only once it lies a quarter further than was said, or nearer.
func changed(now time.Time, a, b *signaling.Attachment) bool {
	if a.CareOf != b.CareOf || a.Router != b.Router || a.MTU != b.MTU || !slices.Equal(a.OnLink, b.OnLink) {
		return true
	}
	if a.CareOfUntil.Equal(b.CareOfUntil) {
		return false
	}
	if a.CareOfUntil.IsZero() || b.CareOfUntil.IsZero() || b.CareOfUntil.Before(a.CareOfUntil) {
		return true
	}
	return a.CareOfUntil.Sub(now) < b.CareOfUntil.Sub(now)*3/4
}

// onLink lists the prefixes that are on-link, those of the operator's addresses first. Of those that routers advertise it
// takes the default router's: another router in the list may have been heard in passing, elsewhere, and its prefixes be out
// of reach. What is on-link after all is reached through the default router too.
func (m *Machine) onLink() []netip.Prefix {
	var list []netip.Prefix
	for i := range m.static {
		if p := m.static[i].prefix.Masked(); !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	if !m.trusted {
		return list
	}
	for i := range m.prefixes {
		if p := &m.prefixes[i]; p.onLink && p.advertisers.has(m.router) && !slices.Contains(list, p.prefix) {
			list = append(list, p.prefix)
		}
	}
	return list
}
