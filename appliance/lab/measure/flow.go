package measure

import (
	"net/netip"
	"slices"
	"time"

	"kedge/appliance/lab/traffic"
)

// Window is a time of the wall clock in nanoseconds.
type Window struct{ Begin, End int64 }

func (w Window) holds(t int64) bool { return t > w.Begin && t <= w.End }

// RoundTrip is the sum of a session's median one-way latencies in a window, 0 if either way nothing arrived.
func RoundTrip(forward, backward traffic.Snapshot, w Window) time.Duration {
	there, back := medianLatency(forward.Arrivals, w.Begin, w.End), medianLatency(backward.Arrivals, w.Begin, w.End)
	if there == 0 || back == 0 {
		return 0
	}
	return there + back
}

// EchoRoundTrip is the median of the requests sent in a window, 0 if none was answered.
func EchoRoundTrip(trips []traffic.RoundTrip, w Window) time.Duration {
	var all []time.Duration
	for _, t := range trips {
		if w.holds(t.Sent) {
			all = append(all, t.Took)
		}
	}
	return Summarise(all).Median
}

// The kinds of events that tell of the end of flows.
const (
	QualityJudged  = "quality-judged"
	FlowTerminated = "flow-terminated"
	BindingDeleted = "binding-deleted"
	AddressLent    = "dhoa-lent"
)

// Lease is an address that an anchor has lent to a node; GivenBack is 0 if it still had it at the end.
type Lease struct {
	Address         netip.Addr
	Lent, GivenBack int64
}

// Leases finds in events what was lent to a node and when it was given back, in order.
func Leases(events []Event, node string) (out []Lease) {
	for _, e := range events {
		address, err := netip.ParseAddr(e.Home)
		if err != nil {
			continue
		}
		if e.Node == node && e.Kind == AddressLent {
			out = append(out, Lease{Address: address, Lent: e.Time.UnixNano()})
		}
		if e.Node != node && e.Kind == BindingDeleted {
			for i := range out {
				if out[i].Address == address && out[i].GivenBack == 0 {
					out[i].GivenBack = e.Time.UnixNano()
				}
			}
		}
	}
	return out
}

// Termination is how the mobile node ended a flow, as times of the wall clock; 0 is never.
type Termination struct {
	// Bound is when the first anchor confirmed the new care-of address after the move.
	Bound int64
	// Judged is when the flow was found to be beyond its bounds, in Reason's words.
	Judged int64
	Reason string
	// Told is when the program learned of it, ToldCorrespondent when the other end's did.
	Told, ToldCorrespondent int64
	// Unused is when the last flow with the same address had ended, and GivenBack when the anchor deleted the binding.
	Unused, GivenBack int64
}

// Since is the time from one moment to another, and whether there were both.
func Since(from, to int64) (time.Duration, bool) {
	return time.Duration(to - from), from != 0 && to != 0
}

// Terminate finds in events how node ended a flow that used address, after it was plugged in. Events are in order.
func Terminate(events []Event, node string, address netip.Addr, plugged int64) Termination {
	var t, judged Termination
	for _, e := range events {
		at := e.Time.UnixNano()
		if at < plugged {
			continue
		}
		about := e.Home == address.String()
		switch {
		case e.Node == node && e.Kind == AcknowledgementArrived && t.Bound == 0:
			t.Bound = at
		case e.Node == node && e.Kind == QualityJudged && about:
			judged.Judged, judged.Reason = at, e.Detail
		case e.Node == node && e.Kind == FlowTerminated && about && t.Judged == 0:
			t.Judged, t.Reason = judged.Judged, judged.Reason
		case e.Node != node && e.Kind == BindingDeleted && about:
			t.GivenBack = at
		}
	}
	return t
}

// InOrder sorts events by time.
func InOrder(events []Event) {
	slices.SortStableFunc(events, func(a, b Event) int { return a.Time.Compare(b.Time) })
}
