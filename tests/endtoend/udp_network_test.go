package endtoend

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"kedge/appliance/control"
)

// What the hosts' kernels have on newNetwork's links for the UDP transport: the home agent's addresses, and the prefix of
// access1 for mobile nodes.
var (
	agentHost     = netip.MustParseAddr("2001:db8:f::2")
	agentHostIPv4 = netip.MustParseAddr("10.15.0.2")
	access1IPv4   = netip.MustParsePrefix("10.1.0.0/24")

	endpointIPv6 = netip.AddrPortFrom(agentHost, 4191)
	endpointIPv4 = netip.AddrPortFrom(agentHostIPv4, 4191)
	endpoints    = []netip.AddrPort{endpointIPv6, endpointIPv4}
)

// newDatagramNetwork is newNetwork with IPv4 beside IPv6, and with addresses of the home agent's kernel.
func newDatagramNetwork(t *testing.T, with ...property) *network {
	t.Helper()
	n := newNetwork(t, with...)
	for _, router := range []string{"ar", "hr"} {
		n.forwardIPv4(router)
	}
	for _, a := range []struct{ node, iface, address string }{
		{"ar", "access1", "10.1.0.1/24"}, {"ar", "core", "10.9.0.1/24"},
		{"hr", "core", "10.9.0.2/24"}, {"hr", "home", "10.15.0.1/24"}, {"ha", "eth0", "10.15.0.2/24"}, {"ha", "eth0", "2001:db8:f::2/64"},
	} {
		n.must(n.nodes[a.node].AddAddress(a.iface, netip.MustParsePrefix(a.address)))
	}
	for _, r := range []struct{ node, to, via string }{
		{"ar", "10.15.0.0/24", "10.9.0.2"}, {"hr", "0.0.0.0/0", "10.9.0.1"}, {"ha", "0.0.0.0/0", "10.15.0.1"}, {"ha", "::/0", "2001:db8:f::ff"},
	} {
		n.must(n.nodes[r.node].AddRoute(netip.MustParsePrefix(r.to), netip.MustParseAddr(r.via)))
	}
	return n
}

// forwardIPv4 makes a node a router of IPv4 that tells of all that does not fit.
func (n *network) forwardIPv4(node string) {
	n.t.Helper()
	for setting, value := range map[string]string{"ip_forward": "1", "icmp_ratelimit": "0"} {
		n.must(n.nodes[node].Sysctl("net.ipv4."+setting, value))
	}
}

// hostOf are the kernel's addresses of a mobile node with a number on an access network.
func hostOf(access netip.Prefix, number byte) netip.Prefix {
	b := access.Addr().AsSlice()
	b[len(b)-1] = 0x40 + number
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, access.Bits())
}

// datagramHost makes a host on access1 whose kernel has an address of each prefix there, as a network manager gives them.
func (n *network) datagramHost(name string, number byte, prefixes ...netip.Prefix) {
	n.t.Helper()
	n.host(name, "access1", "", "")
	for _, p := range prefixes {
		n.holds(name, hostOf(p, number))
	}
}

// holds gives a node's kernel an address on eth0 and the default route there.
func (n *network) holds(name string, address netip.Prefix) {
	n.t.Helper()
	n.must(n.nodes[name].AddAddress("eth0", address))
	router, everything := address.Masked().Addr().AsSlice(), netip.MustParsePrefix("0.0.0.0/0")
	if router[len(router)-1] = 1; address.Addr().Is6() {
		router[len(router)-1], everything = 0xff, netip.MustParsePrefix("::/0")
	}
	via, _ := netip.AddrFromSlice(router)
	n.must(n.nodes[name].AddRoute(everything, via))
}

// unholds takes an address of a node's kernel away, and with it the routes by it.
func (n *network) unholds(name string, address netip.Prefix) {
	n.t.Helper()
	a, err := netlink.ParseAddr(address.String())
	n.must(err)
	n.must(n.nodes[name].Handle.AddrDel(n.link(name, "eth0"), a))
	if address.Addr().Is6() {
		n.must(n.nodes[name].Handle.RouteDel(n.route(name, netip.MustParsePrefix("::/0"))))
	}
}

// datagramAgent is what the tests vary of a home agent with the UDP transport.
type datagramAgent struct {
	homes []netip.Addr
	// udp is more of [udp], link of [[link]], and sections stand behind all.
	udp, link, sections string
}

// datagramAgent runs a home agent with both transports in the namespace ha.
func (n *network) datagramAgent(a datagramAgent) *kedge {
	n.t.Helper()
	if a.homes == nil {
		a.homes = []netip.Addr{home}
	}
	var b strings.Builder
	b.WriteString(preamble("home-agent"))
	fmt.Fprintf(&b, "[udp]\n%s\n", a.udp)
	fmt.Fprintf(&b, "[[link]]\ninterface = \"eth0\"\naddresses = [\"%s/64\"]\ngateway = %q\n%s\n", homeAgent, homeRouter, a.link)
	fmt.Fprintf(&b, "[home_agent]\naddress = %q\nhome_prefixes = [%q]\nhome_link = \"eth0\"\n", homeAgent, homePrefix)
	for _, h := range a.homes {
		fmt.Fprintf(&b, "[[home_agent.mobile_node]]\nidentifier = %q\nhome_address = %q\nspi = 256\n", identifier(h), h)
	}
	b.WriteString(n.secret("ha", 256, key) + a.sections)
	return n.start("ha", b.String())
}

// datagramNode is what the tests vary of a mobile node that can use the UDP transport.
type datagramNode struct {
	home netip.Addr
	// transport is udp if empty, and endpoints are the home agent's two if nil.
	transport string
	endpoints []netip.AddrPort
	lifetime  string
	// tun, link, mobile are more of those sections, and sections stand behind all.
	tun, link, mobile, sections string
}

// datagramNode runs a mobile node in the namespace named. Its TUN device takes jumbo packets.
func (n *network) datagramNode(name string, m datagramNode) *kedge {
	n.t.Helper()
	if !m.home.IsValid() {
		m.home = home
	}
	if m.transport == "" {
		m.transport = "udp"
	}
	if m.endpoints == nil {
		m.endpoints = endpoints
	}
	if m.lifetime == "" {
		m.lifetime = "10m"
	}
	var b strings.Builder
	b.WriteString(preamble("mobile-node"))
	fmt.Fprintf(&b, "[tun]\nmtu = 9000\n%s\n[[link]]\ninterface = \"eth0\"\n%s\n", m.tun, m.link)
	if m.transport != "udp" {
		b.WriteString("autoconfigure = true\n")
	}
	fmt.Fprintf(&b, "[mobile_node]\nhome_address = %q\nhome_prefix = %q\nhome_agent = %q\nlifetime = %q\n", m.home, homePrefix, homeAgent, m.lifetime)
	fmt.Fprintf(&b, "transport = %q\n", m.transport)
	if m.transport != "native" {
		fmt.Fprintf(&b, "home_agent_endpoints = %s\n", quotedList(m.endpoints))
	}
	fmt.Fprintf(&b, "destinations = [%q]\nidentifier = %q\nspi = 256\n%s\n%s", region1, identifier(m.home), m.mobile, m.sections)
	b.WriteString(n.secret(name, 256, key))
	return n.start(name, b.String())
}

// reaches waits until a mobile node is registered by a transport, from a care-of address of prefix.
func (k *kedge) reaches(transport string, prefix netip.Prefix) *control.MobileNode {
	k.t.Helper()
	var m *control.MobileNode
	await(k.t, fmt.Sprintf("%s is registered by %s from %v", k.name, transport, prefix), func() bool {
		m = k.status().MobileNode
		return m.State == "registered" && m.Transport == transport && prefix.Contains(m.CareOf)
	})
	return m
}

// overDatagrams is the usual start: a home agent with both transports, and a mobile node registered over UDP from access1 by
// an address of prefix, IPv6 or IPv4.
func overDatagrams(n *network, prefix netip.Prefix) (ha, mn *kedge) {
	n.t.Helper()
	ha = n.datagramAgent(datagramAgent{})
	n.datagramHost("mn", 1, prefix)
	mn = n.datagramNode("mn", datagramNode{})
	mn.reaches("udp", prefix)
	return ha, mn
}
