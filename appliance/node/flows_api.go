package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/appliance/control"
	"kedge/forwarding/flow"
	"kedge/signaling"
	"kedge/signaling/dmipv6"
	"kedge/signaling/routeoptimization"
)

var errNoFlows = fmt.Errorf("%w: it does not pick anchors per service flow ([dmipv6] enabled = true on a mobile node)", control.ErrNotThisRole)

// Flows implements control.Node.
func (n *Node) Flows(ctx context.Context, limit int) (list []control.Flow, err error) {
	if n.flows == nil {
		return nil, errNoFlows
	}
	// The table is read by whoever asks: it may be large, and the loop has more urgent things to do.
	all := n.engine.Flows().All(nil, 0, nil)
	slices.SortFunc(all, func(a, b flow.Snapshot) int { return cmp.Compare(b.Number, a.Number) })
	all = all[:min(limit, len(all))]
	list = []control.Flow{}
	err = n.loop.call(ctx, func(now time.Time) {
		for i := range all {
			list = append(list, n.showFlow(&all[i], now))
		}
	})
	return list, err
}

// Flow implements control.Node.
func (n *Node) Flow(ctx context.Context, number uint64) (f control.Flow, err error) {
	if n.flows == nil {
		return f, errNoFlows
	}
	s, ok := n.engine.Flows().Snapshot(number)
	if !ok {
		return f, fmt.Errorf("%w: %d", control.ErrNoFlow, number)
	}
	err = n.loop.call(ctx, func(now time.Time) {
		f = n.showFlow(&s, now)
		if d, ok := n.role.(*mobileNode).flows.Decision(s.Decision); ok {
			f.Decision = showDecision(&d)
		}
	})
	return f, err
}

// showFlow adds what signalling knows of a flow's path.
func (n *Node) showFlow(s *flow.Snapshot, now time.Time) control.Flow {
	c := n.flows.show(s, now)
	m := n.role.(*mobileNode)
	if a, ok := m.anchorOf(s.Address, now); ok {
		c.Anchor, c.Uplink = a.Proxy, a.Registration.Uplink
	} else if s.Address == m.cfg.HomeAddress {
		c.Anchor, c.Uplink = m.registration.HomeAgent, m.registration.Uplink
		if m.registration.AtHome {
			c.Mode = "native"
		}
	}
	if m.optimization != nil {
		if t, ok := m.optimization.Status(now, s.Address, s.Key.Remote); ok && t.State == routeoptimization.StateOptimized {
			c.Mode = modeOptimized
		}
	}
	return c
}

const (
	modeTunnel    = "bidirectional-tunnel"
	modeOptimized = "route-optimization"
)

// SwitchFlow implements control.Node.
func (n *Node) SwitchFlow(ctx context.Context, number uint64, mode, uplink string) (err error) {
	if n.flows == nil {
		return errNoFlows
	}
	s, ok := n.engine.Flows().Snapshot(number)
	if !ok || s.State != flow.InUse {
		return fmt.Errorf("%w: %d", control.ErrNoFlow, number)
	}
	failed := n.loop.call(ctx, func(now time.Time) {
		var effects []signaling.Effect
		m := n.role.(*mobileNode)
		if uplink != "" {
			effects, err = m.switchUplink(now, s.Address, uplink)
		}
		if err == nil && mode != "" {
			var more []signaling.Effect
			more, err = m.switchMode(now, s.Address, s.Key.Remote, mode)
			effects = append(effects, more...)
		}
		n.carryOutAll(now, m.tell(now, effects))
	})
	return errors.Join(failed, err)
}

// Anchors implements control.Node.
func (n *Node) Anchors(ctx context.Context) (list []control.Anchor, err error) {
	if n.flows == nil {
		return nil, errNoFlows
	}
	list = []control.Anchor{}
	err = n.loop.call(ctx, func(now time.Time) {
		for _, a := range n.role.(*mobileNode).flows.Anchors(now) {
			c := showAnchor(&a)
			c.Flows = n.engine.Flows().Uses(a.Address) // the machine hears only whether there are any
			list = append(list, c)
		}
	})
	return list, err
}

func showAnchor(a *dmipv6.Anchor) control.Anchor {
	c := control.Anchor{
		Address: a.Address, Proxy: a.Proxy, Prefix: a.Prefix, Use: "translation", State: string(a.Registration.State),
		CareOf: a.Registration.CareOf, Uplink: a.Registration.Uplink, RoundTrip: -1, Loss: a.Loss,
		Lifetime: a.Registration.Remaining.Seconds(), TicketExpiry: a.TicketExpiry, Path: pathOf(a.Registration),
	}
	if a.Host {
		c.Use = "host"
	}
	if a.Returning {
		c.State = "returning"
	}
	if a.RoundTrip > 0 {
		c.RoundTrip = inMilliseconds(a.RoundTrip)
	}
	return c
}

func showDecision(d *dmipv6.Decision) *control.Decision {
	c := &control.Decision{
		Number: d.ID, Profile: d.Name, Correspondent: d.Key.Remote, Source: string(d.Source), Address: d.Address,
		Anchor: d.Winner, Reused: d.Reused, Outcome: d.Why, Steps: []control.DecisionStep{},
	}
	for _, x := range d.Candidates {
		c.Candidates = append(c.Candidates, control.Candidate{
			Address: x.Address, Coverage: x.Coverage, ToProxyMilliseconds: inMilliseconds(x.MobileRoundTrip), Measured: x.Measured,
			ToCorrespondentMilliseconds: inMilliseconds(x.CorrespondentRoundTrip), SumMilliseconds: inMilliseconds(x.Sum),
			Preference: x.Preference, LoadPercent: x.Load, Chosen: x.Address == d.Winner, Reason: x.Why,
		})
	}
	for _, s := range d.Steps {
		c.Steps = append(c.Steps, control.DecisionStep{
			AfterMilliseconds: inMilliseconds(s.At.Sub(d.Steps[0].At)), Time: s.At, Step: string(s.Kind), Detail: s.Detail,
		})
	}
	return c
}

// Directory implements control.Node.
func (n *Node) Directory(ctx context.Context) (list []control.Proxy, err error) {
	h, ok := n.role.(*homeAgent)
	if !ok {
		return nil, fmt.Errorf("%w: it is no home agent", control.ErrNotThisRole)
	}
	if failed := n.loop.call(ctx, func(now time.Time) { list, err = h.proxies(now) }); failed != nil {
		return nil, failed
	}
	return list, err
}

// anchorOf is the anchor whose address a is; false if it is none's.
func (m *mobileNode) anchorOf(a netip.Addr, now time.Time) (dmipv6.Anchor, bool) {
	list := m.flows.Anchors(now)
	i := slices.IndexFunc(list, func(x dmipv6.Anchor) bool { return x.Address == a })
	if i < 0 {
		return dmipv6.Anchor{}, false
	}
	return list[i], true
}

// switchUplink has the binding of an address go by another uplink.
func (m *mobileNode) switchUplink(now time.Time, address netip.Addr, uplink string) ([]signaling.Effect, error) {
	if address == m.cfg.HomeAddress {
		return nil, fmt.Errorf("the flow uses the home address, which goes by the uplink of the highest preference")
	}
	return m.flows.Switch(now, address, uplink)
}

// switchMode has the packets between an address and a correspondent take the tunnel, or the way past its anchor.
func (m *mobileNode) switchMode(now time.Time, address, correspondent netip.Addr, mode string) ([]signaling.Effect, error) {
	switch {
	case mode != modeTunnel && mode != modeOptimized:
		return nil, fmt.Errorf("expected %s or %s, found %q", modeTunnel, modeOptimized, mode)
	case m.optimization == nil && mode == modeTunnel:
		return nil, nil
	case m.optimization == nil:
		return nil, errors.New("route optimisation is off: set route_optimization = true in [mobile_node]")
	case mode == modeTunnel:
		return m.optimization.Cancel(now, address, correspondent), nil
	}
	return m.optimization.Request(now, address, correspondent)
}
