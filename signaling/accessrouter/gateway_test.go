package accessrouter

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/database"
	"kedge/signaling/mh"
)

func TestRFC5213_6_9_1_1_GatewayAsksForAPrefix(t *testing.T) {
	s := alone(t, asGateway)
	e := s.attach()
	u := one[*mh.BindingUpdate](s, e)
	if u.Distributed || !u.ProxyRegistration || !u.Acknowledge {
		t.Errorf("PBU %+v", u)
	}
	want := []mh.OptionType{
		mh.OptionMobileNodeIdentifier, mh.OptionHomeNetworkPrefix, mh.OptionHandoffIndicator, mh.OptionAccessTechnologyType,
		mh.OptionTimestamp, mh.OptionLinkLayerIdentifier, mh.OptionLinkLocalAddress, mh.OptionReplayProtection,
		mh.OptionMessageAuthentication,
	}
	if got := kindsOf(u.Options); !reflect.DeepEqual(got, want) {
		t.Errorf("options %v, want %v", got, want)
	}
	p, _ := mh.Find[*mh.HomeNetworkPrefix](u.Options)
	i, _ := mh.Find[*mh.HandoffIndicator](u.Options)
	l, _ := mh.Find[*mh.LinkLocalAddress](u.Options)
	if p.Prefix.Bits() != 0 || i.Indicator != mh.HandoffUnknown || !l.Address.IsUnspecified() {
		t.Errorf("prefix %v, handoff %d, link-local %v", p.Prefix, i.Indicator, l.Address)
	}
	// There is nothing local to serve with.
	if got := of[signaling.Advertise](append(e, s.after(900*time.Millisecond)...)); len(got) != 0 {
		t.Errorf("advertised %+v", got)
	}
}

// given is what a local mobility anchor answers a question for a prefix with.
func given(u *mh.BindingUpdate) *mh.BindingAcknowledgement {
	b := answer(u, mh.StatusAccepted)
	for i, o := range b.Options {
		switch o.(type) {
		case *mh.HomeNetworkPrefix:
			b.Options[i] = &mh.HomeNetworkPrefix{Prefix: hnp}
		case *mh.LinkLocalAddress:
			b.Options[i] = &mh.LinkLocalAddress{Address: netip.MustParseAddr("fe80::9")}
		}
	}
	return b
}

func TestRFC5213_6_9_1_2_GatewayTunnelsToTheAnchor(t *testing.T) {
	s := alone(t, asGateway)
	u := one[*mh.BindingUpdate](s, s.attach())
	e := s.reply(u, given(u))
	if b := of[signaling.BindAttached](e); len(b) != 1 ||
		b[0] != (signaling.BindAttached{Prefix: hnp, Link: "radio", MobileNode: host, Local: maar(1), Remote: lma}) {
		t.Errorf("bound %+v", b)
	}
	a := of[signaling.Advertise](e)
	if len(a) != 1 || a[0].Router.Preferred != DefaultPreferredLifetime || a[0].Router.LinkLocal != netip.MustParseAddr("fe80::9") {
		t.Fatalf("advertised %+v", a)
	}
	// Another gateway, with another secret, is the same router.
	other := alone(t, asGateway, func(c *Config) { c.Address, c.Secret, c.Peers = maar(9), [32]byte{9}, nil })
	v := one[*mh.BindingUpdate](other, other.attach())
	b := given(v)
	stamp, _ := auth.Timestamp(v.Options)
	o := of[signaling.Advertise](other.from(lma, b, other.m.association, maar(9), stamp))
	if len(o) != 1 || !reflect.DeepEqual(o[0].Router, a[0].Router) {
		t.Errorf("at another gateway %+v, want %+v", o, a)
	}
}

func TestRFC5213_6_9_1_2_AcknowledgementThatDoesNotEchoIsIgnored(t *testing.T) {
	for name, option := range map[string]mh.Option{
		"handoff":    &mh.HandoffIndicator{Indicator: mh.HandoffNewInterface},
		"technology": &mh.AccessTechnologyType{Technology: mh.AccessWLAN},
		"link layer": &mh.LinkLayerIdentifier{Identifier: []byte{1, 2, 3, 4, 5, 6}},
	} {
		s := alone(t, asGateway)
		u := one[*mh.BindingUpdate](s, s.attach())
		b := given(u)
		for i, o := range b.Options {
			if o.OptionType() == option.OptionType() {
				b.Options[i] = option
			}
		}
		e := s.reply(u, b)
		if len(of[signaling.BindAttached](e)) != 0 || s.m.Counters().Discarded.Mismatched != 1 {
			t.Errorf("%s: %v", name, e)
		}
		// "MUST NOT retransmit"
		s.silent(s.after(time.Hour))
	}
}

func TestRFC5213_6_9_1_2_RefusedMobileNodeGetsNoService(t *testing.T) {
	for _, status := range []mh.Status{mh.StatusProxyNotEnabled, mh.StatusNotAuthorizedForHomePrefix, mh.StatusGatewayNotAuthorized} {
		for _, change := range []func(*Config){asGateway, func(*Config) {}} {
			s := alone(t, change)
			u := one[*mh.BindingUpdate](s, s.attach())
			s.after(500 * time.Millisecond)
			e := s.acknowledge(u, status)
			if len(of[signaling.Advertise](e)) != 0 || s.state().State != "denied" {
				t.Errorf("status %d: %v, %s", status, e.kinds(), s.state().State)
			}
			// What it had locally until then is taken back.
			taken, told := of[signaling.UnbindAttached](e), of[signaling.Unadvertise](e)
			if !s.m.gateway && (len(taken) != 1 || len(told) != 1 || !told[0].Tell) {
				t.Errorf("status %d: unbound %+v, unadvertised %+v", status, taken, told)
			}
			// "SHOULD NOT send a Proxy Binding Update message again"
			s.silent(s.after(time.Minute))
			s.silent(s.attach())
		}
	}
}

func TestRFC5213_6_9_1_3_RefreshSaysThatNothingHasChanged(t *testing.T) {
	s := alone(t, asGateway)
	u := one[*mh.BindingUpdate](s, s.attach())
	s.reply(u, given(u))
	s.silent(s.after(DefaultLifetime*3/4 - time.Millisecond))
	u = one[*mh.BindingUpdate](s, s.after(time.Millisecond))
	i, _ := mh.Find[*mh.HandoffIndicator](u.Options)
	p, _ := mh.Find[*mh.HomeNetworkPrefix](u.Options)
	if i.Indicator != mh.HandoffNotChanged || p.Prefix != hnp || u.Lifetime != DefaultLifetime {
		t.Errorf("PBU %+v", u)
	}
	s.reply(u, given(u))
	if s.state().State != "serving" {
		t.Errorf("state %s", s.state().State)
	}
}

func TestRFC5213_6_9_1_4_GatewayDeregistersOnDetachment(t *testing.T) {
	s := alone(t, asGateway)
	u := one[*mh.BindingUpdate](s, s.attach())
	s.reply(u, given(u))
	s.after(time.Second)
	e := s.handle(signaling.MobileNodeDetached{Link: "radio", LinkLayer: host})
	u = one[*mh.BindingUpdate](s, e)
	p, _ := mh.Find[*mh.HomeNetworkPrefix](u.Options)
	i, _ := mh.Find[*mh.HandoffIndicator](u.Options)
	if u.Lifetime != 0 || p.Prefix != hnp || i.Indicator != mh.HandoffUnknown {
		t.Errorf("PBU %+v", u)
	}
	// "or after INITIAL_BINDACK_TIMEOUT timeout waiting for the reply"
	if e := s.after(time.Second); len(of[signaling.UnbindAttached](e)) != 1 || s.state().State != "none" {
		t.Errorf("%v, %s", e, s.state().State)
	}
}

func TestRFC5213_6_9_4_NoRetransmissionForAMobileNodeThatLeft(t *testing.T) {
	s := alone(t)
	s.attach()
	s.handle(signaling.MobileNodeDetached{Link: "radio", LinkLayer: host})
	s.silent(s.after(DefaultLifetime - time.Millisecond))
}

func TestRFC5213_6_9_4_RetransmissionHasANewTimestamp(t *testing.T) {
	for _, ordering := range []Ordering{Timestamps, SequenceNumbers} {
		s := alone(t, func(c *Config) { c.Ordering = ordering })
		a := one[*mh.BindingUpdate](s, s.attach())
		s.after(999 * time.Millisecond)
		b := one[*mh.BindingUpdate](s, s.after(time.Millisecond))
		x, stamped := mh.Find[*mh.Timestamp](a.Options)
		y, _ := mh.Find[*mh.Timestamp](b.Options)
		if ordering == Timestamps && (!y.Time.After(x.Time) || b.Sequence != a.Sequence) {
			t.Errorf("timestamps %v, %v, sequence %d, %d", x.Time, y.Time, a.Sequence, b.Sequence)
		}
		if ordering == SequenceNumbers && (stamped || b.Sequence != a.Sequence+1) {
			t.Errorf("sequence %d, %d", a.Sequence, b.Sequence)
		}
	}
}

func TestRFC5213_5_5_SequenceNumberIsLearntFromTheRefusal(t *testing.T) {
	s := alone(t, func(c *Config) { c.Ordering = SequenceNumbers })
	u := one[*mh.BindingUpdate](s, s.attach())
	b := answer(u, mh.StatusSequenceOutOfWindow)
	b.Sequence = 300
	v := one[*mh.BindingUpdate](s, s.reply(u, b))
	if v.Sequence != 301 {
		t.Errorf("sequence %d, want 301", v.Sequence)
	}
	if s.acknowledge(v, mh.StatusAccepted); s.state().State != "serving" {
		t.Errorf("state %s", s.state().State)
	}
}

// TestGatewayAndLocalMobilityAnchor has two gateways and the CMD's machine as a plain local mobility anchor.
func TestGatewayAndLocalMobilityAnchor(t *testing.T) {
	w := network(t, database.Relay, 2, func(c *Config, d *database.Config) {
		c.LocalMobilityAnchor, c.LMASPI, c.Database, c.SPI, c.Pools = cmd, c.SPI, netip.Addr{}, 0, nil
		d.ServePlain, d.HomePrefixes = true, []netip.Prefix{netip.MustParsePrefix("2001:db8:f::/48")}
		for i := range d.Routers {
			d.Routers[i].Prefixes, d.Routers[i].Plain = nil, true
		}
	})
	w.attach(1)
	w.run(time.Second)
	router := func(n int) (r signaling.Router) {
		t.Helper()
		if len(w.at(n).routers) != 1 {
			t.Fatalf("gateway %d has routers %v, %s", n, w.at(n).routers, w.info(n).State)
		}
		for _, r = range w.at(n).routers {
		}
		return r
	}
	first := router(1)
	if !netip.MustParsePrefix("2001:db8:f::/48").Contains(first.Prefix.Addr()) || w.nodes[cmd].tunnels[first.Prefix] != maar(1) {
		t.Errorf("%+v, tunnels %v", first, w.nodes[cmd].tunnels)
	}
	w.detach(1)
	w.attach(2)
	w.run(2 * time.Second)
	if second := router(2); !reflect.DeepEqual(first, second) || w.nodes[cmd].tunnels[first.Prefix] != maar(2) || len(w.at(1).native) != 0 {
		t.Errorf("at the second gateway %+v, want %+v; tunnels %v", second, first, w.nodes[cmd].tunnels)
	}
	w.run(time.Hour)
	w.detach(2)
	w.run(time.Minute)
	w.empty()
}
