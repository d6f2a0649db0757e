package report

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/control"
	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// Flow is a service flow that ended, with what its programs saw and what the mobile node said of it.
type Flow struct {
	topology.Flow
	Mobile, Correspondent string
	// Session is the connection of a stream, Exchanges and Datagrams are those of the other programs.
	Session   *traffic.SessionOutcome
	Exchanges []traffic.Exchange
	Datagrams *Datagrams

	// Seen is the address that the correspondent knew the mobile node by before the move, and Bound the other: what the
	// program's socket said. Holder is the node that had a binding for Seen, empty if none.
	Seen, Bound netip.Addr
	Holder      string
	// Before is what the mobile node said of the flow just before the first move, After at the end; nil if nothing.
	Before, After *control.Flow
	// ToMobile and FromMobile are the silences that began with the first move.
	ToMobile, FromMobile measure.Silence
	// PathBefore and PathAfter are round trips in the second before the first move, and in the flow's last.
	PathBefore, PathAfter RoundTrips
	// Silences are those of each move since a flow of a host without mobility software was opened.
	Silences []MoveSilence
	// Termination is set for a flow that the mobile node was to end.
	Termination *measure.Termination
}

// Datagrams are what was sent and arrived each way.
type Datagrams struct{ Downlink, Uplink traffic.Snapshot }

// MoveSilence is what the move of that number, from 0, did to a flow.
type MoveSilence struct {
	Move             int
	Downlink, Uplink measure.Silence
}

// Stream is the arrivals to and from the mobile node; exchanges have none.
func (f Flow) Stream() (down, up traffic.Snapshot) {
	switch {
	case f.Session != nil:
		return f.Downlink().Snapshot(), f.Uplink().Snapshot()
	case f.Datagrams != nil:
		return f.Datagrams.Downlink, f.Datagrams.Uplink
	}
	return down, up
}

// RoundTrips of a flow, of the path through the home agent and of the direct path to the same correspondent; 0 is not
// measured.
type RoundTrips struct{ Flow, Home, Direct time.Duration }

// moveTime is how long after a move exchanges may fail or take another address: the host itself must find out first.
const moveTime = int64(time.Second)

// ExchangeCounts are exchanges by what became of them.
type ExchangeCounts struct {
	// Steady are those that began at least moveTime after a move began; Answered and Own count of them those that were
	// answered, and those that came from an expected address.
	Steady, Answered, Own int
	// Moving and MovingAnswered count the others.
	Moving, MovingAnswered int
	// Took is how long the steady ones took.
	Took measure.Summary
	// Silence is the longest time between the last answer before a move and the first after it.
	Silence time.Duration
}

// Count sorts the exchanges of a flow by the moves.
func (f Flow) Count(moves []measure.Move) (c ExchangeCounts) {
	var took []time.Duration
	var answers []int64
	for _, x := range f.Exchanges {
		moving := false
		for _, m := range moves {
			moving = moving || x.Began+int64(x.Took) >= m.Unplugged && x.Began < m.Plugged+moveTime
		}
		answered := x.Err == nil
		if answered {
			answers = append(answers, x.Began+int64(x.Took))
		}
		switch {
		case moving:
			c.Moving++
			if answered {
				c.MovingAnswered++
			}
			continue
		case answered:
			c.Answered++
			took = append(took, x.Took)
			if f.expected(x.Seen) && x.Seen == x.Local {
				c.Own++
			}
		}
		c.Steady++
	}
	c.Took = measure.Summarise(took)
	slices.Sort(answers)
	for _, m := range moves {
		for i := 1; i < len(answers); i++ {
			if answers[i-1] < m.Plugged && answers[i] >= m.Unplugged {
				c.Silence = max(c.Silence, time.Duration(answers[i]-answers[i-1]))
			}
		}
	}
	return c
}

// expected reports whether the correspondent may know the mobile node by an address.
func (f Flow) expected(seen netip.Addr) bool {
	return len(f.SeenAs) == 0 || slices.ContainsFunc(f.SeenAs, func(p netip.Prefix) bool { return p.Contains(seen) })
}

// MobileEnd and CorrespondentEnd are the ends of a stream.
func (f Flow) MobileEnd() traffic.End {
	if f.Mobile == f.From {
		return f.Session.Opener
	}
	return f.Session.Acceptor
}

// CorrespondentEnd is the end that does not move.
func (f Flow) CorrespondentEnd() traffic.End {
	if f.Mobile == f.From {
		return f.Session.Acceptor
	}
	return f.Session.Opener
}

// Downlink and Uplink are the ways to and from the mobile node.
func (f Flow) Downlink() traffic.Way {
	if f.Mobile == f.From {
		return f.Session.Backward
	}
	return f.Session.Forward
}

// Uplink goes from the mobile node.
func (f Flow) Uplink() traffic.Way {
	if f.Mobile == f.From {
		return f.Session.Forward
	}
	return f.Session.Backward
}

type adder func(name string, passed bool, found, expected string)

func (r *Result) judgeFlow(add adder, f Flow) {
	if f.Datagrams != nil {
		return
	}
	if f.Session == nil {
		c := f.Count(r.Moves)
		if len(f.SeenAs) > 0 {
			add(f.Name+": every exchange uses the host's own address and is answered", c.Own == c.Steady && c.Steady > 0,
				fmt.Sprintf("%d of %d, of which %d were answered", c.Own, c.Steady, c.Answered), "all that are not within a second of a move")
		}
		return
	}
	if len(f.SeenAs) > 0 {
		add(f.Name+": the correspondent knows it by the address expected", f.expected(f.Seen), f.Seen.String(), fmt.Sprintf("within %v", f.SeenAs))
	}
	if f.Class != "" {
		found := "nothing"
		if f.Before != nil {
			found = f.Before.Class
		}
		add(f.Name+": class", found == f.Class, found, f.Class)
	}
	down, up := f.Downlink(), f.Uplink()
	switch f.Expect {
	case topology.SurvivesFate:
		add(f.Name+": the one connection survives", f.Session.Survived(), ending(f), "ended in order by its program")
		add(f.Name+": every octet arrives unchanged both ways", down.Intact() && up.Intact(), octets(f), "all")
	case topology.ResetFate:
		r.judgeTermination(add, f)
		verified := down.Verified == down.Received && up.Verified == up.Received && down.Received > 0 && up.Received > 0
		add(f.Name+": what arrived before the end arrived unchanged", verified, octets(f), "all that was received")
	}
}

func (r *Result) judgeTermination(add adder, f Flow) {
	e, t := r.Lab.Expect.Flows, f.Termination
	if t == nil {
		t = &measure.Termination{}
	}
	within := func(what string, from, to int64, most topology.Duration) {
		if most.Std() == 0 {
			return
		}
		d, both := measure.Since(from, to)
		found := "never"
		if both {
			found = ms(d)
		}
		add(f.Name+": "+what, both && d <= most.Std(), found, "at most "+ms(most.Std()))
	}
	within("from the binding to the judgement", t.Bound, t.Judged, e.JudgedMax)
	add(f.Name+": the program is told", errors.Is(f.MobileEnd().Err, unix.ECONNRESET), ending(f), "connection reset by peer")
	within("from the judgement to the reset", t.Judged, t.Told, e.ResetMax)
	add(f.Name+": the correspondent is told", errors.Is(f.CorrespondentEnd().Err, unix.ECONNRESET), endText(f.CorrespondentEnd()), "connection reset by peer")
	within("from the last flow's end until its address is given back", t.Unused, t.GivenBack, e.GivenBackMax)
}

func ending(f Flow) string { return endText(f.MobileEnd()) }

func endText(e traffic.End) string {
	switch {
	case e.Err != nil:
		return e.Err.Error()
	case e.Closed == 0:
		return "still open"
	}
	return "ended in order"
}

func octets(f Flow) string {
	down, up := f.Downlink(), f.Uplink()
	return fmt.Sprintf("%d of %d octets to the mobile node, %d of %d from it", down.Verified, down.Sent, up.Verified, up.Sent)
}
