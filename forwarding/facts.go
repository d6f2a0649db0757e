package forwarding

import (
	"encoding/binary"
	"net/netip"

	"kedge/forwarding/flow"
)

// cacheSize is the number of addresses whose table entries a worker remembers, a power of two.
const cacheSize = 2048

// facts is what the tables say about one address, as far as it has been asked for. A worker remembers them, since a walk
// down a table with many addresses of one subnet costs ten times as much. They hold for one generation of the state. An
// entry fills a cache line.
type facts struct {
	high, low  uint64
	generation uint64
	known      uint64 // which of the following have been looked up, the role, and the hash
	l          *local
	s          *binding
	m          *binding
	r          *route
}

const (
	knowsLocal = 1 << iota
	knowsServed
	knowsMobile
	knowsRoute
	knowsRole
	roleShift = 8
	hashShift = 32
)

// facts finds or makes the entry of an address, which is good until the next call. The hash is keyed, so that nobody can
// make addresses displace each other at will.
func (w *Worker) facts(address netip.Addr) *facts {
	high, low := halves(address)
	hash := w.state.hosts.hash(high, low)
	f := &w.cache[hash%cacheSize]
	if f.low != low || f.high != high || f.generation != w.state.generation {
		*f = facts{high: high, low: low, generation: w.state.generation, known: uint64(hash) << hashShift}
	}
	return f
}

func (f *facts) address() netip.Addr { return addressOf(f.high, f.low) }

func addressOf(high, low uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], high)
	binary.BigEndian.PutUint64(b[8:], low)
	return netip.AddrFrom16(b)
}

// local is the own address that it is; nil if it is none.
func (f *facts) local(s *state) *local {
	if f.known&knowsLocal == 0 {
		f.l, _ = s.locals.Lookup(f.address())
		f.known |= knowsLocal
	}
	return f.l
}

// served is what the address is bound to as anchored or attached here; nil if it is not. Only what prefixes are bound to is
// remembered.
func (f *facts) served(s *state) *binding {
	if b := s.hosts.find(uint32(f.known>>hashShift), f.high, f.low); b != nil || !s.anyServed {
		return b
	}
	if f.known&knowsServed == 0 {
		f.s, _ = s.served.Lookup(f.address())
		f.known |= knowsServed
	}
	return f.s
}

// anchored is served, if it is anchored here with a tunnel to somewhere else. It may be attached, too.
func (f *facts) anchored(s *state) *binding {
	if b := f.served(s); b != nil && b.anchored {
		return b
	}
	return nil
}

// mobile is the mobile node's own binding that the address is in; nil if there is none.
func (f *facts) mobile(s *state) *binding {
	if !s.anyMobile {
		return nil
	}
	if f.known&knowsMobile == 0 {
		f.m, _ = s.mobile.Lookup(f.address())
		f.known |= knowsMobile
	}
	return f.m
}

// route is the route to the address; nil if there is none.
func (f *facts) route(s *state) *route {
	if f.known&knowsRoute == 0 {
		f.r, _ = s.routes.Lookup(f.address())
		f.known |= knowsRoute
	}
	return f.r
}

// role is what the address serves on a node that keeps flows.
func (f *facts) role(s *state) flow.Role {
	if f.known&knowsRole == 0 {
		f.known |= knowsRole | uint64(s.flows.roles[f.address()])<<roleShift
	}
	return flow.Role(f.known >> roleShift)
}
