package homeagent

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
)

const (
	// maxPending bounds how many home addresses are being checked for duplicates at once.
	maxPending = 1024
	// probeTimeout is how long an answer to ProbeDuplicate may take. Duplicate address detection takes about 1 s (RFC
	// 4862 section 5.4).
	probeTimeout = 10 * time.Second
)

// pending is a registration that waits for duplicate address detection.
type pending struct {
	request *request
	// waiting are the addresses not yet answered for.
	waiting  []netip.Addr
	deadline time.Time
}

// pendings are all of them, by home address, and in order of their deadlines, which are all equally far off.
type pendings struct {
	byHome map[netip.Addr]*pending
	order  []*pending
}

func newPendings() pendings { return pendings{byHome: make(map[netip.Addr]*pending)} }

func (p *pendings) len() int { return len(p.byHome) }

func (p *pendings) get(home netip.Addr) *pending { return p.byHome[home] }

func (p *pendings) add(v *pending) {
	p.byHome[v.request.home] = v
	p.order = append(p.order, v)
}

func (p *pendings) remove(home netip.Addr) bool {
	v := p.byHome[home]
	if v == nil {
		return false
	}
	delete(p.byHome, home)
	p.order = slices.DeleteFunc(p.order, func(o *pending) bool { return o == v })
	return true
}

func (p *pendings) next() time.Time {
	if len(p.order) == 0 {
		return time.Time{}
	}
	return p.order[0].deadline
}

// defended are the addresses on the home link that go with a binding (RFC 6275 section 10.3.1, L bit).
func defended(home netip.Addr, linkLocal bool) []netip.Addr {
	if linkLocal {
		return []netip.Addr{home, linkLocalOf(home)}
	}
	return []netip.Addr{home}
}

// undefended are the addresses that q needs defended and that the binding old, if bound, does not defend. There are none on
// a virtual home link, which no other node is on.
func (m *Machine) undefended(q *request, old binding.Binding, bound bool) []netip.Addr {
	if m.cfg.HomeLink == "" {
		return nil
	}
	wanted := defended(q.home, q.update.LinkLocal)
	if !bound {
		return wanted
	}
	have := defended(q.home, old.Flags&binding.LinkLocal != 0)
	return slices.DeleteFunc(wanted, func(a netip.Addr) bool { return slices.Contains(have, a) })
}

// probe starts duplicate address detection for q, or lets q take the place of an earlier Binding Update that waits for it
// already.
func (m *Machine) probe(now time.Time, q *request, probes []netip.Addr) {
	v := m.pending.get(q.home)
	switch {
	case v != nil:
		m.counters.Superseded++
		// A care-of address that moves meanwhile needs no second detection, a link-local address added does.
		if q.update.LinkLocal == v.request.update.LinkLocal {
			v.request = q.kept()
			return
		}
		m.pending.remove(q.home)
	case m.pending.len() >= maxPending:
		m.refuse(q, mh.StatusInsufficientResources, "too many addresses are being checked for duplicates")
		return
	}
	m.pending.add(&pending{request: q.kept(), waiting: probes, deadline: now.Add(probeTimeout)})
	for _, a := range probes {
		m.do(signaling.ProbeDuplicate{Link: m.cfg.HomeLink, Address: a})
	}
}

// kept is a copy of q for longer than the Handle that it came in with.
func (q *request) kept() *request {
	k := *q
	k.received.Payload = nil
	return &k
}

// duplicateResult goes on with the registration that waited for e.
func (m *Machine) duplicateResult(now time.Time, e signaling.DuplicateResult) {
	if e.Link != m.cfg.HomeLink {
		return
	}
	for _, v := range slices.Clone(m.pending.order) {
		i := slices.Index(v.waiting, e.Address)
		if i < 0 {
			continue
		}
		if e.Duplicate {
			m.pending.remove(v.request.home)
			m.do(signaling.Report{Kind: DuplicateAddress, Home: v.request.home, Peer: e.Address, Link: e.Link})
			m.refuse(v.request, mh.StatusDuplicateAddress, e.Address.String()+" is in use on the home link")
			continue
		}
		if v.waiting = slices.Delete(v.waiting, i, i+1); len(v.waiting) == 0 {
			m.pending.remove(v.request.home)
			m.complete(now, v.request)
		}
	}
}

func (m *Machine) expirePending(now time.Time) {
	for len(m.pending.order) > 0 && !m.pending.order[0].deadline.After(now) {
		q := m.pending.order[0].request
		m.pending.remove(q.home)
		m.refuse(q, mh.StatusUnspecified, "duplicate address detection gave no answer")
	}
}

// defend takes up the defence of what b needs and old, if bound, did not have (RFC 6275 section 10.4.1), and lets go of what
// b no longer needs.
func (m *Machine) defend(old binding.Binding, bound bool, b *binding.Binding) {
	if m.cfg.HomeLink == "" {
		return
	}
	home := b.Home.Addr()
	var had []netip.Addr
	if bound {
		had = defended(home, old.Flags&binding.LinkLocal != 0)
	}
	wanted := defended(home, b.Flags&binding.LinkLocal != 0)
	for _, a := range had {
		if !slices.Contains(wanted, a) {
			m.do(signaling.Undefend{Link: m.cfg.HomeLink, Address: a})
		}
	}
	for _, a := range wanted {
		if !slices.Contains(had, a) {
			// The Router flag is 0 by RFC 6275 section 10.4.1 and 1 for mobile routers by RFC 3963 section 6.2.
			m.do(signaling.Defend{
				Link: m.cfg.HomeLink, Address: a, Announce: true, Proxy: true, Router: b.Flags&binding.MobileRouter != 0,
			})
		}
	}
}

func (m *Machine) undefend(b *binding.Binding) {
	if m.cfg.HomeLink == "" {
		return
	}
	for _, a := range defended(b.Home.Addr(), b.Flags&binding.LinkLocal != 0) {
		m.do(signaling.Undefend{Link: m.cfg.HomeLink, Address: a})
	}
}
