package binding

import (
	"hash/maphash"

	"kedge/signaling/index"
)

// owners holds each mobile node's name once, with the number of bindings that use it. Number 0 is the empty name.
type owners struct {
	seed    maphash.Seed
	numbers index.Index
	list    []owner
	free    []uint32
	// bindings are those of all of them.
	bindings int
}

type owner struct {
	name string
	// uses counts bindings with the name, bindings those of them that are not Invalid.
	uses, bindings uint32
}

func newOwners() owners {
	return owners{seed: maphash.MakeSeed(), list: make([]owner, 1)}
}

func (o *owners) name(n uint32) string { return o.list[n].name }

// find is the number of name; false if it has none.
func (o *owners) find(name string) (uint32, bool) {
	if name == "" {
		return 0, true
	}
	return o.numbers.Find(o.hash(name), func(n uint32) bool { return o.list[n].name == name })
}

func (o *owners) hash(name string) uint64 { return maphash.String(o.seed, name) }

func (o *owners) count(name string) int {
	n, ok := o.find(name)
	if !ok {
		return 0
	}
	return int(o.list[n].bindings)
}

func (o *owners) entries(name string) int {
	n, ok := o.find(name)
	if !ok {
		return 0
	}
	return int(o.list[n].uses)
}

func (o *owners) take(name string, counts bool) uint32 {
	n, ok := o.find(name)
	if !ok {
		if k := len(o.free); k > 0 {
			n = o.free[k-1]
			o.free = o.free[:k-1]
		} else {
			n = uint32(len(o.list))
			o.list = append(o.list, owner{})
		}
		o.list[n] = owner{name: name}
		o.numbers.Add(o.hash(name), n)
	}
	o.list[n].uses++
	if counts {
		o.bindings++
		o.list[n].bindings++
	}
	return n
}

func (o *owners) drop(n uint32, counted bool) {
	w := &o.list[n]
	w.uses--
	if counted {
		o.bindings--
		w.bindings--
	}
	if w.uses == 0 && n != 0 {
		o.numbers.Remove(o.hash(w.name), n)
		*w = owner{}
		o.free = append(o.free, n)
	}
}
