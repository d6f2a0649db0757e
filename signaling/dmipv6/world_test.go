package dmipv6

import (
	"bytes"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	homedirectory "kedge/signaling/directory"
	"kedge/signaling/discovery"
	"kedge/signaling/homeproxy"
	"kedge/signaling/ticket"
)

var (
	epoch    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	home     = netip.MustParseAddr("2001:db8:1::99")
	agent    = netip.MustParseAddr("2001:db8:1::1")
	careOfA  = netip.MustParseAddr("2001:db8:aa::99")
	careOfB  = netip.MustParseAddr("2001:db8:bb::99")
	careOfC  = netip.MustParseAddr("2001:db8:cc::99")
	router   = netip.MustParseAddr("fe80::1")
	nowhere  = netip.MustParseAddr("2001:db8:ffff::7")
	identity = "mn@example.net"
	mnha     = auth.Association{SPI: 300, Algorithm: auth.HMACSHA256, Key: auth.Key("0123456789abcdef")}
)

// The i-th DHP is at proxyAddr(i), lends from poolOf(i) and covers coverageOf(i), where cnOf(i, n) is.
func proxyAddr(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:d%02x::1", i)) }
func poolOf(i int) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("2001:db8:d%02x:1::/64", i))
}
func coverageOf(i int) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("2001:db8:c%02x::/48", i))
}
func cnOf(i, n int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:c%02x:%x::5", i, n))
}
func kd(i int) auth.Association {
	return auth.Association{SPI: uint32(1000 + i), Algorithm: auth.HMACSHA256, Key: bytes.Repeat([]byte{byte(i + 1)}, ticket.KeySize)}
}

// world is a mobile node, its home agent's directory and DHPs, in virtual time.
type world struct {
	t      testing.TB
	now    time.Duration
	queue  events
	serial int
	rng    *rand.Rand

	m      *Machine
	cfg    Config
	careOf netip.Addr
	// host and hostIPv4 are the host's addresses where the mobile node is, and nat is what its IPv4 datagrams come from; invalid
	// if there is no NAT.
	host, hostIPv4 netip.Addr
	nat            netip.AddrPort
	armed          time.Time
	life           int
	ha             *homedirectory.Machine
	proxies        map[netip.Addr]*homeproxy.Machine
	armedAt        map[netip.Addr]time.Time

	// oneWay is the delay between the mobile node at careOf and a peer.
	oneWay func(careOf, peer netip.Addr) time.Duration
	// drop says whether a packet is lost; nil loses none.
	drop func(from, to netip.Addr, payload []byte) bool
	// alter changes what arrives at the mobile node; nil changes nothing.
	alter  func(r signaling.Received) []signaling.Received
	silent map[netip.Addr]bool
	// lends is what is bound for an address; nil is the address alone.
	lends func(netip.Addr) netip.Prefix

	trace []entry
	// held are the addresses that may be used: the home address, and those lent and not released.
	held    map[netip.Addr]bool
	bound   map[netip.Prefix]signaling.Bind
	chosen  map[choice]netip.Addr
	hints   map[hint]bool
	decided map[uint64]signaling.Decide
	when    map[uint64]time.Duration
}

type entry struct {
	at     time.Duration
	effect signaling.Effect
}

type timed struct {
	at     time.Duration
	serial int
	do     func()
}

type events []timed

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(timed)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func profiles() []Profile {
	return []Profile{
		{Class: SessionLasting, Name: "session"},
		{Class: Fixed, Name: "fixed"},
		{Class: SessionLasting, MaxRoundTrip: 50 * time.Millisecond, Name: "voice"},
		{Class: GracefulReplacement, Name: "graceful"},
		{Class: NonPersistent, Name: "short"},
		{Class: SessionLasting, MaxLoss: 0.2, Name: "lossless"},
	}
}

// newWorld has a home agent 40 ms away and n DHPs 5 ms away, which the directory has heard of.
func newWorld(t testing.TB, n int, change ...func(*Config)) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(1, uint64(n))), proxies: map[netip.Addr]*homeproxy.Machine{}, armedAt: map[netip.Addr]time.Time{},
		silent: map[netip.Addr]bool{}}
	w.oneWay = func(_, peer netip.Addr) time.Duration {
		if peer == agent {
			return 40 * time.Millisecond
		}
		return 5 * time.Millisecond
	}
	hc := homedirectory.Config{Address: agent, Associations: map[uint32]auth.Association{mnha.SPI: mnha},
		MobileNodes: []homedirectory.MobileNode{{Identifier: identity, SPI: mnha.SPI}}, TicketLifetime: time.Hour}
	for i := range n {
		hc.Associations[kd(i).SPI] = kd(i)
		hc.Proxies = append(hc.Proxies, homedirectory.Proxy{Address: proxyAddr(i), SPI: kd(i).SPI, Coverage: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}})
	}
	var err error
	if w.ha, err = homedirectory.New(hc, epoch); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		w.addProxy(i, nil)
	}
	w.cfg = Config{HomeAddress: home, Identifier: identity, Association: &mnha, Profiles: profiles(), UseHomeAgent: true,
		Lifetime: 10 * time.Minute, Random: func() uint16 { return uint16(w.rng.Uint32()) }}
	for _, f := range change {
		f(&w.cfg)
	}
	w.start()
	w.run(time.Second) // for the DHPs' advertisements
	return w
}

func (w *world) addProxy(i int, change func(*homeproxy.Config)) {
	c := homeproxy.Config{Address: proxyAddr(i), Pools: []homeproxy.Pool{{Prefix: poolOf(i), Lend: 128}},
		Coverage: []homeproxy.Coverage{{Prefix: coverageOf(i)}}, HomeAgents: []homeproxy.HomeAgent{{Address: agent, SPI: kd(i).SPI}},
		Associations: map[uint32]auth.Association{kd(i).SPI: kd(i)}, MaxLifetime: 10 * time.Minute, Quarantine: time.Minute,
		AdvertisementInterval: time.Minute, AdvertisementLifetime: 10 * time.Minute, MaxBindings: 100,
		Random: rand.New(rand.NewPCG(uint64(i), 7))}
	if change != nil {
		change(&c)
	}
	p, err := homeproxy.New(c, w.time())
	if err != nil {
		w.t.Fatal(err)
	}
	w.proxies[c.Address] = p
	w.armedAt[c.Address] = time.Time{}
	w.toProxy(c.Address, signaling.Tick{})
}

func (w *world) start() {
	var err error
	if w.m, err = New(w.cfg); err != nil {
		w.t.Fatal(err)
	}
	w.life++
	w.armed = time.Time{}
	w.held, w.bound, w.chosen = map[netip.Addr]bool{home: true}, map[netip.Prefix]signaling.Bind{}, map[choice]netip.Addr{}
	w.hints, w.decided, w.when = map[hint]bool{}, map[uint64]signaling.Decide{}, map[uint64]time.Duration{}
	out, err := w.m.Restore(w.time())
	if err != nil {
		w.t.Fatal(err)
	}
	w.carryOut(out)
}

func (w *world) time() time.Time { return epoch.Add(w.now) }

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.queue, timed{w.now + d, w.serial, do})
}

func (w *world) run(d time.Duration) {
	end := w.now + d
	for steps := 0; len(w.queue) > 0 && w.queue[0].at <= end; steps++ {
		if steps > 1_000_000 {
			w.t.Fatal("events without end")
		}
		e := heap.Pop(&w.queue).(timed)
		w.now = e.at
		e.do()
	}
	w.now = end
}

// handle hands the mobile node an event.
func (w *world) handle(e signaling.Event) []signaling.Effect {
	out := w.m.Handle(w.time(), e)
	w.carryOut(out)
	return out
}

func (w *world) carryOut(out []signaling.Effect) {
	for _, e := range out {
		w.trace = append(w.trace, entry{w.now, e})
		w.apply(e)
	}
	w.arm()
}

func (w *world) arm() {
	next, life := w.m.Next(), w.life
	if next.IsZero() || next.Equal(w.armed) {
		return
	}
	w.armed = next
	w.after(max(next.Sub(w.time()), 0), func() {
		if w.life == life && w.armed.Equal(next) {
			w.armed = time.Time{}
			w.handle(signaling.Tick{})
		}
	})
}

// lost says whether the network swallows a packet.
func (w *world) lost(from, to netip.Addr, payload []byte) bool {
	return w.silent[from] || w.silent[to] || w.drop != nil && w.drop(from, to, payload)
}

func (w *world) send(e signaling.Send) {
	if e.Outer.IsValid() {
		w.sendDatagram(e)
		return
	}
	if e.Source != w.careOf && !w.own(e.Source) {
		w.t.Fatalf("%v: sent from %s, which is none of the care-of addresses", w.now, e.Source)
	}
	if w.lost(e.Source, e.Destination, e.Payload) {
		return
	}
	to := e.Destination
	w.after(w.oneWay(e.Source, to), func() {
		r := signaling.Received{Source: e.Source, Destination: to, HomeAddress: e.HomeAddress, RoutingHome: e.RoutingHome, Payload: e.Payload}
		if to == agent {
			w.fromAgent(w.ha.Handle(w.time(), r))
			return
		}
		if to == discovery.ProxiesAnycast(to) {
			for _, p := range w.order() {
				w.toProxy(p, r)
			}
			return
		}
		if w.proxies[to] != nil {
			w.toProxy(to, r)
		}
	})
}

func (w *world) order() []netip.Addr {
	var list []netip.Addr
	for p := range w.proxies {
		list = append(list, p)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

func (w *world) own(a netip.Addr) bool { return a == careOfA || a == careOfB || a == careOfC }

func (w *world) toProxy(p netip.Addr, e signaling.Event) {
	if _, packet := e.(signaling.Received); packet && w.silent[p] {
		return
	}
	m := w.proxies[p]
	for _, effect := range m.Handle(w.time(), e) {
		s, ok := effect.(signaling.Send)
		switch {
		case !ok || w.silent[p] || w.silent[s.Destination]:
		case s.Outer.IsValid():
			w.datagramToMobile(s)
		case s.Destination == agent:
			w.after(time.Millisecond, func() {
				w.fromAgent(w.ha.Handle(w.time(), signaling.Received{Source: s.Source, Destination: agent, Payload: s.Payload}))
			})
		default:
			w.toMobile(s)
		}
	}
	if next := m.Next(); !next.IsZero() && !next.Equal(w.armedAt[p]) {
		w.armedAt[p] = next
		w.after(max(next.Sub(w.time()), 0), func() {
			if w.proxies[p] == m && w.armedAt[p].Equal(next) {
				w.armedAt[p] = time.Time{}
				w.toProxy(p, signaling.Tick{})
			}
		})
	}
}

func (w *world) fromAgent(out []signaling.Effect) {
	for _, e := range out {
		s, ok := e.(signaling.Send)
		switch {
		case !ok:
		case s.Outer.IsValid():
			w.datagramToMobile(s)
		case w.proxies[s.Destination] != nil:
			w.after(time.Millisecond, func() {
				w.toProxy(s.Destination, signaling.Received{Source: agent, Destination: s.Destination, Payload: s.Payload})
			})
		default:
			w.toMobile(s)
		}
	}
}

// toMobile carries a message to the mobile node, if it is still there when it arrives.
func (w *world) toMobile(s signaling.Send) {
	if w.lost(s.Source, s.Destination, s.Payload) {
		return
	}
	r := signaling.Received{Source: s.Source, Destination: s.Destination, HomeAddress: s.HomeAddress, RoutingHome: s.RoutingHome, Payload: s.Payload}
	list := []signaling.Received{r}
	if w.alter != nil {
		list = w.alter(r)
	}
	for _, r := range list {
		w.after(w.oneWay(s.Destination, s.Source), func() {
			if r.Destination == w.careOf {
				w.handle(r)
			}
		})
	}
}

func (w *world) echo(e signaling.SendEcho) {
	if e.Tunnel.IsValid() {
		w.echoInTunnel(e)
		return
	}
	if w.lost(e.Source, e.Destination, nil) || e.Destination != agent && w.proxies[e.Destination] == nil {
		return
	}
	w.after(2*w.oneWay(e.Source, e.Destination), func() {
		if e.Source == w.careOf && !w.lost(e.Destination, e.Source, nil) {
			w.handle(signaling.EchoReply{Source: e.Destination, Destination: e.Source, Identifier: e.Identifier, Sequence: e.Sequence})
		}
	})
}
