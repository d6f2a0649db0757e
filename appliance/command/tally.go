package command

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// longestMemory is of how many round trips a summary is made, the latest: a probe may run for days.
const longestMemory = 1 << 20

// tally counts what ping sent and what came back. Times are since it started.
type tally struct {
	// gap is the shortest silence that counts as one.
	gap            time.Duration
	sent, received int
	// newest is the answer with the highest sequence number.
	newest answer
	any    bool
	gaps   []gap

	sentBefore int             // at the start of this second
	roundTrips []time.Duration // of this second
	all        []time.Duration
	sendError  error // of this second
}

// answer is one datagram that came back.
type answer struct {
	sequence      int
	at, roundTrip time.Duration
}

// gap is a silence between two answers.
type gap struct {
	// SilentMilliseconds is the time between the two; Lost is how many datagrams sent between theirs had no answer until
	// the later of the two.
	SilentMilliseconds float64 `json:"silent_ms"`
	Lost               int     `json:"lost"`
}

func (g gap) silence() time.Duration {
	return time.Duration(g.SilentMilliseconds * float64(time.Millisecond))
}

func newTally(shortest time.Duration) *tally { return &tally{gap: shortest} }

func (t *tally) send(err error) {
	t.sent++
	if err != nil {
		t.sendError = err
	}
}

// answered counts an answer and returns the gap that it ends, if any. Answers that were overtaken end none.
func (t *tally) answered(a answer) (gap, bool) {
	t.received++
	t.roundTrips = append(t.roundTrips, a.roundTrip)
	if len(t.all) == longestMemory {
		t.all = append(t.all[:0], t.all[longestMemory/2:]...)
	}
	t.all = append(t.all, a.roundTrip)
	before, first := t.newest, !t.any
	if !first && a.sequence <= before.sequence {
		return gap{}, false
	}
	t.newest, t.any = a, true
	silence := a.at - before.at
	if first || silence < t.gap {
		return gap{}, false
	}
	g := gap{SilentMilliseconds: milliseconds(silence), Lost: a.sequence - before.sequence - 1}
	t.gaps = append(t.gaps, g)
	return g, true
}

// second ends a second and says what happened in it. Answers count where they arrived.
func (t *tally) second() string {
	s := fmt.Sprintf("%d sent, %d answered", t.sent-t.sentBefore, len(t.roundTrips))
	if len(t.roundTrips) > 0 {
		s += ", round trip " + spread(t.roundTrips)
	}
	if t.sendError != nil {
		s += fmt.Sprintf(" (%v)", t.sendError)
	}
	t.sentBefore, t.roundTrips, t.sendError = t.sent, t.roundTrips[:0], nil
	return s
}

// spread shows min/median/max and sorts d.
func spread(d []time.Duration) string {
	slices.Sort(d)
	return fmt.Sprintf("%.2f/%.2f/%.2f ms", milliseconds(d[0]), milliseconds(d[len(d)/2]), milliseconds(d[len(d)-1]))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// pingSummary is the end of ping.
type pingSummary struct {
	Sent     int `json:"sent"`
	Answered int `json:"answered"`
	// Gaps are silences between answers, in order.
	Gaps []gap `json:"gaps"`
	// UnansweredAtEnd are the datagrams after the last one that was answered.
	UnansweredAtEnd int `json:"unanswered_at_end"`
	// Round trips in milliseconds; 0 without answers.
	Min    float64 `json:"round_trip_min_ms"`
	Median float64 `json:"round_trip_median_ms"`
	Max    float64 `json:"round_trip_max_ms"`
}

func (t *tally) summary() pingSummary {
	s := pingSummary{Sent: t.sent, Answered: t.received, Gaps: append([]gap{}, t.gaps...), UnansweredAtEnd: t.sent}
	if len(t.all) > 0 {
		s.UnansweredAtEnd = t.sent - t.newest.sequence - 1
		slices.Sort(t.all)
		s.Min, s.Median, s.Max = milliseconds(t.all[0]), milliseconds(t.all[len(t.all)/2]), milliseconds(t.all[len(t.all)-1])
	}
	return s
}

func (s pingSummary) String() string {
	text := fmt.Sprintf("%d sent, %d answered", s.Sent, s.Answered)
	if s.Answered > 0 {
		text += fmt.Sprintf(", round trip %.2f/%.2f/%.2f ms (min/median/max)", s.Min, s.Median, s.Max)
	}
	if len(s.Gaps) > 0 {
		longest := slices.MaxFunc(s.Gaps, func(a, b gap) int { return cmp.Compare(a.SilentMilliseconds, b.SilentMilliseconds) })
		text += fmt.Sprintf("; silent gaps: %d, the longest %v", len(s.Gaps), longest.silence().Round(time.Millisecond))
	}
	if s.UnansweredAtEnd > 1 {
		text += fmt.Sprintf("; the last %d not answered", s.UnansweredAtEnd)
	}
	return text
}
