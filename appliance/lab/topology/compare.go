package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Comparison is about systems that carry the same traffic between the same two nodes, one at a time and in turn.
type Comparison struct {
	// Mobile opens every flow, to Correspondent.
	Mobile               string     `toml:"mobile"`
	Correspondent        string     `toml:"correspondent"`
	CorrespondentAddress netip.Addr `toml:"correspondent_address"`
	Systems              []System   `toml:"system"`
	Targets              []Target   `toml:"target"`
}

// System is one way to carry the traffic. Its processes run only while it is measured.
type System struct {
	Name string `toml:"name"`
	// Title is for people.
	Title string `toml:"title"`
	// Reference marks a system that others are compared with, and not one that is judged.
	Reference bool `toml:"reference"`
	// Requires is what the machine may lack.
	Requires Requirement `toml:"requires"`
	// MobileAddress is what programs on the mobile node bind to, and SeenAs what the correspondent must see of it.
	MobileAddress netip.Addr   `toml:"mobile_address"`
	SeenAs        netip.Prefix `toml:"seen_as"`
	Processes     []Process    `toml:"process"`
}

// Saw checks the mobile node's address as the correspondent saw it: another means that the flow went another way.
func (s *System) Saw(a netip.Addr) error {
	if !s.SeenAs.Contains(a) {
		return fmt.Errorf("a flow from %s came from %s, which is not in %s", s.MobileAddress, a, s.SeenAs)
	}
	return nil
}

// Requirement is something that a system needs beside kedge.
type Requirement string

// The requirements: a wireguard-go program, which a process's command calls "wireguard"; a kernel that lets this user have
// routes that encapsulate by segment routing.
const (
	NeedWireGuard      Requirement = "wireguard"
	NeedSegmentRouting Requirement = "seg6"
)

// Process is a program on a node, by default kedge with Config.
type Process struct {
	Node    string            `toml:"node"`
	Config  string            `toml:"config"`
	Files   map[string]string `toml:"files"`
	Command []string          `toml:"command"`
}

// Target is a ratio that a system shall reach. Of costs, which are better the lower, it is the most.
type Target struct {
	System    string `toml:"system"`
	Against   string `toml:"against"`
	Condition string `toml:"condition"`
	Figure    Figure `toml:"figure"`
	// Direction is up or down; without, it holds for both.
	Direction string  `toml:"direction"`
	Must      float64 `toml:"must"`
	Aim       float64 `toml:"aim"`
}

// Figure is what is measured.
type Figure string

// The figures: bits per second that TCP carried, datagrams per second that arrived, processor seconds per 10^9 octets that
// TCP carried, the median and the 99th percentile of round trips in seconds.
const (
	TCPFigure       Figure = "tcp"
	PacketsFigure   Figure = "packets"
	ProcessorFigure Figure = "processor"
	MedianFigure    Figure = "latency-median"
	TailFigure      Figure = "latency-99"
)

// Cost reports whether less is better.
func (f Figure) Cost() bool { return f == ProcessorFigure || f == MedianFigure || f == TailFigure }

// The directions, as the mobile node sees them.
const (
	Up   = "up"
	Down = "down"
)

// Directions are all directions.
var Directions = []string{Up, Down}

// The conditions that a comparison is made under, by what the Ethernet interfaces do: everything; no segmentation of TCP
// ("ethtool -K ... tso off gso off", which leaves that of UDP alone), and packets merged on receipt; the same with that of UDP
// off too, so that every packet on the wire is of at most the MTU; nothing, not even checksums.
const (
	On  = "on"
	GRO = "gro"
	MTU = "mtu"
	Off = "off"
)

// Conditions are all conditions.
var Conditions = []string{GRO, MTU, On, Off}

// System finds a system by its name, nil if there is none.
func (c *Comparison) System(name string) *System {
	if i := slices.IndexFunc(c.Systems, func(s System) bool { return s.Name == name }); i >= 0 {
		return &c.Systems[i]
	}
	return nil
}

// Target is what a system shall reach against another, nil if nothing is said.
func (c *Comparison) Target(system, against, condition string, figure Figure, direction string) *Target {
	for i := range c.Targets {
		t := &c.Targets[i]
		if t.System == system && t.Against == against && t.Condition == condition && t.Figure == figure &&
			(t.Direction == "" || t.Direction == direction) {
			return t
		}
	}
	return nil
}

func (c *checker) comparison() {
	v := c.lab.Compare
	if v == nil {
		return
	}
	node := func(what, name string) {
		if c.lab.Node(name) == nil {
			c.failf("%s: there is no node %q", what, name)
		}
	}
	node("compare.mobile", v.Mobile)
	node("compare.correspondent", v.Correspondent)
	if !v.CorrespondentAddress.Is6() {
		c.failf("compare.correspondent_address must be an IPv6 address")
	}
	if len(v.Systems) == 0 {
		c.failf("compare needs at least one [[compare.system]]")
	}
	names := map[string]bool{}
	for i := range v.Systems {
		c.system(&v.Systems[i], names, node)
	}
	for i, t := range v.Targets {
		for _, name := range []string{t.System, t.Against} {
			if v.System(name) == nil {
				c.failf("compare.target %d: there is no system %q", i+1, name)
			}
		}
		if !slices.Contains(Conditions, t.Condition) {
			c.failf("compare.target %d: condition: found %q, expected %s", i+1, t.Condition, strings.Join(Conditions, ", "))
		}
		if figures := []Figure{TCPFigure, PacketsFigure, ProcessorFigure, MedianFigure, TailFigure}; !slices.Contains(figures, t.Figure) {
			c.failf("compare.target %d: figure: found %q, expected one of %v", i+1, t.Figure, figures)
		}
		if t.Direction != "" && !slices.Contains(Directions, t.Direction) {
			c.failf("compare.target %d: direction: found %q, expected %s", i+1, t.Direction, strings.Join(Directions, " or "))
		}
		if t.Must <= 0 {
			c.failf("compare.target %d: must is missing", i+1)
		}
	}
}

func (c *checker) system(s *System, names map[string]bool, node func(what, name string)) {
	c.name("compare.system", s.Name, 30, names)
	what := "system " + s.Name
	if !s.MobileAddress.Is6() || !s.SeenAs.IsValid() {
		c.failf("%s: mobile_address and seen_as must be there", what)
	}
	if s.Requires != "" && s.Requires != NeedWireGuard && s.Requires != NeedSegmentRouting {
		c.failf("%s: requires: found %q, expected %s or %s", what, s.Requires, NeedWireGuard, NeedSegmentRouting)
	}
	on := map[string]bool{}
	for _, p := range s.Processes {
		node(what+": process", p.Node)
		if on[p.Node] {
			c.failf("%s: two processes on node %s", what, p.Node)
		}
		on[p.Node] = true
		if p.Config == "" && len(p.Command) == 0 {
			c.failf("%s: the process on node %s needs config or command", what, p.Node)
		}
		c.files(what, p.Files)
	}
}
