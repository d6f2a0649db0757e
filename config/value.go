package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// text is an optional string or its default.
func text(s *string, otherwise string) string {
	if s == nil {
		return otherwise
	}
	return *s
}

func (r *reader) oneOf(key, found string, allowed ...string) string {
	if !slices.Contains(allowed, found) {
		r.wrong(key, "one of "+strings.Join(allowed, ", "), "%q", found)
	}
	return found
}

func (r *reader) number(key string, n *int64, otherwise, low, high int64) int64 {
	if n == nil {
		return otherwise
	}
	if *n < low || *n > high {
		r.wrong(key, fmt.Sprintf("a number from %d to %d", low, high), "%d", *n)
	}
	return *n
}

func (r *reader) duration(key string, s *string, otherwise, low, high time.Duration) time.Duration {
	if s == nil {
		return otherwise
	}
	d, err := time.ParseDuration(*s)
	if err != nil || d < low || d > high {
		r.wrong(key, fmt.Sprintf("a duration from %v to %v, such as \"%v\"", low, high, otherwise), "%q", *s)
	}
	return d
}

// address is a unicast IPv6 address that may stand in a packet on the Internet: no loopback, no zone.
func (r *reader) address(key, s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil || !globalUnicast(a) {
		r.wrong(key, "a global unicast IPv6 address", "%s", quoted(s))
		return netip.Addr{}
	}
	return a
}

func globalUnicast(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.Zone() == "" && a.IsGlobalUnicast()
}

// prefix is an IPv6 prefix with no bits set behind its length.
func (r *reader) prefix(key, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() {
		r.wrong(key, "an IPv6 prefix", "%s", quoted(s))
		return netip.Prefix{}
	}
	if p != p.Masked() {
		r.wrong(key, fmt.Sprintf("a prefix with no bits set behind its length, such as %q", p.Masked()), "%q", s)
		return netip.Prefix{}
	}
	return p
}

// prefixes are prefixes of which none overlaps another.
func (r *reader) prefixes(key string, in []string) []netip.Prefix {
	var out []netip.Prefix
	for i, s := range in {
		at := fmt.Sprintf("%s.%d", key, i)
		p := r.prefix(at, s)
		if !p.IsValid() {
			continue
		}
		if j := slices.IndexFunc(out, p.Overlaps); j >= 0 {
			r.wrong(at, "prefixes that do not overlap", "%s, which overlaps %s", p, out[j])
			continue
		}
		out = append(out, p)
	}
	return out
}

func quoted(s string) string {
	if s == "" {
		return "none"
	}
	return fmt.Sprintf("%q", s)
}

// suggestion names the known key that an unknown one most resembles, if it is near.
func suggestion(key []string) string {
	if len(key) == 0 {
		return ""
	}
	last, best, distance := key[len(key)-1], "", 3
	for _, known := range knownKeys {
		if d := editDistance(last, known); d < distance {
			best, distance = known, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (%s?)", best)
}

// editDistance is the number of octets to insert, delete or replace to make a of b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
