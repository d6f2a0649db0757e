package policy

import "math/bits"

const (
	wordBits  = 64
	groupBits = wordBits * wordBits

	// conditions is how many there are in a rule.
	conditions = 7
)

// sets are sets of rules, which are known by their number. Each consists of the same number of groups.
type sets struct {
	// perSet is the number of groups in a set: one for each 4096 rules.
	perSet int
	groups []group
	words  []uint64
}

// group is 4096 rules of a set: 64 words, of which only those that are not zero are kept.
type group struct {
	present uint64 // which words are kept
	first   uint32 // where in sets.words they begin
}

// first is the first rule from number from/64*64 on that is in all the sets in, or Fallback. It takes every rule to be in
// all of no sets, of which there is then at least one.
func (s *sets) first(in []uint32, from int) int {
	for g := from / groupBits; g < s.perSet; g++ {
		present := ^uint64(0)
		if g == from/groupBits {
			present <<= from % groupBits / wordBits
		}
		var groups [conditions]group
		for i, set := range in {
			groups[i] = s.groups[int(set)*s.perSet+g]
			present &= groups[i].present
		}
		for ; present != 0; present &= present - 1 {
			below := present&-present - 1
			word := ^uint64(0)
			for i := range in {
				group := &groups[i]
				word &= s.words[int(group.first)+bits.OnesCount64(group.present&below)]
				if word == 0 {
					break
				}
			}
			if word != 0 {
				return g*groupBits + bits.TrailingZeros64(present)*wordBits + bits.TrailingZeros64(word)
			}
		}
	}
	return Fallback
}

// setBuilder makes sets, each different one once.
type setBuilder struct {
	sets
	rules int
	known map[string]uint32
}

func newSetBuilder(rules int) *setBuilder {
	return &setBuilder{
		sets:  sets{perSet: max(1, (rules+groupBits-1)/groupBits)},
		rules: rules,
		known: make(map[string]uint32),
	}
}

// bitmap is a set of rules while it is put together, a word for each 64 rules.
type bitmap []uint64

func (s *setBuilder) bitmap() bitmap { return make(bitmap, (s.rules+wordBits-1)/wordBits) }

func (b bitmap) add(rule int)    { b[rule/wordBits] |= 1 << (rule % wordBits) }
func (b bitmap) remove(rule int) { b[rule/wordBits] &^= 1 << (rule % wordBits) }

// number is the number of the set b.
func (s *setBuilder) number(b bitmap) uint32 {
	key := make([]byte, 0, 8*len(b))
	for i, w := range b {
		if w != 0 {
			key = append(key, byte(i), byte(i>>8), byte(i>>16),
				byte(w), byte(w>>8), byte(w>>16), byte(w>>24), byte(w>>32), byte(w>>40), byte(w>>48), byte(w>>56))
		}
	}
	if n, ok := s.known[string(key)]; ok {
		return n
	}
	n := uint32(len(s.groups) / s.perSet)
	s.known[string(key)] = n
	for g := range s.perSet {
		made := group{first: uint32(len(s.words))}
		for i, w := range b[min(g*wordBits, len(b)):min((g+1)*wordBits, len(b))] {
			if w != 0 {
				made.present |= 1 << i
				s.words = append(s.words, w)
			}
		}
		s.groups = append(s.groups, made)
	}
	return n
}
