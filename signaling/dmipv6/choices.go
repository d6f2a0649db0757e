package dmipv6

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
)

// choice is what Choose is about.
type choice struct {
	profile int
	prefix  netip.Prefix
}

// published is a Choose that holds, with its explanation.
type published struct {
	address  netip.Addr
	decision *Decision
}

// intended is a choice as it should be.
type intended struct {
	anchor *anchor // nil is the home address
	sel    *sel
	why    string
}

var everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)

// reconcile makes what was published what it should be. Addresses that go are taken back before others are published.
func (m *Machine) reconcile(now time.Time) {
	want := m.intend(now)
	var gone, come []choice
	for c, p := range m.published {
		if i, ok := want[c]; !ok {
			gone = append(gone, c)
		} else if m.addressOf(i) != p.address {
			come = append(come, c)
		}
	}
	for c := range want {
		if _, ok := m.published[c]; !ok {
			come = append(come, c)
		}
	}
	// In a fixed order, so that a run can be repeated.
	slices.SortFunc(gone, choice.compare)
	slices.SortFunc(come, choice.compare)
	for _, c := range gone {
		delete(m.published, c)
		m.emit(signaling.Unchoose{Profile: c.profile, Prefix: c.prefix})
	}
	for _, c := range come {
		m.publish(now, c, want[c])
	}
	m.reconcileHints(now)
}

func (c choice) compare(o choice) int {
	if c.profile != o.profile {
		return c.profile - o.profile
	}
	if d := c.prefix.Addr().Compare(o.prefix.Addr()); d != 0 {
		return d
	}
	return c.prefix.Bits() - o.prefix.Bits()
}

func (m *Machine) addressOf(i intended) netip.Addr {
	if i.anchor != nil {
		return i.anchor.address
	}
	return m.cfg.HomeAddress
}

func (m *Machine) publish(now time.Time, c choice, i intended) {
	d := m.newDecision(c.profile)
	d.Address, d.Mode, d.Why, d.Prefix = m.addressOf(i), ModeHomeAgent, i.why, c.prefix
	if i.sel != nil {
		d.take(i.sel)
	}
	if i.anchor != nil {
		d.Winner, d.Reused, d.Mode = i.anchor.proxy.address, true, ModeTunnel
		i.anchor.use(now, c.profile, c.prefix, false)
	}
	d.step(now, FlowDecided, d.Why)
	m.published[c] = published{d.Address, d}
	m.emit(signaling.Choose{Profile: c.profile, Prefix: c.prefix, Address: d.Address, Decision: d.ID})
}

// intend finds the choices that should be published.
func (m *Machine) intend(now time.Time) map[choice]intended {
	want := make(map[choice]intended, len(m.published))
	why, nothing := m.nothingToAsk(now)
	for i := range m.cfg.Profiles {
		p := &m.cfg.Profiles[i]
		if !p.anchored() {
			want[choice{i, everywhere}] = intended{why: "the class asks for the home address"}
			continue
		}
		if nothing {
			want[choice{i, everywhere}] = intended{why: why}
		}
		if m.home.AtHome || m.stopping {
			continue
		}
		for prefix, c := range m.coverage {
			if len(c.near) == 0 {
				want[choice{i, prefix}] = intended{why: "no DHP is known near the correspondent"}
				continue
			}
			s := m.choose(now, i, prefix)
			accepted := s.accepted()
			switch {
			case len(accepted) > 0:
				if a := m.inHand(now, accepted[0].proxy, i); a != nil {
					want[choice{i, prefix}] = intended{anchor: a, sel: &s, why: "in hand"}
				}
			case !s.ticketless():
				want[choice{i, prefix}] = intended{sel: &s, why: s.why()}
			}
		}
	}
	return want
}

// nothingToAsk says whether no flow that is not chosen for has anything to wait for.
func (m *Machine) nothingToAsk(now time.Time) (why string, nothing bool) {
	switch {
	case m.stopping:
		return "this node is stopping", true
	case m.home.AtHome:
		return "at home, no anchor is needed", true
	case m.askable(now):
		return "", false
	}
	return m.whyNotAsk(), true
}
