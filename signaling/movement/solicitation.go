package movement

import "time"

// Router solicitations are sent again until a router is found (RFC 7559 section 2), each wait about twice the one before.
// RFC 7559's first wait of 4 s, and RFC 4861 section 6.3.7's spacing of 4 s and random delay before the first, protect a
// link whose hosts all start at once; the same section lets a mobile node solicit without delay when its link layer says
// that it may have moved, and each lost solicitation is silence for its user. So the waits start short and reach those 4 s
// after seven solicitations; from there on they are RFC 7559's.
const (
	firstSolicitationWait = 50 * time.Millisecond
	// maxSolicitationWait is RFC 7559's MRT.
	maxSolicitationWait = 3600 * time.Second
)

// solicitation is the retransmission of router solicitations.
type solicitation struct {
	// at is when the next one is due; zero if none is.
	at   time.Time
	wait time.Duration
}

func (s *solicitation) begin(now time.Time) { *s = solicitation{at: now} }

func (s *solicitation) stop() { *s = solicitation{} }

func (s *solicitation) running() bool { return !s.at.IsZero() }

// sent doubles the wait, spread by a tenth either way (RFC 3315 section 14), and returns when it ends.
func (s *solicitation) sent(now time.Time, random func() float64) {
	if s.wait == 0 {
		s.wait = firstSolicitationWait
	} else {
		s.wait = min(2*s.wait, maxSolicitationWait)
	}
	wait := s.wait
	if random != nil {
		wait += time.Duration((random()*0.2 - 0.1) * float64(wait))
	}
	s.at = now.Add(wait)
}

// solicit sends the router solicitation that is due.
func (m *Machine) solicit(now time.Time) {
	if !m.solicitation.running() || now.Before(m.solicitation.at) {
		return
	}
	m.emit(SendRouterSolicitation{
		Source:           m.linkLocal.source(),
		LinkLayerAddress: m.linkLocal.confirmed,
	})
	m.solicitation.sent(now, m.cfg.Random)
}
