package endtoend

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// The network of newNetwork with two Distributed Home-Proxies, each on a link of its own, and a second correspondent.
//
//	cn    dhp1   dhp2    cn2
//	 |     |      |       |
//	[c]  [site1] [site2] [c2]
//	 +-----+--ar--+-------+
var (
	correspondent2 = netip.MustParseAddr("2001:db8:c2::2")
	homeProxy1     = netip.MustParseAddr("2001:db8:b1::1")
	homeProxy2     = netip.MustParseAddr("2001:db8:b2::1")
	pool1          = netip.MustParsePrefix("2001:db8:d1::/64")
	pool2          = netip.MustParsePrefix("2001:db8:d2::/64")
	site1Router    = netip.MustParseAddr("2001:db8:b1::ff")
	region1        = netip.MustParsePrefix("2001:db8:c::/64")
	region2        = netip.MustParsePrefix("2001:db8:c2::/64")
	// hostAddress is what mn's kernel has of its own on access1.
	hostAddress = netip.MustParseAddr("2001:db8:1::99")
)

// Keys of the home agent with each Distributed Home-Proxy.
const (
	proxyKey1 = "6b656467652d656e642d746f2d656e642d746573742d6f662d646870312d6b31"
	proxyKey2 = "6b656467652d656e642d746f2d656e642d746573742d6f662d646870322d6b32"
)

// newFlowNetwork makes the network without its kedge nodes' programs. mn is on access1.
func newFlowNetwork(n *network) *network {
	n.t.Helper()
	for _, b := range []string{"site1", "site2", "c2"} {
		n.must(n.fabric.Bridge(b))
	}
	n.plug("ar", "site1", "site1", "2001:db8:b1::ff/64")
	n.plug("ar", "site2", "site2", "2001:db8:b2::ff/64")
	n.plug("ar", "c2", "c2", "2001:db8:c2::1/64")
	n.must(n.nodes["ar"].AddRoute(pool1, homeProxy1))
	n.must(n.nodes["ar"].AddRoute(pool2, homeProxy2))
	n.host("cn2", "c2", "2001:db8:c2::2/64", "2001:db8:c2::1")
	n.host("dhp1", "site1", "", "")
	n.host("dhp2", "site2", "", "")
	n.host("mn", "access1", hostAddress.String()+"/64", "2001:db8:1::ff")
	return n
}

// preamble is how every configuration begins: what it says of the top level comes first.
func preamble(role string) string {
	return fmt.Sprintf("roles = [%q]\nstate_directory = \"state\"\n[log]\nlevel = \"debug\"\n[control]\nsocket = \"control.sock\"\n", role)
}

// secret writes a key file of a node and returns the association that uses it.
func (n *network) secret(node string, spi int, key string) string {
	n.t.Helper()
	file := fmt.Sprintf("%d.key", spi)
	n.write(node+"/"+file, key+"\n")
	return fmt.Sprintf("[[security_association]]\nspi = %d\nkey_file = %q\n", spi, file)
}

// directoryAgent is what the tests vary of a home agent with a directory.
type directoryAgent struct {
	// proxies are the numbers of the Distributed Home-Proxies that it lists; nil is both, and each may advertise coverage,
	// or both regions.
	proxies  []int
	coverage []netip.Prefix
	homes    []netip.Addr
}

// directoryAgent runs a home agent in the namespace ha.
func (n *network) directoryAgent(a directoryAgent) *kedge {
	n.t.Helper()
	if a.proxies == nil {
		a.proxies = []int{1, 2}
	}
	if a.coverage == nil {
		a.coverage = []netip.Prefix{region1, region2}
	}
	if a.homes == nil {
		a.homes = []netip.Addr{home}
	}
	var b strings.Builder
	b.WriteString(preamble("home-agent"))
	fmt.Fprintf(&b, "[[link]]\ninterface = \"eth0\"\naddresses = [\"%s/64\"]\ngateway = %q\n", homeAgent, homeRouter)
	fmt.Fprintf(&b, "[home_agent]\naddress = %q\nhome_prefixes = [%q]\nhome_link = \"eth0\"\n", homeAgent, homePrefix)
	for _, h := range a.homes {
		fmt.Fprintf(&b, "[[home_agent.mobile_node]]\nidentifier = %q\nhome_address = %q\nspi = 256\n", identifier(h), h)
	}
	b.WriteString(n.secret("ha", 256, key))
	for _, i := range a.proxies {
		address, _, secret, _ := proxyFacts(i)
		fmt.Fprintf(&b, "[[home_agent.proxy]]\naddress = %q\nspi = %d\ncoverage = %s\n", address, 300+i, quotedList(a.coverage))
		b.WriteString(n.secret("ha", 300+i, secret))
	}
	return n.start("ha", b.String())
}

func quotedList[T fmt.Stringer](list []T) string {
	var quoted []string
	for _, x := range list {
		quoted = append(quoted, fmt.Sprintf("%q", x))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func proxyFacts(i int) (address netip.Addr, pool netip.Prefix, key string, region netip.Prefix) {
	if i == 2 {
		return homeProxy2, pool2, proxyKey2, region2
	}
	return homeProxy1, pool1, proxyKey1, region1
}

// homeProxy is what the tests vary of a Distributed Home-Proxy.
type homeProxy struct {
	// coverage is what it says to be near to; nil is its region.
	coverage []netip.Prefix
	// more lines of [home_proxy], and sections behind it.
	more, sections string
}

// homeProxy runs Distributed Home-Proxy i in the namespace dhp1 or dhp2.
func (n *network) homeProxy(i int, p homeProxy) *kedge {
	n.t.Helper()
	name := fmt.Sprintf("dhp%d", i)
	address, pool, secret, region := proxyFacts(i)
	if p.coverage == nil {
		p.coverage = []netip.Prefix{region}
	}
	var coverage []string
	for _, c := range p.coverage {
		coverage = append(coverage, fmt.Sprintf("{ prefix = %q, probe = %q }", c, c.Addr().Next().Next()))
	}
	var b strings.Builder
	b.WriteString(preamble("home-proxy"))
	fmt.Fprintf(&b, "[[link]]\ninterface = \"eth0\"\naddresses = [\"%s/64\"]\ngateway = \"2001:db8:b%d::ff\"\n", address, i)
	fmt.Fprintf(&b, "[home_proxy]\naddress = %q\npools = [{ prefix = %q }]\ncoverage = [%s]\n", address, pool, strings.Join(coverage, ", "))
	fmt.Fprintf(&b, "home_agents = [{ address = %q, spi = %d }]\nadvertisement_interval = \"1s\"\n%s\n", homeAgent, 300+i, p.more)
	b.WriteString(p.sections)
	b.WriteString(n.secret(name, 300+i, secret))
	return n.start(name, b.String())
}

// listed waits until the home agent's directory has so many entries.
func (k *kedge) listed(entries int) {
	k.t.Helper()
	await(k.t, fmt.Sprintf("the directory has %d entries", entries), func() bool {
		list, err := k.client.Directory(context.Background())
		if err != nil {
			k.t.Fatal(err)
		}
		return len(list) == entries
	})
}

// flowNode is what the tests vary of a mobile node with DMIPv6.
type flowNode struct {
	home netip.Addr
	// uplinks besides eth0, destinations besides both regions.
	uplinks, destinations []string
	// mobile is more of [mobile_node], dmipv6 of [dmipv6], and sections stand behind all.
	mobile, dmipv6, sections string
}

// flowNode runs a mobile node with DMIPv6 in the namespace named.
func (n *network) flowNode(name string, m flowNode) *kedge {
	n.t.Helper()
	if !m.home.IsValid() {
		m.home = home
	}
	var b strings.Builder
	b.WriteString(preamble("mobile-node"))
	b.WriteString("[tun]\n")
	for i, u := range append([]string{"eth0"}, m.uplinks...) {
		fmt.Fprintf(&b, "[[link]]\ninterface = %q\nautoconfigure = true\npreference = %d\n", u, -i)
	}
	destinations := append([]string{region1.String(), region2.String()}, m.destinations...)
	fmt.Fprintf(&b, "[mobile_node]\nhome_address = %q\nhome_prefix = %q\nhome_agent = %q\nlifetime = \"10m\"\n", m.home, homePrefix, homeAgent)
	fmt.Fprintf(&b, "destinations = [\"%s\"]\nidentifier = %q\nspi = 256\n%s\n", strings.Join(destinations, `", "`), identifier(m.home), m.mobile)
	fmt.Fprintf(&b, "[dmipv6]\nenabled = true\n%s\n%s", m.dmipv6, m.sections)
	b.WriteString(n.secret(name, 256, key))
	return n.start(name, b.String())
}

// flowWorld is the usual start: a home agent, two Distributed Home-Proxies that it knows, and a mobile node registered from
// access1.
type flowWorld struct {
	*network
	ha, dhp1, dhp2, mn *kedge
}

func newFlowWorld(n *network, m flowNode) *flowWorld {
	n.t.Helper()
	w := &flowWorld{network: newFlowNetwork(n)}
	w.ha = n.directoryAgent(directoryAgent{})
	w.dhp1, w.dhp2 = n.homeProxy(1, homeProxy{}), n.homeProxy(2, homeProxy{})
	w.ha.listed(2)
	w.mn = n.flowNode("mn", m)
	w.mn.state("registered", access1Prefix)
	return w
}
