package endtoend

import (
	"encoding/binary"
	"net/netip"
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

// Router advertisements of 500 routers for 500 prefixes. None takes the mobile node away from its router, and tables are
// bounded.
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
	for i := range 500 {
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
	a.survived()
}

// Somebody claims the mobile node's care-of address in neighbour discovery, towards it and towards others, and floods its
// neighbour table. It keeps the address: detection of duplicates is over (RFC 4862 section 5.4 is for tentative ones).
func TestForgedNeighborAdvertisements(t *testing.T) {
	t.Parallel()
	a := newAttack(t)
	before := a.mn.status().Counters
	for i := range 300 {
		for _, target := range []netip.Addr{a.careOf, home, linkLocal(i)} {
			a.x.send(a.hardwareAddress("mn", "eth0"), discovery(t, attackerAddress, nd.AllNodes, &nd.NeighborAdvertisement{
				Override: i%2 == 0, Target: target, Options: nd.Options{nd.TargetLinkLayerAddress(a.x.mac)},
			}))
		}
		a.x.send(nd.MulticastMAC(nd.SolicitedNode(a.careOf)), discovery(t, linkLocal(i), nd.SolicitedNode(a.careOf), &nd.NeighborSolicitation{
			Target: a.careOf, Options: nd.Options{nd.SourceLinkLayerAddress(a.x.mac)},
		}))
	}
	a.mn.counted("forwarding-received", before["forwarding-received"], 500)
	if s := a.mn.state("registered", access1Prefix); s.MobileNode.CareOf != a.careOf {
		t.Errorf("care-of address is now %v", s.MobileNode.CareOf)
	}
	a.survived()
}
