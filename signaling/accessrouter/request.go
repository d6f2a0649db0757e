package accessrouter

import (
	"time"

	"kedge/signaling/mh"
)

const (
	// initialBindackTimeout and maxBindackTimeout are INITIAL_BINDACK_TIMEOUT and MAX_BINDACK_TIMEOUT, maxUpdateRate is
	// MAX_UPDATE_RATE of RFC 6275 section 12.
	initialBindackTimeout = time.Second
	maxBindackTimeout     = 32 * time.Second
	maxUpdateRate         = 3
	// maxStamps bounds the transmissions of a request that an acknowledgement may still be for.
	maxStamps = 8
	// endingTries is how often a de-registration or clean-up is sent before it counts as done: 31 s.
	endingTries = 5
)

// purpose is what a PBU is for.
type purpose uint8

const (
	registration purpose = iota
	refresh
	deregistration
	cleanup
	// probe is a cleanup of nothing: only from the serving MAAR does the CMD accept it.
	probe
)

// request is a PBU on its way, with all its retransmissions.
type request struct {
	purpose purpose
	// previous are what a cleanup or probe is of.
	previous []*mh.PreviousMAAR
	// first and last are the sequence numbers of its transmissions, stamps the RFC 4285 timestamps of the latest ones, and
	// tries how many there were.
	first, last uint16
	stamps      []mh.NTPTime
	tries       int
	// began is when it was first sent.
	began time.Time
	// timeout is the present one (RFC 8885 section 3.6); due is when to send, again or at all; zero if not.
	timeout time.Duration
	due     time.Time
	// answered says that the CMD has accepted it: more may come.
	answered bool
}

// lifetime is what the request asks for.
func (m *Machine) lifetimeOf(r *request) time.Duration {
	if r.purpose == registration || r.purpose == refresh {
		return m.cfg.Lifetime
	}
	return 0
}

// indicator is the Handoff Indicator of a request (RFC 5213 section 6.9.1): nobody here knows about the mobile node's other
// interfaces and where it was.
func (r *request) indicator() mh.Handoff {
	if r.purpose == refresh || r.purpose == cleanup || r.purpose == probe {
		return mh.HandoffNotChanged
	}
	return mh.HandoffUnknown
}

// sentWith reports whether stamp is that of a transmission.
func (r *request) sentWith(stamp mh.NTPTime) bool {
	for _, s := range r.stamps {
		if s == stamp {
			return true
		}
	}
	return false
}

// ask begins a registration, refresh or de-registration in place of the one before.
func (m *Machine) ask(now time.Time, s *session, p purpose) {
	s.refresh = time.Time{}
	s.request = &request{purpose: p, timeout: initialBindackTimeout}
	m.transmit(now, s, s.request)
}

// allowed is when another PBU about s may be sent (RFC 8885 section 3.6).
func (s *session) allowed(now time.Time) time.Time {
	if first := s.sent[0]; !first.IsZero() {
		if at := first.Add(time.Second); at.After(now) {
			return at
		}
	}
	return now
}

// transmit sends r, or puts it off to when it may be sent.
func (m *Machine) transmit(now time.Time, s *session, r *request) {
	if at := s.allowed(now); at.After(now) {
		r.due = at
		return
	}
	copy(s.sent[:], s.sent[1:])
	s.sent[maxUpdateRate-1] = now
	if r.tries == 0 || m.cfg.Ordering == SequenceNumbers {
		r.last = m.number(s)
	}
	if r.tries == 0 {
		r.first, r.began = r.last, now
	} else {
		m.counters.Retransmissions++
	}
	r.tries++
	r.due = now.Add(r.timeout)
	m.sendUpdate(now, s, r)
}

// repeat sends r again, twice as long after as before.
func (m *Machine) repeat(now time.Time, s *session, r *request) {
	if r.tries > 0 {
		r.timeout = min(2*r.timeout, maxBindackTimeout)
	}
	m.transmit(now, s, r)
}

// number is the next sequence number: this MAAR's, or the mobility session's (RFC 5213 section 5.5).
func (m *Machine) number(s *session) uint16 {
	if m.cfg.Ordering == SequenceNumbers {
		s.sequence++
	} else {
		m.sequence++
		s.sequence = m.sequence
	}
	return s.sequence
}

// find is the request about s that an acknowledgement with this RFC 4285 timestamp answers; nil if none.
func (s *session) find(stamp mh.NTPTime, status mh.Status) *request {
	match := func(r *request) bool {
		if status != mh.StatusIDMismatch {
			return r.sentWith(stamp)
		}
		// That one has the refuser's own upper half (RFC 4285 section 6).
		for _, sent := range r.stamps {
			if uint32(sent) == uint32(stamp) {
				return true
			}
		}
		return false
	}
	if s.request != nil && match(s.request) {
		return s.request
	}
	for _, r := range s.cleanups {
		if match(r) {
			return r
		}
	}
	return nil
}
