package dmipv6

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling/mh"
)

// Source is where the candidates for a flow came from. The strings are part of the control API and stay.
type Source string

// The sources.
const (
	FromConfiguration Source = "static"
	FromCache         Source = "cache"
	FromHomeAgent     Source = "home-agent"
	FromAnycast       Source = "anycast"
)

// stayTime is for how long it holds that there is no DHP near a correspondent.
const stayTime = 60 * time.Second

// coverage is what is known of the DHPs near a prefix.
type coverage struct {
	prefix netip.Prefix
	// near are the DHPs; none says that there are none, until stayUntil.
	near      []near
	stayUntil time.Time
}

// near is a DHP that covers a prefix.
type near struct {
	proxy            netip.Addr
	preference, load uint8
	// roundTrip is from the DHP to the prefix; -1 if unknown.
	roundTrip time.Duration
	// until is when this ends; zero if never.
	until  time.Time
	source Source
}

// text is fmt.Sprintf for people, who do not want to know a duration by the nanosecond.
func text(format string, a ...any) string {
	for i := range a {
		if d, ok := a[i].(time.Duration); ok {
			a[i] = d.Round(100 * time.Microsecond)
		}
	}
	return fmt.Sprintf(format, a...)
}

func (m *Machine) addStatic(p *Proxy) {
	m.proxy(p.Address).static = p
	for _, c := range p.Coverage {
		m.cover(c.Masked(), near{proxy: p.Address, preference: p.Preference, roundTrip: -1, source: FromConfiguration})
	}
}

func (m *Machine) cover(prefix netip.Prefix, n near) {
	c := m.coverage[prefix]
	if c == nil {
		m.makeRoom()
		c = &coverage{prefix: prefix}
		m.coverage[prefix] = c
	}
	c.stayUntil = time.Time{}
	i := slices.IndexFunc(c.near, func(o near) bool {
		return o.proxy == n.proxy && (o.source == FromConfiguration) == (n.source == FromConfiguration)
	})
	if i >= 0 {
		c.near[i] = n
	} else {
		c.near = append(c.near, n)
	}
	m.expireAt(n.until)
}

// learn takes in a DHP that somebody told of.
func (m *Machine) learn(now time.Time, o *mh.DHPInformation, source Source) {
	m.proxy(o.Address)
	m.cover(o.Coverage.Masked(), near{proxy: o.Address, preference: o.Preference, load: o.Load, roundTrip: o.RTT,
		until: now.Add(o.Lifetime), source: source})
	// That there was none is out of date.
	for p, c := range m.coverage {
		if len(c.near) == 0 && o.Coverage.Contains(p.Addr()) {
			delete(m.coverage, p)
		}
	}
}

// learnStay takes in that there is no DHP near the address.
func (m *Machine) learnStay(now time.Time, address netip.Addr) {
	prefix := netip.PrefixFrom(address, 128)
	if m.coverage[prefix] == nil {
		m.makeRoom()
		m.coverage[prefix] = &coverage{prefix: prefix}
	}
	c := m.coverage[prefix]
	c.stayUntil = now.Add(stayTime)
	m.expireAt(c.stayUntil)
}

func (m *Machine) expireAt(t time.Time) {
	n := next{m.expiry}
	n.at(t)
	m.expiry = n.time
}

// until is when the last of c ends; zero if never.
func (c *coverage) until() time.Time {
	last := c.stayUntil
	for i := range c.near {
		if c.near[i].until.IsZero() {
			return time.Time{}
		}
		if c.near[i].until.After(last) {
			last = c.near[i].until
		}
	}
	return last
}

// makeRoom forgets what ends first once there is too much. What is configured stays.
func (m *Machine) makeRoom() {
	if len(m.coverage) < m.cfg.MaxCached {
		return
	}
	var first *coverage
	for _, c := range m.coverage {
		if u := c.until(); !u.IsZero() && (first == nil || u.Before(first.until())) {
			first = c
		}
	}
	if first != nil {
		delete(m.coverage, first.prefix)
		m.reconsider = true
	}
}

// expireCoverage forgets what is over.
func (m *Machine) expireCoverage(now time.Time) {
	if m.expiry.IsZero() || now.Before(m.expiry) {
		return
	}
	m.expiry = time.Time{}
	for prefix, c := range m.coverage {
		c.near = slices.DeleteFunc(c.near, func(n near) bool { return !n.until.IsZero() && !now.Before(n.until) })
		if len(c.near) == 0 && !now.Before(c.stayUntil) {
			delete(m.coverage, prefix)
			continue
		}
		for i := range c.near {
			m.expireAt(c.near[i].until)
		}
		if len(c.near) == 0 {
			m.expireAt(c.stayUntil)
		}
	}
	m.reconsider = true
}

// region is the longest prefix that a is in of which something is known.
func (m *Machine) region(a netip.Addr) (*coverage, bool) {
	for bits := 128; bits >= 0; bits-- {
		p, err := a.Prefix(bits)
		if err != nil {
			break
		}
		if c, ok := m.coverage[p]; ok {
			return c, true
		}
	}
	return nil, false
}

// nearby are the DHPs that cover all of prefix, those of longer prefixes first: the configured ones or, if there are none,
// all.
func (m *Machine) nearby(prefix netip.Prefix) []covering {
	var configured, all []covering
	seen := map[netip.Addr]bool{}
	for bits := prefix.Bits(); bits >= 0; bits-- {
		p, _ := prefix.Addr().Prefix(bits)
		c := m.coverage[p]
		if c == nil {
			continue
		}
		for _, n := range c.near {
			if n.source == FromConfiguration {
				configured = append(configured, covering{n, p})
			} else if !seen[n.proxy] {
				seen[n.proxy] = true
				all = append(all, covering{n, p})
			}
		}
	}
	if configured != nil {
		return configured
	}
	return all
}

// covering is a DHP and the prefix by which it covers something.
type covering struct {
	near
	by netip.Prefix
}
