package endtoend

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A link in the core gets a smaller MTU while a connection runs: its segments shrink, and programs that send datagrams are
// told of what fits the tunnel. The tunnel takes 40 octets.
func TestPathMTUShrinks(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	registered(n, "10m")
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	a, b := udpSocket(t, n.nodes["mn"], home), udpSocket(t, n.nodes["cn"], correspondent)
	for _, mtu := range []int{1400, 1340} {
		n.setMTU(mtu, "ar", "core")
		n.setMTU(mtu, "hr", "core")
		for _, from := range []socket{a, b} {
			to := map[socket]socket{a: b, b: a}[from]
			from.complaints()
			from.set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
			await(t, fmt.Sprintf("%v is told of an MTU of %d", from.address(), mtu-40), func() bool {
				// As long as the path was before.
				_, _ = from.WriteToUDPAddrPort(make([]byte, mtu-40+1-48), to.address())
				for {
					c, ok := from.complaint()
					if !ok {
						return false
					}
					if c.kind == 2 && c.mtu == uint32(mtu-40) {
						return true
					}
				}
			})
			from.deliver(to, mtu-40-48)
		}
		s.progress(fmt.Sprintf("with an MTU of %d", mtu))
	}
	s.finish()
}

// Where not even a packet of 1280 octets in the tunnel fits, tunnel packets are fragmented, both ways: every path carries
// 1280 (RFC 8200 section 5, RFC 2473 section 7.1).
func TestFragmentedTunnel(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.setMTU(1280, "ar", "core")
	n.setMTU(1280, "hr", "core")
	ha, mn := registered(n, "10m")
	a, b := udpSocket(t, n.nodes["mn"], home), udpSocket(t, n.nodes["cn"], correspondent)
	for _, length := range []int{1232, 1200, 1193, 1192, 1, 5000} {
		a.deliver(b, length)
		b.deliver(a, length)
	}
	for _, k := range []*kedge{ha, mn} {
		if k.counter("forwarding-outer-fragments") == 0 {
			t.Errorf("%s sent no fragments", k.name)
		}
	}
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	s.finish()
}

// A traceroute through the tunnel: ICMPv6 errors from behind it and from in front of it reach the program.
func TestErrorsReachPrograms(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	registered(n, "10m")
	k := udpSocket(t, n.nodes["mn"], home)
	k.complaints()
	seen := map[netip.Addr]bool{}
	const closed = 9
	await(t, "the home agent, both routers behind it, and the closed port complain", func() bool {
		for limit := 1; limit <= 8; limit++ {
			k.set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, limit)
			_, _ = k.WriteToUDPAddrPort([]byte("where are you"), netip.AddrPortFrom(correspondent, closed))
			for c, ok := k.complaint(); ok; c, ok = k.complaint() {
				if c.kind == 3 && c.code == 0 || c.kind == 1 && c.code == 4 && c.from == correspondent {
					seen[c.from] = true
				}
			}
		}
		return seen[homeAgent] && seen[homeRouter] && seen[accessRouter] && seen[correspondent]
	})

	// The tunnel itself breaks: the router that has no route to the home agent says so, and the program hears of it from
	// its own end of the tunnel (RFC 2473 section 8).
	k.set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 64)
	k.deliver(udpSocket(t, n.nodes["cn"], correspondent), 100)
	route := n.route("ar", homePrefix)
	n.must(n.nodes["ar"].Handle.RouteDel(route))
	await(t, "the program hears that the tunnel is broken", func() bool {
		_, _ = k.WriteToUDPAddrPort([]byte("still there?"), netip.AddrPortFrom(correspondent, closed))
		c, ok := k.complaint()
		return ok && c.kind == 1 && c.code == 3 || ok && c.kind == 1 && c.code == 0
	})
	n.must(n.nodes["ar"].Handle.RouteAdd(route))
	k.deliver(udpSocket(t, n.nodes["cn"], correspondent), 100)
}

// The mobile node's own interface gets a smaller MTU while it runs.
func TestInterfaceMTUShrinks(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	_, mn := registered(n, "10m")
	a, b := udpSocket(t, n.nodes["mn"], home), udpSocket(t, n.nodes["cn"], correspondent)
	a.complaints()
	a.set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	const mtu = 1400
	link, err := n.nodes["mn"].Handle.LinkByName("eth0")
	n.must(err)
	n.must(n.nodes["mn"].Handle.LinkSetMTU(link, mtu))
	await(t, "the program is told of it", func() bool {
		_, _ = a.WriteToUDPAddrPort(make([]byte, mtu-40+1-48), b.address())
		c, ok := a.complaint()
		return ok && c.kind == 2 && c.mtu == mtu-40
	})
	// What was sent before the node heard of the change is lost, nothing after it.
	before := mn.counter("link-eth0-too-big")
	a.deliver(b, mtu-40-48)
	if n := mn.counter("link-eth0-too-big") - before; n != 0 {
		t.Errorf("%d packets met an interface that does not carry them", n)
	}
}
