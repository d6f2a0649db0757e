package homeagent

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

func TestRFC5555_4_2_NATIsDetected(t *testing.T) {
	for name, c := range map[string]struct {
		outer netip.AddrPort
		told  netip.Addr
		local netip.Addr
		want  mh.NATDetection
	}{
		"behind a NAT":              {nat, private, outside, mh.NATDetection{ForceUDP: true, Refresh: 110 * time.Second}},
		"without one":               {nat, nat.Addr(), outside, mh.NATDetection{ForceUDP: true, NoKeepalive: true}},
		"over IPv6":                 {direct6, host6, outside6, mh.NATDetection{ForceUDP: true, NoKeepalive: true}},
		"over IPv6 behind one":      {direct6, careOf1, outside6, mh.NATDetection{ForceUDP: true, Refresh: 110 * time.Second}},
		"from IPv6 through a NAT64": {nat, host6, outside, mh.NATDetection{ForceUDP: true, Refresh: 110 * time.Second}},
		"from IPv4 into IPv6":       {direct6, private, outside6, mh.NATDetection{ForceUDP: true, Refresh: 110 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			r := w.signedUpdate(7).datagram(t, c.outer, c.told)
			e := effects(w.handle(r))
			if o := e.answered(t, r, mh.StatusAccepted); *o != c.want {
				t.Errorf("NAT Detection %+v, want %+v", o, c.want)
			}
			binds(t, e, datagramBind(host(signed), c.outer, c.local))
			w.bound(signed, c.outer.Addr(), time.Minute)
			if b := w.m.Bindings(w.now); b[0].Port != c.outer.Port() || b[0].Local != c.local {
				t.Errorf("binding %+v", b[0])
			}
		})
	}
}

func TestRFC5555_3_2_2_RefreshTimeIsConfigured(t *testing.T) {
	w := start(t, func(c *Config) { c.NATRefresh = 25 * time.Second })
	r := w.signedUpdate(7).datagram(t, nat, private)
	if o := effects(w.handle(r)).answered(t, r, 0); o.Refresh != 25*time.Second {
		t.Errorf("refresh time %v", o.Refresh)
	}
	for d, want := range map[time.Duration]bool{
		0: true, time.Second: true, 24 * time.Hour: true, -1: false, time.Second - 1: false, 24*time.Hour + 1: false,
	} {
		c := config()
		c.NATRefresh = d
		if err := c.Check(); (err == nil) != want {
			t.Errorf("%v: %v", d, err)
		}
	}
}

func TestRFC5555_4_2_RebindsWhenTheMappingOfTheNATChanges(t *testing.T) {
	w := start(t)
	w.handle(w.signedUpdate(1).datagram(t, nat, private))
	w.after(time.Second)
	e := effects(w.handle(w.signedUpdate(2).datagram(t, nat, private)))
	binds(t, e)
	if k := e.kinds(); !slices.Contains(k, BindingRefreshed) {
		t.Errorf("reports %v", k)
	}
	for i, outer := range []netip.AddrPort{
		netip.AddrPortFrom(nat.Addr(), 61235), netip.MustParseAddrPort("203.0.113.6:61235"),
	} {
		w.after(time.Second)
		r := w.signedUpdate(uint16(3+i)).datagram(t, outer, private)
		e := effects(w.handle(r))
		e.answered(t, r, 0)
		binds(t, e, datagramBind(host(signed), outer, outside))
		w.bound(signed, outer.Addr(), time.Minute)
	}
	// The home agent's own address may change too.
	w.after(time.Second)
	r := w.signedUpdate(9).datagram(t, netip.MustParseAddrPort("203.0.113.6:61235"), private)
	r.OuterLocal = netip.MustParseAddr("192.0.2.2")
	binds(t, w.handle(r), datagramBind(host(signed), r.Outer, r.OuterLocal))
}

func TestNativeAndDatagramsTakeEachOthersPlace(t *testing.T) {
	w := start(t)
	native := signaling.Bind{Home: host(signed), Local: agent, Remote: careOf1}
	key := sha1Key
	key.Identifier = "signed@example.net"
	binds(t, w.accept(bu(signed, 1, sign(key, w.now))), native)
	w.after(time.Second)
	binds(t, w.handle(w.signedUpdate(2).datagram(t, nat, private)), datagramBind(host(signed), nat, outside))
	w.after(time.Second)
	e := w.accept(bu(signed, 3, sign(key, w.now)))
	binds(t, e, native)
	a, s := e.ack(t)
	if _, ok := mh.Find[*mh.NATDetection](a.Options); ok || s.Outer.IsValid() || s.RoutingHome != signed || s.Destination != careOf1 {
		t.Errorf("native acknowledgement %+v sent as %+v", a, s)
	}
	if b := w.m.Bindings(w.now); b[0].Port != 0 || b[0].Local.IsValid() {
		t.Errorf("binding %+v", b[0])
	}
	// Another mobile node, in datagrams at the same time, with its networks.
	networks := append([]netip.Prefix{host(router)}, network1, network2)
	var want []signaling.Bind
	for _, n := range networks {
		want = append(want, datagramBind(n, nat, outside))
	}
	binds(t, w.handle(bu(router, 1, asRouter).datagram(t, nat, private)), want...)
	for i := range want {
		want[i].RemotePort = 9
	}
	binds(t, w.handle(bu(router, 2, asRouter).datagram(t, netip.AddrPortFrom(nat.Addr(), 9), private)), want...)
	w.bound(signed, careOf1, time.Minute)
	w.bound(router, nat.Addr(), time.Minute)
}

func TestRFC5555_4_2_CareOfAddressOptionIsNeeded(t *testing.T) {
	w := start(t)
	r := w.signedUpdate(1).datagram(t, nat, nowhere)
	e := effects(w.handle(r))
	e.answered(t, r, mh.StatusUnspecified)
	// The Binding Update of a node without datagrams has an Alternate Care-of Address option, but no flag F.
	w.after(time.Second)
	r = w.signedUpdate(2, flags(func(u *mh.BindingUpdate) { u.ForceUDP = false })).datagram(t, direct6, host6)
	effects(w.handle(r)).answered(t, r, mh.StatusUnspecified)
	w.bound(signed, nowhere, 0)
	// RFC 5555 has the flag optional over IPv4, whose option no other Binding Update has.
	w.after(time.Second)
	r = w.signedUpdate(3, flags(func(u *mh.BindingUpdate) { u.ForceUDP = false })).datagram(t, nat, private)
	effects(w.handle(r)).answered(t, r, mh.StatusAccepted)
	if n := w.m.Counters().Refused[mh.StatusUnspecified]; n != 2 {
		t.Errorf("%d refused", n)
	}
}

// Somebody who intercepts a native Binding Update cannot make it one that brings him the mobile node's packets.
func TestNativeBindingUpdateIsNotTakenInADatagram(t *testing.T) {
	w := start(t)
	key := sha1Key
	key.Identifier = "signed@example.net"
	for i, o := range []mh.Options{nil, {&mh.AlternateCareOf{Address: careOf1}}} {
		native := w.after(time.Second).native(bu(signed, uint16(i), options(o...), sign(key, w.now)))
		native.Source, native.HomeAddress = signed, netip.Addr{}
		native.Outer, native.OuterLocal = nat, outside
		e := effects(w.handle(native))
		if a, _ := e.ack(t); a != nil && a.Status.Accepted() {
			t.Errorf("answer %+v", a)
		}
		binds(t, e)
		w.bound(signed, nowhere, 0)
	}
}

func (w *world) native(m *message) signaling.Received {
	w.t.Helper()
	return m.received(w.t)
}

func TestRFC4285_5_1_OptionInDatagramIsAuthenticated(t *testing.T) {
	w := start(t)
	r := w.signedUpdate(1).datagram(t, nat, private)
	// The option comes first, at octet 12; its address at 16.
	copy(r.Payload[16:], nat.Addr().AsSlice())
	mh.SetChecksum(r.Payload, signed, agent)
	e := effects(w.handle(r))
	e.status(t, mh.StatusAuthenticationFailure)
	if _, s := e.ack(t); s.Outer != nat || s.OuterLocal != outside || len(s.Payload) > len(r.Payload) {
		t.Errorf("refusal %+v to %d octets", s, len(r.Payload))
	}
	w.bound(signed, nowhere, 0)
}

func TestReplayFromElsewhereMovesNothing(t *testing.T) {
	store := &memory{}
	w := start(t, stored(store))
	r := w.signedUpdate(1).datagram(t, nat, private)
	payload := bytes.Clone(r.Payload)
	effects(w.handle(r)).answered(t, r, 0)
	replay := func(w *world) {
		t.Helper()
		r := signaling.Received{
			Source: signed, Destination: agent, Payload: bytes.Clone(payload), OuterLocal: outside,
			Outer: netip.MustParseAddrPort("198.51.100.66:666"),
		}
		e := effects(w.handle(r))
		e.answered(t, r, mh.StatusIDMismatch)
		if _, s := e.ack(t); len(s.Payload) > len(payload) {
			t.Errorf("%d octets answer %d", len(s.Payload), len(payload))
		}
		if n := len(of[signaling.Bind](e)) + len(of[signaling.Unbind](e)); n != 0 {
			t.Errorf("forwarding is changed: %v", e)
		}
	}
	replay(w)
	w.after(5 * time.Second)
	replay(w)
	w.bound(signed, nat.Addr(), 55*time.Second)

	// Nor does it after a restart, without the store too, or when the binding has been deleted.
	c := config()
	lost, err := New(c, w.now)
	if err != nil {
		t.Fatal(err)
	}
	w = &world{t, lost, w.now}
	replay(w)
	w.bound(signed, nowhere, 0)
	r = w.signedUpdate(2).datagram(t, nat, private)
	effects(w.handle(r)).answered(t, r, 0)
	c.Store = store
	m, err := New(c, w.now)
	if err != nil {
		t.Fatal(err)
	}
	w = &world{t, m, w.now}
	binds(t, w.restore(), datagramBind(host(signed), nat, outside))
	replay(w)
	w.bound(signed, nat.Addr(), 55*time.Second)
	w.handle(w.signedUpdate(2, lifetime(0)).datagram(t, nat, private))
	w.bound(signed, nowhere, 0)
	replay(w)
	w.bound(signed, nowhere, 0)
}

func TestRFC5555_4_4_2_1_DeregistrationInADatagram(t *testing.T) {
	for _, told := range []netip.Addr{private, nowhere} {
		w := start(t)
		w.handle(w.signedUpdate(1).datagram(t, nat, private))
		w.after(time.Second)
		r := w.signedUpdate(2, lifetime(0)).datagram(t, nat, told)
		e := effects(w.handle(r))
		e.answered(t, r, mh.StatusAccepted)
		if u := of[signaling.Unbind](e); !slices.Equal(u, []signaling.Unbind{{Home: host(signed)}}) {
			t.Errorf("unbinds %v", u)
		}
		w.bound(signed, nowhere, 0)
		w.after(time.Second)
		r = w.signedUpdate(3, lifetime(0)).datagram(t, nat, told)
		effects(w.handle(r)).answered(t, r, mh.StatusNotHomeAgent)
	}
}

func TestRFC5555_4_5_IPv4HomeAddressesAreRefused(t *testing.T) {
	ask := options(
		&mh.IPv4HomeAddress{PrefixLength: 32, Address: netip.MustParseAddr("198.51.100.9")},
		&mh.IPv4HomeAddress{PrefixLength: 32, Address: netip.IPv4Unspecified()},
		&mh.IPv4HomeAddress{PrefixLength: 24, RequestPrefix: true, Address: netip.IPv4Unspecified()},
	)
	want := []mh.IPv4AddressAcknowledgement{
		{Status: 128, Address: netip.MustParseAddr("198.51.100.9")},
		{Status: 132, Address: netip.IPv4Unspecified()},
		{Status: 133, Address: netip.IPv4Unspecified()},
	}
	w := start(t)
	check := func(a *mh.BindingAcknowledgement) {
		t.Helper()
		var got []mh.IPv4AddressAcknowledgement
		for _, o := range mh.FindAll[*mh.IPv4AddressAcknowledgement](a.Options) {
			got = append(got, *o)
		}
		if !slices.Equal(got, want) {
			t.Errorf("acknowledges %+v, want %+v", got, want)
		}
	}
	check(w.accept(bu(plain, 1, ask)).status(t, 0))
	check(effects(w.handle(w.signedUpdate(1, ask).datagram(t, nat, private))).status(t, 0))
	w.after(time.Second)
	a := effects(w.handle(w.signedUpdate(2, ask, lifetime(0)).datagram(t, nat, private))).status(t, 0)
	if n := len(mh.FindAll[*mh.IPv4AddressAcknowledgement](a.Options)); n != 0 {
		t.Errorf("a deregistration has %d answers about IPv4 home addresses", n)
	}
}

func TestDatagramOnPhysicalHomeLinkWaitsForDuplicateAddressDetection(t *testing.T) {
	w := start(t, physical)
	r := w.signedUpdate(1).datagram(t, nat, private)
	e := effects(w.handle(r))
	if p := of[signaling.ProbeDuplicate](e); len(p) != 1 || len(of[signaling.Send](e)) != 0 {
		t.Fatalf("effects %v", e)
	}
	e = w.after(time.Second).probed(signed, false)
	e.status(t, 0)
	_, s := e.ack(t)
	s.Payload = nil
	if want := (signaling.Send{Source: agent, Destination: signed, Outer: nat, OuterLocal: outside}); !sameSend(s, want) {
		t.Errorf("sent as %+v, want %+v", s, want)
	}
	binds(t, e, datagramBind(host(signed), nat, outside))
	if d := of[signaling.Defend](e); len(d) != 1 || d[0].Address != signed {
		t.Errorf("defends %v", d)
	}
}

func TestRefusalsGoBackInDatagrams(t *testing.T) {
	w := start(t, func(c *Config) { c.AllowAnyMobileNode, c.AllowUnauthenticated = true, true })
	elsewhere := netip.MustParseAddr("2001:db8:9::9")
	r := bu(elsewhere, 1).datagram(t, nat, private)
	effects(w.handle(r)).answered(t, r, mh.StatusNotHomeSubnet)
	r = bu(plain, 1, asRouter, flags(func(u *mh.BindingUpdate) { u.HomeRegistration = false })).datagram(t, nat, private)
	effects(w.handle(r)).answered(t, r, mh.StatusMobileRouterNotPermitted)
	w.handle(bu(plain, 8).datagram(t, nat, private))
	r = bu(plain, 7).datagram(t, nat, private)
	effects(w.handle(r)).answered(t, r, mh.StatusSequenceOutOfWindow)
	// Over IPv6, a tunnel to a home address would never come out.
	r = bu(router, 1, forceUDP).datagram(t, netip.AddrPortFrom(plain, 4191), plain)
	effects(w.handle(r)).answered(t, r, mh.StatusInvalidCareOfAddress)
	r = bu(router, 1, forceUDP).datagram(t, netip.AddrPortFrom(agent, 4191), agent)
	effects(w.handle(r)).answered(t, r, mh.StatusInvalidCareOfAddress)
}

func TestDatagramsThatNoMobileNodeSends(t *testing.T) {
	for name, change := range map[string]func(*signaling.Received){
		"port 0":              func(r *signaling.Received) { r.Outer = netip.AddrPortFrom(r.Outer.Addr(), 0) },
		"multicast":           func(r *signaling.Received) { r.Outer = netip.MustParseAddrPort("224.0.0.1:4191") },
		"broadcast":           func(r *signaling.Received) { r.Outer = netip.MustParseAddrPort("255.255.255.255:4191") },
		"link-local":          func(r *signaling.Received) { r.Outer = netip.MustParseAddrPort("[fe80::1]:4191") },
		"Home Address option": func(r *signaling.Received) { r.HomeAddress = signed },
		"routing header":      func(r *signaling.Received) { r.RoutingHome = agent },
		"other destination":   func(r *signaling.Received) { r.Destination = careOf1; mh.SetChecksum(r.Payload, signed, careOf1) },
		"multicast inside": func(r *signaling.Received) {
			r.Source = netip.MustParseAddr("ff02::1")
			mh.SetChecksum(r.Payload, r.Source, agent)
		},
	} {
		w := start(t)
		r := w.signedUpdate(1).datagram(t, nat, private)
		change(&r)
		effects(w.handle(r)).silent(t)
		if n := w.m.Counters().Discarded.BadAddresses; n != 1 {
			t.Errorf("%s: %d counted", name, n)
		}
	}
}

func TestRefreshRequestGoesThroughTheTunnelOfDatagrams(t *testing.T) {
	w := start(t)
	w.handle(w.signedUpdate(1).datagram(t, nat, private))
	sends := of[signaling.Send](w.after(58 * time.Second).tick())
	if len(sends) != 1 || sends[0].Tunnel != signed || sends[0].Destination != signed || sends[0].Outer.IsValid() {
		t.Fatalf("sends %+v", sends)
	}
	if m, err := mh.Parse(sends[0].Payload); err != nil || m.Type() != mh.TypeBindingRefreshRequest {
		t.Errorf("%+v, %v", m, err)
	}
	e := w.after(2 * time.Second).tick()
	if k := e.kinds(); !slices.Equal(k, []signaling.ReportKind{BindingExpired}) {
		t.Errorf("reports %v", k)
	}
}
