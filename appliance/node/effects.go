package node

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"kedge/appliance/control"
	"kedge/config"
	"kedge/forwarding"
	"kedge/netstack/packet"
	"kedge/signaling"
)

// roleMachine lets the loop tick the role's machine.
type roleMachine struct{ node *Node }

func (r roleMachine) next() time.Time    { return r.node.role.Next() }
func (r roleMachine) tick(now time.Time) { r.node.event(now, signaling.Tick{}) }

// event hands an event to the role's machine and carries out what it wants. What carrying out leads to comes after.
func (n *Node) event(now time.Time, e signaling.Event) {
	n.events = append(n.events, e)
	if n.busy {
		return
	}
	n.busy = true
	for len(n.events) > 0 {
		e := n.events[0]
		n.events = n.events[1:]
		n.carryOutAll(now, n.role.Handle(now, e))
	}
	n.events, n.busy = nil, false
	if n.homeless != nil {
		n.homeless.observe(now, n.role.(*mobileNode).anchored(now))
	}
}

func (n *Node) carryOutAll(now time.Time, effects []signaling.Effect) {
	for _, e := range effects {
		n.carryOut(now, e)
	}
}

func (n *Node) carryOut(now time.Time, effect signaling.Effect) {
	switch e := effect.(type) {
	case signaling.Send:
		if n.owns(e.Destination) {
			// Two roles of one node talk to each other.
			n.event(now, signaling.Received{Source: e.Source, Destination: e.Destination, Payload: e.Payload})
			return
		}
		if e.Outer.IsValid() {
			n.sendDatagram(e)
			return
		}
		n.outlet.send(func(p *packet.Packet) { mobilityPacket(p, e) }, n.route(e.Tunnel, e.Link, e.Router))
	case signaling.SendICMP:
		n.outlet.send(func(p *packet.Packet) { discoveryPacket(p, e) }, n.route(e.Tunnel, e.Link, e.Router))
	case signaling.SendEcho:
		n.outlet.send(func(p *packet.Packet) { echoPacket(p, e) }, n.route(e.Tunnel, e.Link, e.Router))
	case signaling.SendParameterProblem:
		n.outlet.send(func(p *packet.Packet) { parameterProblem(p, e) }, route{})
	case signaling.Bind:
		n.bind(now, e)
	case signaling.Unbind:
		if e.Mobile {
			n.hold(e.Home)
		} else {
			n.engine.UnbindAnchored(e.Home)
		}
		if n.accelerator != nil {
			n.accelerator.forget(e.Home)
		}
	case signaling.Defend:
		if l := n.link(e.Link); l != nil {
			l.defend(now, e)
		}
	case signaling.Undefend:
		if l := n.link(e.Link); l != nil {
			l.undefend(now, e.Address)
		}
	case signaling.ProbeDuplicate:
		if l := n.link(e.Link); l != nil {
			l.probe(now, e.Address)
		}
	case signaling.Advertise:
		if l := n.access(e.Link); l != nil {
			l.advertise(now, e)
		}
	case signaling.Unadvertise:
		if l := n.access(e.Link); l != nil {
			l.unadvertise(now, e)
		}
	case signaling.BindAttached:
		n.bindAttached(e)
	case signaling.UnbindAttached:
		n.engine.UnbindAttached(e.Prefix)
	case signaling.Decide:
		n.flows.decide(now, e)
	case signaling.Choose:
		n.flows.choose(e)
	case signaling.Unchoose:
		n.flows.unchoose(e)
	case signaling.Terminate:
		n.flows.terminate(now, e)
	case signaling.Hint:
		n.flows.host.hint(e)
	case signaling.Unhint:
		n.flows.host.unhint(e)
	case signaling.Release:
		n.flows.give(e.Address)
	case signaling.Optimize:
		n.optimize(e)
	case signaling.Deoptimize:
		if e.Mobile {
			n.engine.RemoveOptimized(e.Home, e.Correspondent)
		} else {
			n.engine.RemoveCorrespondentBinding(e.Home, e.Correspondent)
		}
	case signaling.Report:
		n.report(now, e)
	default:
		n.log.Error("effect that nobody carries out", "effect", e)
	}
}

// hold has the engine know an address of the mobile node that no tunnel leads to now, so that signalling for it arrives.
func (n *Node) hold(home netip.Prefix) {
	if n.isHome(home) {
		n.native = ""
		n.routes()
	}
	if err := n.engine.BindMobile(home, forwarding.Tunnel{Down: true}); err != nil {
		n.log.Error("home address", "home", home, "error", err)
	}
}

// isHome reports whether what is bound is the home address, which alone decides whether this node is at home.
func (n *Node) isHome(p netip.Prefix) bool {
	m := n.cfg.MobileNode
	return m != nil && p == netip.PrefixFrom(m.HomeAddress, 128)
}

func (n *Node) bind(now time.Time, b signaling.Bind) {
	if b.Mobile && n.isHome(b.Home) {
		n.native = ""
		if b.Native {
			n.native = b.Link
		}
		n.routes()
	}
	n.publish(now, b)
}

// publish tells the engine of a binding.
func (n *Node) publish(now time.Time, b signaling.Bind) {
	t := forwarding.Tunnel{Local: b.Local, Remote: b.Remote, RemotePort: b.RemotePort, Native: b.Native}
	// At home the routes know which destinations are neighbours; away everything goes by the uplink's router.
	if l := n.link(b.Link); l != nil && !b.Native {
		t.Via, t.Port, t.NextHop = true, l.id, b.Router
	}
	if b.RemotePort != 0 {
		d := n.datagramsOf(b.Link)
		if d == nil {
			n.log.Error("binding not made", "home", b.Home, "error", "there is no UDP transport")
			return
		}
		t.Via, t.Port, t.NextHop, t.PathMTU = true, d.id, netip.Addr{}, d.pathMTU(b.Remote)
	}
	bind := n.engine.BindAnchored
	if b.Mobile {
		bind = n.engine.BindMobile
	}
	if n.accelerator != nil && n.accelerator.take(b) {
		t.Via, t.Port, t.NextHop = true, n.accelerator.id, netip.Addr{}
	}
	if !b.Mobile {
		t.Previous = n.previous(now, b)
	}
	if b.Mobile && n.flows != nil && b.Home.IsSingleIP() {
		// Before the first packet: what a correspondent still sends to whoever had the address before must not make it the host's.
		n.flows.serveTranslation(b.Home.Addr())
	}
	if err := bind(b.Home, t); err != nil {
		n.log.Error("binding not made", "home", b.Home, "error", err)
	}
}

// previous is the care-of address that a binding moves away from, or did a while ago, for as long as the operator has what
// is under way from there taken.
func (n *Node) previous(now time.Time, b signaling.Bind) *forwarding.Previous {
	keep := previousCareOfTime(n.cfg)
	if keep == 0 {
		return nil
	}
	old, ok := n.engine.Anchored(b.Home)
	switch {
	case !ok:
		return nil
	case old.Remote != b.Remote || old.RemotePort != b.RemotePort:
		p := &forwarding.Previous{Remote: old.Remote, RemotePort: old.RemotePort, Until: now.Add(keep)}
		if old.Local != b.Local {
			p.Local = old.Local // from one transport to the other
		}
		return p
	case old.Previous != nil && now.Before(old.Previous.Until):
		return old.Previous // a refreshment
	}
	return nil
}

func previousCareOfTime(c *config.Config) time.Duration {
	switch {
	case c.HomeAgent != nil:
		return c.HomeAgent.PreviousCareOfTime
	case c.HomeProxy != nil:
		return c.HomeProxy.PreviousCareOfTime
	}
	return 0
}

// optimize has packets go past the home agent.
func (n *Node) optimize(e signaling.Optimize) {
	var err error
	if e.Mobile {
		o := forwarding.Optimized{CareOf: e.CareOf}
		if l := n.link(e.Link); l != nil {
			o.Via, o.Port, o.NextHop = true, l.id, e.Router
		}
		err = n.engine.SetOptimized(e.Home, e.Correspondent, o)
	} else {
		err = n.engine.SetCorrespondentBinding(e.Home, e.CareOf, e.Correspondent)
	}
	if err != nil {
		n.log.Error("route optimisation", "home", e.Home, "correspondent", e.Correspondent, "error", err)
	}
}

func (n *Node) route(tunnel netip.Addr, link string, router netip.Addr) route {
	r := route{tunnel: tunnel}
	if l := n.link(link); l != nil {
		r.fixed, r.port, r.router = true, l.id, router
	}
	return r
}

// sendDatagram sends a message in a datagram.
func (n *Node) sendDatagram(s signaling.Send) {
	if d := n.datagramsOf(s.Link); d != nil {
		n.outlet.send(func(p *packet.Packet) { mobilityPacket(p, s) }, route{datagram: true, port: d.id, local: s.OuterLocal, peer: s.Outer})
	}
}

// report adds to the trace and, for people, to the log.
func (n *Node) report(now time.Time, r signaling.Report) {
	n.trace.Add(control.Event{
		Time: now, Kind: string(r.Kind), Home: r.Home, CareOf: r.CareOf, Peer: r.Peer, Link: r.Link,
		Sequence: r.Sequence, LifetimeSeconds: r.Lifetime.Seconds(), Status: r.Status, Detail: r.Detail,
	})
	level := slog.LevelDebug
	if operators[r.Kind] {
		level = slog.LevelInfo
	}
	if !n.log.Enabled(context.Background(), level) {
		return
	}
	var a []slog.Attr
	add := func(name string, v netip.Addr) {
		if v.IsValid() {
			a = append(a, slog.String(name, v.String()))
		}
	}
	add("home", r.Home)
	add("care_of", r.CareOf)
	add("peer", r.Peer)
	if r.Link != "" {
		a = append(a, slog.String("link", r.Link))
	}
	if r.Status != 0 {
		a = append(a, slog.Int("status", int(r.Status)))
	}
	if r.Detail != "" {
		a = append(a, slog.String("detail", r.Detail))
	}
	n.log.LogAttrs(context.Background(), level, string(r.Kind), a...)
}

// signal implements receiver: a packet for the role's machine, which the loop hands over. The octets are copied, since the
// pump needs its packet back.
func (n *Node) signal(s *forwarding.Signal, _ time.Time) {
	var link string
	if l := n.linkOf(s.In); l != nil {
		link = l.cfg.Interface
	}
	for _, d := range n.datagrams {
		if d.id == s.In {
			link = d.uplink
		}
	}
	payload := append([]byte(nil), s.Payload()...)
	var event signaling.Event
	switch s.Kind {
	case forwarding.MobilityHeader:
		event = signaling.Received{
			Source: s.Source, Destination: s.Destination, HomeAddress: s.HomeAddress, RoutingHome: s.RoutingHome,
			Outer: s.Outer, OuterLocal: s.OuterLocal, Payload: payload, Link: link, Tunneled: s.Tunneled,
		}
	case forwarding.EchoReply:
		event = signaling.EchoReply{
			Source: s.Source, Destination: s.Destination,
			Identifier: binary.BigEndian.Uint16(payload[4:]), Sequence: binary.BigEndian.Uint16(payload[6:]),
		}
	case forwarding.MobileICMP, forwarding.SignalingError, forwarding.TunnelError:
		event = signaling.ReceivedICMP{
			Source: s.Source, Destination: s.Destination, HomeAddress: s.HomeAddress, RoutingHome: s.RoutingHome,
			Payload: payload, Link: link,
		}
	case forwarding.RouteOptimized:
		if !s.HomeAddress.IsValid() {
			return // a type 2 routing header alone asks for nothing (RFC 6275 section 6.4)
		}
		event = signaling.UnverifiedHomeAddress{Source: s.Source, Destination: s.Destination, HomeAddress: s.HomeAddress}
	}
	n.loop.offer(func(now time.Time) { n.event(now, event) })
}

// early implements receiver: the loop takes the packets after the signalling before them.
func (n *Node) early(all []forwarding.Early) {
	for _, e := range all {
		p := packet.New(e.Packet.Len())
		p.CopyFrom(e.Packet)
		e.Packet = p
		n.loop.offer(func(time.Time) { n.outlet.early(e) })
	}
}

// newsOfFlows implements receiver.
func (n *Node) newsOfFlows() {
	if n.flows != nil {
		n.flows.wake()
	}
}

// owns reports whether an address is one of kedge's own here.
func (n *Node) owns(a netip.Addr) bool {
	return slices.ContainsFunc(n.links, func(l *link) bool {
		_, own := l.addresses[a]
		return own
	})
}

// strangers implements receiver.
func (n *Node) strangers(all []forwarding.Stranger) {
	for _, s := range all {
		n.loop.offer(func(now time.Time) {
			for _, l := range n.accessLinks {
				if l.id == s.Port {
					l.stranger(now, s.LinkSource)
				}
			}
		})
	}
}

// toHost implements receiver.
func (n *Node) toHost(p *packet.Packet) { n.host.Deliver(p) }

// toHostLater implements receiver.
func (n *Node) toHostLater(p *packet.Packet) {
	q := packet.New(p.Len())
	q.CopyFrom(p)
	n.loop.offer(func(time.Time) { n.host.Deliver(q) })
}
