package neighbor

import (
	"net/netip"
	"testing"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

var (
	careOf = addr("2001:db8:1::c0")
	home   = addr("2001:db8::beef")
)

// dad is a solicitation of another node that runs duplicate address detection.
func (b *bench) dad(target netip.Addr, nonce string) {
	b.Helper()
	b.receive(m1, any6, nd.SolicitedNode(target), &nd.NeighborSolicitation{Target: target, Options: nd.Options{nd.Nonce(nonce)}})
}

func (b *bench) ask(src, target netip.Addr) {
	b.Helper()
	b.receive(m1, src, nd.SolicitedNode(target), &nd.NeighborSolicitation{
		Target: target, Options: nd.Options{nd.SourceLinkLayerAddress(m1)},
	})
}

// claim is an unsolicited advertisement by another node.
func (b *bench) claim(target netip.Addr) {
	b.Helper()
	b.receive(m1, target, nd.AllNodes, &nd.NeighborAdvertisement{
		Target: target, Override: true, Options: nd.Options{nd.TargetLinkLayerAddress(m1)},
	})
}

func TestRFC4861Section724SolicitedAdvertisements(t *testing.T) {
	for router, flags := range map[bool]string{false: "[SO]", true: "[RSO]"} {
		b := newBench(t, Config{Router: router})
		b.ask(peer, own)
		b.receive(m1, peer, own, &nd.NeighborSolicitation{Target: own})
		want := "0s 2001:db8::ee > 2001:db8::1 (m1) NA 2001:db8::ee " + flags + " target=me"
		b.expect(want, want)
		b.do(b.RemoveAddress(b.now, own))
		b.ask(peer, own)
		b.expect()
	}
}

func TestRFC4861Section726UnsolicitedAdvertisements(t *testing.T) {
	const na = "2001:db8::ee > ff02::1 NA 2001:db8::ee [O] target=me"
	b := newBench(t, Config{})
	b.do(b.Announce(b.now, own))
	b.until(10 * time.Second)
	b.expect("0s "+na, "1s "+na, "2s "+na)

	b.do(b.Announce(b.now, own))
	b.until(10500 * time.Millisecond)
	b.do(b.Announce(b.now, own)) // at least RetransTimer apart
	b.until(20 * time.Second)
	b.expect("10s "+na, "11s "+na, "12s "+na, "13s "+na)

	b.do(b.Announce(b.now, own))
	b.do(b.RemoveAddress(b.now, own))
	b.do(b.Announce(b.now, own))
	b.until(30 * time.Second)
	b.expect("20s " + na)
}

func TestRFC6275Section1041Proxy(t *testing.T) {
	b := newBench(t, Config{Router: true})
	b.do(b.AddAddress(b.now, home, Proxy))
	b.do(b.Announce(b.now, home))
	b.until(3 * time.Second)
	const na = "fe80::ee > ff02::1 NA 2001:db8::beef [O] target=me"
	b.expect("0s "+na, "1s "+na, "2s "+na)

	b.ask(peer, home)
	b.expect("3s fe80::ee > 2001:db8::1 (m1) NA 2001:db8::beef [SO] target=me")
	b.dad(home, "abcdef")
	b.expect("3s " + na)

	b.claim(home)
	b.expect("3s Conflict {2001:db8::beef [2 0 0 0 0 1]}")

	t.Run("finding the owner, who came home", func(t *testing.T) {
		b.resolve(home, "acknowledgement")
		b.receive(m1, home, own, &nd.NeighborAdvertisement{
			Target: home, Solicited: true, Override: true, Options: nd.Options{nd.TargetLinkLayerAddress(m1)},
		})
		b.expect("3s 2001:db8::ee > ff02::1:ff00:beef NS 2001:db8::beef source=me", "3s packet acknowledgement to m1",
			"3s NeighborReachable {2001:db8::beef [2 0 0 0 0 1]}")
	})

	b.do(b.RemoveAddress(b.now, home))
	b.ask(peer, home)
	b.dad(home, "abcdef")
	b.expect()
}

func TestRFC3963Section62ProxyOfAMobileRouter(t *testing.T) {
	b := newBench(t, Config{})
	b.do(b.AddAddress(b.now, home, ProxyRouter))
	b.do(b.Announce(b.now, home))
	b.ask(peer, home)
	b.claim(home)
	b.expect("0s fe80::ee > ff02::1 NA 2001:db8::beef [RO] target=me",
		"0s fe80::ee > 2001:db8::1 (m1) NA 2001:db8::beef [RSO] target=me", "0s Conflict {2001:db8::beef [2 0 0 0 0 1]}")
}

func TestRFC4861Section727Anycast(t *testing.T) {
	b := newBench(t, Config{Router: true})
	b.do(b.AddAddress(b.now, home, Anycast))
	b.ask(peer, home)
	b.claim(home)
	b.do(b.Probe(b.now, home))
	b.expect("0s fe80::ee > 2001:db8::1 (m1) NA 2001:db8::beef [RS] target=me", "0s Unique {2001:db8::beef}")
}

func TestProxyWithoutAddressOfItsOwn(t *testing.T) {
	b := newBench(t, Config{})
	b.RemoveAddress(b.now, own)
	b.RemoveAddress(b.now, ll)
	b.AddAddress(b.now, home, Proxy)
	b.ask(peer, home)
	b.expect("0s 2001:db8::beef > 2001:db8::1 (m1) NA 2001:db8::beef [SO] target=me")
}

func TestRFC4862Section54Probe(t *testing.T) {
	const ns = ":: > ff02::1:ff00:beef NS 2001:db8::beef nonce"
	const duplicate = "Duplicate {2001:db8::beef [2 0 0 0 0 1]}"
	start := func(t *testing.T) *bench {
		b := newBench(t, Config{})
		b.do(b.Probe(b.now, home))
		b.expect("0s " + ns)
		return b
	}
	t.Run("unique", func(t *testing.T) {
		b := start(t)
		b.do(b.Probe(b.now, home))
		b.until(time.Hour).expect("1s Unique {2001:db8::beef}")
		b.ask(peer, home)
		b.expect()
	})
	t.Run("5.4.4 advertised by its holder", func(t *testing.T) {
		b := start(t)
		b.at(900 * time.Millisecond).claim(home)
		b.until(time.Hour).expect("900ms " + duplicate)
	})
	t.Run("5.4.3 probed by another at the same time", func(t *testing.T) {
		b := start(t)
		b.at(900*time.Millisecond).dad(home, "abcdef")
		b.until(time.Hour).expect("900ms " + duplicate)
	})
	t.Run("5.4.3 solicited by another", func(t *testing.T) {
		b := start(t)
		b.ask(peer, home)
		b.until(time.Hour).expect("1s Unique {2001:db8::beef}")
	})
	t.Run("RFC 7527 section 4.2 looped back", func(t *testing.T) {
		b := start(t)
		b.dad(home, "\x80\x00\x00\x00\x00\x00")
		b.until(time.Hour).expect("1s Unique {2001:db8::beef}")
		if c := b.Counters(); c.Looped != 1 {
			t.Errorf("%+v", c)
		}
	})
	t.Run("two at once", func(t *testing.T) {
		b := start(t)
		b.at(500 * time.Millisecond)
		b.do(b.Probe(b.now, careOf))
		b.until(time.Hour).expect("500ms :: > ff02::1:ff00:c0 NS 2001:db8:1::c0 nonce", "1s Unique {2001:db8::beef}",
			"1.5s Unique {2001:db8:1::c0}")
	})
	t.Run("of an address that is held", func(t *testing.T) {
		b := newBench(t, Config{})
		b.do(b.Probe(b.now, own))
		b.expect("0s Unique {2001:db8::ee}")
	})
	t.Run("ended", func(t *testing.T) {
		b := start(t)
		b.do(b.RemoveAddress(b.now, home))
		b.until(time.Hour).expect()
	})
	t.Run("ended by holding the address", func(t *testing.T) {
		b := start(t)
		b.do(b.AddAddress(b.now, home, Proxy))
		b.until(time.Hour).expect()
	})
	t.Run("of what cannot be an address", func(t *testing.T) {
		b := newBench(t, Config{})
		for _, a := range []netip.Addr{any6, nd.AllNodes, addr("::1"), addr("192.0.2.1"), {}} {
			b.do(b.Probe(b.now, a))
			b.do(b.AddAddress(b.now, a, Own))
		}
		b.until(time.Hour).expect()
	})
}

func TestRFC4862Section543DefendsAddresses(t *testing.T) {
	b := newBench(t, Config{})
	b.dad(own, "abcdef")
	b.expect("0s 2001:db8::ee > ff02::1 NA 2001:db8::ee [O] target=me")
	b.claim(own)
	b.expect("0s Conflict {2001:db8::ee [2 0 0 0 0 1]}")
	b.ask(peer, own)
	b.expect("0s 2001:db8::ee > 2001:db8::1 (m1) NA 2001:db8::ee [SO] target=me")
}

func TestRFC4429Optimistic(t *testing.T) {
	start := func(t *testing.T) *bench {
		b := newBench(t, Config{})
		b.RemoveAddress(b.now, ll)
		b.RemoveAddress(b.now, own)
		b.do(b.AddAddress(b.now, careOf, Optimistic))
		b.do(b.AddAddress(b.now, careOf, Optimistic))
		b.expect("0s :: > ff02::1:ff00:c0 NS 2001:db8:1::c0 nonce")
		return b
	}
	t.Run("3.3 answers without Override until it is Own", func(t *testing.T) {
		b := start(t)
		b.ask(peer, careOf)
		b.expect("0s 2001:db8:1::c0 > 2001:db8::1 (m1) NA 2001:db8:1::c0 [S] target=me")
		b.do(b.Announce(b.now, careOf))
		b.until(1500*time.Millisecond).ask(peer, careOf)
		b.expect("0s 2001:db8:1::c0 > ff02::1 NA 2001:db8:1::c0 [] target=me",
			"1s 2001:db8:1::c0 > ff02::1 NA 2001:db8:1::c0 [O] target=me", "1s Unique {2001:db8:1::c0}",
			"1.5s 2001:db8:1::c0 > 2001:db8::1 (m1) NA 2001:db8:1::c0 [SO] target=me")
	})
	t.Run("3.2 is no source of solicitations", func(t *testing.T) {
		b := start(t)
		b.at(700*time.Millisecond).resolve(peer, "a")
		b.expect()
		b.until(2 * time.Second)
		b.expect("1s 2001:db8:1::c0 > ff02::1:ff00:1 NS 2001:db8::1 source=me", "1s Unique {2001:db8:1::c0}",
			"2s 2001:db8:1::c0 > ff02::1:ff00:1 NS 2001:db8::1 source=me")
		b.advertise(peer, m1)
		b.expect("2s packet a to m1", "2s NeighborReachable {2001:db8::1 [2 0 0 0 0 1]}")
	})
	t.Run("3.2 the time without a source does not count", func(t *testing.T) {
		b := start(t)
		b.do(b.RemoveAddress(b.now, careOf))
		b.resolve(peer, "a")
		b.until(2500 * time.Millisecond)
		b.do(b.AddAddress(b.now, own, Own))
		b.until(10 * time.Second)
		const ns = "2001:db8::ee > ff02::1:ff00:1 NS 2001:db8::1 source=me"
		b.expect("2.5s "+ns, "3.5s "+ns, "4.5s "+ns, "5.5s undeliverable a", "5.5s NeighborUnreachable {2001:db8::1}")
	})
	t.Run("3.2 a neighbour that cannot be asked is not called unreachable", func(t *testing.T) {
		b := start(t)
		b.do(b.RemoveAddress(b.now, careOf))
		b.put(stale)
		b.resolve(peer, "b")
		b.resolve(host, "c")
		b.until(10 * time.Second)
		b.expect("0s packet b to m1", "3s undeliverable c")
		if b.state(peer) != stale {
			t.Errorf("state %d", b.state(peer))
		}
	})
	t.Run("a router's advertisement is enough to send", func(t *testing.T) {
		b := start(t)
		b.receive(m1, router, nd.AllNodes, &nd.RouterAdvertisement{Options: nd.Options{nd.SourceLinkLayerAddress(m1)}})
		b.lines = nil
		if b.link(router) != "m1" {
			t.Error("the router cannot be used at once")
		}
	})
	for name, other := range map[string]func(b *bench){
		"3.3 a duplicate, by advertisement":     func(b *bench) { b.claim(careOf) },
		"3.3 a duplicate, by another's probing": func(b *bench) { b.dad(careOf, "abcdef") },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			b.do(b.Announce(b.now, careOf))
			b.lines = nil
			other(b)
			b.ask(peer, careOf)
			b.until(time.Hour).expect("0s Duplicate {2001:db8:1::c0 [2 0 0 0 0 1]}")
		})
	}
}

func TestRFC6275Section1155ReturningHome(t *testing.T) {
	agent := addr("2001:db8::a")
	b := newBench(t, Config{})
	b.RemoveAddress(b.now, own)
	b.do(b.AddAddress(b.now, home, Returning))
	b.dad(home, "abcdef") // the home agent answers that
	b.claim(home)         // for it still defends the address
	b.expect()
	b.do(b.Resolve(b.now, peer, data(home, peer, "a")))
	b.expect("0s fe80::ee > ff02::1:ff00:1 NS 2001:db8::1 source=me")
	b.ask(agent, home)
	b.expect("0s 2001:db8::beef > 2001:db8::a (m1) NA 2001:db8::beef [SO] target=me")

	b.do(b.AddAddress(b.now, home, Own))
	b.receive(m2, host, nd.SolicitedNode(home), &nd.NeighborSolicitation{Target: home})
	b.claim(home)
	b.expect("0s 2001:db8::beef > 2001:db8::2 (m2) NA 2001:db8::beef [SO] target=me", "0s Conflict {2001:db8::beef [2 0 0 0 0 1]}")
}

func TestNeverAnswersToGroups(t *testing.T) {
	b := newBench(t, Config{})
	b.receive(packet.LinkAddress{0x33, 0x33, 0, 0, 0, 1}, peer, own, &nd.NeighborSolicitation{Target: own})
	b.expect()
}
