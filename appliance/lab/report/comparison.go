package report

import (
	"slices"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/topology"
)

// Plan is how much of a comparison is made.
type Plan struct {
	Conditions []string
	Systems    []string
	Directions []string
	// Streams are numbers of TCP connections at a time.
	Streams []int
	// Measures are what is measured: tcp (with its processor time), packets, latency.
	Measures []string
	Rounds   int
	// Length of one measurement.
	Length time.Duration
}

// The measures of a Plan.
const (
	MeasureTCP     = "tcp"
	MeasurePackets = "packets"
	MeasureLatency = "latency"
)

// Measures are all of them.
var Measures = []string{MeasureTCP, MeasurePackets, MeasureLatency}

// Duration is about how long the plan takes.
func (p Plan) Duration() time.Duration {
	one := 1500 * time.Millisecond
	for _, m := range p.Measures {
		switch m {
		case MeasureTCP:
			one += p.Length * time.Duration(len(p.Directions)*len(p.Streams))
		case MeasurePackets:
			one += p.Length * time.Duration(len(p.Directions))
		case MeasureLatency:
			one += p.Length / 2
		}
	}
	return one * time.Duration(p.Rounds*len(p.Conditions)*len(p.Systems))
}

// Quantity is one thing that is measured of each system.
type Quantity struct {
	Condition string          `json:"condition"`
	Figure    topology.Figure `json:"figure"`
	Direction string          `json:"direction,omitempty"`
	Streams   int             `json:"streams,omitempty"`
}

// Sample is one measurement, in the units of topology.Figure.
type Sample struct {
	Quantity
	System string  `json:"system"`
	Round  int     `json:"round"`
	Value  float64 `json:"value"`
}

// IdleFigure is how many processors are busy while a system is up and nobody uses it.
const IdleFigure topology.Figure = "idle"

// LeftOut is a system that was not measured.
type LeftOut struct {
	System string `json:"system"`
	Why    string `json:"why"`
}

// Comparison is what systems did with the same traffic.
type Comparison struct {
	Lab  *topology.Lab
	Plan Plan
	// Kernel, Processor and Processors are the machine.
	Kernel, Processor string
	Processors        int
	Rootless          bool
	Favoured          bool
	// Load is the machine's load average of the minute before.
	Load         float64
	Version      string
	Command      string
	Began, Ended time.Time
	Interrupted  bool
	// Failure is why the comparison was not carried through, if so.
	Failure error
	LeftOut []LeftOut
	// Repeated is how often something was measured again because of more than Disturbance, and Disturbed how often that was given
	// up.
	Repeated, Disturbed int
	Samples             []Sample
}

// Disturbance is the share of the processors that a hypervisor may give to others during a measurement of throughput; with more,
// it is made again, Attempts times in all.
const (
	Disturbance = 0.04
	Attempts    = 4
)

// Passed reports whether everything that was asked for has been measured.
func (c *Comparison) Passed() bool { return c.Failure == nil && !c.Interrupted }

// Add keeps a sample.
func (c *Comparison) Add(round int, system string, q Quantity, value float64) {
	c.Samples = append(c.Samples, Sample{Quantity: q, System: system, Round: round, Value: value})
}

// values are a system's samples of a quantity by round.
func (c *Comparison) values(q Quantity, system string) map[int]float64 {
	out := map[int]float64{}
	for _, s := range c.Samples {
		if s.Quantity == q && s.System == system {
			out[s.Round] = s.Value
		}
	}
	return out
}

// median is of all rounds; ok is false without any.
func (c *Comparison) median(q Quantity, system string) (v float64, ok bool) {
	var all []float64
	for _, v := range c.values(q, system) {
		all = append(all, v)
	}
	return measure.MedianFloat(all), len(all) > 0
}

// Ratio compares two systems in one quantity, by the rounds that both were measured in.
type Ratio struct {
	Quantity
	System  string `json:"system"`
	Against string `json:"against"`
	Rounds  int    `json:"rounds"`
	// Medians is the ratio of the medians.
	Medians float64 `json:"ratio"`
	// Low and High are the quartiles of the ratios within each round.
	Low  float64 `json:"low_quartile"`
	High float64 `json:"high_quartile"`
	Must float64 `json:"must,omitempty"`
	Aim  float64 `json:"aim,omitempty"`
	Mark Mark    `json:"mark,omitempty"`
}

// Mark is how a ratio stands to its target.
type Mark string

// The marks; none without a target.
const (
	ReachesAim  Mark = "aim"
	ReachesMust Mark = "must"
	Misses      Mark = "misses"
)

// ratio is false if the two have no round in common.
func (c *Comparison) ratio(q Quantity, system, against string) (r Ratio, ok bool) {
	r = Ratio{Quantity: q, System: system, Against: against}
	of, to := c.values(q, system), c.values(q, against)
	var numerators, denominators, each []float64
	for round, v := range of {
		if w := to[round]; w > 0 {
			numerators, denominators, each = append(numerators, v), append(denominators, w), append(each, v/w)
		}
	}
	if len(each) == 0 {
		return r, false
	}
	slices.Sort(each)
	r.Rounds = len(each)
	r.Medians = measure.MedianFloat(numerators) / measure.MedianFloat(denominators)
	r.Low, r.High = each[(len(each)-1)/4], each[len(each)-1-(len(each)-1)/4]
	if t := c.Lab.Compare.Target(system, against, q.Condition, q.Figure, q.Direction); t != nil {
		r.Must, r.Aim = t.Must, t.Aim
		r.Mark = judgeRatio(r.Medians, t)
	}
	return r, true
}

func judgeRatio(v float64, t *topology.Target) Mark {
	reaches := func(limit float64) bool {
		if t.Figure.Cost() {
			return v <= limit
		}
		return v >= limit
	}
	switch {
	case t.Aim > 0 && reaches(t.Aim):
		return ReachesAim
	case reaches(t.Must):
		return ReachesMust
	}
	return Misses
}

// quantities are those that there are samples of, in the order of the plan.
func (c *Comparison) quantities() []Quantity {
	var out []Quantity
	for _, s := range c.Samples {
		if !slices.Contains(out, s.Quantity) {
			out = append(out, s.Quantity)
		}
	}
	rank := func(q Quantity) int {
		figures := []topology.Figure{
			topology.TCPFigure, topology.ProcessorFigure, topology.PacketsFigure, topology.MedianFigure, topology.TailFigure, IdleFigure,
		}
		return ((slices.Index(figures, q.Figure)*10+slices.Index(topology.Conditions, q.Condition))*1000+q.Streams)*10 +
			slices.Index(topology.Directions, q.Direction)
	}
	slices.SortStableFunc(out, func(a, b Quantity) int { return rank(a) - rank(b) })
	return out
}

// measured are the systems that there are samples of, in the lab's order.
func (c *Comparison) measured() []*topology.System {
	var out []*topology.System
	for i := range c.Lab.Compare.Systems {
		s := &c.Lab.Compare.Systems[i]
		if slices.ContainsFunc(c.Samples, func(v Sample) bool { return v.System == s.Name }) {
			out = append(out, s)
		}
	}
	return out
}

// Ratios are those of every system to every reference in everything but what is idle: first the judged systems', then
// the references' among themselves.
func (c *Comparison) Ratios() []Ratio {
	var out []Ratio
	systems := c.measured()
	for i, system := range systems {
		for j, against := range systems {
			if !against.Reference || i == j || system.Reference && j > i {
				continue
			}
			for _, q := range c.quantities() {
				if r, ok := c.ratio(q, system.Name, against.Name); ok && q.Figure != IdleFigure {
					out = append(out, r)
				}
			}
		}
	}
	rank := func(r Ratio) int {
		if c.Lab.Compare.System(r.System).Reference {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(out, func(a, b Ratio) int { return rank(a) - rank(b) })
	return out
}
