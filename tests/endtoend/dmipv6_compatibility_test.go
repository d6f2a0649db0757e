package endtoend

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/appliance/control"
)

// why asks for a flow with its decision.
func (k *kedge) why(f control.Flow) control.Flow {
	k.t.Helper()
	g, err := k.client.Flow(context.Background(), f.Number)
	if err != nil {
		k.t.Fatal(err)
	}
	return g
}

// goesHome opens a connection that must fall back to the home address, having been held for at most so long beyond what a
// busy machine adds.
func (w *flowWorld) goesHome(held time.Duration) *stream {
	w.t.Helper()
	s := connect(w.t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(single(home), home)
	d := w.mn.why(w.mn.flowOf(s)).Decision
	if d == nil || len(d.Steps) == 0 {
		return s
	}
	const busy = 2 * time.Second
	if took := time.Duration(d.Steps[len(d.Steps)-1].AfterMilliseconds * float64(time.Millisecond)); took > held+busy {
		w.t.Errorf("decided after %v: %+v", took, d)
	}
	return s
}

// unheld opens connections that must go by the home address without having waited.
func (w *flowWorld) unheld() {
	w.t.Helper()
	before := w.mn.counter("dmipv6-flows-held")
	for range 3 {
		s := connect(w.t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
		s.seenAs(single(home), home)
		s.finish()
	}
	if n := w.mn.counter("dmipv6-flows-held") - before; n != 0 {
		w.t.Errorf("%d of 3 more flows waited", n)
	}
}

// The directory lists proxies that packets do not reach: it goes on hearing of them.
func TestProxiesUnreachable(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	for _, a := range []netip.Addr{homeProxy1, homeProxy2} {
		w.blackhole("ar", a)
	}
	s := w.goesHome(500 * time.Millisecond)
	w.mn.event("dhp-skipped", 0)
	w.unheld()
	w.ha.listed(2)
	s.finish()
}

// The programs of all proxies are gone.
func TestProxiesGone(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	w.dhp1.kill()
	w.dhp2.kill()
	s := w.goesHome(500 * time.Millisecond)
	w.mn.event("dhp-skipped", 0)
	w.unheld()
	s.finish()
}

// A home agent without a directory says so with a Binding Error (RFC 6275 section 9.2), and is a home agent.
func TestHomeAgentWithoutDirectory(t *testing.T) {
	t.Parallel()
	w := &flowWorld{network: newFlowNetwork(newNetwork(t))}
	w.ha = w.agent(anchor{})
	w.mn = w.flowNode("mn", flowNode{})
	w.mn.state("registered", access1Prefix)
	s := w.goesHome(0)
	w.mn.event("dhp-directory-unusable", 0)
	if w.ha.counter("home-agent-binding-errors") == 0 {
		t.Error("the home agent sent no Binding Error")
	}
	w.unheld()
	w.move("mn", "access2")
	w.mn.state("registered", access2Prefix)
	s.finish()
}

// A home agent that says nothing at all to messages that it does not know.
func TestHomeAgentSilent(t *testing.T) {
	t.Parallel()
	w := &flowWorld{network: newFlowNetwork(newNetwork(t))}
	w.ha = w.directoryAgent(directoryAgent{})
	w.dropMobility("hr", 11)
	w.mn = w.flowNode("mn", flowNode{})
	w.mn.state("registered", access1Prefix)
	s := w.goesHome(500 * time.Millisecond)
	w.mn.event("dhp-directory-unusable", 0)
	w.unheld()
	s.finish()
}

// blackhole has a router drop what goes to an address.
func (n *network) blackhole(router string, a netip.Addr) {
	n.t.Helper()
	to := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(128, 128)}
	n.must(n.nodes[router].Handle.RouteAdd(&netlink.Route{Dst: to, Type: unix.RTN_BLACKHOLE, Family: netlink.FAMILY_V6}))
}

// dropMobility has a router forward no Mobility Header of a type that has no extension header in front.
func (n *network) dropMobility(router string, kind int) {
	n.t.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		n.t.Skip(err)
	}
	rules := "add table ip6 kt10\nadd chain ip6 kt10 forward { type filter hook forward priority 0; }\n" +
		"add rule ip6 kt10 forward meta l4proto 135 @th,16,8 " + strconv.Itoa(kind) + " drop\n"
	file := n.write(router+".nft", rules)
	var out []byte
	if err := n.nodes[router].Do(func() (err error) {
		out, err = exec.Command(path, "-f", file).CombinedOutput()
		return err
	}); err != nil {
		n.t.Skipf("no nftables here: %v\n%s", err, out)
	}
}

// A plain mobile node, which knows nothing of DMIPv6, has its home address at a proxy.
func TestPlainMobileNodeAtHomeProxy(t *testing.T) {
	t.Parallel()
	n := newFlowNetwork(newNetwork(t))
	plain := pool1.Addr().Next()
	dhp := n.homeProxy(1, homeProxy{
		sections: "[[home_proxy.mobile_node]]\nidentifier = \"" + identifier(plain) + "\"\nhome_address = \"" + plain.String() + "\"\nspi = 256\n" +
			n.secret("dhp1", 256, key),
	})
	n.secret("mn", 256, key)
	mn := n.start("mn", preamble("mobile-node")+"[tun]\n[[link]]\ninterface = \"eth0\"\nautoconfigure = true\n[mobile_node]\n"+
		"home_address = \""+plain.String()+"\"\nhome_prefix = \""+pool1.String()+"\"\nhome_agent = \""+homeProxy1.String()+"\"\n"+
		"destinations = [\""+region1.String()+"\"]\nidentifier = \""+identifier(plain)+"\"\nspi = 256\n"+n.secret("mn", 256, key))
	mn.state("registered", access1Prefix)
	if b, ok := dhp.binding(plain); !ok || !access1Prefix.Contains(b.CareOf) {
		t.Errorf("the proxy has %+v", b)
	}
	s := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
	s.seenAs(single(plain), plain)
	n.move("mn", "access2")
	mn.state("registered", access2Prefix)
	s.progress("on the second link")
	dhp.kill()
	dhp.run()
	s.finish()
}

// There is no kedge but the mobile node. What it does not serve is plain IPv6.
func TestNoKedgeAnywhere(t *testing.T) {
	t.Parallel()
	n := newFlowNetwork(newNetwork(t))
	mn := n.flowNode("mn", flowNode{})
	mn.state("registering", access1Prefix)
	s := connect(t, n.nodes["mn"], anyAddress, n.nodes["ar"], accessRouter)
	s.seenAs(single(hostAddress), hostAddress)
	s.finish()
}

// The same where the mobile node may leave programs to plain IPv6 while no home agent answers: what it serves is plain IPv6
// too, until one does.
func TestPlainIPv6WithoutHomeAgent(t *testing.T) {
	t.Parallel()
	n := newFlowNetwork(newNetwork(t))
	mn := n.flowNode("mn", flowNode{mobile: "plain_ipv6_without_home_agent = true"})
	k, server := udpSocket(t, n.nodes["mn"], anyAddress), udpSocket(t, n.nodes["cn"], correspondent)
	k.asks(server, 100, single(hostAddress))
	s := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
	s.seenAs(single(hostAddress), hostAddress)
	n.directoryAgent(directoryAgent{})
	n.homeProxy(1, homeProxy{})
	mn.state("registered", access1Prefix)
	await(t, "a program is served again", func() bool {
		return !single(hostAddress).Contains(udpSocket(t, n.nodes["mn"], anyAddress).ask(server, 100))
	})
	s.progress("beside kedge")
	s.finish()
}

// A program that binds an address of the host's own keeps it, also towards what kedge serves.
func TestHostAddressKept(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	own := connect(t, w.nodes["mn"], hostAddress, w.nodes["cn"], correspondent)
	own.seenAs(single(hostAddress), hostAddress)
	connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent).seenAs(pool1, home)
	udpSocket(t, w.nodes["mn"], hostAddress).asks(udpSocket(t, w.nodes["cn"], correspondent), 4000, single(hostAddress))
	own.finish()
}
