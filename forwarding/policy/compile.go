package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

const (
	maxDSCP = 63
	// maxRules bounds what a policy takes to compile and keep.
	maxRules = 1 << 16
)

// Compile makes a classifier of rules in their order. Packets that none of them matches get the profile of fallback, a rule
// without conditions. An error names the rule that is wrong.
func Compile(rules []Rule, fallback Rule) (*Classifier, error) {
	if len(rules) > maxRules {
		return nil, fmt.Errorf("%d rules are more than %d", len(rules), maxRules)
	}
	for i := range rules {
		if err := rules[i].check(); err != nil {
			return nil, fmt.Errorf("rule %d (%q): %w", i, rules[i].Name, err)
		}
	}
	if err := fallback.check(); err != nil {
		return nil, fmt.Errorf("fallback rule: %w", err)
	}
	if len(fallback.Destinations)+len(fallback.Sources)+len(fallback.Protocols)+len(fallback.DestinationPorts)+
		len(fallback.SourcePorts)+len(fallback.DSCPs)+len(fallback.Users) > 0 {
		return nil, errors.New("the fallback rule has conditions")
	}
	c := &Classifier{fallback: fallback, rules: slices.Clone(rules)}
	s := newSetBuilder(len(rules))
	c.destinations = compilePrefixes(s, rules, func(r *Rule) []netip.Prefix { return r.Destinations })
	c.sources = compilePrefixes(s, rules, func(r *Rule) []netip.Prefix { return r.Sources })
	c.protocols = compileValues(s, rules, func(r *Rule) []uint8 { return r.Protocols })
	c.dscps = compileValues(s, rules, func(r *Rule) []uint8 { return r.DSCPs })
	c.destinationPorts = compilePorts(s, rules, func(r *Rule) []PortRange { return r.DestinationPorts })
	c.sourcePorts = compilePorts(s, rules, func(r *Rule) []PortRange { return r.SourcePorts })
	c.users = compileIntervals(s, rules, func(r *Rule) []UserRange { return r.Users })
	if c.users != nil {
		without := s.bitmap()
		unconditional(without, rules, func(r *Rule) []UserRange { return r.Users })
		c.anyUser = s.number(without)
	}
	c.sets = s.sets
	return c, nil
}

// unconditional adds the rules whose condition is empty, and reports whether there are others.
func unconditional[T any](b bitmap, rules []Rule, condition func(*Rule) []T) (others bool) {
	for i := range rules {
		if len(condition(&rules[i])) == 0 {
			b.add(i)
		} else {
			others = true
		}
	}
	return others
}

// prefixes give the set of an address.
type prefixes struct {
	table bart.Fast[uint32]
	none  uint32 // of addresses in none of the prefixes
}

func (t *prefixes) find(a netip.Addr) uint32 {
	if set, ok := t.table.Lookup(a); ok {
		return set
	}
	return t.none
}

func compilePrefixes(s *setBuilder, rules []Rule, condition func(*Rule) []netip.Prefix) *prefixes {
	base := s.bitmap()
	if !unconditional(base, rules, condition) {
		return nil
	}
	own := make(map[netip.Prefix][]int)
	for i := range rules {
		for _, p := range condition(&rules[i]) {
			p = p.Masked()
			own[p] = append(own[p], i)
		}
	}
	order := make([]netip.Prefix, 0, len(own))
	for p := range own {
		order = append(order, p)
	}
	// In this order all that a prefix lies in come before it, and what lies in it follows at once.
	slices.SortFunc(order, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	t := &prefixes{none: s.number(base)}
	type level struct {
		prefix netip.Prefix
		set    bitmap
	}
	around := make([]level, 0, 129)
	for _, p := range order {
		for len(around) > 0 && !around[len(around)-1].prefix.Contains(p.Addr()) {
			around = around[:len(around)-1]
		}
		set := base
		if len(around) > 0 {
			set = around[len(around)-1].set
		}
		set = slices.Clone(set)
		for _, rule := range own[p] {
			set.add(rule)
		}
		around = append(around, level{p, set})
		t.table.Insert(p, s.number(set))
	}
	return t
}

// values give the set of an octet.
type values [256]uint32

func compileValues(s *setBuilder, rules []Rule, condition func(*Rule) []uint8) *values {
	base := s.bitmap()
	if !unconditional(base, rules, condition) {
		return nil
	}
	var set [256]bitmap
	for i := range rules {
		for _, v := range condition(&rules[i]) {
			if set[v] == nil {
				set[v] = slices.Clone(base)
			}
			set[v].add(i)
		}
	}
	t, none := new(values), s.number(base)
	for v := range t {
		t[v] = none
		if set[v] != nil {
			t[v] = s.number(set[v])
		}
	}
	return t
}

// intervals give the set of a number of 32 bits: that of the last interval that begins at it or before.
type intervals struct {
	begin []uint32 // ascending, the first 0
	set   []uint32
}

func (t *intervals) find(v uint32) uint32 {
	i, found := slices.BinarySearch(t.begin, v)
	if !found {
		i--
	}
	return t.set[i]
}

// compileIntervals goes along the numbers and makes a set wherever a range begins or has ended.
func compileIntervals(s *setBuilder, rules []Rule, condition func(*Rule) []UserRange) *intervals {
	set := s.bitmap()
	if !unconditional(set, rules, condition) {
		return nil
	}
	type edge struct {
		at    uint64 // may be 2^32
		rule  int
		delta int
	}
	var edges []edge
	for i := range rules {
		for _, r := range condition(&rules[i]) {
			edges = append(edges, edge{uint64(r.First), i, 1}, edge{uint64(r.Last) + 1, i, -1})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	t := &intervals{begin: []uint32{0}, set: []uint32{s.number(set)}}
	within := make([]int, len(rules)) // in how many of its ranges, which may overlap
	for i, e := range edges {
		within[e.rule] += e.delta
		if within[e.rule] > 0 {
			set.add(e.rule)
		} else {
			set.remove(e.rule)
		}
		if e.at > 1<<32-1 || i+1 < len(edges) && edges[i+1].at == e.at {
			continue
		}
		if e.at == 0 {
			t.set[0] = s.number(set)
			continue
		}
		t.begin, t.set = append(t.begin, uint32(e.at)), append(t.set, s.number(set))
	}
	return t
}

// ports give the set of a port by its high octet and its low one.
type ports struct {
	page  [256]uint32
	pages [][256]uint32
}

func (t *ports) find(port uint16) uint32 { return t.pages[t.page[port>>8]][uint8(port)] }

func compilePorts(s *setBuilder, rules []Rule, condition func(*Rule) []PortRange) *ports {
	wide := compileIntervals(s, rules, func(r *Rule) []UserRange {
		var ranges []UserRange
		for _, p := range condition(r) {
			ranges = append(ranges, UserRange{uint32(p.First), uint32(p.Last)})
		}
		return ranges
	})
	if wide == nil {
		return nil
	}
	t := new(ports)
	known := make(map[[256]uint32]uint32)
	for high := range t.page {
		var page [256]uint32
		for low := range page {
			page[low] = wide.find(uint32(high<<8 | low))
		}
		n, ok := known[page]
		if !ok {
			n = uint32(len(t.pages))
			known[page] = n
			t.pages = append(t.pages, page)
		}
		t.page[high] = n
	}
	return t
}
