package optimized_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling/correspondent"
	"kedge/signaling/routeoptimization"
)

// exchange sends a packet each way, and checks that each arrives as it was and by way of the home agent or not.
func (n *network) exchange(byHome bool) {
	n.t.Helper()
	for _, c := range []struct {
		from, to            *node
		source, destination netip.Addr
	}{{n.mn, n.cn, home, cn}, {n.cn, n.mn, cn, home}} {
		before := n.byHome
		got := n.send(c.from, c.to, c.source, c.destination)
		if want := datagram(c.source, c.destination, 253, []byte("payload!")).Bytes(); len(got) != 1 || !bytes.Equal(clearHops(got[0]), clearHops(want)) {
			n.t.Fatalf("from the %s: got %x, want %x", c.from.name, got, want)
		}
		if (n.byHome != before) != byHome {
			n.t.Fatalf("from the %s: by way of the home agent: %v", c.from.name, !byHome)
		}
	}
}

func clearHops(b []byte) []byte {
	b = bytes.Clone(b)
	b[7] = 0
	return b
}

func (n *network) request() {
	n.t.Helper()
	effects, err := n.mobile.Request(n.now, home, cn)
	must(n.t, err)
	n.mn.do(effects)
}

func (n *network) want(s routeoptimization.State) {
	n.t.Helper()
	if got, _ := n.mobile.Status(n.now, home, cn); got.State != s {
		n.t.Fatalf("state %q (%s), want %q", got.State, got.LastError, s)
	}
}

// The whole life of an optimised route: tunnel, request, move, refresh, a correspondent node that forgot, cancellation.
func TestLifeOfAnOptimizedRoute(t *testing.T) {
	n := newNetwork(t)
	n.exchange(true)
	n.request()
	n.want(routeoptimization.StateOptimized)
	n.exchange(false)

	n.pass(2 * time.Second)
	n.attach(coa2)
	n.want(routeoptimization.StateOptimized)
	n.exchange(false)

	for range 30 {
		n.pass(time.Minute)
		n.exchange(false)
	}

	// Restarted, it says by a Binding Error to the first packet that it has no binding; that packet is lost.
	m, err := correspondent.New(correspondent.Config{Address: cn, MaxBindings: 4}, n.now)
	must(t, err)
	n.cn.machine = m
	n.cn.engine.RemoveCorrespondentBinding(home, cn)
	if got := n.send(n.mn, n.cn, home, cn); len(got) != 0 {
		t.Errorf("taken without a binding: %x", got)
	}
	n.pass(2 * time.Second)
	n.want(routeoptimization.StateOptimized)
	n.exchange(false)

	n.mn.do(n.mobile.Cancel(n.now, home, cn))
	n.exchange(true)
	if len(m.Bindings(n.now)) != 0 || len(n.mobile.List(n.now)) != 0 {
		t.Errorf("left: %v, %v", m.Bindings(n.now), n.mobile.List(n.now))
	}
	for _, x := range []*node{n.mn, n.ha, n.cn} {
		c := x.engine.Counters()
		t.Logf("%s: %d dropped", x.name, c.Dropped())
	}
}

// Nothing is lost for asking in vain.
func TestCorrespondentNodeThatDoesNotAnswer(t *testing.T) {
	n := newNetwork(t)
	n.owners[cn] = nil
	n.request()
	n.pass(30 * time.Second)
	n.owners[cn] = n.cn
	n.want(routeoptimization.StateFailed)
	n.exchange(true)
	n.pass(2 * time.Minute)
	n.want(routeoptimization.StateOptimized)
	n.exchange(false)
}
