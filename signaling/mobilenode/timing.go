package mobilenode

import "time"

// The protocol constants of RFC 6275 sections 12 and 13.
const (
	firstRegistrationTimeout = 1500 * time.Millisecond // InitialBindackTimeoutFirstReg
	initialBindackTimeout    = 1 * time.Second         // INITIAL_BINDACK_TIMEOUT
	maxBindackTimeout        = 32 * time.Second        // MAX_BINDACK_TIMEOUT
	maxUpdateRate            = 3                       // MAX_UPDATE_RATE, within one second
	initialDHAADTimeout      = 3 * time.Second         // INITIAL_DHAAD_TIMEOUT
	dhaadRetries             = 4                       // DHAAD_RETRIES
)

const (
	// minBindackTimeout is the least first wait for an acknowledgement. INITIAL_BINDACK_TIMEOUT is for want of better
	// knowledge ("should", section 11.8): once a home agent's answers have been timed, a second of waiting after each
	// lost update is a second of silence for nothing, so the first wait is then twice the round trip, but not less
	// than this. Doubling and the rate limit stay as they are.
	minBindackTimeout = 100 * time.Millisecond
	// promptInterval is the least time between two Binding Updates that unauthenticated messages cause.
	promptInterval = 1 * time.Second
	// suspicion is how long an uplink through which the home agent could not be reached is the last to be chosen.
	suspicion = 30 * time.Second
	// A refused node asks again after firstRefusalWait, doubling to maxRefusalWait.
	firstRefusalWait = 30 * time.Second
	maxRefusalWait   = 10 * time.Minute
)

// firstWait is how long to wait for the acknowledgement of a first transmission (RFC 6275 section 11.8). Without a binding
// the home agent may have to do duplicate address detection first, whatever the round trip is.
func (m *Machine) firstWait() time.Duration {
	wait := m.knownWait()
	if u := m.uplinkOf(m.place.Uplink); u != nil {
		wait = min(wait<<min(u.rounds+m.lap(u), maxRounds), maxBindackTimeout)
	}
	return wait
}

// maxRounds is enough for minBindackTimeout to reach maxBindackTimeout.
const maxRounds = 9

func (m *Machine) knownWait() time.Duration {
	switch {
	case !m.entry.held || m.entry.doubtful:
		return m.cfg.FirstRegistrationTimeout
	case m.rtt > 0:
		return min(max(2*m.rtt, minBindackTimeout), maxBindackTimeout)
	}
	return initialBindackTimeout
}

// measure takes one round trip into the smoothed estimate. One that may have had duplicate address detection in it does
// not count.
func (m *Machine) measure(sample time.Duration) {
	if sample <= 0 || !m.entry.held && sample >= initialBindackTimeout {
		return
	}
	if m.rtt == 0 {
		m.rtt = sample
		return
	}
	m.rtt += (sample - m.rtt) / 4
}

// Limit is MAX_UPDATE_RATE for one type of message to one peer (RFC 6275 section 11.8): of any four the last is more than a
// second after the first. The zero value is that of a peer that was sent nothing.
type Limit struct {
	sent [maxUpdateRate]time.Time
	next int
}

// Earliest is when one more may be sent: now, or later.
func (l *Limit) Earliest(now time.Time) time.Time {
	oldest := l.sent[l.next]
	if oldest.IsZero() {
		return now
	}
	if free := oldest.Add(time.Second + time.Millisecond); free.After(now) {
		return free
	}
	return now
}

// Record takes in that one was sent.
func (l *Limit) Record(now time.Time) {
	l.sent[l.next] = now
	l.next = (l.next + 1) % len(l.sent)
}
