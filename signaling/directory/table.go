package directory

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// proxy is a DHP that may advertise, and what it does.
type proxy struct {
	Proxy
	association auth.Association
	entries     []*entry
	// advertised are the UDP endpoints of its advertisement, until that ends.
	advertised      []netip.AddrPort
	advertisedUntil time.Time
	// timestamp is the latest that was accepted, at accepted.
	timestamp mh.NTPTime
	accepted  time.Time
}

// entry is one prefix that a DHP advertises.
type entry struct {
	proxy            *proxy
	coverage         netip.Prefix
	preference, load uint8
	rtt              time.Duration
	expires          time.Time
}

// endpoints are where p is reached in UDP datagrams at now.
func (p *proxy) endpoints(now time.Time) []netip.AddrPort {
	if len(p.Endpoints) > 0 || !now.Before(p.advertisedUntil) {
		return p.Endpoints
	}
	return p.advertised
}

// compare puts the better entry first: by preference, RTT, load, and for the sake of order by address.
func compare(a, b *entry) int {
	// An unknown RTT, which is negative, comes after all others.
	return cmp.Or(
		cmp.Compare(b.preference, a.preference),
		cmp.Compare(uint64(a.rtt), uint64(b.rtt)),
		cmp.Compare(a.load, b.load),
		a.proxy.Address.Compare(b.proxy.Address),
	)
}

// table has the live entries by coverage, the better first.
type table struct {
	prefixes bart.Table[[]*entry]
}

// near are the entries with the longest coverage that contains cn.
func (t *table) near(cn netip.Addr) []*entry {
	if !mh.UnicastRoutable(cn) {
		return nil
	}
	entries, _ := t.prefixes.Lookup(cn)
	return entries
}

func (t *table) insert(e *entry) {
	t.prefixes.Modify(e.coverage, func(all []*entry, _ bool) ([]*entry, bool) {
		at, _ := slices.BinarySearchFunc(all, e, compare)
		return slices.Insert(all, at, e), false
	})
}

func (t *table) remove(e *entry) {
	t.prefixes.Modify(e.coverage, func(all []*entry, _ bool) ([]*entry, bool) {
		all = slices.DeleteFunc(all, func(o *entry) bool { return o == e })
		return all, len(all) == 0
	})
}

// replace makes entries all that p advertises.
func (m *Machine) replace(p *proxy, entries []*entry) {
	for _, e := range p.entries {
		m.table.remove(e)
	}
	p.entries = entries
	for _, e := range entries {
		m.table.insert(e)
	}
	m.schedule()
}

// schedule works out when the next entry expires.
func (m *Machine) schedule() {
	m.next = time.Time{}
	for _, p := range m.proxies {
		for _, e := range p.entries {
			if m.next.IsZero() || e.expires.Before(m.next) {
				m.next = e.expires
			}
		}
	}
}

// expire deletes the entries that have come to their end by now.
func (m *Machine) expire(now time.Time) {
	if m.next.IsZero() || now.Before(m.next) {
		return
	}
	for _, p := range m.proxies {
		kept := slices.DeleteFunc(slices.Clone(p.entries), func(e *entry) bool { return !now.Before(e.expires) })
		gone := len(p.entries) - len(kept)
		if gone == 0 {
			continue
		}
		m.replace(p, kept)
		m.counters.Expired += uint64(gone)
		m.do(signaling.Report{
			Kind: Expired, Peer: p.Address, Detail: fmt.Sprintf("%d coverage prefixes expired, %d are left", gone, len(kept)),
		})
	}
}

// Entry is what the control API shows of a prefix that a DHP advertises.
type Entry struct {
	DHP        netip.Addr   `json:"dhp"`
	Coverage   netip.Prefix `json:"coverage"`
	Preference uint8        `json:"preference"`
	// Load is in percent, RTT from the DHP to the coverage, negative if unknown.
	Load uint8         `json:"load"`
	RTT  time.Duration `json:"rtt"`
	// Endpoints are where the DHP is reached in UDP datagrams.
	Endpoints []netip.AddrPort `json:"endpoints,omitempty"`
	// Left is what is left of its lifetime.
	Left time.Duration `json:"left"`
}

// Entries lists what is advertised, by coverage and then the better DHP first.
func (m *Machine) Entries(now time.Time) []Entry {
	list := make([]Entry, 0, m.table.prefixes.Size())
	for coverage, entries := range m.table.prefixes.AllSorted6() {
		for _, e := range entries {
			if now.Before(e.expires) {
				list = append(list, Entry{
					DHP: e.proxy.Address, Coverage: coverage, Preference: e.preference, Load: e.load, RTT: e.rtt,
					Endpoints: e.proxy.endpoints(now), Left: e.expires.Sub(now),
				})
			}
		}
	}
	return list
}
