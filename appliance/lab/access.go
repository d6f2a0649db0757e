package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"kedge/appliance/lab/capture"
	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/report"
	"kedge/appliance/lab/space"
	"kedge/appliance/lab/topology"
)

// access observes network-based mobility: the host that moves without mobility software, and the signalling and tunnels that
// pass by the transit node. A nil access observes nothing.
type access struct {
	spec     topology.Observe
	host     *node
	wire     measure.Wire
	watchers []*capture.Capture
	looks    []look
}

// look is what could be seen at one moment.
type look struct {
	host    space.HostState
	tunnels []report.Tunnel
}

// signallingSnap holds the longest signalling message of a lab.
const signallingSnap = 1024

func watchAccess(n *network, spec topology.Observe) (*access, error) {
	a := &access{spec: spec, host: n.nodes[spec.Host]}
	for _, w := range []struct {
		node *node
		take func(capture.Packet)
	}{{n.nodes[spec.Transit], a.wire.Transit}, {a.host, a.wire.Host}} {
		c, err := capture.Watch(w.node.space, signallingSnap, w.take)
		if err != nil {
			a.stop()
			return nil, err
		}
		a.watchers = append(a.watchers, c)
	}
	return a, nil
}

func (a *access) stop() {
	if a == nil {
		return
	}
	for _, w := range a.watchers {
		// Nothing is written, so that nothing can fail.
		_, _ = w.Stop()
	}
	a.watchers = nil
}

// ready waits until the host has an address that it can use, and learns the names of the nodes.
func (a *access) ready(ctx context.Context, s *session) error {
	if a == nil {
		return nil
	}
	var address netip.Addr
	err := s.await(ctx, "autoconfiguration of node "+a.spec.Host, func(context.Context) error {
		state, err := a.host.space.State(a.spec.Interface)
		if err != nil {
			return err
		}
		for _, v := range state.Addresses {
			if !v.Tentative && !v.Deprecated {
				address = v.Address
				return nil
			}
		}
		return errors.New("it has no usable address of global scope")
	})
	if err != nil {
		return err
	}
	s.progress.say("node %s has autoconfigured %s", a.spec.Host, address)
	for _, spec := range s.lab.Nodes {
		if spec.Kind != topology.KedgeKind {
			continue
		}
		status, err := s.network.nodes[spec.Name].client().Status(ctx)
		if err != nil {
			return fmt.Errorf("node %s: %w", spec.Name, err)
		}
		s.name(status, spec.Name)
	}
	return nil
}

// look keeps what can be seen now.
func (a *access) look(ctx context.Context, s *session) {
	if a == nil {
		return
	}
	var l look
	l.host, _ = a.host.space.State(a.spec.Interface)
	for _, spec := range s.lab.Nodes {
		if spec.Kind != topology.KedgeKind {
			continue
		}
		bindings, err := s.network.nodes[spec.Name].client().Bindings(ctx)
		if err != nil {
			continue
		}
		for _, b := range bindings {
			if b.CareOf.IsValid() {
				l.tunnels = append(l.tunnels, report.Tunnel{Node: spec.Name, Prefix: b.Home, Remote: b.CareOf, State: b.State})
			}
		}
	}
	a.looks = append(a.looks, l)
}

// report fills in what was observed, place by place, and the silences of the flows of the host.
func (a *access) report(s *session, moves []measure.Move, events []measure.Event, end int64) {
	if a == nil {
		return
	}
	// What passed last is read when the watchers end.
	a.stop()
	out := &report.Access{Host: a.spec.Host, Transit: a.spec.Transit, Names: s.result.Names}
	messages, data := a.wire.Messages(), a.wire.Data()
	began := s.result.Began.UnixNano()
	for i := range len(moves) + 1 {
		p := report.Place{Begin: began, Plugged: began, End: end}
		if i == 0 {
			p.Network = s.lab.Node(a.spec.Host).Interface(a.spec.Interface).Network
		} else {
			p.Begin, p.Plugged, p.Network, p.Way = moves[i-1].Unplugged, moves[i-1].Plugged, moves[i-1].To, moves[i-1].Way
		}
		if i < len(moves) {
			p.End = moves[i].Unplugged
		}
		if n := s.lab.Network(p.Network); n != nil {
			p.Pool = n.Pool
		}
		p.Router = s.routerOf(p.Network, a.spec.Host)
		if i < len(a.looks) {
			p.Host, p.Tunnels = a.looks[i].host, a.looks[i].tunnels
		}
		p.Events = measure.Between(events, p.Begin, p.End)
		from := p.Begin
		if i == 0 {
			from = 0
		}
		for _, m := range messages {
			if m.Time >= from && m.Time < p.End {
				p.Messages = append(p.Messages, m)
			}
		}
		for _, d := range data {
			if d.Time >= p.Begin && d.Time < p.End {
				p.Data = append(p.Data, d)
			}
		}
		out.Places = append(out.Places, p)
	}
	s.result.Access = out
	for i := range s.result.Flows {
		s.result.Flows[i].Silences = silences(&s.result.Flows[i], moves, end)
	}
}

// routerOf is the node that a network's other nodes are behind.
func (s *session) routerOf(network, host string) string {
	for _, n := range s.lab.Nodes {
		for _, f := range n.Interfaces {
			if network != "" && f.Network == network && n.Name != host {
				return n.Name
			}
		}
	}
	return ""
}

// silences are those of a flow in the moves since it was opened.
func silences(r *report.Flow, moves []measure.Move, end int64) (out []report.MoveSilence) {
	var down, up = r.Stream()
	if len(down.Arrivals) == 0 || len(up.Arrivals) == 0 {
		return nil
	}
	for i := r.AfterMove; i < len(moves); i++ {
		m, until := moves[i], end
		if i+1 < len(moves) {
			until = moves[i+1].Unplugged
		}
		out = append(out, report.MoveSilence{
			Move:     i,
			Downlink: measure.Around(down, m.Unplugged, until, measure.Longest(down, m.Unplugged)),
			Uplink:   measure.Around(up, m.Unplugged, until, measure.Longest(up, m.Unplugged)),
		})
	}
	return out
}
