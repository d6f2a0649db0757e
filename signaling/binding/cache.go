package binding

import (
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"net/netip"
	"time"

	"kedge/signaling/index"
)

// Why Put refuses.
var (
	ErrFull      = errors.New("binding cache is full")
	ErrOwnerFull = errors.New("mobile node has all the bindings it may have")
	// ErrStore wraps what the store said. The cache itself has changed nevertheless, and serves on.
	ErrStore = errors.New("binding store")
)

// Limits bound a cache. Zero is no limit. Bindings that are Invalid count in total, since they take room, but not towards
// PerOwner.
type Limits struct {
	Total    int
	PerOwner int
}

// Cache is a binding cache. It is not safe for concurrent use.
//
// Bindings live in fixed-size slots, found by an index from home address to slot number. A heap of slot numbers keeps them
// in order of the time they are due; each slot knows its place in the heap, so that refreshing a binding moves it in
// O(log n). Owners are counted in a table of their own, which each name is in once.
type Cache struct {
	limits Limits
	store  Store
	// epoch is what slots count nanoseconds from; its monotonic clock reading makes them immune to clock steps.
	epoch    time.Time
	chunks   []*[chunkSlots]slot
	used     uint32 // slots of chunks that ever were in use
	free     []uint32
	seed     maphash.Seed
	index    index.Index
	heap     []uint32
	networks map[uint32][]netip.Prefix
	owners   owners
	locals   locals
	deleted  uint64
}

type key struct {
	address [16]byte
	bits    uint8
}

type slot struct {
	key       key
	careOf    [16]byte
	lifetime  uint16
	sequence  uint16
	flags     Flags
	port      uint16
	local     uint16
	owner     uint32
	position  uint32
	timestamp uint64
	since     int64
	expires   int64
}

// chunkSlots is how many slots are allocated at once: the cache grows without copying.
const chunkSlots = 256

func (c *Cache) slot(i uint32) *slot { return &c.chunks[i/chunkSlots][i%chunkSlots] }

func (c *Cache) hash(k *key) uint64 {
	var b [17]byte
	b[copy(b[:], k.address[:])] = k.bits
	return maphash.Bytes(c.seed, b[:])
}

func (c *Cache) find(k *key, hash uint64) (uint32, bool) {
	return c.index.Find(hash, func(i uint32) bool { return c.slot(i).key == *k })
}

// New makes an empty cache. epoch is any time near the present, with a monotonic clock reading when the times handed in
// later have one. store may be nil; what it holds is taken in by Load only.
func New(epoch time.Time, limits Limits, store Store) *Cache {
	return &Cache{
		limits:   limits,
		store:    store,
		epoch:    epoch,
		seed:     maphash.MakeSeed(),
		networks: make(map[uint32][]netip.Prefix),
		owners:   newOwners(),
		locals:   locals{numbers: make(map[netip.Addr]uint16)},
	}
}

// Len is the number of bindings, Invalid ones included.
func (c *Cache) Len() int { return c.index.Len() }

// Valid is the number of bindings that are not Invalid.
func (c *Cache) Valid() int { return c.owners.bindings }

// OwnerLen is the number of bindings of a mobile node, without Invalid ones; OwnerEntries counts those too.
func (c *Cache) OwnerLen(owner string) int { return c.owners.count(owner) }

// OwnerEntries is the number of bindings of a mobile node, Invalid ones included.
func (c *Cache) OwnerEntries(owner string) int { return c.owners.entries(owner) }

// Deleted is how many bindings were ever deleted: while it stays, no home address has become free.
func (c *Cache) Deleted() uint64 { return c.deleted }

// Durable says that the cache has a store.
func (c *Cache) Durable() bool { return c.store != nil }

func keyOf(home netip.Prefix) key {
	return key{home.Addr().As16(), uint8(home.Bits())}
}

// Get returns the binding of exactly that home address or prefix. Its Networks are the cache's own, as long as the binding
// does not change.
func (c *Cache) Get(home netip.Prefix) (Binding, bool) {
	k := keyOf(home)
	i, ok := c.find(&k, c.hash(&k))
	if !ok {
		return Binding{}, false
	}
	return c.binding(i), true
}

// Allows says whether Put would take a new binding of owner, when reserved more are already promised: nil, ErrFull or
// ErrOwnerFull.
func (c *Cache) Allows(owner string, reserved int) error {
	if c.limits.Total > 0 && c.index.Len()+reserved >= c.limits.Total {
		return fmt.Errorf("%w: %d of %d", ErrFull, c.index.Len()+reserved, c.limits.Total)
	}
	if n := c.owners.count(owner); c.limits.PerOwner > 0 && owner != "" && n >= c.limits.PerOwner {
		return fmt.Errorf("%w: %d", ErrOwnerFull, n)
	}
	return nil
}

// Put makes b the binding of b.Home, in place of the one before. The error wraps ErrFull or ErrOwnerFull, and then nothing
// has changed, or ErrStore.
func (c *Cache) Put(b Binding) error {
	k := keyOf(b.Home)
	hash := c.hash(&k)
	i, exists := c.find(&k, hash)
	counts := b.Flags&Invalid == 0 && !(exists && c.slot(i).flags&Invalid == 0 && c.owners.name(c.slot(i).owner) == b.Owner)
	if !exists && c.limits.Total > 0 && c.index.Len() >= c.limits.Total {
		return fmt.Errorf("%w: %d", ErrFull, c.index.Len())
	}
	if n := c.owners.count(b.Owner); counts && b.Owner != "" && c.limits.PerOwner > 0 && n >= c.limits.PerOwner {
		return fmt.Errorf("%w: %d", ErrOwnerFull, n)
	}
	if !exists {
		i = c.allocate()
		c.index.Add(hash, i)
	} else {
		c.owners.drop(c.slot(i).owner, c.slot(i).flags&Invalid == 0)
	}
	s := c.slot(i)
	position := s.position
	*s = slot{
		key:       k,
		careOf:    addressBytes(b.CareOf),
		lifetime:  uint16(min(max(b.Lifetime, 0), MaxLifetime) / LifetimeUnit),
		sequence:  b.Sequence,
		flags:     b.Flags,
		port:      b.Port,
		local:     c.locals.number(b.Local),
		owner:     c.owners.take(b.Owner, b.Flags&Invalid == 0),
		position:  position,
		timestamp: b.Timestamp,
		since:     int64(b.Since.Sub(c.epoch)),
		expires:   int64(b.Expires.Sub(c.epoch)),
	}
	if len(b.Networks) > 0 {
		c.networks[i] = append(c.networks[i][:0], b.Networks...)
	} else if exists {
		delete(c.networks, i)
	}
	if exists {
		c.fix(position)
	} else {
		c.push(i)
	}
	return c.save(&b)
}

// Delete forgets the binding of home and reports whether there was one. The error wraps ErrStore.
func (c *Cache) Delete(home netip.Prefix) (bool, error) {
	k := keyOf(home)
	hash := c.hash(&k)
	i, ok := c.find(&k, hash)
	if !ok {
		return false, nil
	}
	c.remove(c.slot(i).position)
	c.owners.drop(c.slot(i).owner, c.slot(i).flags&Invalid == 0)
	c.index.Remove(hash, i)
	delete(c.networks, i)
	*c.slot(i) = slot{}
	c.free = append(c.free, i)
	c.deleted++
	if c.store != nil {
		if err := c.store.Delete(recordKey(home)); err != nil {
			return true, fmt.Errorf("%w: %w", ErrStore, err)
		}
	}
	return true, nil
}

// Next is when the first binding is due; the zero time if there is none.
func (c *Cache) Next() time.Time {
	if len(c.heap) == 0 {
		return time.Time{}
	}
	return c.time(c.slot(c.heap[0]).due())
}

// Due returns the binding that has been due longest, if any is due at now. It stays in the cache: the caller deletes it or
// puts it with another time.
func (c *Cache) Due(now time.Time) (Binding, bool) {
	if len(c.heap) == 0 || c.slot(c.heap[0]).due() > int64(now.Sub(c.epoch)) {
		return Binding{}, false
	}
	return c.binding(c.heap[0]), true
}

// All yields every binding in no particular order. The cache must not be changed meanwhile.
func (c *Cache) All() iter.Seq[Binding] {
	return func(yield func(Binding) bool) {
		for _, i := range c.heap {
			if !yield(c.binding(i)) {
				return
			}
		}
	}
}

func (c *Cache) allocate() uint32 {
	if n := len(c.free); n > 0 {
		i := c.free[n-1]
		c.free = c.free[:n-1]
		return i
	}
	if c.used%chunkSlots == 0 {
		c.chunks = append(c.chunks, new([chunkSlots]slot))
	}
	c.used++
	return c.used - 1
}

func (c *Cache) binding(i uint32) Binding {
	s := c.slot(i)
	return Binding{
		Home:      netip.PrefixFrom(netip.AddrFrom16(s.key.address), int(s.key.bits)),
		CareOf:    address(s.careOf),
		Port:      s.port,
		Local:     c.locals.address(s.local),
		Owner:     c.owners.name(s.owner),
		Networks:  c.networks[i],
		Flags:     s.flags,
		Sequence:  s.sequence,
		Timestamp: s.timestamp,
		Lifetime:  time.Duration(s.lifetime) * LifetimeUnit,
		Since:     c.time(s.since),
		Expires:   c.time(s.expires),
	}
}

func (c *Cache) time(t int64) time.Time { return c.epoch.Add(time.Duration(t)) }

func (s *slot) due() int64 {
	if s.flags&AskRefresh != 0 {
		return s.expires - int64(RefreshLead(time.Duration(s.lifetime)*LifetimeUnit))
	}
	return s.expires
}

// addressBytes writes no address as the unspecified one.
func addressBytes(a netip.Addr) [16]byte {
	if !a.IsValid() {
		return [16]byte{}
	}
	return a.As16()
}

func address(b [16]byte) netip.Addr {
	if b == [16]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(b).Unmap()
}
