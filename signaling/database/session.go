package database

import (
	"encoding/binary"
	"net/netip"
	"time"

	"kedge/signaling/mh"
)

// session is the mobility session of a mobile node: a Binding Cache entry (RFC 5213 section 5.1) with its P-MAAR list (RFC 8885
// section 3.2). A million of them are meant to fit, so fields are as small as they can be.
type session struct {
	// id is the mobile node's key; next is another session of the same mobile node.
	id   string
	next *session
	// anchors are its prefixes, the oldest first, those of the S-MAAR last.
	anchors []anchor
	// handoff is what is going on; nil if all P-MAARs know.
	handoff *handoff
	// expires is when it ends, on the machine's clock; due is when something is to be done about it.
	expires, due time.Duration
	// stamp is the Timestamp of the PBU accepted last, if that had one, in units of 1/65536 s; 0 if none ever had.
	stamp uint64
	// linkLocal is what RFC 5213 section 8.7 has a local mobility anchor keep: an interface identifier.
	linkLocal uint64
	// linkLayer is the Mobile Node Link-layer Identifier; empty if none.
	linkLayer string
	position  int32
	// serving is the router that registered it last, sequence that PBU's, lifetime what was granted, in mh.LifetimeUnit.
	serving, sequence, lifetime uint16
	indicator                   mh.Handoff
	access                      mh.AccessTechnology
	// plain says that it was made without flag D; leaving that it was de-registered and is kept for the time being.
	plain, leaving bool
}

func (s *session) when() time.Duration { return s.due }
func (s *session) place() *int32       { return &s.position }

// own is the router of an anchor that is the database itself.
const own = maxRouters

// anchor is one prefix of a session and where it is anchored.
type anchor struct {
	// prefix is the first half of the /64.
	prefix uint64
	// linkLocal is the interface identifier of the DLIF's address in fe80::/64; 0 if unknown.
	linkLocal uint64
	linkLayer [8]byte
	// local are the Local Prefixes.
	local []netip.Prefix
	// router is the MAAR.
	router uint16
	// linkLayerLength is how much of linkLayer counts.
	linkLayerLength uint8
	// confirmed says that the router has acknowledged who the S-MAAR is, or is the S-MAAR.
	confirmed bool
}

// prefixOf is the first half of a /64.
func prefixOf(p netip.Prefix) (uint64, bool) {
	if !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() || p.Bits() != prefixBits || p.Addr().IsLinkLocalUnicast() ||
		p.Addr().IsMulticast() {
		return 0, false
	}
	a := p.Addr().As16()
	return binary.BigEndian.Uint64(a[:]), true
}

func prefixFrom(p uint64) netip.Prefix {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:], p)
	return netip.PrefixFrom(netip.AddrFrom16(a), prefixBits)
}

var linkLocalPrefix = netip.MustParsePrefix("fe80::/64")

// interfaceOf is the interface identifier of an address in fe80::/64, 0 of others.
func interfaceOf(a netip.Addr) uint64 {
	if !linkLocalPrefix.Contains(a) {
		return 0
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}

// linkLocalOf is the link-local address with an interface identifier; invalid for 0.
func linkLocalOf(id uint64) netip.Addr {
	if id == 0 {
		return netip.Addr{}
	}
	b := linkLocalPrefix.Addr().As16()
	binary.BigEndian.PutUint64(b[8:], id)
	return netip.AddrFrom16(b)
}

// find is the place of prefix among the anchors; -1 if it is not there.
func (s *session) find(prefix uint64) int {
	for i := range s.anchors {
		if s.anchors[i].prefix == prefix {
			return i
		}
	}
	return -1
}

// anchors reports whether router anchors a prefix of s.
func (s *session) anchoredAt(router uint16) bool {
	for i := range s.anchors {
		if s.anchors[i].router == router {
			return true
		}
	}
	return false
}

// distributed is the session of the mobile node with flag D; nil if there is none.
func (m *Machine) distributed(id string) *session {
	for s := m.sessions[id]; s != nil; s = s.next {
		if !s.plain {
			return s
		}
	}
	return nil
}

// insert makes s one of the sessions. Its anchors are put in by the caller, with own.
func (m *Machine) insert(s *session) {
	s.position = -1
	s.next = m.sessions[s.id]
	m.sessions[s.id] = s
	m.count++
}

// remove takes s and its prefixes out.
func (m *Machine) remove(s *session) {
	for i := range s.anchors {
		delete(m.prefixes, s.anchors[i].prefix)
	}
	m.due.remove(s)
	m.count--
	if first := m.sessions[s.id]; first != s {
		for ; first.next != s; first = first.next {
		}
		first.next = s.next
	} else if s.next != nil {
		m.sessions[s.id] = s.next
	} else {
		delete(m.sessions, s.id)
	}
	m.forgetRecord(s)
}

// reschedule works out when s is due.
func (m *Machine) reschedule(s *session) {
	s.due = s.expires
	if h := s.handoff; h != nil && !h.answered {
		s.due = min(s.due, h.deadline)
	}
	m.due.put(s)
}

// left is what is left of the lifetime, in whole units of mh.LifetimeUnit, at least one.
func (s *session) left(at time.Duration) time.Duration {
	return max((s.expires - at).Truncate(mh.LifetimeUnit), mh.LifetimeUnit)
}
