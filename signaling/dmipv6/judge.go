package dmipv6

import (
	"net/netip"
	"time"

	"kedge/signaling"
)

// judgeTime is how long after an anchor's binding on a new care-of address its quality is judged at the latest.
const judgeTime = time.Second

// judgement is that of the access network that an anchor is reached through.
type judgement struct {
	// careOf is the care-of address that the anchor has acknowledged last.
	careOf netip.Addr
	// by is when the judgement is due at the latest; zero if none is.
	by time.Time
}

// bound takes in the care-of address that an anchor has. A new one has to be judged; the first of all anchors to acknowledge
// it begins the measurement of all.
func (m *Machine) bound(now time.Time, a *anchor, careOf netip.Addr) {
	if careOf == a.judge.careOf || !careOf.IsValid() || careOf != a.machine.Place().CareOf {
		return
	}
	moved := a.judge.careOf.IsValid()
	a.judge = judgement{careOf: careOf}
	if !moved || a.flows == 0 {
		return
	}
	a.judge.by = now.Add(judgeTime)
	m.measureMove(now, careOf)
	if m.probes.fresh(now, &a.proxy.peer, careOf) {
		m.judge(now, a)
	}
}

// judgeAll judges the addresses of a DHP that has been measured.
func (m *Machine) judgeAll(now time.Time, p *proxy) {
	for _, a := range m.anchors {
		if a.proxy == p && !a.judge.by.IsZero() {
			m.judge(now, a)
		}
	}
}

// tickJudgement judges by what has been measured so far when the time is over.
func (m *Machine) tickJudgement(now time.Time, a *anchor) {
	if a.returning || a.judge.by.IsZero() || now.Before(a.judge.by) {
		return
	}
	for _, b := range m.probes.bursts {
		if b.peer == &a.proxy.peer {
			b.settle(now)
		}
	}
	m.judge(now, a)
}

// judge holds the path to the anchor against the bounds of every profile that may have flows on it, and ends the flows of
// those that are not met.
func (m *Machine) judge(now time.Time, a *anchor) {
	a.judge.by = time.Time{}
	for i := range m.cfg.Profiles {
		p := &m.cfg.Profiles[i]
		if !p.bounded() || !p.anchored() || !a.usedBy(i) {
			continue
		}
		detail, met := m.meets(a, i)
		m.report(signaling.Report{Kind: QualityJudged, Home: a.address, CareOf: a.judge.careOf, Peer: a.proxy.address,
			Detail: p.Name + ": " + detail})
		if met {
			continue
		}
		m.terminate(a, i, detail)
	}
	m.reconsider = true
}

// meets says whether the path by an anchor meets a profile's bounds. What could not be measured meets them.
func (m *Machine) meets(a *anchor, profile int) (detail string, met bool) {
	p, path := &m.cfg.Profiles[profile], &a.proxy.path
	roundTrip := path.from(a.judge.careOf)
	if roundTrip == 0 {
		return "maintained, the round trip could not be measured", true
	}
	whole := roundTrip + m.reported(a, profile)
	switch known := path.careOf == a.judge.careOf && path.lossKnown; {
	case p.MaxRoundTrip > 0 && whole > p.MaxRoundTrip:
		return text("not maintained, round trip %v, the profile allows %v", whole, p.MaxRoundTrip), false
	case p.MaxLoss > 0 && known && path.loss > p.MaxLoss:
		return text("not maintained, %.1f %% lost, the profile allows %.1f %%", 100*path.loss, 100*p.MaxLoss), false
	case known:
		return text("maintained, round trip %v, %.1f %% lost", whole, 100*path.loss), true
	}
	return text("maintained, round trip %v", whole), true
}

// reported is the least round trip from the DHP to a region that the anchor was chosen for, 0 if none is known: flows are
// only ended that certainly fall short.
func (m *Machine) reported(a *anchor, profile int) time.Duration {
	least := time.Duration(-1)
	take := func(region netip.Prefix) {
		for _, n := range m.nearby(region) {
			if n.proxy == a.proxy.address && n.roundTrip >= 0 && (least < 0 || n.roundTrip < least) {
				least = n.roundTrip
			}
		}
	}
	if a.region.IsValid() {
		take(a.region)
	}
	for u := range a.uses {
		if u.profile == profile && u.region.IsValid() {
			take(u.region)
		}
	}
	return max(least, 0)
}
