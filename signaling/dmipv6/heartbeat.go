package dmipv6

import (
	"slices"
	"time"

	"kedge/signaling"
)

// An anchor that has flows gets a heartbeat: an Echo Request each Config.HeartbeatInterval. One that is not answered brings
// on several in fast succession, to the home agent too. If none of those is answered while somebody else is heard, the
// anchor is dead: it is not the network here that is.

// unansweredUpdates is how many Binding Updates without an answer are as bad as a missed heartbeat.
const unansweredUpdates = 3

// beat has heartbeats sent from now on.
func (p *proxy) beat(now time.Time, interval time.Duration) {
	if p.beatAt.IsZero() {
		p.beatAt = now.Add(interval)
	}
}

// tickHeartbeat sends the heartbeat that is due to a's DHP, which all its addresses share.
func (m *Machine) tickHeartbeat(now time.Time, a *anchor) {
	p := a.proxy
	if a.returning {
		return
	}
	if a.flows == 0 {
		if !slices.ContainsFunc(m.anchors, func(o *anchor) bool { return o.proxy == p && o.flows > 0 && !o.returning }) {
			p.beatAt = time.Time{}
		}
		return
	}
	if p.beatAt.IsZero() || now.Before(p.beatAt) {
		if a.machine.Unanswered() > unansweredUpdates && now.Sub(p.heard) > time.Second && now.Sub(p.suspected) > suspectAgain {
			m.suspect(now, p)
		}
		return
	}
	p.beatAt = now.Add(m.cfg.HeartbeatInterval)
	m.probe(now, &p.peer, toBeat, a.machine.Place())
}

// suspectAgain is how long after a suspicion that came to nothing Binding Updates bring on the next.
const suspectAgain = 5 * time.Second

// suspect probes a DHP that should have answered, and the home agent for comparison. Of one that never answered an Echo
// Request, silence says nothing.
func (m *Machine) suspect(now time.Time, p *proxy) {
	if !p.path.answers {
		return
	}
	p.suspected = now
	m.report(signaling.Report{Kind: AnchorSilent, Peer: p.address})
	m.probe(now, &p.peer, toSuspect, m.placeOf(p))
	m.directory.address = m.home.HomeAgent
	m.probe(now, &m.directory.peer, toSuspect, m.homePlace())
}

// pronounce decides on a DHP that has answered none of a suspicion's probes.
func (m *Machine) pronounce(now time.Time, p *proxy, b *burst) {
	heard := func(o *peer) bool { return o != &p.peer && !o.heard.Before(b.began) }
	others := heard(&m.directory.peer)
	for _, o := range m.proxies {
		others = others || heard(&o.peer)
	}
	if !others || !p.heard.Before(b.began) {
		if !p.beatAt.IsZero() {
			p.beatAt = now.Add(time.Second)
		}
		return
	}
	m.skip(now, p, "it is dead")
	for _, a := range slices.Clone(m.anchors) {
		if a.proxy == p {
			m.lose(now, a, "the DHP is dead")
		}
	}
}
