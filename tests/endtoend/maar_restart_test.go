package endtoend

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"kedge/appliance/control"
)

// A CMD is killed. Hosts that are attached notice nothing; started again it has all sessions, and the next handoff works.
func TestDatabaseKilled(t *testing.T) {
	t.Parallel()
	n := newAccessNetwork(t)
	cmd := n.database(database{})
	n.maar(1, maar{})
	n.maar(2, maar{})
	host, host2 := n.visitor("host", "access1", hostMAC), n.visitor("host2", "access2", host2MAC)
	first := host.preferred(maarPool1)
	host2.preferred(maarPool2)
	was := cmd.session(hostIdentifier, servedBy(maar1Address, 1))
	cmd.session(host2Identifier, servedBy(maar2Address, 1))
	s := host.connect(maarPool1)

	cmd.kill()
	s.progress("without a CMD")
	host.connect(maarPool1).finish()
	cmd.run()
	is := cmd.session(hostIdentifier, servedBy(maar1Address, 1))
	if !slices.Equal(is.Prefixes, was.Prefixes) || is.Sequence != was.Sequence || is.LifetimeSeconds > was.LifetimeSeconds {
		t.Errorf("the session was %+v, is %+v", was, is)
	}
	cmd.session(host2Identifier, servedBy(maar2Address, 1))
	if c := cmd.counter("database-registrations"); c != 0 {
		t.Errorf("%d sessions were made anew", c)
	}

	n.move("host", "access2")
	host.preferred(maarPool2)
	if a := host.deprecated(maarPool1); a != first {
		t.Errorf("the address of maar1 was %v, is %v", first, a)
	}
	s.finish()
	host.knows(cmd.session(hostIdentifier, servedBy(maar2Address, 2)))
}

// A host attaches while the CMD is away, and has local service; another moves, and has an address of the new place, though
// nobody can tell its new MAAR of the router and the address that its kernel goes on taking for good. When the CMD is back
// both are registered, and what was opened before the move goes on.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	n := newAccessNetwork(t)
	cmd := n.database(database{})
	maar1, maar2 := n.maar(1, maar{}), n.maar(2, maar{})
	host := n.visitor("host", "access2", hostMAC)
	host.preferred(maarPool2)
	cmd.session(hostIdentifier, servedBy(maar2Address, 1))
	s := host.connect(maarPool2)

	cmd.kill()
	host2 := n.visitor("host2", "access2", host2MAC)
	host2.preferred(maarPool2)
	maar2.event("maar-local-service", 0)
	host2.connect(maarPool2).finish()
	n.move("host", "access1")
	host.preferred(maarPool1)
	maar1.event("maar-local-service", 0)
	cmd.run()
	cmd.session(host2Identifier, servedBy(maar2Address, 1))
	cmd.session(hostIdentifier, servedBy(maar1Address, 2))
	host.deprecated(maarPool2)
	s.finish()
	await(t, "maar1 has registered the host", func() bool { return maar1.served(hostIdentifier, "serving").Registered })
}

// A MAAR is killed and started again. It has kept who has which prefix; connections go on, whether the host is there or
// served elsewhere.
func TestMAARKilled(t *testing.T) {
	t.Parallel()
	n := newAccessNetwork(t)
	cmd := n.database(database{})
	maar1, maar2 := n.maar(1, maar{}), n.maar(2, maar{})
	host := n.visitor("host", "access1", hostMAC)
	first := host.preferred(maarPool1)
	was := cmd.session(hostIdentifier, servedBy(maar1Address, 1))
	s := host.connect(maarPool1)

	maar1.kill()
	maar1.run()
	s.progress("after maar1, which served, was killed")
	is := cmd.session(hostIdentifier, servedBy(maar1Address, 1))
	if !slices.Equal(is.Prefixes, was.Prefixes) {
		t.Errorf("the session had %+v, has %+v", was.Prefixes, is.Prefixes)
	}
	if a := host.preferred(maarPool1); a != first {
		t.Errorf("the address was %v, is %v", first, a)
	}

	n.move("host", "access2")
	host.preferred(maarPool2)
	s.progress("at maar2")
	s2 := host.connect(maarPool2)
	maar1.kill()
	maar1.run()
	s.progress("after maar1, which anchors, was killed")
	maar2.kill()
	maar2.run()
	s.progress("after maar2, which serves, was killed")
	host.knows(cmd.session(hostIdentifier, servedBy(maar2Address, 2)))
	s.finish()
	s2.finish()
}

// A MAAR is killed and comes back with nothing of what it kept, not even the secret that its routers are made from. The
// host finds a new router by itself, has another prefix, and keeps the earlier one, of which the CMD knows.
func TestMAARForgets(t *testing.T) {
	t.Parallel()
	n := newAccessNetwork(t)
	cmd := n.database(database{})
	maar1 := n.maar(1, maar{})
	host := n.visitor("host", "access1", hostMAC)
	// The kernel finds out that a router is gone in seconds instead of the minute that it takes by default.
	n.must(host.Sysctl("net.ipv6.neigh.eth0.base_reachable_time_ms", "1000"))
	n.must(host.Sysctl("net.ipv6.neigh.eth0.delay_first_probe_time", "1"))
	host.preferred(maarPool1)
	was := cmd.session(hostIdentifier, servedBy(maar1Address, 1)).Prefixes[0]
	s := host.connect(maarPool1)

	maar1.kill()
	if err := os.RemoveAll(filepath.Join(maar1.directory, "state")); err != nil {
		t.Fatal(err)
	}
	maar1.run()
	s.progress("with another router")
	is := cmd.session(hostIdentifier, servedBy(maar1Address, 2))
	if !slices.ContainsFunc(is.Prefixes, func(p control.AnchoredPrefix) bool { return p.Prefix == was.Prefix }) {
		t.Errorf("the session had %v, has %+v", was, is.Prefixes)
	}
	if m := maar1.served(hostIdentifier, "serving"); len(m.Prefixes) != 2 || !m.Registered {
		t.Errorf("maar1 has %+v", m)
	}
	host.connect(maarPool1).finish()
	s.finish()
}
