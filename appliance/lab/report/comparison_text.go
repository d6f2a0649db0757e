package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"kedge/appliance/lab/topology"
)

// Text writes the comparison for people, ratios first.
func (c *Comparison) Text(w io.Writer) error {
	t := &writer{w: w}
	t.heading(c.Lab.Name + ": " + c.Lab.Title)
	for _, pair := range c.pairs() {
		t.section(fmt.Sprintf("%s / %s", pair[0], pair[1]))
		t.table(c.ratioRows(pair[0], pair[1]))
	}
	t.section("Medians")
	t.table(c.medianRows())
	for _, l := range c.LeftOut {
		t.printf("%s was left out: %s\n", l.System, l.Why)
	}
	if c.busyElsewhere() {
		t.printf("processor time is missing where the machine was busy with other work\n")
	}
	t.section("How")
	for _, line := range c.circumstances() {
		t.printf("  %s\n", line)
	}
	t.printf("\n")
	switch {
	case c.Failure != nil:
		t.printf("FAILED: %v\n", c.Failure)
	case c.Interrupted:
		t.printf("INTERRUPTED\n")
	default:
		t.printf("MEASURED\n")
	}
	return t.err
}

// Markdown writes it for a document.
func (c *Comparison) Markdown(w io.Writer) error {
	t := &writer{w: w}
	for _, line := range c.circumstances() {
		t.printf("- %s\n", line)
	}
	for _, l := range c.LeftOut {
		t.printf("- %s was left out: %s\n", l.System, l.Why)
	}
	for _, pair := range c.pairs() {
		t.printf("\n%s / %s:\n\n", pair[0], pair[1])
		t.markdown(c.ratioRows(pair[0], pair[1]))
	}
	t.printf("\nMedians:\n\n")
	t.markdown(c.medianRows())
	if c.busyElsewhere() {
		t.printf("\nProcessor time is missing where the machine was busy with other work.\n")
	}
	return t.err
}

func (t *writer) markdown(rows [][]string) {
	for i, row := range rows {
		t.printf("| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			t.printf("|%s\n", strings.Repeat("---|", len(row)))
		}
	}
}

// busyElsewhere reports whether there is less of processor time than of the TCP that it is of.
func (c *Comparison) busyElsewhere() bool {
	counts := map[topology.Figure]int{}
	for _, s := range c.Samples {
		counts[s.Figure]++
	}
	return counts[topology.ProcessorFigure] < counts[topology.TCPFigure]
}

// pairs are the systems that are compared with each other, in order.
func (c *Comparison) pairs() (out [][2]string) {
	for _, r := range c.Ratios() {
		if pair := [2]string{r.System, r.Against}; !slices.Contains(out, pair) {
			out = append(out, pair)
		}
	}
	return out
}

func (c *Comparison) ratioRows(system, against string) [][]string {
	rows := [][]string{{"", "ratio", "quartiles", "must", "aim", ""}}
	for _, r := range c.Ratios() {
		if r.System != system || r.Against != against {
			continue
		}
		rows = append(rows, []string{
			r.describe(), fmt.Sprintf("%.2f", r.Medians), fmt.Sprintf("%.2f-%.2f", r.Low, r.High),
			limit(r.Must), limit(r.Aim), map[Mark]string{ReachesAim: "aim", ReachesMust: "must", Misses: "MISSED"}[r.Mark],
		})
	}
	return rows
}

func limit(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", v)
}

func (c *Comparison) medianRows() [][]string {
	systems := c.measured()
	head := []string{""}
	for _, s := range systems {
		head = append(head, s.Name)
	}
	rows := [][]string{head}
	for _, q := range c.quantities() {
		row := []string{q.describe() + ", " + unit(q.Figure)}
		for _, s := range systems {
			cell := "-"
			if v, ok := c.median(q, s.Name); ok {
				cell = quantity(q.Figure, v)
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	return rows
}

// describe says what was measured and under which condition.
func (q Quantity) describe() string {
	streams := fmt.Sprintf("%d streams", q.Streams)
	if q.Streams == 1 {
		streams = "1 stream"
	}
	what := map[topology.Figure]string{
		topology.TCPFigure:       "TCP " + q.Direction + ", " + streams,
		topology.ProcessorFigure: "processor time, TCP " + q.Direction + ", " + streams,
		topology.PacketsFigure:   "64-octet datagrams " + q.Direction,
		topology.MedianFigure:    "round trip, median",
		topology.TailFigure:      "round trip, 99 %",
		IdleFigure:               "while idle",
	}[q.Figure]
	return q.Condition + ": " + what
}

func unit(f topology.Figure) string {
	return map[topology.Figure]string{
		topology.TCPFigure: "Gbit/s", topology.ProcessorFigure: "s/GB", topology.PacketsFigure: "1000/s",
		topology.MedianFigure: "us", topology.TailFigure: "us", IdleFigure: "busy processors",
	}[f]
}

func quantity(f topology.Figure, v float64) string {
	switch f {
	case topology.TCPFigure:
		return fmt.Sprintf("%.2f", v/1e9)
	case topology.PacketsFigure:
		return fmt.Sprintf("%.1f", v/1e3)
	case topology.MedianFigure, topology.TailFigure:
		return fmt.Sprintf("%.0f", v*1e6)
	}
	return fmt.Sprintf("%.2f", v)
}

// circumstances say when, where and how it was measured.
func (c *Comparison) circumstances() []string {
	p := c.Plan
	out := []string{
		fmt.Sprintf("%s, ran %v; kedge %s; `%s`", c.Began.Format("2006-01-02 15:04 MST"), c.Ended.Sub(c.Began).Round(time.Second), c.Version, c.Command),
		fmt.Sprintf("Linux %s, %d x %s%s", c.Kernel, c.Processors, c.Processor, map[bool]string{true: ", without root"}[c.Rootless]),
		fmt.Sprintf("load %.1f in the minute before%s%s", c.Load, map[bool]string{true: ": BUSY WITH OTHER WORK, whose delays are in the figures"}[c.Load > float64(c.Processors)],
			map[bool]string{true: "; the lab has raised its priority"}[c.Favoured]),
		fmt.Sprintf("%d rounds, in each every system in turn under each condition; %v a measurement, of which the first quarter does not count", p.Rounds, p.Length),
		fmt.Sprintf("what of throughput was measured while a hypervisor gave more than %.0f %% of the processors to others was measured again, up to %d times: %d repetitions, %d figures in vain",
			Disturbance*100, Attempts, c.Repeated, c.Disturbed),
		"a ratio is of the medians of all rounds; quartiles are of the ratios within each round",
		"TCP is cubic; processor time is that of the whole machine, traffic programs and all kernels included, less what it was just before with the system idle, by 10^9 octets that TCP delivered",
		"datagrams have 64 octets of payload each, more are offered than any system carries, those that a program received are counted; round trips are of UDP at 200 a second",
		"conditions: " + strings.Join(conditionTexts(p.Conditions), "; "),
	}
	for _, s := range c.measured() {
		if s.Title != "" {
			out = append(out, s.Name+": "+s.Title)
		}
	}
	return out
}

func conditionTexts(names []string) (out []string) {
	texts := map[string]string{
		topology.On:  "super-packets and unfinished checksums cross the wires",
		topology.GRO: "the wires do not segment TCP (tso off, gso off), but UDP; packets are merged on receipt",
		topology.MTU: "packets of at most the MTU cross the wires, UDP too, and are merged on receipt",
		topology.Off: "the wires segment nothing, merge nothing and finish no checksums",
	}
	for _, name := range names {
		out = append(out, name+": "+texts[name])
	}
	return out
}

// JSON writes it for programs, with every sample: bits, datagrams and seconds.
func (c *Comparison) JSON(w io.Writer) error {
	type median struct {
		Quantity
		System string  `json:"system"`
		Value  float64 `json:"median"`
	}
	out := struct {
		Lab         string    `json:"lab"`
		Passed      bool      `json:"passed"`
		Interrupted bool      `json:"interrupted,omitempty"`
		Failure     string    `json:"failure,omitempty"`
		Began       time.Time `json:"began"`
		Ended       time.Time `json:"ended"`
		Version     string    `json:"version"`
		Command     string    `json:"command"`
		Kernel      string    `json:"kernel"`
		Processor   string    `json:"processor"`
		Processors  int       `json:"processors"`
		Rootless    bool      `json:"rootless,omitempty"`
		Favoured    bool      `json:"favoured,omitempty"`
		Load        float64   `json:"load"`
		Rounds      int       `json:"rounds"`
		Seconds     float64   `json:"seconds"`
		LeftOut     []LeftOut `json:"left_out,omitempty"`
		Repeated    int       `json:"repeated"`
		Disturbed   int       `json:"disturbed"`
		Ratios      []Ratio   `json:"ratios"`
		Medians     []median  `json:"medians"`
		Samples     []Sample  `json:"samples"`
	}{
		Lab: c.Lab.Name, Passed: c.Passed(), Interrupted: c.Interrupted, Began: c.Began, Ended: c.Ended, Version: c.Version,
		Command: c.Command, Kernel: c.Kernel, Processor: c.Processor, Processors: c.Processors, Rootless: c.Rootless,
		Favoured: c.Favoured, Load: c.Load, Rounds: c.Plan.Rounds, Seconds: c.Plan.Length.Seconds(), LeftOut: c.LeftOut,
		Repeated: c.Repeated, Disturbed: c.Disturbed,
		Ratios: append([]Ratio{}, c.Ratios()...), Medians: []median{}, Samples: append([]Sample{}, c.Samples...),
	}
	if c.Failure != nil {
		out.Failure = c.Failure.Error()
	}
	for _, q := range c.quantities() {
		for _, s := range c.measured() {
			if v, ok := c.median(q, s.Name); ok {
				out.Medians = append(out.Medians, median{q, s.Name, v})
			}
		}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
