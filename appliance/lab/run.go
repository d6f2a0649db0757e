package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/capture"
	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/report"
	"kedge/appliance/lab/space"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

func now() int64 { return time.Now().UnixNano() }

// session is a lab that is up.
type session struct {
	lab      *topology.Lab
	network  *network
	children *space.Children
	progress *progress
	journal  journal
	captures map[string]*capture.Capture
	result   *report.Result
	access   *access

	stopNodes context.CancelFunc
	// following are closed when the event streams have ended.
	following []chan struct{}
	// lasting is the connection of who asked for the end; its closing tells that the process has ended.
	lasting net.Conn
}

// start builds the network and starts captures, advertisements and nodes. The working directory is the output directory.
func start(ctx context.Context, lab *topology.Lab, p *progress) (*session, error) {
	s := &session{
		lab: lab, children: &space.Children{}, progress: p, captures: map[string]*capture.Capture{},
		result: &report.Result{Lab: lab, Machine: machine(), Processors: runtime.NumCPU(), Load: load(), Began: time.Now()},
	}
	if err := space.Furnish(); err != nil {
		return nil, err
	}
	var err error
	if s.network, err = build(lab); err != nil {
		return nil, err
	}
	if err := s.network.warm(); err != nil {
		return nil, err
	}
	p.say("network built: nodes %d, networks %d, wires %d", len(lab.Nodes), len(lab.Networks), len(lab.Wires))
	if lab.Capture.Enabled {
		for _, n := range lab.Nodes {
			c, err := capture.Start(s.network.nodes[n.Name].space, n.Name+".pcapng", lab.Capture.SnapLength, lab.Capture.Limit)
			if err != nil {
				return nil, err
			}
			s.captures[n.Name] = c
		}
	}
	if lab.Observe != nil {
		if s.access, err = watchAccess(s.network, *lab.Observe); err != nil {
			return nil, err
		}
	}
	inner, stop := context.WithCancel(ctx)
	s.stopNodes = stop
	go s.children.Reap(inner)
	s.network.advertise(inner, func(err error) { p.say("%v", err) })
	for _, spec := range lab.Nodes {
		n := s.network.nodes[spec.Name]
		if err := n.start(s.children, func(how string) { p.say("node %s ended: %s", spec.Name, how) }); err != nil {
			return nil, err
		}
		if spec.Kind == topology.KedgeKind {
			done := make(chan struct{})
			s.following = append(s.following, done)
			go func() {
				defer close(done)
				s.journal.follow(inner, n)
			}()
		}
	}
	return s, nil
}

// stop ends nodes and captures and fills in what became of them.
func (s *session) stop() {
	stopped := make(chan struct{})
	count := 0
	for _, n := range s.network.nodes {
		if n.process != nil {
			count++
			go func() {
				n.process.stop(3 * time.Second)
				stopped <- struct{}{}
			}()
		}
	}
	for range count {
		<-stopped
	}
	s.stopNodes()
	s.network.advertising.Wait()
	for _, f := range s.following {
		<-f
	}
	s.access.stop()
	for _, spec := range s.lab.Nodes {
		n := report.Node{Name: spec.Name, Kind: spec.Kind, Exit: s.network.nodes[spec.Name].exited()}
		if c := s.captures[spec.Name]; c != nil {
			stats, err := c.Stop()
			n.Capture = report.CaptureCounts(stats)
			if err != nil {
				s.progress.say("capture of node %s: %v", spec.Name, err)
			}
		}
		s.result.Nodes = append(s.result.Nodes, n)
	}
	for _, w := range s.network.wires {
		w.Close()
	}
	s.result.Ended = time.Now()
}

// load is how many processes wanted to run at a time, on average over the last minute.
func load() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}

// run is a whole lab: up, traffic, moves, down. The result is never nil once the network stands.
func run(ctx context.Context, lab *topology.Lab, foreignMoves int, p *progress) (*report.Result, *journal, error) {
	steps, err := lab.Steps(foreignMoves)
	if err != nil {
		return nil, nil, err
	}
	s, err := start(ctx, lab, p)
	if err != nil {
		return nil, nil, err
	}
	failure := s.measure(ctx, steps)
	s.stop()
	if ctx.Err() != nil {
		s.result.Interrupted = true
	} else {
		s.result.Failure = failure
	}
	s.result.Judge()
	p.done()
	return s.result, &s.journal, nil
}

// measure runs the lab's traffic and moves.
func (s *session) measure(ctx context.Context, steps []topology.Step) error {
	if err := s.reachable(ctx); err != nil {
		return err
	}
	if len(s.lab.Downloads)+len(s.lab.Probes)+len(s.lab.Flows) == 0 {
		return nil
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.warmNodes(ctx)
	s.result.Began = time.Now()
	f, err := s.startFlows(ctx)
	if err != nil {
		return err
	}
	moves, err := s.moves(ctx, steps, f)
	s.access.look(ctx, s)
	end := now()
	if err == nil {
		err = ctx.Err()
	}
	s.progress.say("ending traffic")
	s.endFlows(f, moves, end)
	return err
}

// moves makes the moves and tells of each what it did to the first probe of the node that moves.
func (s *session) moves(ctx context.Context, steps []topology.Step, f *flows) ([]measure.Move, error) {
	var made []measure.Move
	since := time.Now().Add(s.lab.Settle.Std())
	for i, step := range steps {
		if err := s.watch(ctx, f, since.Add(step.After.Std())); err != nil {
			return made, err
		}
		s.observe(ctx, f)
		s.access.look(ctx, s)
		unplugged, plugged, err := s.network.move(step.Move)
		if err != nil {
			return made, fmt.Errorf("move %d: %w", i+1, err)
		}
		since = time.Now()
		m := measure.Move{
			Node: step.Node, Interface: step.Interface, From: step.From, To: step.To, Class: step.Class, Way: step.Way, At: step.At,
			Lossless: step.Lossless, PreviousMAAR: step.PreviousMAAR, NoBindingUpdate: step.NoBindingUpdate,
			Unplugged: unplugged, Plugged: plugged,
		}
		made = append(made, m)
		rest := max(s.lab.Settle.Std(), tellTime)
		if i+1 < len(steps) {
			rest = steps[i+1].After.Std()
		}
		s.tell(ctx, i, m, f, since.Add(min(rest, tellTime)))
		if err := s.startServices(ctx, f, i+1); err != nil {
			return made, err
		}
	}
	if err := s.endEarly(ctx, f, time.Now()); err != nil {
		return made, err
	}
	if err := s.watch(ctx, f, time.Now().Add(s.lab.Settle.Std())); err != nil {
		return made, err
	}
	return made, s.awaitReturns(ctx, f)
}

// tellTime is how long a move's line waits for traffic to resume, at most until the next move.
const tellTime = 3 * time.Second

func (s *session) tell(ctx context.Context, i int, m measure.Move, f *flows, limit time.Time) {
	text := fmt.Sprintf("move %d: %s %s", i+1, m.Node, m)
	at := slices.IndexFunc(f.probes, func(p *runningProbe) bool { return p.spec.Mobile == m.Node })
	if at < 0 {
		s.progress.say("%s", text)
		return
	}
	p := f.probes[at].running
	resumed := func(stream *traffic.Stream) bool { return stream.LastArrival() > m.Plugged+int64(time.Millisecond) }
	for time.Now().Before(limit) && ctx.Err() == nil {
		if resumed(p.Downlink) && resumed(p.Uplink) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	// A little more, so that what was under way is counted.
	if more := min(time.Until(limit), 100*time.Millisecond); more > 0 {
		time.Sleep(more)
	}
	until := now()
	figure := func(stream *traffic.Stream) string {
		v := measure.Around(stream.Snapshot(), m.Unplugged, until, 0)
		if !v.Recovered {
			return "still silent"
		}
		return fmt.Sprintf("silent %.1f ms", float64(v.Duration())/1e6)
	}
	s.progress.say("%-38s downlink %s, uplink %s", text, figure(p.Downlink), figure(p.Uplink))
}

// watch waits until a time, and shows how traffic goes on a terminal.
func (s *session) watch(ctx context.Context, f *flows, until time.Time) error {
	end := time.NewTimer(time.Until(until))
	defer end.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	last := f.received()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			return nil
		case <-tick.C:
			total := f.received()
			s.progress.show("download %.1f Mbit/s, %.1f MB", float64(total-last)*8/0.2/1e6, float64(total)/1e6)
			last = total
		}
	}
}

// explain adds what nodes that ended had to say.
func (s *session) explain(err error) error {
	for _, n := range s.lab.Nodes {
		how := s.network.nodes[n.Name].exited()
		if how == "" {
			continue
		}
		text, _ := os.ReadFile(n.Name + ".log")
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		lines = lines[max(0, len(lines)-3):]
		err = errors.Join(err, fmt.Errorf("node %s ended (%s): %s", n.Name, how, strings.Join(lines, " / ")))
	}
	return err
}

func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return fmt.Sprintf("%s %s, %d processors (%s)", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), runtime.NumCPU(), runtime.GOARCH)
}
