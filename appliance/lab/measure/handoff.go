package measure

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// Move is a move that was made.
type Move struct {
	Node, Interface, From, To string
	Class                     topology.MoveClass
	Way                       topology.Way
	// At are the NATs that forgot their mappings, by topology.ForgetWay.
	At []string
	// What is expected of it.
	Lossless        bool
	PreviousMAAR    string
	NoBindingUpdate bool
	// Unplugged and Plugged are when the old link was taken away and when the new one was there.
	Unplugged, Plugged int64
}

// String is where a move leads from and to; an interface may be plugged in or unplugged only.
func (m Move) String() string {
	switch {
	case m.Way == topology.ForgetWay:
		return strings.Join(m.At, ", ") + ": forgetting"
	case m.From == "":
		return m.Interface + " into " + m.To
	case m.To == "":
		return m.Interface + " out of " + m.From
	}
	return m.From + " -> " + m.To
}

// Handoff is a move and what it did to a probe.
type Handoff struct {
	Move
	Downlink, Uplink Silence
	Parts            Parts
	// Learned is when the previous MAAR learned of the move, 0 if there is none or it did not. LostLater counts the datagrams
	// to the mobile node that were sent after that and never arrived.
	Learned   int64
	LostLater int
	// Events of all nodes in the window.
	Events []Event
}

// Handoffs measures each move. The traffic ended at end.
func Handoffs(moves []Move, downlink, uplink traffic.Snapshot, events []Event, end int64) []Handoff {
	slices.SortStableFunc(events, func(a, b Event) int { return a.Time.Compare(b.Time) })
	slices.SortStableFunc(downlink.Arrivals, func(a, b traffic.Arrival) int { return cmp.Compare(a.Received, b.Received) })
	slices.SortStableFunc(uplink.Arrivals, func(a, b traffic.Arrival) int { return cmp.Compare(a.Received, b.Received) })
	var out []Handoff
	if len(moves) == 0 {
		return nil
	}
	downFlight := Longest(downlink, moves[0].Unplugged)
	upFlight := Longest(uplink, moves[0].Unplugged)
	for i, m := range moves {
		until := end
		if i+1 < len(moves) {
			until = moves[i+1].Unplugged
		}
		h := Handoff{
			Move:     m,
			Downlink: Around(downlink, m.Unplugged, until, downFlight),
			Uplink:   Around(uplink, m.Unplugged, until, upFlight),
			Parts:    Split(events, m.Node, m.Plugged, until),
			Events:   Between(events, m.Unplugged, until),
		}
		if m.PreviousMAAR != "" {
			h.Learned = learned(h.Events, m.PreviousMAAR)
			if h.Learned != 0 {
				h.LostLater = Around(downlink, h.Learned, until, 0).Lost
			}
		}
		if t, ok := First(downlink, m.Plugged, until, false); ok {
			h.Parts.FirstDownlink = since(t, m.Plugged)
		}
		if t, ok := First(uplink, m.Plugged, until, true); ok {
			h.Parts.FirstUplink = since(t, m.Plugged)
		}
		out = append(out, h)
	}
	return out
}

// BindingUpdates is how many the moving node sent.
func (h Handoff) BindingUpdates() (n int) {
	for _, e := range h.Events {
		if e.Node == h.Node && e.Kind == BindingUpdateSent {
			n++
		}
	}
	return n
}

// learned is when a previous MAAR was told where a mobile node is now.
func learned(events []Event, maar string) int64 {
	for _, e := range events {
		if e.Node == maar && e.Kind == ProxyUpdateReceived {
			return e.Time.UnixNano()
		}
	}
	return 0
}

func since(t, start int64) *time.Duration {
	d := time.Duration(t - start)
	return &d
}

// Class is the moves of one kind and their figures.
type Class struct {
	Name             topology.MoveClass
	Moves            int
	Unrecovered      int
	Downlink, Uplink Summary
	Lost, Reordered  int
	// LostMax is the greatest loss of one move, both directions together.
	LostMax int
	// Parts are each part's time since the interface was plugged in, by PartNames.
	Parts []Summary
}

// PartNames are the names of the parts of a handoff in order.
var PartNames = []string{"link up", "router advertisement", "care-of usable", "BU sent", "BA received", "first downlink", "first uplink"}

// List is the parts in the order of PartNames.
func (p Parts) List() []*time.Duration {
	return []*time.Duration{p.LinkUp, p.Advertisement, p.CareOfUsable, p.UpdateSent, p.Acknowledgement, p.FirstDownlink, p.FirstUplink}
}

// Classify summarises the handoffs of each class that there are any of.
func Classify(handoffs []Handoff) []Class {
	var classes []Class
	for _, name := range topology.MoveClasses {
		if c := classify(name, handoffs); c.Moves > 0 {
			classes = append(classes, c)
		}
	}
	return classes
}

func classify(name topology.MoveClass, handoffs []Handoff) Class {
	c := Class{Name: name, Parts: make([]Summary, len(PartNames))}
	var down, up []time.Duration
	parts := make([][]time.Duration, len(PartNames))
	for _, h := range handoffs {
		if h.Class != name {
			continue
		}
		c.Moves++
		if !h.Downlink.Recovered || !h.Uplink.Recovered {
			c.Unrecovered++
		}
		down = append(down, h.Downlink.Duration())
		up = append(up, h.Uplink.Duration())
		lost := h.Downlink.Lost + h.Uplink.Lost
		c.Lost += lost
		c.LostMax = max(c.LostMax, lost)
		c.Reordered += h.Downlink.Reordered + h.Uplink.Reordered
		for i, d := range h.Parts.List() {
			if d != nil {
				parts[i] = append(parts[i], *d)
			}
		}
	}
	c.Downlink, c.Uplink = Summarise(down), Summarise(up)
	for i := range parts {
		c.Parts[i] = Summarise(parts[i])
	}
	return c
}
