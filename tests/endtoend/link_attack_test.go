package endtoend

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kedge/netstack/nd"
)

// discovery is a neighbour discovery message.
func discovery(t *testing.T, source, destination netip.Addr, m nd.Message) []byte {
	t.Helper()
	p, err := nd.Append(nil, source, destination, m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// linkLocal is a link-local address of an attacker's making.
func linkLocal(i int) netip.Addr {
	a := netip.MustParseAddr("fe80::bad:0").As16()
	binary.BigEndian.PutUint16(a[14:], uint16(i))
	return netip.AddrFrom16(a)
}

// Router advertisements of 200 routers and for 700 prefixes. Tables are bounded. A mobile node whose own router is silent
// for three intervals, which a busy machine makes it, may follow another; it comes back by itself. More routers would fill
// a table of the kernel's that all namespaces of the machine share (gc_thresh3), and so harm other tests.
func TestRouterAdvertisementFlood(t *testing.T) {
	t.Parallel()
	a := newAttack(t)
	before := a.mn.status().Counters
	prefix := func(i int) nd.PrefixInformation {
		return nd.PrefixInformation{
			Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xbb, 0, byte(i >> 8), byte(i)}), 64),
			OnLink: true, Autonomous: true, ValidLifetime: time.Hour, PreferredLifetime: time.Hour,
		}
	}
	flood := func(router netip.Addr, prefixes ...nd.Option) {
		a.x.send(nd.MulticastMAC(nd.AllNodes), discovery(t, router, nd.AllNodes, &nd.RouterAdvertisement{
			RouterLifetime: time.Hour,
			Options:        append(nd.Options{nd.SourceLinkLayerAddress(a.x.mac)}, prefixes...),
		}))
	}
	for i := range 200 {
		flood(linkLocal(i), prefix(i))
	}
	// Routers that found no place are not listened to; the first found one.
	for i := range 500 {
		flood(linkLocal(0), prefix(0), prefix(500+i))
	}
	a.mn.counted("link-eth0-routers-ignored", before["link-eth0-routers-ignored"], 1)
	a.mn.counted("link-eth0-prefixes-ignored", before["link-eth0-prefixes-ignored"], 1)
	s := a.mn.state("registered", access1Prefix)
	if s.MobileNode.CareOf != a.careOf {
		t.Errorf("care-of address is now %v", s.MobileNode.CareOf)
	}
	for _, l := range s.Links {
		if len(l.Addresses) > 32 {
			t.Errorf("%s has %d addresses", l.Name, len(l.Addresses))
		}
	}
	a.withstood()
}

// Somebody claims the mobile node's care-of address in neighbour discovery, towards it and towards others, and floods its
// neighbour table. It keeps the address: detection of duplicates is over (RFC 4862 section 5.4 is for tentative ones).
func TestForgedNeighborAdvertisements(t *testing.T) {
	t.Parallel()
	a := newAttack(t)
	before := a.mn.status().Counters
	for i := range 200 {
		for _, target := range []netip.Addr{a.careOf, home, linkLocal(i)} {
			a.x.send(a.hardwareAddress("mn", "eth0"), discovery(t, attackerAddress, nd.AllNodes, &nd.NeighborAdvertisement{
				Override: i%2 == 0, Target: target, Options: nd.Options{nd.TargetLinkLayerAddress(a.x.mac)},
			}))
		}
		a.x.send(nd.MulticastMAC(nd.SolicitedNode(a.careOf)), discovery(t, linkLocal(i), nd.SolicitedNode(a.careOf), &nd.NeighborSolicitation{
			Target: a.careOf, Options: nd.Options{nd.SourceLinkLayerAddress(a.x.mac)},
		}))
	}
	a.mn.counted("forwarding-received", before["forwarding-received"], 300)
	if s := a.mn.state("registered", access1Prefix); s.MobileNode.CareOf != a.careOf {
		t.Errorf("care-of address is now %v", s.MobileNode.CareOf)
	}
	a.survived()
}

// Somebody on the home link takes the home agent's address, and a home address that it answers for, away from it in the
// router's eyes. It tells the router better.
func TestForgedAdvertisementsOfTheHomeAgent(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	ha, mn := registered(n, "10m")
	n.host("x", "home", "", "")
	x := tap(t, n.nodes["x"], "eth0")
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	for range 10 {
		for _, a := range []netip.Addr{homeAgent, home} {
			x.send(nd.MulticastMAC(nd.AllNodes), discovery(t, a, nd.AllNodes, &nd.NeighborAdvertisement{
				Override: true, Target: a, Options: nd.Options{nd.TargetLinkLayerAddress(x.mac)},
			}))
		}
	}
	await(t, "the home agent knows of the claim", func() bool { return strings.Contains(ha.log(), "another node on the link advertises") })
	s.finish()
	if a := ha.status().Links[0].Addresses; !slices.Contains(a, homeAgent) {
		t.Errorf("the home agent has the addresses %v", a)
	}
	mn.state("registered", access1Prefix)
}
