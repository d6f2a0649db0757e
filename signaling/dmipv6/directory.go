package dmipv6

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

const (
	// maxAsked is how many correspondents one DHP Query asks for, and maxTold how many DHPs a reply tells of.
	maxAsked = 16
	maxTold  = 4
	// maxQueue bounds the correspondents that wait for the next query.
	maxQueue = 1024
	// siteBits is the length of a prefix whose addresses are likely to have the same DHPs: that of a site. What is asked
	// for one of them is not asked for another meanwhile.
	siteBits = 48
	// A home agent that never answered a query is not asked for unusableLong, one that did for unusableShort.
	unusableLong  = 5 * time.Minute
	unusableShort = 10 * time.Second
)

// directory is the home agent as the one that keeps the directory of DHPs.
type directory struct {
	peer
	queries []*query
	queue   []wish
	// flushAt is when the rate limit lets the queue go; zero while it is empty.
	flushAt       time.Time
	unusableUntil time.Time
	// why says what made it unusable; answered that it ever answered.
	why      string
	answered bool
}

// query is a DHP Query.
type query struct {
	exchange
	wishes []wish
}

// wish is one address that DHPs are asked for.
type wish struct {
	address netip.Addr
	// renewal says that it is about a DHP's ticket, so that no DHP near the address means nothing.
	renewal bool
	// alone says that the DHPs of others left no room in a reply.
	alone bool
}

func (d *directory) forget() { *d = directory{} }

// askable says whether the home agent may be asked: "a Query is only sent after registering". At home it has answered too, and
// tickets of addresses that are still in use there have to be renewed.
func (m *Machine) askable(now time.Time) bool {
	return m.cfg.UseHomeAgent && (m.home.Registered || m.home.AtHome) && !m.stopping &&
		!now.Before(m.directory.unusableUntil) && m.home.HomeAgent.Is6() && m.homePlace().CareOf.IsValid()
}

func site(a netip.Addr) netip.Prefix {
	p, _ := a.Prefix(siteBits)
	return p
}

// asked says whether the answer to an outstanding query is likely to be about address too.
func (d *directory) asked(address netip.Addr) bool {
	same := func(w wish) bool {
		return w.address == address || !w.renewal && site(w.address) == site(address)
	}
	return slices.ContainsFunc(d.queue, same) ||
		slices.ContainsFunc(d.queries, func(q *query) bool { return slices.ContainsFunc(q.wishes, same) })
}

// ask has the home agent asked for DHPs near address, or joins what is being asked. It returns false if there is no room.
func (m *Machine) ask(w wish) bool {
	d := &m.directory
	if !w.alone && d.asked(w.address) {
		return true
	}
	if len(d.queue) >= maxQueue {
		return false
	}
	// Tickets first, and then the latest: a flow that has waited long has been let go when its turn comes.
	i := 0
	for !w.renewal && i < len(d.queue) && d.queue[i].renewal {
		i++
	}
	d.queue = slices.Insert(d.queue, i, w)
	return true
}

// flushQueries sends what is queued, as far as the rate limit allows.
func (m *Machine) flushQueries(now time.Time) {
	d := &m.directory
	d.address = m.home.HomeAgent
	for d.flushAt = (time.Time{}); len(d.queue) > 0; {
		if !m.askable(now) {
			d.queue = nil
			m.reconsider = true
			return
		}
		if free := d.experimental.Earliest(now); free.After(now) {
			d.flushAt = free
			return
		}
		n := 1
		for n < min(len(d.queue), maxAsked) && !d.queue[0].alone && !d.queue[n].alone {
			n++
		}
		q := &query{exchange: exchange{peer: &d.peer, sequence: m.random(), at: now}, wishes: slices.Clone(d.queue[:n])}
		d.queue = append(d.queue[:0], d.queue[n:]...)
		d.queries = append(d.queries, q)
		m.transmitQuery(now, q)
	}
}

func (m *Machine) transmitQuery(now time.Time, q *query) {
	message := &mh.DMIPv6{Subtype: mh.DHPQuery, Options: mh.Options{m.id}}
	for _, w := range q.wishes {
		message.Options = append(message.Options, &mh.CNAddress{Address: w.address})
	}
	place := m.homePlace()
	switch err := m.send(now, &q.exchange, &place, message, m.cfg.Association, m.homeRoundTrip()); err {
	case nil:
		m.counters.QueriesSent++
		detail := text("for %d correspondents, try %d", len(q.wishes), q.tries)
		m.report(signaling.Report{Kind: DHPQuerySent, CareOf: place.CareOf, Peer: q.peer.address, Sequence: q.sequence, Detail: detail})
		m.stepQuery(now, q, DHPQuerySent, detail)
	case errLimited:
	default:
		m.directoryFailed(now, err.Error())
	}
}

func (m *Machine) restartQueries(now time.Time) {
	for _, q := range m.directory.queries {
		q.restart(now, q.sequence)
	}
}

func (m *Machine) tickDirectory(now time.Time) {
	d := &m.directory
	if !d.unusableUntil.IsZero() && !now.Before(d.unusableUntil) {
		d.unusableUntil = time.Time{}
		m.reconsider = true
	}
	for _, q := range slices.Clone(d.queries) {
		switch {
		case !slices.Contains(d.queries, q):
			return // all were given up
		case !m.askable(now):
			m.dropQueries()
		case q.over(now):
			m.directoryFailed(now, "no answer to DHP Queries")
		case !now.Before(q.at):
			m.transmitQuery(now, q)
		}
	}
	if len(d.queue) > 0 && !now.Before(d.flushAt) {
		m.flushQueries(now)
	}
}

func (m *Machine) nextDirectory(n *next) {
	for _, q := range m.directory.queries {
		n.at(q.at)
	}
	n.at(m.directory.flushAt)
	n.at(m.directory.unusableUntil)
}

func (m *Machine) dropQueries() {
	m.directory.queries, m.directory.queue, m.directory.flushAt = nil, nil, time.Time{}
	m.reconsider = true
}

// directoryFailed has the home agent not asked for a while: it knows nothing of DMIPv6, or is not there.
func (m *Machine) directoryFailed(now time.Time, why string) {
	d := &m.directory
	wait := unusableLong
	if d.answered {
		wait = unusableShort
	}
	d.unusableUntil, d.why = now.Add(wait), why
	for _, p := range m.proxies {
		p.askedAt = time.Time{} // tickets are asked for again as soon as may be
	}
	m.dropQueries()
	m.counters.DirectoryFailures++
	m.report(signaling.Report{Kind: DirectoryUnusable, Peer: m.home.HomeAgent, Lifetime: wait, Detail: why})
}

// handleQueryReply takes a DHP Query Reply in.
func (m *Machine) handleQueryReply(now time.Time, r *signaling.Received, reply *mh.DMIPv6) {
	d := &m.directory
	i := slices.IndexFunc(d.queries, func(q *query) bool { return q.sequence == reply.Sequence })
	if r.Source != m.home.HomeAgent || i < 0 || m.cfg.Association == nil {
		m.hintReceived(now, r, reply)
		return
	}
	q := d.queries[i]
	err := authentic(r, reply, m.cfg.Association)
	var t *transmission
	if err == nil {
		t, err = q.match(r, reply)
	}
	if err != nil {
		m.ignoreReply(r, reply, err)
		return
	}
	d.answered = true
	d.heardFrom(now, t.place.CareOf, now.Sub(t.at))
	if reply.Status == mh.StatusIDMismatch && q.resynchronise(now, reply, t, window(m.cfg.Association)) {
		m.transmitQuery(now, q)
		return
	}
	d.queries = slices.Delete(d.queries, i, i+1)
	m.counters.RepliesReceived++
	told := mh.FindAll[*mh.DHPInformation](reply.Options)
	detail := text("%d DHPs after %v", len(told), now.Sub(t.at))
	if reply.Status != mh.StatusAccepted {
		detail = reply.Status.String()
	}
	m.report(signaling.Report{Kind: DHPQueryReplyReceived, CareOf: t.place.CareOf, Peer: r.Source, Sequence: reply.Sequence,
		Status: uint8(reply.Status), Detail: detail})
	m.stepQuery(now, q, DHPQueryReplyReceived, detail)
	m.reconsider = true
	switch {
	case reply.Status.Accepted():
		m.learnReply(now, q, told, reply)
	case reply.Status == mh.StatusNoDHPKnown:
		m.learnReply(now, q, nil, reply)
	default:
		m.directoryFailed(now, "it refuses DHP Queries: "+reply.Status.String())
	}
}

// learnReply takes in what the home agent says for the addresses of q.
func (m *Machine) learnReply(now time.Time, q *query, told []*mh.DHPInformation, reply *mh.DMIPv6) {
	told = slices.DeleteFunc(slices.Clone(told), func(o *mh.DHPInformation) bool {
		// Coverage that nobody asked for is not the answer to anything.
		return o.Lifetime <= 0 || !mh.UnicastRoutable(o.Address) || m.own(o.Address) || o.Address == m.cfg.HomeAddress ||
			!slices.ContainsFunc(q.wishes, func(w wish) bool { return o.Coverage.Contains(w.address) })
	})
	for _, o := range told {
		m.learn(now, o, FromHomeAgent)
		m.learnEndpoints(now, o, reply.Options)
	}
	m.takeTickets(now, reply)
	for _, w := range q.wishes {
		covered := slices.ContainsFunc(told, func(o *mh.DHPInformation) bool { return o.Coverage.Contains(w.address) })
		known, _ := m.region(w.address)
		switch {
		case covered, w.renewal:
		case known != nil && len(known.near) > 0:
			// What the operator has said, or somebody before, stands.
		case len(told) >= maxTold && len(q.wishes) > 1:
			m.ask(wish{address: w.address, alone: true})
		default:
			m.learnStay(now, w.address)
			m.askAnycast(now, w.address)
		}
	}
	m.hintsConfirmed(now, q)
	for _, w := range q.wishes {
		m.skipTicketless(now, w)
	}
}

// skipTicketless has the DHPs near an address not asked for that there is still no ticket for, nor the home agent for them
// again and again.
func (m *Machine) skipTicketless(now time.Time, w wish) {
	c, known := m.region(w.address)
	if !known {
		return
	}
	for _, n := range m.nearby(c.prefix) {
		if p := m.proxy(n.proxy); p.association(now) == nil && !now.Before(p.skipUntil) {
			m.skipUntilTicket(now, p, "the home agent has issued no ticket for it")
		}
	}
}

// ignoreReply counts a reply that is not taken.
func (m *Machine) ignoreReply(r *signaling.Received, reply *mh.DMIPv6, err error) {
	m.counters.Unauthentic++
	m.report(signaling.Report{Kind: ReplyIgnored, CareOf: r.Destination, Peer: r.Source, Sequence: reply.Sequence,
		Status: uint8(reply.Status), Detail: text("%s (%s) ignored: %v", reply.Subtype, reply.Status, err)})
}
