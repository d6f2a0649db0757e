package database

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling/mh"
)

// tellEnd has a's MAAR told that a is not part of s any more.
func (m *Machine) tellEnd(now time.Time, s *session, a anchor) {
	p := peer{s.id, a.router}
	x := m.ends[p]
	if x == nil {
		x = &exchange{peer: p, position: -1}
		m.ends[p] = x
	}
	x.ended = append(slices.DeleteFunc(x.ended, func(o anchor) bool { return o.prefix == a.prefix }), a)
	x.last = m.lastOf(s)
	m.begin(x)
	m.saveEnd(x)
}

// spare takes prefix out of what p is to be told the end of.
func (m *Machine) spare(p peer, prefix uint64) {
	x := m.ends[p]
	if x == nil {
		return
	}
	x.ended = slices.DeleteFunc(x.ended, func(o anchor) bool { return o.prefix == prefix })
	if len(x.ended) == 0 {
		m.stop(x)
		return
	}
	m.saveEnd(x)
}

// endKey is the name of the record of an end that a P-MAAR is being told: "e", the P-MAAR and the mobile node's key.
func (m *Machine) endKey(p peer) []byte {
	return append(append([]byte{'e'}, m.recordAddress(p.router)...), p.id...)
}

// saveEnd writes x to the store: a P-MAAR that never hears of an end would keep the prefix for good.
//
//	+---------+----------+----+----+---+
//	| version | sequence | HI | AT | n |
//	| 1       | 2        | 1  | 1  | 1 |
//	+---------+----------+----+----+---+
//	n times an anchor as in a session's record
func (m *Machine) saveEnd(x *exchange) {
	if m.cfg.Store == nil {
		return
	}
	b := binary.BigEndian.AppendUint16([]byte{recordVersion}, x.last.sequence)
	b = append(b, byte(x.last.indicator), byte(x.last.access), byte(len(x.ended)))
	for i := range x.ended {
		b = m.appendAnchor(b, &x.ended[i])
	}
	m.stored(x.id, m.cfg.Store.Save(m.endKey(x.peer), b))
}

func (m *Machine) forgetEnd(x *exchange) {
	if m.cfg.Store != nil {
		m.stored(x.id, m.cfg.Store.Delete(m.endKey(x.peer)))
	}
}

// admitEnd goes on telling a P-MAAR the end that a record is of.
func (m *Machine) admitEnd(key, record []byte) error {
	const head = 1 + 16
	if len(key) < head+2 {
		return fmt.Errorf("%w: %x names no end of a prefix", ErrRecord, key)
	}
	router, ok := m.byAddress[netip.AddrFrom16([16]byte(key[1:head]))]
	if !ok {
		return fmt.Errorf("%w: the end of a prefix at what is no router of this database", ErrRecord)
	}
	x := &exchange{peer: peer{string(key[head:]), router}, position: -1}
	r := &reader{b: record}
	version := r.one()
	x.last = answer{router: router, id: x.id, sequence: r.two()}
	x.last.indicator, x.last.access = mh.Handoff(r.one()), mh.AccessTechnology(r.one())
	for n := r.one(); n > 0 && !r.bad; n-- {
		if a, ok := m.parseAnchor(r); ok && a.router == router {
			x.ended = append(x.ended, a)
		}
	}
	if version != recordVersion || r.bad || len(r.b) > 0 || len(x.ended) == 0 || m.ends[x.peer] != nil {
		return fmt.Errorf("%w of the end of a prefix of %s: %d octets do not hold it", ErrRecord, text(x.id), len(record))
	}
	m.ends[x.peer] = x
	m.begin(x)
	return nil
}
