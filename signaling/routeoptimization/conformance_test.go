package routeoptimization

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// Both tests leave in the same instant; one round trip after the longer of them the update leaves.
func TestRFC6275_11_6_1_TestsInParallel(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	h, c := sentOf[*mh.HomeTestInit](w), sentOf[*mh.CareOfTestInit](w)
	if len(h) != 1 || len(c) != 1 {
		t.Fatalf("sent %+v", w.sent)
	}
	if s := h[0].send; s.Source != home || s.Tunnel != home || s.HomeAddress.IsValid() {
		t.Errorf("home test init sent %+v", s)
	}
	if s := c[0].send; s.Source != coa || s.Tunnel.IsValid() || s.HomeAddress.IsValid() {
		t.Errorf("care-of test init sent %+v", s)
	}
	w.want(home, StateTesting)
	w.run(2*tunnelDelay + time.Millisecond)
	w.want(home, StateRegistering)
	w.run(2 * directDelay)
	w.want(home, StateOptimized)
	if took := sentOf[*mh.BindingUpdate](w)[0].at.Sub(start); took != 2*tunnelDelay {
		t.Errorf("update after %v", took)
	}
}

func TestRFC6275_11_6_1_HomeTokenIsUsedAgainAfterAMove(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(time.Second)
	w.attach(coa2)
	w.want(home, StateTesting)
	w.run(4*directDelay + time.Millisecond)
	w.want(home, StateOptimized)
	if n := len(sentOf[*mh.HomeTestInit](w)); n != 1 {
		t.Errorf("%d home test inits", n)
	}
	// Not when it has become old: MAX_TOKEN_LIFETIME is 210 s.
	w.run(210 * time.Second)
	w.attach(coa)
	w.run(time.Second)
	w.want(home, StateOptimized)
	if n := len(sentOf[*mh.HomeTestInit](w)); n != 2 {
		t.Errorf("%d home test inits", n)
	}
}

func TestRFC6275_11_6_2_TestsAreChecked(t *testing.T) {
	w := newWorld(t)
	live := w.cn
	w.cn = nil
	w.request(home)
	h := sentOf[*mh.HomeTestInit](w)[0].message.(*mh.HomeTestInit).Cookie
	c := sentOf[*mh.CareOfTestInit](w)[0].message.(*mh.CareOfTestInit).Cookie
	none := netip.Addr{}
	w.hear(&mh.HomeTest{Cookie: h}, home, none, false)   // not in the tunnel
	w.hear(&mh.HomeTest{Cookie: c}, home, none, true)    // another cookie
	w.hear(&mh.HomeTest{Cookie: h}, dhoa, none, true)    // another home address
	w.hear(&mh.HomeTest{Cookie: h}, coa, home, true)     // with a routing header
	w.hear(&mh.CareOfTest{Cookie: c}, coa2, none, false) // another care-of address
	w.hear(&mh.CareOfTest{Cookie: h}, coa, none, false)  // another cookie
	w.hear(&mh.CareOfTest{Cookie: c}, coa, home, false)  // with a routing header
	if e := w.mn.entries[pair{home, cn}]; e.homeTested.held || e.careOfTested.held || w.mn.counters.Ignored != 7 {
		t.Fatalf("%+v, %+v", e, w.mn.counters)
	}
	w.hear(&mh.HomeTest{Cookie: h, Token: mh.KeygenToken{1}}, home, none, true)
	w.hear(&mh.HomeTest{Cookie: h, Token: mh.KeygenToken{2}}, home, none, true) // there is one already
	w.hear(&mh.CareOfTest{Cookie: c}, coa, none, false)
	if e := w.mn.entries[pair{home, cn}]; e.homeTested.token != (mh.KeygenToken{1}) || len(sentOf[*mh.BindingUpdate](w)) != 1 {
		t.Errorf("%+v", e)
	}
	w.cn = live
}

func TestRFC6275_11_7_2_BindingUpdate(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(time.Second)
	s := sentOf[*mh.BindingUpdate](w)[0]
	u := s.message.(*mh.BindingUpdate)
	if s.send.Source != coa || s.send.HomeAddress != home || s.send.Tunnel.IsValid() || !u.Acknowledge || u.HomeRegistration || u.Lifetime != 420*time.Second {
		t.Errorf("sent %+v, %+v", s.send, u)
	}
	if _, ok := mh.Find[*mh.NonceIndices](u.Options); !ok {
		t.Error("no nonce indices")
	}
	if _, ok := u.Options[len(u.Options)-1].(*mh.BindingAuthorizationData); !ok {
		t.Error("the last option is not the authorization data")
	}
}

// "after receiving a successful Binding Acknowledgement from the home agent"
func TestRFC6275_11_7_2_WaitsForTheHomeAgent(t *testing.T) {
	w := newWorld(t)
	w.accept(netip.Addr{})
	w.request(home)
	w.request(dhoa)
	w.run(time.Second)
	w.want(home, StateWaiting)
	w.want(dhoa, StateOptimized) // its anchor is another
	w.accept(coa)
	w.run(2*directDelay + time.Millisecond)
	w.want(home, StateOptimized)
}

// After a move packets take the tunnel until the correspondent node has acknowledged, and those that it still sends past the
// home agent are taken.
func TestRFC6275_11_3_1_TunnelUntilAcknowledged(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(time.Second)
	w.drop = func(m mh.Message) bool { return m.Type() == mh.TypeBindingUpdate }
	w.attach(coa2)
	if o, ok := w.mobile[home]; !ok || o.CareOf.IsValid() {
		t.Errorf("forwarding has %+v, %v", o, ok)
	}
	w.run(2 * time.Second)
	w.want(home, StateRegistering)
	w.drop = nil
	w.run(2 * time.Second)
	w.want(home, StateOptimized)
	if u := sentOf[*mh.BindingUpdate](w); len(u) != 4 {
		t.Errorf("%d updates", len(u))
	}
}

func TestRFC6275_11_7_2_SequenceNumbersGrow(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.request(dhoa)
	for i := range 10 {
		w.run(5 * time.Second)
		w.attach([]netip.Addr{coa, coa2}[i%2])
	}
	var last *mh.BindingUpdate
	for _, s := range sentOf[*mh.BindingUpdate](w) {
		u := s.message.(*mh.BindingUpdate)
		if last != nil && u.Sequence != last.Sequence+1 {
			t.Errorf("%d after %d", u.Sequence, last.Sequence)
		}
		last = u
	}
}

func TestRFC6275_11_7_2_BindingIsDeleted(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(time.Second)
	w.cancel()
	w.want(home, StateDeregistering)
	w.run(time.Second)
	if len(w.cached) != 0 || len(w.mobile) != 0 || len(w.mn.List(w.now)) != 0 {
		t.Errorf("left: %+v, %+v, %+v", w.cached, w.mobile, w.mn.List(w.now))
	}
	all := sentOf[*mh.BindingUpdate](w)
	s := all[len(all)-1]
	u := s.message.(*mh.BindingUpdate)
	n, _ := mh.Find[*mh.NonceIndices](u.Options)
	if u.Lifetime != 0 || s.send.Source != coa || s.send.HomeAddress != home || n.CareOf != 0 {
		t.Errorf("sent %+v, %+v", s.send, u)
	}
	if len(w.mn.peers) == 0 {
		t.Error("the sequence number is forgotten at once, and might be used again")
	}
	w.run(time.Minute)
	w.mobileDoes(w.mn.Handle(w.now, signaling.Tick{}))
	if len(w.mn.peers) != 0 || !w.mn.Next().IsZero() {
		t.Errorf("left: %+v", w.mn.peers)
	}
}

func TestRFC6275_11_5_5_BindingIsDeletedAtHome(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(300 * time.Second) // the token is old
	w.path(signaling.HomePath{Home: home, Link: "eth0", AtHome: true})
	w.want(home, StateAtHome)
	w.run(time.Second)
	if len(w.cached) != 0 || len(w.mobile) != 0 {
		t.Errorf("left: %+v, %+v", w.cached, w.mobile)
	}
	all := sentOf[*mh.BindingUpdate](w)
	if s := all[len(all)-1].send; s.Source != home || s.HomeAddress.IsValid() || s.Tunnel != home {
		t.Errorf("sent %+v", s)
	}
	w.attach(coa2)
	w.run(time.Second)
	w.want(home, StateOptimized)
}

func TestRFC6275_11_7_4_BindingRefreshRequest(t *testing.T) {
	w := newWorld(t)
	w.hear(&mh.BindingRefreshRequest{}, home, netip.Addr{}, true) // not in the list
	w.request(home)
	w.run(time.Second)
	for range 5 {
		w.hear(&mh.BindingRefreshRequest{}, home, netip.Addr{}, true)
		w.run(time.Second)
	}
	if n := len(sentOf[*mh.BindingUpdate](w)); n != 2 {
		t.Errorf("%d updates", n)
	}
	w.want(home, StateOptimized)
}

func TestRFC6275_11_3_6_BindingErrors(t *testing.T) {
	w := newWorld(t)
	w.hear(&mh.BindingError{Status: mh.UnknownBinding, HomeAddress: home}, coa, netip.Addr{}, false)
	if len(w.sent) != 0 {
		t.Error("a stranger's is believed")
	}
	w.request(home)
	w.run(time.Second)
	w.hear(&mh.BindingError{Status: mh.UnrecognizedType}, coa, netip.Addr{}, false) // nothing is expected
	w.want(home, StateOptimized)
	for range 10 { // spoofed: no more than a moment in the tunnel, and not often
		w.hear(&mh.BindingError{Status: mh.UnknownBinding, HomeAddress: home}, coa, netip.Addr{}, false)
		w.run(100 * time.Millisecond)
	}
	w.want(home, StateOptimized)
	if n := len(sentOf[*mh.BindingUpdate](w)); n != 2 {
		t.Errorf("%d updates", n)
	}
	w.attach(coa2)
	w.hear(&mh.BindingError{Status: mh.UnrecognizedType}, coa2, netip.Addr{}, false) // the answer to the care-of test init
	w.want(home, StateUnsupported)
}

// problem is an ICMPv6 Parameter Problem, code 1, about the mobile node's last message.
func (w *world) problem(s signaling.Send) signaling.ReceivedICMP {
	b := append([]byte{4, 1, 0, 0, 0, 0, 0, 6}, 0x60, 0, 0, 0, 0, byte(len(s.Payload)), mh.Protocol, 64)
	b = append(append(b, s.Source.AsSlice()...), s.Destination.AsSlice()...)
	return signaling.ReceivedICMP{Source: cn, Destination: s.Source, Payload: append(b, s.Payload...)}
}

func TestRFC6275_11_3_5_CorrespondentNodeWithoutMobility(t *testing.T) {
	w := newWorld(t)
	w.cn = nil
	w.request(home)
	w.request(dhoa)
	stale := w.problem(sentOf[*mh.CareOfTestInit](w)[0].send)
	w.run(1100 * time.Millisecond) // asked again, with another cookie
	w.mobileDoes(w.mn.Handle(w.now, stale))
	w.want(home, StateTesting)
	all := sentOf[*mh.CareOfTestInit](w)
	w.mobileDoes(w.mn.Handle(w.now, w.problem(all[len(all)-1].send)))
	w.want(home, StateUnsupported)
	w.want(dhoa, StateUnsupported)
	n := len(w.sent)
	w.request(home)
	w.attach(coa2)
	w.run(599 * time.Second)
	if len(w.sent) != n {
		t.Error("asked again too soon")
	}
	w.run(2 * time.Second)
	if len(w.sent) == n {
		t.Error("not asked again after ten minutes")
	}
	stranger := w.problem(signaling.Send{Source: coa, Destination: router, Payload: make([]byte, 16)})
	w.mobileDoes(w.mn.Handle(w.now, stranger))
	if len(w.mn.entries) != 2 || len(w.mn.peers) != 1 {
		t.Error("an ICMPv6 message made an entry")
	}
}

// 1, 2, 4 and 8 s, with a new cookie each time; then the tunnel.
func TestRFC6275_5_2_9_GivesUpAfterThreeRetries(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(time.Second)
	w.want(home, StateOptimized)
	w.cn, w.sent = nil, nil
	w.run(420 * time.Second)
	w.want(home, StateFailed)
	var at []time.Duration
	cookies := map[mh.Cookie]bool{}
	for _, s := range sentOf[*mh.HomeTestInit](w) {
		at = append(at, s.at.Sub(w.sent[0].at))
		cookies[s.message.(*mh.HomeTestInit).Cookie] = true
	}
	if want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}; !slices.Equal(at[:4], want) || len(cookies) != len(at) {
		t.Errorf("sent at %v, want %v first; %d cookies", at, want, len(cookies))
	}
	n := len(w.sent)
	w.run(11 * time.Minute)
	if len(w.sent) == n {
		t.Error("never tried again")
	}
}

// "MUST NOT send Mobility Header messages of a particular type to a particular correspondent node more than MAX_UPDATE_RATE
// times within a second"
func TestRFC6275_11_8_RateLimit(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		a := dhoa.As16()
		a[15] = byte(i)
		w.path(signaling.HomePath{Home: netip.AddrFrom16(a), CareOf: coa, Link: "eth0", Router: router})
		w.request(netip.AddrFrom16(a))
	}
	for i := range 40 {
		w.attach([]netip.Addr{coa, coa2}[i%2])
		w.cancel()
		w.request(w.mn.list[0].home)
		w.run(73 * time.Millisecond)
	}
	w.run(10 * time.Second)
	times := map[mh.Type][]time.Time{}
	for _, s := range w.sent {
		list := append(times[s.message.Type()], s.at)
		times[s.message.Type()] = list
		if n := len(list); n > maxRate && list[n-1].Sub(list[n-1-maxRate]) <= time.Second {
			t.Fatalf("%d messages of type %d in %v", maxRate+1, s.message.Type(), list[n-1].Sub(list[n-1-maxRate]))
		}
	}
	for _, s := range w.mn.List(w.now) {
		if s.State != StateOptimized {
			t.Errorf("%+v", s)
		}
	}
}

// An unreachable direct path costs no more than the way to the tunnel.
func TestUnreachablePastTheHomeAgent(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(time.Second)
	quote := func(code byte, careOf netip.Addr) signaling.ReceivedICMP {
		b := append([]byte{1, code, 0, 0, 0, 0, 0, 0}, 0x60, 0, 0, 0, 0, 44, 60, 64)
		b = append(append(b, careOf.AsSlice()...), cn.AsSlice()...)
		return signaling.ReceivedICMP{Source: router, Destination: careOf, Payload: mh.AppendHomeAddressOption(b, 17, home)}
	}
	w.mobileDoes(w.mn.Handle(w.now, quote(0, coa2)))
	w.want(home, StateOptimized)
	w.mobileDoes(w.mn.Handle(w.now, quote(0, coa)))
	w.want(home, StateFailed)
	w.run(2 * time.Minute)
	w.want(home, StateOptimized)
}

func TestShutdown(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.request(dhoa)
	w.run(time.Second)
	w.mobileDoes(w.mn.Handle(w.now, signaling.Shutdown{}))
	w.run(time.Second)
	if len(w.cached) != 0 || len(w.mobile) != 0 {
		t.Errorf("left: %+v, %+v", w.cached, w.mobile)
	}
}

func TestRequestErrors(t *testing.T) {
	w := newWorld(t)
	for _, c := range [][2]netip.Addr{{home, router}, {home, home}, {netip.Addr{}, cn}} {
		if _, err := w.mn.Request(w.now, c[0], c[1]); !errors.Is(err, ErrAddress) {
			t.Errorf("%v: %v", c, err)
		}
	}
	a := cn.As16()
	for i := range 5 {
		a[15] = byte(i + 1)
		if _, err := w.mn.Request(w.now, home, netip.AddrFrom16(a)); (i == 4) != errors.Is(err, ErrFull) {
			t.Errorf("%d: %v", i, err)
		}
	}
	for _, c := range []Config{
		{MaxPairs: 1}, {HomeAddress: home}, {HomeAddress: home, MaxPairs: 1, Lifetime: time.Hour}, {HomeAddress: home, MaxPairs: 1, Lifetime: 1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}
