package flow

import (
	"math/bits"
	"sync/atomic"
)

const (
	// slots is how many flows a bucket has room for, and meanFill how many there are in one on average when their number is
	// doubled: with more, one bucket in ten would overflow.
	slots    = 6
	meanFill = 4

	tagOnes = 0x010101010101 // one in the tag of each slot
	tagTops = 0x808080808080
)

// bucket fills a cache line. A lookup reads one, and by the tags nearly always only one flow, the right one: each line of
// memory more would cost it as long as everything else that is done to a packet.
//
// What it holds changes under the shard's lock and is read without. A flow never moves while it is in it.
type bucket struct {
	// tags has eight bits of each slot's hash, the first slot's lowest; 0 is an empty slot.
	tags  atomic.Uint64
	flows [slots]atomic.Pointer[Flow]
	// more is where flows are that found no room.
	more atomic.Pointer[bucket]
}

// buckets are those of a shard, a power of two.
type buckets []bucket

func (b buckets) of(hash uint64) *bucket { return &b[hash>>shardBits&uint64(len(b)-1)] }

// tagOf are bits of the hash that choose neither the shard nor the bucket.
func tagOf(hash uint64) uint64 { return max(hash>>56, 1) }

// candidates has the highest bit of each slot's tag set where the slot may have this tag, and where it has for sure.
func candidates(tags, tag uint64) uint64 {
	x := tags ^ tag*tagOnes
	return (x - tagOnes) &^ x & tagTops
}

// slotOf is the first slot of candidates, which are not 0.
func slotOf(candidates uint64) int { return bits.TrailingZeros64(candidates) / 8 % slots }

func (b *bucket) find(tag uint64, k *Tuple) *Flow {
	for ; b != nil; b = b.more.Load() {
		for c := candidates(b.tags.Load(), tag); c != 0; c &= c - 1 {
			if f := b.flows[slotOf(c)].Load(); f != nil && f.tuple.is(k) {
				return f
			}
		}
	}
	return nil
}

// put adds a flow, in another bucket behind this one if it must.
func (b *bucket) put(tag uint64, f *Flow) {
	for {
		tags := b.tags.Load()
		if empty := candidates(tags, 0); empty != 0 {
			i := slotOf(empty)
			b.flows[i].Store(f)
			b.tags.Store(tags | tag<<(8*i))
			return
		}
		next := b.more.Load()
		if next == nil {
			next = new(bucket)
			next.flows[0].Store(f)
			next.tags.Store(tag)
			b.more.Store(next)
			return
		}
		b = next
	}
}

// take removes a flow, which is in it. A lookup that stands on a bucket which is dropped goes on to those behind it.
func (b *bucket) take(f *Flow) {
	var before *bucket
	for ; b != nil; before, b = b, b.more.Load() {
		for i := range b.flows {
			if b.flows[i].Load() != f {
				continue
			}
			tags := b.tags.Load() &^ (0xff << (8 * i))
			b.tags.Store(tags)
			b.flows[i].Store(nil)
			if tags == 0 && before != nil {
				before.more.Store(b.more.Load())
			}
			return
		}
	}
}

// each calls visit for the flows in it, which may be taken out meanwhile.
func (b *bucket) each(visit func(tag uint64, f *Flow)) {
	for ; b != nil; b = b.more.Load() {
		for i := range b.flows {
			if f := b.flows[i].Load(); f != nil {
				visit(b.tags.Load()>>(8*i)&0xff, f)
			}
		}
	}
}

// doubled are twice as many buckets with the same flows. These stay as they are for lookups under way.
func (b buckets) doubled() buckets {
	to := make(buckets, 2*len(b))
	for i := range b {
		b[i].each(func(tag uint64, f *Flow) { to.of(f.number).put(tag, f) })
	}
	return to
}
