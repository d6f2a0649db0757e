package endtoend

import (
	"fmt"
	"net/netip"
	"strings"
)

// key is the one that mobile nodes share with their home agent.
const key = "6b656467652d656e642d746f2d656e642d746573742d6f662d33322d6f637400"

// mobileNode is what the tests vary of a mobile node's configuration.
type mobileNode struct {
	home netip.Addr
	// agent is the home agent's address; invalid leaves it to discovery.
	agent     netip.Addr
	lifetime  string
	algorithm string
	key       string
	// destinations besides the correspondent's network.
	destinations []string
	// unauthenticated leaves out keys and says so.
	unauthenticated bool
	mtu             int
}

func identifier(home netip.Addr) string {
	return "mn-" + strings.ReplaceAll(home.String(), ":", "-") + "@example.net"
}

// mobile writes what a mobile node needs, with defaults for zero fields, and runs it in the namespace named.
func (n *network) mobile(name string, m mobileNode) *kedge {
	n.t.Helper()
	if !m.home.IsValid() {
		m.home = home
	}
	if m.lifetime == "" {
		m.lifetime = "10m"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "roles = [\"mobile-node\"]\nstate_directory = \"state\"\n[log]\nlevel = \"debug\"\n[control]\nsocket = \"control.sock\"\n")
	fmt.Fprintf(&b, "[tun]\nmtu = %d\n[[link]]\ninterface = \"eth0\"\nautoconfigure = true\n", max(m.mtu, 1500))
	fmt.Fprintf(&b, "[mobile_node]\nhome_address = %q\nhome_prefix = %q\nlifetime = %q\n", m.home, homePrefix, m.lifetime)
	if m.agent.IsValid() {
		fmt.Fprintf(&b, "home_agent = %q\n", m.agent)
	}
	fmt.Fprintf(&b, "destinations = [\"2001:db8:c::/64\"")
	for _, d := range m.destinations {
		fmt.Fprintf(&b, ", %q", d)
	}
	fmt.Fprintf(&b, "]\nidentifier = %q\n", identifier(m.home))
	if m.unauthenticated {
		fmt.Fprintf(&b, "allow_unauthenticated_signaling = true\n")
	} else {
		fmt.Fprintf(&b, "spi = 256\n")
		n.association(&b, name, m.algorithm, m.key)
	}
	return n.start(name, b.String())
}

func (n *network) association(b *strings.Builder, name, algorithm, secret string) {
	if algorithm == "" {
		algorithm = "hmac-sha-256-128"
	}
	if secret == "" {
		secret = key
	}
	n.write(name+"/key", secret+"\n")
	fmt.Fprintf(b, "[[security_association]]\nspi = 256\nalgorithm = %q\nkey_file = \"key\"\n", algorithm)
}

// anchor is what the tests vary of a home agent's configuration.
type anchor struct {
	// address, gateway and top matter only if set: the home agent's own address, its router, and more of the file's top
	// level.
	address, gateway string
	// routed has the home prefix routed to the home agent instead of a home link.
	routed bool
	tun    bool
	// unauthenticated serves anybody; otherwise homes are served with the key.
	unauthenticated bool
	algorithm       string
	homes           []netip.Addr
}

// agent runs a home agent in the namespace ha.
func (n *network) agent(a anchor) *kedge {
	n.t.Helper()
	if a.address == "" {
		a.address, a.gateway = homeAgent.String(), homeRouter.String()
	}
	if a.homes == nil {
		a.homes = []netip.Addr{home}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "roles = [\"home-agent\"]\nstate_directory = \"state\"\n[log]\nlevel = \"debug\"\n[control]\nsocket = \"control.sock\"\n")
	if a.tun {
		fmt.Fprintf(&b, "[tun]\n")
	}
	fmt.Fprintf(&b, "[[link]]\ninterface = \"eth0\"\naddresses = [\"%s/64\"]\ngateway = %q\n", a.address, a.gateway)
	fmt.Fprintf(&b, "[home_agent]\naddress = %q\nhome_prefixes = [%q]\n", a.address, homePrefix)
	if !a.routed {
		fmt.Fprintf(&b, "home_link = \"eth0\"\n")
	}
	if a.unauthenticated {
		fmt.Fprintf(&b, "allow_any_mobile_node = true\nallow_unauthenticated_signaling = true\n")
		return n.start("ha", b.String())
	}
	for _, h := range a.homes {
		fmt.Fprintf(&b, "[[home_agent.mobile_node]]\nidentifier = %q\nhome_address = %q\nspi = 256\n", identifier(h), h)
	}
	n.association(&b, "ha", a.algorithm, "")
	return n.start("ha", b.String())
}

// registered is the usual start: a home agent, and a mobile node that has registered from access1.
func registered(n *network, lifetime string) (ha, mn *kedge) {
	n.t.Helper()
	ha = n.agent(anchor{})
	n.host("mn", "access1", "", "")
	mn = n.mobile("mn", mobileNode{agent: homeAgent, lifetime: lifetime})
	mn.state("registered", access1Prefix)
	return ha, mn
}
