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
	known      uint64 // which of the following have been looked up, and the role
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
)

// facts finds or makes the entry of an address, which is good until the next call. The hash is keyed, so that nobody can
// make addresses displace each other at will.
func (w *Worker) facts(address netip.Addr) *facts {
	b := address.As16()
	high, low := binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])
	f := &w.cache[mix(high^w.engine.flowSeed[0], low^w.engine.flowSeed[1])%cacheSize]
	if f.low != low || f.high != high || f.generation != w.state.generation {
		*f = facts{high: high, low: low, generation: w.state.generation}
	}
	return f
}

func (f *facts) address() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], f.high)
	binary.BigEndian.PutUint64(b[8:], f.low)
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

// served is what the address is bound to as anchored or attached here; nil if it is not.
func (f *facts) served(s *state) *binding {
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
