package endtoend

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kedge/appliance/control"
)

// returned waits until a mobile node holds an address no more, and the proxy that lent it has it back.
func (w *flowWorld) returned(proxy *kedge, address netip.Addr) {
	w.t.Helper()
	await(w.t, address.String()+" is given back", func() bool {
		held := slices.ContainsFunc(w.mn.anchors(), func(a control.Anchor) bool { return a.Address == address })
		_, lent := proxy.binding(address)
		return !held && !lent
	})
}

// An address without flows is given back after a while, and rests. Who stops gives back what nobody uses.
func TestIdleAddressGivenBack(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	newFlowNetwork(n)
	before := dump(t, n.nodes["mn"])
	w := &flowWorld{network: n}
	w.ha = n.directoryAgent(directoryAgent{})
	w.dhp1, w.dhp2 = n.homeProxy(1, homeProxy{}), n.homeProxy(2, homeProxy{})
	w.ha.listed(2)
	w.mn = n.flowNode("mn", flowNode{dmipv6: "idle_time = \"1s\"\nsource_hints = true"})
	w.mn.state("registered", access1Prefix)
	first := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	first.seenAs(pool1, home)
	kept := connect(t, n.nodes["mn"], home, n.nodes["cn2"], correspondent2)
	kept.seenAs(pool2, home)
	address := first.ends[1].remote().Addr()
	first.finish()
	for _, e := range first.ends {
		e.conn.Close()
	}
	w.returned(w.dhp1, address)
	kept.progress("beside an address that is given back")
	again := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	again.seenAs(pool1, home)
	if a := again.ends[1].remote().Addr(); a == address {
		t.Errorf("%v is lent again at once", a)
	}
	again.finish()
	kept.finish()
	for _, s := range []*stream{again, kept} {
		for _, e := range s.ends {
			e.conn.Close()
		}
	}
	await(t, "nothing is lent any more", func() bool {
		return w.dhp1.status().HomeProxy.Leases == 0 && w.dhp2.status().HomeProxy.Leases == 0
	})
	w.mn.stop()
	sameHost(t, before, dump(t, n.nodes["mn"]))
}

// The host is as it was after a mobile node has stopped in the middle of everything, or was killed before.
func TestHostRestoredAfterFlows(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	newFlowNetwork(n)
	before := dump(t, n.nodes["mn"])
	w := &flowWorld{network: n}
	w.ha = n.directoryAgent(directoryAgent{})
	w.dhp1 = n.homeProxy(1, homeProxy{})
	w.ha.listed(1)
	w.mn = n.flowNode("mn", flowNode{dmipv6: "source_hints = true"})
	w.mn.state("registered", access1Prefix)
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	w.hinted()
	w.mn.kill()
	w.mn.run()
	w.mn.state("registered", access1Prefix)
	s.progress("after the kill")
	w.mn.stop()
	sameHost(t, before, dump(t, n.nodes["mn"]))
	// Translations outlive a stop too.
	w.mn.run()
	w.mn.state("registered", access1Prefix)
	s.finish()
}

// hinted waits until mn's host holds an address, and returns it.
func (w *flowWorld) hinted() (own netip.Addr) {
	w.t.Helper()
	await(w.t, "the host holds an address of a proxy", func() bool {
		for _, a := range w.mn.anchors() {
			if a.Use == "host" && w.nodes["mn"].HasAddress(a.Address) {
				own = a.Address
			}
		}
		return own.IsValid()
	})
	return own
}

// A proxy loses its leases. It refuses what comes out of the tunnel (RFC 6275 section 10.4.5); the mobile node binds the
// same address again with its ticket.
func TestHomeProxyForgets(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	w.dhp1.kill()
	if err := os.Remove(filepath.Join(w.dhp1.directory, "state", "bindings.db")); err != nil {
		t.Fatal(err)
	}
	w.dhp1.run()
	s.progress("with a proxy that knew nothing")
	if _, ok := w.dhp1.binding(s.ends[1].remote().Addr()); !ok {
		t.Error("the proxy has no binding")
	}
	s.finish()
}

// Flows whose class says so get a new address after a move; the old one goes with its last flow.
func TestGracefulReplacement(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{dmipv6: `idle_time = "1s"`, sections: "[[dmipv6.rule]]\nclass = \"graceful-replacement\"\nname = \"graceful\"\n"})
	old := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	old.seenAs(pool1, home)
	address := old.ends[1].remote().Addr()
	connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent).seenAs(single(address), home)
	w.move("mn", "access2")
	w.mn.state("registered", access2Prefix)
	old.progress("after the move")
	young := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	young.seenAs(pool1, home)
	if a := young.ends[1].remote().Addr(); a == address {
		t.Errorf("a new flow uses the old address %v", a)
	}
	if n := len(w.mn.anchors()); n != 2 {
		t.Errorf("%d addresses are held", n)
	}
	old.finish()
	young.finish()
}

// Two proxies are near a correspondent. When one dies, new flows go by the other.
func TestOtherProxyTakesOver(t *testing.T) {
	t.Parallel()
	n := newFlowNetwork(newNetwork(t))
	w := &flowWorld{network: n}
	w.ha = n.directoryAgent(directoryAgent{})
	w.dhp1, w.dhp2 = n.homeProxy(1, homeProxy{}), n.homeProxy(2, homeProxy{coverage: []netip.Prefix{region1, region2}})
	w.ha.listed(3)
	w.mn = n.flowNode("mn", flowNode{dmipv6: `heartbeat_interval = "1s"`})
	w.mn.state("registered", access1Prefix)
	first := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
	f := w.mn.why(w.mn.flowOf(first))
	if d := f.Decision; d == nil || len(d.Candidates) != 2 {
		t.Fatalf("the decision is %+v", d)
	}
	dying, other := w.dhp1, pool2
	if f.Anchor == homeProxy2 {
		dying, other = w.dhp2, pool1
	}
	w.mn.measured(f.Anchor)
	dying.kill()
	if err := first.told(); err == nil {
		t.Error("the program is told of no error")
	}
	second := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
	second.seenAs(other, home)
	second.finish()
}

// At home nothing is held, nor asked for; what used a proxy goes on.
func TestFlowsAtHome(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	abroad := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	abroad.seenAs(pool1, home)
	w.move("mn", "home")
	w.mn.state("at-home", netip.Prefix{})
	abroad.progress("at home")
	held := w.mn.counter("dmipv6-flows-held")
	atHome := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn2"], correspondent2)
	atHome.seenAs(single(home), home)
	if f := w.mn.flowOf(atHome); f.Mode != "native" {
		t.Errorf("the flow is %+v", f)
	}
	if n := w.mn.counter("dmipv6-flows-held") - held; n != 0 {
		t.Errorf("%d flows waited", n)
	}
	w.move("mn", "access2")
	w.mn.state("registered", access2Prefix)
	abroad.finish()
	atHome.progress("abroad again")
	atHome.finish()
	connect(t, w.nodes["mn"], anyAddress, w.nodes["cn2"], correspondent2).seenAs(pool2, home)
}

// Many flows of many programs to two regions begin at the same moment: one query, one address each.
func TestFlowsBeginTogether(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	servers := []socket{udpSocket(t, w.nodes["cn"], correspondent), udpSocket(t, w.nodes["cn2"], correspondent2)}
	for range 100 {
		k := udpSocket(t, w.nodes["mn"], anyAddress)
		for _, s := range servers {
			_, err := k.WriteToUDPAddrPort(fmt.Append(nil, s.address()), s.address())
			w.must(err)
		}
	}
	for i, s := range servers {
		seen := map[netip.AddrPort]bool{}
		addresses := map[netip.Addr]bool{}
		_ = s.SetReadDeadline(time.Now().Add(patience))
		for len(seen) < 100 {
			_, from, err := s.ReadFromUDPAddrPort(make([]byte, 100))
			if err != nil {
				t.Fatalf("of 100 datagrams %d arrived: %v", len(seen), err)
			}
			seen[from], addresses[from.Addr()] = true, true
		}
		if len(addresses) != 1 {
			t.Errorf("correspondent %d sees %v", i, addresses)
		}
	}
	if q, r := w.mn.counter("dmipv6-queries-sent"), w.mn.counter("dmipv6-requests-sent"); q > 4 || r > 4 {
		t.Errorf("%d queries and %d requests for 200 flows to two regions", q, r)
	}
}
