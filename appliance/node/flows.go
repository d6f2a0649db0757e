package node

import (
	"net/netip"
	"sync/atomic"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/store"
	"kedge/config"
	"kedge/forwarding"
	"kedge/forwarding/flow"
	"kedge/forwarding/policy"
	"kedge/netstack/kernel"
	"kedge/signaling"
	"kedge/signaling/dmipv6"
)

// The kinds of report about flows that need no signalling of their own.
const (
	// flowBegun is of a flow whose address was clear at once.
	flowBegun signaling.ReportKind = "flow-begun"
	flowEnded signaling.ReportKind = "flow-ended"
	// flowEvicted is of a flow that made room for another.
	flowEvicted signaling.ReportKind = "flow-evicted"
	// flowTerminated is of one flow that the access network, or its anchor, cannot carry any more.
	flowTerminated signaling.ReportKind = "flow-terminated"
)

const (
	// closedTime is how long a finished TCP connection is remembered at most: as long as its end may be repeated.
	closedTime = time.Minute
	// sweepInterval, sweepShare and sweptAtOnce: a small flow table is looked over every second, a large one every 8 s.
	sweepInterval = time.Second
	sweepShare    = 8
	sweptAtOnce   = 1 << 16
)

// flows are a mobile node's service flows as the loop sees them: it tells signalling of those that wait, has the engine do
// what signalling wants, and keeps the translations in a file, so that they outlive the process. All but wake is for the loop.
type flows struct {
	node     *Node
	rules    []policy.Rule
	profiles []dmipv6.Profile
	worker   *forwarding.Worker
	store    *store.Store
	news     []flow.News
	swept    time.Time
	// host are the addresses that the host itself holds.
	host *hostAddresses
	// pending says that the loop has been told of news already.
	pending atomic.Bool
}

// newFlows has the engine keep flows.
func newFlows(n *Node) (*flows, error) {
	d := n.cfg.DMIPv6
	f := &flows{node: n, worker: n.engine.NewWorker(), host: newHostAddresses(n)}
	f.profiles, f.rules = profilesOf(d.Rules)
	classifier, err := classifierOf(f.rules)
	if err != nil {
		return nil, err
	}
	err = n.engine.EnableFlows(forwarding.FlowConfig{
		Home: n.cfg.MobileNode.HomeAddress,
		// A finished connection holds on to its address no longer than an operator wants an idle one kept.
		Config: flow.Config{MaxFlows: d.MaxFlows, Timeouts: flow.Timeouts{TCPClosed: min(closedTime, max(d.IdleTime, time.Second))}},
	})
	if err != nil {
		return nil, err
	}
	if err := n.engine.SetClassifier(classifier); err != nil {
		return nil, err
	}
	return f, f.openStore()
}

func (f *flows) close() error {
	f.worker.Close()
	f.host.close()
	if f.store == nil {
		return nil
	}
	return f.store.Close()
}

// wake has the loop take the engine's news. It is for pumps.
func (f *flows) wake() {
	if f.pending.CompareAndSwap(false, true) {
		f.node.loop.wake(f.take)
	}
}

// take tells signalling what has happened to flows.
func (f *flows) take(now time.Time) {
	f.pending.Store(false)
	f.news = f.node.engine.TakeNews(f.news[:0])
	for i := range f.news {
		e := &f.news[i]
		switch e.Event {
		case flow.Waits:
			f.node.event(now, signaling.FlowHeld{Flow: e.Flow.Number, Key: keyOf(e.Flow.Key), Profile: e.Flow.Profile, Since: e.At})
		case flow.WaitsForUser:
			f.findUser(now, &e.Flow)
		case flow.AddressUsed:
			f.node.event(now, signaling.AddressUse{Address: e.Address, Flows: e.Flows})
		case flow.Created:
			f.keep(&e.Flow)
			f.report(e.At, flowBegun, &e.Flow)
		case flow.Released:
			f.keep(&e.Flow)
		case flow.Ended:
			f.forget(&e.Flow)
			if e.Flow.State != flow.Terminated {
				f.report(e.At, flowEnded, &e.Flow)
			}
		case flow.Evicted:
			f.forget(&e.Flow)
			f.report(e.At, flowEvicted, &e.Flow)
		}
	}
	clear(f.news) // they refer to addresses only, but there may be many
}

func keyOf(k flow.Key) signaling.FlowKey {
	return signaling.FlowKey{Local: k.Local, Remote: k.Remote, Protocol: k.Protocol, LocalPort: k.LocalPort, RemotePort: k.RemotePort}
}

// findUser asks the kernel whose socket a flow comes from, which some rule wants to know.
func (f *flows) findUser(now time.Time, s *flow.Snapshot) {
	k := s.Key
	user, known, err := kernel.SocketOwner(k.Protocol, netip.AddrPortFrom(k.Local, k.LocalPort), netip.AddrPortFrom(k.Remote, k.RemotePort))
	if err != nil {
		f.node.log.Debug("socket owner", "flow", s.Number, "error", err)
	}
	address, decision, decided, err := f.node.engine.ClassifyHeld(s.Number, user, known)
	switch {
	case err != nil:
		f.node.log.Debug("flow is gone", "flow", s.Number, "error", err)
	case decided:
		f.release(now, s.Number, address, decision)
	}
}

// release sends what waits of a flow, in order, until nothing is left.
func (f *flows) release(now time.Time, number uint64, address netip.Addr, decision uint32) {
	for more := true; more; {
		r := f.worker.Release(now, number, address, decision)
		more = r.More
		f.hand(r, now)
	}
	f.wake()
}

func (f *flows) hand(r *forwarding.Result, now time.Time) {
	f.node.ports.send(r.Outputs)
	for _, p := range r.ToHost {
		f.node.toHostLater(p)
	}
	for i := range r.Signals {
		f.node.signal(&r.Signals[i], now)
	}
}

// decide carries out a Decide.
func (f *flows) decide(now time.Time, d signaling.Decide) {
	f.serveTranslation(d.Address)
	f.release(now, d.Flow, d.Address, d.Decision)
}

// choose carries out a Choose.
func (f *flows) choose(c signaling.Choose) {
	f.serveTranslation(c.Address)
	if err := f.node.engine.SetChoice(c.Profile, c.Prefix, c.Address, c.Decision); err != nil {
		f.node.log.Error("choice of an anchor", "prefix", c.Prefix, "address", c.Address, "error", err)
	}
}

func (f *flows) unchoose(c signaling.Unchoose) {
	if err := f.node.engine.RemoveChoice(c.Profile, c.Prefix); err != nil {
		f.node.log.Error("choice of an anchor", "prefix", c.Prefix, "error", err)
	}
}

// serveTranslation says that an address other than the home address is for translation.
func (f *flows) serveTranslation(a netip.Addr) {
	if a == f.node.cfg.MobileNode.HomeAddress || f.host.holds(a) {
		return
	}
	if err := f.node.engine.SetAddressUse(a, flow.Translation); err != nil {
		f.node.log.Error("distributed home address", "address", a, "error", err)
	}
}

// terminate ends flows of an address.
func (f *flows) terminate(now time.Time, t signaling.Terminate) {
	for _, number := range f.node.engine.MatchingFlows(t.Address, t.Profile, nil) {
		s, ok := f.node.engine.Flows().Snapshot(number)
		f.hand(f.worker.Terminate(now, number), now)
		if ok {
			r := f.describe(flowTerminated, &s)
			r.Detail += ": " + t.Detail
			f.node.report(now, r)
		}
	}
	f.wake()
}

// give carries out a Release: the address is not this node's any more.
func (f *flows) give(a netip.Addr) {
	f.host.release(a)
	f.node.engine.UnbindMobile(netip.PrefixFrom(a, 128))
	if err := f.node.engine.SetAddressUse(a, flow.Unassigned); err != nil {
		f.node.log.Error("distributed home address", "address", a, "error", err)
	}
}

// next and tick implement machine: they look for flows whose time is up.
func (f *flows) next() time.Time { return f.swept.Add(sweepInterval) }

func (f *flows) tick(now time.Time) {
	f.swept = now
	all := f.node.engine.Flows().Buckets()
	f.node.engine.SweepFlows(now, max(all/sweepShare+1, min(all, sweptAtOnce)))
	f.wake()
}

func (f *flows) report(now time.Time, kind signaling.ReportKind, s *flow.Snapshot) {
	f.node.report(now, f.describe(kind, s))
}

func (f *flows) describe(kind signaling.ReportKind, s *flow.Snapshot) signaling.Report {
	c := f.show(s, time.Now())
	r := signaling.Report{Kind: kind, Home: s.Address, Peer: s.Key.Remote}
	r.Detail = flowText(&c) + ", " + c.Class + " by rule " + quote(c.Rule) + ", begun by " + c.Initiator
	return r
}

// status fills in what there is of flows.
func (f *flows) status(now time.Time, s *control.Status) {
	t, m := f.node.engine.Flows(), f.node.role.(*mobileNode)
	d := &control.DMIPv6{State: m.flowState(), Flows: t.Len(), Held: m.flows.Waiting(), Anchors: len(m.flows.Anchors(now))}
	s.DMIPv6 = d
	for i, value := range t.Stats() {
		s.Counters["flows-"+flow.Stat(i).String()] = value
	}
	s.Counters["flows-held-octets"] = uint64(t.HeldOctets())
}

// rule is the rule that gave a flow its class; false if none was asked.
func (f *flows) rule(s *flow.Snapshot) (config.Rule, bool) {
	rules := f.node.cfg.DMIPv6.Rules
	switch {
	case s.Profile < 0:
		return config.Rule{}, false
	case s.Rule < 0:
		return rules[len(rules)-1], true
	case s.Rule < len(rules):
		return rules[s.Rule], true
	}
	return config.Rule{}, false
}

// show is a flow for the control API.
func (f *flows) show(s *flow.Snapshot, now time.Time) control.Flow {
	c := control.Flow{
		Number: s.Number, Protocol: protocolName(s.Key.Protocol), Local: s.Key.Local, LocalPort: s.Key.LocalPort,
		Remote: s.Key.Remote, RemotePort: s.Key.RemotePort, Class: string(config.Fixed), Rule: "none: its address was given",
		Initiator: s.Initiator.String(), State: "active", Address: s.Address, Translated: s.Address != s.Key.Local,
		Mode: "bidirectional-tunnel", TCP: tcpName(s), AgeSeconds: now.Sub(s.Created).Seconds(),
		IdleSeconds: now.Sub(s.LastSeen).Seconds(), PacketsOut: s.PacketsOut, PacketsIn: s.PacketsIn,
		OctetsOut: s.OctetsOut, OctetsIn: s.OctetsIn,
	}
	switch s.State {
	case flow.Holding:
		c.State = "holding"
	case flow.Terminated:
		c.State = "terminated"
	}
	if r, ok := f.rule(s); ok {
		c.Class, c.Rule = string(r.Class), r.Name
	}
	return c
}
