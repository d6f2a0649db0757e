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
	if !room(b, now, l.interval, l.depth) || !room(&l.global, now, l.gInterval, l.gDeep) {
		return false
	}
	*b += l.interval
	l.global += l.gInterval
	return true
}

// room reports whether a bucket has a token, and brings it up to now. A bucket further ahead than it can get is from
// before the clock went back.
func room(full *time.Duration, now, interval, depth time.Duration) bool {
	if *full < now || *full-now > depth+interval {
		*full = now
	}
	return *full-now <= depth
}
