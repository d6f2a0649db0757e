package homeproxy

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"

	"kedge/signaling/binding"
)

const (
	// draws is how often an address is drawn at random before the pool is searched, and searched how many are looked at
	// then: a larger pool with none free among so many is as good as full.
	draws    = 64
	searched = 1 << 16
	// delegatedIdentifier is the interface identifier of the home address in a delegated prefix. It is always the same, so
	// that the home address names the prefix.
	delegatedIdentifier = 1
)

// pool is a Pool at work.
type pool struct {
	Pool
	// full says that it was searched in vain when so many bindings had been deleted.
	full   bool
	fullAt uint64
}

// size is how many leases the pool has room for, not counting reserved interface identifiers.
func (p *pool) size() float64 { return math.Ldexp(1, p.Lend-p.Prefix.Bits()) }

// home is the home address that a belongs to: itself, or that of its delegated prefix.
func (p *pool) home(a netip.Addr) netip.Addr {
	if p.Lend == 128 {
		return a
	}
	b := a.As16()
	binary.BigEndian.PutUint64(b[8:], delegatedIdentifier)
	return netip.AddrFrom16(b)
}

// delegated are the networks that come with home.
func (p *pool) delegated(home netip.Addr) []netip.Prefix {
	if p.Lend == 128 {
		return nil
	}
	return []netip.Prefix{netip.PrefixFrom(home, p.Lend).Masked()}
}

// draw is a home address of the pool at random.
func (p *pool) draw(random *rand.Rand) netip.Addr {
	b := p.Prefix.Addr().As16()
	high, low := mask(p.Prefix.Bits())
	put(&b, get(&b, 0)|random.Uint64()&^high, get(&b, 8)|random.Uint64()&^low)
	return p.home(netip.AddrFrom16(b))
}

// after is the home address that follows home, the first one after the last.
func (p *pool) after(home netip.Addr) netip.Addr {
	next := home.Next()
	if p.Lend == 64 {
		b := home.As16()
		put(&b, get(&b, 0)+1, delegatedIdentifier)
		next = netip.AddrFrom16(b)
	}
	if !p.Prefix.Contains(next) {
		return p.home(p.Prefix.Addr())
	}
	return next
}

// find is a home address that free says yes to.
func (p *pool) find(random *rand.Rand, cache *binding.Cache, free func(netip.Addr) bool) (netip.Addr, bool) {
	if p.full && p.fullAt == cache.Deleted() {
		return netip.Addr{}, false
	}
	p.full = false
	for range draws {
		if a := p.draw(random); free(a) {
			return a, true
		}
	}
	a := p.draw(random)
	for range int(min(p.size(), searched)) {
		if free(a) {
			return a, true
		}
		a = p.after(a)
	}
	p.full, p.fullAt = true, cache.Deleted()
	return netip.Addr{}, false
}

// lendable reports whether a is a home address of the pool at all.
func (p *pool) lendable(a netip.Addr) bool {
	if !p.Prefix.Contains(a) || a != p.home(a) {
		return false
	}
	return p.Lend == 64 || !reserved(a, p.Prefix)
}

// reserved reports whether a has an interface identifier that RFC 5453 section 3 and its registry reserve: the subnet-router
// anycast address (RFC 4291 section 2.6.1), the block of proxy mobile IPv6 (RFC 6543), and the reserved subnet anycast
// addresses (RFC 2526 section 2), which are the highest 128 of a prefix that leaves other than 64 bits.
func reserved(a netip.Addr, prefix netip.Prefix) bool {
	b := a.As16()
	identifier := get(&b, 8)
	high, low := mask(prefix.Bits())
	highest := get(&b, 0)|high == math.MaxUint64 && identifier|low|0x7f == math.MaxUint64
	return identifier == 0 || a == prefix.Addr() || highest ||
		identifier>>24 == 0x02005efffe || identifier|0x7f == 0xfdffffffffffffff
}

// mask is the netmask of so many bits.
func mask(bits int) (high, low uint64) {
	return ^(uint64(math.MaxUint64) >> min(bits, 64)), ^(uint64(math.MaxUint64) >> max(bits-64, 0))
}

func get(b *[16]byte, at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }

func put(b *[16]byte, high, low uint64) {
	binary.BigEndian.PutUint64(b[:], high)
	binary.BigEndian.PutUint64(b[8:], low)
}
