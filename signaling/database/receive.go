package database

import (
	"time"

	"kedge/signaling"
	"kedge/signaling/fault"
	"kedge/signaling/mh"
)

// received takes a Mobility Header message (RFC 6275 section 9.2) if it is a PBU or PBA.
func (m *Machine) received(now time.Time, r *signaling.Received) {
	if !forProxy(r.Payload) {
		return
	}
	if !r.Source.IsValid() || !r.Destination.IsValid() || r.HomeAddress.IsValid() || r.RoutingHome.IsValid() ||
		r.Destination != m.cfg.Address || !fault.Answerable(r.Source) {
		m.counters.Discarded.BadAddresses++
		return
	}
	if !mh.ChecksumValid(r.Payload, r.Source, r.Destination) {
		m.counters.Discarded.BadChecksum++
		return
	}
	message, err := mh.Parse(r.Payload)
	if err != nil {
		m.counters.Discarded.Malformed++
		m.complain(now, fault.Answer(r, err))
		return
	}
	router, ok := m.byAddress[r.Source]
	if !ok {
		m.counters.Discarded.Strangers++
		return
	}
	switch message := message.(type) {
	case *mh.BindingUpdate:
		m.update(now, r, router, message)
	case *mh.BindingAcknowledgement:
		m.acknowledgement(now, r, router, message)
	}
}

// forProxy reports whether a Mobility Header is a Binding Update or Acknowledgement with flag P, as far as can be seen.
func forProxy(b []byte) bool {
	const typeOffset, updateFlags, acknowledgementFlags = 2, 8, 7
	if len(b) <= updateFlags {
		return false
	}
	switch mh.Type(b[typeOffset]) {
	case mh.TypeBindingUpdate:
		return b[updateFlags]&0x02 != 0
	case mh.TypeBindingAcknowledgement:
		return b[acknowledgementFlags]&0x20 != 0
	}
	return false
}

// complain sends the answer to a message that could not be taken, unless it is nil or there were too many lately.
func (m *Machine) complain(now time.Time, answer signaling.Effect) {
	if answer == nil {
		return
	}
	if !m.errors.Take(now) {
		m.counters.Throttled++
		return
	}
	if _, problem := answer.(signaling.SendParameterProblem); problem {
		m.counters.ParameterProblems++
	} else {
		m.counters.BindingErrors++
	}
	m.do(answer)
}
