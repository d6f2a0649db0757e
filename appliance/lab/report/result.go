// Package report says how a lab went: as text for people, as JSON for programs, as a picture.
package report

import (
	"fmt"
	"net/netip"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// Result is everything that a lab has found out.
type Result struct {
	Lab *topology.Lab
	// Machine is kernel and processors.
	Machine string
	// Command reproduces the run.
	Command  string
	Began    time.Time
	Ended    time.Time
	Rootless bool
	// Favoured is set if the lab's processes had a larger share of the processors than others.
	Favoured bool
	// Load is the machine's load average of the minute before, to be compared with its Processors.
	Load       float64
	Processors int

	Downloads []Download
	Probes    []Probe
	Flows     []Flow
	Nodes     []Node
	// Moves are those made while flows ran, Traces the same with the events of each.
	Moves  []measure.Move
	Traces []measure.Handoff
	Echoes []Echo
	// Leases are the addresses that the mobile nodes of flows had of anchors.
	Leases []measure.Lease
	// Names are the kedge nodes by the addresses of their links.
	Names map[netip.Addr]string
	// Access is what was observed of network-based mobility, nil if nothing.
	Access *Access
	// ChallengeACKs counts the TCP segments of the mobile nodes' kernels that doubt a reset's sequence number (RFC 5961
	// section 3.2).
	ChallengeACKs int64
	// Interrupted is set if the lab was stopped before its end.
	Interrupted bool
	// Failure is why the lab could not be carried through, if so.
	Failure error
	Checks  []Check
}

// Passed reports whether the lab was carried through and everything expected of it holds.
func (r *Result) Passed() bool {
	for _, c := range r.Checks {
		if !c.Passed {
			return false
		}
	}
	return r.Failure == nil && !r.Interrupted
}

// Download is a download that ended.
type Download struct {
	topology.Download
	traffic.Outcome
}

// Probe is a probe that ended, with what each move did to it.
type Probe struct {
	topology.Probe
	Downlink, Uplink traffic.Snapshot
	Handoffs         []measure.Handoff
	Classes          []measure.Class
}

// Node is what became of a node.
type Node struct {
	Name string
	Kind topology.Kind
	// Exit is how its process ended before the lab did; empty if it did not.
	Exit    string
	Capture CaptureCounts
}

// CaptureCounts are the packets in a node's capture file, and those that are not in it.
type CaptureCounts struct {
	Packets, Dropped, Omitted uint64
}

// Check is one expectation and whether it holds.
type Check struct {
	Name            string
	Passed          bool
	Found, Expected string
}

// Judge fills in Checks from the lab's expectations.
func (r *Result) Judge() {
	e := r.Lab.Expect
	add := func(name string, passed bool, found, expected string) {
		r.Checks = append(r.Checks, Check{Name: name, Passed: passed, Found: found, Expected: expected})
	}
	for _, d := range r.Downloads {
		if e.TCPSurvives {
			found := fmt.Sprintf("%d connection, ended in order", d.Connections)
			if d.Err != nil {
				found = d.Err.Error()
			}
			add(d.Name+": the TCP connection survives", d.Survived(), found, "one connection, ended in order")
		}
		if e.HashVerified {
			found := fmt.Sprintf("%d octets sent, %d received, SHA-256 %.16s… and %.16s…", d.Sent, d.Outcome.Received, d.SentHash, d.ReceivedHash)
			add(d.Name+": every octet arrives unchanged", d.Verified(), found, "equal")
		}
	}
	for _, p := range r.Probes {
		for _, c := range p.Classes {
			judgeMoves(add, p.Name, c, e.Of(c.Name))
		}
		judgeLosses(add, p)
	}
	for _, f := range r.Flows {
		r.judgeFlow(add, f)
	}
	r.judgeAccess(add)
	for _, n := range r.Nodes {
		if n.Exit != "" {
			add("node "+n.Name+": runs to the end", false, n.Exit, "running")
		}
	}
}

func judgeMoves(add func(string, bool, string, string), probe string, c measure.Class, e *topology.MoveExpectations) {
	if e == nil {
		return
	}
	name := probe + ", " + classText[c.Name] + ": "
	add(name+"traffic resumes after each", c.Unrecovered == 0, fmt.Sprintf("%d of %d", c.Moves-c.Unrecovered, c.Moves), "all")
	limit := func(what string, found time.Duration, most topology.Duration) {
		if most.Std() > 0 {
			add(name+what, found <= most.Std(), ms(found), "at most "+ms(most.Std()))
		}
	}
	limit("downlink silent, median", c.Downlink.Median, e.DownlinkMedianMax)
	limit("uplink silent, median", c.Uplink.Median, e.UplinkMedianMax)
	limit("downlink silent, greatest", c.Downlink.Max, e.DownlinkMax)
	limit("uplink silent, greatest", c.Uplink.Max, e.UplinkMax)
	if e.LossMax > 0 {
		add(name+"datagrams lost by one move", c.LostMax <= e.LossMax, fmt.Sprint(c.LostMax), fmt.Sprintf("at most %d", e.LossMax))
	}
}

// judgeLosses is about what single moves may cost.
func judgeLosses(add adder, p Probe) {
	for i, h := range p.Handoffs {
		name := fmt.Sprintf("%s, move %d, %s: ", p.Name, i+1, h.Move)
		if h.Lossless {
			lost := h.Downlink.Lost + h.Uplink.Lost
			add(name+"nothing is lost", lost == 0, fmt.Sprintf("%d datagrams lost", lost), "none")
		}
		if h.NoBindingUpdate {
			add(name+"the mobile node keeps its care-of address", h.BindingUpdates() == 0, fmt.Sprintf("%d Binding Updates", h.BindingUpdates()), "none")
		}
		if h.PreviousMAAR != "" {
			found := "it never learned of the move"
			if h.Learned != 0 {
				found = fmt.Sprintf("%d lost of those sent later than %s after the move", h.LostLater, ms(time.Duration(h.Learned-h.Unplugged)))
			}
			add(name+"nothing is lost of what was sent to the mobile node after "+h.PreviousMAAR+" had learned of the move",
				h.Learned != 0 && h.LostLater == 0, found, "none")
		}
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
