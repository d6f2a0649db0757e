package endtoend

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"kedge/appliance/control"
)

// A host that has nothing installed moves between MAARs and back, in each mode of the CMD. Its connections go on, new ones
// use the prefix of the place, and each router keeps its addresses.
func TestHostMovesBetweenMAARs(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"relay", "locator", "proxy"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			n := newAccessNetwork(t)
			cmd := n.database(database{mode: mode})
			maar1, maar2 := n.maar(1, maar{peers: mode == "locator"}), n.maar(2, maar{peers: mode == "locator"})
			host := n.visitor("host", "access1", hostMAC)

			first := host.preferred(maarPool1)
			cmd.session(hostIdentifier, servedBy(maar1Address, 1))
			s1 := host.connect(maarPool1)

			n.move("host", "access2")
			second := host.preferred(maarPool2)
			if was := host.deprecated(maarPool1); was != first {
				t.Errorf("the address of maar1 was %v, is %v", first, was)
			}
			s1.progress("by a tunnel from maar1")
			s2 := host.connect(maarPool2)
			session := cmd.session(hostIdentifier, servedBy(maar2Address, 2))
			host.knows(session)

			before, after := maar1.served(hostIdentifier, "previous"), maar2.served(hostIdentifier, "serving")
			if before.ServingMAAR != maar2Address {
				t.Errorf("maar1 takes %v for the serving MAAR", before.ServingMAAR)
			}
			if p := anchored(t, after, maarPool1); !p.Tunnel || p.Anchor != maar1Address || p.TunneledOut == 0 || p.TunneledIn == 0 || p.NativeOut != 0 {
				t.Errorf("the prefix of maar1 at maar2: %+v", p)
			}
			if p := anchored(t, after, maarPool2); p.Tunnel || p.Anchor != maar2Address || p.NativeOut == 0 || p.NativeIn == 0 || p.TunneledIn+p.TunneledOut != 0 {
				t.Errorf("the prefix of maar2 at maar2: %+v", p)
			}

			n.move("host", "access1")
			if a := host.preferred(maarPool1); a != first {
				t.Errorf("back at maar1 with %v, was %v", a, first)
			}
			if a := host.deprecated(maarPool2); a != second {
				t.Errorf("the address of maar2 was %v, is %v", second, a)
			}
			s1.progress("at maar1 again")
			s2.progress("by a tunnel from maar2")
			host.knows(cmd.session(hostIdentifier, servedBy(maar1Address, 2)))
			host.connect(maarPool1).finish()
			s1.finish()
			s2.finish()
		})
	}
}

// knows waits until the default routers of a host are those of a session, and those that it has spoken to have the
// link-layer addresses that the session has.
func (v *visitor) knows(s control.MobilitySession) {
	v.t.Helper()
	var want []netip.Addr
	linkLayer := map[netip.Addr]string{}
	for _, p := range s.Prefixes {
		want = append(want, p.RouterLinkLocal)
		linkLayer[p.RouterLinkLocal] = p.RouterLinkLayer
	}
	slices.SortFunc(want, netip.Addr.Compare)
	await(v.t, v.name+" has the routers of its session", func() bool {
		got := v.state().Routers
		slices.SortFunc(got, netip.Addr.Compare)
		return slices.Equal(got, want)
	})
	for _, e := range v.state().Neighbors {
		if e.LinkLayer != "" && e.Router && e.LinkLayer != linkLayer[e.Address] {
			v.t.Errorf("%s knows %v by %s, the CMD by %q", v.name, e.Address, e.LinkLayer, linkLayer[e.Address])
		}
	}
}

// Two hosts on one link have a router each, and talk to each other by them.
func TestHostsOnOneAccessLink(t *testing.T) {
	t.Parallel()
	n := newAccessNetwork(t)
	cmd := n.database(database{})
	n.maar(1, maar{})
	host, host2 := n.visitor("host", "access1", hostMAC), n.visitor("host2", "access1", host2MAC)
	a, b := host.preferred(maarPool1), host2.preferred(maarPool1)
	if netip.PrefixFrom(a, 64).Masked() == netip.PrefixFrom(b, 64).Masked() {
		t.Errorf("%v and %v are of one prefix", a, b)
	}
	for _, v := range []*visitor{host, host2} {
		v.connect(maarPool1).finish()
	}
	connect(t, host.Namespace, anyAddress, host2.Namespace, b).finish()
	s, s2 := cmd.session(hostIdentifier, servedBy(maar1Address, 1)), cmd.session(host2Identifier, servedBy(maar1Address, 1))
	host.knows(s)
	host2.knows(s2)
	if s.Prefixes[0].RouterLinkLocal == s2.Prefixes[0].RouterLinkLocal || s.Prefixes[0].RouterLinkLayer == s2.Prefixes[0].RouterLinkLayer {
		t.Errorf("both have one router: %+v, %+v", s.Prefixes, s2.Prefixes)
	}
	for _, e := range host.state().Neighbors {
		if e.Address == b {
			t.Errorf("%v is on-link: %+v", b, e)
		}
	}
}

// Commands tell where a host is, as text and as JSON, and end its session.
func TestMobilityCommands(t *testing.T) {
	t.Parallel()
	n := newAccessNetwork(t)
	cmd := n.database(database{})
	maar1, maar2 := n.maar(1, maar{}), n.maar(2, maar{})
	host := n.visitor("host", "access1", hostMAC)
	host.preferred(maarPool1)
	cmd.session(hostIdentifier, servedBy(maar1Address, 1))
	s := host.connect(maarPool1)
	n.move("host", "access2")
	host.preferred(maarPool2)
	session := cmd.session(hostIdentifier, servedBy(maar2Address, 2))
	s.progress("by the tunnel")

	var nodes []control.AccessMobileNode
	maar2.printsJSON(&nodes, "mobile-nodes")
	if len(nodes) != 1 || nodes[0].Identifier != hostIdentifier || nodes[0].LinkLayer != hostMAC || nodes[0].Link != "eth1" ||
		nodes[0].State != "serving" || !nodes[0].Registered || nodes[0].LifetimeSeconds <= 0 || nodes[0].LifetimeSeconds > 600 || len(nodes[0].Prefixes) != 2 {
		t.Errorf("kedge mobile-nodes --json: %+v", nodes)
	}
	contains(t, maar2.prints("mobile-nodes"), hostIdentifier, hostMAC, "serving", "here", "tunnel from "+maar1Address.String())
	contains(t, maar1.prints("mobile-nodes"), hostIdentifier, "previous", "tunnel to "+maar2Address.String())
	var sessions []control.MobilitySession
	cmd.printsJSON(&sessions, "sessions")
	if len(sessions) != 1 || sessions[0].MobileNode != hostIdentifier || !sessions[0].Distributed || sessions[0].Serving != maar2Address ||
		!slices.Equal(sessions[0].Prefixes, session.Prefixes) {
		t.Errorf("kedge sessions --json: %+v", sessions)
	}
	contains(t, cmd.prints("sessions"), hostIdentifier, maar1Address.String(), maar2Address.String(), session.Prefixes[0].Prefix.String(), "yes")
	var status control.Status
	cmd.printsJSON(&status, "status")
	if !status.Healthy || !slices.Equal(status.Roles, []string{"cmd"}) || status.Database == nil || status.Database.Sessions != 1 ||
		status.Database.Routers != 2 || status.Database.Mode != "proxy" || status.Database.Address != databaseAddress {
		t.Errorf("kedge status --json of the CMD: %+v, %+v", status, status.Database)
	}
	status = control.Status{}
	maar2.printsJSON(&status, "status")
	if a := status.AccessRouter; !status.Healthy || a == nil || a.Address != maar2Address || a.Database != databaseAddress ||
		a.MobileNodes != 1 || !slices.Equal(a.Pools, []netip.Prefix{maarPool2}) {
		t.Errorf("kedge status --json of maar2: %+v, %+v", status, a)
	}
	contains(t, cmd.prints("status"), "cmd", databaseAddress.String(), "1")
	contains(t, maar2.prints("status"), "maar", maar2Address.String(), maarPool2.String())

	for _, wrong := range []struct {
		node      *kedge
		arguments []string
		says      string
	}{
		{cmd, []string{"mobile-nodes"}, "no MAAR"},
		{maar1, []string{"sessions"}, "no central mobility database"},
		{cmd, []string{"sessions", "remove", "nobody@example.net"}, "nobody@example.net"},
	} {
		out, exit := command(t, append(wrong.arguments, "--socket", wrong.node.directory+"/control.sock")...)
		if exit != 1 || !strings.Contains(out, wrong.says) {
			t.Errorf("kedge %v to %s: exit status %d: %s", wrong.arguments, wrong.node.name, exit, out)
		}
	}

	at := cmd.lastEvent()
	cmd.prints("sessions", "remove", hostIdentifier)
	cmd.event("mobility-session-ended", at)
	if c := cmd.counter("database-removed"); c != 1 {
		t.Errorf("%d sessions removed", c)
	}
	await(t, "maar1 has given the prefix up", func() bool { return maar1.status().AccessRouter.MobileNodes == 0 })
}

// contains fails the test for each text that is not in out.
func contains(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("%q is not in:\n%s", text, out)
		}
	}
}
