package dmipv6

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// maxWaiting bounds the flows that wait; more go by the home address at once.
const maxWaiting = 4096

// waiting is a held flow.
type waiting struct {
	flow    uint64
	key     signaling.FlowKey
	profile int
	until   time.Time
	// proxy is the DHP that was asked for an address for it last; nil if none was.
	proxy    *proxy
	decision *Decision
	done     bool
}

// handleFlowHeld begins procedure 1.
func (m *Machine) handleFlowHeld(now time.Time, e signaling.FlowHeld) {
	m.counters.FlowsHeld++
	if e.Profile < 0 || e.Profile >= len(m.cfg.Profiles) || !mh.UnicastRoutable(e.Key.Remote) {
		m.emit(signaling.Decide{Flow: e.Flow, Address: e.Key.Local})
		return
	}
	w := &waiting{flow: e.Flow, key: e.Key, profile: e.Profile, until: now.Add(m.cfg.HoldTime), decision: m.newDecision(e.Profile)}
	if until := e.Since.Add(m.cfg.HoldTime); !e.Since.IsZero() && until.Before(w.until) {
		w.until = until
	}
	if n := len(m.waiting); n > 0 && w.until.Before(m.waiting[n-1].until) {
		// Workers are not quite in step; the list stays in order.
		w.until = m.waiting[n-1].until
	}
	w.decision.Flow, w.decision.Key = e.Flow, e.Key
	m.step(now, w, FlowClassified, text("%s: %s", w.decision.Name, w.decision.Class))
	m.step(now, w, FlowInitiator, "this node")
	if m.advance(now, w); w.done {
		return
	}
	if len(m.waiting) >= maxWaiting {
		m.counters.HoldsRefused++
		m.decideHome(now, w, "too many flows wait")
		return
	}
	m.waiting = append(m.waiting, w)
	m.flushQueries(now)
	m.tickRequests(now)
}

// step reports a step that concerns one flow and keeps it for its explanation.
func (m *Machine) step(now time.Time, w *waiting, kind signaling.ReportKind, detail string) {
	w.decision.step(now, kind, detail)
	m.report(signaling.Report{Kind: kind, Home: w.key.Local, Peer: w.key.Remote, Detail: text("flow %d: %s", w.flow, detail)})
}

// stepQuery keeps a step that concerns all flows that a query is for.
func (m *Machine) stepQuery(now time.Time, q *query, kind signaling.ReportKind, detail string) {
	for _, w := range m.waiting {
		if slices.ContainsFunc(q.wishes, func(x wish) bool { return !x.renewal && site(x.address) == site(w.key.Remote) }) {
			w.decision.Source = FromHomeAgent
			w.decision.step(now, kind, detail)
		}
	}
}

// stepProxy keeps a step that concerns all flows that wait for a DHP's address.
func (m *Machine) stepProxy(now time.Time, p *proxy, kind signaling.ReportKind, detail string) {
	for _, w := range m.waiting {
		if w.proxy == p {
			w.decision.step(now, kind, detail)
		}
	}
}

// advance takes a held flow as far as it goes now. It is called again whenever something has changed.
func (m *Machine) advance(now time.Time, w *waiting) {
	if w.done {
		return
	}
	switch profile := &m.cfg.Profiles[w.profile]; {
	case !profile.anchored():
		m.decideHome(now, w, "the class asks for the home address")
		return
	case w.key.Local != m.cfg.HomeAddress:
		m.decideHome(now, w, "its program has chosen the address")
		return
	case m.stopping:
		m.decideHome(now, w, "this node is stopping")
		return
	case m.home.AtHome:
		m.decideHome(now, w, "at home, no anchor is needed")
		return
	}
	c, known := m.region(w.key.Remote)
	switch {
	case known && len(c.near) == 0:
		m.decideHome(now, w, "no DHP is known near the correspondent")
	case known:
		m.advanceKnown(now, w, c.prefix)
	case !m.askable(now):
		m.decideHome(now, w, m.whyNotAsk())
	case !m.ask(wish{address: w.key.Remote}):
		m.decideHome(now, w, "too many correspondents wait to be asked for")
	}
}

// advanceKnown is for a flow to a prefix that DHPs cover.
func (m *Machine) advanceKnown(now time.Time, w *waiting, region netip.Prefix) {
	s := m.choose(now, w.profile, region)
	if w.proxy == nil {
		w.decision.take(&s)
	}
	if s.ticketless() {
		for i := range s.candidates {
			if c := &s.candidates[i]; c.ticketless && c.Source == FromConfiguration {
				m.wantTicket(now, c.proxy, "there is none")
			}
		}
		if m.askable(now) && m.ask(wish{address: w.key.Remote}) {
			return
		}
		m.decideHome(now, w, "there is no ticket for the DHP, and the home agent cannot be asked")
		return
	}
	m.measureCandidates(now, &s)
	for i, c := range s.accepted() {
		if a := m.inHand(now, c.proxy, w.profile); a != nil {
			m.decide(now, w, a, w.proxy != c.proxy)
			return
		}
		if !m.placeTo(c.proxy).CareOf.IsValid() {
			m.decideHome(now, w, "there is no care-of address to ask from")
			return
		}
		r := m.request(now, c.proxy, false, w.key.Remote, region)
		if w.proxy == nil || !r.overdue && w.proxy != c.proxy {
			w.proxy = c.proxy
			w.decision.take(&s)
			m.step(now, w, DHPSelected, text("%s, %s, %v to the correspondent", c.Address, c.Why, c.Sum))
		}
		if !r.overdue || i == len(s.accepted())-1 {
			// One that does not answer in the first wait may still, while the next is asked.
			return
		}
	}
	m.decideHome(now, w, s.why())
}

func (m *Machine) whyNotAsk() string {
	switch {
	case !m.cfg.UseHomeAgent:
		return "the home agent is not to be asked"
	case !m.home.Registered:
		return "not registered with the home agent"
	case !m.directory.unusableUntil.IsZero():
		return "the home agent cannot be asked: " + m.directory.why
	}
	return "there is no care-of address to ask from"
}

func (m *Machine) decide(now time.Time, w *waiting, a *anchor, reused bool) {
	d := w.decision
	d.Winner, d.Address, d.Reused, d.Mode = a.proxy.address, a.address, reused, ModeTunnel
	d.Why = "lent for it"
	if reused {
		d.Why = "in hand"
		m.counters.Reused++
	}
	a.use(now, w.profile, d.Prefix, true)
	m.settle(now, w)
}

// decideHome leaves the flow with its own address.
func (m *Machine) decideHome(now time.Time, w *waiting, why string) {
	d := w.decision
	d.Address, d.Mode, d.Why = w.key.Local, ModeHomeAgent, why
	if w.key.Local != m.cfg.HomeAddress {
		d.Mode = ModeTunnel
	}
	m.counters.Stayed++
	m.settle(now, w)
}

func (m *Machine) settle(now time.Time, w *waiting) {
	w.done = true
	d := w.decision
	m.step(now, w, FlowDecided, text("%s by %s: %s", d.Address, d.Mode, d.Why))
	m.emit(signaling.Decide{Flow: w.flow, Address: d.Address, Decision: d.ID})
}

// advanceAll looks at every held flow again.
func (m *Machine) advanceAll(now time.Time) {
	for _, w := range m.waiting {
		m.advance(now, w)
	}
	m.waiting = slices.DeleteFunc(m.waiting, func(w *waiting) bool { return w.done })
}

// expireWaiting lets go what has waited too long.
func (m *Machine) expireWaiting(now time.Time) {
	n := 0
	for ; n < len(m.waiting) && !now.Before(m.waiting[n].until); n++ {
		m.counters.HoldsExpired++
		m.decideHome(now, m.waiting[n], "the answer took too long")
	}
	m.waiting = slices.Delete(m.waiting, 0, n)
}
