package correspondent

import (
	"crypto/hmac"
	"crypto/sha1"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

func TestRFC6275_5_2_1_NodeKeysAre20RandomOctets(t *testing.T) {
	n := newNode(t, nil)
	n.homeToken(home)
	first := n.nonces.list[0].key
	n.after(31 * time.Second)
	n.homeToken(home)
	if second := n.nonces.list[1].key; first == second || first == [20]byte{} || second == [20]byte{} {
		t.Errorf("keys %x and %x", first, second)
	}
}

func TestRFC6275_5_2_5_KeygenTokens(t *testing.T) {
	n := newNode(t, nil)
	h, c := n.homeToken(home), n.careOfToken(coa)
	nonce := n.nonces.list[0]
	token := func(a netip.Addr, kind byte) (t mh.KeygenToken) {
		m := hmac.New(sha1.New, nonce.key[:])
		m.Write(append(append(a.AsSlice(), nonce.value[:]...), kind))
		copy(t[:], m.Sum(nil))
		return t
	}
	if h.Token != token(home, 0) || c.Token != token(coa, 1) {
		t.Errorf("tokens %x and %x", h.Token, c.Token)
	}
	if h.Cookie != (mh.Cookie{1}) || c.Cookie != (mh.Cookie{2}) || h.NonceIndex != 0x0102 || c.NonceIndex != h.NonceIndex {
		t.Errorf("got %+v and %+v", h, c)
	}
	if n.cache.Len() != 0 {
		t.Error("tests leave state behind")
	}
}

// Tokens are good for at least MAX_TOKEN_LIFETIME, and for no more than MAX_NONCE_LIFETIME.
func TestRFC6275_5_2_7_NonceLifetime(t *testing.T) {
	for _, c := range []struct {
		into, age time.Duration // of the nonce when the token was made, and of the token when it is used
		want      mh.Status
	}{
		{0, 210 * time.Second, mh.StatusAccepted},
		{29 * time.Second, 210 * time.Second, mh.StatusAccepted},
		{0, 239 * time.Second, mh.StatusAccepted},
		{0, 241 * time.Second, mh.StatusExpiredNonces},
		{29 * time.Second, 212 * time.Second, mh.StatusExpiredNonces},
	} {
		n := newNode(t, nil)
		n.homeToken(home2)
		n.after(c.into)
		u := n.registration(home, coa, 1)
		for passed := time.Duration(0); passed < c.age; passed += time.Second {
			n.after(time.Second)
			n.homeToken(home2) // there are always newer ones
		}
		n.acknowledged(u, n.update(u), c.want)
	}
}

func TestRFC6275_5_2_7_NewNonceEvery30Seconds(t *testing.T) {
	n := newNode(t, nil)
	indices := map[uint16]bool{}
	for range 600 {
		indices[n.homeToken(home).NonceIndex] = true
		n.after(time.Second)
		if k := len(n.nonces.list); k > 8 {
			t.Fatalf("%d nonces", k)
		}
	}
	if len(indices) != 20 {
		t.Errorf("%d nonces in 600 s", len(indices))
	}
}

// A deleted binding's updates cannot be replayed while their nonces are good.
func TestRFC6275_5_2_8_NoReplayAfterDeletion(t *testing.T) {
	n := newNode(t, nil)
	u := n.register(home, coa, 100)
	d := u
	d.sequence, d.lifetime = 101, 0
	effects := n.update(d)
	n.acknowledged(d, effects, mh.StatusAccepted)
	if e, ok := find[signaling.Deoptimize](effects); !ok || e != (signaling.Deoptimize{Home: home, Correspondent: own}) {
		t.Errorf("got %+v", effects)
	}
	if ack := n.acknowledged(u, n.update(u), mh.StatusSequenceOutOfWindow); ack.Sequence != 101 {
		t.Errorf("sequence number %d", ack.Sequence)
	}
	if len(n.Bindings(n.now)) != 0 {
		t.Error("the binding is back")
	}
	n.after(241 * time.Second)
	if n.cache.Len() != 0 {
		t.Error("remembered longer than the nonces")
	}
	n.acknowledged(u, n.update(u), mh.StatusExpiredNonces)
}

// The same of one that ran out.
func TestRFC6275_5_2_8_NoReplayAfterExpiry(t *testing.T) {
	n := newNode(t, nil)
	u := n.registration(home, coa, 100)
	u.lifetime = 8 * time.Second
	n.acknowledged(u, n.update(u), mh.StatusAccepted)
	effects := n.after(8 * time.Second)
	if _, ok := find[signaling.Deoptimize](effects); !ok || len(n.Bindings(n.now)) != 0 {
		t.Errorf("got %+v", effects)
	}
	n.acknowledged(u, n.update(u), mh.StatusSequenceOutOfWindow)
	n.after(232 * time.Second)
	if n.cache.Len() != 0 || !n.Next().IsZero() {
		t.Error("remembered longer than the nonces")
	}
}

func TestRFC6275_9_2_UnreadableMessages(t *testing.T) {
	n := newNode(t, nil)
	unknown := []byte{59, 0, 77, 0, 0, 0, 0, 0}
	mh.SetChecksum(unknown, coa, own)
	if e, s := one[*mh.BindingError](n, n.receive(coa, netip.Addr{}, unknown)); e.Status != mh.UnrecognizedType || s.Destination != coa {
		t.Errorf("got %+v to %v", e, s.Destination)
	}
	unknown[4]++
	if e := n.receive(coa, netip.Addr{}, unknown); e != nil {
		t.Errorf("a wrong checksum gets %+v", e)
	}
	short := []byte{59, 0, 1, 0, 0, 0, 0, 0}
	mh.SetChecksum(short, coa, own)
	if p, ok := find[signaling.SendParameterProblem](n.receive(coa, netip.Addr{}, short)); !ok || p.Pointer != 1 {
		t.Errorf("got %+v", p)
	}
	shared := newNode(t, func(c *Config) { c.Shared = true })
	if e := shared.receive(coa, netip.Addr{}, short); e != nil {
		t.Errorf("another role answers: %+v", e)
	}
}

func TestRFC6275_9_3_1_UnverifiedHomeAddress(t *testing.T) {
	n := newNode(t, nil)
	n.register(home, coa, 1)
	offend := func(source netip.Addr) []signaling.Effect {
		return n.Handle(n.now, signaling.UnverifiedHomeAddress{Source: source, Destination: own, HomeAddress: home})
	}
	if e := offend(coa); e != nil {
		t.Errorf("a binding bears it out by now: %+v", e)
	}
	if e, s := one[*mh.BindingError](n, offend(coa2)); e.Status != mh.UnknownBinding || e.HomeAddress != home || s.Destination != coa2 || s.RoutingHome.IsValid() {
		t.Errorf("got %+v, %+v", e, s)
	}
	if e := offend(netip.MustParseAddr("ff02::1")); e != nil {
		t.Errorf("to a group: %+v", e)
	}
}

func TestRFC6275_9_3_3_BindingErrorsAreRateLimited(t *testing.T) {
	n := newNode(t, nil)
	sent := 0
	for range 1000 {
		sent += len(n.Handle(n.now, signaling.UnverifiedHomeAddress{Source: coa, Destination: own, HomeAddress: home}))
	}
	if sent != faultRate {
		t.Errorf("%d in an instant", sent)
	}
}

// unreachable is an ICMPv6 Destination Unreachable about a packet with a type 2 routing header.
func unreachable(code byte, careOf, home netip.Addr) signaling.ReceivedICMP {
	b := append([]byte{1, code, 0, 0, 0, 0, 0, 0}, 0x60, 0, 0, 0, 0, 44, 43, 64)
	b = append(append(b, own.AsSlice()...), careOf.AsSlice()...)
	return signaling.ReceivedICMP{Source: coa2, Destination: own, Payload: mh.AppendType2Routing(b, 17, home)}
}

func TestRFC6275_9_3_4_PersistentlyUnreachableCareOfAddress(t *testing.T) {
	n := newNode(t, nil)
	n.register(home, coa, 1)
	for i, want := range []int{1, 1, 1, 0} {
		n.Handle(n.now, unreachable(3, coa, home))
		n.Handle(n.now, unreachable(3, coa2, home)) // not its care-of address
		n.Handle(n.now, unreachable(4, coa, home))  // a program's own business
		n.Handle(n.now, unreachable(3, coa, home2)) // no binding
		n.Handle(n.now, signaling.ReceivedICMP{})   // nothing
		if got := len(n.Bindings(n.now)); got != want {
			t.Fatalf("after %d errors %d bindings, want %d", i+1, got, want)
		}
		n.after(4 * time.Second)
	}
	// Now and then one means nothing.
	n.register(home2, coa, 1)
	for range 12 {
		n.after(31 * time.Second)
		n.Handle(n.now, unreachable(3, coa, home2))
	}
	if len(n.Bindings(n.now)) != 1 {
		t.Error("deleted for an error every 31 s")
	}
	n.after(31 * time.Second)
	if len(n.troubles) > n.cache.Len() {
		t.Error("troubles outlive bindings")
	}
}

func TestRFC6275_9_4_1_HomeTestInitWithHomeAddressOptionIsIgnored(t *testing.T) {
	n := newNode(t, nil)
	if e := n.receive(coa, home, encode(t, &mh.HomeTestInit{}, home)); e != nil {
		t.Errorf("got %+v", e)
	}
}

func TestRFC6275_9_4_2_CareOfTestInitWithHomeAddressOptionIsIgnored(t *testing.T) {
	n := newNode(t, nil)
	if e := n.receive(coa, home, encode(t, &mh.CareOfTestInit{}, home)); e != nil {
		t.Errorf("got %+v", e)
	}
}

// The answers go to the addresses tested, whatever the Binding Cache says of them.
func TestRFC6275_9_4_3_TestsGoToTheAddressTested(t *testing.T) {
	n := newNode(t, nil)
	n.register(home, coa, 1)
	if _, s := one[*mh.HomeTest](n, n.receive(home, netip.Addr{}, encode(t, &mh.HomeTestInit{}, home))); s.Destination != home || s.RoutingHome.IsValid() {
		t.Errorf("home test sent %+v", s)
	}
	if _, s := one[*mh.CareOfTest](n, n.receive(coa, netip.Addr{}, encode(t, &mh.CareOfTestInit{}, coa))); s.Destination != coa || s.RoutingHome.IsValid() {
		t.Errorf("care-of test sent %+v", s)
	}
}

// Whatever strangers send, nothing is stored and the machine wants no tick.
func TestNothingIsStoredForStrangers(t *testing.T) {
	n := newNode(t, nil)
	source := home.As16()
	for i := range 3000 {
		source[15], source[14], source[13] = byte(i), byte(i>>8), 7
		a := netip.AddrFrom16(source)
		n.receive(a, netip.Addr{}, encode(t, &mh.HomeTestInit{}, a))
		u := update{home: a, careOf: coa, sequence: 1, lifetime: time.Minute, h: &mh.HomeTest{NonceIndex: n.nonces.list[0].index}, c: &mh.CareOfTest{NonceIndex: n.nonces.list[0].index}}
		n.update(u)
		n.Handle(n.now, unreachable(3, coa, a))
	}
	if n.cache.Len()+len(n.troubles) != 0 || len(n.nonces.list) != 1 || !n.Next().IsZero() {
		t.Errorf("%d bindings, %d troubles, %d nonces", n.cache.Len(), len(n.troubles), len(n.nonces.list))
	}
	if c := n.Counters(); c.Tests != testRate || c.Limited == 0 {
		t.Errorf("%+v", c)
	}
}

func TestNew(t *testing.T) {
	for _, c := range []Config{
		{},
		{Address: netip.MustParseAddr("fe80::1"), MaxBindings: 1},
		{Address: own},
		{Address: own, MaxBindings: 1, MaxLifetime: 421 * time.Second},
		{Address: own, MaxBindings: 1, MaxLifetime: time.Second},
	} {
		if _, err := New(c, start); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
	if m, err := New(Config{Address: own, MaxBindings: 1}, start); err != nil || m.nonces.next == 0 && m.cfg.Random == nil {
		t.Error(err)
	}
}

func FuzzHandle(f *testing.F) {
	seed := newNode(f, nil)
	u := seed.registration(home, coa, 1)
	f.Add(u.payload(f), true)
	f.Add(encode(f, &mh.HomeTestInit{}, home), false)
	f.Add(encode(f, &mh.CareOfTestInit{}, home), false)
	f.Add(encode(f, &mh.BindingUpdate{HomeRegistration: true}, home), true)
	f.Add(unreachable(3, coa, home).Payload, false)
	f.Fuzz(func(t *testing.T, b []byte, away bool) {
		// Its nonces are others than those that the seed was made of.
		n := newNode(t, func(c *Config) { c.Random = func(b []byte) { clear(b) } })
		n.register(home2, coa, 1)
		r := signaling.Received{Source: home, Destination: own, Payload: b}
		if away {
			r.Source, r.HomeAddress = coa, home
		}
		if len(b) >= 8 {
			mh.SetChecksum(b, home, own)
		}
		n.Handle(n.now, r)
		n.Handle(n.now, signaling.ReceivedICMP{Source: coa, Destination: own, Payload: b})
		if n.cache.Len() != 1 {
			t.Errorf("%x made or ended a binding", b)
		}
	})
}
