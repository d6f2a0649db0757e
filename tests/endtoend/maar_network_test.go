package endtoend

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kedge/appliance/control"
	"kedge/appliance/lab/space"
)

// Network-based mobility (RFC 8885). host and host2 are unmodified: their kernels autoconfigure as they do by default.
//
//	 cn             cmd
//	  |              |
//	 [c]            [e]
//	  +---- core ----+
//	  |              |
//	[a1]           [a2]
//	maar1          maar2
//	[access1]      [access2]     host, host2
var (
	maar1Address    = netip.MustParseAddr("2001:db8:a1::2")
	maar2Address    = netip.MustParseAddr("2001:db8:a2::2")
	databaseAddress = netip.MustParseAddr("2001:db8:e::2")
	maarPool1       = netip.MustParsePrefix("2001:db8:1000::/48")
	maarPool2       = netip.MustParsePrefix("2001:db8:2000::/48")
	plainPool       = netip.MustParsePrefix("2001:db8:4000::/48")
)

// Keys of the CMD with each MAAR, and of the MAARs with each other.
const (
	maarKey1    = "6b656467652d656e642d746f2d656e642d746573742d6f662d6d616172312d6b"
	maarKey2    = "6b656467652d656e642d746f2d656e642d746573742d6f662d6d616172322d6b"
	maarPeerKey = "6b656467652d656e642d746f2d656e642d746573742d6f662d70656572732d6b"
)

// Link-layer addresses and identifiers of the hosts that MAARs and CMD know.
const (
	hostMAC         = "02:00:00:00:00:64"
	host2MAC        = "02:00:00:00:00:65"
	strangerMAC     = "02:00:00:00:00:66"
	hostIdentifier  = "host@example.net"
	host2Identifier = "host2@example.net"
)

// newAccessNetwork makes the network without hosts and without its kedge nodes' programs.
func newAccessNetwork(t *testing.T) *network {
	t.Helper()
	n := emptyNetwork(t)
	for _, b := range []string{"a1", "a2", "e"} {
		n.must(n.fabric.Bridge(b))
	}
	n.router("core", map[string]string{
		"c": "2001:db8:c::1/64", "a1": "2001:db8:a1::1/64", "a2": "2001:db8:a2::1/64", "e": "2001:db8:e::1/64",
	}, map[string]string{
		maarPool1.String(): maar1Address.String(), maarPool2.String(): maar2Address.String(), plainPool.String(): databaseAddress.String(),
	})
	n.host("cn", "c", "2001:db8:c::2/64", "2001:db8:c::1")
	n.host("cmd", "e", "", "")
	for i := 1; i <= 2; i++ {
		name := fmt.Sprintf("maar%d", i)
		n.host(name, fmt.Sprintf("a%d", i), "", "")
		n.plug(name, "eth1", fmt.Sprintf("access%d", i), "")
	}
	return n
}

// maar is what the tests vary of a MAAR.
type maar struct {
	// database is the CMD, anchor the local mobility anchor of a plain mobile access gateway; without either it is the CMD cmd.
	database, anchor netip.Addr
	peers            bool
	pool             netip.Prefix
	// anyone serves all hosts, beside those that are listed.
	anyone bool
	// more is of [maar].
	more string
	// also is another role in the same program: its name, address and sections.
	also, alsoAddress, alsoSections string
}

// maar runs MAAR i.
func (n *network) maar(i int, m maar) *kedge {
	n.t.Helper()
	name, address, pool, secret := fmt.Sprintf("maar%d", i), maar1Address, maarPool1, maarKey1
	if i == 2 {
		address, pool, secret = maar2Address, maarPool2, maarKey2
	}
	if m.pool.IsValid() {
		pool = m.pool
	}
	if !m.database.IsValid() {
		m.database = databaseAddress
	}
	head := preamble("maar")
	if m.also != "" {
		head = strings.Replace(head, `["maar"]`, fmt.Sprintf(`["maar", %q]`, m.also), 1)
	}
	var b strings.Builder
	b.WriteString(head)
	fmt.Fprintf(&b, "[[link]]\ninterface = \"eth0\"\naddresses = [\"%s/64\"%s]\ngateway = \"2001:db8:a%d::1\"\n", address, m.alsoAddress, i)
	b.WriteString("[[link]]\ninterface = \"eth1\"\naccess = true\n")
	fmt.Fprintf(&b, "[maar]\naddress = %q\nspi = %d\naccess_links = [\"eth1\"]\nallow_any_mobile_node = %v\n", address, 400+i, m.anyone)
	if m.anchor.IsValid() {
		fmt.Fprintf(&b, "local_mobility_anchor = %q\n", m.anchor)
	} else {
		fmt.Fprintf(&b, "database = %q\npools = [%q]\n", m.database, pool)
	}
	if m.peers {
		peer := maar2Address
		if i == 2 {
			peer = maar1Address
		}
		fmt.Fprintf(&b, "peers = [{ address = %q, spi = 412 }]\n", peer)
	}
	b.WriteString(m.more + "\n")
	for mac, id := range map[string]string{hostMAC: hostIdentifier, host2MAC: host2Identifier} {
		fmt.Fprintf(&b, "[[maar.mobile_node]]\nlink_layer_address = %q\nidentifier = %q\n", mac, id)
	}
	b.WriteString(m.alsoSections)
	b.WriteString(n.secret(name, 400+i, secret))
	if m.peers {
		b.WriteString(n.secret(name, 412, maarPeerKey))
	}
	return n.start(name, b.String())
}

// database is what the tests vary of a CMD.
type database struct {
	address netip.Addr
	mode    string
	// plain has it serve both as mobile access gateways.
	plain bool
	more  string
}

// sections are those of a CMD but for its associations.
func (d database) sections() string {
	if !d.address.IsValid() {
		d.address = databaseAddress
	}
	if d.mode == "" {
		d.mode = "proxy"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[central_mobility_database]\naddress = %q\nmode = %q\nallow_any_mobile_node = true\n%s\n", d.address, d.mode, d.more)
	if d.plain {
		fmt.Fprintf(&b, "serve_plain = true\nhome_prefixes = [%q]\n", plainPool)
	}
	for i, r := range []struct {
		address netip.Addr
		pool    netip.Prefix
	}{{maar1Address, maarPool1}, {maar2Address, maarPool2}} {
		fmt.Fprintf(&b, "[[central_mobility_database.router]]\naddress = %q\nspi = %d\n", r.address, 401+i)
		if d.plain {
			b.WriteString("plain = true\n")
		} else {
			fmt.Fprintf(&b, "pools = [%q]\n", r.pool)
		}
	}
	return b.String()
}

// database runs the CMD in the namespace cmd.
func (n *network) database(d database) *kedge {
	n.t.Helper()
	return n.start("cmd", preamble("cmd")+
		fmt.Sprintf("[[link]]\ninterface = \"eth0\"\naddresses = [\"%s/64\"]\ngateway = \"2001:db8:e::1\"\n", databaseAddress)+
		d.sections()+n.secret("cmd", 401, maarKey1)+n.secret("cmd", 402, maarKey2))
}

// visitor is a host with nothing installed.
type visitor struct {
	*network
	name string
	*space.Namespace
}

// visitor makes a host on a bridge.
func (n *network) visitor(name, bridge, mac string) *visitor {
	n.t.Helper()
	hardware, err := net.ParseMAC(mac)
	n.must(err)
	s := n.namespace(name)
	n.nodes[name] = s
	n.must(s.Up("lo"))
	n.must(n.fabric.Port(s, "eth0", hardware))
	n.must(s.Up("eth0"))
	n.must(n.fabric.Plug(s, "eth0", bridge))
	v := &visitor{network: n, name: name, Namespace: s}
	n.t.Cleanup(func() {
		if n.t.Failed() {
			n.t.Logf("%s: %+v", name, v.state())
		}
	})
	return v
}

func (v *visitor) state() space.HostState {
	v.t.Helper()
	s, err := v.State("eth0")
	v.must(err)
	return s
}

// addresses in a pool, that can be used; deprecated ones or those that are not.
func (v *visitor) addresses(pool netip.Prefix, deprecated bool) (found []netip.Addr) {
	v.t.Helper()
	for _, a := range v.state().Addresses {
		if pool.Contains(a.Address) && !a.Tentative && a.Deprecated == deprecated {
			found = append(found, a.Address)
		}
	}
	return found
}

// preferred waits for an address in a pool that new connections use, and returns it.
func (v *visitor) preferred(pool netip.Prefix) netip.Addr {
	v.t.Helper()
	return v.has(pool, false)
}

// deprecated waits until the only address in a pool is deprecated.
func (v *visitor) deprecated(pool netip.Prefix) netip.Addr {
	v.t.Helper()
	return v.has(pool, true)
}

func (v *visitor) has(pool netip.Prefix, deprecated bool) (a netip.Addr) {
	v.t.Helper()
	await(v.t, fmt.Sprintf("%s has an address in %v, deprecated %v", v.name, pool, deprecated), func() bool {
		found := v.addresses(pool, deprecated)
		if len(found) != 1 || len(v.addresses(pool, !deprecated)) != 0 {
			return false
		}
		a = found[0]
		return true
	})
	return a
}

// connect opens a stream to the correspondent without choosing a source, and checks that it is in a pool. Linux takes a
// deprecated address for a preferred one between a router advertisement that repeats its prefix and a work item of its own
// (addrconf_prefix_rcv, addrconf_verify_work), so that a connection now and then has the wrong one.
func (v *visitor) connect(pool netip.Prefix) *stream {
	v.t.Helper()
	var a netip.Addr
	for range 5 {
		s := connect(v.t, v.Namespace, anyAddress, v.nodes["cn"], correspondent)
		if a = s.ends[1].remote().Addr(); pool.Contains(a) {
			return s
		}
		for _, e := range s.ends {
			e.stop.Store(true)
			e.conn.Close()
		}
	}
	v.t.Fatalf("the correspondent sees %v of %s, which is not in %v", a, v.name, pool)
	return nil
}

// served waits until a MAAR has a mobile node in a state, and returns it.
func (k *kedge) served(identifier, state string) (m control.AccessMobileNode) {
	k.t.Helper()
	await(k.t, fmt.Sprintf("%s is %s at %s", identifier, state, k.name), func() bool {
		k.alive()
		list, err := k.client.MobileNodes(context.Background())
		if err != nil {
			k.t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(m control.AccessMobileNode) bool { return m.Identifier == identifier && m.State == state })
		if i >= 0 {
			m = list[i]
		}
		return i >= 0
	})
	return m
}

// anchored is a mobile node's prefix in a pool; there must be one.
func anchored(t *testing.T, m control.AccessMobileNode, pool netip.Prefix) control.AccessPrefix {
	t.Helper()
	for _, p := range m.Prefixes {
		if pool.Contains(p.Prefix.Addr()) {
			return p
		}
	}
	t.Fatalf("no prefix in %v: %+v", pool, m)
	return control.AccessPrefix{}
}

// session waits until a CMD has a mobile node's session as it should be, and returns it.
func (k *kedge) session(identifier string, should func(s control.MobilitySession) bool) (s control.MobilitySession) {
	k.t.Helper()
	await(k.t, k.name+" has the session of "+identifier, func() bool {
		k.alive()
		list, err := k.client.Sessions(context.Background(), 1000)
		if err != nil {
			k.t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(s control.MobilitySession) bool { return s.MobileNode == identifier })
		if i >= 0 {
			s = list[i]
		}
		return i >= 0 && should(s)
	})
	return s
}

// servedBy is a session that a router serves, whose anchors all know.
func servedBy(router netip.Addr, prefixes int) func(control.MobilitySession) bool {
	return func(s control.MobilitySession) bool {
		return s.Serving == router && len(s.Prefixes) == prefixes &&
			!slices.ContainsFunc(s.Prefixes, func(p control.AnchoredPrefix) bool { return !p.Acknowledged })
	}
}

// prints runs a kedge command about the node, which must succeed.
func (k *kedge) prints(arguments ...string) string {
	k.t.Helper()
	out, status := command(k.t, append(arguments, "--socket", filepath.Join(k.directory, "control.sock"))...)
	if status != 0 {
		k.t.Errorf("kedge %v: exit status %d: %s", arguments, status, out)
	}
	return out
}

// printsJSON is the same with --json.
func (k *kedge) printsJSON(into any, arguments ...string) {
	k.t.Helper()
	out := k.prints(append(arguments, "--json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		k.t.Errorf("kedge %v --json: %v:\n%s", arguments, err, out)
	}
}
