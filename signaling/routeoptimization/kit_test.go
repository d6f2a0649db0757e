package routeoptimization

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/correspondent"
	"kedge/signaling/mh"
)

var (
	home   = netip.MustParseAddr("2001:db8:a::100")
	dhoa   = netip.MustParseAddr("2001:db8:d::100")
	cn     = netip.MustParseAddr("2001:db8:c::1")
	coa    = netip.MustParseAddr("2001:db8:1::1")
	coa2   = netip.MustParseAddr("2001:db8:2::1")
	router = netip.MustParseAddr("fe80::1")
	start  = time.Unix(1_800_000_000, 0)
)

const (
	tunnelDelay = 50 * time.Millisecond
	directDelay = 10 * time.Millisecond
)

// world is a mobile node, its anchors and one correspondent node, in virtual time.
type world struct {
	t      testing.TB
	now    time.Time
	mn     *Machine
	cn     *correspondent.Machine // nil if it does not answer
	random *rand.Rand
	loss   float64
	paths  map[netip.Addr]signaling.HomePath
	queue  queue
	serial int

	// What each side's forwarding was told last.
	mobile map[netip.Addr]signaling.Optimize
	cached map[netip.Addr]signaling.Optimize
	trace  []signaling.ReportKind
	// sent are the mobile node's messages.
	sent []sent
	// drop says whether a message of the mobile node gets lost; nil for none.
	drop func(mh.Message) bool
}

type sent struct {
	at      time.Time
	message mh.Message
	send    signaling.Send
}

type event struct {
	at     time.Time
	serial int
	do     func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].serial < q[j].serial
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	e := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return e
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, now: start, random: rand.New(rand.NewPCG(1, 2)), paths: map[netip.Addr]signaling.HomePath{},
		mobile: map[netip.Addr]signaling.Optimize{}, cached: map[netip.Addr]signaling.Optimize{}}
	fill := func(b []byte) {
		for i := range b {
			b[i] = byte(w.random.Uint32())
		}
	}
	var err error
	if w.mn, err = New(Config{HomeAddress: home, MaxPairs: 4, Random: fill}); err != nil {
		t.Fatal(err)
	}
	if w.cn, err = correspondent.New(correspondent.Config{Address: cn, MaxBindings: 10, Random: fill}, start); err != nil {
		t.Fatal(err)
	}
	w.attach(coa)
	return w
}

// attach has both addresses' tunnels end at careOf, and the home agent accept it.
func (w *world) attach(careOf netip.Addr) {
	w.path(signaling.HomePath{Home: home, CareOf: careOf, Link: "eth0", Router: router})
	w.path(signaling.HomePath{Home: dhoa, CareOf: careOf, Link: "eth0", Router: router})
	w.accept(careOf)
}

func (w *world) path(p signaling.HomePath) {
	w.paths[p.Home] = p
	w.mobileDoes(w.mn.Handle(w.now, p))
}

func (w *world) accept(careOf netip.Addr) {
	w.mobileDoes(w.mn.Handle(w.now, signaling.HomeRegistration{Registered: careOf.IsValid(), CareOf: careOf}))
}

func (w *world) request(home netip.Addr) {
	w.t.Helper()
	effects, err := w.mn.Request(w.now, home, cn)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mobileDoes(effects)
}

func (w *world) cancel() { w.mobileDoes(w.mn.Cancel(w.now, home, cn)) }

func (w *world) later(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.queue, event{w.now.Add(d), w.serial, do})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for {
		next := end
		if len(w.queue) > 0 && w.queue[0].at.Before(next) {
			next = w.queue[0].at
		}
		tick := w.mn.Next()
		if !tick.IsZero() && tick.Before(next) {
			next = tick
		}
		if w.cn != nil && !w.cn.Next().IsZero() && w.cn.Next().Before(next) {
			next = w.cn.Next()
		}
		if next.Before(w.now) {
			w.t.Fatalf("something was due at %v, %v ago", next, w.now.Sub(next))
		}
		if !next.Before(end) {
			w.now = end
			return
		}
		w.now = next
		for len(w.queue) > 0 && !w.queue[0].at.After(w.now) {
			heap.Pop(&w.queue).(event).do()
		}
		w.mobileDoes(w.mn.Handle(w.now, signaling.Tick{}))
		if w.cn != nil {
			w.correspondentDoes(w.cn.Handle(w.now, signaling.Tick{}))
		}
		if t := w.mn.Next(); !t.IsZero() && !t.After(w.now) {
			w.t.Fatal("a tick has not helped")
		}
		w.check()
	}
}

// check: what the mobile node sends past its home agent, the correspondent node takes.
func (w *world) check() {
	w.t.Helper()
	for home, o := range w.mobile {
		if c := w.cached[home]; o.CareOf.IsValid() && c.CareOf != o.CareOf && w.cn != nil {
			w.t.Fatalf("%v: the mobile node sends from %v, the correspondent node has %v", home, o.CareOf, c.CareOf)
		}
	}
}

func (w *world) lost() bool { return w.random.Float64() < w.loss }

func (w *world) mobileDoes(effects []signaling.Effect) {
	w.t.Helper()
	for _, e := range effects {
		switch e := e.(type) {
		case signaling.Send:
			w.mobileSends(e)
		case signaling.Optimize:
			if !e.Mobile || e.Correspondent != cn || e.CareOf.IsValid() && (e.Link != "eth0" || e.Router != router) {
				w.t.Errorf("got %+v", e)
			}
			w.mobile[e.Home] = e
		case signaling.Deoptimize:
			delete(w.mobile, e.Home)
		case signaling.Report:
			w.trace = append(w.trace, e.Kind)
		}
	}
}

func (w *world) mobileSends(s signaling.Send) {
	w.t.Helper()
	from := s.Source
	if s.HomeAddress.IsValid() {
		from = s.HomeAddress
	}
	m, err := mh.Parse(s.Payload)
	if err != nil || !mh.ChecksumValid(s.Payload, from, s.Destination) || s.RoutingHome.IsValid() || s.Destination != cn {
		w.t.Fatalf("sent %+v: %v", s, err)
	}
	w.sent = append(w.sent, sent{w.now, m, s})
	delay := directDelay
	if s.Tunnel.IsValid() {
		delay = tunnelDelay
	} else if s.Link != "eth0" || s.Router != router {
		w.t.Errorf("sent %+v", s)
	}
	if w.cn == nil || w.lost() || w.drop != nil && w.drop(m) {
		return
	}
	w.later(delay, func() {
		if w.cn != nil {
			w.correspondentDoes(w.cn.Handle(w.now, signaling.Received{Source: s.Source, Destination: cn, HomeAddress: s.HomeAddress, Payload: s.Payload}))
		}
	})
}

func (w *world) correspondentDoes(effects []signaling.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case signaling.Send:
			if w.lost() {
				continue
			}
			if p, ok := w.paths[e.Destination]; ok {
				w.later(tunnelDelay, func() { w.deliver(e, !p.AtHome) })
			} else {
				w.later(directDelay, func() { w.deliver(e, false) })
			}
		case signaling.Optimize:
			w.cached[e.Home] = e
		case signaling.Deoptimize:
			delete(w.cached, e.Home)
		}
	}
}

// deliver hands a message to the mobile node, if it is where that goes.
func (w *world) deliver(s signaling.Send, tunneled bool) {
	here := false
	for _, p := range w.paths {
		here = here || p.CareOf == s.Destination || p.Home == s.Destination
	}
	if here {
		w.mobileDoes(w.mn.Handle(w.now, signaling.Received{Source: cn, Destination: s.Destination, RoutingHome: s.RoutingHome, Payload: s.Payload, Tunneled: tunneled}))
	}
}

// sentOf are the mobile node's messages of one type since the last call.
func sentOf[M mh.Message](w *world) (list []sent) {
	for _, s := range w.sent {
		if _, ok := s.message.(M); ok {
			list = append(list, s)
		}
	}
	return list
}

func (w *world) want(home netip.Addr, state State) {
	w.t.Helper()
	if s, _ := w.mn.Status(w.now, home, cn); s.State != state {
		w.t.Fatalf("%v is %q (%s), want %q", home, s.State, s.LastError, state)
	}
	if o := w.mobile[home]; o.CareOf.IsValid() != (state == StateOptimized) {
		w.t.Errorf("%v is %q, and forwarding has %+v", home, state, o)
	}
}

// hear hands the mobile node a message from the correspondent node.
func (w *world) hear(m mh.Message, destination, routingHome netip.Addr, tunneled bool) {
	w.t.Helper()
	b, err := mh.Append(nil, m)
	if err != nil {
		w.t.Fatal(err)
	}
	to := destination
	if routingHome.IsValid() {
		to = routingHome
	}
	mh.SetChecksum(b, cn, to)
	w.mobileDoes(w.mn.Handle(w.now, signaling.Received{Source: cn, Destination: destination, RoutingHome: routingHome, Payload: b, Tunneled: tunneled}))
}
