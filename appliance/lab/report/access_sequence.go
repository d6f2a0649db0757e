package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"kedge/appliance/lab/measure"
)

// sequenceTime is how much of a handoff is drawn.
const sequenceTime = int64(3 * time.Second)

// lifeline is the width of a column of the diagram.
const lifeline = 9

// arrow is a line of a sequence diagram: a message if from and to differ, else something that happened at from.
type arrow struct {
	time     int64
	from, to string
	text     string
	// key is what repetitions have in common.
	key string
}

// accessSequence draws the messages of a handoff between life lines.
func (t *writer) accessSequence(r *Result, i int) {
	a := r.Access
	p := a.Places[i]
	arrows := r.arrows(i)
	if len(arrows) == 0 {
		return
	}
	columns := a.columns()
	where := "attachment at " + p.Router
	if i > 0 {
		where = fmt.Sprintf("handoff %d, %s to %s by %s", i, a.Places[i-1].Router, p.Router, p.Way)
	}
	t.printf("  Sequence of %s. Times of signalling and tunnelled packets are those at %s, of the others those at %s.\n\n", where, a.Transit, a.Host)
	t.printf("           ms  %s\n", header(columns))
	for _, v := range arrows {
		at := float64(v.time-p.Plugged) / 1e6
		if i == 0 {
			at = float64(v.time-arrows[0].time) / 1e6
		}
		t.printf("  %+11.1f  %s  %s\n", at, draw(columns, v.from, v.to), v.text)
	}
	t.printf("\n")
}

// columns are the life lines: the host, the routers in order of places, then everybody else who spoke.
func (a *Access) columns() []string {
	out := []string{a.Host}
	add := func(name string) {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, p := range a.Places {
		add(p.Router)
	}
	for _, p := range a.Places {
		for _, m := range p.Messages {
			if signalling(m) {
				add(a.Names[m.From])
				add(a.Names[m.To])
			}
		}
	}
	return out
}

func header(columns []string) string {
	var b strings.Builder
	for _, c := range columns {
		fmt.Fprintf(&b, "%-*s", lifeline, c)
	}
	return strings.TrimRight(b.String(), " ")
}

// draw draws an arrow between two columns, or a mark in one.
func draw(columns []string, from, to string) string {
	line := []rune(strings.Repeat("|"+strings.Repeat(" ", lifeline-1), len(columns)))[:lifeline*(len(columns)-1)+1]
	i, j := slices.Index(columns, from), slices.Index(columns, to)
	switch {
	case i < 0 || j < 0:
	case i == j:
		line[i*lifeline] = '*'
	default:
		for k := min(i, j)*lifeline + 1; k < max(i, j)*lifeline; k++ {
			line[k] = '-'
		}
		if i < j {
			line[j*lifeline-1] = '>'
		} else {
			line[j*lifeline+1] = '<'
		}
	}
	return string(line)
}

// arrows are the lines of a place's diagram.
func (r *Result) arrows(i int) []arrow {
	a := r.Access
	p := a.Places[i]
	var out []arrow
	end := p.Plugged + sequenceTime
	if i > 0 {
		out = append(out,
			arrow{time: p.Begin, from: a.Host, to: a.Host, text: "leaves " + a.Places[i-1].Network},
			arrow{time: p.Plugged, from: a.Host, to: a.Host, text: "plugged into " + p.Network})
	} else {
		// What came before the lab began its moves is the first attachment.
		end = p.Begin
	}
	for _, m := range p.Messages {
		out = append(out, a.message(m, p))
	}
	for _, e := range p.Events {
		if strings.HasSuffix(e.Kind, "-sent") || strings.HasSuffix(e.Kind, "-received") || periodic[e.Kind] {
			continue
		}
		text := e.Kind
		if e.Detail != "" {
			text += ": " + a.named(e.Detail)
		}
		out = append(out, arrow{time: e.Time.UnixNano(), from: e.Node, to: e.Node, text: text})
	}
	if i > 0 {
		out = append(out, r.dataArrows(i)...)
	}
	slices.SortStableFunc(out, func(x, y arrow) int { return cmp.Compare(x.time, y.time) })
	out = slices.DeleteFunc(out, func(v arrow) bool { return v.time > end })
	return unrepeated(out)
}

// unrepeated leaves out what was drawn with the same ends and text before, and says how often.
func unrepeated(all []arrow) (out []arrow) {
	at := map[string]int{}
	count := map[string]int{}
	for _, v := range all {
		if v.key == "" {
			out = append(out, v)
			continue
		}
		if _, drawn := at[v.key]; !drawn {
			at[v.key] = len(out)
			out = append(out, v)
		}
		count[v.key]++
	}
	for key, n := range count {
		if n > 1 {
			out[at[key]].text += fmt.Sprintf(" (%d times)", n)
		}
	}
	return out
}

// message is the arrow of a message.
func (a *Access) message(m measure.Message, p Place) arrow {
	text := cmp.Or(kindNames[m.Kind], m.Kind)
	if m.Detail != "" && m.Kind != "MLD" {
		text += ": "
	}
	if m.Kind == "MLD" {
		text = ""
	}
	text += a.named(m.Detail)
	v := arrow{time: m.Time, text: text}
	switch {
	case signalling(m):
		v.from, v.to = a.name(m.From), a.name(m.To)
		return v
	case a.signalled(m, p):
		v.from, v.to = a.Host, p.Router
	default:
		v.from, v.to = p.Router, a.Host
		v.text += ", from " + a.name(m.From) + " at " + m.LinkLayer
	}
	v.key = v.from + v.to + v.text
	return v
}

// dataArrows are the first packets through each tunnel, and the first by which flows went on.
func (r *Result) dataArrows(i int) (out []arrow) {
	a := r.Access
	p := a.Places[i]
	seen := map[string]bool{}
	for _, d := range p.Data {
		if !d.Tunnelled() || d.Time < p.Plugged {
			continue
		}
		key := d.OuterFrom.String() + d.OuterTo.String()
		if !seen[key] {
			seen[key] = true
			out = append(out, arrow{time: d.Time, from: a.name(d.OuterFrom), to: a.name(d.OuterTo), text: "first packet in this tunnel"})
		}
	}
	for _, f := range r.Flows {
		for _, s := range f.Silences {
			if s.Move != i-1 {
				continue
			}
			if s.Downlink.Recovered {
				out = append(out, arrow{time: s.Downlink.To, from: a.Host, to: a.Host, text: f.Name + " reaches it again"})
			}
			if s.Uplink.Recovered {
				out = append(out, arrow{time: s.Uplink.To, from: a.Host, to: a.Host, text: f.Name + " reaches " + f.Correspondent + " again"})
			}
		}
	}
	return out
}
