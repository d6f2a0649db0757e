package endtoend

import (
	"net/netip"
	"testing"

	"kedge/appliance/control"
)

// Plain Proxy Mobile IPv6 (RFC 5213): a host moves between two mobile access gateways. It keeps its only address, that of
// the home network prefix from the local mobility anchor, and its router.
func TestHostMovesBetweenGateways(t *testing.T) {
	t.Parallel()
	for _, ordering := range []string{"timestamp", "sequence"} {
		t.Run(ordering, func(t *testing.T) {
			t.Parallel()
			n := newAccessNetwork(t)
			more := "ordering = \"" + ordering + "\""
			lma := n.database(database{plain: true, more: more})
			n.maar(1, maar{anchor: databaseAddress, more: more})
			mag2 := n.maar(2, maar{anchor: databaseAddress, more: more})
			host := n.visitor("host", "access1", hostMAC)
			a := host.preferred(plainPool)
			session := lma.session(hostIdentifier, servedBy(maar1Address, 1))
			if p := session.Prefixes[0]; session.Distributed || p.Anchor != databaseAddress || !p.Prefix.Contains(a) {
				t.Errorf("the session of %v: %+v", a, session)
			}
			router := host.state().Routers
			s := host.connect(plainPool)
			s2 := connect(t, n.nodes["cn"], correspondent, host.Namespace, a)

			n.move("host", "access2")
			lma.session(hostIdentifier, servedBy(maar2Address, 1))
			s.progress("at the second gateway")
			if p := anchored(t, mag2.served(hostIdentifier, "serving"), plainPool); !p.Tunnel || p.Anchor != databaseAddress {
				t.Errorf("the home network prefix at the second gateway: %+v", p)
			}
			s.finish()
			s2.finish()
			if is := lma.session(hostIdentifier, servedBy(maar2Address, 1)); is.Prefixes[0] != session.Prefixes[0] {
				t.Errorf("the prefix was %+v, is %+v", session.Prefixes, is.Prefixes)
			}
			state := host.state()
			if len(state.Addresses) != 1 || state.Addresses[0].Address != a || state.Addresses[0].Deprecated ||
				len(state.Routers) != 1 || state.Routers[0] != router[0] {
				t.Errorf("the host had %v by %v, has %+v", a, router, state)
			}
		})
	}
}

// A host comes back to a mobile access gateway. Nobody tells a gateway that a host is elsewhere, so it has to find out first
// that the host is gone.
func TestHostReturnsToGateway(t *testing.T) {
	t.Parallel()
	n := newAccessNetwork(t)
	lma := n.database(database{plain: true})
	mag1 := n.maar(1, maar{anchor: databaseAddress})
	n.maar(2, maar{anchor: databaseAddress})
	host := n.visitor("host", "access1", hostMAC)
	a := host.preferred(plainPool)
	s := host.connect(plainPool)
	n.move("host", "access2")
	lma.session(hostIdentifier, servedBy(maar2Address, 1))
	mag1.event("maar-detached", 0)
	s.progress("when the first gateway has given it up")
	lma.session(hostIdentifier, servedBy(maar2Address, 1))
	n.move("host", "access1")
	lma.session(hostIdentifier, servedBy(maar1Address, 1))
	s.finish()
	if is := host.preferred(plainPool); is != a {
		t.Errorf("the address was %v, is %v", a, is)
	}
}

// A local mobility anchor without flag D refuses MAARs, and a database that serves no plain gateways refuses those. The
// host of the MAAR has local service all the same; that of the gateway has none.
func TestForeignRegistrations(t *testing.T) {
	t.Parallel()
	t.Run("gateway", func(t *testing.T) {
		t.Parallel()
		n := newAccessNetwork(t)
		cmd := n.database(database{})
		mag := n.maar(1, maar{anchor: databaseAddress})
		host := n.visitor("host", "access1", hostMAC)
		mag.event("maar-denied", 0)
		if list := host.state().Addresses; len(list) != 0 {
			t.Errorf("the host has %+v", list)
		}
		if l := cmd.status().Database.Sessions; l != 0 {
			t.Errorf("%d sessions", l)
		}
	})
	t.Run("MAAR", func(t *testing.T) {
		t.Parallel()
		n := newAccessNetwork(t)
		lma := n.database(database{plain: true})
		maar1 := n.maar(1, maar{})
		n.visitor("host", "access1", hostMAC)
		maar1.event("maar-denied", 0)
		if l := lma.status().Database.Sessions; l != 0 {
			t.Errorf("%d sessions", l)
		}
	})
}

// One program is MAAR and CMD, each at an address of its own.
func TestMAARAndDatabaseInOne(t *testing.T) {
	t.Parallel()
	n := newAccessNetwork(t)
	address := netip.MustParseAddr("2001:db8:a1::3")
	both := n.maar(1, maar{
		database: address, also: "cmd", alsoAddress: `, "2001:db8:a1::3/64"`,
		alsoSections: database{address: address}.sections() + n.secret("maar1", 402, maarKey2),
	})
	maar2 := n.maar(2, maar{database: address})
	host := n.visitor("host", "access1", hostMAC)
	first := host.preferred(maarPool1)
	both.session(hostIdentifier, servedBy(maar1Address, 1))
	s := host.connect(maarPool1)
	n.move("host", "access2")
	host.preferred(maarPool2)
	host.deprecated(maarPool1)
	both.session(hostIdentifier, servedBy(maar2Address, 2))
	both.served(hostIdentifier, "previous")
	maar2.served(hostIdentifier, "serving")
	s.progress("at maar2")
	s2 := host.connect(maarPool2)

	both.kill()
	both.run()
	both.session(hostIdentifier, servedBy(maar2Address, 2))
	s.progress("after both were killed")

	n.move("host", "access1")
	if a := host.preferred(maarPool1); a != first {
		t.Errorf("back with %v, was %v", a, first)
	}
	both.session(hostIdentifier, servedBy(maar1Address, 2))
	s.finish()
	s2.finish()
	var status control.Status
	both.printsJSON(&status, "status")
	if len(status.Roles) != 2 || status.AccessRouter == nil || status.Database == nil || status.Database.Sessions != 1 || status.AccessRouter.MobileNodes != 1 {
		t.Errorf("kedge status --json: %+v, %+v, %+v", status.Roles, status.AccessRouter, status.Database)
	}
}
