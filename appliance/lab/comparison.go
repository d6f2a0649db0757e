package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/report"
	"kedge/appliance/lab/space"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// comparison is a lab that is up and measures one system after the other.
type comparison struct {
	*session
	order  *comparisonOrder
	result *report.Comparison
	// running are the nodes of each system's processes, by its name.
	running map[string][]*node
}

// innerComparison is what the first process of a lab's namespaces does for a comparison.
func innerComparison(ctx context.Context, o order, favoured bool) error {
	out := os.Stdout
	if o.Compare.JSON {
		out = os.Stderr
	}
	c := &comparison{order: o.Compare, running: map[string][]*node{}, result: &report.Comparison{
		Lab: o.Lab, Plan: o.Compare.Plan, Kernel: kernelRelease(), Processor: processorModel(), Processors: runtime.NumCPU(),
		Rootless: o.Rootless, Favoured: favoured, Load: load(), Version: o.Compare.Version, Command: o.Command, Began: time.Now(),
	}}
	var err error
	if c.session, err = start(ctx, o.Lab, newProgress(out, term.IsTerminal(int(out.Fd())))); err != nil {
		return err
	}
	failure := c.run(ctx)
	for _, nodes := range c.running {
		stopAll(nodes)
	}
	c.stop()
	c.result.Ended = time.Now()
	if c.result.Interrupted = ctx.Err() != nil; !c.result.Interrupted {
		c.result.Failure = c.explain(failure)
	}
	c.progress.done()
	if err := c.save(); err != nil {
		return err
	}
	if o.Compare.JSON {
		err = c.result.JSON(os.Stdout)
	} else {
		fmt.Println()
		err = c.result.Text(os.Stdout)
	}
	switch {
	case err != nil:
		return err
	case c.result.Interrupted:
		return &ExitError{Code: exitInterrupted}
	case !c.result.Passed():
		return &ExitError{Code: exitFailed}
	}
	return nil
}

// save writes the reports.
func (c *comparison) save() error {
	files := map[string]func(io.Writer) error{"report.txt": c.result.Text, "report.json": c.result.JSON, "report.md": c.result.Markdown}
	if c.order.Markdown != "" {
		files[c.order.Markdown] = c.result.Markdown
	}
	var errs []error
	for name, write := range files {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		errs = append(errs, write(f), f.Close())
	}
	return errors.Join(errs...)
}

// run measures everything in every round. A system that fails twice in a row is left out from then on, and the others go on.
func (c *comparison) run(ctx context.Context) error {
	plan := c.order.Plan
	var failures []error
	out := map[string]bool{}
	leaveOut := func(system, why string) {
		out[system] = true
		c.result.LeftOut = append(c.result.LeftOut, report.LeftOut{System: system, Why: why})
		c.progress.say("%s is left out: %s", system, why)
	}
	for _, name := range plan.Systems {
		if why := c.missing(c.lab.Compare.System(name)); why != "" {
			leaveOut(name, why)
		}
	}
	c.progress.say("%d rounds of %d systems under %d conditions take about %v", plan.Rounds, len(plan.Systems)-len(out),
		len(plan.Conditions), plan.Duration().Round(time.Second))
	for round := range plan.Rounds {
		for _, condition := range plan.Conditions {
			if err := c.offload(condition); err != nil {
				return err
			}
			// Whatever a place in the order is good for, each system has it in turn.
			first := round % len(plan.Systems)
			for _, name := range slices.Concat(plan.Systems[first:], plan.Systems[:first]) {
				if out[name] {
					continue
				}
				err := c.one(ctx, round, condition, c.lab.Compare.System(name))
				if err != nil && ctx.Err() == nil {
					c.progress.say("%s once more: %v", name, err)
					err = c.one(ctx, round, condition, c.lab.Compare.System(name))
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					failures = append(failures, fmt.Errorf("%s: %w", name, err))
					leaveOut(name, err.Error())
				}
			}
		}
	}
	return errors.Join(failures...)
}

// missing says why a system cannot be measured here; empty if it can.
func (c *comparison) missing(s *topology.System) string {
	switch s.Requires {
	case topology.NeedWireGuard:
		if c.order.WireGuard == "" {
			return c.order.NoWireGuard
		}
	case topology.NeedSegmentRouting:
		if err := c.network.nodes[c.lab.Compare.Mobile].space.CanEncapsulate(); err != nil {
			return err.Error()
		}
	}
	return ""
}

// offload puts all wires under a condition.
func (c *comparison) offload(condition string) error {
	o := space.Offload{
		Segmentation: condition == topology.On, Datagrams: condition == topology.GRO, Checksum: condition != topology.Off, Merge: condition != topology.Off,
	}
	for _, w := range c.lab.Wires {
		for _, end := range w.Ends {
			name, iface, _ := strings.Cut(end, ".")
			if err := c.network.nodes[name].space.Offload(iface, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// Rests of a system before it is measured, and the time over which it is seen idle.
const (
	restTime = 200 * time.Millisecond
	idleTime = 400 * time.Millisecond
)

// one measures a system once.
func (c *comparison) one(ctx context.Context, round int, condition string, s *topology.System) error {
	nodes, err := c.startSystem(s)
	defer stopAll(nodes)
	if err != nil {
		return err
	}
	if err := c.awaitSystem(ctx, s, nodes); err != nil {
		return err
	}
	if err := traffic.Pause(ctx, restTime); err != nil {
		return err
	}
	idle, err := idleLoad(ctx)
	if err != nil {
		return err
	}
	m := measurement{comparison: c, system: s, condition: condition, round: round, idle: idle}
	m.add(report.IdleFigure, "", 0, idle)
	said := []string{}
	for _, what := range c.order.Plan.Measures {
		var line string
		switch what {
		case report.MeasureTCP:
			line, err = m.tcp(ctx)
		case report.MeasurePackets:
			line, err = m.packets(ctx)
		case report.MeasureLatency:
			line, err = m.latency(ctx)
		}
		if err != nil {
			return explainNodes(err, nodes)
		}
		said = append(said, line)
	}
	c.progress.say("round %d of %d, %-3s %-14s %s", round+1, c.order.Plan.Rounds, condition, s.Name, strings.Join(said, ", "))
	return nil
}

// startSystem starts a system's processes as if for the first time.
func (c *comparison) startSystem(s *topology.System) ([]*node, error) {
	nodes := c.running[s.Name]
	if nodes == nil {
		for _, p := range s.Processes {
			name := p.Node + "-" + s.Name
			spec := &topology.Node{Name: name, Kind: topology.KedgeKind, Config: p.Config, Files: p.Files, Command: slices.Clone(p.Command)}
			if len(p.Command) > 0 && p.Command[0] == string(topology.NeedWireGuard) {
				spec.Command[0] = c.order.WireGuard
			}
			nodes = append(nodes, &node{Node: spec, space: c.network.nodes[p.Node].space, directory: filepath.Join(nodesDirectory, name)})
		}
		c.running[s.Name] = nodes
	}
	for _, n := range nodes {
		if err := errors.Join(os.RemoveAll(n.directory), n.furnish()); err != nil {
			return nodes, err
		}
		if err := n.start(c.children, func(how string) { c.progress.say("%s ended: %s", n.Name, how) }); err != nil {
			return nodes, err
		}
	}
	return nodes, nil
}

// stopTime is how long a process has to undo what it changed in its namespace, where the next system needs room.
const stopTime = 15 * time.Second

// stopAll ends the processes that run.
func stopAll(nodes []*node) {
	for _, n := range nodes {
		if n.process != nil {
			n.process.stop(stopTime)
		}
	}
}

// awaitSystem waits until a new flow goes by the system.
func (c *comparison) awaitSystem(ctx context.Context, s *topology.System, nodes []*node) error {
	limit := time.Now().Add(c.lab.StartTimeout.Std())
	for {
		err := c.greet(ctx, s)
		if err == nil {
			return nil
		}
		for _, n := range nodes {
			if n.exited() != "" {
				return explainNodes(err, nodes)
			}
		}
		if time.Now().After(limit) {
			return explainNodes(fmt.Errorf("nothing goes by it after %v: %w", c.lab.StartTimeout.Std(), err), nodes)
		}
		if err := traffic.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// greet asks the correspondent once by the system.
func (c *comparison) greet(ctx context.Context, s *topology.System) error {
	// At first its address may not be usable yet.
	responder, err := traffic.StartResponder(ctx, c.correspondent(greetingPort))
	if err != nil {
		return err
	}
	defer responder.Stop()
	x := traffic.Ask(c.mobile(s), c.correspondent(greetingPort), greetingTime)
	if x.Err != nil {
		return x.Err
	}
	return s.Saw(x.Seen)
}

// greetingTime is how long a system has to carry a datagram there and back before it is tried again: what it is sent while
// it starts may be lost.
const greetingTime = 300 * time.Millisecond

// Ports of the correspondent's programs.
const (
	greetingPort = 9300
	latencyPort  = 9301
	packetsPort  = 9302
)

func (c *comparison) correspondent(port uint16) traffic.Endpoint {
	v := c.lab.Compare
	return traffic.Endpoint{Node: c.network.nodes[v.Correspondent].space, Address: v.CorrespondentAddress, Port: port}
}

func (c *comparison) mobile(s *topology.System) traffic.Endpoint {
	return traffic.Endpoint{Node: c.network.nodes[c.lab.Compare.Mobile].space, Address: s.MobileAddress}
}

// explainNodes adds what processes that ended had to say.
func explainNodes(err error, nodes []*node) error {
	for _, n := range nodes {
		how := n.exited()
		if how == "" {
			continue
		}
		text, _ := os.ReadFile(n.Name + ".log")
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		err = errors.Join(err, fmt.Errorf("%s ended (%s): %s", n.Name, how, strings.Join(lines[max(0, len(lines)-3):], " / ")))
	}
	return err
}

// idleLoad is how many processors are busy now that nothing is measured.
func idleLoad(ctx context.Context) (float64, error) {
	before, err := measure.Spent()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := traffic.Pause(ctx, idleTime); err != nil {
		return 0, err
	}
	after, err := measure.Spent()
	return after.Since(before).Busy.Seconds() / time.Since(began).Seconds(), err
}

func kernelRelease() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return unix.ByteSliceToString(u.Release[:]) + " " + runtime.GOARCH
}

// processorModel is what the kernel calls the first processor.
func processorModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), ":")
		if name = strings.TrimSpace(name); ok && (name == "model name" || name == "Model" || name == "cpu model") {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
