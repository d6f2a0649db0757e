package endtoend

import "testing"

// Where not even 1280 octets fit the tunnel to the proxy, tunnel packets are fragmented, both ways.
func TestFragmentedProxyTunnel(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	newFlowNetwork(n)
	n.setMTU(1280, "ar", "site1")
	n.setMTU(1280, "dhp1", "eth0")
	w := &flowWorld{network: n}
	w.ha = n.directoryAgent(directoryAgent{})
	w.dhp1 = n.homeProxy(1, homeProxy{})
	w.ha.listed(1)
	w.mn = n.flowNode("mn", flowNode{})
	w.mn.state("registered", access1Prefix)
	a, b := udpSocket(t, w.nodes["mn"], anyAddress), udpSocket(t, w.nodes["cn"], correspondent)
	for _, length := range []int{1232, 1200, 1193, 1192, 1, 5000} {
		a.asks(b, length, pool1)
	}
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	s.finish()
}
