// Package index finds records by the hash of their key, where there are millions of them and Go's maps would take more room
// than what is found by them: it holds numbers of records that stand elsewhere, keys and all, in 8 octets each.
package index

// shards is how many parts an Index is cut into, so that no more than one of them is copied when it grows.
const shards = 256

// Index is a hash table of record numbers below 2^32-1. The zero value is empty. It is not safe for concurrent use.
type Index struct {
	parts [shards]part
	count int
}

// part is an open-addressed table with linear probing. An entry is 32 bits of hash above the number plus one; 0 is none.
type part struct {
	entries []uint64 // a power of two many, a quarter of them free at least
	count   int
}

// Len is the number of entries.
func (x *Index) Len() int { return x.count }

// Find returns the number with this hash, of which there may be several, that is holds for.
func (x *Index) Find(hash uint64, is func(number uint32) bool) (number uint32, ok bool) {
	p := x.part(hash)
	if p.count == 0 {
		return 0, false
	}
	for i := p.home(hash); p.entries[i] != 0; i = p.next(i) {
		if e := p.entries[i]; e>>32 == hash&0xffffffff && is(uint32(e)-1) {
			return uint32(e) - 1, true
		}
	}
	return 0, false
}

// Add puts number in under hash. It is not there yet.
func (x *Index) Add(hash uint64, number uint32) {
	p := x.part(hash)
	if p.count >= len(p.entries)/4*3 {
		p.resize(max(4, 2*len(p.entries)))
	}
	p.place(hash<<32 | uint64(number+1))
	p.count++
	x.count++
}

// Remove takes number out, which was added under hash. Nothing happens if it was not.
func (x *Index) Remove(hash uint64, number uint32) {
	p := x.part(hash)
	if p.count == 0 {
		return
	}
	i := p.home(hash)
	for e := hash<<32 | uint64(number+1); p.entries[i] != e; i = p.next(i) {
		if p.entries[i] == 0 {
			return
		}
	}
	p.close(i)
	p.count--
	x.count--
	if n := len(p.entries); n > 4 && p.count < n/8 {
		p.resize(n / 2)
	}
}

func (x *Index) part(hash uint64) *part { return &x.parts[hash>>56] }

func (p *part) home(hash uint64) int { return int(hash) & (len(p.entries) - 1) }
func (p *part) next(i int) int       { return (i + 1) & (len(p.entries) - 1) }

func (p *part) place(entry uint64) {
	i := p.home(entry >> 32)
	for p.entries[i] != 0 {
		i = p.next(i)
	}
	p.entries[i] = entry
}

// close empties the place i and moves up those behind it that could not stand there.
func (p *part) close(i int) {
	for j := p.next(i); p.entries[j] != 0; j = p.next(j) {
		home := p.home(p.entries[j] >> 32)
		if mask := len(p.entries) - 1; (j-home)&mask >= (j-i)&mask {
			p.entries[i] = p.entries[j]
			i = j
		}
	}
	p.entries[i] = 0
}

func (p *part) resize(n int) {
	old := p.entries
	p.entries = make([]uint64, n)
	for _, e := range old {
		if e != 0 {
			p.place(e)
		}
	}
}
