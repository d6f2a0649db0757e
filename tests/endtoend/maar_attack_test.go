package endtoend

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/control"
	"kedge/netstack/nd"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// Prefixes are used up: one more host than there are prefixes has no service, which is counted; the others notice nothing.
func TestMAARPoolExhausted(t *testing.T) {
	t.Parallel()
	n := newAccessNetwork(t)
	n.database(database{})
	pool := netip.MustParsePrefix("2001:db8:1000::/64")
	maar1 := n.maar(1, maar{pool: pool, anyone: true})
	host := n.visitor("host", "access1", hostMAC)
	host.preferred(pool)
	s := host.connect(pool)
	late := n.visitor("host2", "access1", host2MAC)
	maar1.counted("maar-pool-exhausted", 0, 1)
	maar1.event("maar-pool-exhausted", 0)
	s.finish()
	if got := late.state(); len(got.Addresses) != 0 || len(got.Routers) != 0 {
		t.Errorf("the host without a prefix has %+v", got)
	}
}

// A host that is not listed sees no router, which is counted and told; a listed one beside it is served.
func TestHostNotListed(t *testing.T) {
	t.Parallel()
	n := newAccessNetwork(t)
	cmd := n.database(database{})
	maar1 := n.maar(1, maar{})
	stranger := n.visitor("x", "access1", strangerMAC)
	seen := tap(t, stranger.Namespace, "eth0")
	maar1.counted("maar-not-authorized", 0, 1)
	if e := maar1.event("maar-not-authorized", 0); e.Detail != strangerMAC {
		t.Errorf("%+v", e)
	}
	host := n.visitor("host", "access1", hostMAC)
	host.preferred(maarPool1)
	host.connect(maarPool1).finish()
	if got := stranger.state(); len(got.Addresses) != 0 || len(got.Routers) != 0 {
		t.Errorf("the host that is not listed has %+v", got)
	}
	if p := seen.packets(func(p []byte) bool { return p[6] == unix.IPPROTO_ICMPV6 && p[40] == 134 }); len(p) != 0 {
		t.Errorf("the host that is not listed was sent %d router advertisements", len(p))
	}
	if l := cmd.status().Database.Sessions; l != 1 {
		t.Errorf("%d sessions", l)
	}
}

// visited is a network with the hosts host and host2 served by maar1, and what host2 can do to host.
type visited struct {
	*network
	cmd, maar1, maar2 *kedge
	host, host2       *visitor
	stream            *stream
	a, b              netip.Addr
	// x is host2's link, and router the link-layer address of its router.
	x      *wiretap
	router [6]byte
	was    control.MobilitySession
}

func newVisited(t *testing.T) *visited {
	t.Helper()
	v := &visited{network: newAccessNetwork(t)}
	v.cmd = v.database(database{})
	v.maar1, v.maar2 = v.maar(1, maar{anyone: true}), v.maar(2, maar{anyone: true})
	v.host, v.host2 = v.visitor("host", "access1", hostMAC), v.visitor("host2", "access1", host2MAC)
	v.a, v.b = v.host.preferred(maarPool1), v.host2.preferred(maarPool1)
	v.was = v.cmd.session(hostIdentifier, servedBy(maar1Address, 1))
	s := v.cmd.session(host2Identifier, servedBy(maar1Address, 1))
	v.stream = v.host.connect(maarPool1)
	v.x = tap(t, v.host2.Namespace, "eth0")
	v.router = routerOf(t, s)
	return v
}

// routerOf is the link-layer address of a session's first router.
func routerOf(t *testing.T, s control.MobilitySession) [6]byte {
	t.Helper()
	a, err := net.ParseMAC(s.Prefixes[0].RouterLinkLayer)
	if err != nil || len(a) != 6 {
		t.Fatalf("%v: %+v", err, s)
	}
	return [6]byte(a)
}

// unharmed fails the test unless host has what it had, and its connection goes on; so does what it opens now.
func (v *visited) unharmed() {
	v.t.Helper()
	is := v.cmd.session(hostIdentifier, servedBy(maar1Address, 1))
	if is.Prefixes[0] != v.was.Prefixes[0] {
		v.t.Errorf("the session had %+v, has %+v", v.was.Prefixes, is.Prefixes)
	}
	if a := v.host.preferred(maarPool1); a != v.a {
		v.t.Errorf("the address was %v, is %v", v.a, a)
	}
	v.maar1.served(hostIdentifier, "serving")
	v.host.knows(is)
	v.host.connect(maarPool1).finish()
	v.stream.finish()
}

// A host sends packets with another host's address as their source, by its own router and by the other's, and packets of
// its own for a prefix that nobody has. They are dropped and counted.
func TestHostSpoofsSource(t *testing.T) {
	t.Parallel()
	v := newVisited(t)
	seen := tap(t, v.nodes["cn"], "eth0")
	before := v.maar1.status().Counters
	const each = 20
	for range each {
		for _, router := range [][6]byte{v.router, routerOf(t, v.was)} {
			v.x.send(router, ipv6(unix.IPPROTO_UDP, v.a, correspondent, udp(v.a, correspondent, 666, 666, []byte("spoofed"))))
		}
		nowhere := netip.MustParseAddr("2001:db8:1000:ffff::bad")
		v.x.send(v.router, ipv6(unix.IPPROTO_UDP, nowhere, correspondent, udp(nowhere, correspondent, 666, 666, []byte("spoofed"))))
	}
	v.maar1.counted("forwarding-drop-link-source", before["forwarding-drop-link-source"], 2*each)
	v.maar1.counted("forwarding-drop-not-attached", before["forwarding-drop-not-attached"], each)
	v.unharmed()
	v.host2.connect(maarPool1).finish()
	if p := seen.packets(func(p []byte) bool { return p[6] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(p[40:]) == 666 }); len(p) != 0 {
		t.Errorf("%d spoofed packets reached the correspondent", len(p))
	}
}

// A host claims the other's router and address, and makes up thousands of link-layer addresses that look for duplicates.
// The other goes on; memory and registrations stay bounded, and a host that comes afterwards is served.
func TestHostFloods(t *testing.T) {
	t.Parallel()
	v := newVisited(t)
	began := time.Now()
	resident, before := v.maar1.resident(), v.maar1.status().Counters
	router := v.was.Prefixes[0].RouterLinkLocal
	for i := range 5000 {
		made := v.x.mac
		made[1], made[3], made[4] = 0xbb, byte(i>>8), byte(i)
		target := linkLocal(i)
		switch i % 10 {
		case 0:
			target = router
		case 1:
			target = v.a
		}
		v.x.sendFrom(made, nd.MulticastMAC(nd.SolicitedNode(target)), discovery(t, netip.IPv6Unspecified(), nd.SolicitedNode(target), &nd.NeighborSolicitation{Target: target}))
		if i%10 == 0 {
			v.x.send(nd.MulticastMAC(nd.AllNodes), discovery(t, router, nd.AllNodes, &nd.NeighborAdvertisement{
				Override: true, Router: true, Target: router, Options: nd.Options{nd.TargetLinkLayerAddress(v.x.mac)},
			}))
		}
	}
	v.unharmed()
	v.maar1.alive()
	if is := v.maar1.resident(); is > resident+maxGrowth {
		t.Errorf("maar1 grew from %d to %d KiB", resident>>10, is>>10)
	}
	after := v.maar1.status().Counters
	// A hundred at once and a hundred a second (netstack/access).
	if n, most := after["maar-attachments"]-before["maar-attachments"], 200+100*uint64(time.Since(began).Seconds()); n > most {
		t.Errorf("%d made-up hosts attached, at most %d were to", n, most)
	}
	n := v.visitor("late", "access1", strangerMAC)
	n.preferred(maarPool1)
	n.connect(maarPool1).finish()
}

// sendFrom sends an IPv6 packet from a made-up link-layer address.
func (w *wiretap) sendFrom(from, to [6]byte, packet []byte) {
	own := w.mac
	w.mac = from
	defer func() { w.mac = own }()
	w.send(to, packet)
}

// Proxy Binding Updates and Acknowledgements by somebody without a key, in the name of others and in their own, to the CMD, to
// the MAAR that serves and to one that would anchor: nothing changes, and each is counted.
func TestForgedProxyBindings(t *testing.T) {
	t.Parallel()
	v := newVisited(t)
	attacker := netip.MustParseAddr("2001:db8:a2::bad")
	v.network.host("y", "a2", attacker.String()+"/64", "2001:db8:a2::1")
	y := tap(t, v.nodes["y"], "eth0")
	ping(t, v.nodes["y"], databaseAddress) // its port on the bridge may come up a moment after its interface
	core := v.hardwareAddress("core", "a2")
	prefix := v.was.Prefixes[0].Prefix
	update := func(lifetime time.Duration, sequence uint16) *mh.BindingUpdate {
		return &mh.BindingUpdate{
			Sequence: sequence, Acknowledge: true, ProxyRegistration: true, Distributed: true, Lifetime: lifetime,
			Options: mh.Options{
				&mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: hostIdentifier}, &mh.AnchoredPrefix{Prefix: prefix},
				&mh.HandoffIndicator{Indicator: mh.HandoffUnknown}, &mh.AccessTechnologyType{Technology: mh.AccessEthernet},
				&mh.Timestamp{Time: time.Now()}, &mh.ServingMAAR{Address: attacker},
			},
		}
	}
	acknowledgement := func() *mh.BindingAcknowledgement {
		return &mh.BindingAcknowledgement{
			ProxyRegistration: true, Distributed: true, Sequence: 1, Lifetime: time.Minute,
			Options: mh.Options{
				&mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: hostIdentifier}, &mh.AnchoredPrefix{Prefix: prefix},
			},
		}
	}
	total := func(k *kedge, prefixes ...string) (sum uint64) {
		for name, value := range k.status().Counters {
			for _, p := range prefixes {
				if strings.HasPrefix(name, p) {
					sum += value
				}
			}
		}
		return sum
	}
	discards := []string{"database-discarded-", "database-refused-", "maar-discarded-", "maar-refused-"}
	cmdBefore, maarBefore := total(v.cmd, discards...), total(v.maar1, discards...)
	const rounds = 10
	for i := range rounds {
		for _, source := range []netip.Addr{attacker, maar2Address, databaseAddress} {
			for _, to := range []netip.Addr{databaseAddress, maar1Address} {
				if source == to {
					continue
				}
				for _, spi := range []uint32{401, 402, 999} {
					a := association(t, wrongKey, spi)
					a.Identifier = ""
					for _, m := range []mh.Message{update(10*time.Minute, uint16(i)), update(0, uint16(i)), acknowledgement()} {
						b, err := auth.Sign(m, a, source, netip.IPv6Unspecified(), mh.NTPTimeOf(time.Now()))
						v.must(err)
						mh.SetChecksum(b, source, to)
						y.send(core, ipv6(mh.Protocol, source, to, b))
					}
				}
			}
		}
	}
	// Two sources send to the CMD, three to maar1, three messages with three keys.
	await(t, "the CMD counts what it discards", func() bool { return total(v.cmd, discards...) >= cmdBefore+rounds*2*9 })
	await(t, "maar1 counts what it discards", func() bool { return total(v.maar1, discards...) >= maarBefore+rounds*3*9 })
	v.unharmed()
	v.move("host", "access2")
	v.host.preferred(maarPool2)
	v.host.deprecated(maarPool1)
	v.cmd.session(hostIdentifier, servedBy(maar2Address, 2))
}
