package accessrouter

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

func kindsOf(options mh.Options) (k []mh.OptionType) {
	for _, o := range options {
		k = append(k, o.OptionType())
	}
	return k
}

func TestRFC8885_3_1_InitialRegistration(t *testing.T) {
	s := alone(t)
	e := s.attach()
	u := one[*mh.BindingUpdate](s, e)
	if !u.Acknowledge || !u.ProxyRegistration || !u.Distributed || u.HomeRegistration || u.Lifetime != DefaultLifetime {
		t.Errorf("PBU %+v", u)
	}
	want := []mh.OptionType{
		mh.OptionMobileNodeIdentifier, mh.OptionAnchoredPrefix, mh.OptionDLIFLinkLocalAddress, mh.OptionDLIFLinkLayerAddress,
		mh.OptionHandoffIndicator, mh.OptionAccessTechnologyType, mh.OptionTimestamp, mh.OptionLinkLayerIdentifier,
		mh.OptionReplayProtection, mh.OptionMessageAuthentication,
	}
	if got := kindsOf(u.Options); !reflect.DeepEqual(got, want) {
		t.Errorf("options %v, want %v", got, want)
	}
	own, _ := mh.Find[*mh.AnchoredPrefix](u.Options)
	if own.Prefix.Bits() != 64 || !poolOf(1).Contains(own.Prefix.Addr()) {
		t.Errorf("prefix %v", own.Prefix)
	}
	id, _ := mh.Find[*mh.MobileNodeIdentifier](u.Options)
	if id.Subtype != 5 || id.Identifier != string(host[:]) {
		t.Errorf("MN-ID %+v", id)
	}
	if got := of[signaling.Advertise](e); len(got) != 0 {
		t.Errorf("advertised before the acknowledgement: %+v", got)
	}
	// The prefix is routed here, with no tunnel.
	b := of[signaling.BindAttached](e)
	if len(b) != 1 || b[0] != (signaling.BindAttached{Prefix: own.Prefix, Link: "radio", MobileNode: host}) {
		t.Errorf("bound %+v", b)
	}
	e = s.acknowledge(u, mh.StatusAccepted)
	a := of[signaling.Advertise](e)
	if len(a) != 1 || a[0].Link != "radio" || a[0].MobileNode != host || a[0].Router.Prefix != own.Prefix ||
		a[0].Router.Preferred != DefaultPreferredLifetime || a[0].Router.Valid != DefaultValidLifetime {
		t.Errorf("advertised %+v", a)
	}
	if got := s.state().State; got != "serving" {
		t.Errorf("state %s", got)
	}
}

func TestRFC8885_3_2_PreviousMAARTunnelsAndAnswersWithServingMAAR(t *testing.T) {
	s, prefix := served(t)
	e := s.notice(maar(2), prefix)
	if b := of[signaling.Bind](e); len(b) != 1 || b[0] != (signaling.Bind{Home: prefix, Local: maar(1), Remote: maar(2)}) {
		t.Errorf("bound %+v", b)
	}
	if u := of[signaling.UnbindAttached](e); len(u) != 1 || u[0].Prefix != prefix {
		t.Errorf("unbound %+v", u)
	}
	if u := of[signaling.Unadvertise](e); len(u) != 1 || u[0] != (signaling.Unadvertise{Link: "radio", MobileNode: host, Prefix: prefix}) {
		t.Errorf("unadvertised %+v", u)
	}
	b := one[*mh.BindingAcknowledgement](s, e)
	serving, _ := mh.Find[*mh.ServingMAAR](b.Options)
	anchored, _ := mh.Find[*mh.HomeNetworkPrefix](b.Options)
	if b.Status != 0 || b.Sequence != 4711 || b.Lifetime != time.Minute || !b.ProxyRegistration || !b.Distributed ||
		serving == nil || serving.Address != maar(2) || anchored == nil || anchored.Prefix != prefix {
		t.Errorf("PBA %+v", b)
	}
	linkLocal, linkLayer := s.m.ownInterface(mnID)
	ll, _ := mh.Find[*mh.DLIFLinkLocalAddress](b.Options)
	mac, _ := mh.Find[*mh.DLIFLinkLayerAddress](b.Options)
	if ll.Address != linkLocal || string(mac.Address) != string(linkLayer[:]) {
		t.Errorf("DLIF %v %x", ll.Address, mac.Address)
	}
}

func TestRFC8885_3_2_ServingMAARBindsEachPreviousMAAR(t *testing.T) {
	s := alone(t)
	u := one[*mh.BindingUpdate](s, s.attach())
	p2, p3 := netip.MustParsePrefix("2001:db8:a2:7::/64"), netip.MustParsePrefix("2001:db8:a3:7::/64")
	e := s.acknowledge(u, mh.StatusAccepted, previousOf(2, p2)...)
	if b := of[signaling.BindAttached](e); len(b) != 1 ||
		b[0] != (signaling.BindAttached{Prefix: p2, Link: "radio", MobileNode: host, Local: maar(1), Remote: maar(2)}) {
		t.Errorf("bound %+v", b)
	}
	// "the S-MAAR might receive multiple PBAs from the CMD in response to a PBU"
	e = s.acknowledge(u, mh.StatusAccepted, previousOf(3, p3)...)
	if b := of[signaling.BindAttached](e); len(b) != 1 || b[0].Prefix != p3 || b[0].Remote != maar(3) {
		t.Errorf("bound %+v", b)
	}
	if i := s.state(); len(i.PreviousMAARs) != 2 || i.PreviousMAARs[0].Prefix != p2 {
		t.Errorf("previous MAARs %+v", i.PreviousMAARs)
	}
}

func TestRFC8885_3_3_PreviousMAARAnswersServingMAAR(t *testing.T) {
	s, prefix := served(t, byLocator)
	e := s.notice(maar(2), prefix)
	sends := of[signaling.Send](e)
	if len(sends) != 2 || sends[0].Destination != cmd || sends[1].Destination != maar(2) {
		t.Fatalf("sent %+v", sends)
	}
	b := s.messages(e)[1].(*mh.BindingAcknowledgement)
	_, repeated := mh.Find[*mh.ServingMAAR](b.Options)
	own, _ := mh.Find[*mh.HomeNetworkPrefix](b.Options)
	if b.Sequence != 4711 || repeated || own.Prefix != prefix {
		t.Errorf("PBA %+v", b)
	}
	// The serving MAAR takes the anchor's address from the source of the message.
	s = alone(t, byLocator)
	u := one[*mh.BindingUpdate](s, s.attach())
	p2 := netip.MustParsePrefix("2001:db8:a2:7::/64")
	peer := key(between(1, 2))
	ack := &mh.BindingAcknowledgement{ProxyRegistration: true, Distributed: true, Sequence: u.Sequence, Lifetime: time.Minute,
		Options: mh.Options{mnID.option(), &mh.HomeNetworkPrefix{Prefix: p2}}}
	e = s.from(maar(2), ack, peer, maar(1), s.later())
	if got := of[signaling.BindAttached](e); len(got) != 1 || got[0].Remote != maar(2) || got[0].Prefix != p2 {
		t.Errorf("bound %+v", got)
	}
	if got := of[signaling.Advertise](e); len(got) != 2 || got[0].Router.Preferred == 0 || got[1].Router.Preferred != 0 {
		t.Errorf("advertised %+v", got)
	}
	// Another one's sequence number, or another's signature, is nobody's.
	ack.Sequence++
	if e := s.from(maar(2), ack, peer, maar(1), s.later()); len(of[signaling.BindAttached](e)) != 0 || s.m.Counters().Discarded.Unmatched != 1 {
		t.Errorf("%v, %+v", e, s.m.Counters().Discarded)
	}
	if e := s.from(maar(3), ack, peer, maar(1), s.later()); len(e) != 0 || s.m.Counters().Discarded.Unauthenticated != 1 {
		t.Errorf("%v, %+v", e, s.m.Counters().Discarded)
	}
}

func TestRFC8885_3_5_PreviousMAARStopsItsTimer(t *testing.T) {
	s, prefix := served(t)
	s.notice(maar(2), prefix)
	s.silent(s.after(24 * time.Hour))
	if i := s.state(); i.State != "previous" || i.ExpiresIn != 0 {
		t.Errorf("%+v", i)
	}
}

func TestRFC8885_3_5_PreviousMAARDeregistersAndIsRenewed(t *testing.T) {
	s, prefix := served(t, func(c *Config) { c.Deregistration = AtExpiry })
	s.notice(maar(2), prefix)
	s.silent(s.after(time.Minute - time.Millisecond))
	u := one[*mh.BindingUpdate](s, s.after(time.Millisecond))
	if u.Lifetime != 0 || !u.Distributed {
		t.Errorf("PBU %+v", u)
	}
	// "sends back a PBA with a non-zero lifetime, hence renewing the session"
	b := answer(u, mh.StatusAccepted, &mh.ServingMAAR{Address: maar(3)})
	b.Lifetime = 20 * time.Second
	e := s.reply(u, b)
	if got := of[signaling.Bind](e); len(got) != 1 || got[0].Remote != maar(3) || s.state().State != "previous" {
		t.Errorf("bound %+v, %s", got, s.state().State)
	}
	u = one[*mh.BindingUpdate](s, s.after(20*time.Second))
	e = s.acknowledge(u, mh.StatusAccepted)
	if got := of[signaling.Unbind](e); len(got) != 1 || s.state().State != "none" {
		t.Errorf("unbound %+v, %s", got, s.state().State)
	}
}

func TestRFC8885_3_5_DetachmentDoesNotDeregister(t *testing.T) {
	s, _ := served(t)
	s.silent(s.handle(signaling.MobileNodeDetached{Link: "radio", LinkLayer: host}))
	// It was registered a second ago.
	s.silent(s.after(DefaultLifetime - time.Second - time.Millisecond))
	u := one[*mh.BindingUpdate](s, s.after(time.Millisecond))
	if u.Lifetime != 0 {
		t.Errorf("PBU %+v", u)
	}
	if e := s.acknowledge(u, mh.StatusAccepted); len(of[signaling.UnbindAttached](e)) != 1 || s.state().State != "none" {
		t.Errorf("%v, %s", e, s.state().State)
	}
}

func TestRFC8885_3_6_RetransmissionsBackOff(t *testing.T) {
	s := alone(t)
	s.attach()
	var at []time.Duration
	for range 8 {
		for len(of[signaling.Send](s.after(s.m.Next().Sub(s.now)))) == 0 {
		}
		at = append(at, s.now.Sub(noon))
	}
	const second = time.Second
	want := []time.Duration{1 * second, 3 * second, 7 * second, 15 * second, 31 * second, 63 * second, 95 * second, 127 * second}
	if !reflect.DeepEqual(at, want) {
		t.Errorf("sent again at %v, want %v", at, want)
	}
}

func TestRFC8885_3_6_NotMoreThanThreeUpdatesASecond(t *testing.T) {
	s := alone(t)
	var at []time.Duration
	count := func(e effects) {
		for range of[signaling.Send](e) {
			at = append(at, s.now.Sub(noon))
		}
	}
	// A host that flaps: each attachment is at a MAAR that has lost it again.
	for range 100 {
		count(s.attach())
		count(s.handle(signaling.MobileNodeDetached{Link: "radio", LinkLayer: host}))
		count(s.after(20 * time.Millisecond))
	}
	for i := 3; i < len(at); i++ {
		if at[i]-at[i-3] < time.Second {
			t.Fatalf("four within a second: %v", at[i-3:i+1])
		}
	}
	if len(at) < 4 {
		t.Errorf("sent at %v only", at)
	}
}

func TestRFC8885_3_7_DLIFOfPreviousMAARIsDeprecatedAndLooksTheSame(t *testing.T) {
	s := alone(t, func(c *Config) { c.LocalPrefixes = []netip.Prefix{netip.MustParsePrefix("fd00:1::/48")} })
	u := one[*mh.BindingUpdate](s, s.attach())
	if l, ok := mh.Find[*mh.LocalPrefix](u.Options); !ok || l.Prefix != s.m.cfg.LocalPrefixes[0] {
		t.Errorf("Local Prefix %+v", l)
	}
	p2 := netip.MustParsePrefix("2001:db8:a2:7::/64")
	local := netip.MustParsePrefix("fd00:2::/48")
	e := s.acknowledge(u, mh.StatusAccepted, append(previousOf(2, p2), &mh.LocalPrefix{Prefix: local})...)
	a := of[signaling.Advertise](e)
	if len(a) != 2 || !reflect.DeepEqual(a[0].Router.LocalPrefixes, s.m.cfg.LocalPrefixes) {
		t.Fatalf("advertised %+v", a)
	}
	want := signaling.Router{
		LinkLocal: netip.MustParseAddr("fe80::2:2"), LinkLayer: signaling.LinkLayerAddress{2, 0, 0, 0, 2, 2}, Prefix: p2,
		Valid: DefaultDeprecatedValid, Lifetime: DefaultRouterLifetime, LocalPrefixes: []netip.Prefix{local},
	}
	if !reflect.DeepEqual(a[1].Router, want) {
		t.Errorf("advertised %+v, want %+v", a[1].Router, want)
	}
}

func TestRFC8885_4_2_AcknowledgementWithoutFlagDIsIgnored(t *testing.T) {
	s := alone(t)
	u := one[*mh.BindingUpdate](s, s.attach())
	b := answer(u, mh.StatusAccepted)
	b.Distributed = false
	e := s.reply(u, b)
	if len(of[signaling.Advertise](e)) != 0 || s.state().State != "attaching" || s.m.Counters().Discarded.WrongProtocol != 1 {
		t.Errorf("%v, %s", e, s.state().State)
	}
}

func TestRFC8885_4_2_PlainGatewayIgnoresFlagDAndReturnsAnError(t *testing.T) {
	s := alone(t, asGateway)
	u := one[*mh.BindingUpdate](s, s.attach())
	b := answer(u, mh.StatusAccepted, &mh.HomeNetworkPrefix{Prefix: hnp})
	b.Distributed = true
	e := s.reply(u, b)
	if p := of[signaling.SendParameterProblem](e); len(p) != 1 || p[0].Pointer != 7 || p[0].InReplyTo.Source != lma {
		t.Errorf("error %+v", p)
	}
	if len(of[signaling.BindAttached](e)) != 0 || s.state().State != "attaching" {
		t.Errorf("%v, %s", e, s.state().State)
	}
}
