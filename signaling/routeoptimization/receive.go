package routeoptimization

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// received takes a Mobility Header message from a correspondent node. What cannot be read is answered elsewhere.
func (m *Machine) received(now time.Time, r *signaling.Received) {
	if m.peers[r.Source] == nil || r.HomeAddress.IsValid() {
		m.counters.Ignored++
		return
	}
	to := r.Destination
	if r.RoutingHome.IsValid() {
		to = r.RoutingHome
	}
	if !mh.ChecksumValid(r.Payload, r.Source, to) {
		m.counters.Malformed++
		return
	}
	message, err := mh.Parse(r.Payload)
	if err != nil {
		m.counters.Malformed++
		return
	}
	switch b := message.(type) {
	case *mh.HomeTest:
		m.homeTest(r, b)
	case *mh.CareOfTest:
		m.careOfTest(r, b)
	case *mh.BindingAcknowledgement:
		m.acknowledgement(now, r, to, b)
	case *mh.BindingError:
		m.bindingError(now, r, b)
	case *mh.BindingRefreshRequest:
		m.refreshRequest(now, r, to)
	default:
		m.counters.Ignored++
	}
}

// homeTest is RFC 6275 section 11.6.2. A message through the tunnel of an address was checked to come from its anchor.
func (m *Machine) homeTest(r *signaling.Received, b *mh.HomeTest) {
	e := m.entries[pair{r.Destination, r.Source}]
	if e == nil || r.RoutingHome.IsValid() || !r.Tunneled && !m.paths[e.home].AtHome ||
		!e.homeTested.take(r.Destination, b.Cookie, b.Token, b.NonceIndex) {
		m.counters.Ignored++
	}
}

// careOfTest is RFC 6275 section 11.6.2.
func (m *Machine) careOfTest(r *signaling.Received, b *mh.CareOfTest) {
	for _, e := range m.list {
		if e.peer == r.Source && !r.RoutingHome.IsValid() && e.careOfTested.take(r.Destination, b.Cookie, b.Token, b.NonceIndex) {
			return
		}
	}
	m.counters.Ignored++
}

// take takes the answer to a test, if it is one.
func (t *test) take(destination netip.Addr, cookie mh.Cookie, token mh.KeygenToken, index uint16) bool {
	if !t.active() || t.held || t.sent == 0 || t.address != destination || t.cookie != cookie {
		return false
	}
	t.attempt = attempt{}
	t.held, t.token, t.index = true, token, index
	return true
}

// bindingError is RFC 6275 section 11.3.6. Anybody can send one, so that what it says costs no more than the detour by the
// tunnel, and a correspondent node is asked again at once but not often.
func (m *Machine) bindingError(now time.Time, r *signaling.Received, b *mh.BindingError) {
	switch b.Status {
	case mh.UnknownBinding:
		e := m.entries[pair{b.HomeAddress, r.Source}]
		if e == nil || !e.bound.held(now) || r.Destination != e.bound.careOf || now.Before(e.promptAfter) {
			m.counters.Ignored++
			return
		}
		e.promptAfter = now.Add(promptInterval)
		e.bound = bound{}
		e.lastError = "the correspondent node has no binding for the home address"
	case mh.UnrecognizedType:
		for _, e := range m.list {
			if e.peer == r.Source && m.expects(e, r.Destination) {
				m.unsupported(now, e)
				return
			}
		}
		m.counters.Ignored++
	default:
		m.counters.Ignored++
	}
}

// expects says whether the pair waits for an answer to a message from that address.
func (m *Machine) expects(e *entry, source netip.Addr) bool {
	return e.homeTested.active() && source == e.home || e.careOfTested.active() && source == e.careOfTested.address ||
		e.request.active() && (source == e.home || source == m.paths[e.home].CareOf)
}

// unsupported has a correspondent node left alone by all pairs (RFC 6275 section 11.3.5).
func (m *Machine) unsupported(now time.Time, e *entry) {
	p := m.peerOf(e)
	p.unsupportedUntil = now.Add(m.cfg.RetryUnsupported)
	for _, o := range m.list {
		if o.peer == e.peer {
			o.stop()
			o.bound, o.remembered = bound{}, time.Time{}
			o.lastError = "the correspondent node is without Mobile IPv6"
		}
	}
	m.report(e, signaling.Report{Kind: Unsupported, Detail: e.lastError})
}

// refreshRequest is RFC 6275 section 11.7.4.
func (m *Machine) refreshRequest(now time.Time, r *signaling.Received, home netip.Addr) {
	e := m.entries[pair{home, r.Source}]
	if e == nil || !e.wanted || !e.bound.held(now) || now.Before(e.promptAfter) {
		m.counters.Ignored++
		return
	}
	e.promptAfter = now.Add(promptInterval)
	e.bound.refreshAt = now
}
