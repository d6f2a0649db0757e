package routeoptimization

import "time"

// The protocol constants of RFC 6275 section 12.
const (
	initialTimeout = 1 * time.Second  // INITIAL_BINDACK_TIMEOUT
	maxTimeout     = 32 * time.Second // MAX_BINDACK_TIMEOUT
	maxFailure     = 3                // MAX_RO_FAILURE
	maxRate        = 3                // MAX_UPDATE_RATE, within one second
)

const (
	retryUnsupported = 10 * time.Minute
	// A pair that failed is tried again after firstRetry, doubling to maxRetry.
	firstRetry = 1 * time.Minute
	maxRetry   = 10 * time.Minute
	// promptInterval is the least time between two things that unauthenticated messages cause.
	promptInterval = 10 * time.Second
	// maxRefusals is how many refusals in a row are mended at once.
	maxRefusals = 3
)

// refreshLead is how long before its end a binding is made anew: time for four tests and as many updates.
func refreshLead(lifetime time.Duration) time.Duration {
	return max(lifetime/10, min(lifetime/2, 30*time.Second))
}

// retryAfter is how long a pair is left alone after so many failures in a row.
func retryAfter(failures int) time.Duration {
	return min(firstRetry<<min(failures-1, 10), maxRetry)
}

// limiter is MAX_UPDATE_RATE: of any four messages the last is more than a second after the first.
type limiter struct {
	sent [maxRate]time.Time
	next int
}

// earliest is when one more may be sent.
func (l *limiter) earliest(now time.Time) time.Time {
	oldest := l.sent[l.next]
	if oldest.IsZero() {
		return now
	}
	if free := oldest.Add(time.Second + time.Millisecond); free.After(now) {
		return free
	}
	return now
}

func (l *limiter) record(now time.Time) {
	l.sent[l.next] = now
	l.next = (l.next + 1) % len(l.sent)
}

func (l *limiter) idle(now time.Time) bool {
	last := l.sent[(l.next+maxRate-1)%maxRate]
	return last.IsZero() || now.Sub(last) > 2*time.Second
}

// attempt is one message that waits for its answer: retransmitted after 1 s, doubling (RFC 6275 section 11.8).
type attempt struct {
	// at is when to send it again; zero if nothing waits.
	at   time.Time
	wait time.Duration
	sent int
}

func (a *attempt) active() bool { return !a.at.IsZero() }

// begin has it sent now, unless it is under way.
func (a *attempt) begin(now time.Time) {
	if !a.active() {
		*a = attempt{at: now}
	}
}

// due says what to do at now: send it, or give up after MAX_RO_FAILURE retransmissions.
func (a *attempt) due(now time.Time, l *limiter) (send, failed bool) {
	if !a.active() || now.Before(a.at) {
		return false, false
	}
	if a.sent > maxFailure {
		return false, true
	}
	if free := l.earliest(now); free.After(now) {
		a.at = free
		return false, false
	}
	l.record(now)
	a.sent++
	a.wait = min(max(2*a.wait, initialTimeout), maxTimeout)
	a.at = now.Add(a.wait)
	return true, false
}
