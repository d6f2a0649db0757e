package correspondent

import (
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// homeTestInit answers a Home Test Init (RFC 6275 sections 9.4.1 and 9.4.3).
func (m *Machine) homeTestInit(now time.Time, r *signaling.Received, i *mh.HomeTestInit) {
	if !m.mayTest(now, r) {
		return
	}
	n := m.nonces.current(now)
	m.answerTest(r, &mh.HomeTest{NonceIndex: n.index, Cookie: i.Cookie, Token: n.token(r.Source, homeToken)})
}

// careOfTestInit answers a Care-of Test Init (RFC 6275 sections 9.4.2 and 9.4.4).
func (m *Machine) careOfTestInit(now time.Time, r *signaling.Received, i *mh.CareOfTestInit) {
	if !m.mayTest(now, r) {
		return
	}
	n := m.nonces.current(now)
	m.answerTest(r, &mh.CareOfTest{NonceIndex: n.index, Cookie: i.Cookie, Token: n.token(r.Source, careOfToken)})
}

func (m *Machine) mayTest(now time.Time, r *signaling.Received) bool {
	switch {
	case r.HomeAddress.IsValid() || !mh.UnicastRoutable(r.Source) || r.Source == m.cfg.Address:
		m.counters.Ignored++
		return false
	case !m.tests.Take(now):
		m.counters.Limited++
		return false
	}
	return true
}

// answerTest sends the answer to where the question came from, whatever binding that address has.
func (m *Machine) answerTest(r *signaling.Received, answer mh.Message) {
	payload, err := mh.Append(nil, answer)
	if err != nil {
		return
	}
	mh.SetChecksum(payload, m.cfg.Address, r.Source)
	m.counters.Tests++
	m.send(signaling.Send{Destination: r.Source, Payload: payload})
}
