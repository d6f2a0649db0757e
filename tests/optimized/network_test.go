// Package optimized_test has a mobile node, its home agent and a correspondent node do route optimisation with all of
// their forwarding, in virtual time: state machines and engines are the real ones, links are function calls.
package optimized_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"kedge/forwarding"
	"kedge/netstack/packet"
	"kedge/signaling"
	"kedge/signaling/correspondent"
	"kedge/signaling/mh"
	"kedge/signaling/routeoptimization"
)

var (
	home      = netip.MustParseAddr("2001:db8:a::100")
	homeAgent = netip.MustParseAddr("2001:db8:a::1")
	coa       = netip.MustParseAddr("2001:db8:1::1")
	coa2      = netip.MustParseAddr("2001:db8:2::1")
	cn        = netip.MustParseAddr("2001:db8:c::1")
	router    = netip.MustParseAddr("fe80::1")
)

const (
	tun forwarding.PortID = iota
	eth
)

// node is an engine with its worker, and what its programs got.
type node struct {
	name    string
	network *network
	engine  *forwarding.Engine
	worker  *forwarding.Worker
	machine signaling.Machine // nil at the home agent
	program [][]byte
}

// network carries every packet at once to whoever has its destination, and counts what crosses the home agent.
type network struct {
	t          testing.TB
	now        time.Time
	mn, ha, cn *node
	mobile     *routeoptimization.Machine
	// owners says where packets for an address go; others are lost.
	owners map[netip.Addr]*node
	depth  int
	queue  []func()
	busy   bool
	// byHome counts what the home agent had to carry.
	byHome int
}

func newNetwork(t testing.TB) *network {
	t.Helper()
	n := &network{t: t, now: time.Unix(1_800_000_000, 0)}
	make := func(name string, o forwarding.Options) *node {
		e := forwarding.New(o)
		must(t, e.SetPort(forwarding.Port{ID: eth, MTU: 1500}))
		must(t, e.SetRoute(netip.MustParsePrefix("::/0"), eth, router))
		return &node{name: name, network: n, engine: e, worker: e.NewWorker()}
	}
	n.mn, n.ha, n.cn = make("mobile node", forwarding.Options{}), make("home agent", forwarding.Options{Anchor: true}), make("correspondent node", forwarding.Options{})
	for _, x := range []*node{n.mn, n.cn} {
		must(t, x.engine.SetPort(forwarding.Port{ID: tun, Host: true, MTU: 1500}))
	}
	must(t, n.ha.engine.SetLocal(homeAgent, eth))
	must(t, n.cn.engine.BindMobile(host(cn), forwarding.Tunnel{Native: true}))
	var err error
	n.mobile, err = routeoptimization.New(routeoptimization.Config{HomeAddress: home, MaxPairs: 4})
	must(t, err)
	n.mn.machine = n.mobile
	n.cn.machine, err = correspondent.New(correspondent.Config{Address: cn, MaxBindings: 4}, n.now)
	must(t, err)
	n.owners = map[netip.Addr]*node{home: n.ha, homeAgent: n.ha, cn: n.cn}
	n.attach(coa)
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 128) }

// attach moves the mobile node to careOf, which its home agent knows at once.
func (n *network) attach(careOf netip.Addr) {
	for _, a := range []netip.Addr{coa, coa2} {
		delete(n.owners, a)
		n.mn.engine.RemoveLocal(a)
	}
	n.owners[careOf] = n.mn
	must(n.t, n.mn.engine.SetLocal(careOf, eth))
	must(n.t, n.mn.engine.BindMobile(host(home), forwarding.Tunnel{Local: careOf, Remote: homeAgent, Via: true, Port: eth, NextHop: router}))
	must(n.t, n.ha.engine.BindAnchored(host(home), forwarding.Tunnel{Local: homeAgent, Remote: careOf}))
	n.mn.handle(signaling.HomePath{Home: home, CareOf: careOf, Link: "eth0", Router: router})
	n.mn.handle(signaling.HomeRegistration{Registered: true, CareOf: careOf})
}

// pass lets time pass.
func (n *network) pass(d time.Duration) {
	for end := n.now.Add(d); n.now.Before(end); n.now = n.now.Add(time.Second) {
		n.mn.handle(signaling.Tick{})
		n.cn.handle(signaling.Tick{})
	}
}

// handle hands an event over once what is under way is done, as a node's loop does.
func (x *node) handle(e signaling.Event) {
	x.network.later(func() { x.carryOut(x.machine.Handle(x.network.now, e)) })
}

func (x *node) do(effects []signaling.Effect) { x.network.later(func() { x.carryOut(effects) }) }

func (n *network) later(f func()) {
	n.queue = append(n.queue, f)
	if n.busy {
		return
	}
	n.busy = true
	for len(n.queue) > 0 {
		f := n.queue[0]
		n.queue = n.queue[1:]
		f()
	}
	n.busy = false
}

func (x *node) carryOut(effects []signaling.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case signaling.Send:
			p := []*packet.Packet{mobility(e)}
			switch {
			case e.Tunnel.IsValid():
				x.carry(x.worker.OutputTunnel(x.network.now, e.Tunnel, p))
			case e.Link != "":
				x.carry(x.worker.OutputVia(x.network.now, eth, e.Router, p))
			default:
				x.carry(x.worker.Output(x.network.now, p))
			}
		case signaling.Optimize:
			if e.Mobile {
				must(x.network.t, x.engine.SetOptimized(e.Home, e.Correspondent, forwarding.Optimized{CareOf: e.CareOf, Via: e.Link != "", Port: eth, NextHop: e.Router}))
			} else {
				must(x.network.t, x.engine.SetCorrespondentBinding(e.Home, e.CareOf, e.Correspondent))
			}
		case signaling.Deoptimize:
			if e.Mobile {
				x.engine.RemoveOptimized(e.Home, e.Correspondent)
			} else {
				x.engine.RemoveCorrespondentBinding(e.Home, e.Correspondent)
			}
		}
	}
}

// mobility is a Mobility Header in its packet.
func mobility(s signaling.Send) *packet.Packet {
	var b []byte
	next := byte(mh.Protocol)
	switch {
	case s.HomeAddress.IsValid():
		next, b = mh.ProtocolDestinationOptions, mh.AppendHomeAddressOption(nil, mh.Protocol, s.HomeAddress)
	case s.RoutingHome.IsValid():
		next, b = mh.ProtocolRouting, mh.AppendType2Routing(nil, mh.Protocol, s.RoutingHome)
	}
	return datagram(s.Source, s.Destination, next, append(b, s.Payload...))
}

func datagram(source, destination netip.Addr, next byte, payload []byte) *packet.Packet {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], source.AsSlice())
	copy(b[24:], destination.AsSlice())
	p := packet.New(packet.MaxLength)
	p.Set(append(b, payload...))
	return p
}

// carry takes a worker's result where it goes. Everything is copied first: what comes of it may need the worker again.
func (x *node) carry(r *forwarding.Result) {
	n := x.network
	if n.depth++; n.depth > 50 {
		n.t.Fatal("packets go round in circles")
	}
	defer func() { n.depth-- }()
	var wire [][]byte
	var events []signaling.Event
	for _, o := range r.Outputs {
		for _, p := range o.Packets {
			b := append([]byte(nil), p.Bytes()...)
			if o.Port == tun {
				x.program = append(x.program, b)
			} else {
				wire = append(wire, b)
			}
		}
	}
	for _, s := range r.Signals {
		payload := append([]byte(nil), s.Payload()...)
		switch s.Kind {
		case forwarding.MobilityHeader:
			events = append(events, signaling.Received{Source: s.Source, Destination: s.Destination, HomeAddress: s.HomeAddress,
				RoutingHome: s.RoutingHome, Payload: payload, Tunneled: s.Tunneled})
		case forwarding.RouteOptimized:
			events = append(events, signaling.UnverifiedHomeAddress{Source: s.Source, Destination: s.Destination, HomeAddress: s.HomeAddress})
		default:
			events = append(events, signaling.ReceivedICMP{Source: s.Source, Destination: s.Destination, Payload: payload})
		}
	}
	for _, e := range events {
		x.handle(e)
	}
	for _, b := range wire {
		if to := n.owners[netip.AddrFrom16([16]byte(b[24:40]))]; to != nil {
			if to == n.ha {
				n.byHome++
			}
			to.receive(b)
		}
	}
}

func (x *node) receive(b []byte) {
	p := packet.New(packet.MaxLength)
	p.Set(b)
	// A correspondent node's kernel takes what needs nothing of kedge.
	if next := b[6]; x == x.network.cn && next != mh.Protocol && next != mh.ProtocolDestinationOptions {
		x.program = append(x.program, b)
		return
	}
	x.carry(x.worker.Process(x.network.now, eth, []*packet.Packet{p}))
}

// send has a node's program send an (unknown to all) protocol's packet, and returns what the other's program got.
func (n *network) send(from, to *node, source, destination netip.Addr) [][]byte {
	to.program = nil
	from.carry(from.worker.Process(n.now, tun, []*packet.Packet{datagram(source, destination, 253, []byte("payload!"))}))
	return to.program
}
