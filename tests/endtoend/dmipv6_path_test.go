package endtoend

import (
	"fmt"
	"net/netip"
	"testing"
)

// With source hints a program that comes after the first uses an address of its own at the proxy, untranslated.
func TestSourceHints(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{dmipv6: "source_hints = true"})
	first := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	first.seenAs(pool1, home)
	own := w.hinted()
	if own == first.ends[1].remote().Addr() {
		t.Fatalf("%v is for translation and for the host", own)
	}
	var s *stream
	await(t, "a program uses it", func() bool {
		s = connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
		return s.ends[0].local().Addr() == own
	})
	s.seenAs(single(own), own)
	if f := w.mn.flowOf(s); f.Translated || f.Address != own || f.Anchor != homeProxy1 {
		t.Errorf("the flow is %+v", f)
	}
	udpSocket(t, w.nodes["mn"], anyAddress).asks(udpSocket(t, w.nodes["cn"], correspondent), 4000, single(own))
	// The home address, bound, is translated as before; a correspondent reaches the host by its own.
	connect(t, w.nodes["mn"], home, w.nodes["cn"], correspondent).seenAs(single(first.ends[1].remote().Addr()), home)
	called := connect(t, w.nodes["cn"], correspondent, w.nodes["mn"], own)
	w.move("mn", "access2")
	w.mn.state("registered", access2Prefix)
	for _, x := range []*stream{first, s, called} {
		x.progress("on the second link")
		x.finish()
	}
}

// A program that uses an address of the host's own goes on after the mobile node was killed.
func TestHintedFlowSurvivesKill(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{dmipv6: "source_hints = true"})
	connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent).seenAs(pool1, home)
	own := w.hinted()
	s := connect(t, w.nodes["mn"], own, w.nodes["cn"], correspondent)
	s.seenAs(single(own), own)
	w.mn.kill()
	w.mn.run()
	w.mn.state("registered", access1Prefix)
	s.progress("after the kill")
	if again := w.hinted(); again != own {
		t.Errorf("the host held %v and now %v", own, again)
	}
	s.finish()
}

// tunnelled is how many packets between a mobile node's interface and a proxy a tap has seen.
func (w *wiretap) tunnelled(proxy netip.Addr) int {
	return len(w.packets(func(p []byte) bool { return destinationOf(p) == proxy && p[6] == 41 }))
}

// An operator moves a live flow from one uplink to another and back. The home address stays on the first.
func TestFlowSwitchesUplink(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	newFlowNetwork(n)
	n.plug("mn", "eth1", "access2", "")
	w := &flowWorld{network: n}
	w.ha = n.directoryAgent(directoryAgent{})
	w.dhp1, w.dhp2 = n.homeProxy(1, homeProxy{}), n.homeProxy(2, homeProxy{})
	w.ha.listed(2)
	w.mn = n.flowNode("mn", flowNode{uplinks: []string{"eth1"}})
	w.mn.state("registered", access1Prefix)
	await(t, "the second uplink has an address", func() bool {
		for _, l := range w.mn.status().Links {
			if l.Name == "eth1" && len(l.Addresses) > 1 && l.Router.IsValid() {
				return true
			}
		}
		return false
	})
	s := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	other := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn2"], correspondent2)
	other.seenAs(pool2, home)
	wires := map[string]*wiretap{
		"eth0": tap(t, n.root, n.nodes["mn"].Name+".eth0"), "eth1": tap(t, n.root, n.nodes["mn"].Name+".eth1"),
	}
	for _, uplink := range []string{"eth1", "eth0"} {
		w.mn.says([]string{"flows", "uplink", fmt.Sprint(w.mn.flowOf(s).Number), uplink})
		await(t, "the flow goes by "+uplink, func() bool { return w.mn.flowOf(s).Uplink == uplink })
		before := wires[uplink].tunnelled(homeProxy1)
		await(t, "packets to the proxy go by "+uplink, func() bool { return wires[uplink].tunnelled(homeProxy1) > before+4 })
		s.progress("by " + uplink)
		if f := w.mn.flowOf(other); f.Uplink != "eth0" {
			t.Errorf("the other flow went to %s", f.Uplink)
		}
		if m := w.mn.status().MobileNode; m.Uplink != "eth0" {
			t.Errorf("the home address went to %s", m.Uplink)
		}
	}
	if n := wires["eth1"].tunnelled(homeProxy2); n != 0 {
		t.Errorf("%d packets of the other flow went by eth1", n)
	}
	s.finish()
	other.finish()
}

// A live flow goes past its anchor and back, with a correspondent that does route optimisation (RFC 6275 section 9).
func TestFlowSwitchesMode(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	newFlowNetwork(n)
	optimizing := netip.MustParseAddr("2001:db8:c::3")
	n.host("cn3", "c", "", "")
	cn := n.start("cn3", preamble("correspondent-node")+fmt.Sprintf(
		"[tun]\n[[link]]\ninterface = \"eth0\"\naddresses = [\"2001:db8:c::4/64\"]\ngateway = \"2001:db8:c::1\"\n[correspondent_node]\naddress = %q\nlink = \"eth0\"\n",
		optimizing))
	w := &flowWorld{network: n}
	w.ha = n.directoryAgent(directoryAgent{})
	w.dhp1 = n.homeProxy(1, homeProxy{})
	w.ha.listed(1)
	w.mn = n.flowNode("mn", flowNode{mobile: "route_optimization = true"})
	w.mn.state("registered", access1Prefix)
	s := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn3"], optimizing)
	s.seenAs(pool1, home)
	switchTo := func(mode string) {
		t.Helper()
		w.mn.says([]string{"flows", "mode", fmt.Sprint(w.mn.flowOf(s).Number), mode})
		await(t, "the flow's mode is "+mode, func() bool { return w.mn.flowOf(s).Mode == mode })
		s.progress("by " + mode)
	}
	direct := func() {
		t.Helper()
		for _, k := range []*kedge{w.mn, cn} {
			for _, c := range []string{"forwarding-route-optimized-sent", "forwarding-route-optimized-received"} {
				k.counted(c, k.counter(c), 10)
			}
		}
	}
	switchTo("route-optimization")
	direct()
	w.move("mn", "access2")
	w.mn.state("registered", access2Prefix)
	s.progress("after the move")
	await(t, "the flow goes past its anchor again", func() bool { return w.mn.flowOf(s).Mode == "route-optimization" })
	direct()
	switchTo("bidirectional-tunnel")
	before := w.mn.counter("forwarding-route-optimized-sent")
	s.progress("in the tunnel")
	if n := w.mn.counter("forwarding-route-optimized-sent") - before; n != 0 {
		t.Errorf("%d packets still went past the anchor", n)
	}
	switchTo("route-optimization")
	direct()
	s.finish()
}

// A correspondent that knows nothing of route optimisation: the flow stays in the tunnel.
func TestModeUnsupported(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{mobile: "route_optimization = true"})
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	w.mn.says([]string{"flows", "mode", fmt.Sprint(w.mn.flowOf(s).Number), "route-optimization"})
	w.mn.event("route-optimization-unsupported", 0)
	if f := w.mn.flowOf(s); f.Mode != "bidirectional-tunnel" {
		t.Errorf("the flow is %+v", f)
	}
	s.finish()
}
