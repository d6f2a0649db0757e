package mobilenode

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

func TestRFC6275_11_7_1_BindingUpdateToHomeAgent(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Identifier = "mn@example.org" })
	send, bu := b.update(b.do(attachment(careOfA)))
	if send.Source != careOfA || send.Destination != agent || send.HomeAddress != home || send.RoutingHome.IsValid() ||
		send.Link != "eth0" || send.Router != router || send.Tunnel.IsValid() {
		t.Errorf("sent %+v", send)
	}
	if !bu.HomeRegistration || !bu.Acknowledge || bu.LinkLocal || bu.KeyManagement || bu.MobileRouter || bu.Lifetime != 60*time.Second {
		t.Errorf("update %+v", bu)
	}
	if o, ok := mh.Find[*mh.AlternateCareOf](bu.Options); !ok || o.Address != careOfA {
		t.Errorf("alternate care-of address %v", o)
	}
	if o, ok := mh.Find[*mh.MobileNodeIdentifier](bu.Options); !ok || o.Identifier != "mn@example.org" {
		t.Errorf("mobile node identifier %v", o)
	}
	if !mh.ChecksumValid(send.Payload, home, agent) {
		t.Error("checksum is not over the home address")
	}
	known := func(uint32) (auth.Association, bool) { return association, true }
	if _, err := auth.Verify(send.Payload, bu, known, careOfA, home); err != nil {
		t.Error(err)
	}
	if stamp, err := auth.Timestamp(bu.Options); err != nil || stamp.Time().Sub(b.now).Abs() > time.Millisecond {
		t.Errorf("timestamp %v, %v", stamp.Time(), err)
	}
}

func TestRFC6275_11_7_1_LinkLocalFlagWhenConfigured(t *testing.T) {
	b := newBench(t, func(c *Config) { c.LinkLocalCompatible = true })
	if _, bu := b.update(b.do(attachment(careOfA))); !bu.LinkLocal {
		t.Error("L flag is not set")
	}
}

func TestRFC6275_11_7_1_LifetimeWithinCareOfAddress(t *testing.T) {
	for _, c := range []struct{ left, want time.Duration }{
		{time.Hour, 60 * time.Second}, {59 * time.Second, 56 * time.Second}, {7 * time.Second, 4 * time.Second}, {time.Second, 4 * time.Second},
	} {
		b := newBench(t)
		a := attachment(careOfA)
		a.CareOfUntil = b.now.Add(c.left)
		if _, bu := b.update(b.do(a)); bu.Lifetime != c.want {
			t.Errorf("%v left: asks for %v, want %v", c.left, bu.Lifetime, c.want)
		}
	}
}

func TestFirstRegistrationBindsAfterAcknowledgement(t *testing.T) {
	b := newBench(t)
	out := b.do(attachment(careOfA))
	if len(of[signaling.Bind](out)) != 0 {
		t.Error("bound before the home agent accepted")
	}
	b.wantState(StateRegistering)
	send, bu := b.update(out)
	b.now = b.now.Add(20 * time.Millisecond)
	out = b.do(b.answer(send, bu))
	want := signaling.Bind{Home: boundHome, Mobile: true, Local: careOfA, Remote: agent, Link: "eth0", Router: router}
	if binds := of[signaling.Bind](out); len(binds) != 1 || binds[0] != want {
		t.Errorf("bound %+v", binds)
	}
	if k := out.kinds(); !slices.Equal(k, []signaling.ReportKind{BindingAcknowledgementReceived, BindingRegistered}) {
		t.Errorf("reports %v", k)
	}
	b.wantState(StateRegistered)
	if s := b.m.Status(b.now); s.RTT != 20*time.Millisecond || s.Remaining != 59980*time.Millisecond || s.CareOf != careOfA || s.Uplink != "eth0" {
		t.Errorf("status %+v", s)
	}
}

func TestMoveBindsRightBehindTheUpdate(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.now = b.now.Add(5 * time.Second)
	out := b.do(attachment(careOfB))
	send, bu := b.update(out)
	if send.Source != careOfB || bu.Sequence != 2 {
		t.Errorf("sent %+v, sequence %d", send, bu.Sequence)
	}
	binds := of[signaling.Bind](out)
	if len(binds) != 1 || binds[0].Local != careOfB || index[signaling.Bind](out) < index[signaling.Send](out) {
		t.Errorf("effects:\n%s", out)
	}
	if index[signaling.Unbind](out) >= 0 {
		t.Error("unbound in between")
	}
}

func TestSameCareOfAddressAfterCarrierLossNeedsNoUpdate(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	if out := b.do(attachment(netip.Addr{})); len(out.sends()) != 0 || index[signaling.Unbind](out) >= 0 {
		t.Errorf("on carrier loss:\n%s", out)
	}
	b.wantState(StateUnattached)
	if out := b.do(attachment(careOfA)); len(out) != 0 {
		t.Errorf("back on the same link:\n%s", out)
	}
	b.wantState(StateRegistered)
}

func TestBackBeforeTheOtherUpdateWasAcknowledgedRegistersAgain(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.now = b.now.Add(5 * time.Second)
	b.do(attachment(careOfB))
	b.now = b.now.Add(5 * time.Millisecond)
	// The home agent may have accepted B.
	send, _ := b.update(b.do(attachment(careOfA)))
	if send.Source != careOfA {
		t.Errorf("sent %+v", send)
	}
}

func TestRouterChangeRebindsWithoutUpdate(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	a := attachment(careOfA)
	a.Router = netip.MustParseAddr("fe80::b")
	out := b.do(a)
	if binds := of[signaling.Bind](out); len(out.sends()) != 0 || len(binds) != 1 || binds[0].Router != a.Router {
		t.Errorf("effects:\n%s", out)
	}
}

func TestRFC6275_11_8_FirstRegistrationTimeout(t *testing.T) {
	b := newBench(t)
	b.do(attachment(careOfA))
	ms := time.Millisecond
	want := []time.Duration{1500 * ms, 4500 * ms, 10500 * ms, 22500 * ms, 46500 * ms, 78500 * ms, 110500 * ms}
	if at := b.sendTimes(7); !slices.Equal(at, want) {
		t.Errorf("retransmitted at %v, want %v", at, want)
	}
	c := newBench(t, func(c *Config) { c.FirstRegistrationTimeout = 3 * time.Second })
	c.do(attachment(careOfA))
	if at := c.sendTimes(1); at[0] != 3*time.Second {
		t.Errorf("configured first timeout of 3 s: %v", at)
	}
}

func TestRFC6275_11_8_RetransmissionDoubles(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Lifetime = time.Hour })
	b.register(careOfA)
	// No round trip known: INITIAL_BINDACK_TIMEOUT.
	b.m.rtt = 0
	b.now = b.now.Add(time.Minute)
	b.do(attachment(careOfB))
	s := time.Second
	want := []time.Duration{1 * s, 3 * s, 7 * s, 15 * s, 31 * s, 63 * s, 95 * s}
	if at := b.sendTimes(7); !slices.Equal(at, want) {
		t.Errorf("retransmitted at %v, want %v", at, want)
	}
}

func TestRFC6275_11_8_FirstWaitFollowsMeasuredRoundTrip(t *testing.T) {
	for _, c := range []struct{ rtt, want time.Duration }{
		{20 * time.Millisecond, 100 * time.Millisecond}, {80 * time.Millisecond, 160 * time.Millisecond}, {2 * time.Second, 4 * time.Second},
	} {
		b := newBench(t)
		b.register(careOfA)
		b.m.rtt = c.rtt
		b.now = b.now.Add(5 * time.Second)
		b.do(attachment(careOfB))
		if at := b.sendTimes(1); at[0] != c.want {
			t.Errorf("round trip %v: retransmitted after %v, want %v", c.rtt, at[0], c.want)
		}
	}
}

func TestRFC6275_11_8_RateLimit(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.now = b.now.Add(5 * time.Second)
	var at []time.Time
	record := func(all effects) {
		for range all.sends() {
			at = append(at, b.now)
		}
	}
	careOf := [...]netip.Addr{careOfA, careOfB}
	for i := range 400 {
		record(b.do(attachment(careOf[i%2])))
		if next := b.now.Add(10 * time.Millisecond); true {
			for !b.m.Next().IsZero() && b.m.Next().Before(next) {
				b.now = b.m.Next()
				record(b.do(signaling.Tick{}))
			}
			b.now = next
		}
	}
	for i := 3; i < len(at); i++ {
		if d := at[i].Sub(at[i-3]); d <= time.Second {
			t.Fatalf("four updates within %v", d)
		}
	}
	if len(at) < 11 {
		t.Errorf("%d updates in 4 s of moving, want what the limit allows", len(at))
	}
	out := b.wait(2 * time.Second)
	if sends := out.sends(); len(sends) == 0 || sends[len(sends)-1].Source != careOfB {
		t.Error("the last move was not told")
	}
}

func TestRFC6275_11_8_NewSequenceNumberEachTime(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Random = func() uint16 { return 0xfffe } })
	var got []uint16
	_, bu := b.update(b.do(attachment(careOfA)))
	got = append(got, bu.Sequence)
	for range 3 {
		b.now = b.m.Next()
		_, bu := b.update(b.do(signaling.Tick{}))
		got = append(got, bu.Sequence)
	}
	if !slices.Equal(got, []uint16{0xffff, 0, 1, 2}) {
		t.Errorf("sequence numbers %v", got)
	}
}

func TestRFC6275_11_7_3_LifetimeCountsFromTheUpdate(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(attachment(careOfA)))
	b.now = b.now.Add(1400 * time.Millisecond)
	b.do(b.answer(send, bu, func(ba *mh.BindingAcknowledgement) { ba.Lifetime = 40 * time.Second }))
	if s := b.m.Status(b.now); s.Lifetime != 40*time.Second || s.Remaining != 38600*time.Millisecond {
		t.Errorf("lifetime %v, %v left", s.Lifetime, s.Remaining)
	}
}

func TestRFC6275_11_7_3_GrantIsNeverLongerThanAsked(t *testing.T) {
	b := newBench(t)
	b.register(careOfA, func(ba *mh.BindingAcknowledgement) { ba.Lifetime = time.Hour })
	if s := b.m.Status(b.now); s.Lifetime != 60*time.Second {
		t.Errorf("lifetime %v", s.Lifetime)
	}
}

func TestRFC6275_11_7_1_RefreshesWellBeforeExpiry(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	if at := b.sendTimes(1); at[0] != 48*time.Second-20*time.Millisecond {
		t.Errorf("refreshed after %v", at[0])
	}
}

func TestRFC6275_6_2_4_RefreshAdvice(t *testing.T) {
	for _, c := range []struct{ advice, want time.Duration }{
		{12 * time.Second, 12 * time.Second}, {0, 48 * time.Second}, {56 * time.Second, 48 * time.Second},
	} {
		b := newBench(t)
		b.register(careOfA, func(ba *mh.BindingAcknowledgement) {
			ba.Options = append(ba.Options, &mh.BindingRefreshAdvice{Interval: c.advice})
		})
		if at := b.sendTimes(1); at[0] != c.want-20*time.Millisecond {
			t.Errorf("advice %v: refreshed after %v", c.advice, at[0])
		}
	}
}

func TestRefreshKeepsTheBindingAndIsQuiet(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.now = b.m.Next()
	send, bu := b.update(b.do(signaling.Tick{}))
	out := b.do(b.answer(send, bu))
	if index[signaling.Bind](out) >= 0 || !slices.Equal(out.kinds(), []signaling.ReportKind{BindingAcknowledgementReceived}) {
		t.Errorf("effects:\n%s", out)
	}
}

func TestExpiryWithoutAnswerUnbindsAndKeepsTrying(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	out := b.wait(59979 * time.Millisecond)
	if index[signaling.Unbind](out) >= 0 {
		t.Fatal("unbound too soon")
	}
	out = b.wait(time.Millisecond)
	if index[signaling.Unbind](out) < 0 || !slices.Contains(out.kinds(), BindingLost) {
		t.Errorf("at the end of its lifetime:\n%s", out)
	}
	b.wantState(StateRegistering)
	out = b.wait(33 * time.Second)
	if len(out.sends()) == 0 {
		t.Fatal("gave up")
	}
	send, bu := signaling.Send{}, &mh.BindingUpdate{}
	for len(send.Payload) == 0 {
		b.now = b.m.Next()
		if out := b.do(signaling.Tick{}); len(out.sends()) == 1 {
			send, bu = b.update(out)
		}
	}
	if out := b.do(b.answer(send, bu)); index[signaling.Bind](out) < 0 {
		t.Errorf("when the home agent is back:\n%s", out)
	}
}

func TestUnauthenticated(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Association, c.AllowUnauthenticated, c.Identifier = nil, true, "mn@example.org"
	})
	send, bu := b.update(b.do(attachment(careOfA)))
	if _, ok := mh.Find[*mh.MessageAuthentication](bu.Options); ok {
		t.Error("authenticated")
	}
	b.do(b.answer(send, bu))
	b.wantState(StateRegistered)
}

func TestNewRefusesBadConfigurations(t *testing.T) {
	good := newBench(t).m.cfg
	for name, change := range map[string]func(*Config){
		"no home address":     func(c *Config) { c.HomeAddress = netip.Addr{} },
		"IPv4 home address":   func(c *Config) { c.HomeAddress = netip.MustParseAddr("192.0.2.1") },
		"outside home prefix": func(c *Config) { c.HomePrefix = netip.MustParsePrefix("2001:db8:2::/64") },
		"no home prefix":      func(c *Config) { c.HomePrefix = netip.Prefix{} },
		"IPv4 home agent":     func(c *Config) { c.HomeAgent = netip.MustParseAddr("192.0.2.1") },
		"lifetime too short":  func(c *Config) { c.Lifetime = 3 * time.Second },
		"lifetime too long":   func(c *Config) { c.Lifetime = 262144 * time.Second },
		"no authentication":   func(c *Config) { c.Association = nil },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
