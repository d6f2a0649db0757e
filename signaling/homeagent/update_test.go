package homeagent

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

func TestRFC6275_10_3_1_RegistrationIsAcknowledgedByType2RoutingHeader(t *testing.T) {
	w := start(t)
	e := w.accept(bu(plain, 7))
	ack, s := e.ack(t)
	if s.Source != agent || s.Destination != careOf1 || s.RoutingHome != plain || s.HomeAddress.IsValid() || s.Tunnel.IsValid() {
		t.Errorf("sent as %+v", s)
	}
	if ack.Sequence != 7 || ack.Lifetime != time.Minute || ack.KeyManagement || ack.MobileRouter || len(ack.Options) != 0 {
		t.Errorf("acknowledgement %+v", ack)
	}
	want := []signaling.Bind{{Home: netip.PrefixFrom(plain, 128), Local: agent, Remote: careOf1}}
	if got := of[signaling.Bind](e); !reflect.DeepEqual(got, want) {
		t.Errorf("bound %+v, want %+v", got, want)
	}
	kinds := []signaling.ReportKind{BindingUpdateReceived, BindingAcknowledgementSent, BindingCreated}
	if !slices.Equal(e.kinds(), kinds) {
		t.Errorf("reports %v, want %v", e.kinds(), kinds)
	}
	if len(of[signaling.Defend](e)) != 0 || len(of[signaling.ProbeDuplicate](e)) != 0 {
		t.Errorf("a virtual home link is defended: %v", e)
	}
	w.bound(plain, careOf1, time.Minute)
}

func TestRFC6275_10_3_1_AcknowledgedWithoutAcknowledgeBit(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 1, flags(func(u *mh.BindingUpdate) { u.Acknowledge = false })))
}

func TestRFC6275_10_3_1_LifetimeIsAtMostWhatWasAskedAndAllowed(t *testing.T) {
	for _, test := range []struct{ asked, granted time.Duration }{
		{4 * time.Second, 4 * time.Second},
		{60 * time.Second, 60 * time.Second},
		{600 * time.Second, 600 * time.Second},
		{604 * time.Second, 600 * time.Second},
		{mh.MaxLifetime, 600 * time.Second},
	} {
		w := start(t)
		a := w.accept(bu(plain, 1, lifetime(test.asked))).status(t, 0)
		if a.Lifetime != test.granted {
			t.Errorf("asked for %v, got %v, want %v", test.asked, a.Lifetime, test.granted)
		}
		w.bound(plain, careOf1, test.granted)
	}
}

func TestRFC6275_10_3_1_LifetimeEndsWithThePrefix(t *testing.T) {
	until := func(valid, preferred time.Duration) func(*Config) {
		return func(c *Config) {
			c.HomePrefixes[0].ValidUntil = noon.Add(valid)
			c.HomePrefixes[0].PreferredUntil = noon.Add(preferred)
		}
	}
	for _, test := range []struct {
		name             string
		valid, preferred time.Duration
		status           mh.Status
		granted          time.Duration
	}{
		{"both longer", 70 * time.Second, 64 * time.Second, 0, time.Minute},
		{"becomes deprecated", 70 * time.Second, 30 * time.Second, 1, time.Minute},
		{"is deprecated", 70 * time.Second, -time.Second, 1, time.Minute},
		{"becomes invalid at the end", 63 * time.Second, 63 * time.Second, 1, time.Minute},
		{"becomes invalid before", 33 * time.Second, 33 * time.Second, 1, 32 * time.Second},
		{"is almost invalid", 3 * time.Second, 3 * time.Second, 132, 0},
	} {
		w := start(t, until(test.valid, test.preferred))
		e := w.send(bu(plain, 1))
		a, _ := e.ack(t)
		if a == nil || a.Status != test.status || a.Lifetime != test.granted {
			t.Errorf("%s: %+v, want status %d, lifetime %v", test.name, a, test.status, test.granted)
		}
	}
}

func TestRFC6275_10_3_1_RefreshAdviceIsLessThanLifetimeAndOmittedWithStore(t *testing.T) {
	advise := func(d time.Duration) func(*Config) { return func(c *Config) { c.RefreshAdvice = d } }
	for _, test := range []struct{ advice, asked, want time.Duration }{
		{0, time.Minute, 0},
		{30 * time.Second, time.Minute, 28 * time.Second},
		{time.Hour, time.Minute, 56 * time.Second},
		{time.Hour, 4 * time.Second, 0},
	} {
		a := start(t, advise(test.advice)).accept(bu(plain, 1, lifetime(test.asked))).status(t, 0)
		got := time.Duration(0)
		if o, ok := mh.Find[*mh.BindingRefreshAdvice](a.Options); ok {
			got = o.Interval
		}
		if got != test.want {
			t.Errorf("advice %v for %v: %v, want %v", test.advice, test.asked, got, test.want)
		}
	}
	a := start(t, advise(time.Hour), stored(&memory{})).accept(bu(plain, 1)).status(t, 0)
	if len(a.Options) != 0 {
		t.Errorf("advice with nonvolatile storage: %v", a.Options)
	}
}

func TestRFC6275_9_5_1_SequenceNumberOutOfWindow(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 15))
	for _, sequence := range []uint16{15, 14, 0, 65535, 32783} {
		if a := w.send(bu(plain, sequence)).status(t, 135); a.Sequence != 15 {
			t.Errorf("refused with %d, want the last accepted 15", a.Sequence)
		}
	}
	w.accept(bu(plain, 32782))
	w.accept(bu(plain, 32783))
	w.accept(bu(plain, 0))
}

func TestRFC6275_9_5_1_CareOfAddressIsAlternateOrSource(t *testing.T) {
	w := start(t)
	_, s := w.accept(bu(plain, 1, options(&mh.AlternateCareOf{Address: careOf2}))).ack(t)
	if s.Destination != careOf1 {
		t.Errorf("acknowledged to %v, not to the source", s.Destination)
	}
	w.bound(plain, careOf2, time.Minute)
	w.accept(bu(plain, 2))
	w.bound(plain, careOf1, time.Minute)
}

func TestRFC6275_9_5_1_NonceIndicesWithHomeRegistrationAreDiscarded(t *testing.T) {
	w := start(t)
	w.send(bu(plain, 1, options(&mh.NonceIndices{Home: 1, CareOf: 2}))).silent(t)
	w.bound(plain, nowhere, 0)
}

func TestRFC6275_9_5_1_RegistrationTypeChange(t *testing.T) {
	w := start(t)
	noH := flags(func(u *mh.BindingUpdate) { u.HomeRegistration = false })
	w.send(bu(plain, 1, noH)).silent(t)
	w.accept(bu(plain, 2))
	w.send(bu(plain, 3, noH)).status(t, 139)
	w.bound(plain, careOf1, time.Minute)
	// RFC 3963 section 6.2: the mobile router flag may not change either, but for deregistration.
	w.send(bu(plain, 4, asRouter)).status(t, 139)
	w.accept(bu(plain, 5, asRouter, lifetime(0)))
}

func TestRFC6275_9_5_4_NonUnicastSourceIsDiscarded(t *testing.T) {
	for _, source := range []string{"::", "::1", "ff02::1", "::ffff:10.0.0.1"} {
		w := start(t)
		w.send(bu(plain, 1, from(netip.MustParseAddr(source)), options(&mh.AlternateCareOf{Address: careOf1}))).silent(t)
		if n := w.m.Counters().Discarded.BadAddresses; n != 1 {
			t.Errorf("%s: %d counted", source, n)
		}
	}
}

func TestRFC6275_10_3_1_HomeAddressOptionMustBePresent(t *testing.T) {
	w := start(t)
	m := bu(plain, 1, atHome, lifetime(time.Minute), options(&mh.AlternateCareOf{Address: careOf1}))
	w.send(m).silent(t)
	if n := w.m.Counters().Discarded.NoHomeAddressOption; n != 1 {
		t.Errorf("%d counted", n)
	}
}

func TestRFC6275_10_3_1_NotHomeSubnet(t *testing.T) {
	any := func(c *Config) { c.AllowAnyMobileNode, c.AllowUnauthenticated = true, true }
	w := start(t, any)
	w.send(bu(netip.MustParseAddr("2001:db8:9::7"), 1)).status(t, 132)
	w.accept(bu(netip.MustParseAddr("2001:db8:1::77"), 1))
}

func TestRFC6275_10_3_1_AdministrativelyProhibited(t *testing.T) {
	w := start(t, func(c *Config) { c.AllowUnauthenticated = true })
	w.send(bu(netip.MustParseAddr("2001:db8:1::77"), 1)).status(t, 129)
	name := func(s string) func(*message) {
		return options(&mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: s})
	}
	w.send(bu(plain, 1, name("signed@example.net"))).status(t, 129)
	w.accept(bu(plain, 1, name("plain@example.net")))
	w.send(bu(netip.MustParseAddr("2001:db8:1::77"), 1, name("plain@example.net"))).status(t, 129)
	w = start(t, func(c *Config) { c.AllowAnyMobileNode, c.AllowUnauthenticated = true, true })
	for _, home := range []string{"2001:db8:1::1", "2001:db8:1::", "2001:db8:1::fdff:ffff:ffff:fffe"} {
		w.send(bu(netip.MustParseAddr(home), 1)).status(t, 129)
	}
}

func TestRFC6275_6_1_8_InvalidCareOfAddress(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 1))
	for _, careOf := range []string{"2001:db8:1::1", "2001:db8:1::7", "2001:db8:1::8", "2001:db8:40::1"} {
		m := bu(router, 1, options(&mh.AlternateCareOf{Address: netip.MustParseAddr(careOf)}))
		w.send(m).status(t, 174)
	}
	w.bound(router, nowhere, 0)
}

func TestRFC6275_6_1_7_UnroutableCareOfAddressIsDiscardedInSilence(t *testing.T) {
	w := start(t)
	for _, careOf := range []string{"fe80::1", "ff0e::1", "::", "::1", "::ffff:192.0.2.1"} {
		w.send(bu(plain, 1, options(&mh.AlternateCareOf{Address: netip.MustParseAddr(careOf)}))).silent(t)
	}
	w.send(bu(plain, 1, from(netip.MustParseAddr("fe80::1")))).silent(t)
	if n := w.m.Counters().Discarded.BadAddresses; n != 6 {
		t.Errorf("%d counted", n)
	}
	w.bound(plain, nowhere, 0)
}

func TestCareOfAddressIsNobodysHomeAddress(t *testing.T) {
	w := start(t, func(c *Config) { c.AllowAnyMobileNode, c.AllowUnauthenticated = true, true })
	other := netip.MustParseAddr("2001:db8:1::77")
	w.accept(bu(plain, 1, from(other)))
	w.accept(bu(other, 1))
	// A tunnel to plain would now lead into the tunnel of other.
	w.send(bu(plain, 2, from(other))).status(t, 174)
}

func TestRFC6275_10_3_1_InsufficientResources(t *testing.T) {
	any := func(c *Config) { c.AllowAnyMobileNode, c.AllowUnauthenticated, c.MaxBindings = true, true, 2 }
	w := start(t, any)
	w.accept(bu(netip.MustParseAddr("2001:db8:1::a1"), 1))
	w.accept(bu(netip.MustParseAddr("2001:db8:1::a2"), 1))
	w.send(bu(netip.MustParseAddr("2001:db8:1::a3"), 1)).status(t, 130)
	w.accept(bu(netip.MustParseAddr("2001:db8:1::a2"), 2))
	w.after(time.Minute).accept(bu(netip.MustParseAddr("2001:db8:1::a3"), 1))
}

func TestLimitPerMobileNode(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxBindingsPerNode = 2 })
	for i, want := range []mh.Status{0, 0, 130, 130} {
		home := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 15: byte(0xb0 + i)})
		key := sha256Key
		key.Identifier = "roaming@example.net"
		w.send(bu(home, 1, sign(key, noon))).status(t, want)
	}
}

func TestRFC6275_10_3_2_Deregistration(t *testing.T) {
	for name, m := range map[string]*message{
		"lifetime 0":             bu(plain, 2, lifetime(0)),
		"at home":                bu(plain, 2, atHome),
		"at home with alternate": bu(plain, 2, atHome, options(&mh.AlternateCareOf{Address: plain})),
		"care-of is home":        bu(plain, 2, options(&mh.AlternateCareOf{Address: plain})),
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, func(c *Config) { c.RefreshAdvice = 8 * time.Second })
			w.accept(bu(plain, 1))
			e := w.send(m)
			ack, s := e.ack(t)
			if ack.Status != 0 || ack.Sequence != 2 || ack.Lifetime != 0 || len(ack.Options) != 0 {
				t.Errorf("acknowledgement %+v", ack)
			}
			// Section 9.5.4: no routing header without a Home Address option, and one with it.
			if m.atHome && (s.Destination != plain || s.RoutingHome.IsValid()) {
				t.Errorf("sent as %+v", s)
			}
			if !m.atHome && (s.Destination != careOf1 || s.RoutingHome != plain) {
				t.Errorf("sent as %+v", s)
			}
			if got := of[signaling.Unbind](e); !slices.Equal(got, []signaling.Unbind{{Home: host(plain)}}) {
				t.Errorf("unbound %v", got)
			}
			w.bound(plain, nowhere, 0)
		})
	}
}

func TestRFC6275_10_3_2_DeregistrationOfUnknownBinding(t *testing.T) {
	w := start(t)
	w.send(bu(plain, 1, lifetime(0))).status(t, 133)
	w.accept(bu(plain, 2))
	w.accept(bu(plain, 3, lifetime(0)))
	w.send(bu(plain, 4, lifetime(0))).status(t, 133)
}

func TestRFC6275_10_3_2_DelayedBindingUpdateDoesNotReviveBinding(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 1))
	w.accept(bu(plain, 3, atHome))
	w.after(9*time.Second).send(bu(plain, 2)).status(t, 135)
	w.bound(plain, nowhere, 0)
	// MAX_DELETE_BCE_TIMEOUT is 10 s, and the associations' memory 14 s.
	w.after(5 * time.Second).tick()
	w.accept(bu(plain, 2))
}

func TestRFC5213_ProxyRegistrationIsNotEnabled(t *testing.T) {
	start(t).send(bu(plain, 1, flags(func(u *mh.BindingUpdate) { u.ProxyRegistration = true }))).status(t, 152)
}

func TestRefreshKeepsForwardingUndisturbed(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 1))
	e := w.after(30 * time.Second).accept(bu(plain, 2))
	if n := len(of[signaling.Bind](e)); n != 0 {
		t.Errorf("%d bound anew though nothing moved", n)
	}
	if k := e.kinds(); k[len(k)-1] != BindingRefreshed {
		t.Errorf("reports %v", k)
	}
	w.bound(plain, careOf1, time.Minute)
	e = w.accept(bu(plain, 3, from(careOf2)))
	if got := of[signaling.Bind](e); len(got) != 1 || got[0].Remote != careOf2 {
		t.Errorf("bound %v", got)
	}
	if b := w.m.Bindings(w.now); len(b) != 1 || !b[0].Since.Equal(noon) || b[0].Sequence != 3 || b[0].Identifier != "plain@example.net" {
		t.Errorf("listed as %+v", b)
	}
}

func TestRFC6275_10_3_1_BindingIsDeletedWhenItsLifetimeEnds(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 1))
	if next := w.m.Next(); !next.Equal(noon.Add(58 * time.Second)) {
		t.Errorf("next at %v", next.Sub(noon))
	}
	w.after(59*time.Second + 999*time.Millisecond).tick()
	w.bound(plain, careOf1, time.Millisecond)
	if next := w.m.Next(); !next.Equal(noon.Add(time.Minute)) {
		t.Errorf("next at %v", next.Sub(noon))
	}
	e := w.after(time.Millisecond).tick()
	if got := of[signaling.Unbind](e); !slices.Equal(got, []signaling.Unbind{{Home: host(plain)}}) {
		t.Errorf("unbound %v", got)
	}
	if !slices.Equal(e.kinds(), []signaling.ReportKind{BindingExpired}) {
		t.Errorf("reports %v", e.kinds())
	}
	if !w.m.Next().IsZero() {
		t.Errorf("next at %v", w.m.Next())
	}
	// Section 9.5.1: any sequence number is good without a binding.
	w.accept(bu(plain, 1))
}

func TestRFC6275_9_5_5_BindingRefreshRequestBeforeTheEnd(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 1))
	w.after(57 * time.Second).tick().silent(t)
	e := w.after(time.Second).tick()
	sends := of[signaling.Send](e)
	if len(sends) != 1 {
		t.Fatalf("effects %v", e)
	}
	s := sends[0]
	// "This message is always sent to the home address of the mobile node", thus through the tunnel.
	if s.Source != agent || s.Destination != plain || s.Tunnel != plain || s.RoutingHome.IsValid() || !mh.ChecksumValid(s.Payload, agent, plain) {
		t.Errorf("sent as %+v", s)
	}
	if m, err := mh.Parse(s.Payload); err != nil || m.Type() != mh.TypeBindingRefreshRequest {
		t.Errorf("sent %v, %v", m, err)
	}
	w.after(time.Second).tick().silent(t)
	w.accept(bu(plain, 2))
	if next := w.m.Next(); !next.Equal(w.now.Add(58 * time.Second)) {
		t.Errorf("after the refresh next at %v", next.Sub(w.now))
	}
}

func TestRemove(t *testing.T) {
	w := start(t, physical)
	w.send(bu(plain, 1))
	w.handle(signaling.DuplicateResult{Link: "eth0", Address: plain})
	e, ok := w.m.Remove(w.now, plain)
	if !ok || len(of[signaling.Unbind](e)) != 1 || len(of[signaling.Undefend](e)) != 1 {
		t.Errorf("%v, effects %v", ok, e)
	}
	w.bound(plain, nowhere, 0)
	if _, ok := w.m.Remove(w.now, plain); ok {
		t.Error("removed twice")
	}
	w.send(bu(plain, 2))
	effects(w.handle(signaling.DuplicateResult{Link: "eth0", Address: plain})).status(t, 0)
}

func TestShutdownKeepsBindings(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 1))
	if e := w.handle(signaling.Shutdown{}); len(e) != 0 {
		t.Errorf("effects %v", e)
	}
	w.bound(plain, careOf1, time.Minute)
}
