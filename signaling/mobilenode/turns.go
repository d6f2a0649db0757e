package mobilenode

import (
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// turns are how the ways of an uplink are tried while there is no binding. RFC 5555 section 4.4.1 has the next way tried after
// three attempts, and so it is here: each gets three, with the waits of RFC 6275 section 11.8. But they take turns, natively
// first and an attempt each, so that what passes in datagrams need not wait for all three where native packets are filtered,
// nor what passes natively where datagrams are. Once there is a binding over UDP, the ways before it have three attempts in a
// row, which traffic does not wait for (Machine.upgrading).
type turns struct {
	// now is the way whose turn it is: that of the last Binding Update; 0 before the first.
	now PlaceKind
	// taken is how many have gone by without an answer, in this round, and missed what ways that was by.
	taken  int
	missed PlaceKind
}

// sharing are the ways of an uplink that take turns for the request under way. There are none with a binding, nor after an
// answer, nor where the network is known not to let native packets pass.
func (m *Machine) sharing(u *uplink) []PlaceKind {
	r := &m.request
	if m.entry.held || r.purpose != register || r.refreshing || r.unanswered != r.count {
		return nil
	}
	list := Places(m.cfg.Transport, m.cfg.Endpoints, &u.Attachment)
	if !u.triesNative(list) {
		return nil
	}
	var kinds []PlaceKind
	for i := range list {
		if k := list[i].Kind(); u.failed&k == 0 {
			kinds = append(kinds, k)
		}
	}
	if len(kinds) < 2 {
		return nil
	}
	return kinds
}

// triesNative says that the native way is among these ways of the uplink and has not failed.
func (u *uplink) triesNative(list []Place) bool {
	return len(list) > 0 && !list[0].UDP() && u.failed&OverNative == 0
}

// lap is how often each way has had its turn.
func (m *Machine) lap(u *uplink) int {
	if kinds := m.sharing(u); kinds != nil {
		return u.turns.taken / len(kinds)
	}
	return 0
}

// yield ends a turn. Its request is kept, because the answer may still come.
func (m *Machine) yield(now time.Time, u *uplink, kinds []PlaceKind) {
	t := &u.turns
	t.missed |= m.place.Kind()
	t.now = kinds[(slices.Index(kinds, m.place.Kind())+1)%len(kinds)]
	if t.taken++; t.taken >= transportAttempts*len(kinds) {
		t.taken = 0
		u.allFailed()
	}
	m.yielded, m.request = m.request, request{}
	m.report(signaling.Report{Kind: TransportChanged, Detail: "not answered yet " + m.place.describe()})
	m.move(now)
}

// resume goes back to the request whose turn is over if it is that which ba answers: duplicate address detection and a long
// way may take longer than a turn.
func (m *Machine) resume(ba *mh.BindingAcknowledgement, in *signaling.Received) bool {
	r := &m.yielded
	if m.entry.held || m.request.purpose != register || !r.awaits(ba.Sequence) || in.Outer != r.way.endpoint ||
		r.agent != m.agents.current || m.place.Uplink != r.uplink || m.authentic(ba, in.Payload, r.way.careOf) != nil {
		return false
	}
	u := m.uplinkOf(r.uplink)
	list := Places(m.cfg.Transport, m.cfg.Endpoints, &u.Attachment)
	i := slices.IndexFunc(list, func(p Place) bool { return p.way() == r.way })
	if i < 0 {
		return false
	}
	u.turns.now = list[i].Kind()
	m.place = place{Place: list[i]}
	m.request, m.yielded = m.yielded, request{}
	return true
}
