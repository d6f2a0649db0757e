package homeagent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// verified fails unless the acknowledgement among the effects is signed with key, and returns its timestamp.
func (e effects) verified(t testing.TB, key auth.Association, careOf, home netip.Addr) mh.NTPTime {
	t.Helper()
	ack, s := e.ack(t)
	if ack == nil {
		t.Fatal("no acknowledgement")
	}
	lookup := func(spi uint32) (auth.Association, bool) { return key, spi == key.SPI }
	if _, err := auth.Verify(s.Payload, ack, lookup, careOf, home); err != nil {
		t.Errorf("acknowledgement with status %d: %v", ack.Status, err)
	}
	stamp, _ := auth.Timestamp(ack.Options)
	return stamp
}

func TestRFC4285_5_1_1_AcknowledgementIsAuthenticated(t *testing.T) {
	key := sha1Key
	key.Identifier = "signed@example.net"
	w := start(t)
	e := w.accept(bu(signed, 1, sign(key, noon)))
	// "If the timestamp is valid, the Home Agent copies the entire Timestamp field into the Timestamp field in the BA".
	if stamp := e.verified(t, sha1Key, careOf1, signed); stamp != mh.NTPTimeOf(noon) {
		t.Errorf("timestamp %x", stamp)
	}
	ack, _ := e.ack(t)
	if id, ok := mh.Find[*mh.MobileNodeIdentifier](ack.Options); !ok || id.Identifier != key.Identifier {
		t.Errorf("MN-ID %v", id)
	}
	alternate := options(&mh.AlternateCareOf{Address: careOf2})
	e = w.accept(bu(signed, 2, alternate, sign(sha1Key, noon.Add(time.Second))))
	e.verified(t, sha1Key, careOf2, signed)
	w.bound(signed, careOf2, time.Minute)
	e = w.accept(bu(signed, 3, atHome, sign(sha1Key, noon.Add(2*time.Second))))
	e.verified(t, sha1Key, signed, signed)
}

func TestRFC4285_5_NoOptionIsDiscardedInSilence(t *testing.T) {
	w := start(t)
	w.send(bu(signed, 1)).silent(t)
	w.send(bu(netip.MustParseAddr("2001:db8:1::77"), 1)).silent(t)
	if n := w.m.Counters().Discarded.Unauthenticated; n != 2 {
		t.Errorf("%d counted", n)
	}
	// A node that may do without may not use a key that is not its own.
	w.send(bu(plain, 1, sign(sha1Key, noon))).silent(t)
}

func TestRFC4285_5_1_1_NoAssociationIsDiscardedInSilence(t *testing.T) {
	w := start(t, func(c *Config) { c.AllowAnyMobileNode = true })
	unknown := sha1Key
	unknown.SPI = 4000
	w.send(bu(signed, 1, sign(unknown, noon))).silent(t)
	w.send(bu(netip.MustParseAddr("2001:db8:1::77"), 1, sign(unknown, noon))).silent(t)
	if n := w.m.Counters().Discarded.UnknownAssociation; n != 2 {
		t.Errorf("%d counted", n)
	}
}

func TestRFC6275_5_1_AssociationsDoNotServeOtherHomeAddresses(t *testing.T) {
	w := start(t, func(c *Config) { c.AllowAnyMobileNode = true })
	// The roaming node's key, for the signed node's address and for nobody's, without the MN-ID that it belongs to.
	w.send(bu(signed, 1, sign(sha256Key, noon))).silent(t)
	w.send(bu(netip.MustParseAddr("2001:db8:1::77"), 1, sign(sha256Key, noon))).silent(t)
	named := sha1Key
	named.Identifier = "signed@example.net"
	w.send(bu(netip.MustParseAddr("2001:db8:1::77"), 1, sign(named, noon))).status(t, 129)
	w.send(bu(netip.MustParseAddr("2001:db8:77::77"), 1, sign(named, noon.Add(1)))).status(t, 132)
}

func TestSharedAssociationServesUnknownNodes(t *testing.T) {
	shared := auth.Association{SPI: 5000, Algorithm: auth.HMACSHA256, Key: auth.Key("shared by all of them")}
	w := start(t, func(c *Config) {
		c.AllowAnyMobileNode = true
		c.Associations[shared.SPI] = shared
	})
	home := netip.MustParseAddr("2001:db8:1::77")
	w.accept(bu(home, 1, sign(shared, noon))).verified(t, shared, careOf1, home)
	w.send(bu(home, 2)).silent(t)
	w.send(bu(signed, 1, sign(shared, noon))).silent(t)
}

func TestRFC4285_5_3_AuthenticationFailure(t *testing.T) {
	w := start(t)
	wrong := sha1Key
	wrong.Key = auth.Key("not the right one")
	m := bu(signed, 1, sign(wrong, noon)).received(t)
	e := effects(w.handle(m))
	e.status(t, 146)
	e.verified(t, sha1Key, careOf1, signed)
	if _, s := e.ack(t); len(s.Payload) > len(m.Payload) {
		t.Errorf("%d octets answer %d", len(s.Payload), len(m.Payload))
	}
	w.bound(signed, nowhere, 0)
	w.accept(bu(signed, 1, sign(sha1Key, noon)))
}

func TestUnauthenticatedNeverGetMoreThanTheySent(t *testing.T) {
	w := start(t)
	update := bu(signed, 1).update
	update.Options = mh.Options{&mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: 1000, Data: []byte{1}}}
	payload, err := mh.Append(nil, &update)
	if err != nil {
		t.Fatal(err)
	}
	mh.SetChecksum(payload, signed, agent)
	effects(w.handle(signaling.Received{Source: careOf1, Destination: agent, HomeAddress: signed, Payload: payload})).silent(t)
	if c := w.m.Counters(); c.Throttled != 1 || c.Refused[146] != 1 {
		t.Errorf("counted %+v", c)
	}
}

func TestAuthenticationFailuresAreRateLimited(t *testing.T) {
	wrong := sha1Key
	wrong.Key = auth.Key("not the right one")
	w := start(t)
	answers := 0
	for i := range 3000 {
		w.after(time.Millisecond)
		e := w.send(bu(signed, uint16(i), sign(wrong, w.now)))
		answers += len(of[signaling.Send](e))
	}
	if answers < 390 || answers > 400 {
		t.Errorf("%d answers in 3 s, want a burst of 100 and 100 a second", answers)
	}
	w.accept(bu(signed, 1, sign(sha1Key, w.now)))
}

func TestRFC4285_6_MessageIDRequired(t *testing.T) {
	w := start(t)
	e := w.send(bu(signed, 1, sign(sha1Key, time.Time{})))
	e.status(t, 145)
	e.verified(t, sha1Key, careOf1, signed)
	w.bound(signed, nowhere, 0)
}

func TestRFC4285_6_TimestampOutsideWindow(t *testing.T) {
	for _, off := range []time.Duration{7001 * time.Millisecond, -7001 * time.Millisecond, 365 * 24 * time.Hour} {
		w := start(t)
		sent := noon.Add(off)
		e := w.send(bu(signed, 1, sign(sha1Key, sent)))
		e.status(t, 144)
		stamp := e.verified(t, sha1Key, careOf1, signed)
		if stamp>>32 != mh.NTPTimeOf(noon)>>32 || uint32(stamp) != uint32(mh.NTPTimeOf(sent)) {
			t.Errorf("timestamp %x in answer to %x", stamp, mh.NTPTimeOf(sent))
		}
		// "The Home Agent does not create a binding cache entry if the timestamp check fails."
		w.bound(signed, nowhere, 0)
	}
}

func TestRFC4285_6_ReplayIsRefused(t *testing.T) {
	w := start(t)
	first := bu(signed, 1, sign(sha1Key, noon)).received(t)
	effects(w.handle(first)).status(t, 0)
	effects(w.handle(first)).status(t, 144)
	w.accept(bu(signed, 2, from(careOf2), sign(sha1Key, noon.Add(time.Second))))
	effects(w.handle(first)).status(t, 144)
	w.accept(bu(signed, 3, atHome, sign(sha1Key, noon.Add(2*time.Second))))
	for range 10 {
		w.after(time.Second)
		effects(w.handle(first)).status(t, 144)
	}
	w.bound(signed, nowhere, 0)
}

func TestReplayAfterExpiryIsRefused(t *testing.T) {
	w := start(t)
	// The mobile node's clock is 6 s ahead, so that its timestamp stays good longer than its binding.
	ahead := bu(signed, 1, lifetime(4*time.Second), sign(sha1Key, noon.Add(6*time.Second))).received(t)
	effects(w.handle(ahead)).status(t, 0)
	w.after(4 * time.Second).tick()
	w.bound(signed, nowhere, 0)
	for range 14 {
		w.after(time.Second)
		effects(w.handle(ahead)).status(t, 144)
	}
	w.bound(signed, nowhere, 0)
	if w.m.cache.Len() != 0 {
		t.Errorf("%d bindings are still remembered", w.m.cache.Len())
	}
}

func TestReplayAfterDeregistrationIsRefusedAsLongAsItsTimestampIsInTheWindow(t *testing.T) {
	w := start(t)
	ahead := bu(signed, 1, sign(sha1Key, noon.Add(6900*time.Millisecond))).received(t)
	effects(w.handle(ahead)).status(t, 0)
	w.accept(bu(signed, 2, lifetime(0), sign(sha1Key, noon.Add(6950*time.Millisecond))))
	for range 15 {
		w.after(time.Second)
		effects(w.handle(ahead)).status(t, 144)
	}
	w.bound(signed, nowhere, 0)
}

func TestRFC4285_7_SequenceNumberIsNotUsedWithTimestamps(t *testing.T) {
	w := start(t)
	for i, sequence := range []uint16{100, 100, 99, 1, 40000} {
		a := w.accept(bu(signed, sequence, sign(sha1Key, noon.Add(time.Duration(i)*time.Millisecond)))).status(t, 0)
		if a.Sequence != sequence {
			t.Errorf("sequence number %d in answer to %d", a.Sequence, sequence)
		}
	}
}

func TestMobileNodeWithWrongClockRegistersAtSecondTry(t *testing.T) {
	w := start(t)
	var clock auth.Clock
	own := func() time.Time { return w.now.Add(-5 * time.Hour) }
	m := bu(signed, 1)
	attempt := func() effects {
		stamp := clock.Stamp(own())
		p, err := auth.Sign(&m.update, sha1Key, careOf1, signed, stamp)
		if err != nil {
			t.Fatal(err)
		}
		mh.SetChecksum(p, signed, agent)
		return w.handle(signaling.Received{Source: careOf1, Destination: agent, HomeAddress: signed, Payload: p})
	}
	e := attempt()
	e.status(t, 144)
	clock.Resynchronise(e.verified(t, sha1Key, careOf1, signed), own())
	w.after(20 * time.Millisecond)
	attempt().status(t, 0)
	w.after(time.Millisecond)
	attempt().status(t, 0)
}

func TestRestartWithAClockThatWentBack(t *testing.T) {
	s := &memory{}
	w := start(t, stored(s))
	w.accept(bu(signed, 1, sign(sha1Key, noon)))
	again := start(t, stored(s))
	again.now = noon.Add(-time.Hour)
	var err error
	c := config()
	stored(s)(&c)
	if again.m, err = New(c, again.now); err != nil {
		t.Fatal(err)
	}
	again.restore()
	again.bound(signed, careOf1, time.Minute)
	var clock auth.Clock
	again.after(time.Second)
	e := again.send(bu(signed, 2, func(m *message) { m.key, m.at = &sha1Key, again.now }))
	e.status(t, 144)
	clock.Resynchronise(e.verified(t, sha1Key, careOf1, signed), again.now)
	again.after(time.Second)
	again.accept(bu(signed, 3, sign(sha1Key, clock.Stamp(again.now).Time())))
}

func TestMisplacedAuthenticationIsDiscarded(t *testing.T) {
	w := start(t)
	m := bu(signed, 1, options(&mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: 1000, Data: make([]byte, 12)},
		&mh.ReplayProtection{Timestamp: 1}))
	w.send(m).silent(t)
	if n := w.m.Counters().Discarded.MisplacedAuthentication; n != 1 {
		t.Errorf("%d counted", n)
	}
}

func TestConfigCheck(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"address":    func(c *Config) { c.Address = netip.MustParseAddr("fe80::1") },
		"prefixes":   func(c *Config) { c.HomePrefixes = nil },
		"lifetime":   func(c *Config) { c.MaxLifetime = 3 * time.Second },
		"nameless":   func(c *Config) { c.MobileNodes = append(c.MobileNodes, MobileNode{}) },
		"SPI":        func(c *Config) { c.MobileNodes[0].SPI = 77 },
		"off prefix": func(c *Config) { c.MobileNodes[0].HomeAddress = netip.MustParseAddr("2001:db8:9::1") },
	} {
		c := config()
		change(&c)
		if _, err := New(c, noon); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(Config{Address: agent}, noon); errors.Unwrap(err) != nil {
		t.Errorf("problems are not all told: %v", err)
	}
}
