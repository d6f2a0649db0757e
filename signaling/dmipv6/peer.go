package dmipv6

import (
	"net/netip"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/mobilenode"
)

// peer is the home agent or a DHP, as one that messages are exchanged with.
type peer struct {
	address netip.Addr
	clock   auth.Clock
	// experimental and updates are the limits for messages of types 11 and 5.
	experimental, updates mobilenode.Limit
	path                  path
	// heard is when it was heard of last.
	heard time.Time
}

// path is what was measured of the way to a peer. The round trip of a burst is the least of its answers: what queues on the
// way right after a move are this node's own packets. A single answer, of a heartbeat, moves it by an eighth as in RFC 6298
// section 2.
type path struct {
	// careOf is where it was measured from; roundTrip is 0 if it was not.
	careOf    netip.Addr
	roundTrip time.Duration
	// loss is the part of a burst that was not answered; it counts only if lossKnown.
	loss      float64
	lossKnown bool
	// burst is when the last burst ended; zero if there was none.
	burst time.Time
	// answers says that the peer has ever answered an Echo Request. Of one that never does, silence says nothing.
	answers bool
}

// sample takes one round trip in.
func (p *path) sample(careOf netip.Addr, d time.Duration) {
	if p.careOf != careOf {
		*p = path{careOf: careOf, answers: p.answers}
	}
	if p.roundTrip == 0 {
		p.roundTrip = d
	} else {
		p.roundTrip += (d - p.roundTrip) / 8
	}
}

// settle takes in what a burst has measured; least is 0 if nothing was answered.
func (p *path) settle(now time.Time, careOf netip.Addr, least time.Duration, loss float64, lossKnown bool) {
	if p.careOf != careOf {
		*p = path{careOf: careOf, answers: p.answers}
	}
	if p.burst = now; least > 0 {
		p.roundTrip = least
	}
	p.loss, p.lossKnown = loss, lossKnown
}

// from is the round trip from careOf; 0 if it was not measured there.
func (p *path) from(careOf netip.Addr) time.Duration {
	if p.careOf != careOf {
		return 0
	}
	return p.roundTrip
}

// homeRoundTrip is the round trip to the home agent; 0 if unknown.
func (m *Machine) homeRoundTrip() time.Duration {
	if d := m.directory.path.from(m.homePlace().CareOf); d > 0 {
		return d
	}
	return m.home.RoundTrip
}

// assumedRoundTrip stands for what was not measured.
func (m *Machine) assumedRoundTrip() time.Duration {
	if d := m.homeRoundTrip(); d > 0 {
		return d
	}
	return firstWait
}

// heardFrom takes in an authentic reply.
func (p *peer) heardFrom(now time.Time, careOf netip.Addr, d time.Duration) {
	p.heard = now
	p.path.sample(careOf, d)
}
