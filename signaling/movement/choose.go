package movement

import (
	"net/netip"
	"slices"
	"time"
)

// fitness is how good a care-of address a router gives.
type fitness uint8

const (
	noCareOf fitness = iota
	deprecatedCareOf
	preferredCareOf
	// keptCareOf is the one to stay with.
	keptCareOf
)

// fitnessOf is that of the best address of router's prefixes.
func (m *Machine) fitnessOf(now time.Time, router netip.Addr) fitness {
	p := m.fittest(now, router)
	switch {
	case p == nil:
		return noCareOf
	case m.cfg.KeepCareOf && p.address == m.last:
		return keptCareOf
	case p.deprecated(now):
		return deprecatedCareOf
	}
	return preferredCareOf
}

// chooseRouter keeps the default router while it is one, unless another gives a better care-of address or is of higher
// preference. Without one, it takes the one that gives the best address, of the highest preference, last heard.
func (m *Machine) chooseRouter(now time.Time) netip.Addr {
	if !m.up || !m.awaited.IsZero() {
		return netip.Addr{}
	}
	if m.trusted {
		var current, best *router
		for i := range m.routers {
			switch r := &m.routers[i]; {
			case r.unreachable || !now.Before(r.until):
			case r.address == m.router:
				current = r
			case best == nil || m.better(now, r, best):
				best = r
			}
		}
		if current != nil && (best == nil || !m.outdoes(now, best, current)) {
			best = current
		}
		if best != nil {
			return best.address
		}
	}
	if m.gateway.unreachable {
		return netip.Addr{}
	}
	return m.cfg.Gateway
}

func (m *Machine) better(now time.Time, a, b *router) bool {
	if x, y := m.fitnessOf(now, a.address), m.fitnessOf(now, b.address); x != y {
		return x > y
	}
	if a.preference != b.preference {
		return a.preference > b.preference
	}
	return a.heard.After(b.heard)
}

// outdoes says whether it is worth leaving the default router for another. One that gives no address may be about to, or
// is at home.
func (m *Machine) outdoes(now time.Time, other, current *router) bool {
	x, y := m.fitnessOf(now, other.address), m.fitnessOf(now, current.address)
	switch {
	case x == keptCareOf || y == keptCareOf:
		return y != keptCareOf
	case x < preferredCareOf || y == noCareOf:
		return false
	}
	return y == deprecatedCareOf || other.preference > current.preference
}

// otherRouter says whether another router than a could take its place.
func (m *Machine) otherRouter(now time.Time, a netip.Addr) bool {
	return slices.ContainsFunc(m.routers, func(r router) bool {
		return r.address != a && !r.unreachable && now.Before(r.until) && m.fittest(now, r.address) != nil
	})
}

// chooseCareOf keeps the care-of address while it is preferred. It only takes an address whose prefix the default router
// advertises (RFC 6275 section 11.5.4), or one of the operator's.
func (m *Machine) chooseCareOf(now time.Time, router netip.Addr) (netip.Addr, time.Time) {
	if !m.up || !router.IsValid() {
		return netip.Addr{}, time.Time{}
	}
	if m.trusted {
		if p := m.fittest(now, router); p != nil {
			return p.address, p.validUntil
		}
	}
	if router == m.cfg.Gateway {
		for i := range m.static {
			if !m.static[i].duplicate {
				return m.static[i].prefix.Addr(), time.Time{}
			}
		}
	}
	return netip.Addr{}, time.Time{}
}

// fittest is the prefix of router with the best care-of address; nil if there is none.
func (m *Machine) fittest(now time.Time, router netip.Addr) *prefix {
	var best *prefix
	for i := range m.prefixes {
		p := &m.prefixes[i]
		if p.usable() && p.advertisers.has(router) && (best == nil || m.fitter(now, p, best)) {
			best = p
		}
	}
	return best
}

// fitter says whether a makes a better care-of address than b: the one to keep, then not deprecated, then the last one in
// use, then the longest lived.
func (m *Machine) fitter(now time.Time, a, b *prefix) bool {
	used := a.address == m.last || b.address == m.last
	if used && m.cfg.KeepCareOf {
		return a.address == m.last
	}
	if x, y := a.deprecated(now), b.deprecated(now); x != y {
		return y
	}
	if used {
		return a.address == m.last
	}
	if b.validUntil.IsZero() {
		return false
	}
	return a.validUntil.IsZero() || a.validUntil.After(b.validUntil)
}
