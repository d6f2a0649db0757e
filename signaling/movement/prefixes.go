package movement

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
)

// addressState is how far an address formed by autoconfiguration has come.
type addressState uint8

const (
	// noAddress: the prefix is not for autoconfiguration, or every attempt was a duplicate.
	noAddress addressState = iota
	// tentative addresses wait for detection.
	tentative
	// optimistic addresses are in use while detection runs.
	optimistic
	// confirmed addresses are the node's.
	confirmed
)

// prefix is an entry of the prefix list (RFC 4861 section 5.1) with the address formed in it.
type prefix struct {
	prefix      netip.Prefix
	advertisers advertisers

	// onLinkUntil is when it stops being on-link; zero if never.
	onLink      bool
	onLinkUntil time.Time

	// autonomous says that an address was formed, whose lifetimes follow; zero times are never.
	autonomous                 bool
	validUntil, preferredUntil time.Time
	address                    netip.Addr
	state                      addressState
	// attempts is the DAD_Counter of RFC 7217.
	attempts uint8
}

func (p *prefix) usable() bool { return p.state == optimistic || p.state == confirmed }

func (p *prefix) deprecated(now time.Time) bool {
	return !p.preferredUntil.IsZero() && !now.Before(p.preferredUntil)
}

// advertisers is a set of routers, bounded by maxRouters.
type advertisers struct{ list []netip.Addr }

func (s *advertisers) has(a netip.Addr) bool { return slices.Contains(s.list, a) }
func (s *advertisers) empty() bool           { return len(s.list) == 0 }

func (s *advertisers) add(a netip.Addr) {
	if !s.has(a) && len(s.list) < maxRouters {
		s.list = append(s.list, a)
	}
}

func (s *advertisers) remove(a netip.Addr) {
	s.list = slices.DeleteFunc(s.list, func(x netip.Addr) bool { return x == a })
}

// learnable leaves out what is no prefix of a link: the link-local one (RFC 4862 section 5.5.3 b), multicast, and nonsense.
func learnable(p netip.Prefix) bool {
	return p.IsValid() && p.Addr().Is6() && !p.Addr().Is4In6() && p.Bits() > 0 &&
		!p.Addr().IsLinkLocalUnicast() && !p.Addr().IsMulticast() && !p.Addr().IsLoopback()
}

func (m *Machine) findPrefix(p netip.Prefix) *prefix {
	p = p.Masked()
	for i := range m.prefixes {
		if m.prefixes[i].prefix == p {
			return &m.prefixes[i]
		}
	}
	return nil
}

// learn takes one prefix information option and says whether its prefix is new.
func (m *Machine) learn(now time.Time, from netip.Addr, linkLayerKnown bool, info *PrefixInformation) (isNew bool) {
	if !learnable(info.Prefix) {
		m.counters.Invalid++
		return false
	}
	p := m.findPrefix(info.Prefix)
	if p == nil {
		if info.Valid <= 0 || !info.OnLink && !info.Autonomous {
			return false
		}
		if len(m.prefixes) == maxPrefixes {
			m.counters.PrefixesIgnored++
			return false
		}
		m.prefixes = append(m.prefixes, prefix{prefix: info.Prefix.Masked()})
		p = &m.prefixes[len(m.prefixes)-1]
		isNew = true
	}
	p.advertisers.add(from)
	if info.Valid > 0 {
		m.answered(from)
	}
	// An option without the on-link flag says nothing about the prefix being on-link (RFC 4861 section 6.3.4).
	if info.OnLink {
		p.onLink = info.Valid > 0
		p.onLinkUntil = until(now, info.Valid)
	}
	if info.Autonomous {
		m.autoconfigure(now, p, linkLayerKnown, info)
	}
	return isNew
}

// twoHours is the bound of RFC 4862 section 5.5.3 e: an unauthenticated advertisement cannot bring an address closer to
// its end than this.
const twoHours = 2 * time.Hour

// autoconfigure is RFC 4862 section 5.5.3 c to e.
func (m *Machine) autoconfigure(now time.Time, p *prefix, linkLayerKnown bool, info *PrefixInformation) {
	if info.Preferred > info.Valid || info.Prefix.Bits() != 64 {
		m.counters.Invalid++
		return
	}
	if !p.autonomous {
		if info.Valid <= 0 {
			return
		}
		p.autonomous = true
		p.validUntil = until(now, info.Valid)
		p.preferredUntil = until(now, info.Preferred)
		m.form(p, linkLayerKnown)
		return
	}
	p.preferredUntil = until(now, info.Preferred)
	remaining := Infinite
	if !p.validUntil.IsZero() {
		remaining = p.validUntil.Sub(now)
	}
	switch {
	case info.Valid > twoHours || info.Valid > remaining:
		p.validUntil = until(now, info.Valid)
	case remaining <= twoHours:
	default:
		p.validUntil = now.Add(twoHours)
	}
}

// form makes the address of a prefix. It is usable at once if the router's link-layer address is known; otherwise it would
// have to be resolved from this address, which RFC 4429 section 3.2 forbids, so "it MUST leave the address Tentative".
func (m *Machine) form(p *prefix, linkLayerKnown bool) {
	p.address = m.address(p.prefix, p.attempts)
	m.redetect(p, linkLayerKnown)
}

// redetect adds the address of a prefix, or starts its detection anew.
func (m *Machine) redetect(p *prefix, linkLayerKnown bool) {
	if !p.address.IsValid() {
		return
	}
	detection := Tentative
	p.state = tentative
	if linkLayerKnown {
		detection = Optimistic
		p.state = optimistic
	}
	m.emit(AddAddress{Address: netip.PrefixFrom(p.address, p.prefix.Bits()), Detection: detection})
}

// dropAddress takes away the address of a prefix, after the attachment without it was handed over.
func (m *Machine) dropAddress(p *prefix) {
	if p.address.IsValid() {
		m.removed = append(m.removed, p.address)
	}
	p.address, p.state, p.autonomous = netip.Addr{}, noAddress, false
}

// handleDuplicate replaces an address that another node holds by the next that RFC 7217 section 6 gives, three in all. Its
// random delay before each is against hosts in lockstep, which addresses from a secret do not run in.
func (m *Machine) handleDuplicate(a netip.Addr) {
	report := func(again bool) {
		m.counters.Duplicates++
		detail := "no other address is tried"
		if again {
			detail = "another address is tried"
		}
		m.report(signaling.Report{Kind: AddressDuplicate, Link: m.cfg.Uplink, CareOf: a, Detail: detail})
	}
	if m.linkLocal.address == a && a.IsValid() {
		report(m.nextLinkLocal())
		return
	}
	for i := range m.static {
		if s := &m.static[i]; s.prefix.Addr() == a && !s.duplicate {
			s.duplicate = true
			m.removed = append(m.removed, a)
			report(false)
			return
		}
	}
	for i := range m.prefixes {
		p := &m.prefixes[i]
		if p.address != a || !a.IsValid() {
			continue
		}
		m.emit(RemoveAddress{a})
		p.attempts++
		again := p.attempts < maxAddressAttempts
		report(again)
		p.address, p.state = netip.Addr{}, noAddress
		if again {
			m.form(p, m.anyLinkLayerKnown(p))
		}
		return
	}
}

// anyLinkLayerKnown says whether a router of the prefix can be reached without resolving its address.
func (m *Machine) anyLinkLayerKnown(p *prefix) bool {
	return slices.ContainsFunc(m.routers, func(r router) bool {
		return r.linkLayerKnown && p.advertisers.has(r.address)
	})
}

func (m *Machine) handleConfirmed(a netip.Addr) {
	if !m.up || !a.IsValid() {
		return
	}
	if m.linkLocal.address == a {
		m.linkLocal.confirmed = true
	}
	for i := range m.prefixes {
		if p := &m.prefixes[i]; p.address == a {
			p.state = confirmed
		}
	}
}

// expire drops routers, prefixes and addresses whose time has come (RFC 4861 section 6.3.5, RFC 4862 section 5.5.4).
func (m *Machine) expire(now time.Time) {
	m.routers = slices.DeleteFunc(m.routers, func(r router) bool { return !now.Before(r.until) })
	for i := range m.prefixes {
		p := &m.prefixes[i]
		if p.onLink && !p.onLinkUntil.IsZero() && !now.Before(p.onLinkUntil) {
			p.onLink = false
		}
		if p.autonomous && !p.validUntil.IsZero() && !now.Before(p.validUntil) {
			m.dropAddress(p)
		}
		if p.autonomous && p.deprecated(now) && p.address != m.last && !m.routed(p) {
			m.dropAddress(p) // nobody would bring packets to it
		}
	}
	m.prefixes = slices.DeleteFunc(m.prefixes, func(p prefix) bool { return !p.onLink && !p.autonomous })
}

// until is the end of a lifetime that starts now; zero for an infinite one.
func until(now time.Time, lifetime time.Duration) time.Time {
	if lifetime >= Infinite {
		return time.Time{}
	}
	return now.Add(lifetime)
}
