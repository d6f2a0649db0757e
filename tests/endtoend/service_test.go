package endtoend

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"kedge/appliance/control"
)

// route is a node's route to a prefix.
func (n *network) route(node string, to netip.Prefix) *netlink.Route {
	n.t.Helper()
	routes, err := n.nodes[node].Handle.RouteList(nil, netlink.FAMILY_V6)
	n.must(err)
	for i := range routes {
		if routes[i].Dst != nil && routes[i].Dst.String() == to.String() {
			return &routes[i]
		}
	}
	n.t.Fatalf("%s has no route to %v", node, to)
	return nil
}

// A mobile node that is not told its home agent finds it (RFC 6275 section 11.4.1).
func TestHomeAgentDiscovered(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	ha := n.agent(anchor{})
	n.host("mn", "access1", "", "")
	mn := n.mobile("mn", mobileNode{})
	s := mn.state("registered", access1Prefix)
	if s.MobileNode.HomeAgent != homeAgent {
		t.Errorf("discovered %v", s.MobileNode.HomeAgent)
	}
	mn.event("home-agent-discovered", 0)
	if ha.counter("home-agent-discoveries") == 0 {
		t.Error("the home agent counts no discovery")
	}
	connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent).finish()
}

// Two mobile nodes talk to each other by their home agent; one comes home and leaves again.
func TestTwoMobileNodes(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.agent(anchor{homes: []netip.Addr{home, home2}})
	n.host("mn", "access1", "", "")
	n.host("mn2", "access2", "", "")
	neighbours := []string{homePrefix.String()}
	mn := n.mobile("mn", mobileNode{agent: homeAgent, destinations: neighbours})
	mn2 := n.mobile("mn2", mobileNode{agent: homeAgent, home: home2, destinations: neighbours})
	mn.state("registered", access1Prefix)
	mn2.state("registered", access2Prefix)
	s := connect(t, n.nodes["mn"], home, n.nodes["mn2"], home2)
	n.move("mn", "home")
	mn.state("at-home", netip.Prefix{})
	s.progress("with one at home")
	n.move("mn2", "home")
	mn2.state("at-home", netip.Prefix{})
	s.progress("with both at home")
	n.move("mn", "access2")
	mn.state("registered", access2Prefix)
	s.finish()
}

// kedge's own addresses answer pings, of neighbours and from afar.
func TestOwnAddressesAnswer(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	_, mn := registered(n, "10m")
	careOf := mn.status().MobileNode.CareOf
	ping(t, n.nodes["ar"], careOf)
	ping(t, n.nodes["cn"], careOf)
	ping(t, n.nodes["hr"], homeAgent)
	ping(t, n.nodes["cn"], homeAgent)
	ping(t, n.nodes["cn"], home)
}

// A home agent whose home prefix is routed to it has no link to detect duplicates on and answers at once.
func TestVirtualHomeLink(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	virtual(n, "2001:db8:e::1")
	ha := n.agent(anchor{address: "2001:db8:e::1", gateway: "2001:db8:e::ff", routed: true})
	n.host("mn", "access1", "", "")
	mn := n.mobile("mn", mobileNode{agent: netip.MustParseAddr("2001:db8:e::1")})
	mn.state("registered", access1Prefix)
	received, sent := ha.event("binding-update-received", 0), ha.event("binding-acknowledgement-sent", 0)
	if took := sent.Time.Sub(received.Time); took > 500*time.Millisecond {
		t.Errorf("the first acknowledgement took %v", took)
	}
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	n.move("mn", "access2")
	mn.state("registered", access2Prefix)
	s.finish()
}

// virtual makes the home prefix one that hr routes to an address on the network of the home agent.
func virtual(n *network, via string) {
	n.t.Helper()
	home := n.link("hr", "home")
	address, err := netlink.ParseAddr("2001:db8:f::ff/64")
	n.must(err)
	n.must(n.nodes["hr"].Handle.AddrDel(home, address))
	n.must(n.nodes["hr"].AddAddress("home", netip.MustParsePrefix("2001:db8:e::ff/64")))
	n.must(n.nodes["hr"].AddRoute(homePrefix, netip.MustParseAddr(via)))
}

// A home agent on a host that forwards: the home prefix is routed to the host's kernel, which has it from the TUN device.
func TestHomeAgentBehindTUN(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	virtual(n, "2001:db8:e::2")
	n.must(n.nodes["ha"].AddAddress("eth0", netip.MustParsePrefix("2001:db8:e::2/64")))
	n.must(n.nodes["ha"].AddRoute(netip.MustParsePrefix("::/0"), netip.MustParseAddr("2001:db8:e::ff")))
	n.must(n.nodes["ha"].Sysctl("net.ipv6.conf.all.forwarding", "1"))
	before := dump(t, n.nodes["ha"])
	ha := n.agent(anchor{address: "2001:db8:e::1", gateway: "2001:db8:e::ff", routed: true, tun: true})
	n.host("mn", "access1", "", "")
	mn := n.mobile("mn", mobileNode{agent: netip.MustParseAddr("2001:db8:e::1")})
	mn.state("registered", access1Prefix)
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	n.must(n.nodes["ha"].Handle.LinkDel(n.link("ha", "kedge0")))
	s.progress("after the home agent's device was removed")
	s.finish()
	ping(t, n.nodes["hr"], netip.MustParseAddr("2001:db8:e::1"))
	mn.stop()
	ha.stop()
	sameHost(t, before, dump(t, n.nodes["ha"]))
}

// The algorithm that RFC 4285 names.
func TestHMACSHA1(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.agent(anchor{algorithm: "hmac-sha1-96"})
	n.host("mn", "access1", "", "")
	n.mobile("mn", mobileNode{agent: homeAgent, algorithm: "hmac-sha1-96"}).state("registered", access1Prefix)
	connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent).finish()
}

// A mobile node with another key than the home agent's is refused, and says so to its operator.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	ha := n.agent(anchor{})
	n.host("mn", "access1", "", "")
	mn := n.mobile("mn", mobileNode{agent: homeAgent, key: wrongKey})
	var m *control.MobileNode
	await(t, "the mobile node has an error to show", func() bool {
		m = mn.status().MobileNode
		return m.LastError != ""
	})
	if _, bound := ha.binding(home); bound || m.State == "registered" {
		t.Errorf("a node with the wrong key is %s", m.State)
	}
	out, status := command(t, "status", "--socket", mn.directory+"/control.sock")
	if status != 0 || !strings.Contains(out, "NOT HEALTHY") || !strings.Contains(out, m.LastError) || !strings.Contains(strings.ToLower(m.LastError), "authenti") {
		t.Errorf("kedge status, exit status %d:\n%s", status, out)
	}
	ha.event("binding-update-refused", 0)
	if ha.counter("home-agent-refused-mipv6-auth-fail") == 0 {
		t.Error("the home agent counts no refusal")
	}
}

// Signalling without authentication works where both ends say so, and both say so in the log.
func TestUnauthenticated(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	ha := n.agent(anchor{unauthenticated: true})
	n.host("mn", "access1", "", "")
	mn := n.mobile("mn", mobileNode{agent: homeAgent, unauthenticated: true})
	mn.state("registered", access1Prefix)
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	n.move("mn", "access2")
	mn.state("registered", access2Prefix)
	s.finish()
	for _, k := range []*kedge{ha, mn} {
		if !strings.Contains(k.log(), "NOT authenticated") {
			t.Errorf("%s does not warn", k.name)
		}
	}
}
