package correspondent

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/routability"
)

func TestRFC6275_9_5_1_RegistrationIsOptimized(t *testing.T) {
	n := newNode(t, nil)
	u := n.registration(home, coa, 7)
	effects := n.update(u)
	ack := n.acknowledged(u, effects, mh.StatusAccepted)
	if ack.Sequence != 7 || ack.Lifetime != 400*time.Second {
		t.Errorf("got %+v", ack)
	}
	if o, ok := find[signaling.Optimize](effects); !ok || o != (signaling.Optimize{Home: home, CareOf: coa, Correspondent: own}) {
		t.Errorf("got %+v", o)
	}
	want := Binding{home, coa, 7, 400 * time.Second, start}
	if b := n.Bindings(n.now); len(b) != 1 || b[0] != want {
		t.Errorf("got %+v", b)
	}
	// A refresh changes nothing for forwarding, a move does.
	u = n.registration(home, coa, 8)
	if _, ok := find[signaling.Optimize](n.update(u)); ok {
		t.Error("a refresh is told to forwarding")
	}
	u = n.registration(home, coa2, 9)
	if o, ok := find[signaling.Optimize](n.update(u)); !ok || o.CareOf != coa2 {
		t.Errorf("got %+v", o)
	}
}

// Each of these is met with silence.
func TestRFC6275_9_5_1_DiscardedInSilence(t *testing.T) {
	for name, change := range map[string]func(*update){
		"no nonce indices":        func(u *update) { u.change = func(m *mh.BindingUpdate) { m.Options = nil } },
		"other home keygen token": func(u *update) { u.h = &mh.HomeTest{NonceIndex: u.h.NonceIndex, Token: mh.KeygenToken{9}} },
		"other care-of address":   func(u *update) { u.careOf = coa2 },
		"other home address":      func(u *update) { u.home = home2 },
		"home address link-local": func(u *update) { u.home = netip.MustParseAddr("fe80::1") },
		"care-of address a group": func(u *update) {
			u.change = func(m *mh.BindingUpdate) {
				m.Options = append(m.Options, &mh.AlternateCareOf{Address: netip.MustParseAddr("ff02::1")})
			}
		},
		"nonce indices with home registration": func(u *update) { u.change = func(m *mh.BindingUpdate) { m.HomeRegistration = true } },
	} {
		n := newNode(t, nil)
		u := n.registration(home, coa, 1)
		change(&u)
		if e := n.update(u); len(e) != 0 || n.cache.Len() != 0 {
			t.Errorf("%s: got %+v", name, e)
		}
	}
	n := newNode(t, nil)
	u := n.registration(home, coa, 1)
	b := u.payload(t)
	unsigned := encode(t, &mh.BindingUpdate{Sequence: 1, Acknowledge: true, Lifetime: time.Minute, Options: mh.Options{&mh.NonceIndices{Home: u.h.NonceIndex, CareOf: u.c.NonceIndex}}}, home)
	trailing := append(bytes.Clone(b), 1, 6, 0, 0, 0, 0, 0, 0)
	trailing[1]++
	mh.SetChecksum(trailing, home, own)
	for _, b := range [][]byte{unsigned, trailing} {
		if e := n.receive(coa, home, b); len(e) != 0 {
			t.Errorf("%x: got %+v", b, e)
		}
	}
}

func TestRFC6275_9_5_1_SequenceNumberOutOfWindow(t *testing.T) {
	n := newNode(t, nil)
	n.register(home, coa, 15)
	for _, sequence := range []uint16{15, 0, 32783, 65535} {
		u := n.registration(home, coa2, sequence)
		if ack := n.acknowledged(u, n.update(u), mh.StatusSequenceOutOfWindow); ack.Sequence != 15 {
			t.Errorf("%d: answered with %d", sequence, ack.Sequence)
		}
	}
	n.register(home, coa2, 32782)
	n.register(home2, coa2, 3) // another mobile node's numbers are its own
}

func TestRFC6275_9_5_1_ExpiredNonces(t *testing.T) {
	n := newNode(t, nil)
	u := n.registration(home, coa, 1)
	for _, c := range []struct {
		home, careOf uint16
		lifetime     time.Duration
		want         mh.Status
	}{
		{9999, u.c.NonceIndex, time.Minute, mh.StatusExpiredHomeNonce},
		{u.h.NonceIndex, 9999, time.Minute, mh.StatusExpiredCareOfNonce},
		{9999, 9999, time.Minute, mh.StatusExpiredNonces},
		{9999, 9999, 0, mh.StatusExpiredHomeNonce}, // the care-of nonce index is not inspected
	} {
		v := u
		v.lifetime = c.lifetime
		v.silent = true // and yet
		v.h, v.c = &mh.HomeTest{NonceIndex: c.home, Token: u.h.Token}, &mh.CareOfTest{NonceIndex: c.careOf, Token: u.c.Token}
		n.acknowledged(v, n.update(v), c.want)
	}
}

func TestRFC6275_9_5_1_HomeRegistrationIsNotSupported(t *testing.T) {
	n := newNode(t, nil)
	b := encode(t, &mh.BindingUpdate{Sequence: 3, HomeRegistration: true, Acknowledge: true, Lifetime: time.Minute}, home)
	if ack, s := one[*mh.BindingAcknowledgement](n, n.receive(coa, home, b)); ack.Status != mh.StatusHomeRegistrationNotSupported || ack.Sequence != 3 || s.RoutingHome != home {
		t.Errorf("got %+v, %+v", ack, s)
	}
}

// The test and the authenticator are of the alternate care-of address.
func TestRFC6275_9_5_1_AlternateCareOfAddress(t *testing.T) {
	n := newNode(t, nil)
	u := n.registration(home, coa2, 1)
	u.change = func(m *mh.BindingUpdate) { m.Options = append(m.Options, &mh.AlternateCareOf{Address: coa2}) }
	ack, s := one[*mh.BindingAcknowledgement](n, n.receive(coa, home, u.payload(t)))
	if ack.Status != mh.StatusAccepted || s.Destination != coa || n.Bindings(n.now)[0].CareOf != coa2 {
		t.Errorf("got %+v to %v, %+v", ack, s.Destination, n.Bindings(n.now))
	}
}

func TestRFC6275_9_5_2_LifetimeIsNoLongerThanAskedOrAllowed(t *testing.T) {
	for _, c := range []struct{ limit, asked, want time.Duration }{
		{0, 3600 * time.Second, 420 * time.Second},
		{0, 100 * time.Second, 100 * time.Second},
		{40 * time.Second, 100 * time.Second, 40 * time.Second},
		{41 * time.Second, 100 * time.Second, 40 * time.Second},
	} {
		n := newNode(t, func(cfg *Config) { cfg.MaxLifetime = c.limit })
		u := n.registration(home, coa, 1)
		u.lifetime = c.asked
		if ack := n.acknowledged(u, n.update(u), mh.StatusAccepted); ack.Lifetime != c.want {
			t.Errorf("granted %v, want %v", ack.Lifetime, c.want)
		}
		n.after(c.want - time.Millisecond)
		if len(n.Bindings(n.now)) != 1 {
			t.Error("gone too early")
		}
		n.after(time.Millisecond)
		if len(n.Bindings(n.now)) != 0 {
			t.Error("not gone")
		}
	}
}

func TestRFC6275_9_5_2_NoRoom(t *testing.T) {
	n := newNode(t, func(c *Config) { c.MaxBindings = 1 })
	n.register(home, coa, 1)
	u := n.registration(home2, coa, 1)
	u.silent = true
	n.acknowledged(u, n.update(u), mh.StatusInsufficientResources)
	n.register(home, coa2, 2)
}

func TestRFC6275_9_5_3_DeletionMakesNoEntry(t *testing.T) {
	n := newNode(t, nil)
	u := n.registration(home, coa, 1)
	u.lifetime = 0
	n.acknowledged(u, n.update(u), mh.StatusAccepted)
	if n.cache.Len() != 0 {
		t.Error("an entry was made")
	}
}

// At home the source is the home address: no routing header.
func TestRFC6275_9_5_4_AcknowledgementToTheHomeAddress(t *testing.T) {
	n := newNode(t, nil)
	u := n.register(home, coa, 1)
	u.sequence, u.lifetime = 2, 0
	ack, s := one[*mh.BindingAcknowledgement](n, n.receive(home, netip.Addr{}, u.payload(t)))
	if ack.Status != mh.StatusAccepted || s.Destination != home || s.RoutingHome.IsValid() ||
		!routability.Verify(s.Payload, u.key(), home, own) {
		t.Errorf("got %+v, %+v", ack, s)
	}
}

func TestRFC6275_9_5_4_NotAcknowledgedUnlessAsked(t *testing.T) {
	n := newNode(t, nil)
	u := n.registration(home, coa, 1)
	u.silent = true
	if messages, _ := n.sends(n.update(u)); len(messages) != 0 || len(n.Bindings(n.now)) != 1 {
		t.Errorf("sent %+v", messages)
	}
	u.sequence = 1
	n.acknowledged(u, n.update(u), mh.StatusSequenceOutOfWindow)
}

func TestRFC6275_9_5_5_BindingRefreshRequest(t *testing.T) {
	n := newNode(t, nil)
	n.register(home, coa, 1)
	effects := n.after(n.Next().Sub(n.now))
	if _, s := one[*mh.BindingRefreshRequest](n, effects); s.Destination != home || s.RoutingHome.IsValid() {
		t.Errorf("sent %+v", s)
	}
	if left := n.Bindings(n.now)[0].Left; left != 10*time.Second {
		t.Errorf("%v before the end", left)
	}
	if messages, _ := n.sends(n.after(time.Second)); len(messages) != 0 {
		t.Error("asked twice")
	}
}
