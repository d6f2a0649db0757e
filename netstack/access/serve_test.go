package access

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

// What is new is advertised four times in three seconds, and then every 30 s less up to a quarter.
func TestServeAdvertises(t *testing.T) {
	b := newBench(t, Config{IdleTime: time.Hour})
	b.serve(m1, r1)
	b.until(60 * time.Second)
	b.expect(
		"0s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"0s receive d1",
		"250ms d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"1s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"3s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"29.25s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"55.5s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
	)
	b.serve(m1, r1)
	b.quiet()
	changed := r1
	changed.Preferred = 0
	b.serve(m1, changed)
	b.until(61 * time.Second)
	b.expect(
		"1m0s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 0s",
		"1m0.25s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 0s",
		"1m1s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 0s",
	)
}

func TestAdvertisementOctets(t *testing.T) {
	b := newBench(t, Config{MTU: 1400})
	r := r1
	r.LocalPrefixes = []netip.Prefix{prefix("2001:db8:aa00::/40")}
	out, err := b.Serve(epoch, m1, r)
	if err != nil || len(out.Frames) != 1 {
		t.Fatal(out, err)
	}
	const want = "6000000000503aff" + "fe8000000000000000000000000000d1" + "ff020000000000000000000000000001" +
		"8600xxxx" + "40000708" + "00000000" + "00000000" + // hop limit 64, medium preference, 1800 s
		"0101020d00000001" + // source link-layer address
		"0501000000000578" + // MTU 1400
		"030440400000" + "1c20" + "00000e10" + "00000000" + "20010db8000100000000000000000000" + // A but not L
		"1802280000000708" + "20010db8aa000000" // route information
	got := hex.EncodeToString(out.Frames[0].Packet.Bytes())
	if got[:84]+"xxxx"+got[88:] != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	deprecated, err := b.Serve(epoch, m1, r2)
	if err != nil || deprecated.Frames[0].Packet.Bytes()[45] != 3<<3 {
		t.Errorf("preference of a deprecated router: %x, %v", deprecated.Frames[0].Packet.Bytes()[45], err)
	}
}

func TestAdvertisementsFollowShortLifetimes(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour})
	short := r1
	short.Preferred, short.Valid = 8*time.Second, 8*time.Second
	b.serve(m1, short)
	b.until(4 * time.Second)
	b.lines = nil
	b.until(6 * time.Second)
	b.expect("4.75s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 8s")
}

func TestWithdraw(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour}, r1, r2)
	b.do(b.Withdraw(b.now, m1, p2, true))
	b.until(5 * time.Second)
	b.expect(
		"0s d2>m1 fe80::d2 > ff02::1 RA 0s 2001:db8:2::/64 0s",
		"0s receive d1",
		"250ms d2>m1 fe80::d2 > ff02::1 RA 0s 2001:db8:2::/64 0s",
		"1s d2>m1 fe80::d2 > ff02::1 RA 0s 2001:db8:2::/64 0s",
		"3s d2>m1 fe80::d2 > ff02::1 RA 0s 2001:db8:2::/64 0s",
	)
	b.do(b.Withdraw(b.now, m1, p1, false))
	b.expect("5s receive ")
	b.do(b.Withdraw(b.now, m1, p1, true))
	b.do(b.Withdraw(b.now, m2, p1, true))
	b.until(time.Minute)
	b.quiet() // nobody was told of it, so nobody is told that it went
	if len(b.Hosts()) != 0 {
		t.Errorf("%+v", b.Hosts())
	}
}

// A farewell does not take away the router of another prefix, and ends when the prefix is served again.
func TestWithdrawOfOneOfTwoPrefixes(t *testing.T) {
	second := r1
	second.Prefix, second.Lifetime = p2, 900*time.Second
	b := attached(t, Config{IdleTime: time.Hour}, r1, second)
	b.do(b.Withdraw(b.now, m1, p1, true))
	b.expect("0s d1>m1 fe80::d1 > ff02::1 RA 15m0s 2001:db8:1::/64 0s")
	b.serve(m1, r1)
	b.until(600 * time.Millisecond)
	b.expect(
		"0s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"250ms d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
	)
}

func TestServeByAnotherRouter(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour}, r1)
	other := r3
	other.Prefix = p1
	b.serve(m1, other)
	b.expect(
		"0s d1>m1 fe80::d1 > ff02::1 RA 0s",
		"0s d3>m1 fe80::d3 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"0s receive d3",
	)
}

// Advertisements of where the router was would undo those of where it is.
func TestServeAtAnotherLinkLayerAddress(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour}, r1, r2)
	moved := r1
	moved.LinkLayer = d3
	b.serve(m1, moved)
	b.do(b.Withdraw(b.now, m1, p2, true))
	r2moved := r2
	r2moved.LinkLayer, r2moved.Prefix = d1, p3
	b.serve(m1, r2moved)
	b.until(300 * time.Millisecond)
	b.expect(
		"0s d3>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s", "0s receive d2 d3",
		"0s d2>m1 fe80::d2 > ff02::1 RA 0s 2001:db8:2::/64 0s", "0s receive d3",
		"0s d1>m1 fe80::d2 > ff02::1 RA 30m0s 2001:db8:3::/64 0s", "0s receive d1 d3",
		"250ms d3>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"250ms d1>m1 fe80::d2 > ff02::1 RA 30m0s 2001:db8:3::/64 0s",
	)
}

func TestServeToAnotherHost(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour}, r1)
	b.serve(m2, r1)
	b.expect("0s d1>m2 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s", "0s receive d1")
	if owner, known := b.Owner(p1); owner != m2 || !known {
		t.Errorf("owner %s, %v", name(owner), known)
	}
}

func TestServeRefuses(t *testing.T) {
	change := func(f func(*Router)) Router {
		r := r3
		f(&r)
		return r
	}
	many := make([]netip.Prefix, MaxLocalPrefixes+1)
	for i := range many {
		many[i] = p1
	}
	b := attached(t, Config{MaxHosts: 2, MaxStrangers: 2}, r1)
	b.serve(m2, r2)
	b.lines = nil
	for what, c := range map[string]struct {
		mn   packet.LinkAddress
		r    Router
		want error
	}{
		"router address":      {m1, change(func(r *Router) { r.LinkLocal = addr("2001:db8::1") }), ErrInvalid},
		"no router address":   {m1, change(func(r *Router) { r.LinkLocal = netip.Addr{} }), ErrInvalid},
		"group":               {m1, change(func(r *Router) { r.LinkLayer[0] = 3 }), ErrInvalid},
		"prefix length":       {m1, change(func(r *Router) { r.Prefix = prefix("2001:db8::/63") }), ErrInvalid},
		"no prefix":           {m1, change(func(r *Router) { r.Prefix = netip.Prefix{} }), ErrInvalid},
		"IPv4":                {m1, change(func(r *Router) { r.Prefix = prefix("192.0.2.0/24") }), ErrInvalid},
		"link-local prefix":   {m1, change(func(r *Router) { r.Prefix = prefix("fe80::/64") }), ErrInvalid},
		"host bits":           {m1, change(func(r *Router) { r.Prefix = prefix("2001:db8::1/64") }), ErrInvalid},
		"lifetimes":           {m1, change(func(r *Router) { r.Valid = time.Minute }), ErrInvalid},
		"negative":            {m1, change(func(r *Router) { r.Lifetime = -1 }), ErrInvalid},
		"local prefixes":      {m1, change(func(r *Router) { r.LocalPrefixes = many }), ErrInvalid},
		"IPv4 local prefix":   {m1, change(func(r *Router) { r.LocalPrefixes = []netip.Prefix{prefix("192.0.2.0/24")} }), ErrInvalid},
		"group host":          {packet.LinkAddress{1}, r3, ErrInvalid},
		"no host":             {packet.LinkAddress{}, r3, ErrInvalid},
		"interface":           {me, r3, ErrInvalid},
		"router as host":      {d1, r3, ErrInvalid},
		"host is its router":  {d3, r3, ErrInvalid},
		"host's link address": {m1, change(func(r *Router) { r.LinkLayer = m2 }), ErrInvalid},
		"full":                {packet.LinkAddress{2, 9}, r3, ErrFull},
	} {
		if out, err := b.Serve(b.now, c.mn, c.r); !errors.Is(err, c.want) || len(out.Frames)+len(out.Events) > 0 || out.Readdressed {
			t.Errorf("%s: %v, %+v", what, err, out)
		}
	}
	if len(b.Hosts()) != 2 {
		t.Errorf("%+v", b.Hosts())
	}
}

// Someone who uses a router's link-layer address before that is served does not keep it from being served.
func TestServeEvictsImpostor(t *testing.T) {
	b := newBench(t, Config{})
	b.receive(d1, ll2, nd.AllRouters, &nd.RouterSolicitation{})
	b.serve(m1, r1)
	b.expect(
		"0s attached d1 fe80::a2: router solicitation",
		"0s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"0s receive d1",
	)
	b.receive(d1, ll2, nd.AllRouters, &nd.RouterSolicitation{})
	b.data(d1)
	b.quiet()
	if got := b.Counters(); got != (Counters{Looped: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestLookups(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour}, r2, r1)
	check := func(hop string, wantTo, wantFrom packet.LinkAddress, want bool) {
		t.Helper()
		if to, from, known := b.LinkAddresses(addr(hop)); to != wantTo || from != wantFrom || known != want {
			t.Errorf("%s: %s from %s, %v", hop, name(to), name(from), known)
		}
	}
	none := packet.LinkAddress{}
	check("2001:db8:1::77", m1, d1, true)
	check("2001:db8:2::77", m1, d2, true)
	check("fe80::a1", m1, d1, true) // from the preferred one, though r2 came first
	check("fe80::a2", none, none, false)
	check("2001:db8:3::77", none, none, false)
	check("::", none, none, false)
	// The first to be seen with an address has it.
	b.serve(m2, r3)
	b.receive(m2, ll1, nd.AllMLDv2Routers, &nd.ListenerReport{})
	check("fe80::a1", m1, d1, true)
	b.do(b.Withdraw(b.now, m1, p1, false))
	check("fe80::a1", m1, d2, true)
	b.do(b.Withdraw(b.now, m1, p2, false))
	check("fe80::a1", none, none, false)
	b.do(b.Forget(b.now, m1))
	b.receive(m2, ll1, nd.AllMLDv2Routers, &nd.ListenerReport{})
	check("fe80::a1", m2, d3, true)
	if _, known := b.Owner(prefix("fe80::/64")); known {
		t.Error("someone owns fe80::/64")
	}
	if owner, known := b.Owner(p3); owner != m2 || !known {
		t.Errorf("%s owns %v", name(owner), p3)
	}

	own := r1
	own.LinkLayer = me
	b.serve(m2, own)
	check("2001:db8:1::77", m2, none, true)
	if b.Receives(me) || !b.Receives(d3) || b.Receives(d1) {
		t.Error("the wrong addresses are received")
	}
}

func TestResolve(t *testing.T) {
	b := attached(t, Config{}, r1)
	p := packet.New(40)
	p.SetLen(40)
	out := b.Resolve(b.now, addr("2001:db8:1::1"), p)
	if len(out.Frames) != 1 || out.Frames[0].To != m1 || out.Frames[0].From != d1 || out.Frames[0].Packet == p {
		t.Errorf("%+v", out)
	}
	out = b.Resolve(b.now, addr("2001:db8:5::1"), p)
	if len(out.Undeliverable) != 1 || out.Undeliverable[0].Len() != 40 || b.Counters().Undeliverable != 1 {
		t.Errorf("%+v", out)
	}
}
