package fault

import "time"

// Bucket is a token bucket (RFC 4443 section 2.4 f).
type Bucket struct {
	rate   float64
	tokens float64
	last   time.Time
}

// NewBucket makes a full bucket of rate tokens, that gets as many a second.
func NewBucket(rate int) Bucket { return Bucket{rate: float64(rate), tokens: float64(rate)} }

// Take reports whether one more may be sent at now.
func (b *Bucket) Take(now time.Time) bool {
	if !b.last.IsZero() {
		b.tokens = min(b.rate, b.tokens+max(now.Sub(b.last).Seconds(), 0)*b.rate)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
