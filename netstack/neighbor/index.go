package neighbor

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"sync/atomic"

	"kedge/netstack/packet"
)

// index finds neighbours by address. Readers take no lock: a bucket is a chain of neighbours linked by atomic pointers,
// and what a reader wants to know of a neighbour is one atomic word. Only the holder of the table's mutex changes
// chains. A reader that stands on a neighbour as it is removed goes on to the rest of the chain.
type index struct {
	buckets []atomic.Pointer[neighbor]
	// key is secret, so that nobody on the link can choose addresses that share a bucket.
	key [2]uint64
}

// The word of a neighbour holds its link-layer address in the low 48 bits.
const (
	// wordKnown says that the address is known.
	wordKnown = 1 << 48
	// wordWatched says that the neighbour is STALE: its next use is to be noted.
	wordWatched = 1 << 49
)

func packWord(a packet.LinkAddress) uint64 {
	return uint64(a[0])<<40 | uint64(a[1])<<32 | uint64(a[2])<<24 | uint64(a[3])<<16 | uint64(a[4])<<8 | uint64(a[5])
}

func unpackWord(w uint64) packet.LinkAddress {
	return packet.LinkAddress{byte(w >> 40), byte(w >> 32), byte(w >> 24), byte(w >> 16), byte(w >> 8), byte(w)}
}

// newIndex makes an index with at least as many buckets as the neighbours it is for.
func newIndex(neighbors int, key [2]uint64) index {
	return index{buckets: make([]atomic.Pointer[neighbor], 1<<bits.Len(uint(neighbors-1))), key: key}
}

func (x *index) bucket(addr netip.Addr) *atomic.Pointer[neighbor] {
	b := addr.As16()
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(b[:8])^x.key[0], binary.LittleEndian.Uint64(b[8:])^x.key[1])
	return &x.buckets[(hi^lo)&uint64(len(x.buckets)-1)]
}

func (x *index) find(addr netip.Addr) *neighbor {
	for n := x.bucket(addr).Load(); n != nil; n = n.next.Load() {
		if n.addr == addr {
			return n
		}
	}
	return nil
}

func (x *index) insert(n *neighbor) {
	b := x.bucket(n.addr)
	n.next.Store(b.Load())
	b.Store(n)
}

func (x *index) remove(n *neighbor) {
	for p := x.bucket(n.addr); p.Load() != nil; p = &p.Load().next {
		if p.Load() == n {
			p.Store(n.next.Load())
			return
		}
	}
}

// usedNeighbors is a stack of the STALE neighbours that were used since it was last taken. A neighbour is on it at most
// once, because its used mark is set before it is pushed and cleared only after it has been taken off.
type usedNeighbors struct {
	head atomic.Pointer[neighbor]
}

// push reports whether n was not on the stack yet.
func (u *usedNeighbors) push(n *neighbor) bool {
	if n.used.Load() || !n.used.CompareAndSwap(false, true) {
		return false
	}
	for {
		head := u.head.Load()
		n.nextUsed = head
		if u.head.CompareAndSwap(head, n) {
			return true
		}
	}
}

func (u *usedNeighbors) take(each func(*neighbor)) {
	for n := u.head.Swap(nil); n != nil; {
		next := n.nextUsed
		n.used.Store(false)
		each(n)
		n = next
	}
}
