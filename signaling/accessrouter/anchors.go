package accessrouter

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// anchor is a prefix of the mobile node that another anchors: a previous MAAR, or the local mobility anchor.
type anchor struct {
	maar      netip.Addr
	prefix    netip.Prefix
	linkLocal netip.Addr
	linkLayer signaling.LinkLayerAddress
	local     []netip.Prefix
	since     time.Time
}

// same reports whether a and b are bound and advertised alike.
func (a *anchor) same(b *anchor) bool {
	return a.maar == b.maar && a.prefix == b.prefix && a.linkLocal == b.linkLocal && a.linkLayer == b.linkLayer &&
		slices.Equal(a.local, b.local)
}

// bind has packets of prefix go by the link of s; through a tunnel to remote if that is valid.
func (m *Machine) bind(s *session, prefix netip.Prefix, remote netip.Addr) {
	s.bound = true
	b := signaling.BindAttached{Prefix: prefix, Link: s.link, MobileNode: s.linkLayer, Remote: remote}
	if remote.IsValid() {
		b.Local = m.cfg.Address
	}
	m.do(b)
}

// advertise has the mobile node see all its routers: this MAAR's own, preferred, and those of others, whose prefixes are
// deprecated (RFC 8885 section 3.7).
func (m *Machine) advertise(s *session) {
	s.told = true
	for _, prefix := range s.prefixes() {
		linkLocal, linkLayer := m.ownInterface(s.id)
		r := signaling.Router{
			LinkLocal: linkLocal, LinkLayer: linkLayer, Prefix: prefix, Preferred: m.cfg.PreferredLifetime,
			Valid: m.cfg.ValidLifetime, Lifetime: m.cfg.RouterLifetime, LocalPrefixes: m.cfg.LocalPrefixes,
		}
		if prefix != s.own {
			r.Preferred, r.Valid = 0, m.cfg.DeprecatedValid
		}
		m.do(signaling.Advertise{Link: s.link, MobileNode: s.linkLayer, Router: r})
	}
	for _, a := range s.anchors {
		m.advertiseAnchor(s, a)
	}
}

func (m *Machine) advertiseAnchor(s *session, a *anchor) {
	r := signaling.Router{
		LinkLocal: a.linkLocal, LinkLayer: a.linkLayer, Prefix: a.prefix, Valid: m.cfg.DeprecatedValid,
		Lifetime: m.cfg.RouterLifetime, LocalPrefixes: a.local,
	}
	if m.gateway {
		r.Preferred, r.Valid = m.cfg.PreferredLifetime, m.cfg.ValidLifetime
	}
	m.do(signaling.Advertise{Link: s.link, MobileNode: s.linkLayer, Router: r})
}

// silence ends the advertisements; tell says so to the mobile node.
func (m *Machine) silence(s *session, tell bool) {
	if !s.told {
		return
	}
	s.told = false
	for _, prefix := range s.prefixes() {
		m.do(signaling.Unadvertise{Link: s.link, MobileNode: s.linkLayer, Prefix: prefix, Tell: tell})
	}
	for _, a := range s.anchors {
		m.do(signaling.Unadvertise{Link: s.link, MobileNode: s.linkLayer, Prefix: a.prefix, Tell: tell})
	}
}

// withdraw takes back all that there is for s on its link.
func (m *Machine) withdraw(s *session, tell bool) {
	m.silence(s, tell)
	if s.bound {
		s.bound = false
		for _, prefix := range s.prefixes() {
			m.do(signaling.UnbindAttached{Prefix: prefix})
		}
	}
	for _, a := range s.anchors {
		m.do(signaling.UnbindAttached{Prefix: a.prefix})
		delete(m.anchored, a.prefix)
	}
	s.anchors = nil
}

// learn takes anchors that an acknowledgement told of in; with all, those that it did not tell of are gone.
func (m *Machine) learn(now time.Time, s *session, told []*anchor, all bool) {
	for _, a := range told {
		m.learnOne(now, s, a)
	}
	if !all {
		return
	}
	for _, a := range slices.Clone(s.anchors) {
		if !slices.ContainsFunc(told, func(t *anchor) bool { return t.prefix == a.prefix }) {
			m.drop(s, a, "gone")
		}
	}
}

func (m *Machine) learnOne(now time.Time, s *session, a *anchor) {
	if a.maar == m.cfg.Address {
		m.takeUp(now, s, a.prefix)
		return
	}
	if !m.possible(s, a) {
		m.counters.BadAnchors++
		return
	}
	a.since = now
	i := slices.IndexFunc(s.anchors, func(b *anchor) bool { return b.prefix == a.prefix })
	switch {
	case i >= 0 && s.anchors[i].same(a):
		return
	case i >= 0:
		a.since = s.anchors[i].since
		s.anchors[i] = a
	default:
		s.anchors = append(s.anchors, a)
		m.anchored[a.prefix] = s
	}
	m.bind(s, a.prefix, a.maar)
	if s.told {
		m.advertiseAnchor(s, a)
	}
	m.do(signaling.Report{Kind: AnchorBound, Home: a.prefix.Addr(), Peer: a.maar, Link: s.link, Detail: s.id.String()})
	if len(s.anchors) > m.cfg.MaxPreviousMAARs && !m.gateway {
		m.giveUp(now, s, s.anchors[len(s.anchors)-1-m.cfg.MaxPreviousMAARs])
	}
}

// possible reports whether a may be bound for s: its prefix is not this MAAR's own nor another mobile node's.
func (m *Machine) possible(s *session, a *anchor) bool {
	owner := m.anchored[a.prefix]
	return mh.UnicastRoutable(a.maar) && global(a.prefix) && a.prefix.Bits() == 64 && !m.pool.overlaps(a.prefix) &&
		(owner == nil || owner == s) && a.linkLocal.IsLinkLocalUnicast() && individual(a.linkLayer)
}

// takeUp serves a prefix of this MAAR that it does not know of any more, and the CMD does.
func (m *Machine) takeUp(now time.Time, s *session, prefix netip.Prefix) bool {
	if slices.Contains(s.prefixes(), prefix) {
		return true
	}
	if !m.pool.contains(prefix, s.id) {
		m.counters.BadAnchors++
		return false
	}
	own, had := s.own, m.pool.remembered[s.id]
	if _, ok := m.pool.claim(now, prefix, s.id); !ok {
		m.counters.BadAnchors++
		return false
	}
	if own.IsValid() {
		m.pool.remembered[s.id] = had
		s.older = append(s.older, prefix)
	} else {
		s.own = prefix
	}
	if s.present() {
		m.bind(s, prefix, netip.Addr{})
		if s.told {
			m.advertise(s)
		}
	}
	m.watchPool(now)
	return true
}

// drop lets a go.
func (m *Machine) drop(s *session, a *anchor, why string) {
	s.anchors = slices.DeleteFunc(s.anchors, func(b *anchor) bool { return b == a })
	delete(m.anchored, a.prefix)
	if s.told {
		m.do(signaling.Unadvertise{Link: s.link, MobileNode: s.linkLayer, Prefix: a.prefix, Tell: true})
	}
	m.do(signaling.UnbindAttached{Prefix: a.prefix})
	m.do(signaling.Report{
		Kind: AnchorReleased, Home: a.prefix.Addr(), Peer: a.maar, Link: s.link, Detail: s.id.String() + ": " + why,
	})
}

// giveUp asks the CMD to clean a up. It is served until the CMD has.
func (m *Machine) giveUp(now time.Time, s *session, a *anchor) {
	if s.ending(a.prefix) {
		return
	}
	r := &request{
		purpose: cleanup, previous: []*mh.PreviousMAAR{{Address: a.maar, Prefix: a.prefix}}, timeout: initialBindackTimeout,
	}
	s.cleanups = append(s.cleanups, r)
	m.transmit(now, s, r)
}

// ending reports whether a cleanup of prefix is under way.
func (s *session) ending(prefix netip.Prefix) bool {
	for _, r := range s.cleanups {
		if slices.ContainsFunc(r.previous, func(p *mh.PreviousMAAR) bool { return p.Prefix == prefix }) {
			return true
		}
	}
	return false
}

// cleaned ends a cleanup.
func (m *Machine) cleaned(now time.Time, s *session, r *request) {
	s.cleanups = slices.DeleteFunc(s.cleanups, func(c *request) bool { return c == r })
	if r.purpose == probe {
		return
	}
	for _, p := range r.previous {
		if i := slices.IndexFunc(s.anchors, func(a *anchor) bool { return a.prefix == p.Prefix }); i >= 0 {
			m.counters.Cleanups++
			m.drop(s, s.anchors[i], "not used")
		}
	}
}

// idle takes in that a prefix has not been used for some time: that of a previous MAAR is given up, and one of this MAAR's
// that goes to another is asked about, in case the CMD has forgotten it.
func (m *Machine) idle(now time.Time, e signaling.PrefixIdle) {
	quiet := now.Sub(e.Since)
	if quiet < m.cfg.IdleTimeout {
		return
	}
	if s := m.anchored[e.Prefix]; s != nil {
		if i := slices.IndexFunc(s.anchors, func(a *anchor) bool { return a.prefix == e.Prefix }); i >= 0 && s.state == serving &&
			!m.gateway && now.Sub(s.anchors[i].since) >= m.cfg.IdleTimeout {
			m.giveUp(now, s, s.anchors[i])
			m.schedule(s)
		}
		return
	}
	h, ok := m.pool.holders[e.Prefix]
	s := m.sessions[h.id]
	if !ok || s == nil || s.state != previous || s.request != nil && !s.request.due.IsZero() {
		return
	}
	const lifetimes = 4
	if limit := lifetimes * m.cfg.Lifetime; quiet >= limit && now.Sub(s.since) >= limit {
		m.ask(now, s, deregistration)
		m.schedule(s)
	}
}

// groups reads groups of options: each Previous MAAR, or each Home Network Prefix as from, with what says more about it.
func (m *Machine) groups(s *session, options mh.Options, from netip.Addr) (told []*anchor) {
	var a *anchor
	begin := func(maar netip.Addr, prefix netip.Prefix) {
		a = &anchor{maar: maar, prefix: prefix}
		a.linkLocal, a.linkLayer = commonInterface(prefix, s.id)
		told = append(told, a)
	}
	for _, o := range options {
		switch o := o.(type) {
		case *mh.AnchoredPrefix:
			a = nil
		case *mh.HomeNetworkPrefix:
			a = nil
			if from.IsValid() {
				begin(from, o.Prefix)
			}
		case *mh.PreviousMAAR:
			a = nil
			if !from.IsValid() {
				begin(o.Address, o.Prefix)
			}
		case *mh.DLIFLinkLocalAddress:
			if a != nil {
				a.linkLocal = o.Address
			}
		case *mh.DLIFLinkLayerAddress:
			if a != nil {
				a.linkLayer = signaling.LinkLayerAddress{}
				if len(o.Address) == len(a.linkLayer) {
					a.linkLayer = signaling.LinkLayerAddress(o.Address)
				}
			}
		case *mh.LocalPrefix:
			if a != nil && global(o.Prefix) && len(a.local) < maxLocalPrefixes {
				a.local = append(a.local, o.Prefix)
			}
		}
	}
	return told
}

// maxLocalPrefixes is how many Local Prefix options of one anchor are looked at.
const maxLocalPrefixes = 8
