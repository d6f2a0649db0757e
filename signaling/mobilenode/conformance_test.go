package mobilenode

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// A node is at home when its home prefix is on the link, and its home prefix only.
func TestRFC6275_11_5_2_HomeLinkIsKnownByItsPrefix(t *testing.T) {
	for p, want := range map[string]bool{"2001:db8:1::/64": true, "2001:db8:1::/63": false, "2001:db8:1:1::/64": false} {
		b := newBench(t)
		a := atHome()
		a.OnLink = []netip.Prefix{netip.MustParsePrefix("2001:db8:77::/64"), netip.MustParsePrefix(p)}
		send, bu := b.update(b.do(a))
		if atHome := send.Source == home && bu.Lifetime == 0; atHome != want {
			t.Errorf("%s: at home %v, want %v", p, atHome, want)
		}
	}
}

// Section 11.7.3: "if the Status field value is 135 but the Binding Acknowledgement does not pass authentication, the message
// MUST be silently ignored". RFC 4285 section 6 says so of status 144.
func TestRFC6275_11_7_3_UnauthenticStatusesAreIgnored(t *testing.T) {
	wrong := association
	wrong.Key = auth.Key("another secret")
	for _, s := range []mh.Status{mh.StatusSequenceOutOfWindow, mh.StatusIDMismatch, mh.StatusDuplicateAddress, mh.StatusAuthenticationFailure} {
		b := newBench(t)
		send, bu := b.update(b.do(attachment(careOfA)))
		stamp, _ := auth.Timestamp(bu.Options)
		payload, err := auth.Sign(&mh.BindingAcknowledgement{Status: s, Sequence: bu.Sequence + 100}, wrong, careOfA, home, stamp)
		if err != nil {
			t.Fatal(err)
		}
		mh.SetChecksum(payload, agent, home)
		out := b.do(signaling.Received{Source: agent, Destination: careOfA, RoutingHome: home, Payload: payload})
		if len(out.sends()) != 0 {
			t.Errorf("status %d: sent\n%s", s, out)
		}
		b.wantState(StateRegistering)
		b.now = b.m.Next()
		if _, again := b.update(b.do(signaling.Tick{})); again.Sequence != bu.Sequence+1 || b.now.Sub(b.start) != 1500*time.Millisecond {
			t.Errorf("status %d: next update has sequence number %d after %v", s, again.Sequence, b.now.Sub(b.start))
		}
		b.do(b.answer(send, bu))
		b.wantState(StateRegistered)
	}
}

// "If the mobile node has a current registration with some home agent ..., then the mobile node MUST attempt any new
// registration first with that home agent."
func TestRFC6275_11_4_1_CurrentHomeAgentIsTriedFirst(t *testing.T) {
	b := newBench(t, discovering)
	id := identifier(t, b.do(attachment(careOfA)))
	send, bu := b.update(b.do(reply(t, id, agent, agent2)))
	b.do(b.answer(send, bu, status(mh.StatusInsufficientResources)))
	b.now = b.now.Add(1500 * time.Millisecond)
	send, bu = b.update(b.do(signaling.Tick{}))
	b.do(b.answer(send, bu))
	b.wantState(StateRegistered)
	b.now = b.now.Add(5 * time.Second)
	if send, _ := b.update(b.do(attachment(careOfB))); send.Destination != agent2 {
		t.Errorf("registers a new care-of address with %v first, though %v has the binding", send.Destination, agent2)
	}
}

// Section 6.2.1, of what a home agent may add to an acknowledgement.
func TestRFC6275_6_2_1_UnknownOptionsAreSkipped(t *testing.T) {
	b := newBench(t)
	b.register(careOfA, func(ba *mh.BindingAcknowledgement) {
		ba.Options = append(ba.Options, &mh.UnknownOption{Type: 200, Data: []byte{1, 2, 3}}, &mh.BindingRefreshAdvice{Interval: 12 * time.Second})
	})
	b.wantState(StateRegistered)
	if at := b.sendTimes(1); at[0] != 12*time.Second-20*time.Millisecond {
		t.Errorf("refreshed after %v: the option after the unknown one was lost", at[0])
	}
}

// Section 6.1: a Home Address option goes with Binding Updates only, and with those from away only; no other Mobility Header
// message leaves a mobile node, and none with a type 2 routing header.
func TestRFC6275_6_1_OnlyBindingUpdatesFromAwayHaveAHomeAddressOption(t *testing.T) {
	b := newBench(t)
	all := b.do(attachment(careOfA))
	send, bu := b.update(all)
	all = append(all, b.do(b.answer(send, bu))...)
	b.now = b.now.Add(5 * time.Second)
	all = append(all, b.do(b.message(&mh.BindingRefreshRequest{}))...)
	b.now = b.now.Add(5 * time.Second)
	all = append(all, b.do(b.message(&mh.BindingError{Status: mh.UnknownBinding, HomeAddress: home}))...)
	b.now = b.now.Add(5 * time.Second)
	all = append(all, b.do(atHome())...)
	if len(all.sends()) != 4 {
		t.Fatalf("sent %d messages", len(all.sends()))
	}
	for _, s := range all.sends() {
		m, err := mh.Parse(s.Payload)
		if err != nil || m.Type() != mh.TypeBindingUpdate || s.RoutingHome.IsValid() || s.HomeAddress.IsValid() != (s.Source == careOfA) {
			t.Errorf("sent %+v, %T, %v", s, m, err)
		}
	}
}

// What cannot be read is answered whoever sent it, at a bounded rate.
func TestRFC6275_11_2_UnknownTypesAndHeadersAreAnswered(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	stranger := netip.MustParseAddr("2001:db8:77::7")
	unknown := func() signaling.Received {
		payload := []byte{59, 0, 77, 0, 0, 0, 0, 0}
		mh.SetChecksum(payload, stranger, careOfA)
		return signaling.Received{Source: stranger, Destination: careOfA, Payload: payload}
	}
	answered := 0
	for range 3 * faultRate {
		for _, s := range of[signaling.Send](b.do(unknown())) {
			m, err := mh.Parse(s.Payload)
			if e, is := m.(*mh.BindingError); err != nil || !is || e.Status != mh.UnrecognizedType || s.Source != careOfA || s.Destination != stranger {
				t.Fatalf("answer %+v: %+v, %v", s, m, err)
			}
			answered++
		}
	}
	if answered != faultRate {
		t.Errorf("%d of %d answered at once, want %d", answered, 3*faultRate, faultRate)
	}
	b.wait(time.Second)
	bad := []byte{58, 0, 7, 0, 0, 0, 0, 0}
	mh.SetChecksum(bad, stranger, careOfA)
	out := b.do(signaling.Received{Source: stranger, Destination: careOfA, Payload: bad})
	if p := of[signaling.SendParameterProblem](out); len(p) != 1 || p[0].Pointer != 0 {
		t.Errorf("effects:\n%s", out)
	}
}

func TestRFC6275_9_3_1_HomeAddressOptionsAreRefused(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	stranger, theirs := netip.MustParseAddr("2001:db8:77::7"), netip.MustParseAddr("2001:db8:78::8")
	out := of[signaling.Send](b.do(signaling.UnverifiedHomeAddress{Source: stranger, Destination: careOfA, HomeAddress: theirs}))
	if len(out) != 1 || out[0].Destination != stranger {
		t.Fatalf("sent %+v", out)
	}
	m, err := mh.Parse(out[0].Payload)
	if e, is := m.(*mh.BindingError); err != nil || !is || e.Status != mh.UnknownBinding || e.HomeAddress != theirs {
		t.Errorf("sent %+v, %v", m, err)
	}
}
