package database

import (
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// RFC 6275 section 12's constants, for RFC 8885 section 3.6.
const (
	initialTimeout = time.Second
	maxTimeout     = 32 * time.Second
	// maxSent is how often a PBU is sent before its P-MAAR is given up: after the last, maxTimeout goes by twice.
	maxSent = 7
)

// exchange is a PBU that a P-MAAR has to acknowledge. It waits either for its turn (in Machine.outgoing) or for the time to be
// sent again (in Machine.retries).
type exchange struct {
	peer
	// session is whose S-MAAR it tells of; nil if it tells of the end of prefixes.
	session *session
	// ended are those prefixes; the rest of what such a PBU says is in last.
	ended []anchor
	last  answer
	// stamps and sequences are those of what was sent, of which there is sent.
	stamps        [maxSent]mh.NTPTime
	sequences     [maxSent]uint16
	sent          uint8
	waiting, done bool
	due           time.Duration
	position      int32
}

func (x *exchange) when() time.Duration { return x.due }
func (x *exchange) place() *int32       { return &x.position }

// queue has exchanges in the order in which they are to be sent.
type queue struct {
	waiting []*exchange
	head    int
}

func (q *queue) len() int { return len(q.waiting) - q.head }

func (q *queue) push(x *exchange) {
	if !x.waiting {
		x.waiting = true
		q.waiting = append(q.waiting, x)
	}
}

func (q *queue) pop() *exchange {
	x := q.waiting[q.head]
	q.waiting[q.head] = nil
	q.head++
	if q.head == len(q.waiting) {
		q.waiting, q.head = q.waiting[:0], 0
	} else if q.head > 1024 && q.head > len(q.waiting)/2 {
		n := copy(q.waiting, q.waiting[q.head:])
		clear(q.waiting[n:])
		q.waiting, q.head = q.waiting[:n], 0
	}
	x.waiting = false
	return x
}

// begin has x sent from the beginning.
func (m *Machine) begin(x *exchange) {
	x.sent = 0
	m.retries.remove(x)
	m.outgoing.push(x)
}

// stop ends x.
func (m *Machine) stop(x *exchange) {
	x.done = true
	m.retries.remove(x)
	if x.session == nil {
		delete(m.ends, x.peer)
		m.forgetEnd(x)
	}
}

// again is called when a PBU was not answered in time, or may be sent now.
func (m *Machine) again(now time.Time, x *exchange) {
	if x.sent >= maxSent {
		m.unanswered(now, x)
		return
	}
	m.outgoing.push(x)
}

// pace sends as many PBUs as may go by now (RFC 8885 section 3.2).
func (m *Machine) pace(now time.Time) {
	at := m.at(now)
	for m.outgoing.len() > 0 && m.paced <= at {
		x := m.outgoing.pop()
		if x.done || x.sent >= maxSent {
			continue
		}
		if e := earliest(&m.sendings, at, x.peer); e > at {
			m.counters.RateLimited++
			x.due = e
			m.retries.put(x)
			continue
		}
		sent(&m.sendings, at, x.peer)
		m.paced = at + m.cfg.PacingInterval
		m.sendUpdate(now, x)
	}
}

// sendUpdate sends x and has it sent again if it is not acknowledged.
func (m *Machine) sendUpdate(now time.Time, x *exchange) {
	at := m.at(now)
	r := &m.routers[x.router]
	update := m.compose(now, x)
	stamp := r.clock.Stamp(m.clock(now))
	if x.sent > 0 {
		m.counters.Retransmissions++
	}
	x.stamps[x.sent], x.sequences[x.sent] = stamp, update.Sequence
	x.due = at + min(initialTimeout<<x.sent, maxTimeout)
	x.sent++
	m.retries.put(x)
	payload := m.sign(r, update, m.cfg.Address, stamp)
	if payload == nil {
		return
	}
	m.counters.UpdatesSent++
	m.do(signaling.Send{Source: m.cfg.Address, Destination: r.Address, Payload: payload})
	m.do(signaling.Report{
		Kind: UpdateSent, Peer: r.Address, Sequence: update.Sequence, Lifetime: update.Lifetime, Detail: text(x.id),
	})
}

// compose is the PBU of x as things are now.
func (m *Machine) compose(now time.Time, x *exchange) *mh.BindingUpdate {
	u := &mh.BindingUpdate{Acknowledge: true, ProxyRegistration: true, Distributed: true}
	u.Options = append(u.Options, option(x.id))
	s, anchors, last := x.session, x.ended, x.last
	if s != nil {
		anchors, last = s.anchors, m.lastOf(s)
		u.Lifetime = s.left(m.at(now))
	} else {
		s = m.distributed(x.id)
	}
	for i := range anchors {
		if a := &anchors[i]; a.router == x.router {
			u.Options = a.options(u.Options, &mh.AnchoredPrefix{Prefix: prefixFrom(a.prefix)})
		}
	}
	u.Sequence = last.sequence
	u.Options = append(u.Options, &mh.HandoffIndicator{Indicator: last.indicator}, &mh.AccessTechnologyType{Technology: last.access})
	if m.cfg.Ordering == ByTimestamp {
		u.Options = append(u.Options, &mh.Timestamp{Time: m.clock(now)})
	}
	if last.linkLayer != nil {
		u.Options = append(u.Options, last.linkLayer)
	}
	if s != nil && s.serving != x.router {
		u.Options = append(u.Options, &mh.ServingMAAR{Address: m.address(s.serving)})
	}
	return u
}

// lastOf is what s knows of the S-MAAR's latest PBU.
func (m *Machine) lastOf(s *session) answer {
	a := answer{router: s.serving, sequence: s.sequence, id: s.id, indicator: s.indicator, access: s.access}
	if s.linkLayer != "" {
		a.linkLayer = &mh.LinkLayerIdentifier{Identifier: []byte(s.linkLayer)}
	}
	return a
}
