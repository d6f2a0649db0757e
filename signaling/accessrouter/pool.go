package accessrouter

import (
	"encoding/binary"
	"net/netip"
	"time"
)

const (
	// draws is how often a prefix is drawn by hash before the pool is searched, searched how many are looked at then.
	draws    = 16
	searched = 1 << 16
	// rememberedPerNode is for how many times MaxNodes there is a memory of prefixes that were given back.
	rememberedPerNode = 4
)

// holder is who has a prefix, or had it last.
type holder struct {
	id identity
	// released is when it was given back; zero while it is in use.
	released time.Time
}

// pool is the prefixes of the MAAR and who has which.
type pool struct {
	prefixes           []netip.Prefix
	secret             []byte
	memory, quarantine time.Duration
	holders            map[netip.Prefix]holder
	// remembered is the prefix that each mobile node has or had.
	remembered map[identity]netip.Prefix
	// reserved are the prefixes of certain mobile nodes by configuration.
	reserved map[netip.Prefix]identity
	// emptyUntil is when there may be a prefix again after a search in vain, most how many holders are remembered for the
	// time of memory.
	emptyUntil time.Time
	most       int
}

func newPool(c *Config) pool {
	p := pool{
		prefixes: c.Pools, secret: c.Secret[:], memory: c.PrefixMemory, quarantine: c.Quarantine,
		holders: make(map[netip.Prefix]holder), remembered: make(map[identity]netip.Prefix),
		reserved: make(map[netip.Prefix]identity), most: rememberedPerNode * c.MaxNodes,
	}
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Prefix.IsValid() {
			p.reserved[n.Prefix] = n.identify()
		}
	}
	return p
}

// contains reports whether prefix is one that this MAAR may give to id.
func (p *pool) contains(prefix netip.Prefix, id identity) bool {
	if owner, ok := p.reserved[prefix]; ok {
		return owner == id
	}
	return prefix.Bits() == 64 && p.covers(prefix.Addr())
}

// covers reports whether a is in the pools.
func (p *pool) covers(a netip.Addr) bool {
	for _, q := range p.prefixes {
		if q.Contains(a) {
			return true
		}
	}
	return false
}

// overlaps reports whether prefix takes in any address that is this MAAR's to give.
func (p *pool) overlaps(prefix netip.Prefix) bool {
	for _, q := range p.prefixes {
		if q.Overlaps(prefix) {
			return true
		}
	}
	_, ok := p.reserved[prefix]
	return ok
}

// free reports whether id may have prefix. Where must, what others had may be taken once it is out of quarantine, though they
// might come back for it.
func (p *pool) free(now time.Time, prefix netip.Prefix, id identity, must bool) bool {
	if owner, ok := p.reserved[prefix]; ok && owner != id {
		return false
	}
	h, ok := p.holders[prefix]
	if !ok || h.id == id {
		return true
	}
	wait := p.quarantine
	if !must {
		wait = max(wait, p.memory)
	}
	return !h.released.IsZero() && now.Sub(h.released) >= wait
}

// take gives id a prefix: fixed, if valid and nobody else has it, else the one it had, else another. It is the same one
// after a restart without memory, as long as nobody else has it then.
func (p *pool) take(now time.Time, id identity, fixed netip.Prefix) (netip.Prefix, bool) {
	if fixed.IsValid() {
		return p.claim(now, fixed, id)
	}
	if had, ok := p.remembered[id]; ok && p.contains(had, id) {
		if prefix, ok := p.claim(now, had, id); ok {
			return prefix, true
		}
	}
	if now.Before(p.emptyUntil) {
		return netip.Prefix{}, false
	}
	for _, must := range []bool{false, true} {
		for _, q := range p.prefixes {
			for n := range uint32(draws) {
				d := digest(p.secret, "prefix", id, n)
				if prefix := nth(q, binary.BigEndian.Uint64(d[:])); p.free(now, prefix, id, must) {
					return p.claim(now, prefix, id)
				}
			}
			size := uint64(1)<<min(64-q.Bits(), 63) - 1
			for n := range min(size, searched-1) + 1 {
				if prefix := nth(q, n); p.free(now, prefix, id, must) {
					return p.claim(now, prefix, id)
				}
			}
		}
	}
	p.emptyUntil = now.Add(p.quarantine)
	for _, h := range p.holders {
		if !h.released.IsZero() {
			p.mayBeFree(now, h)
		}
	}
	return netip.Prefix{}, false
}

// mayBeFree takes in that what h had is free at the end of its quarantine.
func (p *pool) mayBeFree(now time.Time, h holder) {
	if free := h.released.Add(p.quarantine); free.After(now) && free.Before(p.emptyUntil) {
		p.emptyUntil = free
	}
}

// claim marks prefix as used by id, and reports whether it may be.
func (p *pool) claim(now time.Time, prefix netip.Prefix, id identity) (netip.Prefix, bool) {
	if !p.free(now, prefix, id, true) {
		return netip.Prefix{}, false
	}
	if h, ok := p.holders[prefix]; ok && h.id != id && p.remembered[h.id] == prefix {
		delete(p.remembered, h.id)
	}
	p.holders[prefix] = holder{id: id}
	p.remembered[id] = prefix
	return prefix, true
}

// release takes prefix back. It stays with id for the time of memory and with nobody for that of quarantine.
func (p *pool) release(now time.Time, prefix netip.Prefix) {
	if h, ok := p.holders[prefix]; ok {
		h.released = now
		p.holders[prefix] = h
		p.mayBeFree(now, h)
	}
}

// forget drops what is neither remembered nor in quarantine any more, and returns it. With too many it remembers none.
func (p *pool) forget(now time.Time) (gone []netip.Prefix) {
	keep := max(p.memory, p.quarantine)
	if len(p.holders) > p.most {
		keep = p.quarantine
	}
	for prefix, h := range p.holders {
		if h.released.IsZero() || now.Sub(h.released) < keep {
			continue
		}
		delete(p.holders, prefix)
		if p.remembered[h.id] == prefix {
			delete(p.remembered, h.id)
		}
		gone = append(gone, prefix)
	}
	return gone
}

// nth is the /64 number n of a pool, counted round.
func nth(pool netip.Prefix, n uint64) netip.Prefix {
	b := pool.Addr().As16()
	high := binary.BigEndian.Uint64(b[:])
	mask := ^uint64(0) >> pool.Bits()
	if pool.Bits() == 64 {
		mask = 0
	}
	binary.BigEndian.PutUint64(b[:], high|n&mask)
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}
