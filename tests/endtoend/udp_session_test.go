package endtoend

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A path's MTU drops in its middle while a connection runs: its segments shrink, and programs that send datagrams are told of
// what fits.
func TestDatagramPathMTUShrinks(t *testing.T) {
	for _, c := range []struct {
		name     string
		prefix   netip.Prefix
		overhead int
	}{{"IPv6", access1Prefix, 48}, {"IPv4", access1IPv4, 28}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newDatagramNetwork(t)
			overDatagrams(n, c.prefix)
			s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
			a, b := udpSocket(t, n.nodes["mn"], home), udpSocket(t, n.nodes["cn"], correspondent)
			for _, mtu := range []int{1400, 1340} {
				n.setMTU(mtu, "ar", "core")
				n.setMTU(mtu, "hr", "core")
				inner := max(mtu-c.overhead, 1280)
				for _, from := range []socket{a, b} {
					to := map[socket]socket{a: b, b: a}[from]
					from.complaints()
					from.set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
					await(t, fmt.Sprintf("%v is told of an MTU of %d", from.address(), inner), func() bool {
						_, _ = from.WriteToUDPAddrPort(make([]byte, inner+1-48), to.address())
						for {
							c, ok := from.complaint()
							if !ok {
								return false
							}
							if c.kind == 2 && c.mtu == uint32(inner) {
								return true
							}
						}
					})
					from.deliver(to, inner-48)
				}
				s.progress(fmt.Sprintf("with an MTU of %d", mtu))
			}
			s.finish()
		})
	}
}

// An anchor per flow over UDP: the proxies tell the home agent's directory of their endpoints, and flows are translated to
// and from the addresses that they lend, super-packets and fragments too, from a network of IPv6 and one of IPv4.
func TestTranslatedOverDatagrams(t *testing.T) {
	for _, c := range []struct {
		name     string
		prefix   netip.Prefix
		overhead int
	}{{"IPv6", access1Prefix, 48}, {"IPv4", access1IPv4, 28}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newFlowDatagrams(t)
			n.datagramHost("mn", 1, c.prefix)
			// A busy machine is not to have the first flow go without its anchor.
			mn := n.datagramNode("mn", datagramNode{sections: "[dmipv6]\nenabled = true\nhold_time = \"10s\"\n"})
			mn.reaches("udp", c.prefix)
			s := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
			s.seenAs(pool1, home)
			for _, a := range mn.anchors() {
				if a.Transport != "udp" || a.Endpoint.Addr().Is4() != c.prefix.Addr().Is4() {
					t.Errorf("the anchor is %+v", a)
				}
			}
			f := carriage{t: t, name: "mn", mn: n.nodes["mn"], cn: n.nodes["cn"], home: anyAddress, overhead: c.overhead}
			for _, up := range []bool{true, false} {
				if err := f.bulk(4<<20, up); err != nil {
					t.Error(err)
				}
			}
			a, b := udpSocket(t, n.nodes["mn"], anyAddress), udpSocket(t, n.nodes["cn"], correspondent)
			for _, length := range []int{1, 1200, 1400, 4000} {
				a.asks(b, length, pool1)
			}
			s.finish()
			if seen := mn.counter("forwarding-translated-out"); seen == 0 {
				t.Error("nothing was translated")
			}
		})
	}
}

// newFlowDatagrams is newDatagramNetwork with a home agent and Distributed Home-Proxy 1, both with the UDP transport. The
// proxy tells of its endpoints.
func newFlowDatagrams(t *testing.T) *network {
	t.Helper()
	n := newDatagramNetwork(t, inOrder)
	n.must(n.fabric.Bridge("site1"))
	n.plug("ar", "site1", "site1", "2001:db8:b1::ff/64")
	n.must(n.nodes["ar"].AddAddress("site1", netip.MustParsePrefix("10.11.0.1/24")))
	n.must(n.nodes["ar"].AddRoute(pool1, homeProxy1))
	n.host("dhp1", "site1", "2001:db8:b1::2/64", site1Router.String())
	n.must(n.nodes["dhp1"].AddAddress("eth0", netip.MustParsePrefix("10.11.0.2/24")))
	n.must(n.nodes["dhp1"].AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.11.0.1")))
	proxy := fmt.Sprintf("[[home_agent.proxy]]\naddress = %q\nspi = 301\ncoverage = [%q]\n", homeProxy1, region1)
	ha := n.datagramAgent(datagramAgent{sections: proxy + n.secret("ha", 301, proxyKey1)})
	n.homeProxy(1, homeProxy{sections: "[udp]\nadvertise = [\"10.11.0.2:4191\", \"[2001:db8:b1::2]:4191\"]\n"})
	ha.listed(1)
	return n
}

// With transport auto and a router that lets no Mobility Header and no tunnel pass, a mobile node registers over UDP at the
// latest when one attempt was not answered. It makes three more (RFC 5555 section 4.4.1), of which its programs notice
// nothing; on the next network it is native again.
func TestNativeIsFiltered(t *testing.T) {
	t.Parallel()
	n := newDatagramNetwork(t)
	n.filter("ar", "table ip6 kt10 {\nchain forward { type filter hook forward priority 0; iifname \"access1\" meta l4proto { 41, 60, 135 } drop; iifname \"access1\" exthdr dst exists drop; }\n}\n")
	ha := n.datagramAgent(datagramAgent{})
	n.datagramHost("mn", 1, access1Prefix)
	mn := n.datagramNode("mn", datagramNode{transport: "auto"})
	registered := mn.event("binding-registered", 0)
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	natively := func(from, to uint64) (attempts int) {
		for _, e := range mn.events() {
			if e.Kind == "binding-update-sent" && e.Number > from && e.Number < to && e.CareOf != hostOf(access1Prefix, 1).Addr() {
				attempts++
			}
		}
		return attempts
	}
	// There may be none if the host's address comes first.
	if attempts := natively(0, registered.Number); attempts > 1 || registered.CareOf != hostOf(access1Prefix, 1).Addr() {
		t.Errorf("registered from %v after %d attempts natively", registered.CareOf, attempts)
	}
	givenUp := mn.event("transport-changed", registered.Number)
	if attempts := natively(registered.Number, givenUp.Number); attempts != 3 {
		t.Errorf("%d attempts were made natively", attempts)
	}
	if m := mn.reaches("udp", access1Prefix); m.Endpoint != endpointIPv6 || m.NAT {
		t.Errorf("the mobile node says %+v", m)
	}
	s.progress("after the attempts")
	if attempts := natively(givenUp.Number, mn.lastEvent()+1); attempts != 0 {
		t.Errorf("%d more attempts were made natively", attempts)
	}
	n.move("mn", "access2")
	mn.reaches("native", access2Prefix)
	s.progress("natively")
	n.move("mn", "access1")
	mn.reaches("udp", access1Prefix)
	if b, _ := ha.binding(home); b.Transport != "udp" {
		t.Errorf("the binding is %+v", b)
	}
	s.finish()
}

// Home agent and mobile node are killed in turn. What was bound over UDP is bound after the start, with its port, and a home
// agent that has lost its bindings says so in a datagram.
func TestKilledOverDatagrams(t *testing.T) {
	t.Parallel()
	n := newDatagramNetwork(t)
	ha, mn := overDatagrams(n, access1IPv4)
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	was, _ := ha.binding(home)
	ha.kill()
	ha.run()
	ha.event("binding-restored", 0)
	s.progress("after the home agent was killed")
	if is, _ := ha.binding(home); is.Endpoint != was.Endpoint || is.Local != was.Local || is.Transport != "udp" {
		t.Errorf("the binding was %+v and is %+v", was, is)
	}
	mn.kill()
	mn.run()
	mn.reaches("udp", access1IPv4)
	s.progress("after the mobile node was killed")
	ha.kill()
	n.must(os.Remove(filepath.Join(ha.directory, "state", "bindings.db")))
	after := mn.lastEvent()
	ha.run()
	mn.event("binding-registered", after)
	s.progress("after the home agent forgot")
	s.finish()
}

// The uplink goes down, which takes its addresses of IPv6 and its routes, and comes up as a network manager brings it: the
// connection goes on over UDP and IPv4 while there is nothing else, and over IPv6 again.
func TestDatagramUplinkDownAndUp(t *testing.T) {
	t.Parallel()
	n := newDatagramNetwork(t)
	ha := n.datagramAgent(datagramAgent{})
	n.datagramHost("mn", 1, access1Prefix, access1IPv4)
	before := dump(t, n.nodes["mn"])
	mn := n.datagramNode("mn", datagramNode{})
	mn.reaches("udp", access1Prefix)
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	n.must(n.nodes["mn"].Down("eth0"))
	mn.state("unattached", netip.Prefix{})
	n.must(n.nodes["mn"].Up("eth0"))
	n.must(n.nodes["mn"].AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.1.0.1")))
	mn.reaches("udp", access1IPv4)
	s.progress("over IPv4")
	n.holds("mn", hostOf(access1Prefix, 1))
	mn.reaches("udp", access1Prefix)
	s.progress("over IPv6 again")
	if b, _ := ha.binding(home); b.Endpoint.Addr() != hostOf(access1Prefix, 1).Addr() {
		t.Errorf("the binding is %+v", b)
	}
	s.finish()
	mn.stop()
	sameHost(t, before, dump(t, n.nodes["mn"]))
}

// What an operator sees of the transport.
func TestStatusOfDatagrams(t *testing.T) {
	t.Parallel()
	n := newDatagramNetwork(t)
	ha, mn := overDatagrams(n, access1IPv4)
	for k, words := range map[*kedge][]string{
		mn: {"udp", endpointIPv4.String(), hostOf(access1IPv4, 1).Addr().String()}, ha: {"udp"},
	} {
		out, status := k.cli("status")
		for _, w := range words {
			if status != 0 || !strings.Contains(out, w) {
				t.Errorf("status of %s, exit status %d, lacks %q:\n%s", k.name, status, w, out)
			}
		}
	}
	out, status := ha.cli("bindings")
	if status != 0 || !strings.Contains(out, "udp") || !strings.Contains(out, hostOf(access1IPv4, 1).Addr().String()) {
		t.Errorf("bindings, exit status %d:\n%s", status, out)
	}
}
