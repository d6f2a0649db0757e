package homeagent

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/mh"
)

var anycast = netip.MustParseAddr("2001:db8:1::fdff:ffff:ffff:fffe")

// answer is the one ICMPv6 message among the effects.
func answer[M discovery.Message](t testing.TB, e effects) (m M, s signaling.SendICMP) {
	t.Helper()
	sends := of[signaling.SendICMP](e)
	if len(sends) != 1 {
		t.Fatalf("effects %v, want one ICMPv6 message", e)
	}
	s = sends[0]
	to := s.Destination
	if s.RoutingHome.IsValid() {
		to = s.RoutingHome
	}
	if !discovery.ChecksumValid(s.Payload, s.Source, to) {
		t.Errorf("checksum of %x is wrong", s.Payload)
	}
	v, err := discovery.Parse(s.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return v.(M), s
}

func (w *world) icmp(destination, home netip.Addr, m discovery.Message) effects {
	w.t.Helper()
	p, err := discovery.Append(nil, m)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.handle(signaling.ReceivedICMP{Source: careOf1, Destination: destination, HomeAddress: home, Payload: p})
}

func seen(n byte, preference uint16, lifetime time.Duration, addresses ...string) signaling.HomeAgentSeen {
	e := signaling.HomeAgentSeen{
		Link: "eth0", Router: netip.AddrFrom16([16]byte{0xfe, 0x80, 15: n}), Preference: preference, Lifetime: lifetime,
	}
	for _, a := range addresses {
		e.Addresses = append(e.Addresses, netip.MustParseAddr(a))
	}
	return e
}

func discover(w *world) []netip.Addr {
	w.t.Helper()
	reply, _ := answer[*discovery.HomeAgentAddressReply](w.t, w.icmp(anycast, nowhere, &discovery.HomeAgentAddressRequest{Identifier: 7}))
	return reply.Addresses
}

func TestRFC6275_10_5_1_HomeAgentAddressDiscovery(t *testing.T) {
	w := start(t)
	request := &discovery.HomeAgentAddressRequest{Identifier: 0x1234}
	for _, to := range []netip.Addr{anycast, agent} {
		reply, s := answer[*discovery.HomeAgentAddressReply](t, w.icmp(to, nowhere, request))
		if reply.Identifier != 0x1234 || !slices.Equal(reply.Addresses, []netip.Addr{agent}) {
			t.Errorf("reply %+v", reply)
		}
		if s.Source != agent || s.Destination != careOf1 || s.RoutingHome.IsValid() {
			t.Errorf("sent as %+v", s)
		}
	}
	if e := w.icmp(netip.MustParseAddr("2001:db8:9::fdff:ffff:ffff:fffe"), nowhere, request); len(e) != 0 {
		t.Errorf("effects %v for another subnet", e)
	}
}

func TestRFC6275_10_5_1_OrderOfPreference(t *testing.T) {
	w := start(t, physical, func(c *Config) { c.Preference, c.Random = 5, rand.New(rand.NewPCG(1, 1)) })
	w.handle(seen(2, 0x9000, time.Hour, "2001:db8:1::2"))
	w.handle(seen(3, 3, time.Hour, "2001:db8:1::3"))
	w.handle(seen(4, 1, time.Hour, "2001:db8:1::4"))
	w.handle(seen(5, 3, time.Hour, "2001:db8:1::5"))
	addr := func(s ...string) (all []netip.Addr) {
		for _, a := range s {
			all = append(all, netip.MustParseAddr("2001:db8:1::"+a))
		}
		return all
	}
	orders := map[string]int{}
	for range 40 {
		got := discover(w)
		if !slices.Equal(got[:2], addr("2", "1")) || !slices.Equal(got[4:], addr("4")) {
			t.Fatalf("order %v", got)
		}
		// "listed in an order randomized with respect to other home agents with equal preference every time"
		orders[got[2].String()]++
	}
	if len(orders) != 2 {
		t.Errorf("equals are never swapped: %v", orders)
	}
}

// "If more than one global IP address is associated with a home agent, these addresses SHOULD be listed in a randomized order."
func TestRFC6275_10_5_1_AddressesOfOneHomeAgentAreShuffled(t *testing.T) {
	w := start(t, physical, func(c *Config) { c.Preference, c.Random = 5, rand.New(rand.NewPCG(1, 1)) })
	w.handle(seen(2, 0, time.Hour, "2001:db8:1::2", "2001:db8:1::22"))
	first := map[netip.Addr]bool{}
	for range 40 {
		got := discover(w)
		if len(got) != 3 || got[0] != agent {
			t.Fatalf("list %v", got)
		}
		first[got[1]] = true
	}
	if len(first) != 2 {
		t.Errorf("always %v first", first)
	}
}

func TestRFC6275_10_5_1_HomeAgentsList(t *testing.T) {
	w := start(t, physical)
	other := netip.MustParseAddr("2001:db8:1::2")
	w.handle(seen(2, 0, 30*time.Second, "2001:db8:1::2", "fe80::2"))
	if got := discover(w); len(got) != 2 || !slices.Contains(got, other) {
		t.Errorf("list %v", got)
	}
	if next := w.m.Next(); !next.Equal(noon.Add(30 * time.Second)) {
		t.Errorf("next at %v", next)
	}
	w.after(20 * time.Second).handle(seen(2, 0, 30*time.Second, "2001:db8:1::2"))
	if got := discover(w.after(29 * time.Second)); len(got) != 2 {
		t.Errorf("list %v", got)
	}
	if got := discover(w.after(time.Second)); len(got) != 1 {
		t.Errorf("list %v after the lifetime", got)
	}
	w.handle(seen(2, 0, time.Hour, "2001:db8:1::2"))
	w.handle(seen(2, 0, 0))
	if got := discover(w); len(got) != 1 {
		t.Errorf("list %v after lifetime 0", got)
	}
	elsewhere := seen(3, 0, time.Hour, "2001:db8:1::3")
	elsewhere.Link = "eth9"
	w.handle(elsewhere)
	if got := discover(w); len(got) != 1 {
		t.Errorf("list %v with one of another link", got)
	}
}

func TestRFC6275_10_5_1_ReplyFitsTheMinimumMTU(t *testing.T) {
	w := start(t, physical, func(c *Config) { c.Preference = 100 })
	for n := range byte(200) {
		w.handle(seen(n, uint16(n%10), time.Hour, "2001:db8:1::a:"+string("0123456789abcdef"[n>>4])+string("0123456789abcdef"[n&15]),
			"2001:db8:1::b:"+string("0123456789abcdef"[n>>4])+string("0123456789abcdef"[n&15])))
	}
	_, s := answer[*discovery.HomeAgentAddressReply](t, w.icmp(anycast, nowhere, &discovery.HomeAgentAddressRequest{}))
	if len(s.Payload)+40 > 1280 || len(s.Payload) < 1200 {
		t.Errorf("%d octets", len(s.Payload))
	}
	if got := discover(w); got[0] != agent {
		t.Errorf("the most preferred is left out: %v", got[0])
	}
}

func TestRFC6275_10_6_MobilePrefixAdvertisement(t *testing.T) {
	w := start(t, func(c *Config) {
		c.HomePrefixes = append(c.HomePrefixes, HomePrefix{
			Prefix: netip.MustParsePrefix("2001:db8:5::/64"), ValidUntil: noon.Add(2 * time.Hour), PreferredUntil: noon.Add(-time.Hour),
		})
	})
	solicitation := &discovery.MobilePrefixSolicitation{Identifier: 0x4321}
	b, _ := bindingErrors(t, w.icmp(agent, plain, solicitation))
	if len(b) != 1 || b[0].Status != mh.UnknownBinding || b[0].HomeAddress != plain {
		t.Errorf("without a binding: %v", b)
	}
	w.accept(bu(plain, 1))
	adv, s := answer[*discovery.MobilePrefixAdvertisement](t, w.icmp(agent, plain, solicitation))
	if s.Source != agent || s.Destination != careOf1 || s.RoutingHome != plain {
		t.Errorf("sent as %+v", s)
	}
	want := []discovery.PrefixInformation{
		{OnLink: true, Autonomous: true, RouterAddress: true, Prefix: netip.PrefixFrom(agent, 64), Valid: discovery.Infinity, Preferred: discovery.Infinity},
		{OnLink: true, Autonomous: true, Prefix: netip.MustParsePrefix("2001:db8:5::/64"), Valid: 2 * time.Hour},
	}
	if adv.Identifier != 0x4321 || adv.Managed || adv.Other || !slices.Equal(adv.Prefixes, want) {
		t.Errorf("advertisement %+v", adv)
	}
	// Section 6.8: not more than one a second to any mobile node.
	if e := w.after(999*time.Millisecond).icmp(agent, plain, solicitation); len(e) != 0 {
		t.Errorf("effects %v within a second", e)
	}
	answer[*discovery.MobilePrefixAdvertisement](t, w.after(time.Millisecond).icmp(agent, plain, solicitation))
	if e := w.icmp(agent, nowhere, solicitation); len(e) != 0 {
		t.Errorf("effects %v without a Home Address option", e)
	}
}

// Section 6.7: "Home agents MUST silently ignore any options they do not recognize and continue processing the message."
func TestRFC6275_6_7_UnknownOptionsOfASolicitationAreIgnored(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 1))
	solicitation := &discovery.MobilePrefixSolicitation{
		Identifier: 7, Unknown: []discovery.UnknownOption{{Type: 200, Data: []byte{1, 2, 3, 4, 5, 6}}},
	}
	if adv, _ := answer[*discovery.MobilePrefixAdvertisement](t, w.icmp(agent, plain, solicitation)); adv.Identifier != 7 {
		t.Errorf("advertisement %+v", adv)
	}
}
