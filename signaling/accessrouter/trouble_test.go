package accessrouter

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/database"
	"kedge/signaling/mh"
)

func TestLocalServiceAfterATenthOfASecond(t *testing.T) {
	s := alone(t)
	s.attach()
	if a := of[signaling.Advertise](s.after(99 * time.Millisecond)); len(a) != 0 {
		t.Errorf("advertised too soon: %+v", a)
	}
	if a := of[signaling.Advertise](s.after(time.Millisecond)); len(a) != 1 || a[0].Router.Preferred == 0 {
		t.Errorf("advertised %+v", a)
	}
	if c := s.m.Counters(); c.LocalService != 1 {
		t.Errorf("counters %+v", c)
	}
	s = alone(t, func(c *Config) { c.DenyWithoutDatabase = true })
	s.attach()
	if a := of[signaling.Advertise](s.after(time.Minute)); len(a) != 0 {
		t.Errorf("advertised without the CMD: %+v", a)
	}
}

func TestDatabaseAwayForAMinute(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		w := network(t, mode, 3, func(c *Config, _ *database.Config) { c.Lifetime = 40 * time.Second })
		w.attach(1)
		w.run(time.Second)
		w.attach(2)
		w.run(2 * time.Second)
		w.cmdAway = true
		w.run(30 * time.Second)
		// Those that are attached are served on, and new ones locally.
		w.served(2, 1)
		stranger := signaling.LinkLayerAddress{2, 0, 0, 0, 0, 0x22}
		w.handle(3, signaling.MobileNodeAttached{Link: "radio", LinkLayer: stranger})
		w.run(30 * time.Second)
		if len(w.at(3).routers) != 1 || len(w.at(2).native) != 2 {
			t.Errorf("%d routers, %d prefixes", len(w.at(3).routers), len(w.at(2).native))
		}
		w.cmdAway = false
		w.run(40 * time.Second)
		for _, i := range w.at(3).maar.Nodes(w.now) {
			if i.State != "serving" {
				t.Errorf("the new one is %s", i.State)
			}
		}
		w.attach(2)
		w.run(40 * time.Second)
		if s := w.info(2).State; s != "serving" || len(w.at(2).routers) == 0 {
			t.Errorf("MAAR 2: %s, %d routers", s, len(w.at(2).routers))
		}
	})
}

func TestPreviousMAARThatDied(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		w := network(t, mode, 3)
		w.attach(1)
		w.run(time.Second)
		dead := w.own(1)
		delete(w.nodes, maar(1))
		w.attach(2)
		w.run(5 * time.Second)
		if s := w.info(2).State; s != "serving" || len(w.at(2).routers) == 0 {
			t.Errorf("MAAR 2: %s, %d routers", s, len(w.at(2).routers))
		}
		// The CMD gives it up, and the next refresh tells.
		w.run(DefaultLifetime)
		if b, ok := w.at(2).native[dead]; ok {
			t.Errorf("still bound: %+v", b)
		}
	})
}

func TestNotAuthorised(t *testing.T) {
	friend := signaling.LinkLayerAddress{2, 0, 0, 0, 0, 1}
	fixed := netip.MustParsePrefix("2001:db8:a1:42::/64")
	s := alone(t, func(c *Config) {
		c.AllowAnyNode, c.Nodes = false, []Node{{LinkLayer: friend, Identifier: "friend@example.net", Prefix: fixed}}
	})
	for range 100 {
		e := s.attach()
		if len(e) > 1 || len(of[signaling.Report](e)) != len(e) {
			t.Fatalf("%v", e)
		}
	}
	if c := s.m.Counters(); c.NotAuthorized != 100 {
		t.Errorf("counters %+v", c)
	}
	u := one[*mh.BindingUpdate](s, s.handle(signaling.MobileNodeAttached{Link: "radio", LinkLayer: friend}))
	p, _ := mh.Find[*mh.AnchoredPrefix](u.Options)
	id, _ := mh.Find[*mh.MobileNodeIdentifier](u.Options)
	if p.Prefix != fixed || id.Subtype != mh.IdentifierNAI || id.Identifier != "friend@example.net" {
		t.Errorf("prefix %v, MN-ID %+v", p.Prefix, id)
	}
	// No group address is a host's.
	s = alone(t)
	s.silent(s.handle(signaling.MobileNodeAttached{Link: "radio", LinkLayer: signaling.LinkLayerAddress{1}}))
}

func TestPoolExhausted(t *testing.T) {
	s := alone(t, func(c *Config) {
		c.Pools, c.Quarantine, c.PrefixMemory = []netip.Prefix{netip.MustParsePrefix("2001:db8:a1:10::/63")}, time.Hour, 24*time.Hour
	})
	mac := func(n byte) signaling.LinkLayerAddress { return signaling.LinkLayerAddress{2, 0, 0, 0, 1, n} }
	for n := range byte(2) {
		s.acknowledge(one[*mh.BindingUpdate](s, s.handle(signaling.MobileNodeAttached{Link: "radio", LinkLayer: mac(n)})), 0)
	}
	e := s.handle(signaling.MobileNodeAttached{Link: "radio", LinkLayer: mac(3)})
	s.silent(e)
	if !slices.Contains(e.kinds(), PoolExhausted) || s.m.Counters().PoolExhausted != 1 {
		t.Errorf("%v", e.kinds())
	}
	// The first leaves. Its prefix is in quarantine for an hour, and then goes to who waits for one.
	s.handle(signaling.MobileNodeDetached{Link: "radio", LinkLayer: mac(0)})
	gone := time.Duration(0)
	for i := 0; s.m.byMAC[mac(0)] != nil; i++ {
		s.after(10 * time.Second)
		if gone += 10 * time.Second; i > 100 {
			t.Fatal("the first does not go")
		}
	}
	waiting := s.m.byMAC[mac(3)]
	if s.after(50 * time.Minute); waiting.own.IsValid() {
		t.Errorf("%v is in quarantine", waiting.own)
	}
	if s.after(15 * time.Minute); !waiting.own.IsValid() {
		t.Error("no prefix after quarantine")
	}
}

func TestTooManyNodes(t *testing.T) {
	s := alone(t, func(c *Config) { c.MaxNodes = 1 })
	s.attach()
	s.silent(s.handle(signaling.MobileNodeAttached{Link: "radio", LinkLayer: signaling.LinkLayerAddress{2, 9}}))
	if s.m.Counters().NoRoom != 1 {
		t.Errorf("counters %+v", s.m.Counters())
	}
}

func TestUpdatesThatMustNotBeTaken(t *testing.T) {
	s, prefix := served(t)
	good := func() *mh.BindingUpdate { return noticeOf(1, maar(2), prefix) }
	refused := func(name string, e effects, status mh.Status) {
		t.Helper()
		if b := one[*mh.BindingAcknowledgement](s, e); b.Status != status {
			t.Errorf("%s: status %d, want %d", name, b.Status, status)
		}
	}
	untouched := func(name string, e effects) {
		t.Helper()
		if len(of[signaling.Bind](e))+len(of[signaling.UnbindAttached](e)) > 0 || s.state().State != "serving" {
			t.Errorf("%s: %v, %s", name, e, s.state().State)
		}
	}
	control := s.m.association
	e := s.from(maar(2), good(), control, maar(2), s.later())
	s.silent(e)
	untouched("from a stranger, with the CMD's key", e)
	e = s.from(cmd, good(), key(between(1, 2)), cmd, s.later())
	s.silent(e)
	untouched("with another MAAR's key", e)
	r := s.received(cmd, good(), control, cmd, s.later())
	r.Payload[len(r.Payload)-1] ^= 1
	e = s.handle(r)
	s.silent(e)
	untouched("with a wrong checksum", e)
	e = s.from(cmd, good(), control, cmd, mh.NTPTimeOf(s.now.Add(-time.Minute)))
	refused("a minute old", e, mh.StatusIDMismatch)
	untouched("a minute old", e)
	u := good()
	u.Distributed = false
	e = s.from(cmd, u, control, cmd, s.later())
	s.silent(e)
	untouched("without flag D", e)
	e = s.notice(netip.MustParseAddr("ff02::1"), prefix)
	refused("group address", e, mh.StatusAdministrativelyProhibited)
	untouched("group address", e)
	e = s.notice(maar(1), prefix)
	refused("a loop", e, mh.StatusAdministrativelyProhibited)
	untouched("a loop", e)
	e = s.notice(maar(2), netip.MustParsePrefix("2001:db8:a2:7::/64"))
	refused("another MAAR's prefix", e, mh.StatusNotAuthorizedForHomePrefix)
	untouched("another MAAR's prefix", e)
	e = s.from(cmd, good(), control, cmd, mh.NTPTimeOf(noon.Add(-time.Millisecond)))
	s.silent(e)
	untouched("sent before it was registered here", e)
	// Once it is taken, it is not taken again.
	r = s.received(cmd, good(), control, cmd, s.later())
	first := s.handle(r)
	if one[*mh.BindingAcknowledgement](s, first).Status != 0 || s.state().State != "previous" {
		t.Errorf("%v, %s", first, s.state().State)
	}
	s.silent(s.handle(r))
	c := s.m.Counters()
	if d := c.Discarded; d.Stranger != 1 || d.Unauthenticated != 1 || d.BadChecksum != 1 || d.WrongProtocol != 1 || d.Replayed != 3 {
		t.Errorf("discarded %+v", d)
	}
}

func TestAnchorsThatCannotBe(t *testing.T) {
	s := alone(t)
	other := signaling.LinkLayerAddress{2, 0, 0, 0, 0, 0x22}
	p2 := netip.MustParsePrefix("2001:db8:a2:7::/64")
	s.acknowledge(one[*mh.BindingUpdate](s, s.handle(signaling.MobileNodeAttached{Link: "radio", LinkLayer: other})), 0, &mh.PreviousMAAR{Address: maar(2), Prefix: p2})
	u := one[*mh.BindingUpdate](s, s.attach())
	bad := []mh.Option{
		&mh.PreviousMAAR{Address: maar(2), Prefix: p2},                                          // another mobile node's
		&mh.PreviousMAAR{Address: maar(2), Prefix: netip.MustParsePrefix("2001:db8:a1:7::/64")}, // this MAAR's own
		&mh.PreviousMAAR{Address: maar(2), Prefix: netip.MustParsePrefix("::/0")},
		&mh.PreviousMAAR{Address: maar(2), Prefix: netip.MustParsePrefix("2001:db8::/32")},
		&mh.PreviousMAAR{Address: netip.MustParseAddr("ff02::1"), Prefix: netip.MustParsePrefix("2001:db8:a2:8::/64")},
		&mh.PreviousMAAR{Address: maar(1), Prefix: netip.MustParsePrefix("2001:db8:a2:9::/64")}, // no prefix of this MAAR
		&mh.PreviousMAAR{Address: maar(2), Prefix: netip.MustParsePrefix("2001:db8:a2:a::/64")},
		&mh.DLIFLinkLayerAddress{Address: []byte{1, 0, 0, 0, 0, 1}}, // a group address
		&mh.PreviousMAAR{Address: maar(2), Prefix: netip.MustParsePrefix("2001:db8:a2:b::/64")},
		&mh.DLIFLinkLocalAddress{Address: netip.MustParseAddr("2001:db8::1")},
	}
	e := s.acknowledge(u, mh.StatusAccepted, bad...)
	if b := of[signaling.BindAttached](e); len(b) != 0 {
		t.Errorf("bound %+v", b)
	}
	if n := s.m.Counters().BadAnchors; n != 8 {
		t.Errorf("%d bad anchors, want 8", n)
	}
}

func TestAcknowledgementsThatMustNotBeTaken(t *testing.T) {
	s := alone(t)
	u := one[*mh.BindingUpdate](s, s.attach())
	good := answer(u, mh.StatusAccepted)
	stamp, _ := auth.Timestamp(u.Options)
	for name, e := range map[string]effects{
		"stranger":   s.from(maar(7), answer(u, 0), s.m.association, maar(1), stamp),
		"peer":       s.from(maar(2), answer(u, 0), s.m.association, maar(1), stamp),
		"other time": s.from(cmd, answer(u, 0), s.m.association, maar(1), stamp+1),
	} {
		if len(e) > 0 {
			t.Errorf("%s: %v", name, e)
		}
	}
	other := *good
	other.Sequence += 5
	if e := s.reply(u, &other); len(e) > 0 {
		t.Errorf("another's sequence number: %v", e)
	}
	plain := answer(u, 0)
	plain.ProxyRegistration = false
	if e := s.reply(u, plain); len(e) > 0 {
		t.Errorf("no proxy registration: %v", e)
	}
	if s.state().State != "attaching" {
		t.Errorf("state %s", s.state().State)
	}
	if s.reply(u, good); s.state().State != "serving" {
		t.Errorf("state %s", s.state().State)
	}
}

func TestTwoMAARsSeeTheHostAtOnce(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		w := network(t, mode, 2)
		// For a minute the host, or somebody with its address, is heard on both links.
		for range 600 {
			w.attach(1)
			w.run(50 * time.Millisecond)
			w.attach(2)
			w.run(50 * time.Millisecond)
		}
		if c := w.at(1).maar.Counters(); c.Contended == 0 || c.Handovers > 60 {
			t.Errorf("put off %d times, handed over %d times", c.Contended, c.Handovers)
		}
		// When one is left, it is served there.
		w.detach(1)
		w.run(contention + time.Second)
		w.attach(2)
		w.run(5 * time.Second)
		w.served(2, 1)
	})
}

func TestForcedRemoval(t *testing.T) {
	s, prefix := served(t)
	e := s.notice(netip.Addr{}, prefix)
	if b := one[*mh.BindingAcknowledgement](s, e); b.Status != 0 || b.Lifetime != 0 {
		t.Errorf("PBA %+v", b)
	}
	if u := of[signaling.Unadvertise](e); len(u) != 1 || !u[0].Tell {
		t.Errorf("unadvertised %+v", u)
	}
	if len(of[signaling.UnbindAttached](e)) != 1 || s.state().State != "none" {
		t.Errorf("%v, %s", e, s.state().State)
	}
	// Of what is not there, nothing is left to end.
	if b := one[*mh.BindingAcknowledgement](s, s.notice(netip.Addr{}, prefix)); b.Status != 0 {
		t.Errorf("PBA %+v", b)
	}
}

func TestShutdown(t *testing.T) {
	s, _ := served(t)
	u := one[*mh.BindingUpdate](s, s.handle(signaling.Shutdown{}))
	if u.Lifetime != 0 || s.m.Stopped() {
		t.Errorf("PBU %+v, stopped %v", u, s.m.Stopped())
	}
	if s.acknowledge(u, mh.StatusAccepted); !s.m.Stopped() {
		t.Error("not stopped")
	}
	s.silent(s.attach())
	s, _ = served(t, func(c *Config) { c.Store = memoryStore{} })
	if e := s.handle(signaling.Shutdown{}); len(e) != 0 || !s.m.Stopped() {
		t.Errorf("with a store: %v", e)
	}
}
