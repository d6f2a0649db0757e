package endtoend

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/appliance/control"
)

// inside is the private network behind a NAT.
var inside = netip.MustParsePrefix("192.168.7.0/24")

// filter gives a node's kernel rules of nftables, and skips the test where that is impossible.
func (n *network) filter(node, rules string) {
	n.t.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		n.t.Skipf("nftables are needed: %v", err)
	}
	file := n.write(node+".nft", rules)
	var out []byte
	if err := n.nodes[node].Do(func() (err error) {
		out, err = exec.Command(path, "-f", file).CombinedOutput()
		return err
	}); err != nil {
		n.t.Skipf("no nftables here: %v\n%s", err, out)
	}
}

// nat makes a router between a new private network and access1 that hides all of it behind one address, and gives each
// connection a port at random.
func (n *network) nat() {
	n.t.Helper()
	n.must(n.fabric.Bridge("inside"))
	n.router("nat", map[string]string{"inside": "192.168.7.1/24", "access1": "10.1.0.9/24"}, map[string]string{"0.0.0.0/0": "10.1.0.1"})
	n.forwardIPv4("nat")
	n.masquerade("nat", "access1")
}

// masquerade has a router hide what leaves by an interface behind its own address there.
func (n *network) masquerade(node, iface string) {
	n.t.Helper()
	n.filter(node, fmt.Sprintf("table ip kt10 {\nchain hide { type nat hook postrouting priority srcnat; oifname %q masquerade fully-random; }\n}\n", iface))
	n.mappingLifetime(node, 120*time.Second)
}

// mappingLifetime sets after how long a NAT forgets what nobody uses.
func (n *network) mappingLifetime(node string, t time.Duration) {
	n.t.Helper()
	for _, s := range []string{"timeout", "timeout_stream"} {
		n.must(n.nodes[node].Sysctl("net.netfilter.nf_conntrack_udp_"+s, fmt.Sprint(int(t.Seconds()))))
	}
}

// forget has a NAT lose all its mappings: the next datagram gets another port.
func (n *network) forget(node string) {
	n.t.Helper()
	n.must(n.nodes[node].Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer h.Close()
		return h.ConntrackTableFlush(netlink.ConntrackTable)
	}))
}

// insideHost makes a host behind the NAT.
func (n *network) insideHost(name string, number byte) {
	n.t.Helper()
	n.host(name, "inside", "", "")
	n.holds(name, hostOf(inside, number))
}

// natWorld is a home agent and a mobile node behind a NAT, with IPv4 alone.
func natWorld(t *testing.T, refresh string) (n *network, ha, mn *kedge) {
	n = newDatagramNetwork(t, inOrder)
	n.nat()
	ha = n.datagramAgent(datagramAgent{udp: fmt.Sprintf("nat_refresh = %q", refresh), homes: []netip.Addr{home, home2}})
	n.insideHost("mn", 1)
	mn = n.datagramNode("mn", datagramNode{transport: "auto"})
	if m := mn.reaches("udp", inside); !m.NAT || m.Endpoint != endpointIPv4 {
		t.Errorf("behind a NAT the mobile node says %+v", m)
	}
	if b, _ := ha.binding(home); b.CareOf != natAddress || b.Endpoint.Addr() != natAddress || b.Transport != "udp" {
		t.Errorf("behind a NAT the binding is %+v", b)
	}
	return n, ha, mn
}

// natAddress is the NAT's on access1.
var natAddress = netip.MustParseAddr("10.1.0.9")

// Two mobile nodes behind one NAT, on a network that has nothing but IPv4, have bindings of their own and talk to the
// correspondent and to each other, whoever begins.
func TestTwoBehindOneNAT(t *testing.T) {
	t.Parallel()
	n, ha, _ := natWorld(t, "110s")
	n.insideHost("mn2", 2)
	n.datagramNode("mn2", datagramNode{home: home2}).reaches("udp", inside)
	one, _ := ha.binding(home)
	two, _ := ha.binding(home2)
	if one.Endpoint.Addr() != two.Endpoint.Addr() || one.Endpoint.Port() == two.Endpoint.Port() {
		t.Errorf("behind one NAT the bindings are at %v and %v", one.Endpoint, two.Endpoint)
	}
	streams := []*stream{
		connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent),
		connect(t, n.nodes["cn"], correspondent, n.nodes["mn"], home),
		connect(t, n.nodes["cn"], correspondent, n.nodes["mn2"], home2),
		connect(t, n.nodes["mn"], home, n.nodes["mn2"], home2),
	}
	for _, c := range []carriage{{name: "mn", home: home, overhead: 28}, {name: "mn2", home: home2, overhead: 28}} {
		c.t, c.mn, c.cn = t, n.nodes[c.name], n.nodes["cn"]
		c.carries(1<<20, 1500, 50)
	}
	for _, s := range streams {
		s.finish()
	}
}

// A NAT forgets, and gives another port: what the mobile node sends next makes it register anew, and a connection in both
// directions goes on. How long that took is told, not judged.
func TestNATForgets(t *testing.T) {
	t.Parallel()
	n, ha, mn := natWorld(t, "110s")
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	for range 3 {
		was, _ := ha.binding(home)
		n.forget("nat")
		begin := time.Now()
		s.progress("after the NAT forgot")
		is, _ := ha.binding(home)
		t.Logf("recovered after %v: %v, then %v", time.Since(begin).Round(time.Millisecond), was.Endpoint, is.Endpoint)
		if is.Endpoint == was.Endpoint || is.Endpoint.Addr() != natAddress {
			t.Errorf("the binding was at %v and is at %v", was.Endpoint, is.Endpoint)
		}
	}
	s.finish()
	if c := ha.counter("forwarding-errors-sent"); c == 0 {
		t.Error("the home agent told nobody that it does not know him")
	}
	mn.reaches("udp", inside)
}

// The NAT forgets after 4 s in which nobody uses a mapping. Refreshing it each 2 s (RFC 5555 section 4.3) keeps it, so
// that a correspondent reaches a mobile node that has said nothing for longer than that; a NAT that forgets all the same is
// found out by the next refreshing.
func TestKeepalives(t *testing.T) {
	t.Parallel()
	n, ha, mn := natWorld(t, "2s")
	n.mappingLifetime("nat", 4*time.Second)
	if m := mn.status().MobileNode; m.KeepaliveSeconds != 2 {
		t.Errorf("refreshes each %v s", m.KeepaliveSeconds)
	}
	was, _ := ha.binding(home)
	a, b := udpSocket(t, n.nodes["cn"], correspondent), udpSocket(t, n.nodes["mn"], home)
	updates := ha.counter("home-agent-binding-updates")
	ha.counted("home-agent-binding-updates", updates, 4) // 8 s
	if is, _ := ha.binding(home); is.Endpoint != was.Endpoint {
		t.Errorf("the binding was at %v and is at %v", was.Endpoint, is.Endpoint)
	}
	// Nothing but the keepalive has passed, and the first datagram arrives.
	if _, err := a.WriteToUDPAddrPort([]byte("there?"), b.address()); err != nil {
		t.Fatal(err)
	}
	_ = b.SetReadDeadline(time.Now().Add(patience))
	if size, from, err := b.ReadFromUDPAddrPort(make([]byte, 100)); err != nil || size != 6 || from != a.address() {
		t.Errorf("after silence came %d octets from %v, %v", size, from, err)
	}
	n.forget("nat")
	a.deliver(b, 500)
	if is, _ := ha.binding(home); is.Endpoint == was.Endpoint {
		t.Error("the NAT gave the same port again")
	}
}

// plainIPv4 is a network of IPv4 without NAT.
var plainIPv4 = netip.MustParsePrefix("10.3.0.0/24")

// A mobile node comes from behind the NAT to a network with IPv6 alone, where it registers natively, back, to one of IPv4
// without NAT, and back, with its connections.
func TestBetweenNATAndIPv6(t *testing.T) {
	t.Parallel()
	n, ha, mn := natWorld(t, "110s")
	n.must(n.fabric.Bridge("plain"))
	n.plug("ar", "plain", "plain", "10.3.0.1/24")
	streams := []*stream{
		connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent),
		connect(t, n.nodes["cn"], correspondent, n.nodes["mn"], home),
	}
	moved := func(from, to netip.Prefix, bridge, transport string) {
		t.Helper()
		n.must(n.fabric.Unplug(n.nodes["mn"], "eth0"))
		if from.IsValid() {
			n.unholds("mn", hostOf(from, 1))
		}
		n.must(n.fabric.Plug(n.nodes["mn"], "eth0", bridge))
		if to.IsValid() {
			n.holds("mn", hostOf(to, 1))
		}
		prefix := to
		if transport == "native" {
			prefix = access2Prefix
		}
		m := mn.reaches(transport, prefix)
		for _, s := range streams {
			s.progress("on " + bridge)
		}
		if b, _ := ha.binding(home); b.Transport != transport || m.NAT != (bridge == "inside") {
			t.Errorf("on %s the mobile node says %+v, and the home agent %+v", bridge, m, b)
		}
	}
	moved(inside, netip.Prefix{}, "access2", "native")
	moved(netip.Prefix{}, inside, "inside", "udp")
	moved(inside, plainIPv4, "plain", "udp")
	moved(plainIPv4, inside, "inside", "udp")
	for _, s := range streams {
		s.finish()
	}
	if kinds := ha.events(); slices.ContainsFunc(kinds, func(e control.Event) bool { return e.Kind == "binding-expired" }) {
		t.Error("the binding had expired")
	}
}
