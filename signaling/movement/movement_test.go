package movement

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
)

func TestRFC4861_6_3_7_SolicitsAtOnceOnLinkUp(t *testing.T) {
	b := newBench(t)
	out := b.do(Carrier{true})
	rs := effectsOf[SendRouterSolicitation](out)
	if len(rs) != 1 || !rs[0].Source.IsLinkLocalUnicast() {
		t.Fatalf("router solicitations %+v", rs)
	}
	if k := kinds(out); len(k) != 1 || k[0] != LinkUp {
		t.Errorf("reports %v", k)
	}
}

func TestRFC7559_2_SolicitationBackOff(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	var at []time.Duration
	for len(at) < 10 {
		b.now = b.m.Next()
		if len(effectsOf[SendRouterSolicitation](b.do(Tick{}))) == 1 {
			at = append(at, b.now.Sub(epoch))
		}
	}
	ms := time.Millisecond
	want := []time.Duration{50 * ms, 150 * ms, 350 * ms, 750 * ms, 1550 * ms, 3150 * ms, 6350 * ms, 12750 * ms, 25550 * ms, 51150 * ms}
	if !slices.Equal(at, want) {
		t.Errorf("solicited at %v, want %v", at, want)
	}
	if n := len(effectsOf[SendRouterSolicitation](b.run(1000 * time.Hour))); n < 990 || n > 1010 {
		t.Errorf("%d solicitations in 1000 hours, want one an hour", n)
	}
}

func TestRFC7559_2_SpreadsByATenth(t *testing.T) {
	for _, c := range []struct {
		random float64
		want   time.Duration
	}{{0, 45 * time.Millisecond}, {0.5, 50 * time.Millisecond}} {
		b := newBench(t, func(cfg *Config) { cfg.Random = func() float64 { return c.random } })
		b.do(Carrier{true})
		if d := b.m.Next().Sub(epoch); d != c.want {
			t.Errorf("random %v: waits %v, want %v", c.random, d, c.want)
		}
	}
}

func TestRFC7559_2_1_StopsWithADefaultRouterOnly(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	ra := advertise(routerA, prefixA)
	ra.Lifetime = 0
	b.do(ra)
	if len(effectsOf[SendRouterSolicitation](b.run(time.Second))) == 0 {
		t.Error("stopped soliciting although no default router was found")
	}
	b.do(advertise(routerA, prefixA))
	if len(effectsOf[SendRouterSolicitation](b.run(time.Minute))) != 0 {
		t.Error("solicits although there is a default router")
	}
}

func TestRFC4429_3_2_NoLinkLayerOptionWhileOptimistic(t *testing.T) {
	b := newBench(t)
	rs := last[SendRouterSolicitation](t, b.do(Carrier{true}))
	if rs.LinkLayerAddress {
		t.Error("source link-layer address option from an optimistic address")
	}
	b.do(AddressConfirmed{rs.Source})
	if rs = last[SendRouterSolicitation](t, b.run(time.Second)); !rs.LinkLayerAddress {
		t.Error("no source link-layer address option from a confirmed address")
	}
}

func TestRFC4429_3_3_CareOfAddressUsableAtOnce(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	out := b.do(advertise(routerA, prefixA))
	add := last[AddAddress](t, out)
	if add.Detection != Optimistic || add.Address.Bits() != 64 || !prefixA.Contains(add.Address.Addr()) {
		t.Errorf("added %+v", add)
	}
	at := last[Attach](t, out)
	want := signaling.Attachment{Uplink: "eth0", CareOf: add.Address.Addr(), CareOfUntil: epoch.Add(24 * time.Hour),
		Router: routerA, OnLink: []netip.Prefix{prefixA}, MTU: 1500, Preference: 3}
	if fmt.Sprint(at.Attachment) != fmt.Sprint(want) {
		t.Errorf("attached %+v, want %+v", at, want)
	}
	if k := kinds(out); !slices.Equal(k, []signaling.ReportKind{RouterAdvertised, CareOfUsable}) {
		t.Errorf("reports %v", k)
	}
	if r := last[SetRouter](t, out); r.Router != routerA {
		t.Errorf("router %v", r.Router)
	}
}

func TestRFC4429_3_2_TentativeWhenRouterMustBeResolved(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	ra := advertise(routerA, prefixA)
	ra.LinkLayerKnown = false
	add := last[AddAddress](t, b.do(ra))
	if add.Detection != Tentative || b.careOf().IsValid() {
		t.Fatalf("added %+v, care-of address %v", add, b.careOf())
	}
	b.do(AddressConfirmed{add.Address.Addr()})
	if b.careOf() != add.Address.Addr() {
		t.Errorf("care-of address %v after detection", b.careOf())
	}
}

func TestRFC6275_11_5_1_SamePrefixKeepsCareOfAddress(t *testing.T) {
	b := newBench(t)
	b.attach()
	kept := b.careOf()
	b.do(Carrier{false})
	if a := b.m.Attachment(); a.CareOf.IsValid() || a.Router.IsValid() || len(a.OnLink) != 0 {
		t.Fatalf("attached without carrier: %+v", a)
	}
	b.now = b.now.Add(time.Second)
	b.do(Carrier{true})
	if b.careOf().IsValid() {
		t.Fatal("trusts the former link's router before it is heard")
	}
	out := b.do(advertise(routerB, prefixA))
	if b.careOf() != kept {
		t.Errorf("care-of address %v, want the former %v", b.careOf(), kept)
	}
	if add := last[AddAddress](t, out); add.Address.Addr() != kept || add.Detection != Optimistic {
		t.Errorf("the kept address is not checked again: %+v", add)
	}
}

func TestRFC6275_11_5_1_OtherPrefixIsMovement(t *testing.T) {
	b := newBench(t)
	b.attach()
	old := b.careOf()
	b.do(Carrier{false})
	b.do(Carrier{true})
	out := b.do(advertise(routerB, prefixB))
	if !prefixB.Contains(b.careOf()) {
		t.Fatalf("care-of address %v", b.careOf())
	}
	attached := slices.IndexFunc(out, func(e Effect) bool { _, ok := e.(Attach); return ok })
	removed := slices.IndexFunc(out, func(e Effect) bool { r, ok := e.(RemoveAddress); return ok && r.Address == old })
	if removed < attached || attached < 0 {
		t.Errorf("old address removed before the new attachment:\n%s", names(out))
	}
	if r := effectsOf[RemoveAddress](out); len(r) != 1 {
		t.Errorf("removed %v", r)
	}
}

func TestRFC6275_11_5_1_SameRouterAddressElsewhereIsMovement(t *testing.T) {
	// Both links have fe80::a, and no carrier says that the node went from one to the other.
	b := newBench(t)
	b.attach()
	b.now = b.now.Add(time.Minute)
	b.do(advertise(routerA, prefixB))
	if !prefixB.Contains(b.careOf()) {
		t.Errorf("care-of address %v", b.careOf())
	}
	if on := b.m.Attachment().OnLink; !slices.Equal(on, []netip.Prefix{prefixB}) {
		t.Errorf("on-link %v", on)
	}
}

func TestRFC6275_11_5_1_KeepsReachableRouterWhenAnotherIsHeard(t *testing.T) {
	b := newBench(t)
	b.attach()
	kept := b.careOf()
	b.now = b.now.Add(time.Minute)
	out := b.do(advertise(routerB, prefixB))
	if b.careOf() != kept {
		t.Error("left a router that may be reachable")
	}
	if p := last[ProbeRouter](t, out); p.Router != routerA {
		t.Errorf("probes %v", p.Router)
	}
	out = b.do(RouterUnreachable{routerA})
	if !prefixB.Contains(b.careOf()) || b.m.Attachment().Router != routerB {
		t.Errorf("after the loss of the router: %+v", b.m.Attachment())
	}
	if r := last[RemoveAddress](t, out); r.Address != kept {
		t.Errorf("removed %v (section 11.5.4), want %v", r.Address, kept)
	}
}

func TestRFC6275_11_5_1_UnreachableOnlyRouterDetaches(t *testing.T) {
	b := newBench(t)
	b.attach()
	kept := b.careOf()
	out := b.do(RouterUnreachable{routerA})
	if b.careOf().IsValid() {
		t.Error("attached through an unreachable router")
	}
	if len(effectsOf[SendRouterSolicitation](out)) != 1 {
		t.Error("does not look for another router")
	}
	b.now = b.now.Add(time.Second)
	b.do(advertise(routerA, prefixA))
	if b.careOf() != kept {
		t.Errorf("care-of address %v when the router is back, want %v", b.careOf(), kept)
	}
}

func TestRFC6275_11_5_1_MissedAdvertisementIntervalProbes(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	ra := advertise(routerA, prefixA)
	ra.Interval = 70 * time.Millisecond
	b.do(ra)
	if out := b.run(104 * time.Millisecond); len(out) != 0 {
		t.Errorf("acts before the advertisement is late: %s", names(out))
	}
	out := b.run(time.Millisecond)
	if len(effectsOf[ProbeRouter](out)) != 1 || len(effectsOf[SendRouterSolicitation](out)) != 1 {
		t.Errorf("after 105 ms: %s", names(out))
	}
	if !b.careOf().IsValid() {
		t.Error("detached before the router was found unreachable")
	}
	if n := len(effectsOf[ProbeRouter](b.run(time.Minute))); n != 0 {
		t.Errorf("%d more probes of the same loss", n)
	}
}

func TestRFC6275_11_5_1_SilentRouterYieldsToOneThatIsHeard(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	a, c := advertise(routerA, prefixA), advertise(routerB, prefixB)
	a.Interval, c.Interval = 70*time.Millisecond, 70*time.Millisecond
	b.do(a)
	b.now = b.now.Add(time.Second + 50*time.Millisecond)
	b.do(a)
	for range 5 {
		b.run(50 * time.Millisecond)
		b.do(c)
	}
	if !prefixB.Contains(b.careOf()) {
		t.Errorf("care-of address %v 250 ms after the last advertisement of its router", b.careOf())
	}
}

func TestLateAdvertisementOfTheFormerLink(t *testing.T) {
	b := newBench(t)
	b.attach()
	b.do(Carrier{false})
	b.do(Carrier{true})
	// It was in a queue while the link changed.
	b.do(advertise(routerA, prefixA))
	b.now = b.now.Add(5 * time.Millisecond)
	b.do(advertise(routerB, prefixB))
	if !prefixB.Contains(b.careOf()) {
		t.Errorf("care-of address %v", b.careOf())
	}
}

func TestRFC6275_11_5_4_CareOfPrefixIsTheDefaultRouters(t *testing.T) {
	b := newBench(t)
	b.attach()
	kept := b.careOf()
	b.now = b.now.Add(time.Minute)
	b.do(advertise(routerB, prefixB))
	b.now = b.now.Add(29 * time.Minute)
	b.do(advertise(routerB, prefixB))
	// Router A's lifetime of 30 minutes is over; the address in its prefix would live on for a day.
	b.do(Tick{})
	if a := b.m.Attachment(); a.Router != routerB || !prefixB.Contains(a.CareOf) || a.CareOf == kept {
		t.Errorf("attached %+v", a)
	}
}

func TestRouterHeardInPassingDoesNotPutItsPrefixOnLink(t *testing.T) {
	b := newBench(t)
	b.attach()
	b.now = b.now.Add(time.Minute)
	b.do(advertise(routerB, prefixB))
	if on := b.m.Attachment().OnLink; !slices.Equal(on, []netip.Prefix{prefixA}) {
		t.Errorf("on-link %v", on)
	}
	b.now = b.now.Add(time.Minute)
	out := b.do(RouterUnreachable{routerA})
	if on := b.m.Attachment().OnLink; !slices.Equal(on, []netip.Prefix{prefixB}) {
		t.Errorf("on-link %v", on)
	}
	if p := effectsOf[ProbeRouter](out); len(p) != 1 || p[0].Router != routerB {
		t.Errorf("probes %v of a router not heard for a minute", p)
	}
}

func TestReportsEachLinksFirstAdvertisement(t *testing.T) {
	b := newBench(t)
	b.attach()
	for range 3 {
		b.now = b.now.Add(50 * time.Millisecond)
		if out := b.do(advertise(routerA, prefixA)); len(out) != 0 {
			t.Errorf("a repeated advertisement has effects: %s", names(out))
		}
	}
}

func TestUnspecifiedAndOutOfRangeParameters(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	ra := advertise(routerA, prefixA)
	ra.MTU, ra.ReachableTime, ra.RetransTimer = 1400, 30*time.Second, 200*time.Millisecond
	out := b.do(ra)
	if mtu := last[SetMTU](t, out); mtu.MTU != 1400 || b.m.Attachment().MTU != 1400 {
		t.Errorf("MTU %v, attached with %d", mtu, b.m.Attachment().MTU)
	}
	if s := last[SetNeighborTimers](t, out); s != (SetNeighborTimers{30 * time.Second, 200 * time.Millisecond}) {
		t.Errorf("timers %+v", s)
	}
	for _, mtu := range []int{0, 1279, 1501} {
		ra := advertise(routerA, prefixA)
		ra.MTU = mtu
		if out := b.do(ra); len(out) != 0 {
			t.Errorf("MTU %d: %s", mtu, names(out))
		}
	}
}

func TestStaticAttachesWithLinkUp(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Autoconfigure = false
		c.Addresses = []netip.Prefix{netip.MustParsePrefix("2001:db8:a::17/64")}
		c.Gateway = netip.MustParseAddr("2001:db8:a::1")
	})
	out := b.do(Carrier{true})
	a := last[Attach](t, out)
	if a.CareOf != netip.MustParseAddr("2001:db8:a::17") || a.Router != netip.MustParseAddr("2001:db8:a::1") || !slices.Equal(a.OnLink, []netip.Prefix{prefixA}) {
		t.Errorf("attached %+v", a)
	}
	if add := last[AddAddress](t, out); add.Detection != Assigned {
		t.Errorf("added %+v", add)
	}
	if len(effectsOf[SendRouterSolicitation](out)) != 0 || len(b.do(advertise(routerB, prefixB))) != 0 {
		t.Error("takes part in router discovery")
	}
	b.do(RouterUnreachable{b.m.cfg.Gateway})
	if b.careOf().IsValid() {
		t.Error("attached through an unreachable gateway")
	}
	if n := len(effectsOf[ProbeRouter](b.run(10 * time.Second))); n != 10 {
		t.Errorf("%d probes of the gateway in 10 s", n)
	}
	b.do(RouterReachable{b.m.cfg.Gateway})
	if !b.careOf().IsValid() || !b.m.Next().IsZero() {
		t.Error("not attached when the gateway is back")
	}
	b.do(DuplicateFound{netip.MustParseAddr("2001:db8:a::17")})
	if b.careOf().IsValid() {
		t.Error("uses an address that another node holds")
	}
	b.do(Carrier{false})
	if b.m.Attachment().Router.IsValid() {
		t.Error("attached without carrier")
	}
}

func TestNewRefusesBadConfigurations(t *testing.T) {
	good := Config{Uplink: "eth0", Secret: make([]byte, 16), Autoconfigure: true, MTU: 1500}
	for name, change := range map[string]func(*Config){
		"no name":       func(c *Config) { c.Uplink = "" },
		"short secret":  func(c *Config) { c.Secret = make([]byte, 15) },
		"MTU":           func(c *Config) { c.MTU = 1279 },
		"static IPv4":   func(c *Config) { c.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")} },
		"static fe80::": func(c *Config) { c.Addresses = []netip.Prefix{netip.MustParsePrefix("fe80::1/64")} },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}
