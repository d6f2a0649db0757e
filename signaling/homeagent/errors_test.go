package homeagent

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/mh"
)

// bindingErrors are the Binding Errors among the effects.
func bindingErrors(t testing.TB, e effects) (all []*mh.BindingError, sends []signaling.Send) {
	t.Helper()
	for _, s := range of[signaling.Send](e) {
		if !mh.ChecksumValid(s.Payload, s.Source, s.Destination) {
			t.Errorf("checksum of %x is wrong", s.Payload)
		}
		m, err := mh.Parse(s.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if b, ok := m.(*mh.BindingError); ok {
			all, sends = append(all, b), append(sends, s)
		}
	}
	return all, sends
}

// raw is a Mobility Header message with a right checksum.
func raw(source, home netip.Addr, payload ...byte) signaling.Received {
	from := source
	if home.IsValid() {
		from = home
	}
	mh.SetChecksum(payload, from, agent)
	return signaling.Received{Source: source, Destination: agent, HomeAddress: home, Payload: payload}
}

func TestRFC6275_9_2_BadChecksumIsDiscardedInSilence(t *testing.T) {
	w := start(t)
	r := bu(plain, 1).received(t)
	r.Payload[4] ^= 1
	if e := w.handle(r); len(e) != 0 {
		t.Errorf("effects %v", e)
	}
	if n := w.m.Counters().Discarded.BadChecksum; n != 1 {
		t.Errorf("%d counted", n)
	}
}

func TestRFC6275_9_2_UnknownTypeIsAnsweredByBindingError2(t *testing.T) {
	w := start(t)
	for _, home := range []netip.Addr{{}, plain} {
		b, s := bindingErrors(t, w.handle(raw(careOf1, home, 59, 0, 99, 0, 0, 0, 0, 0)))
		if len(b) != 1 || b[0].Status != mh.UnrecognizedType || s[0].Source != agent || s[0].Destination != careOf1 || s[0].RoutingHome.IsValid() {
			t.Fatalf("Binding Errors %v, sent as %v", b, s)
		}
		// Section 9.3.3: the home address of the option, else the unspecified address.
		if want := map[bool]netip.Addr{true: home, false: netip.IPv6Unspecified()}[home.IsValid()]; b[0].HomeAddress != want {
			t.Errorf("home address %v, want %v", b[0].HomeAddress, want)
		}
	}
}

func TestRFC6275_9_3_3_NoBindingErrorToNonUnicastSource(t *testing.T) {
	w := start(t)
	for _, source := range []string{"::", "ff02::1", "::1"} {
		if e := w.handle(raw(netip.MustParseAddr(source), nowhere, 59, 0, 99, 0, 0, 0, 0, 0)); len(e) != 0 {
			t.Errorf("%s: effects %v", source, e)
		}
	}
}

func TestRFC6275_9_3_3_BindingErrorsAreRateLimited(t *testing.T) {
	w := start(t)
	n := 0
	for range 5000 {
		b, _ := bindingErrors(t, w.after(time.Millisecond).handle(raw(careOf1, nowhere, 59, 0, 99, 0, 0, 0, 0, 0)))
		n += len(b)
	}
	if n < 58 || n > 60 {
		t.Errorf("%d in 5 s, want a burst of 10 and 10 a second", n)
	}
}

func TestRFC6275_9_2_ParameterProblem(t *testing.T) {
	for name, test := range map[string]struct {
		payload []byte
		pointer int
	}{
		"Payload Proto": {[]byte{6, 1, 5, 0, 0, 0, 0, 1, 0xc0, 0, 0, 1, 1, 2, 0, 0}, 0},
		"Header Len":    {[]byte{59, 0, 5, 0, 0, 0, 0, 1}, 1},
	} {
		w := start(t)
		r := raw(careOf1, plain, test.payload...)
		e := effects(w.handle(r))
		p := of[signaling.SendParameterProblem](e)
		if len(e) != 1 || len(p) != 1 || p[0].Pointer != test.pointer || p[0].InReplyTo.Source != careOf1 {
			t.Errorf("%s: effects %+v", name, e)
			continue
		}
		r.Payload[0] = 0xff
		if p[0].InReplyTo.Payload[0] != test.payload[0] && p[0].InReplyTo.Payload[0] == 0xff {
			t.Errorf("%s: the effect holds on to the event's payload", name)
		}
	}
}

func TestMalformedOptionsAreDiscarded(t *testing.T) {
	w := start(t)
	r := raw(careOf1, plain, 59, 1, 5, 0, 0, 0, 0, 1, 0xc0, 0, 0, 15, 3, 17, 0, 0)
	if e := w.handle(r); len(e) != 0 {
		t.Errorf("effects %v", e)
	}
	if n := w.m.Counters().Discarded.Malformed; n != 1 {
		t.Errorf("%d counted", n)
	}
}

func TestOtherMessagesAreIgnored(t *testing.T) {
	w := start(t)
	for _, m := range []mh.Message{
		&mh.BindingRefreshRequest{}, &mh.HomeTestInit{}, &mh.CareOfTestInit{}, &mh.HomeTest{}, &mh.CareOfTest{},
		&mh.BindingAcknowledgement{}, &mh.BindingError{},
	} {
		p, err := mh.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if e := w.handle(raw(careOf1, nowhere, p...)); len(e) != 0 {
			t.Errorf("%T: effects %v", m, e)
		}
	}
	if n := w.m.Counters().Discarded.NotForHomeAgent; n != 7 {
		t.Errorf("%d counted", n)
	}
}

// "If the LMA or the MAG do not support the Heartbeat messages, they respond with a Binding Error message with status set to
// 2"; without an answer the peer would take the home agent for dead.
func TestRFC5847_3_UnsupportedTypesAreAnsweredByBindingError2(t *testing.T) {
	w := start(t)
	for _, m := range []mh.Message{
		&mh.Heartbeat{}, &mh.BindingRevocationIndication{}, &mh.BindingRevocationAcknowledgement{}, &mh.Experimental{Data: []byte{1, 2}},
	} {
		p, err := mh.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := bindingErrors(t, w.handle(raw(careOf1, nowhere, p...))); len(b) != 1 || b[0].Status != mh.UnrecognizedType {
			t.Errorf("%T: Binding Errors %v", m, b)
		}
	}
}

func TestRFC6275_9_3_1_HomeAddressOptionWithoutBinding(t *testing.T) {
	w := start(t)
	packet := signaling.UnverifiedHomeAddress{Source: careOf1, Destination: agent, HomeAddress: plain}
	b, s := bindingErrors(t, w.handle(packet))
	if len(b) != 1 || b[0].Status != mh.UnknownBinding || b[0].HomeAddress != plain || s[0].Destination != careOf1 {
		t.Errorf("Binding Errors %v, sent as %v", b, s)
	}
	w.accept(bu(plain, 1))
	if e := w.handle(packet); len(e) != 0 {
		t.Errorf("effects %v though there is a binding", e)
	}
	// "the currently registered care-of address MUST be equal to the source address of the packet"
	packet.Source = careOf2
	if b, _ := bindingErrors(t, w.handle(packet)); len(b) != 1 {
		t.Errorf("Binding Errors %v", b)
	}
}

func TestRFC6275_9_3_1_HomeAddressMustBeUnicastRoutable(t *testing.T) {
	for _, home := range []string{"ff0e::1", "fe80::7", "::", "::1", "::ffff:192.0.2.7"} {
		w := start(t, func(c *Config) { c.AllowAnyMobileNode, c.AllowUnauthenticated = true, true })
		b, _ := bindingErrors(t, w.send(bu(netip.MustParseAddr(home), 1)))
		if len(b) != 1 || b[0].Status != mh.UnknownBinding {
			t.Errorf("%s: Binding Errors %v", home, b)
		}
	}
}

// Section 6.3: the option "MUST NOT alter the contents of the receiver's Binding Cache".
func TestRFC6275_6_3_HomeAddressOptionsChangeNoBinding(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 1))
	w.handle(signaling.UnverifiedHomeAddress{Source: careOf2, Destination: agent, HomeAddress: plain})
	w.handle(signaling.ReceivedICMP{Source: careOf2, Destination: agent, HomeAddress: plain, Payload: []byte{146, 0, 0, 0, 0, 1, 0, 0}})
	w.handle(raw(careOf2, plain, 59, 0, 99, 0, 0, 0, 0, 0))
	w.bound(plain, careOf1, time.Minute)
}

// Section 6.2.1: "the receiver MUST quietly ignore and skip over the option, correctly handling any remaining options".
func TestRFC6275_6_2_1_UnknownOptionsAreSkipped(t *testing.T) {
	w := start(t)
	w.accept(bu(plain, 1, options(&mh.UnknownOption{Type: 200, Data: []byte{1, 2, 3}}, &mh.AlternateCareOf{Address: careOf2})))
	w.bound(plain, careOf2, time.Minute)
}

func TestMessagesForOtherAddressesAreDiscarded(t *testing.T) {
	w := start(t)
	r := bu(plain, 1).received(t)
	r.Destination = netip.MustParseAddr("2001:db8:1::2")
	mh.SetChecksum(r.Payload, plain, r.Destination)
	effects(w.handle(r)).silent(t)
	r.Destination = netip.MustParseAddr("ff02::1")
	mh.SetChecksum(r.Payload, plain, r.Destination)
	effects(w.handle(r)).silent(t)
}

// seeds are events' payloads of every kind.
func seeds(t testing.TB) (all [][]byte) {
	all = append(all, bu(plain, 1).received(t).Payload, bu(signed, 1, sign(sha1Key, noon)).received(t).Payload,
		bu(router, 1, asRouter, options(&mh.MobileNetworkPrefix{Prefix: network1}, &mh.AlternateCareOf{Address: careOf2})).received(t).Payload,
		[]byte{59, 0, 99, 0, 0, 0, 0, 0})
	for _, m := range []discovery.Message{
		&discovery.HomeAgentAddressRequest{Identifier: 7}, &discovery.MobilePrefixSolicitation{Identifier: 8},
		&discovery.HomeAgentAddressReply{}, &discovery.MobilePrefixAdvertisement{},
	} {
		b, err := discovery.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func TestTruncationsAndGarbageThroughHandle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	homes := []netip.Addr{{}, plain, signed, router, agent, careOf1, netip.MustParseAddr("ff02::1")}
	w := start(t, physical)
	for _, whole := range seeds(t) {
		for n := range len(whole) + 1 {
			for _, home := range homes {
				for range 4 {
					p := append([]byte(nil), whole[:n]...)
					for range r.IntN(3) {
						if n > 0 {
							p[r.IntN(n)] = byte(r.Uint32())
						}
					}
					if n >= 8 {
						from := careOf1
						if home.IsValid() {
							from = home
						}
						mh.SetChecksum(p, from, agent)
					}
					w.after(time.Millisecond)
					w.handle(signaling.Received{Source: careOf1, Destination: agent, HomeAddress: home, Payload: p})
					w.handle(signaling.ReceivedICMP{Source: careOf1, Destination: agent, HomeAddress: home, Payload: p})
				}
			}
		}
	}
	if n := len(w.m.Bindings(w.now)); n > 3 {
		t.Errorf("%d bindings came of garbage", n)
	}
	w.handle(signaling.Received{})
	w.handle(signaling.ReceivedICMP{})
	w.handle(signaling.UnverifiedHomeAddress{})
	w.handle(signaling.HomeAgentSeen{})
	w.handle(signaling.DuplicateResult{})
}

func FuzzHandle(f *testing.F) {
	for i, p := range seeds(f) {
		f.Add(p, uint8(i))
	}
	homes := []netip.Addr{{}, plain, signed, router}
	f.Fuzz(func(t *testing.T, p []byte, choice uint8) {
		w := start(t, physical)
		home := homes[choice%4]
		from := careOf1
		if home.IsValid() {
			from = home
		}
		if len(p) >= 8 {
			mh.SetChecksum(p, from, agent)
		}
		for range 2 {
			w.handle(signaling.Received{Source: careOf1, Destination: agent, HomeAddress: home, Payload: p})
			w.handle(signaling.ReceivedICMP{Source: careOf1, Destination: agent, HomeAddress: home, Payload: p})
			for _, a := range []netip.Addr{plain, router} {
				w.probed(a, false)
			}
		}
		for w.after(20 * time.Minute).tick(); !w.m.Next().IsZero(); {
			w.after(20 * time.Minute).tick()
		}
		if n := len(w.m.Bindings(w.now)); n != 0 || w.m.cache.Len() != 0 {
			t.Errorf("%d bindings outlive the longest lifetime", n)
		}
	})
}
