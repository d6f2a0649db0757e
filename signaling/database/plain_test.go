package database

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

var nowhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)

// homes replaces all prefix options and flag D.
func homes(p ...netip.Prefix) func(*pbu) {
	return func(b *pbu) {
		b.Distributed = false
		without[*mh.AnchoredPrefix](b)
		without[*mh.HomeNetworkPrefix](b)
		for _, p := range p {
			b.Options = append(b.Options, &mh.HomeNetworkPrefix{Prefix: p})
		}
	}
}

func linkLayer(b ...byte) func(*pbu) { return with(&mh.LinkLayerIdentifier{Identifier: b}) }

// granted are the prefixes in the latest PBA to router i.
func (w *world) granted(i int) []netip.Prefix {
	var list []netip.Prefix
	for _, o := range mh.FindAll[*mh.HomeNetworkPrefix](w.told[i].Options) {
		list = append(list, o.Prefix)
	}
	return list
}

func (w *world) status(i int, want mh.Status) {
	w.t.Helper()
	if w.told[i] == nil || w.told[i].Status != want {
		w.t.Errorf("router %d was told %+v, want status %d", i, w.told[i], uint8(want))
	}
	w.m.check(w.t)
}

func (w *world) effects(want ...signaling.Effect) {
	w.t.Helper()
	if fmt.Sprint(w.other) != fmt.Sprint(want) {
		w.t.Errorf("effects %v, want %v", w.other, want)
	}
	w.other = nil
}

func bind(p netip.Prefix, to int) signaling.Effect {
	return signaling.Bind{Home: p, Local: cmd, Remote: maar(to)}
}

func TestRFC5213_5_3_PlainAnchor(t *testing.T) {
	w := start(t, Relay)
	w.registers(9, 1, time.Minute, homes(nowhere), linkLayer(1, 2))
	w.status(9, 0)
	p := w.granted(9)[0]
	if a := w.told[9]; a.Distributed || !a.ProxyRegistration || a.Lifetime != time.Minute || p.Bits() != 64 ||
		!w.cfg.HomePrefixes[0].Contains(p.Addr()) {
		t.Fatalf("PBA %+v", a)
	}
	w.effects(bind(p, 9))
	// 5.3.3: no handoff. 5.3.4: to another gateway, here a MAAR that leaves flag D out.
	w.at(30*time.Second).registers(9, 2, time.Minute, homes(p), linkLayer(1, 2), hint(mh.HandoffNotChanged))
	w.effects()
	w.at(60*time.Second).registers(1, 3, time.Minute, homes(nowhere), linkLayer(1, 2), hint(mh.HandoffUnknown))
	w.status(1, 0)
	if g := w.granted(1); len(g) != 1 || g[0] != p {
		t.Errorf("handed over with %v, not %v", g, p)
	}
	w.effects(bind(p, 1))
	// 5.3.5: the gateway before must be ignored.
	delete(w.told, 9)
	w.at(61*time.Second).registers(9, 4, 0, homes(p), linkLayer(1, 2))
	if w.told[9] != nil || w.m.Counters().Discarded.NoSession != 1 {
		t.Errorf("answer %+v", w.told[9])
	}
	w.registers(1, 5, 0, homes(p), linkLayer(1, 2))
	w.status(1, 0)
	w.effects(signaling.Unbind{Home: p})
}

func TestRFC5213_5_3_5_DeleteDelay(t *testing.T) {
	w := start(t, Relay)
	w.registers(9, 1, time.Minute, homes(nowhere))
	p := w.granted(9)[0]
	w.effects(bind(p, 9))
	w.at(10*time.Second).registers(9, 2, 0, homes(p))
	w.status(9, 0)
	w.effects(signaling.Unbind{Home: p})
	// Registered within ten seconds, it goes on.
	w.at(19*time.Second).registers(1, 3, time.Minute, homes(p), hint(mh.HandoffBetweenGateways))
	w.status(1, 0)
	w.effects(bind(p, 1))
	w.at(30*time.Second).registers(1, 4, 0, homes(p)).at(39900 * time.Millisecond)
	w.effects(signaling.Unbind{Home: p})
	if w.m.Len() != 1 {
		t.Error("deleted too early")
	}
	w.at(40 * time.Second)
	w.effects()
	if w.m.Len() != 0 || w.m.Counters().Expired != 0 {
		t.Error("not deleted")
	}
	// Expiry takes the binding back.
	w.registers(9, 1, time.Minute, homes(nowhere)).at(100 * time.Second)
	w.effects(bind(p, 9), signaling.Unbind{Home: p})
}

func TestRFC5213_5_3_1_MissingOptions(t *testing.T) {
	for want, change := range map[mh.Status]func(*pbu){
		mh.StatusMissingMobileNodeIdentifier: without[*mh.MobileNodeIdentifier],
		mh.StatusMissingHandoffIndicator:     without[*mh.HandoffIndicator],
		mh.StatusMissingAccessTechnologyType: without[*mh.AccessTechnologyType],
	} {
		w := start(t, Relay)
		w.registers(9, 1, time.Minute, homes(nowhere), change)
		w.status(9, want)
		w.registers(1, 1, time.Minute, change)
		w.status(1, want)
		a := w.told[9]
		id, ok := mh.Find[*mh.MobileNodeIdentifier](a.Options)
		if h := w.granted(9); len(h) != 1 || h[0] != nowhere || !ok ||
			(id.Identifier == "") != (want == mh.StatusMissingMobileNodeIdentifier) {
			t.Errorf("refusal %+v", a)
		}
		if w.m.Len() != 0 || w.m.Counters().Refused[want] != 2 {
			t.Errorf("%d sessions, refused %v", w.m.Len(), w.m.Counters().Refused)
		}
	}
	w := start(t, Relay)
	w.registers(9, 1, time.Minute, homes())
	w.status(9, mh.StatusMissingHomeNetworkPrefix)
	w.registers(1, 1, time.Minute, anchoring())
	w.status(1, mh.StatusMissingHomeNetworkPrefix)
}

func TestRFC5213_5_3_2_Authorisation(t *testing.T) {
	fixed := netip.MustParsePrefix("2001:db8:f0:77::/64")
	w := start(t, Relay, func(c *Config) {
		c.AllowAnyNode = false
		c.Nodes = []Node{
			{Identifier: ParseIdentifier("mn@example.net"), Prefix: fixed},
			{Identifier: ParseIdentifier("5:02aabbccddee")},
			{Identifier: ParseIdentifier("barred@example.net"), Barred: true},
		}
	})
	w.registers(9, 1, time.Minute, homes(nowhere), about("stranger"))
	w.status(9, mh.StatusNotLocalMobilityAnchor)
	w.registers(1, 1, time.Minute, about("stranger"))
	w.status(1, mh.StatusNotLocalMobilityAnchor)
	w.registers(9, 1, time.Minute, homes(nowhere), about("barred@example.net"))
	w.status(9, mh.StatusProxyNotEnabled)
	w.registers(9, 1, time.Minute, homes(netip.MustParsePrefix("2001:db8:f0:78::/64")))
	w.status(9, mh.StatusNotAuthorizedForHomePrefix)

	other := with(&mh.MobileNodeIdentifier{Subtype: 5, Identifier: "\x02\xaa\xbb\xcc\xdd\xee"})
	w.registers(9, 1, time.Minute, homes(fixed), other)
	w.status(9, mh.StatusNotAuthorizedForHomePrefix)
	w.registers(9, 1, time.Minute, homes(netip.MustParsePrefix("2001:db8:77::/64")), other)
	w.status(9, mh.StatusNotAuthorizedForHomePrefix)
	free := netip.MustParsePrefix("2001:db8:f0:99::/64")
	w.registers(9, 1, time.Minute, homes(free), other)
	w.status(9, 0)
	w.at(time.Second).registers(9, 1, time.Minute, homes(nowhere))
	w.status(9, 0)
	w.effects(bind(free, 9), bind(fixed, 9))
	if s := w.m.Session(w.now, "5:02aabbccddee"); len(s) != 1 || s[0].Prefixes[0].Prefix != free || s[0].Distributed {
		t.Errorf("sessions %+v", s)
	}
	// 5.4.1.1: another's prefix, and a set that does not match.
	w.at(2*time.Second).registers(1, 1, time.Minute, homes(fixed), other)
	w.status(1, mh.StatusNotAuthorizedForHomePrefix)
	w.at(3*time.Second).registers(1, 1, time.Minute, homes(free, netip.MustParsePrefix("2001:db8:f0:9a::/64")), other)
	w.status(1, mh.StatusPrefixSetDoesNotMatch)
}

func TestRFC5213_5_3_2_PoolExhausted(t *testing.T) {
	w := start(t, Relay, func(c *Config) { c.HomePrefixes = []netip.Prefix{netip.MustParsePrefix("2001:db8:f0::/63")} })
	for i, want := range []mh.Status{0, 0, mh.StatusInsufficientResources} {
		w.registers(9, 1, time.Minute, homes(nowhere), about(fmt.Sprint("mn", i)))
		w.status(9, want)
	}
	w.at(2 * time.Minute)
	w.other = nil
	w.registers(9, 1, time.Minute, homes(nowhere), about("mn2"))
	w.status(9, 0)
	// The same mobile node gets the same prefix if it can.
	p := w.granted(9)[0]
	w.at(5*time.Minute).registers(9, 1, time.Minute, homes(nowhere), about("mn2"))
	if w.granted(9)[0] != p {
		t.Errorf("%v, then %v", p, w.granted(9)[0])
	}
}

func TestRFC5213_5_4_Interfaces(t *testing.T) {
	w := start(t, Relay)
	at := 0
	next := func(i int, changes ...func(*pbu)) netip.Prefix {
		t.Helper()
		at++
		w.at(time.Duration(at)*time.Second).registers(i, 1, time.Minute, append([]func(*pbu){homes(nowhere)}, changes...)...)
		w.status(i, 0)
		return w.granted(i)[0]
	}
	first := next(9, linkLayer(1), hint(mh.HandoffNewInterface))
	second := next(9, linkLayer(2), hint(mh.HandoffNewInterface))
	if first == second || len(w.m.Session(w.now, "mn@example.net")) != 2 {
		t.Errorf("two interfaces got %v and %v", first, second)
	}
	if p := next(1, linkLayer(2), hint(mh.HandoffUnknown)); p != second {
		t.Errorf("by its link-layer identifier it got %v", p)
	}
	// Which of two is handed over to a third nobody can tell.
	if p := next(1, linkLayer(3), hint(mh.HandoffBetweenInterfaces)); p == first || p == second {
		t.Errorf("a third interface got %v", p)
	}
	w.at(3 * time.Minute)
	only := next(9, linkLayer(1), hint(mh.HandoffNewInterface))
	w.at(3*time.Minute+10*time.Second).registers(1, 1, time.Minute, homes(nowhere), linkLayer(4), hint(mh.HandoffBetweenInterfaces))
	if p := w.granted(1)[0]; p != only || w.m.Len() != 1 {
		t.Errorf("between interfaces it got %v, not %v", p, only)
	}
	// 5.4.1.3: without a link-layer identifier.
	w.at(3*time.Minute+20*time.Second).registers(9, 1, time.Minute, homes(nowhere), hint(mh.HandoffBetweenGateways))
	if p := w.granted(9)[0]; p != only || w.m.Len() != 1 {
		t.Errorf("between gateways it got %v, not %v", p, only)
	}
	// 5.4.1.1, 5: with its prefix, but as another interface.
	w.at(3*time.Minute+30*time.Second).registers(1, 1, time.Minute, homes(only), linkLayer(7), hint(mh.HandoffNewInterface))
	w.status(1, mh.StatusNotAuthorizedForHomePrefix)
}

func TestRFC5213_8_7_LinkLocalAddress(t *testing.T) {
	w := start(t, Relay)
	zero := with(&mh.LinkLocalAddress{Address: netip.IPv6Unspecified()})
	said := func(i int) netip.Addr {
		o, ok := mh.Find[*mh.LinkLocalAddress](w.told[i].Options)
		if !ok {
			return netip.Addr{}
		}
		return o.Address
	}
	w.registers(9, 1, time.Minute, homes(nowhere), linkLayer(1), zero)
	made := said(9)
	if !made.IsLinkLocalUnicast() {
		t.Fatalf("generated %v", made)
	}
	w.at(time.Second).registers(1, 1, time.Minute, homes(nowhere), linkLayer(1), zero)
	if said(1) != made {
		t.Errorf("the next gateway got %v", said(1))
	}
	w.at(2*time.Second).registers(1, 1, time.Minute, homes(nowhere), linkLayer(1))
	if said(1).IsValid() {
		t.Errorf("unasked, %v", said(1))
	}
	set := netip.MustParseAddr("fe80::77")
	w.at(3*time.Second).registers(1, 1, time.Minute, homes(nowhere), linkLayer(1), with(&mh.LinkLocalAddress{Address: set}))
	w.at(4*time.Second).registers(9, 1, time.Minute, homes(nowhere), linkLayer(1), zero)
	if said(1) != set || said(9) != set {
		t.Errorf("set %v, then %v", said(1), said(9))
	}
}

func TestRFC5213_5_5_Timestamps(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := start(t, Relay)
		i, change := 1, func(*pbu) {}
		if plain {
			i, change = 9, homes(nowhere)
		}
		at := func(d time.Duration) func(*pbu) { return with(&mh.Timestamp{Time: noon.Add(d)}) }
		w.at(10*time.Second).registers(i, 1, time.Minute, change, linkLayer(1), at(10*time.Second+310*time.Millisecond))
		w.status(i, mh.StatusTimestampMismatch)
		w.registers(i, 1, time.Minute, change, linkLayer(1), at(10*time.Second-310*time.Millisecond))
		w.status(i, mh.StatusTimestampMismatch)
		if o, _ := mh.Find[*mh.Timestamp](w.told[i].Options); !o.Time.Equal(w.now) {
			t.Errorf("told that it is %v", o.Time)
		}
		if w.m.Len() != 0 {
			t.Error("something is stored")
		}
		w.registers(i, 500, time.Minute, change, linkLayer(1), at(10*time.Second+290*time.Millisecond))
		w.status(i, 0)
		// As early as the one before, and earlier; the sequence number does not matter.
		for range 2 {
			w.at(w.now.Sub(noon)+time.Millisecond).registers(i, 501, time.Minute, change, linkLayer(1), at(10*time.Second+290*time.Millisecond))
			w.status(i, mh.StatusTimestampLower)
		}
		w.at(11*time.Second).registers(i, 3, time.Minute, change, linkLayer(1))
		w.status(i, 0)
		if o, _ := mh.Find[*mh.Timestamp](w.told[i].Options); w.told[i].Sequence != 3 || !o.Time.Equal(w.now) {
			t.Errorf("PBA %+v", w.told[i])
		}
	}
}

func TestRFC5213_5_5_SequenceNumbers(t *testing.T) {
	w := start(t, Relay, func(c *Config) { c.Ordering = BySequence })
	w.registers(1, 65535, time.Minute, sequence)
	w.status(1, 0)
	for _, n := range []uint16{65535, 65000, 32767} {
		w.at(w.now.Sub(noon)+time.Second).registers(2, n, time.Minute, sequence)
		if w.status(2, mh.StatusSequenceOutOfWindow); w.told[2].Sequence != 65535 {
			t.Errorf("told that the last is %d", w.told[2].Sequence)
		}
	}
	w.at(10*time.Second).registers(2, 3, time.Minute, sequence).acknowledges(1)
	w.status(2, 0)
	for _, options := range []mh.Options{w.told[2].Options, w.asked[1].Options} {
		if _, ok := mh.Find[*mh.Timestamp](options); ok {
			t.Error("there is a Timestamp option")
		}
	}
	w.isSession("maar2 p1 p2")
}

func TestRFC8885_4_1_FlagD(t *testing.T) {
	// A plain local mobility anchor must refuse flag D; the PBA has none.
	w := start(t, PlainOnly)
	w.registers(1, 1, time.Minute).drawing(`
		0s maar1 > cmd PBU 1 1m0s anchored p1
		0s cmd > maar1 PBA 1 0s status 129 plain anchored p1`)
	w.registers(9, 1, time.Minute, homes(nowhere))
	w.status(9, 0)
	// A plain gateway may not set it.
	w = start(t, Relay)
	w.registers(9, 1, time.Minute)
	w.status(9, mh.StatusGatewayNotAuthorized)
	if !w.told[9].Distributed {
		t.Error("the database does not say what it is")
	}
	// A database that serves nobody without.
	w = start(t, Relay, func(c *Config) { c.ServePlain = false })
	w.registers(9, 1, time.Minute, homes(nowhere))
	w.status(9, mh.StatusAdministrativelyProhibited)
	if w.m.Len() != 0 {
		t.Error("something is stored")
	}
}

func TestRFC8885_4_2_BothKindsOfSession(t *testing.T) {
	w := start(t, Relay)
	w.registers(1, 1, time.Minute).at(time.Second).registers(9, 1, time.Minute, homes(nowhere))
	w.status(9, 0)
	if w.told[9].Distributed || !w.told[1].Distributed || len(w.m.Session(w.now, "mn@example.net")) != 2 {
		t.Errorf("sessions %+v", w.m.Session(w.now, "mn@example.net"))
	}
	w.isSession("maar1 p1")
	n := 0
	for range w.m.Sessions(w.now) {
		n++
	}
	p := w.granted(9)[0]
	effects, ok := w.m.Remove(w.now, "mn@example.net")
	if w.take(effects); n != 2 || !ok || w.m.Len() != 0 {
		t.Errorf("%d sessions, %d left", n, w.m.Len())
	}
	w.effects(bind(p, 9), signaling.Unbind{Home: p})
	w.m.check(t)
}
