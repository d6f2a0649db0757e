package accessrouter

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/database"
	"kedge/signaling/mh"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cmd  = netip.MustParseAddr("2001:db8:c::1")
	host = signaling.LinkLayerAddress{0x02, 0, 0, 0, 0, 0x11}
)

// maar is the address of MAAR n, counted from 1, and pool its prefix pool.
func maar(n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::1", n)) }

func poolOf(n int) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf("2001:db8:a%x::/48", n)) }

func key(spi uint32) auth.Association {
	return auth.Association{SPI: spi, Algorithm: auth.HMACSHA256, Key: auth.Key(fmt.Sprintf("key number %d", spi))}
}

// between is the SPI of the association of two MAARs.
func between(a, b int) uint32 { return uint32(1000 + 32*min(a, b) + max(a, b)) }

// configOf is the configuration of MAAR n of so many.
func configOf(n, of int) Config {
	c := Config{
		Address: maar(n), Database: cmd, SPI: uint32(500 + n), Pools: []netip.Prefix{poolOf(n)}, AllowAnyNode: true,
		Associations: map[uint32]auth.Association{uint32(500 + n): key(uint32(500 + n))}, Secret: [32]byte{byte(n)},
	}
	for p := 1; p <= of; p++ {
		if p != n {
			c.Peers = append(c.Peers, Peer{maar(p), between(n, p)})
			c.Associations[between(n, p)] = key(between(n, p))
		}
	}
	return c
}

// node is one machine of the network and what its forwarding and access link hold by its effects.
type node struct {
	address netip.Addr
	machine signaling.Machine
	maar    *Machine
	native  map[netip.Prefix]signaling.BindAttached
	tunnels map[netip.Prefix]netip.Addr
	routers map[netip.Prefix]signaling.Router
	reports []signaling.Report
	sent    int
	octets  int
}

type delivery struct {
	at    time.Time
	order int
	event signaling.Event
	to    *node
}

type deliveries []delivery

func (d deliveries) Len() int { return len(d) }
func (d deliveries) Less(i, j int) bool {
	return d[i].at.Before(d[j].at) || d[i].at.Equal(d[j].at) && d[i].order < d[j].order
}
func (d deliveries) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *deliveries) Push(x any)   { *d = append(*d, x.(delivery)) }
func (d *deliveries) Pop() any {
	o := *d
	x := o[len(o)-1]
	*d = o[:len(o)-1]
	return x
}

// world is a network in virtual time.
type world struct {
	t       testing.TB
	now     time.Time
	nodes   map[netip.Addr]*node
	flying  deliveries
	order   int
	delay   func(from, to netip.Addr) time.Duration
	fate    func(from, to netip.Addr) (copies int, extra time.Duration)
	cmdAway bool
	cmd     *database.Machine
	mode    database.Mode
}

func network(t testing.TB, mode database.Mode, count int, changes ...func(*Config, *database.Config)) *world {
	t.Helper()
	w := &world{t: t, now: noon, nodes: make(map[netip.Addr]*node), mode: mode}
	w.delay = func(from, to netip.Addr) time.Duration { return 5 * time.Millisecond }
	d := database.Config{Address: cmd, Mode: mode, AllowAnyNode: true, Associations: make(map[uint32]auth.Association)}
	var configs []Config
	for n := 1; n <= count; n++ {
		c := configOf(n, count)
		c.Locator = mode == database.Locator
		d.Routers = append(d.Routers, database.Router{Address: maar(n), SPI: c.SPI, Prefixes: c.Pools})
		d.Associations[c.SPI] = key(c.SPI)
		configs = append(configs, c)
	}
	for i := range configs {
		for _, change := range changes {
			change(&configs[i], &d)
		}
		m, err := New(configs[i], noon)
		if err != nil {
			t.Fatal(err)
		}
		w.add(configs[i].Address, m).maar = m
	}
	m, err := database.New(d, noon)
	if err != nil {
		t.Fatal(err)
	}
	w.cmd = m
	w.add(cmd, m)
	return w
}

func (w *world) add(a netip.Addr, m signaling.Machine) *node {
	n := &node{
		address: a, machine: m, native: make(map[netip.Prefix]signaling.BindAttached),
		tunnels: make(map[netip.Prefix]netip.Addr), routers: make(map[netip.Prefix]signaling.Router),
	}
	w.nodes[a] = n
	return n
}

func (w *world) at(n int) *node { return w.nodes[maar(n)] }

// take carries out effects.
func (w *world) take(n *node, effects []signaling.Effect) {
	w.t.Helper()
	for _, e := range effects {
		switch e := e.(type) {
		case signaling.Send:
			n.sent++
			n.octets += len(e.Payload)
			w.send(e)
		case signaling.BindAttached:
			if n.tunnels[e.Prefix].IsValid() {
				w.t.Fatalf("%v binds %v to a link while it has a tunnel", n.address, e.Prefix)
			}
			n.native[e.Prefix] = e
		case signaling.UnbindAttached:
			if _, ok := n.native[e.Prefix]; !ok {
				w.t.Fatalf("%v unbinds %v, which is not bound", n.address, e.Prefix)
			}
			delete(n.native, e.Prefix)
		case signaling.Advertise:
			n.routers[e.Router.Prefix] = e.Router
			if b, ok := n.native[e.Router.Prefix]; !ok || b.Link != e.Link || b.MobileNode != e.MobileNode {
				w.t.Fatalf("%v advertises %v, which is not bound there", n.address, e.Router.Prefix)
			}
		case signaling.Unadvertise:
			delete(n.routers, e.Prefix)
		case signaling.Bind:
			if _, ok := n.native[e.Home]; ok {
				w.t.Fatalf("%v tunnels %v, which is bound to a link", n.address, e.Home)
			}
			n.tunnels[e.Home] = e.Remote
		case signaling.Unbind:
			if !n.tunnels[e.Home].IsValid() && n.maar != nil {
				w.t.Fatalf("%v unbinds %v, which has no tunnel", n.address, e.Home)
			}
			delete(n.tunnels, e.Home)
		case signaling.Report:
			n.reports = append(n.reports, e)
		}
	}
}

func (w *world) send(e signaling.Send) {
	copies, extra := 1, time.Duration(0)
	if w.fate != nil {
		copies, extra = w.fate(e.Source, e.Destination)
	}
	if w.cmdAway && (e.Source == cmd || e.Destination == cmd) || w.nodes[e.Destination] == nil {
		return
	}
	for range copies {
		w.post(w.now.Add(w.delay(e.Source, e.Destination)+extra), w.nodes[e.Destination], signaling.Received{
			Source: e.Source, Destination: e.Destination, Payload: slices.Clone(e.Payload), Link: "core",
		})
		extra *= 2
	}
}

func (w *world) post(at time.Time, to *node, e signaling.Event) {
	w.order++
	heap.Push(&w.flying, delivery{at, w.order, e, to})
}

// run lets d pass.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for {
		at, who := time.Time{}, (*node)(nil)
		for _, n := range w.nodes {
			if next := n.machine.Next(); !next.IsZero() && (at.IsZero() || next.Before(at)) {
				at, who = next, n
			}
		}
		if len(w.flying) > 0 && (at.IsZero() || !w.flying[0].at.After(at)) {
			if w.flying[0].at.After(end) {
				break
			}
			f := heap.Pop(&w.flying).(delivery)
			if f.at.After(w.now) {
				w.now = f.at
			}
			w.take(f.to, f.to.machine.Handle(w.now, f.event))
			continue
		}
		if at.IsZero() || at.After(end) {
			break
		}
		if at.After(w.now) {
			w.now = at
		}
		w.take(who, who.machine.Handle(w.now, signaling.Tick{}))
	}
	w.now = end
}

func (w *world) handle(n int, e signaling.Event) {
	w.t.Helper()
	w.take(w.at(n), w.at(n).machine.Handle(w.now, e))
}

func (w *world) attach(n int) {
	w.t.Helper()
	w.handle(n, signaling.MobileNodeAttached{Link: "radio", LinkLayer: host, Cause: "test"})
}

func (w *world) detach(n int) {
	w.t.Helper()
	w.handle(n, signaling.MobileNodeDetached{Link: "radio", LinkLayer: host, Cause: "test"})
}

// info is what MAAR n shows of the host.
func (w *world) info(n int) Info {
	for _, i := range w.at(n).maar.Nodes(w.now) {
		if i.LinkLayer == host.String() || i.Identifier == host.String() {
			return i
		}
	}
	return Info{State: "none"}
}

// own is the prefix that MAAR n anchors for the host.
func (w *world) own(n int) netip.Prefix {
	w.t.Helper()
	i := w.info(n)
	if len(i.Prefixes) != 1 {
		w.t.Fatalf("MAAR %d anchors %v", n, i.Prefixes)
	}
	return i.Prefixes[0]
}

// served checks that MAAR n serves the host, with its own prefix native and preferred, and those of from deprecated, through
// tunnels with both ends, and that it is in nobody else's hands.
func (w *world) served(n int, from ...int) {
	w.t.Helper()
	here := w.at(n)
	if s := w.info(n).State; s != "serving" {
		w.t.Errorf("MAAR %d: %s", n, s)
	}
	own := w.own(n)
	if b, ok := here.native[own]; !ok || b.Remote.IsValid() {
		w.t.Errorf("MAAR %d: its prefix is %+v", n, b)
	}
	if r := here.routers[own]; r.Preferred != DefaultPreferredLifetime || r.Valid != DefaultValidLifetime {
		w.t.Errorf("MAAR %d advertises its prefix as %+v", n, r)
	}
	if len(here.native) != 1+len(from) || len(here.routers) != 1+len(from) {
		w.t.Errorf("MAAR %d has %d prefixes and %d routers, want %d", n, len(here.native), len(here.routers), 1+len(from))
	}
	for _, p := range from {
		prefix := w.own(p)
		if b := here.native[prefix]; b.Remote != maar(p) || b.Local != maar(n) {
			w.t.Errorf("MAAR %d binds %v as %+v", n, prefix, b)
		}
		linkLocal, linkLayer := w.at(p).maar.ownInterface(identity{mh.IdentifierEUI48, string(host[:])})
		r := here.routers[prefix]
		if r.Preferred != 0 || r.Valid != DefaultDeprecatedValid || r.LinkLocal != linkLocal || r.LinkLayer != linkLayer {
			w.t.Errorf("MAAR %d advertises MAAR %d as %+v, want %v %v", n, p, r, linkLocal, linkLayer)
		}
		there := w.at(p)
		if there.tunnels[prefix] != maar(n) || len(there.native) != 0 || len(there.routers) != 0 || w.info(p).State != "previous" {
			w.t.Errorf("MAAR %d: tunnel to %v, %d attached, %d routers, %s", p, there.tunnels[prefix], len(there.native),
				len(there.routers), w.info(p).State)
		}
	}
}

// empty checks that nothing is left of the host.
func (w *world) empty() {
	w.t.Helper()
	for _, n := range w.nodes {
		if len(n.native)+len(n.tunnels)+len(n.routers) > 0 {
			w.t.Errorf("%v: attached %v, tunnels %v, routers %v", n.address, n.native, n.tunnels, n.routers)
		}
		if n.maar != nil && (len(n.maar.sessions) > 0 || len(n.maar.byMAC) > 0 || len(n.maar.anchored) > 0 || len(n.maar.timers.heap) > 0) {
			w.t.Errorf("%v: %d sessions", n.address, len(n.maar.sessions))
		}
	}
	if w.cmd.Len() != 0 {
		w.t.Errorf("the CMD has %d sessions", w.cmd.Len())
	}
}

// sent is how many messages and octets of Mobility Headers all have sent.
func (w *world) sent() (messages, octets int) {
	for _, n := range w.nodes {
		messages += n.sent
		octets += n.octets
	}
	return messages, octets
}

// lossy drops and duplicates one message in so many and delays each up to most.
func lossy(random *rand.Rand, drop, twice int, most time.Duration) func(from, to netip.Addr) (int, time.Duration) {
	return func(_, _ netip.Addr) (int, time.Duration) {
		extra := time.Duration(random.Int64N(int64(most)))
		switch {
		case drop > 0 && random.IntN(drop) == 0:
			return 0, extra
		case twice > 0 && random.IntN(twice) == 0:
			return 2, extra
		}
		return 1, extra
	}
}

var modes = []database.Mode{database.Relay, database.Locator, database.Proxy}

// inEachMode runs a test with each kind of CMD.
func inEachMode(t *testing.T, test func(*testing.T, database.Mode)) {
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) { test(t, mode) })
	}
}
