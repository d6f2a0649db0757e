package report

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"kedge/appliance/lab/topology"
)

// compared has three systems in five rounds, each round half as fast as the one before, of which the last lacks the tunnel.
func compared() *Comparison {
	c := &Comparison{
		Lab: &topology.Lab{Name: "race", Title: "a race", Compare: &topology.Comparison{
			Systems: []topology.System{{Name: "plain", Reference: true}, {Name: "peer", Title: "the other", Reference: true}, {Name: "tunnel"}},
			Targets: []topology.Target{
				{System: "tunnel", Against: "plain", Condition: "gro", Figure: topology.TCPFigure, Direction: "up", Must: 0.5, Aim: 0.9},
				{System: "tunnel", Against: "peer", Condition: "gro", Figure: topology.TCPFigure, Must: 2, Aim: 2.5},
				{System: "tunnel", Against: "plain", Condition: "gro", Figure: topology.ProcessorFigure, Must: 2, Aim: 1.2},
			},
		}},
		Plan:   Plan{Conditions: []string{"gro"}, Rounds: 5, Length: time.Second},
		Kernel: "6.1", Processor: "abacus", Processors: 2, Command: "kedge lab race", Began: time.Unix(1000, 0).UTC(), Ended: time.Unix(1060, 0).UTC(),
		LeftOut: []LeftOut{{"fourth", "it has no legs"}},
	}
	tcp := Quantity{Condition: "gro", Figure: topology.TCPFigure, Direction: "up", Streams: 1}
	work := Quantity{Condition: "gro", Figure: topology.ProcessorFigure, Direction: "up", Streams: 1}
	for round, speed := range []float64{16e9, 8e9, 4e9, 2e9, 1e9} {
		c.Add(round, "plain", tcp, speed)
		c.Add(round, "peer", tcp, speed/4)
		c.Add(round, "plain", work, 2)
		if round < 4 {
			c.Add(round, "tunnel", tcp, speed*[]float64{0.5, 0.6, 0.7, 0.8}[round])
			c.Add(round, "tunnel", work, 5)
		}
		c.Add(round, "plain", Quantity{Condition: "gro", Figure: IdleFigure}, 0.01)
	}
	return c
}

func TestRatios(t *testing.T) {
	var got []string
	for _, r := range compared().Ratios() {
		got = append(got, strings.Join([]string{r.System, r.Against, string(r.Figure), string(r.Mark)}, " "))
		want := map[string]Ratio{
			// (4.8 + 2.8) / (8 + 4), in the four rounds that both have.
			"tunnel plain tcp":       {Medians: 7.6 / 12, Low: 0.5, High: 0.8, Rounds: 4},
			"tunnel peer tcp":        {Medians: 7.6 / 3, Low: 2, High: 3.2, Rounds: 4},
			"tunnel plain processor": {Medians: 2.5, Low: 2.5, High: 2.5, Rounds: 4},
			"peer plain tcp":         {Medians: 0.25, Low: 0.25, High: 0.25, Rounds: 5},
		}[r.System+" "+r.Against+" "+string(r.Figure)]
		for _, v := range [][2]float64{{r.Medians, want.Medians}, {r.Low, want.Low}, {r.High, want.High}} {
			if math.Abs(v[0]-v[1]) > 1e-9 || r.Rounds != want.Rounds {
				t.Errorf("found %+v, expected %+v", r, want)
			}
		}
	}
	if want := "tunnel plain tcp must, tunnel plain processor misses, tunnel peer tcp aim, peer plain tcp "; strings.Join(got, ", ") != want {
		t.Errorf("found %q, expected %q", strings.Join(got, ", "), want)
	}
}

func TestComparisonText(t *testing.T) {
	c := compared()
	var text, markdown, document strings.Builder
	if err := c.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"race: a race", "tunnel / plain", "gro: TCP up, 1 stream", "MISSED", "0.63  0.50-0.80  0.50  0.90    must",
		"gro: processor time, TCP up, 1 stream, s/GB", "fourth was left out: it has no legs",
		"processor time is missing where", "Linux 6.1, 2 x abacus", "peer: the other", "\nMEASURED\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
	if strings.Index(text.String(), "tunnel / plain") > strings.Index(text.String(), "Medians") {
		t.Error("the ratios do not come first")
	}
	if err := c.Markdown(&markdown); err != nil {
		t.Fatal(err)
	}
	if want := "| gro: TCP up, 1 stream | 0.63 | 0.50-0.80 | 0.50 | 0.90 | must |\n"; !strings.Contains(markdown.String(), want) {
		t.Errorf("the Markdown lacks %q:\n%s", want, markdown.String())
	}
	if want := "| gro: TCP up, 1 stream, Gbit/s | 4.00 | 1.00 | 3.80 |\n"; !strings.Contains(markdown.String(), want) {
		t.Errorf("the Markdown lacks %q:\n%s", want, markdown.String())
	}
	if err := c.JSON(&document); err != nil {
		t.Fatal(err)
	}
	var read struct {
		Passed  bool
		Ratios  []Ratio
		Samples []Sample
	}
	if err := json.Unmarshal([]byte(document.String()), &read); err != nil || !read.Passed || len(read.Ratios) != 4 || len(read.Samples) != len(c.Samples) {
		t.Errorf("%v, %+v", err, read)
	}
	c.Interrupted = true
	text.Reset()
	if err := c.Text(&text); err != nil || !strings.Contains(text.String(), "INTERRUPTED") || c.Passed() {
		t.Errorf("%v:\n%s", err, text.String())
	}
	// What was interrupted before anything was measured can be shown too.
	if err := (&Comparison{Lab: c.Lab}).Text(&text); err != nil {
		t.Error(err)
	}
}

func TestPlanDuration(t *testing.T) {
	p := Plan{Conditions: []string{"on", "off"}, Systems: []string{"a", "b", "c"}, Directions: []string{"up", "down"}, Streams: []int{1, 4},
		Measures: Measures, Rounds: 2, Length: 2 * time.Second}
	// 1.5 s to start, 8 s of TCP, 4 s of datagrams, 1 s of round trips.
	if got := p.Duration(); got != 12*14500*time.Millisecond {
		t.Errorf("found %v", got)
	}
}
