package routeoptimization

import (
	"bytes"
	"fmt"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/quoted"
)

// icmp takes an ICMPv6 error about a message of the procedure, or about a packet that went past the home agent (RFC 6275
// section 11.3.5).
func (m *Machine) icmp(now time.Time, r *signaling.ReceivedICMP) {
	const (
		unreachable, parameterProblem = 1, 4 // RFC 4443 section 3
		portUnreachable, nextHeader   = 4, 1
	)
	if len(r.Payload) < 8 || r.Payload[0] != unreachable && r.Payload[0] != parameterProblem {
		m.counters.Ignored++
		return
	}
	kind, code := r.Payload[0], r.Payload[1]
	q := quoted.Parse(r.Payload[8:])
	if m.peers[q.Destination] == nil {
		m.counters.Ignored++
		return
	}
	if q.Mobility {
		if e := m.asked(&q); e != nil && kind == parameterProblem && code == nextHeader {
			m.unsupported(now, e)
			return
		}
		m.counters.Ignored++ // a lost message is sent again
		return
	}
	home, _ := quoted.HomeAddresses(r.Payload[8:])
	e := m.entries[pair{home, q.Destination}]
	if e == nil || !e.bound.held(now) || e.bound.careOf != q.Source || now.Before(e.promptAfter) {
		m.counters.Ignored++
		return
	}
	e.promptAfter = now.Add(promptInterval)
	why := fmt.Sprintf("%s sends ICMPv6 type %d code %d about packets past the home agent", r.Source, kind, code)
	switch {
	case kind == unreachable && code != portUnreachable:
		m.fail(now, e, why)
	case kind == parameterProblem:
		m.report(e, signaling.Report{Kind: ICMPError, Detail: why})
	}
}

// asked finds the pair that the quoted message is the last of, by what nobody can guess who has not seen it.
func (m *Machine) asked(q *quoted.Packet) *entry {
	const cookieAt, cookieEnd = 8, 16 // RFC 6275 sections 6.1.3 and 6.1.4
	for _, e := range m.list {
		if e.peer != q.Destination || !m.expects(e, q.Source) {
			continue
		}
		switch q.Type {
		case mh.TypeHomeTestInit, mh.TypeCareOfTestInit:
			t := &e.homeTested
			if q.Type == mh.TypeCareOfTestInit {
				t = &e.careOfTested
			}
			if t.active() && len(q.Header) >= cookieEnd && bytes.Equal(q.Header[cookieAt:cookieEnd], t.cookie[:]) {
				return e
			}
		case mh.TypeBindingUpdate:
			if n := len(e.request.sent); n > 0 && e.request.sent[n-1].sequence == q.Sequence() {
				return e
			}
		}
	}
	return nil
}
