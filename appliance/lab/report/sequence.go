package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/topology"
)

// drawnHandoffs is how many handoffs are drawn in full; of a long series the others look alike.
const drawnHandoffs = 6

// repeated kinds are drawn once in a row: periodic messages would hide the others.
var repeated = map[string]bool{measure.RouterAdvertisement: true}

// periodic kinds are not drawn at all: they have nothing to do with a handoff.
var periodic = map[string]bool{
	"dhp-advertisement-sent": true, "dhp-advertised": true, "dhp-advertisement-answered": true, "dhp-coverage-round-trip-changed": true,
}

func (t *writer) sequences(handoffs []measure.Handoff) {
	for i, h := range handoffs {
		if i == drawnHandoffs {
			t.printf("  (the other %d handoffs are in events.jsonl)\n\n", len(handoffs)-drawnHandoffs)
			return
		}
		if len(h.Events) == 0 {
			continue
		}
		t.printf("  Handoff %d, %s: %s\n\n", i+1, h.Node, h.Move)
		for _, line := range Sequence(h) {
			t.printf("    %s\n", line)
		}
		t.printf("\n")
	}
}

// Sequence draws the messages and events of a handoff, a line each: the time since the interface was plugged in, the
// node that tells, and an arrow to or from its peer for a message.
func Sequence(h measure.Handoff) []string {
	var lines []string
	at := func(ns int64, text string) {
		lines = append(lines, fmt.Sprintf("%+9.1f ms  %s", float64(ns-h.Plugged)/1e6, text))
	}
	forgotten := h.Way == topology.ForgetWay
	if forgotten {
		at(h.Plugged, fmt.Sprintf("%-6s all mappings forgotten", strings.Join(h.At, ",")))
	}
	if h.From != "" && !forgotten {
		at(h.Unplugged, fmt.Sprintf("%-6s %s leaves %s", h.Node, h.Interface, h.From))
	}
	if h.To != "" && !forgotten {
		at(h.Plugged, fmt.Sprintf("%-6s %s plugged into %s", h.Node, h.Interface, h.To))
	}
	marks := marksOf(h)
	several := severalHomes(h.Events)
	last := ""
	for _, e := range h.Events {
		key := e.Node + e.Kind
		if periodic[e.Kind] || repeated[e.Kind] && last == key {
			continue
		}
		last = key
		ns := e.Time.UnixNano()
		marks = passed(marks, ns, h, at)
		switch {
		case !several:
			e.Home = ""
		case e.Kind != measure.CareOfAddressUsable:
			// The same for all of them after a move.
			e.CareOf = ""
		}
		at(ns, describe(e))
		if ns > h.Plugged+int64(2*time.Second) {
			break
		}
	}
	passed(marks, 1<<63-1, h, at)
	return lines
}

// severalHomes reports whether the events are about more than one home address.
func severalHomes(events []measure.Event) bool {
	first := ""
	for _, e := range events {
		if e.Home != "" && first != "" && e.Home != first {
			return true
		}
		first = cmp.Or(first, e.Home)
	}
	return false
}

// mark is something that a probe saw.
type mark struct {
	time int64
	text string
}

func marksOf(h measure.Handoff) []mark {
	var marks []mark
	if d := h.Parts.FirstDownlink; d != nil {
		marks = append(marks, mark{h.Plugged + int64(*d), "first datagram received"})
	}
	if d := h.Parts.FirstUplink; d != nil {
		marks = append(marks, mark{h.Plugged + int64(*d), "first datagram sent by this link arrives at the correspondent"})
	}
	slices.SortFunc(marks, func(a, b mark) int { return cmp.Compare(a.time, b.time) })
	return marks
}

// passed tells of the marks up to a time and returns the others.
func passed(marks []mark, until int64, h measure.Handoff, at func(int64, string)) []mark {
	for len(marks) > 0 && marks[0].time <= until {
		at(marks[0].time, fmt.Sprintf("%-6s %s", h.Node, marks[0].text))
		marks = marks[1:]
	}
	return marks
}

func describe(e measure.Event) string {
	var facts []string
	add := func(format string, a ...any) { facts = append(facts, fmt.Sprintf(format, a...)) }
	name := e.Kind
	arrow := ""
	switch {
	case e.Kind == measure.AcknowledgementArrived:
		name, arrow = "Binding Acknowledgement", "in"
		add("status %d", e.Status)
	case e.Kind == measure.RouterAdvertisement:
		name, arrow = "Router Advertisement", "in"
	case e.Kind == measure.BindingUpdateSent:
		name, arrow = "Binding Update", "out"
	case strings.HasSuffix(e.Kind, "-received"):
		name, arrow = strings.ReplaceAll(strings.TrimSuffix(e.Kind, "-received"), "-", " "), "in"
	case strings.HasSuffix(e.Kind, "-sent"):
		name, arrow = strings.ReplaceAll(strings.TrimSuffix(e.Kind, "-sent"), "-", " "), "out"
	}
	if strings.HasPrefix(e.Kind, "binding-") {
		add("sequence %d", e.Sequence)
		add("lifetime %gs", e.Lifetime)
	}
	if e.Home != "" {
		add("home %s", e.Home)
	}
	if e.CareOf != "" {
		add("care-of %s", e.CareOf)
	}
	if e.Link != "" && arrow == "" {
		add("%s", e.Link)
	}
	if e.Detail != "" {
		add("%s", e.Detail)
	}
	text := name
	if len(facts) > 0 {
		text += " (" + strings.Join(facts, ", ") + ")"
	}
	switch arrow {
	case "in":
		return fmt.Sprintf("%-6s <---- %-18s %s", e.Node, e.Peer, text)
	case "out":
		return fmt.Sprintf("%-6s ----> %-18s %s", e.Node, e.Peer, text)
	}
	return fmt.Sprintf("%-6s %s", e.Node, text)
}
