package dmipv6

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

// purposeOf is what a burst of Echo Requests is for. A later one takes the place of an earlier.
type purposeOf uint8

const (
	// toMeasure is for the selection of later flows.
	toMeasure purposeOf = iota
	toBeat
	// toSuspect follows a heartbeat that was not answered.
	toSuspect
	// toJudge follows a move.
	toJudge
)

// bursts says how many requests each purpose takes, and how far apart.
var bursts = [...]struct {
	count int
	every time.Duration
}{
	toMeasure: {3, 100 * time.Millisecond},
	toBeat:    {1, 0},
	toSuspect: {4, 250 * time.Millisecond},
	toJudge:   {8, 85 * time.Millisecond},
}

const (
	// An Echo Reply is waited for twice the round trip, between these bounds.
	minPatience = 250 * time.Millisecond
	maxPatience = time.Second
	// measureAgain is how long a measurement is good for.
	measureAgain = 60 * time.Second
)

// probes are the Echo Requests under way. All have one random identifier, and the sequence numbers begin at random, so that
// nobody off the path can answer them.
type probes struct {
	identifier, sequence uint16
	bursts               []*burst
}

// burst is several Echo Requests to one peer.
type burst struct {
	peer    *peer
	purpose purposeOf
	place   mobilenode.Place
	// source is that of the requests; over UDP they go through the tunnel of that address.
	source netip.Addr
	began  time.Time
	// at is when to send the next or, after the last, when to wait no longer.
	at     time.Time
	probes []probe
	least  time.Duration
}

type probe struct {
	sequence uint16
	at       time.Time
	answered bool
}

func (p *probes) begin(identifier, sequence uint16) { p.identifier, p.sequence = identifier, sequence }

// forget ends the bursts from care-of addresses that this node does not own any more.
func (p *probes) forget(own func(netip.Addr) bool) {
	p.bursts = slices.DeleteFunc(p.bursts, func(b *burst) bool { return !own(b.place.CareOf) })
}

func (p *probes) drop(peer *peer) {
	p.bursts = slices.DeleteFunc(p.bursts, func(b *burst) bool { return b.peer == peer })
}

// echoSource is what Echo Requests to a peer by place come from: the address there or, over UDP, one whose tunnel leads that
// way, since only signalling and what is tunnelled goes in datagrams. Without one the peer cannot be measured.
func (m *Machine) echoSource(p *peer, place *mobilenode.Place) netip.Addr {
	if !place.UDP() {
		return place.CareOf
	}
	if p == &m.directory.peer {
		if m.home.Registered && m.home.Endpoint == place.Endpoint && m.home.CareOf == place.CareOf {
			return m.cfg.HomeAddress
		}
		return netip.Addr{}
	}
	for _, a := range m.anchors {
		if &a.proxy.peer == p && !a.returning && a.machine.BoundBy(place) {
			return a.address
		}
	}
	return netip.Addr{}
}

// probe begins a burst to a peer, unless one is under way that serves the purpose as well.
func (m *Machine) probe(now time.Time, p *peer, purpose purposeOf, place mobilenode.Place) {
	source := m.echoSource(p, &place)
	if !mh.UnicastRoutable(source) || !p.address.Is6() {
		return
	}
	if i := slices.IndexFunc(m.probes.bursts, func(b *burst) bool { return b.peer == p }); i >= 0 {
		if b := m.probes.bursts[i]; b.purpose >= purpose && b.place.CareOf == place.CareOf {
			return
		}
		m.probes.drop(p)
	}
	b := &burst{peer: p, purpose: purpose, place: place, source: source, began: now, at: now}
	m.probes.bursts = append(m.probes.bursts, b)
	m.sendEcho(now, b)
}

func (m *Machine) sendEcho(now time.Time, b *burst) {
	if b.place.UDP() && m.echoSource(b.peer, &b.place) != b.source {
		m.probes.drop(b.peer) // its tunnel has gone
		return
	}
	s := &bursts[b.purpose]
	m.probes.sequence++
	b.probes = append(b.probes, probe{sequence: m.probes.sequence, at: now})
	m.counters.EchoesSent++
	e := signaling.SendEcho{Source: b.source, Destination: b.peer.address, Identifier: m.probes.identifier,
		Sequence: m.probes.sequence, Link: b.place.Uplink, Router: b.place.Router}
	if b.place.UDP() {
		e.Tunnel = b.source
	}
	m.emit(e)
	if len(b.probes) < s.count {
		b.at = now.Add(s.every)
	} else {
		b.at = now.Add(b.patience())
	}
}

func (b *burst) patience() time.Duration {
	return min(max(2*b.peer.path.roundTrip, minPatience), maxPatience)
}

func (b *burst) answered() (n int) {
	for i := range b.probes {
		if b.probes[i].answered {
			n++
		}
	}
	return n
}

// loss is the part of the requests that were not answered, of those that had the time for it.
func (b *burst) loss(now time.Time) (part float64, known bool) {
	lost, sent := 0, 0
	for i := range b.probes {
		switch p := &b.probes[i]; {
		case p.answered:
			sent++
		case now.Sub(p.at) >= b.patience():
			sent++
			lost++
		}
	}
	if sent == 0 || !b.peer.path.answers {
		return 0, false
	}
	return float64(lost) / float64(sent), true
}

// settle keeps what the burst has measured so far.
func (b *burst) settle(now time.Time) {
	loss, known := b.loss(now)
	b.peer.path.settle(now, b.place.CareOf, b.least, loss, known)
}

// handleEchoReply takes in the reply to a request under way.
func (m *Machine) handleEchoReply(now time.Time, e signaling.EchoReply) {
	if e.Identifier != m.probes.identifier {
		return
	}
	for _, b := range m.probes.bursts {
		if b.peer.address != e.Source || b.source != e.Destination {
			continue
		}
		for i := range b.probes {
			p := &b.probes[i]
			if p.sequence != e.Sequence || p.answered {
				continue
			}
			p.answered = true
			d := max(now.Sub(p.at), time.Microsecond)
			if b.least == 0 || d < b.least {
				b.least = d
			}
			b.peer.heard, b.peer.path.answers = now, true
			if b.answered() == bursts[b.purpose].count {
				m.endBurst(now, b)
			}
			return
		}
	}
}

func (m *Machine) tickProbes(now time.Time) {
	for _, b := range slices.Clone(m.probes.bursts) {
		switch {
		case now.Before(b.at) || !slices.Contains(m.probes.bursts, b):
		case len(b.probes) < bursts[b.purpose].count:
			m.sendEcho(now, b)
		default:
			m.endBurst(now, b)
		}
	}
}

func (m *Machine) nextProbes(n *next) {
	for _, b := range m.probes.bursts {
		n.at(b.at)
	}
}

// endBurst draws the consequences.
func (m *Machine) endBurst(now time.Time, b *burst) {
	m.probes.drop(b.peer)
	answered := b.answered()
	switch b.purpose {
	case toMeasure, toJudge:
		b.settle(now)
	default:
		if answered > 0 {
			b.peer.path.sample(b.place.CareOf, b.least)
		}
	}
	for _, p := range m.proxies {
		if &p.peer != b.peer {
			continue
		}
		switch {
		case b.purpose == toJudge:
			m.judgeAll(now, p)
		case b.purpose == toBeat && answered == 0:
			m.suspect(now, p)
		case b.purpose == toSuspect && answered == 0:
			m.pronounce(now, p, b)
		}
	}
	m.reconsider = true
}

// fresh says that a burst from careOf has measured the peer not long ago. An exchange of messages alone does not count.
func (p *probes) fresh(now time.Time, o *peer, careOf netip.Addr) bool {
	return o.path.careOf == careOf && !o.path.burst.IsZero() && now.Sub(o.path.burst) < measureAgain
}

// measureCandidates measures what a selection had to assume, for later flows.
func (m *Machine) measureCandidates(now time.Time, s *sel) {
	for i := range s.candidates {
		p := s.candidates[i].proxy
		place := m.placeOf(p)
		if !m.probes.fresh(now, &p.peer, place.CareOf) {
			m.probe(now, &p.peer, toMeasure, place)
		}
	}
}

// measureMove measures every anchor from a new care-of address, those in use to judge them, and the home agent.
func (m *Machine) measureMove(now time.Time, careOf netip.Addr) {
	m.directory.address = m.home.HomeAgent
	if place := m.homePlace(); place.CareOf == careOf && !m.probes.fresh(now, &m.directory.peer, careOf) {
		m.probe(now, &m.directory.peer, toJudge, place)
	}
	for _, a := range m.anchors {
		if place := a.machine.Place(); !a.returning && place.CareOf == careOf && !m.probes.fresh(now, &a.proxy.peer, careOf) {
			purpose := toMeasure
			if a.flows > 0 {
				purpose = toJudge
			}
			m.probe(now, &a.proxy.peer, purpose, place)
		}
	}
}
