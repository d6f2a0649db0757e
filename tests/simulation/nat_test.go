package simulation

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/homeagent"
	"kedge/signaling/mobilenode"
)

// site is a network that the mobile node goes to.
type site struct {
	name                   string
	careOf, host, hostIPv4 netip.Addr
	// blocked says that native packets do not pass, deaf that datagrams over IPv6 do not.
	blocked, deaf bool
	// nats is how many NATs in a row there are for IPv4.
	nats int
}

var (
	private = netip.MustParseAddr("192.168.1.5")
	sites   = []site{
		{name: "IPv6", careOf: netip.MustParseAddr("2001:db8:a::99")},
		{name: "IPv4 behind a NAT", hostIPv4: private, nats: 1},
		{name: "IPv4 behind two NATs", hostIPv4: private, nats: 2},
		{name: "IPv4", hostIPv4: netip.MustParseAddr("203.0.113.200")},
		{name: "all, native blocked", careOf: netip.MustParseAddr("2001:db8:b::99"), host: netip.MustParseAddr("2001:db8:b::5"), hostIPv4: private, blocked: true, nats: 1},
		{name: "all, IPv6 broken", careOf: netip.MustParseAddr("2001:db8:c::99"), host: netip.MustParseAddr("2001:db8:c::5"), hostIPv4: private, blocked: true, deaf: true, nats: 1},
		{name: "all", careOf: netip.MustParseAddr("2001:db8:d::99"), host: netip.MustParseAddr("2001:db8:d::5"), hostIPv4: private, nats: 1},
	}
	agentEndpoints = []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:4191"), netip.MustParseAddrPort("[2001:db8:1::4191]:4191")}
)

const (
	natTimeout = time.Minute
	natRefresh = 25 * time.Second
	kernelPort = 40000
)

// nat translates the one socket of a mobile node. Only what leaves keeps the mapping.
type nat struct {
	public        netip.Addr
	inner         netip.AddrPort
	port          uint16
	used, timeout time.Duration
}

// alive says whether there is a mapping at now.
func (n *nat) alive(now time.Duration) bool { return n.port != 0 && now-n.used < n.timeout }

// natWorld is a mobile node that goes between sites, its home agent, and the NATs between them.
type natWorld struct {
	timeline
	loss, double  float64
	delay, jitter time.Duration
	calm, traced  bool

	mn    *mobilenode.Machine
	mnAt  timer
	life  int
	at    int // -1 is nowhere
	bind  *signaling.Bind
	quiet bool

	ha     *homeagent.Machine
	haAt   timer
	haLife int
	up     bool
	served *signaling.Bind
	store  memory
	nats   [][]*nat

	sent, arrived time.Duration // data to the home agent, and from it
	moved         int
}

func newNATWorld(t *testing.T, seed uint64) *natWorld {
	w := &natWorld{timeline: newTimeline(t, seed), store: memory{}, at: -1}
	w.loss, w.double = [...]float64{0, 0.05, 0.3}[w.rng.IntN(3)], [...]float64{0, 0.2}[w.rng.IntN(2)]
	w.delay, w.jitter = 5*time.Millisecond+w.upTo(100*time.Millisecond), w.upTo(50*time.Millisecond)
	for i := range sites {
		var row []*nat
		for n := range sites[i].nats {
			row = append(row, &nat{public: netip.AddrFrom4([4]byte{203, 0, 113, byte(10*i + n)}), timeout: natTimeout})
		}
		w.nats = append(w.nats, row)
	}
	w.startAgent()
	w.startMobile()
	w.after(0, w.data)
	return w
}

func (w *natWorld) time() time.Time { return w.epoch.Add(w.now) }

func (w *natWorld) startMobile() {
	var err error
	w.mn, err = mobilenode.New(mobilenode.Config{HomeAddress: home, HomePrefix: homePrefix, HomeAgent: agentAddr, Lifetime: 3 * time.Minute, Association: &key,
		Transport: mobilenode.Auto, Endpoints: agentEndpoints, Random: func() uint16 { return uint16(w.rng.Uint32()) }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.life++
	w.mnAt, w.bind = timer{-1}, nil
	w.attach()
}

func (w *natWorld) startAgent() {
	var err error
	w.ha, err = homeagent.New(homeagent.Config{Address: agentAddr, HomePrefixes: []homeagent.HomePrefix{{Prefix: homePrefix}}, MaxLifetime: time.Hour,
		NATRefresh: natRefresh, MobileNodes: []homeagent.MobileNode{{HomeAddress: home, SPI: key.SPI}},
		Associations: map[uint32]auth.Association{key.SPI: key}, Store: w.store, Random: rand.New(rand.NewPCG(1, 2))}, w.time())
	if err != nil {
		w.t.Fatal(err)
	}
	w.haLife++
	w.haAt, w.up, w.served = timer{-1}, true, nil
	out, err := w.ha.Restore(w.time())
	if err != nil {
		w.t.Fatal(err)
	}
	w.fromAgent(out)
}

// carry has the network deliver a packet, once, twice or not at all.
func (w *natWorld) carry(deliver func()) {
	chance := func(p float64) bool { return !w.calm && w.rng.Float64() < p }
	for n := 0; n == 0 || n < 3 && chance(w.double); n++ {
		if !chance(w.loss) {
			w.after(w.delay+w.upTo(w.jitter), deliver)
		}
	}
}

// outward takes a datagram from local through the NATs of where the mobile node is, and returns what it comes from at the end.
func (w *natWorld) outward(local netip.Addr) (from netip.AddrPort, passes bool) {
	if w.at < 0 {
		return from, false
	}
	s := &sites[w.at]
	if from = netip.AddrPortFrom(local, kernelPort); local.Is6() {
		return from, local == s.host && !s.deaf
	}
	if local != s.hostIPv4 {
		return from, false
	}
	for _, n := range w.nats[w.at] {
		if !n.alive(w.now) || n.inner != from {
			n.inner, n.port = from, uint16(1024+w.rng.IntN(60000))
		}
		n.used = w.now
		from = netip.AddrPortFrom(n.public, n.port)
	}
	return from, true
}

// inward says whether a datagram to an address and port gets to the mobile node where it is, and to which of its addresses.
func (w *natWorld) inward(to netip.AddrPort) (local netip.Addr, passes bool) {
	if w.at < 0 {
		return local, false
	}
	s := &sites[w.at]
	if to.Addr().Is4() {
		for i := len(w.nats[w.at]) - 1; i >= 0; i-- {
			n := w.nats[w.at][i]
			if !n.alive(w.now) || to != netip.AddrPortFrom(n.public, n.port) {
				return local, false
			}
			to = n.inner
		}
	}
	a := to.Addr()
	return a, to.Port() == kernelPort && (a == s.hostIPv4 || a == s.host && !s.deaf)
}

// native says whether native packets pass between an address and the rest of the world.
func (w *natWorld) native(a netip.Addr) bool {
	return w.at >= 0 && a.IsValid() && a == sites[w.at].careOf && !sites[w.at].blocked
}

// attach tells the mobile node where it is.
func (w *natWorld) attach() {
	a := signaling.Attachment{Uplink: "eth0", MTU: 1500}
	if w.at >= 0 {
		s := &sites[w.at]
		if a.CareOf, a.Host, a.HostIPv4 = s.careOf, s.host, s.hostIPv4; a.CareOf.IsValid() {
			a.Router = links[0].router
		}
	}
	w.handle(a)
}

// goTo moves the mobile node; there is a moment without a link in between.
func (w *natWorld) goTo(i int) {
	w.moved++
	w.at = -1
	w.attach()
	w.at = i
	w.attach()
}

func (w *natWorld) handle(e signaling.Event) {
	life := w.life
	for _, effect := range w.mn.Handle(w.time(), e) {
		switch x := effect.(type) {
		case signaling.Send:
			w.fromMobile(x)
		case signaling.Bind:
			w.bind = &x
		case signaling.Unbind:
			w.bind = nil
		case signaling.Report:
			w.trace("mobile node", x)
		}
	}
	w.arm(&w.mnAt, w.mn.Next(), w.time, func() {
		if w.life == life {
			w.handle(signaling.Tick{})
		}
	})
}

func (w *natWorld) trace(node string, r signaling.Report) {
	if w.traced {
		w.t.Logf("%10v %s %s care-of %v sequence %d status %d %s", w.now.Round(time.Millisecond), node, r.Kind, r.CareOf, r.Sequence, r.Status, r.Detail)
	}
}

func (w *natWorld) fromMobile(s signaling.Send) {
	r := signaling.Received{Source: s.Source, Destination: s.Destination, HomeAddress: s.HomeAddress, Payload: s.Payload}
	passes := w.native(s.Source)
	if s.Outer.IsValid() {
		r.OuterLocal = s.Outer.Addr()
		r.Outer, passes = w.outward(s.OuterLocal)
	}
	if passes {
		w.carry(func() { w.toAgent(r) })
	}
}

func (w *natWorld) toAgent(e signaling.Event) {
	if w.up {
		w.fromAgent(w.ha.Handle(w.time(), e))
	}
}

func (w *natWorld) fromAgent(effects []signaling.Effect) {
	life := w.haLife
	for _, effect := range effects {
		switch x := effect.(type) {
		case signaling.Send:
			r := signaling.Received{Source: x.Source, Destination: x.Destination, RoutingHome: x.RoutingHome, Payload: x.Payload}
			w.carry(func() { w.toMobile(x.Destination, x.Outer, x.OuterLocal, r) })
		case signaling.Bind:
			w.served = &x
		case signaling.Unbind:
			w.served = nil
		case signaling.Report:
			w.trace("home agent ", x)
		}
	}
	w.arm(&w.haAt, w.ha.Next(), w.time, func() {
		if w.haLife == life {
			w.toAgent(signaling.Tick{})
		}
	})
}

func (w *natWorld) toMobile(to netip.Addr, outer netip.AddrPort, from netip.Addr, r signaling.Received) {
	if !outer.IsValid() {
		if w.native(to) {
			w.handle(r)
		}
		return
	}
	if local, passes := w.inward(outer); passes {
		r.Outer, r.OuterLocal = netip.AddrPortFrom(from, 4191), local
		w.handle(r)
	}
}

// data is a packet each way every half second, unless the mobile node's programs are quiet.
func (w *natWorld) data() {
	w.after(500*time.Millisecond, w.data)
	if b := w.served; b != nil && w.up {
		to := netip.AddrPortFrom(b.Remote, b.RemotePort)
		w.carry(func() { w.deliver(b, to) })
	}
	if b := w.bind; b != nil && !w.quiet {
		w.offer(b)
	}
}

// deliver is a packet out of the home agent's tunnel, which the mobile node takes out of its own tunnel only.
func (w *natWorld) deliver(b *signaling.Bind, to netip.AddrPort) {
	own := w.bind
	switch {
	case own == nil || (own.RemotePort == 0) != (b.RemotePort == 0):
	case b.RemotePort == 0 && w.native(b.Remote) && own.Local == b.Remote:
		w.arrived = w.now
	case b.RemotePort != 0 && own.Remote == b.Local:
		if local, passes := w.inward(to); passes && own.Local == local {
			w.arrived = w.now
		}
	}
}

// offer sends a packet by the mobile node's tunnel. The home agent refuses what is not from where it tunnels to.
func (w *natWorld) offer(b *signaling.Bind) {
	header := func(next byte, src, dst netip.Addr) []byte {
		s, d := src.As16(), dst.As16()
		return append(append([]byte{0x60, 0, 0, 0, 0, 40, next, 64}, s[:]...), d[:]...)
	}
	inner := header(59, home, links[0].prefix.Addr())
	refusal := signaling.ReceivedICMP{Source: agentAddr, Destination: home}
	from, passes := netip.AddrPortFrom(b.Local, 0), w.native(b.Local)
	if b.RemotePort != 0 {
		from, passes = w.outward(b.Local)
	} else {
		refusal.Destination, inner = b.Local, append(header(41, b.Local, agentAddr), inner...)
	}
	refusal.Payload = append([]byte{1, 5, 0, 0, 0, 0, 0, 0}, inner...)
	if !passes {
		return
	}
	w.carry(func() {
		s := w.served
		switch {
		case !w.up:
		case s != nil && from == netip.AddrPortFrom(s.Remote, s.RemotePort):
			w.sent = w.now
		case b.RemotePort == 0:
			w.carry(func() {
				if w.native(b.Local) {
					w.handle(refusal)
				}
			})
		default:
			w.carry(func() {
				if _, passes := w.inward(from); passes {
					w.handle(refusal)
				}
			})
		}
	})
}
