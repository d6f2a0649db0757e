// Package measure turns what a lab has recorded, the arrivals of probes and the events of nodes, into figures of
// handoffs. It is pure: times are nanoseconds of one wall clock.
package measure

import (
	"slices"
	"time"

	"kedge/appliance/lab/traffic"
)

// Silence is the longest time without an arrival in one direction around a move: among the pauses that begin soon after
// the move, and those later ones in which datagrams were lost. (A later pause without a loss is this machine being busy.)
type Silence struct {
	// From is the last arrival before it and To the first after; To is the end of the window if there was none.
	From, To int64
	// Recovered is unset if nothing arrived until the end of the window.
	Recovered bool
	// Sent and Lost count the datagrams sent in the window, and those of them that never arrived.
	Sent, Lost int
	// Reordered counts arrivals that a later one had overtaken.
	Reordered int
	// LatencyBefore and LatencyAfter are medians of one-way latency before the move and at the end of its window, 0 if
	// nothing arrived then.
	LatencyBefore, LatencyAfter time.Duration
}

// Duration of the silence.
func (s Silence) Duration() time.Duration { return time.Duration(s.To - s.From) }

// latencyWindow is how much of the stream before and after a move its latency is taken from.
const latencyWindow = int64(400 * time.Millisecond)

// afterMove is how long after a move every pause is taken for its effect.
const afterMove = int64(50 * time.Millisecond)

// pause is how long a stream that works may be without an arrival when its window ends.
const pause = int64(50 * time.Millisecond)

// Around finds the silence of a move in a stream. The window begins at the move and ends at the next, or with the traffic.
// A datagram counts as sent in the window if it had not yet arrived, or should not have, when the window began: flight is
// the longest time that an undisturbed datagram is on the way.
func Around(s traffic.Snapshot, begin, end int64, flight time.Duration) Silence {
	out := Silence{From: begin, To: end}
	last := begin
	if i, _ := slices.BinarySearchFunc(s.Arrivals, begin, later); i > 0 {
		last = s.Arrivals[i-1].Received
	}
	soon := begin + int64(flight) + afterMove
	var longest int64 = -1
	var highest, before uint64
	for _, a := range s.Arrivals {
		if a.Received <= begin {
			highest, before = max(highest, a.Sequence), a.Sequence
			continue
		}
		if a.Received > end {
			break
		}
		missing := a.Sequence > before+1
		before = a.Sequence
		if gap := a.Received - last; gap > longest && (last <= soon || missing) {
			longest, out.From, out.To, out.Recovered = gap, last, a.Received, true
		}
		last = a.Received
		if a.Sequence < highest {
			out.Reordered++
		}
		highest = max(highest, a.Sequence)
	}
	if end-last > max(longest, pause) {
		out.From, out.To, out.Recovered = last, end, false
	}
	arrived := make(map[uint64]bool, len(s.Arrivals))
	for _, a := range s.Arrivals {
		arrived[a.Sequence] = true
	}
	first, _ := slices.BinarySearch(s.Sent, begin-int64(flight))
	past, _ := slices.BinarySearch(s.Sent, end-int64(flight))
	for seq := first; seq < past; seq++ {
		out.Sent++
		if !arrived[uint64(seq)] {
			out.Lost++
		}
	}
	out.LatencyBefore = medianLatency(s.Arrivals, begin-latencyWindow, begin)
	out.LatencyAfter = medianLatency(s.Arrivals, end-latencyWindow, end)
	return out
}

func later(a traffic.Arrival, t int64) int {
	if a.Received <= t {
		return -1
	}
	return 1
}

func medianLatency(arrivals []traffic.Arrival, begin, end int64) time.Duration {
	var all []time.Duration
	for _, a := range arrivals {
		if a.Received > begin && a.Received <= end {
			all = append(all, time.Duration(a.Received-a.Sent))
		}
	}
	return Summarise(all).Median
}

// First finds the first arrival by a link that was plugged in at plugged: downlink what arrives there after, uplink what
// was sent there after.
func First(s traffic.Snapshot, plugged, end int64, uplink bool) (int64, bool) {
	for _, a := range s.Arrivals {
		if a.Received >= end {
			break
		}
		if !uplink && a.Received >= plugged || uplink && a.Sent >= plugged {
			return a.Received, true
		}
	}
	return 0, false
}

// Latency summarises the one-way latency of all that arrived.
func Latency(s traffic.Snapshot) Summary {
	all := make([]time.Duration, 0, len(s.Arrivals))
	for _, a := range s.Arrivals {
		all = append(all, time.Duration(a.Received-a.Sent))
	}
	return Summarise(all)
}

// Longest is the longest one-way latency in a stream before a time, the flight of Around.
func Longest(s traffic.Snapshot, before int64) time.Duration {
	var all []time.Duration
	for _, a := range s.Arrivals {
		if a.Received < before {
			all = append(all, time.Duration(a.Received-a.Sent))
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	// The slowest hundredth is this machine's scheduling.
	return all[len(all)*99/100]
}

// Summary of a number of durations.
type Summary struct {
	Count            int
	Min, Median, Max time.Duration
}

// Summarise sorts out the least, the median and the greatest; all are 0 if there are none. Of an even number the median
// is the mean of the middle two.
func Summarise(all []time.Duration) Summary {
	if len(all) == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return Summary{Count: n, Min: sorted[0], Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Max: sorted[n-1]}
}

// MedianFloat is the median of numbers, 0 if there are none.
func MedianFloat(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
