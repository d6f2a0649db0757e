package endtoend

import (
	"net/netip"
	"testing"
)

// A proxy that the mobile node's operator has named for a region that it does not advertise. The home agent lists it, and
// issues the ticket.
func TestConfiguredProxy(t *testing.T) {
	t.Parallel()
	n := newFlowNetwork(newNetwork(t))
	w := &flowWorld{network: n}
	w.ha = n.directoryAgent(directoryAgent{})
	w.dhp1 = n.homeProxy(1, homeProxy{})
	w.ha.listed(1)
	w.mn = n.flowNode("mn", flowNode{sections: "[[dmipv6.proxy]]\naddress = \"" + homeProxy1.String() + "\"\ncoverage = [\"" + region2.String() + "\"]\n"})
	w.mn.state("registered", access1Prefix)
	s := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn2"], correspondent2)
	s.seenAs(pool1, home)
	if d := w.mn.why(w.mn.flowOf(s)).Decision; d == nil || d.Anchor != homeProxy1 {
		t.Errorf("the decision is %+v", d)
	}
	s.finish()
}

// The home agent knows of no proxy near a correspondent. One there answers by anycast, and is used for later flows, once the
// home agent has issued a ticket for it; one that the home agent does not list never is.
func TestAnycastProxy(t *testing.T) {
	t.Parallel()
	n := newFlowNetwork(newNetwork(t))
	for i, region := range []netip.Prefix{region1, region2} {
		b := region.Addr().As16()
		copy(b[8:], "\xfd\xff\xff\xff\xff\xff\xff\xfd")
		proxy, _, _, _ := proxyFacts(i + 1)
		n.must(n.nodes["ar"].AddRoute(single(netip.AddrFrom16(b)), proxy))
	}
	w := &flowWorld{network: n}
	// Neither proxy may advertise what it covers, and the second is a stranger.
	w.ha = n.directoryAgent(directoryAgent{proxies: []int{1}, coverage: []netip.Prefix{netip.MustParsePrefix("2001:db8:ffff::/48")}})
	w.dhp1, w.dhp2 = n.homeProxy(1, homeProxy{more: "anycast = true"}), n.homeProxy(2, homeProxy{more: "anycast = true"})
	w.mn = n.flowNode("mn", flowNode{dmipv6: "anycast = true"})
	w.mn.state("registered", access1Prefix)
	first := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
	first.seenAs(single(home), home)
	b := udpSocket(t, n.nodes["cn"], correspondent)
	await(t, "a later flow uses the proxy that answered by anycast", func() bool {
		return pool1.Contains(udpSocket(t, n.nodes["mn"], anyAddress).ask(b, 100))
	})
	later := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
	later.seenAs(pool1, home)
	stranger := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn2"], correspondent2)
	stranger.seenAs(single(home), home)
	w.dhp2.counted("home-proxy-anycast-replies", 0, 1)
	stranger.progress("while the home agent is asked")
	again := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn2"], correspondent2)
	again.seenAs(single(home), home)
	for _, s := range []*stream{first, later, stranger, again} {
		s.finish()
	}
}
