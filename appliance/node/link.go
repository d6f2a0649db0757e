package node

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"kedge/appliance/control"
	"kedge/config"
	"kedge/forwarding"
	"kedge/netstack/ethernet"
	"kedge/netstack/kernel"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
	"kedge/signaling"
	"kedge/signaling/movement"
)

// link is an Ethernet interface with addresses of kedge's own: the packet link, its neighbour table, and the machine that
// finds out where it is attached. All but run is for the loop.
type link struct {
	node *Node
	cfg  config.Link
	id   forwarding.PortID

	eth      *ethernet.Link
	movement *movement.Machine
	// table is nil until the interface has been there; one with another link-layer address gets a new table.
	table     *neighbor.Table
	tableAddr packet.LinkAddress
	timers    movement.SetNeighborTimers
	// held are the addresses that the table answers for, for the next one. readdressed says that neighbours have yet to be
	// told that these are at another link-layer address now.
	held        map[netip.Addr]neighbor.Kind
	readdressed bool

	up bool
	// interfaceMTU is the interface's, 0 while it is absent; advertisedMTU is what routers bound it to.
	interfaceMTU, advertisedMTU int
	// router and onLink are the default router and the prefixes of neighbours.
	router netip.Addr
	onLink []netip.Prefix
	// addresses are kedge's own, with the blackhole routes that keep a forwarding kernel from bouncing what is for them.
	addresses map[netip.Addr]*blackhole
	// tentative are addresses of kedge's own whose detection has to end before they are used.
	tentative map[netip.Addr]bool
	// probes are addresses whose detection the role asked for.
	probes map[netip.Addr]bool
	// contestedAt is when the log last said that somebody claims one of the addresses.
	contestedAt time.Time
}

// complaintInterval keeps a neighbour from filling the log.
const complaintInterval = 10 * time.Second

func newLink(n *Node, c config.Link, id forwarding.PortID, secret []byte) (*link, error) {
	l := &link{node: n, cfg: c, id: id, advertisedMTU: longestMTU, addresses: map[netip.Addr]*blackhole{}, probes: map[netip.Addr]bool{}, tentative: map[netip.Addr]bool{}, held: map[netip.Addr]neighbor.Kind{}}
	var err error
	l.eth, err = ethernet.Open(ethernet.Config{
		Interface: c.Interface, Offload: c.Offload,
		Changed: func(s ethernet.State) { n.loop.offer(func(now time.Time) { l.interfaceChanged(now, s) }) },
	})
	if err != nil {
		return nil, err
	}
	// What the interface carries is another bound, which may change (setMTU).
	l.movement, err = movement.New(movement.Config{
		Uplink: c.Interface, Secret: secret, Autoconfigure: c.Autoconfigure, Addresses: c.Addresses, Gateway: c.Gateway,
		KeepCareOf: c.KeepCareOfAddress, Preference: c.Preference, MTU: longestMTU, Random: rand.Float64,
	})
	if err != nil {
		l.eth.Close()
		return nil, err
	}
	n.ports.set(id, l.eth)
	l.interfaceMTU = l.eth.MTU()
	l.setMTU()
	return l, nil
}

// run pumps packets until ctx ends.
func (l *link) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { l.eth.Close() })()
	w := l.node.engine.NewWorker()
	defer w.Close()
	return pump(ctx, l.eth, l.id, w, l.node.ports, l.node)
}

// next and tick implement machine.
func (l *link) next() time.Time    { return l.movement.Next() }
func (l *link) tick(now time.Time) { l.handle(now, movement.Tick{}) }

// interfaceChanged takes over the interface's MTU, and gives it a neighbour table once it has a link-layer address, and a
// new one if that changes.
func (l *link) interfaceChanged(now time.Time, s ethernet.State) {
	if s.Present && s.MTU != l.interfaceMTU {
		l.interfaceMTU = s.MTU
		l.setMTU()
	}
	if !s.Present || l.table != nil && s.Address == l.tableAddr {
		return
	}
	l.readdressed = l.table != nil
	l.table = neighbor.New(neighbor.Config{LinkAddress: s.Address})
	l.tableAddr = s.Address
	l.eth.Attach(l.table, func(out neighbor.Output) {
		for _, e := range out.Events {
			l.node.loop.offer(func(now time.Time) { l.neighborEvent(now, e) })
		}
		if len(out.Undeliverable) > 0 {
			// On the loop: whoever reports may be sending through the outlet.
			l.node.loop.offer(func(time.Time) { l.node.outlet.undeliverable(out.Undeliverable) })
		}
	})
	l.table.SetTimers(l.timers.ReachableTime, l.timers.RetransTimer)
	for a, kind := range l.held {
		l.ask(func(t *neighbor.Table) neighbor.Output { return t.AddAddress(now, a, kind) })
	}
	for a := range l.probes {
		l.ask(func(t *neighbor.Table) neighbor.Output { return t.Probe(now, a) })
	}
	l.readvertise(now)
}

// readvertise tells neighbours of another link-layer address (RFC 4861 section 7.2.6), once the link is known to be one on
// which the addresses are in use. They would go on sending to the old one for half a minute.
func (l *link) readvertise(now time.Time) {
	if !l.readdressed || !l.movement.Attachment().CareOf.IsValid() {
		return
	}
	l.readdressed = false
	for a, kind := range l.held {
		if kind != neighbor.Anycast {
			l.ask(func(t *neighbor.Table) neighbor.Output { return t.Announce(now, a) })
		}
	}
}

// ask asks something of the neighbour table and does what that takes.
func (l *link) ask(f func(*neighbor.Table) neighbor.Output) {
	if l.table != nil {
		l.eth.Perform(f(l.table))
	}
}

// hold answers for an address.
func (l *link) hold(now time.Time, a netip.Addr, kind neighbor.Kind) {
	l.held[a] = kind
	l.ask(func(t *neighbor.Table) neighbor.Output { return t.AddAddress(now, a, kind) })
}

// release stops answering for an address.
func (l *link) release(now time.Time, a netip.Addr) {
	delete(l.held, a)
	l.ask(func(t *neighbor.Table) neighbor.Output { return t.RemoveAddress(now, a) })
}

// kernelEvent takes what the host kernel says of the interface.
func (l *link) kernelEvent(now time.Time, e kernel.Event) {
	switch e.Kind {
	case kernel.LinkUp, kernel.LinkDown:
		l.up = e.Kind == kernel.LinkUp
		if !l.up && l.table != nil {
			l.table.Flush() // the link that comes up next may be another
		}
		l.handle(now, movement.Carrier{Up: l.up})
	case kernel.LinkVanished:
		if l.up {
			l.up = false
			l.handle(now, movement.Carrier{})
		}
	}
	l.node.accelerator.linkChanged(l)
}

// neighborEvent takes what the neighbour table says.
func (l *link) neighborEvent(now time.Time, event neighbor.Event) {
	switch e := event.(type) {
	case neighbor.RouterAdvertised:
		l.advertised(now, e)
	case neighbor.NeighborReachable:
		l.handle(now, movement.RouterReachable{Router: e.Addr})
	case neighbor.NeighborUnreachable:
		l.handle(now, movement.RouterUnreachable{Router: e.Addr})
	case neighbor.RouterGone:
		l.handle(now, movement.RouterUnreachable{Router: e.Addr})
	case neighbor.Unique:
		l.detected(now, e.Addr, false)
	case neighbor.Duplicate:
		l.detected(now, e.Addr, true)
	case neighbor.Conflict:
		if _, own := l.addresses[e.Addr]; own {
			l.contested(now, e.Addr)
		}
	}
}

// detected ends duplicate address detection.
func (l *link) detected(now time.Time, a netip.Addr, duplicate bool) {
	if l.probes[a] {
		delete(l.probes, a)
		l.node.event(now, signaling.DuplicateResult{Link: l.cfg.Interface, Address: a, Duplicate: duplicate})
		return
	}
	tentative := l.tentative[a]
	delete(l.tentative, a)
	if duplicate {
		l.handle(now, movement.DuplicateFound{Address: a})
		return
	}
	if _, own := l.addresses[a]; own || tentative {
		l.hold(now, a, neighbor.Own)
		l.own(a)
	}
	l.handle(now, movement.AddressConfirmed{Address: a})
}

// contested keeps an address of kedge's own that another node advertises too: its duplicate address detection is over, and
// were it given up, any node on the link could take away a care-of address, or a home agent's, by one forged message.
// Neighbours are told whose it is, at the rate that Announce allows.
func (l *link) contested(now time.Time, a netip.Addr) {
	l.ask(func(t *neighbor.Table) neighbor.Output { return t.Announce(now, a) })
	if now.Sub(l.contestedAt) > complaintInterval {
		l.contestedAt = now
		l.node.log.Warn("another node on the link advertises an address of kedge's own", "link", l.cfg.Interface, "address", a)
	}
}

// handle hands an event to movement detection and carries out what it wants.
func (l *link) handle(now time.Time, e movement.Event) {
	for _, effect := range l.movement.Handle(now, e) {
		l.carryOut(now, effect)
	}
}

func (l *link) carryOut(now time.Time, effect movement.Effect) {
	switch e := effect.(type) {
	case movement.SendRouterSolicitation:
		l.solicitRouters(e)
	case movement.AddAddress:
		l.addAddress(now, e)
	case movement.RemoveAddress:
		l.removeAddress(now, e.Address)
	case movement.SetRouter:
		l.router = e.Router
		l.node.routes()
		l.node.accelerator.linkChanged(l)
	case movement.SetOnLink:
		l.setOnLink(e.Prefixes)
	case movement.SetMTU:
		l.advertisedMTU = e.MTU
		l.setMTU()
	case movement.SetNeighborTimers:
		l.timers = e
		if l.table != nil {
			l.table.SetTimers(e.ReachableTime, e.RetransTimer)
		}
	case movement.ProbeRouter:
		l.ask(func(t *neighbor.Table) neighbor.Output { return t.Verify(now, e.Router) })
	case movement.Attach:
		l.readvertise(now)
		l.node.attach(now, e.Attachment)
	case movement.Report:
		l.node.report(now, e.Report)
	default:
		l.node.log.Error("effect that nobody carries out", "effect", e)
	}
}

func (l *link) addAddress(now time.Time, e movement.AddAddress) {
	a := e.Address.Addr()
	switch e.Detection {
	case movement.Optimistic:
		l.hold(now, a, neighbor.Optimistic)
	case movement.Tentative:
		// No packet is for or from it until it is known to be unique (RFC 4862 section 5.4).
		l.tentative[a] = true
		l.ask(func(t *neighbor.Table) neighbor.Output { return t.Probe(now, a) })
		return
	default:
		l.hold(now, a, neighbor.Own)
	}
	l.own(a)
}

// owns reports whether an address is one of the configured ones.
func (l *link) owns(a netip.Addr) bool {
	return slices.ContainsFunc(l.cfg.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
}

// serveAnycast answers to an anycast address of a prefix; an invalid one is that of a prefix which has none.
func (l *link) serveAnycast(now time.Time, a netip.Addr, p netip.Prefix) {
	if a.IsValid() {
		l.addAddress(now, movement.AddAddress{Address: netip.PrefixFrom(a, p.Bits()), Detection: movement.Assigned})
		l.hold(now, a, neighbor.Anycast)
	}
}

// own has packets for an address of kedge's own come to it.
func (l *link) own(a netip.Addr) {
	if err := l.node.engine.SetLocal(a, l.id); err != nil {
		l.node.log.Error("own address", "link", l.cfg.Interface, "error", err)
	}
	if err := l.node.host.AddAddress(a); err != nil {
		l.node.log.Error("own address", "link", l.cfg.Interface, "error", err)
	}
	if l.addresses[a] == nil {
		l.addresses[a] = l.node.blackhole(a)
	}
}

func (l *link) removeAddress(now time.Time, a netip.Addr) {
	delete(l.tentative, a)
	l.release(now, a)
	l.node.engine.RemoveLocal(a)
	if err := l.node.host.RemoveAddress(a); err != nil {
		l.node.log.Error("own address", "link", l.cfg.Interface, "error", err)
	}
	l.addresses[a].remove(&l.node.chores)
	delete(l.addresses, a)
}

func (l *link) setOnLink(prefixes []netip.Prefix) {
	for _, p := range l.onLink {
		if !slices.Contains(prefixes, p) {
			l.node.engine.RemoveRoute(p)
		}
	}
	for _, p := range prefixes {
		if err := l.node.engine.SetRoute(p, l.id, netip.Addr{}); err != nil {
			l.node.log.Error("on-link prefix", "link", l.cfg.Interface, "error", err)
		}
	}
	l.onLink = slices.Clone(prefixes)
	l.node.accelerator.linkChanged(l)
}

// setMTU tells the engine what the link carries: what the interface does, or less if routers say so (RFC 4861 section 6.3.4).
func (l *link) setMTU() {
	if err := l.node.engine.SetPort(forwarding.Port{ID: l.id, MTU: l.mtu(), Features: l.eth.Features()}); err != nil {
		l.node.log.Error("link MTU", "link", l.cfg.Interface, "error", err)
	}
	l.node.accelerator.linkChanged(l)
}

func (l *link) mtu() int {
	if l.interfaceMTU > 0 {
		return min(l.advertisedMTU, l.interfaceMTU)
	}
	return min(l.advertisedMTU, linkMTU) // until the interface is there
}

// defend answers neighbour solicitations for an address that is elsewhere, or that came home.
func (l *link) defend(now time.Time, e signaling.Defend) {
	kind := neighbor.Returning
	switch {
	case e.Proxy && e.Router:
		kind = neighbor.ProxyRouter
	case e.Proxy:
		kind = neighbor.Proxy
	case e.Announce:
		kind = neighbor.Own
	}
	l.hold(now, e.Address, kind)
	if e.Announce {
		l.ask(func(t *neighbor.Table) neighbor.Output { return t.Announce(now, e.Address) })
	}
}

func (l *link) undefend(now time.Time, a netip.Addr) { l.release(now, a) }

// probe looks for another holder of an address on behalf of the role.
func (l *link) probe(now time.Time, a netip.Addr) {
	l.probes[a] = true
	l.ask(func(t *neighbor.Table) neighbor.Output { return t.Probe(now, a) })
}

func (l *link) show() control.Link {
	c := control.Link{Name: l.cfg.Interface, Kind: "ethernet", Up: l.up, Absent: !l.eth.State().Present, MTU: l.eth.MTU(), Router: l.router}
	for a := range l.addresses {
		c.Addresses = append(c.Addresses, a)
	}
	slices.SortFunc(c.Addresses, netip.Addr.Compare)
	return c
}
