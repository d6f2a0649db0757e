package homeproxy

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
)

const (
	// probeInterval is how often each target is probed, and probeStagger how far apart the first probes are. An answer after
	// the next probe does not count.
	probeInterval = 5 * time.Second
	// firstInterval is that of a target that has not answered yet, doubling up to probeInterval: the first probe is often lost
	// while the next hop's link-layer address is being resolved.
	firstInterval = time.Second
	probeStagger  = 50 * time.Millisecond
	// maxLosses is how many probes in a row may go unanswered before the round trip is not known any more.
	maxLosses = 3
	// smoothing is the weight of what was measured before (RFC 6298 section 2: 7/8).
	smoothing = 7
	// unknownRoundTrip is what mh.DHPInformation has for one that is not known.
	unknownRoundTrip = -1
)

// probe measures the round trip to one target.
type probe struct {
	target    netip.Addr
	next      time.Time
	sent      time.Time
	sequence  uint16
	waiting   bool
	losses    int
	roundTrip time.Duration
}

func newProbes(coverage []Coverage, now time.Time) (probes []*probe) {
	for _, v := range coverage {
		if v.Probe.IsValid() && !slices.ContainsFunc(probes, func(p *probe) bool { return p.target == v.Probe }) {
			next := now.Add(time.Duration(len(probes)) * probeStagger)
			probes = append(probes, &probe{target: v.Probe, next: next, roundTrip: unknownRoundTrip})
		}
	}
	return probes
}

// roundTrip is the one to target; unknownRoundTrip if it is not measured.
func roundTrip(probes []*probe, target netip.Addr) time.Duration {
	for _, p := range probes {
		if p.target == target {
			return p.roundTrip
		}
	}
	return unknownRoundTrip
}

// probe sends the probes that are due.
func (m *Machine) probe(now time.Time) {
	if m.stopping {
		return
	}
	for _, p := range m.probes {
		if now.Before(p.next) {
			continue
		}
		if p.waiting {
			m.lost(now, p)
		}
		p.sequence++
		p.sent, p.next, p.waiting = now, now.Add(p.interval()), true
		m.counters.Probes++
		m.do(signaling.SendEcho{Source: m.cfg.Address, Destination: p.target, Identifier: m.echoes, Sequence: p.sequence})
	}
}

func (p *probe) interval() time.Duration {
	if p.roundTrip != unknownRoundTrip || p.losses > 2 {
		return probeInterval
	}
	return firstInterval << p.losses
}

func (m *Machine) lost(now time.Time, p *probe) {
	m.counters.ProbesLost++
	if p.losses++; p.losses >= maxLosses && p.roundTrip != unknownRoundTrip {
		p.roundTrip = unknownRoundTrip
		m.roundTripChanged(now, p, "not known any more")
	}
}

func (m *Machine) echoReply(now time.Time, e signaling.EchoReply) {
	i := slices.IndexFunc(m.probes, func(p *probe) bool {
		return p.waiting && e.Source == p.target && e.Destination == m.cfg.Address && e.Identifier == m.echoes && e.Sequence == p.sequence
	})
	if i < 0 {
		return
	}
	p := m.probes[i]
	p.waiting, p.losses = false, 0
	p.next = p.sent.Add(probeInterval)
	sample := max(now.Sub(p.sent), 0)
	if p.roundTrip != unknownRoundTrip {
		p.roundTrip = (smoothing*p.roundTrip + sample) / (smoothing + 1)
		return
	}
	p.roundTrip = sample
	m.roundTripChanged(now, p, sample.String())
}

func (m *Machine) roundTripChanged(now time.Time, p *probe, detail string) {
	m.do(signaling.Report{Kind: DHPCoverageRoundTripChanged, Peer: p.target, Detail: detail})
	m.advertiseChange(now)
}
