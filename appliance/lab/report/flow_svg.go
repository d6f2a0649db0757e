package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// The picture of flows: a lane for each above, round trips below, one axis of time.
const (
	lanesTop   = 92
	laneHeight = 44
	barHeight  = 16
	tripHeight = 240
	// labelWidth is that of a character of a lane's label, about.
	labelWidth = 6.5
	// tripTime is how much of a flow one point of its round trip is taken from.
	tripTime = int64(100 * time.Millisecond)
)

// laneColours do on light and dark ground.
var laneColours = []string{"#2f7fc1", "#2e9e6b", "#c07f22", "#8f5fc0", "#c2478f", "#7a8f2a"}

func (r *Result) flowsSVG(w io.Writer) error {
	p := &picture{writer: writer{w: w}, begin: r.Began.UnixNano(), end: r.Ended.UnixNano()}
	var ends []int64
	for _, f := range r.Flows {
		_, end := f.span()
		ends = append(ends, end)
	}
	if last := slices.Max(ends); last > p.begin {
		p.end = last
	}
	p.end = max(p.end, p.begin+int64(time.Millisecond))
	tripTop := lanesTop + len(r.Flows)*laneHeight + 60
	height := tripTop + tripHeight + 60
	p.open(height, r.Lab.Name+": "+r.Lab.Title)
	p.flowLegend(r)
	var settings []string
	for _, v := range r.Lab.Settings {
		settings = append(settings, v.Name+" "+v.Value)
	}
	p.text(plotRight, 48, "", "end", strings.Join(settings, ", "))
	series := r.tripSeries()
	highest := 0.0
	for _, s := range series {
		for _, v := range s.points {
			// A move's backlog must not flatten all else.
			highest = max(highest, min(v.value, 1.3*r.highestPath()))
		}
	}
	low := panel{y: tripTop, height: tripHeight, most: niceTop(highest)}
	p.axes(low, "round trip, ms")
	p.time(low)
	for i, m := range r.Moves {
		x := p.x(m.Plugged)
		p.printf("<line class=\"move\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", x, lanesTop-14, x, low.y+low.height)
		p.text(x+3, lanesTop-18, "", "start", fmt.Sprintf("%d: %s", i+1, m.To))
	}
	for i, f := range r.Flows {
		p.lane(r, f, lanesTop+i*laneHeight, laneColours[i%len(laneColours)])
	}
	for _, s := range series {
		p.series(low, s)
	}
	p.printf("</svg>\n")
	return p.err
}

func (p *picture) flowLegend(r *Result) {
	x := plotLeft
	p.printf("<rect class=\"silent\" x=\"%d\" y=\"38\" width=\"14\" height=\"10\"/>\n", x)
	p.text(float64(x+20), 48, "", "start", "silent, to the mobile node")
	type line struct{ class, text string }
	lines := []line{{"reset", "reset"}, {"home", "path by the home agent"}, {"direct", "direct path"}, {"move", "plugged in"}}
	if r.Access != nil {
		lines = lines[3:]
	}
	for _, l := range lines {
		x += 200
		p.printf("<line class=\"%s\" x1=\"%d\" y1=\"43\" x2=\"%d\" y2=\"43\"/>\n", l.class, x, x+24)
		p.text(float64(x+30), 48, "", "start", l.text)
	}
}

// span is from a flow's first sign of life to its last.
func (f Flow) span() (begin, end int64) {
	if f.Session != nil {
		return f.Session.Opened, f.MobileEnd().Closed
	}
	if d := f.Datagrams; d != nil && len(d.Uplink.Sent) > 0 {
		return d.Uplink.Sent[0], d.Uplink.Sent[len(d.Uplink.Sent)-1]
	}
	if n := len(f.Exchanges); n > 0 {
		last := f.Exchanges[n-1]
		return f.Exchanges[0].Began, last.Began + int64(last.Took)
	}
	return 0, 0
}

func (p *picture) lane(r *Result, f Flow, y int, colour string) {
	begin, end := f.span()
	if end <= begin {
		return
	}
	x1, x2 := p.x(begin), p.x(end)
	label := f.Name + ": " + f.className()
	if r.Access != nil && f.Mobile == r.Access.Host {
		label = f.Name + ": opened at " + r.Access.Places[f.AfterMove].Router
		if f.Exchanges == nil {
			label += ", " + f.Seen.String()
		}
	} else if f.Seen.IsValid() {
		label += ", " + f.Seen.String() + " of " + f.holderName()
	}
	label += ", " + f.outcome(r.Moves)
	if x1+labelWidth*float64(len(label)) > plotRight {
		p.text(plotRight, y+10, "", "end", label)
	} else {
		p.text(x1, y+10, "", "start", label)
	}
	top := y + 15
	if f.Exchanges != nil {
		for _, x := range f.Exchanges {
			if x.Err == nil {
				p.printf("<rect fill=\"%s\" x=\"%.1f\" y=\"%d\" width=\"2\" height=\"%d\"/>\n", colour, p.x(x.Began), top, barHeight)
			}
		}
		return
	}
	p.printf("<rect fill=\"%s\" opacity=\".75\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", colour, x1, top, x2-x1, barHeight)
	t := f.Termination
	if t == nil || t.Told == 0 {
		silences := []measure.Silence{f.ToMobile}
		if len(f.Silences) > 0 {
			silences = nil
			for _, s := range f.Silences {
				silences = append(silences, s.Downlink)
			}
		}
		for _, s := range silences {
			if s.To <= s.From {
				continue
			}
			x, width := p.x(s.From), p.x(s.To)-p.x(s.From)
			p.printf("<rect class=\"ground\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", x, top, width, barHeight)
			p.printf("<rect class=\"silent\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"><title>silent %s</title></rect>\n", x, top, width, barHeight, ms(s.Duration()))
		}
		return
	}
	x := p.x(t.Told)
	p.printf("<line class=\"reset\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n<line class=\"reset\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n",
		x-6, top+2, x+6, top+barHeight-2, x-6, top+barHeight-2, x+6, top+2)
	if d, both := measure.Since(t.Judged, t.Told); both {
		p.text(x+12, top+13, "", "start", "reset "+ms(d)+" after judged")
	}
	if t.GivenBack != 0 {
		g := p.x(t.GivenBack)
		p.printf("<line class=\"axis\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", g, top, g, top+barHeight)
		at, anchor := g+5, "start"
		if at > plotRight-120 {
			at, anchor = g-5, "end"
		}
		p.text(at, top+13, "", anchor, "address given back")
	}
}

// tripLine is a curve of round trips; colour is empty for those whose class says all.
type tripLine struct {
	name, class, colour string
	points              []tripPoint
}

type tripPoint struct {
	time  int64
	value float64
}

func (r *Result) tripSeries() (out []tripLine) {
	for _, e := range r.Echoes {
		line := tripLine{name: e.Name, class: string(e.Path)}
		for trips := e.Trips; len(trips) > 0; {
			slot, n := trips[0].Sent/tripTime, 0
			var took []time.Duration
			for ; n < len(trips) && trips[n].Sent/tripTime == slot; n++ {
				took = append(took, trips[n].Took)
			}
			line.points = append(line.points, tripPoint{slot*tripTime + tripTime/2, float64(measure.Summarise(took).Median) / 1e6})
			trips = trips[n:]
		}
		out = append(out, line)
	}
	for i, f := range r.Flows {
		line := tripLine{name: f.Name, colour: laneColours[i%len(laneColours)]}
		if f.Datagrams != nil {
			line.points = sessionTrips(f.Datagrams.Downlink, f.Datagrams.Uplink)
		} else if f.Session == nil {
			for _, x := range f.Exchanges {
				if x.Err == nil {
					line.points = append(line.points, tripPoint{x.Began, float64(x.Took) / 1e6})
				}
			}
		} else {
			line.points = sessionTrips(f.Session.Forward.Snapshot(), f.Session.Backward.Snapshot())
		}
		out = append(out, line)
	}
	return out
}

func sessionTrips(forward, backward traffic.Snapshot) (points []tripPoint) {
	if len(forward.Arrivals) == 0 || len(backward.Arrivals) == 0 {
		return nil
	}
	end := min(forward.Arrivals[len(forward.Arrivals)-1].Received, backward.Arrivals[len(backward.Arrivals)-1].Received)
	for t := max(forward.Arrivals[0].Received, backward.Arrivals[0].Received); t < end; t += tripTime {
		if v := measure.RoundTrip(forward, backward, measure.Window{Begin: t, End: t + tripTime}); v > 0 {
			points = append(points, tripPoint{t + tripTime/2, float64(v) / 1e6})
		}
	}
	return points
}

// highestPath is the longest steady round trip in milliseconds.
func (r *Result) highestPath() float64 {
	most := time.Millisecond
	for _, f := range r.Flows {
		for _, p := range []RoundTrips{f.PathBefore, f.PathAfter} {
			most = max(most, p.Flow, p.Home, p.Direct)
		}
	}
	return float64(most) / 1e6
}

func (p *picture) series(l panel, s tripLine) {
	var points strings.Builder
	for _, v := range s.points {
		fmt.Fprintf(&points, "%.1f,%.1f ", p.x(v.time), l.at(min(v.value, l.most)))
	}
	attributes := fmt.Sprintf("class=\"%s\"", s.class)
	if s.colour != "" {
		attributes = fmt.Sprintf("fill=\"none\" stroke=\"%s\" stroke-width=\"2\"", s.colour)
	}
	p.printf("<polyline %s points=\"%s\"><title>%s</title></polyline>\n", attributes, strings.TrimSpace(points.String()), s.name)
}

// Echo is the measurement of a path.
type Echo struct {
	topology.Echo
	Trips []traffic.RoundTrip
}
