package database

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// nothingStored fails if the machine holds anything.
func (w *world) nothingStored() {
	w.t.Helper()
	if w.m.Len() != 0 || len(w.m.sessions) != 0 || len(w.m.stamps.of) != 0 || !w.m.Next().IsZero() || len(w.other) > 0 {
		w.t.Errorf("%d sessions, %d stamps, next %v, effects %v", w.m.Len(), len(w.m.stamps.of), w.m.Next(), w.other)
	}
	w.m.check(w.t)
}

func TestStrangers(t *testing.T) {
	w := start(t, Relay)
	p := w.update(1, 1, time.Minute)
	p.src = netip.MustParseAddr("2001:db8:bad::1")
	w.hears(p)
	// With an association, but that of another router.
	p = w.update(1, 1, time.Minute)
	p.key = association(2)
	w.hears(p)
	if len(w.told) != 0 {
		t.Errorf("told %v", w.told)
	}
	// With no authentication at all.
	u := w.update(1, 1, time.Minute).BindingUpdate
	b, _ := mh.Append(nil, &u)
	mh.SetChecksum(b, maar(1), cmd)
	w.take(w.m.Handle(w.now, signaling.Received{Source: maar(1), Destination: cmd, Payload: b}))
	if d := w.m.Counters().Discarded; len(w.told) != 0 || d.Strangers != 1 || d.UnknownAssociation != 1 || d.Unauthenticated != 1 {
		t.Errorf("discarded %+v, told %v", d, w.told)
	}
	w.nothingStored()
}

func TestRFC4285_8_WrongKey(t *testing.T) {
	w := start(t, Relay)
	for range 30 {
		p := w.update(1, 1, time.Minute)
		p.key.Key = auth.Key("not the key of router number 1")
		w.hears(p)
	}
	w.status(1, mh.StatusAuthenticationFailure)
	if c := w.m.Counters(); c.Refused[mh.StatusAuthenticationFailure] != 30 || c.AcknowledgementsSent != 10 || c.Throttled != 20 {
		t.Errorf("counters %+v", c)
	}
	w.nothingStored()
}

func TestRFC4285_6_Replay(t *testing.T) {
	w := start(t, Proxy)
	old := w.update(1, 1, time.Minute)
	w.at(time.Millisecond)
	p := w.update(1, 2, time.Minute)
	w.hears(p)
	delete(w.told, 1)
	w.hears(p) // a copy
	if d := w.m.Counters().Discarded; w.told[1] != nil || d.Copies != 1 {
		t.Errorf("a copy was told %+v", w.told[1])
	}
	w.hears(old) // later than it was sent
	w.status(1, mh.StatusIDMismatch)
	// After the session has ended it is remembered, while it could be taken for fresh.
	w.at(time.Second).registers(1, 3, 0)
	w.isSession("none")
	w.at(6 * time.Second).hears(p)
	w.status(1, mh.StatusIDMismatch)
	w.at(20 * time.Second).hears(p)
	w.status(1, mh.StatusIDMismatch)
	if _, ok := w.m.stamps.get(w.m.at(w.now), peer{"\x01mn@example.net", 0}); ok || len(w.m.stamps.of) != 0 {
		t.Error("it is remembered for ever")
	}
	w.isSession("none")

	// Without replay protection.
	p = w.update(2, 1, time.Minute)
	p.stamp = 0
	w.hears(p)
	w.status(2, mh.StatusMessageIDRequired)
	w.nothingStored()
}

func TestAnothersPrefix(t *testing.T) {
	w := start(t, Relay)
	for _, p := range []netip.Prefix{pref(2), netip.MustParsePrefix("2001:db8:a1::/48"), netip.MustParsePrefix("2001:db8:77::/64"), nowhere} {
		w.registers(1, 1, time.Minute, anchoring(p))
		w.status(1, mh.StatusNotAuthorizedForHomePrefix)
	}
	w.registers(1, 1, time.Minute, anchoring(pref(1), pref(2)))
	w.status(1, mh.StatusNotAuthorizedForHomePrefix)
	if w.m.Len() != 0 {
		t.Error("something is stored")
	}
	// Another mobile node's.
	w.registers(1, 1, time.Minute)
	w.registers(1, 1, time.Minute, about("other@example.net"))
	w.status(1, mh.StatusNotAuthorizedForHomePrefix)
	w.isSession("maar1 p1")
}

func TestLoopingServingMAAR(t *testing.T) {
	w := start(t, Relay)
	for _, a := range []netip.Addr{maar(1), maar(2), cmd} {
		w.registers(1, 1, time.Minute, with(&mh.ServingMAAR{Address: a}))
		w.status(1, mh.StatusGatewayNotAuthorized)
	}
	if w.m.Len() != 0 {
		t.Error("something is stored")
	}
	// A P-MAAR that answers for another S-MAAR is not heard; the PBU is sent again.
	w.registers(1, 1, time.Minute).at(time.Second).registers(2, 1, time.Minute)
	u := *w.asked[1]
	u.Options = slices.Clone(u.Options)
	for i, o := range u.Options {
		if _, is := o.(*mh.ServingMAAR); is {
			u.Options[i] = &mh.ServingMAAR{Address: maar(1)}
		}
	}
	_, r := w.acknowledgement(1, &u, mh.StatusAccepted)
	w.take(w.m.Handle(w.now, r))
	w.isSession("maar2 p1? p2")
	if n := w.m.Counters().Discarded.Unasked; n != 1 {
		t.Errorf("%d unasked", n)
	}
}

func TestUnaskedAcknowledgements(t *testing.T) {
	w := start(t, Relay)
	w.registers(1, 1, time.Minute).at(time.Second).registers(2, 1, time.Minute)
	first := *w.asked[1]
	_, twice := w.acknowledgement(1, &first, mh.StatusAccepted)
	_, other := w.acknowledgement(3, &first, mh.StatusAccepted) // authentic, but of a MAAR that was not asked
	forged := signaling.Received{Source: maar(1), Destination: cmd, Payload: slices.Clone(twice.Payload)}
	forged.Payload[6] = 128 // the status
	mh.SetChecksum(forged.Payload, maar(1), cmd)
	w.take(w.m.Handle(w.now, other))
	w.take(w.m.Handle(w.now, forged))
	w.isSession("maar2 p1? p2")
	w.take(w.m.Handle(w.now, twice))
	w.isSession("maar2 p1 p2")
	w.take(w.m.Handle(w.now, twice))
	if d := w.m.Counters().Discarded; d.Unasked != 2 || d.BadAuthenticator != 1 {
		t.Errorf("discarded %+v", d)
	}
	// One to the PBU before, after the mobile node has moved on.
	w.at(2*time.Second).registers(3, 1, time.Minute)
	w.take(w.m.Handle(w.now, twice))
	w.isSession("maar3 p1? p2? p3")
}

func TestLimits(t *testing.T) {
	w := start(t, Relay, func(c *Config) { c.MaxSessions = 2 })
	w.registers(1, 1, time.Minute).registers(1, 1, time.Minute, about("two"), anchoring(nth(1, 2))).at(20 * time.Second)
	w.registers(1, 1, time.Minute, about("three"), anchoring(nth(1, 3)))
	w.status(1, mh.StatusInsufficientResources)
	w.registers(9, 1, time.Minute, homes(nowhere))
	w.status(9, mh.StatusInsufficientResources)
	w.at(40*time.Second).registers(1, 2, time.Minute)
	w.status(1, 0)
	// More prefixes than may be are not read.
	w.registers(1, 3, time.Minute, anchoring(nth(1, 0), nth(1, 4), nth(1, 5), nth(1, 6), nth(1, 7)))
	if n := w.m.Counters().Discarded.Malformed; n != 1 {
		t.Errorf("%d malformed", n)
	}
	w.m.check(t)
}

func TestMalformed(t *testing.T) {
	w := start(t, Relay)
	good := w.update(1, 1, time.Minute).received(t)
	cases := map[string]func(*signaling.Received){
		"checksum":       func(r *signaling.Received) { r.Payload[4]++ },
		"to another":     func(r *signaling.Received) { r.Destination = maar(2) },
		"home address":   func(r *signaling.Received) { r.HomeAddress = maar(3) },
		"routing header": func(r *signaling.Received) { r.RoutingHome = cmd },
		"multicast":      func(r *signaling.Received) { r.Source = netip.MustParseAddr("ff02::1") },
		"no source":      func(r *signaling.Received) { r.Source = netip.Addr{} },
		"cut short":      func(r *signaling.Received) { r.Payload = r.Payload[:len(r.Payload)-8] },
		"empty":          func(r *signaling.Received) { r.Payload = nil },
		"no flag P":      func(r *signaling.Received) { r.Payload[8] &^= 2 },
		"another type":   func(r *signaling.Received) { r.Payload[2] = 1 },
	}
	for what, change := range cases {
		r := good
		r.Payload = slices.Clone(good.Payload)
		change(&r)
		if e := w.m.Handle(w.now, r); len(e) > 0 {
			t.Errorf("%s: %v", what, e)
		}
	}
	// Payload Proto that it must not have.
	r := good
	r.Payload = slices.Clone(good.Payload)
	r.Payload[0] = 17
	mh.SetChecksum(r.Payload, r.Source, r.Destination)
	if e := w.m.Handle(w.now, r); len(e) != 1 || e[0].(signaling.SendParameterProblem).Pointer != 0 {
		t.Errorf("Payload Proto 17: %v", e)
	}
	for what, change := range map[string]func(*pbu){
		"two MN-IDs":          func(p *pbu) { p.Options = append(p.Options, p.Options[0]) },
		"a DLIF anywhere":     with(&mh.DLIFLinkLocalAddress{Address: maar(1)}),
		"a long DLIF":         with(&mh.DLIFLinkLayerAddress{Address: make([]byte, 9)}),
		"many Local Prefixes": func(p *pbu) { p.Options = append(p.Options, locals(5)...) },
	} {
		before := w.m.Counters().Discarded.Malformed
		if w.registers(1, 1, time.Minute, change); w.m.Counters().Discarded.Malformed != before+1 {
			t.Errorf("%s is taken", what)
		}
	}
	w.registers(1, 1, time.Minute, with(&mh.AlternateCareOf{Address: maar(2)}))
	w.status(1, mh.StatusInvalidCareOfAddress)
	if w.m.Len() != 0 {
		t.Error("something is stored")
	}
}

func locals(n byte) mh.Options {
	var list mh.Options
	for i := range n {
		list = append(list, &mh.LocalPrefix{Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, i}), 48)})
	}
	return list
}

func TestLongMessagesLoseLocalPrefixes(t *testing.T) {
	w := start(t, Proxy, func(c *Config) { c.MaxPreviousMAARs = maxPrevious })
	full := func(i, n int) func(*pbu) {
		return func(p *pbu) {
			without[*mh.AnchoredPrefix](p)
			for k := range n {
				p.Options = append(append(append(p.Options, &mh.AnchoredPrefix{Prefix: nth(i, k)}), dlif(byte(i))...), locals(maxLocal)...)
			}
		}
	}
	for i := 1; i <= 5; i++ {
		w.at(time.Duration(10*i)*time.Second).registers(i, 1, time.Minute, full(i, maxGroups))
		w.at(time.Duration(10*i+1) * time.Second)
		for j := 1; j < i; j++ {
			w.acknowledges(j)
		}
	}
	a := w.told[5]
	previous, local := mh.FindAll[*mh.PreviousMAAR](a.Options), mh.FindAll[*mh.LocalPrefix](a.Options)
	if len(previous) != maxPrevious || len(local) != 0 || len(mh.FindAll[*mh.DLIFLinkLayerAddress](a.Options)) != maxPrevious+maxGroups {
		t.Errorf("PBA has %d Previous MAAR and %d Local Prefix options", len(previous), len(local))
	}
	if n := len(mh.FindAll[*mh.LocalPrefix](w.told[1].Options)); n != maxGroups*maxLocal {
		t.Errorf("PBA to MAAR 1 has %d Local Prefix options", n)
	}
	w.m.check(t)
}

func TestConfigCheck(t *testing.T) {
	for what, change := range map[string]func(*Config){
		"address":         func(c *Config) { c.Address = netip.Addr{} },
		"mode":            func(c *Config) { c.Mode = 0 },
		"nobody":          func(c *Config) { c.Mode, c.ServePlain = PlainOnly, false },
		"lifetime":        func(c *Config) { c.MaxLifetime = time.Second },
		"negative":        func(c *Config) { c.PacingInterval = -1 },
		"P-MAARs":         func(c *Config) { c.MaxPreviousMAARs = 17 },
		"own address":     func(c *Config) { c.Routers[0].Address = cmd },
		"twice":           func(c *Config) { c.Routers[0].Address = maar(2) },
		"no association":  func(c *Config) { c.Routers[0].SPI = 7 },
		"shared SPI":      func(c *Config) { c.Routers[0].SPI = 302 },
		"plain anchor":    func(c *Config) { c.Routers[0].Plain = true },
		"overlap":         func(c *Config) { c.Routers[0].Prefixes = c.Routers[1].Prefixes },
		"overlap at home": func(c *Config) { c.HomePrefixes = c.Routers[1].Prefixes },
		"long pool":       func(c *Config) { c.HomePrefixes = []netip.Prefix{netip.MustParsePrefix("2001:db8::/65")} },
		"IPv4 pool":       func(c *Config) { c.Routers[0].Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} },
		"no identifier":   func(c *Config) { c.Nodes = []Node{{}} },
		"node in a pool":  func(c *Config) { c.Nodes = []Node{{Identifier: ParseIdentifier("a"), Prefix: pref(1)}} },
		"node's /63": func(c *Config) {
			c.Nodes = []Node{{Identifier: ParseIdentifier("a"), Prefix: netip.MustParsePrefix("2001:db8:f0::/63")}}
		},
		"two nodes": func(c *Config) {
			c.Nodes = []Node{{Identifier: ParseIdentifier("a")}, {Identifier: ParseIdentifier("a")}}
		},
	} {
		c := config(Relay)
		change(&c)
		if _, err := New(c, noon); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestIdentifierText(t *testing.T) {
	for text, want := range map[string]mh.MobileNodeIdentifier{
		"mn@example.net": {Subtype: 1, Identifier: "mn@example.net"},
		"5:02aabbccddee": {Subtype: 5, Identifier: "\x02\xaa\xbb\xcc\xdd\xee"},
		"a:b":            {Subtype: 1, Identifier: "a:b"},
		"5:zz":           {Subtype: 1, Identifier: "5:zz"},
	} {
		if got := ParseIdentifier(text); got != want || FormatIdentifier(got) != text {
			t.Errorf("%q is %+v, which is %q", text, got, FormatIdentifier(got))
		}
	}
}
