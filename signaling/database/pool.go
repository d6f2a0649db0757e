package database

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"

	"kedge/signaling/mh"
)

// maxTries bounds how many prefixes of a pool are looked at for a free one.
const maxTries = 1 << 16

// assign are the home network prefixes for a new session (RFC 5213 section 5.3.2).
func (m *Machine) assign(q *request) ([]uint64, mh.Status) {
	if m.count >= m.cfg.MaxSessions {
		return nil, mh.StatusInsufficientResources
	}
	list := make([]uint64, 0, 1)
	for i := range q.groups {
		g := &q.groups[i]
		if g.prefix.Addr().IsUnspecified() {
			p, ok := m.free(q.id, list)
			if !ok {
				return nil, mh.StatusInsufficientResources
			}
			list = append(list, p)
			continue
		}
		p, _ := prefixOf(g.prefix)
		if !m.assignable(q.id, p) || slices.Contains(list, p) {
			return nil, mh.StatusNotAuthorizedForHomePrefix
		}
		list = append(list, p)
	}
	return list, mh.StatusAccepted
}

// assignable reports whether the mobile node may have the prefix that it asks for.
func (m *Machine) assignable(id string, p uint64) bool {
	if m.prefixes[p] != nil {
		return false
	}
	owner, reserved := m.reserved[p]
	if reserved {
		return owner == id
	}
	if n := m.nodes[id]; n != nil && n.Prefix.IsValid() {
		return false
	}
	return slices.ContainsFunc(m.cfg.HomePrefixes, containing(prefixFrom(p).Addr()))
}

// free is a prefix for the mobile node beside those in taken: its own, or one of the pools, the same each time if nobody else has
// it.
func (m *Machine) free(id string, taken []uint64) (uint64, bool) {
	if n := m.nodes[id]; n != nil && n.Prefix.IsValid() {
		p, _ := prefixOf(n.Prefix)
		return p, m.prefixes[p] == nil && !slices.Contains(taken, p)
	}
	h := fnv.New64a()
	h.Write([]byte(id))
	begin := h.Sum64()
	for _, pool := range m.cfg.HomePrefixes {
		first, mask := span(pool)
		for i := uint64(0); i < maxTries && i <= mask; i++ {
			p := first | (begin+i)&mask
			if m.prefixes[p] == nil && m.reserved[p] == "" && !slices.Contains(taken, p) {
				return p, true
			}
		}
	}
	return 0, false
}

// span is the first /64 of a pool, and the bits in which its others differ.
func span(pool netip.Prefix) (first, mask uint64) {
	a := pool.Masked().Addr().As16()
	return binary.BigEndian.Uint64(a[:]), 1<<(prefixBits-pool.Bits()) - 1
}
