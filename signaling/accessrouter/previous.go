package accessrouter

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// notice is a PBU of the CMD on its way through the MAAR.
type notice struct {
	*signaling.Received
	*mh.BindingUpdate
	id    identity
	stamp mh.NTPTime
	// prefixes are those it is about, serving the Serving MAAR; invalid if it names none.
	prefixes []netip.Prefix
	serving  netip.Addr
}

// update takes a PBU, which the CMD sends to previous MAARs (RFC 8885 sections 3.2 to 3.4), and to all whose prefix it ends.
func (m *Machine) update(now time.Time, r *signaling.Received, u *mh.BindingUpdate) {
	switch {
	case !u.ProxyRegistration:
		return // another role's
	case m.gateway || !u.Distributed || !u.Acknowledge:
		m.counters.Discarded.WrongProtocol++
		return
	case r.Source != m.control:
		m.counters.Discarded.Stranger++
		if m.complaints.Take(now) {
			m.do(signaling.Report{Kind: UpdateReceived, Peer: r.Source, Sequence: u.Sequence, Detail: "from a stranger"})
		}
		return
	}
	q := &notice{Received: r, BindingUpdate: u}
	if err := m.verify(r, u, m.association, r.Source); err != nil {
		return
	}
	var ok bool
	if q.id, ok = subject(u.Options); !ok {
		m.counters.Discarded.Malformed++
		return
	}
	stamp, err := m.fresh(now, m.association, mh.TypeBindingUpdate, q.id, u.Options)
	q.stamp = stamp
	if err != nil {
		m.stale(now, q, err)
		return
	}
	for _, o := range u.Options {
		switch o := o.(type) {
		case *mh.AnchoredPrefix:
			q.prefixes = append(q.prefixes, o.Prefix)
		case *mh.HomeNetworkPrefix:
			q.prefixes = append(q.prefixes, o.Prefix)
		case *mh.ServingMAAR:
			q.serving = o.Address
		}
	}
	m.counters.Updates++
	s := m.sessions[q.id]
	report := signaling.Report{
		Kind: UpdateReceived, Peer: r.Source, CareOf: q.serving, Sequence: u.Sequence, Lifetime: u.Lifetime, Detail: q.id.String(),
	}
	if s != nil {
		report.Home, report.Link = s.own.Addr(), s.link
	}
	m.do(report)
	if u.Lifetime == 0 {
		m.end(now, s, q)
		return
	}
	m.moved(now, s, q)
}

// stale answers a PBU whose timestamp is out of the window (RFC 4285 section 6), but not one that comes late or again.
func (m *Machine) stale(now time.Time, q *notice, err error) {
	if errors.Is(err, errFull) || m.association.Fresh(q.stamp, 0, m.timeOfDay(now)) == nil {
		return
	}
	status, _ := auth.Status(err)
	if status == mh.StatusIDMismatch {
		q.stamp = auth.MismatchReply(q.stamp, m.timeOfDay(now))
	}
	m.reply(now, q, nil, status, 0)
}

// mayServe reports whether a may be the far end of a tunnel: the CMD names it, and it is no loop.
func (m *Machine) mayServe(a netip.Addr) bool { return mh.UnicastRoutable(a) && a != m.cfg.Address }

// moved takes in that another MAAR serves the mobile node.
func (m *Machine) moved(now time.Time, s *session, q *notice) {
	if !m.mayServe(q.serving) {
		m.refuse(now, q, mh.StatusAdministrativelyProhibited)
		return
	}
	if m.outdated(s, q) {
		m.counters.Discarded.Outdated++
		return
	}
	known := s != nil
	if !known {
		if s = m.open(now, q.id); s == nil {
			m.refuse(now, q, mh.StatusInsufficientResources)
			return
		}
		m.introduce(s, q)
	}
	defer m.schedule(s)
	for _, prefix := range q.prefixes {
		if prefix.Bits() == 0 || m.takeUp(now, s, prefix) {
			continue
		}
		if !known {
			m.remove(now, s, "nothing to anchor")
		}
		m.refuse(now, q, mh.StatusNotAuthorizedForHomePrefix)
		return
	}
	if len(s.prefixes()) == 0 {
		m.remove(now, s, "nothing to anchor")
		m.refuse(now, q, mh.StatusNotAuthorizedForHomePrefix)
		return
	}
	if s.state != previous {
		m.counters.Handovers++
		s.lost(now)
	}
	m.follow(now, s, q.serving)
	s.expires = time.Time{}
	if m.cfg.Deregistration == AtExpiry {
		s.expires = now.Add(q.Lifetime)
	}
	m.reply(now, q, s, mh.StatusAccepted, q.Lifetime)
	m.replyToPeer(now, q, s)
	m.save(s)
}

// outdated reports whether the CMD sent q before it could know of the registration that this MAAR has sent since. Both clocks
// have to be good enough for RFC 4285's or RFC 5213's timestamps anyway.
func (m *Machine) outdated(s *session, q *notice) bool {
	return s != nil && s.present() && s.request != nil && s.request.tries > 0 &&
		q.stamp.Time().Before(m.timeOfDay(s.request.began)) && s.request.purpose == registration
}

// introduce learns the link-layer address of a mobile node that this MAAR has forgotten.
func (m *Machine) introduce(s *session, q *notice) {
	if o, ok := mh.Find[*mh.LinkLayerIdentifier](q.Options); ok && len(o.Identifier) == len(s.linkLayer) {
		a := signaling.LinkLayerAddress(o.Identifier)
		// Others of the same address may not be pushed aside.
		if m.byMAC[a] == nil {
			m.know(s, a)
		}
	}
}

// follow has all that is anchored here go to the serving MAAR.
func (m *Machine) follow(now time.Time, s *session, serving netip.Addr) {
	s.waiting = nil
	s.before = netip.Addr{}
	if s.state != previous {
		m.withdraw(s, false)
		if r := s.request; r != nil {
			// It must not register again, but an acceptance under way may still say that it came last (see probe).
			r.due = time.Time{}
			if r.purpose != registration || r.answered || !s.present() {
				s.request = nil
			}
		}
		s.cleanups, s.grace, s.refresh = nil, time.Time{}, time.Time{}
		m.enter(now, s, previous)
		m.do(signaling.Report{Kind: BecamePrevious, Peer: serving, Home: s.own.Addr(), Link: s.link, Detail: s.id.String()})
	}
	if s.tunnel != serving {
		s.cleanups = nil
	}
	s.tunnel = serving
	for _, prefix := range s.prefixes() {
		m.do(signaling.Bind{Home: prefix, Local: m.cfg.Address, Remote: serving})
	}
}

// untunnel takes the tunnel side of s back.
func (m *Machine) untunnel(s *session) {
	for _, prefix := range s.prefixes() {
		m.do(signaling.Unbind{Home: prefix})
	}
	s.tunnel = netip.Addr{}
}

// probe asks the CMD which of two messages was the last: that it accepted the registration here, or that another MAAR serves.
// They have overtaken each other, or one crossed the registration.
func (m *Machine) probe(now time.Time, s *session) {
	s.request = nil
	if s.link == "" {
		return
	}
	r := &request{
		purpose: probe, previous: []*mh.PreviousMAAR{{Address: s.tunnel, Prefix: s.own}}, timeout: initialBindackTimeout,
	}
	s.cleanups = append(s.cleanups, r)
	m.transmit(now, s, r)
}

// regained takes in that the CMD has this MAAR for the serving one after all.
func (m *Machine) regained(now time.Time, s *session, r *request) {
	s.cleanups = slices.DeleteFunc(s.cleanups, func(c *request) bool { return c == r })
	if s.state == previous && r.previous[0].Address == s.tunnel {
		m.serve(now, s, s.link, netip.Prefix{})
	}
}

// end takes in that the CMD ends prefixes of a mobile node here: all it has if q names none.
func (m *Machine) end(now time.Time, s *session, q *notice) {
	if s == nil {
		m.reply(now, q, nil, mh.StatusAccepted, 0)
		return
	}
	m.reply(now, q, s, mh.StatusAccepted, 0)
	left := slices.DeleteFunc(slices.Clone(s.prefixes()), func(p netip.Prefix) bool {
		return len(q.prefixes) == 0 || slices.Contains(q.prefixes, p)
	})
	switch {
	case len(left) == len(s.prefixes()) && len(left) > 0:
		// It has gone before, or was never here.
	case len(left) == 0 || !slices.Contains(left, s.own):
		m.remove(now, s, "ended by the CMD")
	default:
		for _, prefix := range s.older {
			if !slices.Contains(left, prefix) {
				m.endOlder(now, s, prefix)
			}
		}
		s.older = slices.DeleteFunc(s.older, func(p netip.Prefix) bool { return !slices.Contains(left, p) })
	}
	m.schedule(s)
}

func (m *Machine) endOlder(now time.Time, s *session, prefix netip.Prefix) {
	switch {
	case s.state == previous:
		m.do(signaling.Unbind{Home: prefix})
	case s.bound:
		if s.told {
			m.do(signaling.Unadvertise{Link: s.link, MobileNode: s.linkLayer, Prefix: prefix, Tell: true})
		}
		m.do(signaling.UnbindAttached{Prefix: prefix})
	}
	m.pool.release(now, prefix)
	m.saveReleased(now, s, prefix)
}

func (m *Machine) refuse(now time.Time, q *notice, status mh.Status) {
	m.reply(now, q, nil, status, 0)
}

// reply acknowledges q to the CMD.
func (m *Machine) reply(now time.Time, q *notice, s *session, status mh.Status, lifetime time.Duration) {
	options := m.acknowledged(q)
	if o, ok := mh.Find[*mh.Timestamp](q.Options); ok {
		options = append(options, o)
	}
	if q.serving.IsValid() {
		options = append(options, &mh.ServingMAAR{Address: q.serving})
	}
	if status != mh.StatusAccepted {
		m.counters.Refused[status]++
	}
	b := &mh.BindingAcknowledgement{
		Status: status, ProxyRegistration: true, Distributed: true, Sequence: q.Sequence, Lifetime: lifetime, Options: options,
	}
	payload, err := auth.Sign(b, m.association, q.Source, unspecified, q.stamp)
	if err != nil {
		return
	}
	m.acknowledge(q, q.Source, payload, status, lifetime)
}

// acknowledged are the options of every acknowledgement of q.
func (m *Machine) acknowledged(q *notice) mh.Options {
	options := mh.Options{q.id.option()}
	for _, prefix := range q.prefixes {
		options = append(options, &mh.HomeNetworkPrefix{Prefix: prefix})
		options = append(options, m.router(q.id)...)
	}
	for _, o := range q.Options {
		switch o.(type) {
		case *mh.HandoffIndicator, *mh.AccessTechnologyType, *mh.LinkLayerIdentifier:
			options = append(options, o)
		}
	}
	return options
}

// replyToPeer acknowledges q to the serving MAAR too, where the CMD leaves that to its previous MAARs (RFC 8885 section 3.3).
func (m *Machine) replyToPeer(now time.Time, q *notice, s *session) {
	peer, ok := m.peers[q.serving]
	if !m.cfg.Locator || !ok || peer.SPI == 0 {
		return
	}
	a := m.cfg.Associations[peer.SPI]
	a.SPI, a.Identifier = peer.SPI, ""
	b := &mh.BindingAcknowledgement{
		ProxyRegistration: true, Distributed: true, Sequence: q.Sequence, Lifetime: q.Lifetime, Options: m.acknowledged(q),
	}
	payload, err := auth.Sign(b, a, q.serving, unspecified, m.clock.Stamp(m.timeOfDay(now)))
	if err != nil {
		return
	}
	m.counters.PeerAcknowledgements++
	m.acknowledge(q, q.serving, payload, mh.StatusAccepted, q.Lifetime)
}

func (m *Machine) acknowledge(q *notice, to netip.Addr, payload []byte, status mh.Status, lifetime time.Duration) {
	m.counters.AcknowledgementsSent++
	m.send(to, payload)
	m.do(signaling.Report{
		Kind: AcknowledgementSent, Peer: to, CareOf: q.serving, Sequence: q.Sequence, Lifetime: lifetime, Status: uint8(status),
		Detail: q.id.String(),
	})
}
