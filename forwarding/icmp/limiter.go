package icmp

import (
	"hash/maphash"
	"net/netip"
	"time"
)

const (
	buckets = 256
	// globalFactor is how many times the rate to one address a limiter lets through to all addresses together.
	globalFactor = 100
)

// Limiter bounds how many errors are sent to each address and in all, by token buckets (RFC 4443 section 2.4 f).
// Addresses share 256 buckets by a keyed hash, so that one address cannot use up what others get, nor choose to.
type Limiter struct {
	seed             maphash.Seed
	interval, depth  time.Duration
	gInterval, gDeep time.Duration
	// Each bucket is the time at which it is full again.
	bucket [buckets]time.Duration
	global time.Duration
}

// Init sets the limits to one address: messages a second, and messages at once. Both are at least 1.
func (l *Limiter) Init(rate, burst int) {
	l.seed = maphash.MakeSeed()
	l.interval = time.Second / time.Duration(rate)
	l.depth = l.interval * time.Duration(burst-1)
	l.gInterval = l.interval / globalFactor
	l.gDeep = l.gInterval * time.Duration(burst*globalFactor-1)
}

// Allow takes a token for a message to an address at now, and reports whether there was one.
func (l *Limiter) Allow(now time.Duration, to netip.Addr) bool {
	a := to.As16()
	b := &l.bucket[maphash.Bytes(l.seed, a[:])%buckets]
	if *b-now > l.depth || l.global-now > l.gDeep {
		return false
	}
	*b = max(*b, now) + l.interval
	l.global = max(l.global, now) + l.gInterval
	return true
}
