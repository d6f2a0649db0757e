package routeoptimization

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/routability"
)

// prove runs the return routability procedure as far as tokens are missing (RFC 6275 section 11.6.1), and the registration
// of careOf, which is the home address for a deregistration, when there are all.
func (m *Machine) prove(now time.Time, e *entry, path *signaling.HomePath, careOf netip.Addr) {
	p := m.peerOf(e)
	if e.request.careOf != careOf {
		e.request = request{careOf: careOf}
	}
	home := e.homeTested.fresh(now, e.home)
	if !home {
		e.homeTested.renew(now, e.home)
		if !m.sendTest(now, e, &e.homeTested, &p.homeTests, path) {
			return
		}
	}
	away := careOf == e.home || e.careOfTested.fresh(now, careOf)
	if !away {
		e.careOfTested.renew(now, careOf)
		if !m.sendTest(now, e, &e.careOfTested, &p.careOfTests, path) {
			return
		}
	}
	if !home || !away || !m.mayRegister(e, careOf) {
		e.request.attempt = attempt{}
		return
	}
	e.request.begin(now)
	send, failed := e.request.due(now, &p.updates)
	switch {
	case failed:
		m.fail(now, e, "the correspondent node does not acknowledge binding updates")
	case send:
		m.sendUpdate(now, e, p, path)
	}
}

// mayRegister says whether the home agent has accepted the care-of address (RFC 6275 section 11.7.2).
func (m *Machine) mayRegister(e *entry, careOf netip.Addr) bool {
	r := &m.registration
	return careOf == e.home || e.home != m.cfg.HomeAddress || r.Registered && r.CareOf == careOf
}

// renew begins a test of address, unless one is under way.
func (t *test) renew(now time.Time, address netip.Addr) {
	if t.active() && t.address == address {
		return
	}
	*t = test{address: address, begun: now}
	t.begin(now)
}

// sendTest sends a Home Test Init or Care-of Test Init if it is due, each with a new cookie (RFC 6275 sections 5.2.3 and
// 11.8). It is false if the correspondent node has been asked often enough (section 5.2.9).
func (m *Machine) sendTest(now time.Time, e *entry, t *test, l *limiter, path *signaling.HomePath) bool {
	send, failed := t.due(now, l)
	if failed {
		what := "home test"
		if t == &e.careOfTested {
			what = "care-of test"
		}
		m.fail(now, e, "the correspondent node does not answer the "+what)
		return false
	}
	if !send {
		return true
	}
	t.begun = now
	m.cfg.Random(t.cookie[:])
	s := signaling.Send{Source: t.address, Destination: e.peer}
	var message mh.Message
	if t == &e.homeTested {
		message, s.Tunnel = &mh.HomeTestInit{Cookie: t.cookie}, e.home
	} else {
		message, s.Link, s.Router = &mh.CareOfTestInit{Cookie: t.cookie}, path.Link, path.Router
	}
	payload, err := mh.Append(nil, message)
	if err != nil {
		return true
	}
	mh.SetChecksum(payload, s.Source, s.Destination)
	s.Payload = payload
	m.counters.Tests++
	m.emit(s)
	return true
}

// sendUpdate sends a Binding Update with both nonce indices and the authenticator (RFC 6275 sections 5.2.6 and 11.7.2).
func (m *Machine) sendUpdate(now time.Time, e *entry, p *peer, path *signaling.HomePath) {
	p.sequence++
	t := transmission{sequence: p.sequence, at: now, lifetime: m.cfg.Lifetime}
	indices := &mh.NonceIndices{Home: e.homeTested.index}
	if e.bound.careOf != e.request.careOf {
		e.bound = bound{} // from here on nobody knows which of the two the correspondent node has
	}
	if e.request.careOf == e.home {
		t.lifetime, t.key = 0, routability.DeletionKey(e.homeTested.token)
	} else {
		indices.CareOf = e.careOfTested.index
		t.key = routability.BindingKey(e.homeTested.token, e.careOfTested.token)
		// From here on the correspondent node may send past the home agent.
		if until := now.Add(t.lifetime); until.After(e.remembered) {
			e.remembered = until
		}
		m.publish(now, e, path)
	}
	update := &mh.BindingUpdate{Sequence: t.sequence, Acknowledge: true, Lifetime: t.lifetime, Options: mh.Options{indices}}
	payload, err := routability.Sign(update, t.key, e.request.careOf, e.peer)
	if err != nil {
		return
	}
	mh.SetChecksum(payload, e.home, e.peer)
	e.request.sent = append(e.request.sent, t)
	s := signaling.Send{Source: e.home, Destination: e.peer, Payload: payload, Tunnel: e.home}
	if !path.AtHome {
		s = signaling.Send{Source: path.CareOf, Destination: e.peer, HomeAddress: e.home, Payload: payload, Link: path.Link, Router: path.Router}
	}
	m.counters.UpdatesSent++
	m.emit(s)
	m.report(e, signaling.Report{Kind: BindingUpdateSent, Sequence: t.sequence, Lifetime: t.lifetime})
}
