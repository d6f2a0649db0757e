package access

import (
	"fmt"
	"testing"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

// A host gets an answer from each of its routers and none from others', at most ten times a second.
func TestRouterSolicitation(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour, Interval: time.Hour}, r1, r2)
	b.serve(m2, r3)
	b.data(m1) // not silent
	b.lines = nil
	solicit := func() { b.receive(m1, ll1, nd.AllRouters, &nd.RouterSolicitation{}) }
	solicit()
	b.expect(
		"0s d1>m1 fe80::d1 > fe80::a1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"0s d2>m1 fe80::d2 > fe80::a1 RA 30m0s 2001:db8:2::/64 0s",
	)
	for d := time.Duration(0); d < 200*time.Millisecond; d += time.Millisecond {
		b.until(d)
		solicit()
	}
	b.until(220 * time.Millisecond)
	b.expect(
		"100ms d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"100ms d2>m1 fe80::d2 > ff02::1 RA 30m0s 2001:db8:2::/64 0s",
		"200ms d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"200ms d2>m1 fe80::d2 > ff02::1 RA 30m0s 2001:db8:2::/64 0s",
	)
	b.until(time.Second)
	b.lines = nil
	b.receive(m1, any6, nd.AllRouters, &nd.RouterSolicitation{})
	b.expect(
		"1s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"1s d2>m1 fe80::d2 > ff02::1 RA 30m0s 2001:db8:2::/64 0s",
	)
}

func TestNeighborSolicitation(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour, Interval: time.Hour}, r1, r2)
	b.serve(m2, r3)
	b.data(m1)
	b.data(m2)
	b.lines = nil
	solicit := func(from packet.LinkAddress, src, target string) {
		b.receive(from, addr(src), nd.SolicitedNode(addr(target)), &nd.NeighborSolicitation{Target: addr(target)})
	}
	solicit(m1, "fe80::a1", "fe80::d2")
	b.expect("0s d2>m1 fe80::d2 > fe80::a1 NA fe80::d2 [RSO] d2")
	solicit(m1, "2001:db8:1::7", "fe80::d1")
	b.expect("0s d1>m1 fe80::d1 > 2001:db8:1::7 NA fe80::d1 [RSO] d1")
	solicit(m2, "fe80::a2", "fe80::d1")      // another's router
	solicit(m2, "fe80::a2", "fe80::a1")      // another host
	solicit(m1, "fe80::a1", "2001:db8:3::1") // no neighbour
	solicit(m2, "::", "fe80::a2")            // is it unique? It is
	solicit(m2, "::", "2001:db8:3::5")
	solicit(m2, "::", "fe80::d1") // of another's router only that one sees anything
	b.quiet()
	if got := b.Counters(); got != (Counters{Foreign: 3}) {
		t.Errorf("%+v", got)
	}
	if got := fmt.Sprint(b.Hosts()[1].Addresses); got != "[fe80::a2 2001:db8:3::5 fe80::d1]" {
		t.Errorf("addresses %s", got)
	}
}

// Whoever claims a router's address is contradicted, before those whose router it is.
func TestDefence(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour, Interval: time.Hour}, r1)
	b.serve(m2, r3)
	b.data(m1)
	b.data(m2)
	b.lines = nil
	b.receive(m1, any6, nd.SolicitedNode(r1.LinkLocal), &nd.NeighborSolicitation{Target: r1.LinkLocal})
	b.expect("0s d1>m1 fe80::d1 > ff02::1 NA fe80::d1 [RO] d1", "0s contested fe80::d1 by m1 of m1")
	claim := func() {
		b.receive(m2, r1.LinkLocal, nd.AllNodes, &nd.NeighborAdvertisement{
			Target: r1.LinkLocal, Override: true, Router: true, Options: nd.Options{nd.TargetLinkLayerAddress(m2)},
		})
	}
	b.at(time.Second)
	claim()
	b.expect("1s d1>m1 fe80::d1 > ff02::1 NA fe80::d1 [RO] d1", "1s contested fe80::d1 by m2 of m1")
	b.at(1900 * time.Millisecond)
	claim()
	b.expect("1.9s d1>m1 fe80::d1 > ff02::1 NA fe80::d1 [RO] d1")
	if got := b.Counters(); got != (Counters{Contested: 3}) {
		t.Errorf("%+v", got)
	}
}

// A host that floods with addresses is remembered with a few, and nothing is sent for it.
func TestFloodOfAddresses(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour, Interval: time.Hour}, r1)
	for i := range 1000 {
		a := addr(fmt.Sprintf("fe80::%x", i+0x1000))
		b.receive(m1, any6, nd.SolicitedNode(a), &nd.NeighborSolicitation{Target: a})
		b.receive(m1, any6, nd.SolicitedNode(a), &nd.NeighborSolicitation{Target: addr(fmt.Sprintf("2001:db8:99::%x", i))})
	}
	b.expect("0s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s", "0s attached m1 fe80::1000: neighbour solicitation")
	if h := b.Hosts(); len(h) != 1 || len(h[0].Addresses) != MaxAddresses || len(b.owners) != MaxAddresses {
		t.Errorf("%+v", h)
	}
}

func TestCountedAndIgnored(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour, Interval: time.Hour}, r1)
	b.receive(m1, ll1, nd.AllNodes, &nd.RouterAdvertisement{RouterLifetime: time.Hour})
	b.receive(m1, ll1, ll2, &nd.Redirect{Target: ll1, Destination: ll1})
	b.receive(d1, r1.LinkLocal, nd.AllNodes, &nd.RouterAdvertisement{RouterLifetime: time.Hour}) // a bridge's echo
	b.do(b.Handle(b.now, []byte{0x60}, m1))
	b.quiet()
	if got := b.Counters(); got != (Counters{Rogue: 2, Looped: 1, Invalid: 1}) {
		t.Errorf("%+v", got)
	}
}
