package forwarding

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"net/netip"
	"sync/atomic"

	"kedge/netstack/packet"
)

// hosts holds the bindings of single addresses, which an anchor has up to millions of: a hash table that workers read
// without a lock while the engine changes it. A change costs the same whatever the size, publishes no state, and so makes
// workers forget nothing; a lookup waits for memory twice, for a group and for the binding.
//
// It is cut into shards, so that when one has to grow, only its part is copied. A worker that still reads the former groups
// sees what was bound a moment ago.
type hosts struct {
	seed   [2]uint64
	shards [hostShards]hostShard
	count  atomic.Int64
}

const (
	hostShards = 256
	groupSlots = 7
)

type hostShard struct {
	groups atomic.Pointer[[]hostGroup] // nil, or a power of two many
	count  int
}

// hostGroup is a cache line: seven bindings, with an octet of each one's hash, or 0, in tags. The eighth octet says that
// bindings which belong here are in the groups behind; it stays until the shard is built anew.
type hostGroup struct {
	tags  atomic.Uint64
	slots [groupSlots]atomic.Pointer[binding]
}

const (
	eachTag    = 0x0001010101010101
	eachTop    = 0x0080808080808080
	overflowed = 1 << 56
)

// hash is that of an address. Its octets are, from the highest: the shard, the tag, and two of the group. It is keyed, so
// that nobody can make addresses meet at will.
func (t *hosts) hash(high, low uint64) uint32 { return uint32(mix(high^t.seed[0], low^t.seed[1])) }

func tagOf(hash uint32) uint64 { return max(uint64(hash>>16&0xff), 1) }

func halves(a netip.Addr) (high, low uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])
}

// find is the binding of the address with that hash; nil if there is none.
func (t *hosts) find(hash uint32, high, low uint64) *binding {
	groups := t.shards[hash>>24].groups.Load()
	if groups == nil {
		return nil
	}
	g, tag := *groups, tagOf(hash)
	for i := range len(g) {
		group := &g[(int(hash&0xffff)+i)&(len(g)-1)]
		tags := group.tags.Load()
		x := tags ^ tag*eachTag
		for m := (x - eachTag) &^ x & eachTop; m != 0; m &= m - 1 {
			b := group.slots[bits.TrailingZeros64(m)/8].Load()
			if b != nil && b.low == low && b.high == high {
				return b
			}
		}
		if tags < overflowed {
			return nil
		}
	}
	return nil
}

func (t *hosts) get(a netip.Addr) *binding {
	high, low := halves(a)
	return t.find(t.hash(high, low), high, low)
}

// put makes b what its address is bound to. The engine's lock is held.
func (t *hosts) put(b *binding) {
	hash := t.hash(b.high, b.low)
	s := &t.shards[hash>>24]
	if slot, _, _ := s.slotOf(hash, b); slot != nil {
		slot.Store(b)
		return
	}
	if g := s.groups.Load(); g == nil || s.count >= len(*g)*groupSlots*3/4 {
		s.rebuild(t, max(1, 2*s.size()))
	}
	s.count++
	t.count.Add(1)
	insert(*s.groups.Load(), hash, b)
}

// remove takes the binding of b's address out, if there is one. The engine's lock is held.
func (t *hosts) remove(b *binding) {
	hash := t.hash(b.high, b.low)
	s := &t.shards[hash>>24]
	slot, group, i := s.slotOf(hash, b)
	if slot == nil {
		return
	}
	group.tags.Store(group.tags.Load() &^ (0xff << (8 * i)))
	slot.Store(nil)
	s.count--
	t.count.Add(-1)
	if n := s.size(); n > 1 && s.count < n*groupSlots/8 {
		s.rebuild(t, n/2)
	}
}

// slotOf is where the binding of b's address is.
func (s *hostShard) slotOf(hash uint32, b *binding) (*atomic.Pointer[binding], *hostGroup, int) {
	for j := range s.size() {
		group := &(*s.groups.Load())[(int(hash&0xffff)+j)&(s.size()-1)]
		for i := range group.slots {
			if o := group.slots[i].Load(); o != nil && o.low == b.low && o.high == b.high {
				return &group.slots[i], group, i
			}
		}
		if group.tags.Load() < overflowed {
			break
		}
	}
	return nil, nil, 0
}

func (s *hostShard) size() int {
	if g := s.groups.Load(); g != nil {
		return len(*g)
	}
	return 0
}

// rebuild copies the shard into n groups.
func (s *hostShard) rebuild(t *hosts, n int) {
	groups := make([]hostGroup, n)
	for b := range s.all() {
		insert(groups, t.hash(b.high, b.low), b)
	}
	s.groups.Store(&groups)
}

// insert puts b into the first free slot from its group on. There is one.
func insert(groups []hostGroup, hash uint32, b *binding) {
	for j := int(hash & 0xffff); ; j++ {
		group := &groups[j&(len(groups)-1)]
		tags := group.tags.Load()
		for i := range group.slots {
			if tags>>(8*i)&0xff == 0 {
				group.slots[i].Store(b)
				group.tags.Store(tags | tagOf(hash)<<(8*i))
				return
			}
		}
		group.tags.Store(tags | overflowed)
	}
}

func (s *hostShard) all() iter.Seq[*binding] {
	return func(yield func(*binding) bool) {
		for j := range s.size() {
			group := &(*s.groups.Load())[j]
			for i := range group.slots {
				if b := group.slots[i].Load(); b != nil && !yield(b) {
					return
				}
			}
		}
	}
}

// all yields every binding that is there all the while.
func (t *hosts) all() iter.Seq[*binding] {
	return func(yield func(*binding) bool) {
		for i := range t.shards {
			for b := range t.shards[i].all() {
				if !yield(b) {
					return
				}
			}
		}
	}
}

const (
	// manyHosts is from how many bindings on they are not in the processor's cache by themselves.
	manyHosts = 2048
	// aheadHosts is how many packets are looked at at once.
	aheadHosts = 64
)

// lookAhead asks for what the packets' bindings need of memory, all at the same time, so that nothing waits for it packet
// by packet. inner says that the packets come out of datagrams.
func (w *Worker) lookAhead(pkts []*packet.Packet, inner bool) {
	t := w.state.hosts
	if t.count.Load() < manyHosts || len(pkts) < 2 {
		return
	}
	var hashes [aheadHosts]uint32
	var addresses [aheadHosts][2]uint64
	var warmed uint64
	for len(pkts) > 0 {
		n := min(len(pkts), aheadHosts)
		for i, p := range pkts[:n] {
			a := anchoredIn(p.Bytes(), inner)
			if a == nil {
				addresses[i], hashes[i] = [2]uint64{}, 0
				continue
			}
			high, low := binary.BigEndian.Uint64(a), binary.BigEndian.Uint64(a[8:])
			addresses[i], hashes[i] = [2]uint64{high, low}, t.hash(high, low)
		}
		for _, hash := range hashes[:n] {
			warmed += t.warm(hash)
		}
		for i, hash := range hashes[:n] {
			if b := t.find(hash, addresses[i][0], addresses[i][1]); b != nil && !b.Via && b.Remote.Is6() {
				high, low := halves(b.Remote)
				warmed += t.warm(t.hash(high, low))
			}
		}
		pkts = pkts[n:]
	}
	w.warmed = warmed
}

// warm reads the group that a hash belongs to.
func (t *hosts) warm(hash uint32) uint64 {
	groups := t.shards[hash>>24].groups.Load()
	if groups == nil {
		return 0
	}
	return (*groups)[int(hash&0xffff)&(len(*groups)-1)].tags.Load()
}

// anchoredIn is the address in a packet that is most likely bound here: what it is for, or who it is from if it came through
// a tunnel. It is nil if the packet is too short.
func anchoredIn(b []byte, inner bool) []byte {
	const header, next, source, destination = 40, 6, 8, 24
	switch {
	case len(b) < header:
		return nil
	case inner:
		return b[source:][:16]
	case b[next] == 41 && len(b) >= 2*header:
		return b[header+source:][:16]
	}
	return b[destination:][:16]
}
