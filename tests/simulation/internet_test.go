package simulation

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/ticket"
)

// weather is what a run of an internet is like: of mobile nodes, their home agent, and DHPs near correspondents.
type weather struct {
	seed uint64
	// mobiles and proxies are how many there are. Each DHP covers the region of its number, and the last region nobody; with
	// overlap each covers the next one too.
	mobiles, proxies int
	overlap          bool
	// near is one way between neighbours, and far the most that is added at random per pair of places; jitter is added to
	// each packet.
	near, far, jitter time.Duration
	loss, double      float64
	// lag is how long forwarding's news take to reach signalling at most.
	lag time.Duration
	// skew is by how much the clocks of nodes differ at most.
	skew time.Duration
	// kept has anchors keep bindings, and stored mobile nodes keep leases, beyond a restart.
	kept, stored bool
	// physical has a home link that mobile nodes can come to.
	physical, hints, anycast, static bool
	// delegated has DHPs lend prefixes of 64 bits rather than addresses.
	delegated                     bool
	lifetime, tickets, quarantine time.Duration
	advertised, idle, graceful    time.Duration
	maxAnchors                    int
	// beat is how often each flow sends a packet; 0 is never.
	beat time.Duration
}

const (
	accesses = 3
	holdTime = 500 * time.Millisecond
)

// place is where an address is: the third group of it. The home agent is on the home link.
type place uint16

const (
	placeHome   place = 1
	placeAccess place = 0xa00
	placeProxy  place = 0xd00
	placeRegion place = 0xc00
)

func placeOf(a netip.Addr) place {
	b := a.As16()
	return place(binary.BigEndian.Uint16(b[4:]))
}

func (p place) prefix(bits int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(p >> 8), byte(p)}), bits)
}

func (p place) address(subnet, host uint16) netip.Addr {
	b := p.prefix(64).Addr().As16()
	binary.BigEndian.PutUint16(b[6:], subnet)
	binary.BigEndian.PutUint16(b[14:], host)
	return netip.AddrFrom16(b)
}

// The DHP of a number lends from the pool and covers the region of that number.
func proxyAddress(i int) netip.Addr  { return (placeProxy + place(i)).address(0, 1) }
func region(i int) netip.Prefix      { return (placeRegion + place(i)).prefix(48) }
func peerIn(i int, n int) netip.Addr { return (placeRegion + place(i)).address(uint16(n), 5) }
func homeOf(i int) netip.Addr        { return placeHome.address(0, uint16(0x100+i)) }

func kd(i int) auth.Association {
	return auth.Association{SPI: uint32(1000 + i), Algorithm: auth.HMACSHA256, Key: bytes.Repeat([]byte{byte(i + 1)}, ticket.KeySize)}
}

func identifier(i int) string { return fmt.Sprintf("mn%d@example.net", i) }

func mnha(i int) auth.Association {
	return auth.Association{SPI: uint32(300 + i), Algorithm: auth.HMACSHA256, Key: bytes.Repeat([]byte{byte(100 + i)}, 32), Identifier: identifier(i)}
}

// internet is all nodes, the network between them, and its time.
type internet struct {
	timeline
	c weather

	mobiles []*roamer
	agent   *keeper
	proxies []*lender

	paths map[[2]place]*path
	cut   map[[2]place]bool
	calm  bool
	// traced prints what nodes report, and flooded has them do as much in a second as they like.
	traced, flooded bool
	// tap sees each message that is sent and says whether it is lost; alter changes what arrives. Both may be nil.
	tap   func(s *signaling.Send) (lost bool)
	alter func(r signaling.Received) []signaling.Received
	// holders are the mobile nodes that hold each DHoA, and freed is when its DHP ended its last lease.
	holders map[netip.Addr]*roamer
	last    map[netip.Addr]*roamer
	freed   map[netip.Addr]time.Duration
	tally   tally
}

// tally counts what happened, so that a run shows that it was about something.
type tally struct {
	held, translated, stayed, lent, restored, lost, terminated, moves, restarts, packets int
	// ticks and effects are the most of one node in one second.
	ticks, effects int
}

func (t *tally) add(o *tally) {
	for _, x := range [][2]*int{{&t.held, &o.held}, {&t.translated, &o.translated}, {&t.stayed, &o.stayed}, {&t.lent, &o.lent},
		{&t.restored, &o.restored}, {&t.lost, &o.lost}, {&t.terminated, &o.terminated}, {&t.moves, &o.moves},
		{&t.restarts, &o.restarts}, {&t.packets, &o.packets}} {
		*x[0] += *x[1]
	}
	t.ticks, t.effects = max(t.ticks, o.ticks), max(t.effects, o.effects)
}

// path is the way between two places, with a chance of its own, so that what happens elsewhere does not change it.
type path struct {
	delay time.Duration
	rng   *rand.Rand
}

func newInternet(t *testing.T, c weather) *internet {
	w := &internet{timeline: newTimeline(t, c.seed), c: c, paths: map[[2]place]*path{}, cut: map[[2]place]bool{},
		holders: map[netip.Addr]*roamer{}, last: map[netip.Addr]*roamer{}, freed: map[netip.Addr]time.Duration{}}
	w.agent = newKeeper(w)
	for i := range c.proxies {
		w.proxies = append(w.proxies, newLender(w, i))
	}
	for i := range c.mobiles {
		w.mobiles = append(w.mobiles, newRoamer(w, i))
	}
	return w
}

// covered says whether some DHP covers a region.
func (w *internet) covered(i int) bool { return i < w.c.proxies || w.c.overlap && i == w.c.proxies }

func pair(a, b place) [2]place {
	if a > b {
		a, b = b, a
	}
	return [2]place{a, b}
}

func (w *internet) path(a, b place) *path {
	k := pair(a, b)
	p := w.paths[k]
	if p == nil {
		p = &path{rng: rand.New(rand.NewPCG(w.c.seed, uint64(k[0])<<16|uint64(k[1])))}
		p.delay = w.c.near + time.Duration(p.rng.Float64()*float64(w.c.far))
		w.paths[k] = p
	}
	return p
}

// setDelay makes it d one way between two places.
func (w *internet) setDelay(a, b place, d time.Duration) { w.path(a, b).delay = d }

// transport carries a packet, which may be lost, doubled and overtaken.
func (w *internet) transport(from, to netip.Addr, deliver func()) {
	a, b := placeOf(from), placeOf(to)
	p := w.path(a, b)
	chance := func(c float64) bool { return c > 0 && !w.calm && p.rng.Float64() < c }
	for n := 0; n == 0 || n < 3 && chance(w.c.double); n++ {
		if chance(w.c.loss) || w.cut[pair(a, b)] {
			continue
		}
		d := p.delay
		if w.c.jitter > 0 {
			d += time.Duration(p.rng.Float64() * float64(w.c.jitter))
		}
		w.after(d, func() {
			if !w.cut[pair(a, b)] {
				w.tally.packets++
				deliver()
			}
		})
	}
}

// send carries a Mobility Header message from a node.
func (w *internet) send(s signaling.Send, from, to netip.Addr, tunnelled bool) {
	if w.tap != nil && w.tap(&s) {
		return
	}
	r := signaling.Received{Source: s.Source, Destination: s.Destination, HomeAddress: s.HomeAddress, RoutingHome: s.RoutingHome,
		Payload: bytes.Clone(s.Payload), Tunneled: tunnelled}
	w.transport(from, to, func() {
		list := []signaling.Received{r}
		if w.alter != nil {
			list = w.alter(r)
		}
		for _, r := range list {
			w.receive(r, to)
		}
	})
}

// receive is a message that arrives at address to.
func (w *internet) receive(r signaling.Received, to netip.Addr) {
	for _, h := range w.at(to) {
		own := r
		own.Payload = bytes.Clone(r.Payload)
		h.handle(own)
		// It is valid during Handle only.
		for i := range own.Payload {
			own.Payload[i] = 0xee
		}
	}
}

// at are the nodes that an address leads to now.
func (w *internet) at(a netip.Addr) (list []*host) {
	switch p := placeOf(a); {
	case a == agentAddr:
		return []*host{&w.agent.host}
	case p >= placeProxy && p < placeProxy+place(len(w.proxies)):
		if l := w.proxies[p-placeProxy]; a == proxyAddress(l.number) {
			return []*host{&l.host}
		}
		return nil
	case p >= placeRegion && p < placeProxy:
		// An anycast query.
		for _, l := range w.proxies {
			if slices.Contains(l.regions(), int(p-placeRegion)) {
				list = append(list, &l.host)
			}
		}
		return list
	}
	for _, m := range w.mobiles {
		if m.owns(a) || a == m.home && m.at["eth0"] == placeHome && m.defends {
			return []*host{&m.host}
		}
	}
	return nil
}

// echo answers an Echo Request where it arrives.
func (w *internet) echo(h *host, e signaling.SendEcho) {
	life := h.life
	w.transport(e.Source, e.Destination, func() {
		correspondent := placeOf(e.Destination) >= placeRegion && placeOf(e.Destination) < placeProxy
		if !correspondent && !slices.ContainsFunc(w.at(e.Destination), func(h *host) bool { return h.up }) {
			return
		}
		w.transport(e.Destination, e.Source, func() {
			if h.life == life && slices.Contains(w.at(e.Source), h) {
				h.handle(signaling.EchoReply{Source: e.Destination, Destination: e.Source, Identifier: e.Identifier, Sequence: e.Sequence})
			}
		})
	})
}

// fatal fails with what is needed to see it again.
func (w *internet) fatal(format string, a ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d at %v: %s\n%+v", w.c.seed, w.now, fmt.Sprintf(format, a...), w.c)
}
