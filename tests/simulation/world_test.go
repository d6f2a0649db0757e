// Package simulation plays protocol machines against each other in virtual time, over a network that delays, reorders, loses
// and doubles what they send, while mobile nodes move, links fail, nodes crash and clocks are set.
//
// A world has one mobile node (movement detection and registration) and its home agent. An internet has several mobile nodes
// with service flows, their home agent with its directory, and DHPs near correspondents; it is told where uplinks are.
package simulation

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
)

var (
	home       = netip.MustParseAddr("2001:db8:1::99")
	homePrefix = netip.MustParsePrefix("2001:db8:1::/64")
	agentAddr  = netip.MustParseAddr("2001:db8:1::1")
	key        = auth.Association{SPI: 256, Algorithm: auth.HMACSHA256, Key: auth.Key("0123456789abcdef")}
)

// link is an access network with its router.
type link struct {
	name   string
	prefix netip.Prefix
	router netip.Addr
}

// homeLink is where links[homeLink] is. The first two access routers share a link-local address, as routers do.
const homeLink = 3

var links = []link{
	{"access1", netip.MustParsePrefix("2001:db8:a::/64"), netip.MustParseAddr("fe80::1")},
	{"access2", netip.MustParsePrefix("2001:db8:b::/64"), netip.MustParseAddr("fe80::1")},
	{"access3", netip.MustParsePrefix("2001:db8:c::/64"), netip.MustParseAddr("fe80::c")},
	{"home", homePrefix, netip.MustParseAddr("fe80::d")},
}

// conditions are what a run is like.
type conditions struct {
	seed uint64
	// delay is one way between an access network and the home agent, and jitter what is added at random.
	delay, jitter time.Duration
	// loss and double are probabilities between 0 and 1; a link loses half as much as the way to the home agent.
	loss, double float64
	// physical has a home link that the mobile node can come to.
	physical bool
	// stored makes bindings survive the home agent's restart.
	stored          bool
	unauthenticated bool
	discover        bool
	lifetime        time.Duration
	// interval is the longest time between router advertisements, and told whether it is in them.
	interval time.Duration
	told     bool
}

// world is the whole network and its time.
type world struct {
	timeline
	c conditions

	mn *mobile
	ha *agent
	// calm has the network lose and double nothing.
	calm bool
	// traced prints what the nodes report.
	traced bool
	// delivered is when data last got from the mobile node to the home agent, or out at home.
	delivered time.Duration
}

func newWorld(t *testing.T, c conditions) *world {
	w := &world{timeline: newTimeline(t, c.seed), c: c}
	w.ha = newAgent(w)
	w.mn = newMobile(w)
	for i := range links {
		w.after(w.upTo(c.interval), func() { w.advertise(i) })
	}
	w.after(0, w.mn.data)
	return w
}

func (w *world) chance(p float64) bool { return !w.calm && w.rng.Float64() < p }

// trace prints a report of a node, at the time of the network.
func (w *world) trace(node string, r signaling.Report) {
	if w.traced {
		w.t.Logf("%10v %s %s care-of %v sequence %d lifetime %v status %d %s",
			w.now.Round(time.Millisecond), node, r.Kind, r.CareOf, r.Sequence, r.Lifetime, r.Status, r.Detail)
	}
}

// transport carries a message between the mobile node and the home agent.
func (w *world) transport(deliver func()) {
	for n := 0; n == 0 || n < 3 && w.chance(w.c.double); n++ {
		if !w.chance(w.c.loss) {
			w.after(w.c.delay+w.upTo(w.c.jitter), deliver)
		}
	}
}

// local carries a message on an access network.
func (w *world) local(deliver func()) {
	if !w.chance(w.c.loss / 2) {
		w.after(time.Millisecond, deliver)
	}
}

// advertise is a link's router at work.
func (w *world) advertise(i int) {
	w.local(func() { w.mn.hear(i) })
	w.after(w.c.interval/2+w.upTo(w.c.interval/2), func() { w.advertise(i) })
}
