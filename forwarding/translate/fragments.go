package translate

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"time"

	"kedge/forwarding/ip6"
)

const (
	// fragmentLifetime is how long fragments of one packet may follow the first (RFC 8200 section 4.5).
	fragmentLifetime = 60 * time.Second

	ways = 8
)

// FragmentKey identifies the packet that a fragment is of (RFC 8200 section 4.5).
type FragmentKey struct {
	Source, Destination netip.Addr
	Identification      uint32
}

// KeyOf is the key of the fragment b with header h; it reports false if b is none.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Next Header  |   Reserved    |      Fragment Offset    |Res|M|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                         Identification                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// (RFC 8200 section 4.5.)
func KeyOf(b []byte, h *ip6.Header) (FragmentKey, bool) {
	if !h.Fragmented || len(b) < ip6.HeaderLength {
		return FragmentKey{}, false
	}
	next, at := b[6], ip6.HeaderLength
	for at <= h.UpperOffset && at+ip6.FragmentHeaderLength <= len(b) {
		switch next {
		case ip6.Fragment:
			return FragmentKey{h.Source, h.Destination, binary.BigEndian.Uint32(b[at+4:])}, true
		case ip6.Authentication:
			next, at = b[at], at+8+4*int(b[at+1])
		default:
			next, at = b[at], at+8+8*int(b[at+1])
		}
	}
	return FragmentKey{}, false
}

// Fragments remembers what the first fragments of packets showed, for 60 seconds. Its size is fixed: it forgets what is
// oldest among the few that share a bucket by a keyed hash, so that nobody can choose whose is forgotten. One worker uses
// it. Its times are those since a fixed moment.
type Fragments struct {
	seed    maphash.Seed
	buckets [][ways]fragment
}

type fragment struct {
	key [36]byte
	// until is when the entry ends; 0 if there is none.
	until time.Duration
	value uint64
}

// NewFragments makes a table for n packets, rounded up to a power of two that is at least 8.
func NewFragments(n int) *Fragments {
	buckets := 1
	for buckets*ways < n {
		buckets *= 2
	}
	return &Fragments{seed: maphash.MakeSeed(), buckets: make([][ways]fragment, buckets)}
}

// Put remembers the value of a packet, in place of what there was.
func (f *Fragments) Put(now time.Duration, key FragmentKey, value uint64) {
	k, bucket := f.find(key)
	victim := &bucket[0]
	for i := range bucket {
		e := &bucket[i]
		if e.key == k {
			victim = e
			break
		}
		if !e.live(now) {
			e.until = 0
		}
		if e.until < victim.until {
			victim = e
		}
	}
	*victim = fragment{key: k, until: now + fragmentLifetime, value: value}
}

// Get returns the value of a packet and reports whether there is one.
func (f *Fragments) Get(now time.Duration, key FragmentKey) (uint64, bool) {
	k, bucket := f.find(key)
	for i := range bucket {
		if e := &bucket[i]; e.key == k && e.live(now) {
			return e.value, true
		}
	}
	return 0, false
}

// live reports whether the entry holds at now. One further ahead than it can get is from before the clock went back.
func (e *fragment) live(now time.Duration) bool {
	return e.until > now && e.until-now <= fragmentLifetime
}

func (f *Fragments) find(key FragmentKey) (k [36]byte, bucket *[ways]fragment) {
	s, d := key.Source.As16(), key.Destination.As16()
	copy(k[:], s[:])
	copy(k[16:], d[:])
	binary.BigEndian.PutUint32(k[32:], key.Identification)
	return k, &f.buckets[maphash.Bytes(f.seed, k[:])&uint64(len(f.buckets)-1)]
}
