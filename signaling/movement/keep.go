package movement

import (
	"net/netip"
	"slices"
	"time"
)

// keepTime is how long after a router was heard on a new link the routers of the address that is to be kept have to be
// heard there, or to answer: they do once the access router has registered the node with its domain.
const keepTime = time.Second

// kept is the prefix of the care-of address to stay with; nil if there is none.
func (m *Machine) kept() *prefix {
	if !m.cfg.KeepCareOf || !m.last.IsValid() {
		return nil
	}
	i := slices.IndexFunc(m.prefixes, func(p prefix) bool { return p.address == m.last })
	if i < 0 {
		return nil
	}
	return &m.prefixes[i]
}

// await gives the routers of the kept address time to show that they are on this link as well. The node is attached
// nowhere meanwhile: a Binding Update with another address is what it is to do without.
func (m *Machine) await(now time.Time) {
	p := m.kept()
	if p == nil || !m.routed(p) || m.stayed(p) {
		return
	}
	m.awaited = now.Add(keepTime)
	for _, r := range p.advertisers.list {
		m.emit(ProbeRouter{r})
	}
}

// stayed says that a former router was heard on this link with p.
func (m *Machine) stayed(p *prefix) bool {
	return slices.ContainsFunc(m.routers, func(r router) bool { return r.fresh && r.former && p.advertisers.has(r.address) })
}

// answered takes in that a router is on the link.
func (m *Machine) answered(router netip.Addr) {
	if p := m.kept(); p != nil && p.advertisers.has(router) {
		m.awaited = time.Time{}
	}
}

// lost says whether none of the routers of a prefix can be reached.
func (m *Machine) lost(p *prefix) bool {
	return !slices.ContainsFunc(m.routers, func(r router) bool { return !r.unreachable && p.advertisers.has(r.address) })
}

// giveUp lets go of the kept address once its routers have had their time, or were found unreachable.
func (m *Machine) giveUp(now time.Time) {
	if m.awaited.IsZero() || m.kept() != nil && now.Before(m.awaited) {
		return
	}
	m.awaited = time.Time{}
	if p := m.kept(); p != nil {
		for _, r := range slices.Clone(p.advertisers.list) {
			if f := m.findRouter(r); f == nil || !f.fresh {
				m.release(r)
			}
		}
	}
	m.last = netip.Addr{}
}
