package report

import (
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/traffic"
)

// The picture: throughput of the first download above, latency of the first probe below, one axis of time.
const (
	pictureWidth = 1100
	plotLeft     = 80
	plotRight    = pictureWidth - 20
	topPlot      = 124
	topHeight    = 220
	lowPlot      = topPlot + topHeight + 60
	lowHeight    = 160
	pictureHigh  = lowPlot + lowHeight + 60
	// labelledMoves is up to how many moves are named in the picture.
	labelledMoves = 12
)

// Plain properties, no variables: not every program that shows SVG knows those.
const pictureStyle = `
  text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #1f2933; }
  .title { font-size: 16px; font-weight: 600; }
  .ground { fill: #ffffff; }
  .grid { stroke: #e1e5ea; stroke-width: 1; }
  .axis { stroke: #1f2933; stroke-width: 1; }
  .rate { fill: none; stroke: #1f6fb2; stroke-width: 1.6; }
  .area { fill: #1f6fb2; opacity: .18; }
  .late { fill: none; stroke: #7a4fa3; stroke-width: 1.6; }
  .range { fill: #7a4fa3; opacity: .22; }
  .silent { fill: #d64545; opacity: .35; }
  .reset { stroke: #d64545; stroke-width: 2.5; }
  .home, .direct { fill: none; stroke: #8a949e; stroke-width: 1.2; stroke-dasharray: 7 4; }
  .direct { stroke-dasharray: 2 3; }
  .move { stroke: #6b7681; stroke-width: 1; stroke-dasharray: 4 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e2e7ec; }
    .ground { fill: #14181d; }
    .grid { stroke: #2c343c; }
    .axis { stroke: #e2e7ec; }
    .rate { stroke: #6ab0ea; }
    .area { fill: #6ab0ea; }
    .late { stroke: #bb95e0; }
    .range { fill: #bb95e0; }
    .silent { fill: #ff6b6b; }
  }
`

// SVG draws the timeline.
func (r *Result) SVG(w io.Writer) error {
	if len(r.Flows) > 0 {
		return r.flowsSVG(w)
	}
	p := &picture{writer: writer{w: w}, begin: r.Began.UnixNano(), end: r.Ended.UnixNano()}
	var samples []traffic.Sample
	var handoffs []measure.Handoff
	var latency []bucket
	if len(r.Downloads) > 0 {
		samples = r.Downloads[0].Samples
	}
	if len(r.Probes) > 0 {
		handoffs = r.Probes[0].Handoffs
		latency = buckets(r.Probes[0].Downlink.Arrivals)
	}
	p.span(samples, latency)
	p.open(pictureHigh, r.Lab.Name+": "+r.Lab.Title)
	p.legend()

	most := 0.0
	for _, s := range samples {
		most = max(most, sampleRate(s)/1e6)
	}
	top := panel{y: topPlot, height: topHeight, most: niceTop(most)}
	p.axes(top, "TCP download, Mbit/s")
	slowest := 0.0
	for _, b := range latency {
		slowest = max(slowest, b.high)
	}
	low := panel{y: lowPlot, height: lowHeight, most: niceTop(slowest)}
	p.axes(low, "UDP one-way latency, downlink, ms")
	p.time(low)

	for i, h := range handoffs {
		if !h.Downlink.Recovered && i+1 < len(handoffs) {
			// Part of the silence of a later move.
			h.Downlink.To = h.Downlink.From
		}
		x1, x2 := p.x(h.Downlink.From), p.x(h.Downlink.To)
		for _, panel := range []panel{top, low} {
			if x2 > x1 {
				p.printf("<rect class=\"silent\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"><title>silent %s</title></rect>\n", x1, panel.y, max(x2-x1, 1), panel.height, ms(h.Downlink.Duration()))
			}
			p.printf("<line class=\"move\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", p.x(h.Plugged), panel.y, p.x(h.Plugged), panel.y+panel.height)
		}
		if len(handoffs) <= labelledMoves {
			p.text(p.x(h.Plugged)+3, topPlot-18, "", "start", fmt.Sprintf("%d: %s", i+1, h.To))
			if x2 > x1 {
				p.text(p.x(h.Plugged)+3, topPlot-4, "", "start", ms(h.Downlink.Duration()))
			}
		}
	}
	p.throughput(top, samples)
	p.latency(low, latency)
	p.printf("</svg>\n")
	return p.err
}

type picture struct {
	writer
	begin, end int64
}

type panel struct {
	y, height int
	most      float64
}

func (l panel) at(v float64) float64 { return float64(l.y+l.height) - v/l.most*float64(l.height) }

func (p *picture) open(height int, title string) {
	p.printf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\">\n<style>%s</style>\n", pictureWidth, height, pictureStyle)
	p.printf("<rect class=\"ground\" width=\"%d\" height=\"%d\"/>\n", pictureWidth, height)
	p.text(plotLeft, 26, "title", "start", title)
}

// span narrows the picture to the time that has data.
func (p *picture) span(samples []traffic.Sample, latency []bucket) {
	var times []int64
	if n := len(samples); n > 0 {
		times = append(times, samples[0].Time, samples[n-1].Time)
	}
	if n := len(latency); n > 0 {
		times = append(times, latency[0].time, latency[n-1].time)
	}
	if len(times) > 0 {
		p.begin, p.end = slices.Min(times), slices.Max(times)
	}
	p.end = max(p.end, p.begin+int64(time.Millisecond))
}

func (p *picture) x(t int64) float64 {
	share := float64(t-p.begin) / float64(p.end-p.begin)
	return plotLeft + min(max(share, 0), 1)*(plotRight-plotLeft)
}

func (p *picture) text(x float64, y int, class, anchor, text string) {
	p.printf("<text x=\"%.1f\" y=\"%d\" class=\"%s\" text-anchor=\"%s\">%s</text>\n", x, y, class, anchor, html.EscapeString(text))
}

func (p *picture) legend() {
	x := plotLeft
	for _, l := range []struct{ class, text string }{
		{"area", "throughput in 50 ms"}, {"range", "latency in 50 ms: median, least to greatest"}, {"silent", "silent downlink"},
	} {
		p.printf("<rect class=\"%s\" x=\"%d\" y=\"38\" width=\"14\" height=\"10\"/>\n", l.class, x)
		p.text(float64(x+20), 48, "", "start", l.text)
		x += 50 + 7*len(l.text)
	}
	p.printf("<line class=\"move\" x1=\"%d\" y1=\"43\" x2=\"%d\" y2=\"43\"/>\n", x, x+14)
	p.text(float64(x+20), 48, "", "start", "plugged in")
}

func (p *picture) axes(l panel, title string) {
	p.text(plotLeft, l.y-36, "", "start", title)
	step := niceStep(l.most)
	for v := 0.0; v <= l.most*1.001; v += step {
		p.printf("<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>\n", plotLeft, l.at(v), plotRight, l.at(v))
		p.text(plotLeft-8, int(l.at(v))+4, "", "end", fmt.Sprintf("%.4g", v))
	}
	p.printf("<line class=\"axis\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", plotLeft, l.y+l.height, plotRight, l.y+l.height)
}

func (p *picture) time(l panel) {
	seconds := float64(p.end-p.begin) / 1e9
	step := niceStep(seconds * .6)
	for v := 0.0; v <= seconds; v += step {
		x := p.x(p.begin + int64(v*1e9))
		p.printf("<line class=\"axis\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", x, l.y+l.height, x, l.y+l.height+5)
		p.text(x, l.y+l.height+20, "", "middle", fmt.Sprintf("%.4g", v))
	}
	p.text((plotLeft+plotRight)/2, l.y+l.height+42, "", "middle", "time in s")
}

func (p *picture) throughput(l panel, samples []traffic.Sample) {
	if len(samples) == 0 {
		return
	}
	var points strings.Builder
	for _, s := range samples {
		fmt.Fprintf(&points, "%.1f,%.1f ", p.x(s.Time), l.at(sampleRate(s)/1e6))
	}
	first, last := p.x(samples[0].Time), p.x(samples[len(samples)-1].Time)
	p.printf("<polygon class=\"area\" points=\"%.1f,%.1f %s%.1f,%.1f\"/>\n", first, l.at(0), points.String(), last, l.at(0))
	p.printf("<polyline class=\"rate\" points=\"%s\"/>\n", points.String())
}

func (p *picture) latency(l panel, all []bucket) {
	// A silence parts the line in two.
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].time-all[n-1].time <= 2*int64(traffic.SampleTime) {
			n++
		}
		var line, high, low strings.Builder
		for i := range n {
			fmt.Fprintf(&line, "%.1f,%.1f ", p.x(all[i].time), l.at(all[i].median))
			fmt.Fprintf(&high, "%.1f,%.1f ", p.x(all[i].time), l.at(all[i].high))
			b := all[n-1-i]
			fmt.Fprintf(&low, "%.1f,%.1f ", p.x(b.time), l.at(b.low))
		}
		p.printf("<polygon class=\"range\" points=\"%s%s\"/>\n<polyline class=\"late\" points=\"%s\"/>\n", high.String(), low.String(), line.String())
		all = all[n:]
	}
}

// bucket is the latency, in ms, of what arrived in one SampleTime.
type bucket struct {
	time              int64
	low, median, high float64
}

func buckets(arrivals []traffic.Arrival) []bucket {
	var out []bucket
	for len(arrivals) > 0 {
		slot := arrivals[0].Received / int64(traffic.SampleTime)
		var all []float64
		n := 0
		for ; n < len(arrivals) && arrivals[n].Received/int64(traffic.SampleTime) == slot; n++ {
			all = append(all, float64(arrivals[n].Received-arrivals[n].Sent)/1e6)
		}
		out = append(out, bucket{
			time: (slot*2 + 1) * int64(traffic.SampleTime) / 2,
			low:  slices.Min(all), median: measure.MedianFloat(all), high: slices.Max(all),
		})
		arrivals = arrivals[n:]
	}
	return out
}

func sampleRate(s traffic.Sample) float64 {
	return float64(s.Octets*8) / traffic.SampleTime.Seconds()
}

// niceStep divides an axis of length v into about five.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v/5)))
	for _, m := range []float64{1, 2, 5, 10} {
		if v/(unit*m) <= 6 {
			return unit * m
		}
	}
	return unit * 10
}

// niceTop is the end of an axis that holds v.
func niceTop(v float64) float64 {
	if v <= 0 {
		return 1
	}
	step := niceStep(v)
	return math.Ceil(v/step) * step
}
