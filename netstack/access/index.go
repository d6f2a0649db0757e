package access

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"sync/atomic"

	"kedge/netstack/packet"
)

// key is a link-layer address, a prefix, or an address, each in an index of its own.
type key [2]uint64

func linkKey(a packet.LinkAddress) key {
	return key{uint64(binary.BigEndian.Uint32(a[:]))<<16 | uint64(binary.BigEndian.Uint16(a[4:]))}
}

// destinationKey is the key of who gets what is sent to an address: the address itself if it is link-local, else its /64.
func destinationKey(addr netip.Addr) key {
	b := addr.As16()
	k := key{binary.BigEndian.Uint64(b[:]), 0}
	if addr.IsLinkLocalUnicast() {
		k[1] = binary.BigEndian.Uint64(b[8:])
	}
	return k
}

// index finds values by key. Readers take no lock: a bucket is a slice that is never changed, only replaced, by the holder
// of the table's mutex.
type index[V any] struct {
	buckets []atomic.Pointer[[]slot[V]]
	// secret keeps anybody on the link from choosing keys that share a bucket.
	secret key
}

type slot[V any] struct {
	key   key
	value V
}

func newIndex[V any](size int, secret key) index[V] {
	return index[V]{buckets: make([]atomic.Pointer[[]slot[V]], 1<<bits.Len(uint(size))), secret: secret}
}

func (x *index[V]) bucket(k key) *atomic.Pointer[[]slot[V]] {
	hi, lo := bits.Mul64(k[0]^x.secret[0], k[1]^x.secret[1])
	return &x.buckets[(hi^lo)&uint64(len(x.buckets)-1)]
}

func (x *index[V]) find(k key) (v V, found bool) {
	if b := x.bucket(k).Load(); b != nil {
		for i := range *b {
			if (*b)[i].key == k {
				return (*b)[i].value, true
			}
		}
	}
	return v, false
}

func (x *index[V]) set(k key, v V) { x.replace(k, slot[V]{k, v}) }

func (x *index[V]) remove(k key) { x.replace(k) }

// replace puts slots in the place of what k has.
func (x *index[V]) replace(k key, with ...slot[V]) {
	b := x.bucket(k)
	if old := b.Load(); old != nil {
		for _, s := range *old {
			if s.key != k {
				with = append(with, s)
			}
		}
	}
	if len(with) == 0 {
		b.Store(nil)
		return
	}
	b.Store(&with)
}
