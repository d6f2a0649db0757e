package mobilenode

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

var (
	hostA     = netip.MustParseAddr("2001:db8:a::5")
	hostIPv4A = netip.MustParseAddr("192.168.1.5")
	hostIPv4B = netip.MustParseAddr("10.0.0.7")
	endpoint6 = netip.MustParseAddrPort("[2001:db8:1::4191]:4191")
	endpoint4 = netip.MustParseAddrPort("198.51.100.1:4191")
)

func over(t Transport) func(*Config) {
	return func(c *Config) {
		c.Transport, c.Endpoints = t, []netip.AddrPort{endpoint4, endpoint6}
	}
}

// hosted is an attachment that the host has addresses on too; careOf may be invalid.
func hosted(careOf, host, hostIPv4 netip.Addr) signaling.Attachment {
	a := attachment(careOf)
	a.Host, a.HostIPv4 = host, hostIPv4
	return a
}

// nat has the acknowledgement of bu say that there is a NAT, with this refresh time; a negative one says that there is none.
func nat(refresh time.Duration) func(*mh.BindingAcknowledgement) {
	return func(ba *mh.BindingAcknowledgement) {
		o := &mh.NATDetection{ForceUDP: true, Refresh: refresh}
		if refresh < 0 {
			o.Refresh, o.NoKeepalive = 0, true
		}
		ba.Options = append(ba.Options, o)
	}
}

// accept acknowledges the one update in all after 20 ms.
func (b *bench) accept(all effects, change ...func(*mh.BindingAcknowledgement)) effects {
	b.t.Helper()
	send, bu := b.update(all)
	b.now = b.now.Add(20 * time.Millisecond)
	return b.do(b.answer(send, bu, change...))
}

// next ticks until an update is sent, and returns it and how long that took.
func (b *bench) next() (signaling.Send, *mh.BindingUpdate, time.Duration) {
	b.t.Helper()
	from := b.now
	for range 100 {
		b.now = b.m.Next()
		if out := b.do(signaling.Tick{}); len(out.sends()) > 0 {
			send, bu := b.update(out)
			return send, bu, b.now.Sub(from)
		}
	}
	b.t.Fatal("nothing is sent")
	return signaling.Send{}, nil, 0
}

func TestRFC5555_4_4_2_BindingUpdateInDatagram(t *testing.T) {
	for _, c := range []struct {
		attachment signaling.Attachment
		local      netip.Addr
		endpoint   netip.AddrPort
	}{
		{hosted(netip.Addr{}, netip.Addr{}, hostIPv4A), hostIPv4A, endpoint4},
		{hosted(netip.Addr{}, hostA, hostIPv4A), hostA, endpoint6},
		{hosted(careOfA, netip.Addr{}, hostIPv4A), hostIPv4A, endpoint4},
	} {
		b := newBench(t, over(UDP))
		out := b.do(c.attachment)
		send, bu := b.update(out)
		want := signaling.Send{Source: home, Destination: agent, Outer: c.endpoint, OuterLocal: c.local, Link: "eth0", Payload: send.Payload}
		if send.HomeAddress.IsValid() || send.Router.IsValid() || send.Source != want.Source || send.Destination != want.Destination ||
			send.Outer != want.Outer || send.OuterLocal != want.OuterLocal || send.Link != want.Link {
			t.Errorf("sent %+v", send)
		}
		if !bu.ForceUDP || !bu.HomeRegistration || !bu.Acknowledge {
			t.Errorf("update %+v", bu)
		}
		v4, has4 := mh.Find[*mh.IPv4CareOfAddress](bu.Options)
		v6, has6 := mh.Find[*mh.AlternateCareOf](bu.Options)
		if has4 != c.local.Is4() || has6 != c.local.Is6() || has4 && v4.Address != c.local || has6 && v6.Address != c.local {
			t.Errorf("options %+v", bu.Options)
		}
		known := func(uint32) (auth.Association, bool) { return association, true }
		if _, err := auth.Verify(send.Payload, bu, known, c.local, home); err != nil {
			t.Error(err)
		}
		if !mh.ChecksumValid(send.Payload, home, agent) || index[signaling.Bind](out) >= 0 {
			t.Errorf("effects:\n%s", out)
		}
		out = b.accept(out, nat(-1))
		bind := signaling.Bind{Home: boundHome, Mobile: true, Local: c.local, Remote: c.endpoint.Addr(), RemotePort: 4191, Link: "eth0"}
		if binds := of[signaling.Bind](out); len(binds) != 1 || binds[0] != bind {
			t.Errorf("bound %+v, want %+v", binds, bind)
		}
		s := b.m.Status(b.now)
		if s.State != StateRegistered || s.Transport != UDP || s.Endpoint != c.endpoint || s.CareOf != c.local || s.NATDetected || s.Keepalive != 0 {
			t.Errorf("status %+v", s)
		}
	}
}

func TestNativeTransportTakesNoNoticeOfTheHost(t *testing.T) {
	b := newBench(t, over(Native))
	if out := b.do(hosted(netip.Addr{}, hostA, hostIPv4A)); len(out) != 0 {
		t.Errorf("effects:\n%s", out)
	}
	b.accept(b.do(hosted(careOfA, hostA, hostIPv4A)))
	if out := b.do(hosted(careOfA, netip.Addr{}, hostIPv4B)); len(out) != 0 {
		t.Errorf("effects:\n%s", out)
	}
}

// blocked registers over UDP where native packets do not pass.
func blocked(t *testing.T, a signaling.Attachment) *bench {
	b := newBench(t, over(Auto))
	b.play(5*time.Second, filtered, at{0, a})
	b.wantState(StateRegistered)
	return b
}

func TestRFC5555_4_4_1_StaysWithTheTransportInTheSameNetwork(t *testing.T) {
	b := blocked(t, hosted(careOfA, hostA, hostIPv4A))
	b.now = b.now.Add(5 * time.Second)
	// Another care-of address of the same prefix and router: nothing is new.
	same := hosted(netip.MustParseAddr("2001:db8:a::1234"), hostA, hostIPv4A)
	if out := b.do(same); len(out) != 0 {
		t.Errorf("tried again in the same network:\n%s", out)
	}
	// The carrier goes and comes back: an update, but no native one.
	b.do(attachment(netip.Addr{}))
	b.wantState(StateUnattached)
	b.now = b.now.Add(5 * time.Second)
	out := b.do(same)
	if send, _ := b.update(out); send.Outer != endpoint6 {
		t.Errorf("sent %+v", send)
	}
	b.accept(out, nat(0))
	b.now = b.now.Add(5 * time.Second)
	// Another network: native again. Its router has the same link-local address.
	out = b.do(hosted(careOfB, netip.MustParseAddr("2001:db8:b::5"), hostIPv4B))
	send, _ := b.update(out)
	if binds := of[signaling.Bind](out); send.Outer.IsValid() || send.Source != careOfB || len(binds) != 1 || binds[0].RemotePort != 0 {
		t.Errorf("effects:\n%s", out)
	}
}

func TestFallsBackFastOnceTheRoundTripIsKnown(t *testing.T) {
	b := newBench(t, over(Auto))
	b.accept(b.do(hosted(careOfA, netip.Addr{}, hostIPv4A)))
	b.now = b.now.Add(5 * time.Second)
	b.update(b.do(hosted(careOfB, netip.Addr{}, hostIPv4B)))
	ms := time.Millisecond
	for i, want := range []time.Duration{100 * ms, 200 * ms, 400 * ms} {
		send, _, after := b.next()
		if udp := i == 2; after < want || after > want+750*ms || send.Outer.IsValid() != udp {
			t.Errorf("attempt %d after %v over %v", i, after, send.Outer)
		}
	}
}

// A home agent that is away for a while does not make of a way that has worked one that does not.
func TestProvenWayGetsSevenSecondsAndAnotherChance(t *testing.T) {
	b := newBench(t, over(Auto))
	b.accept(b.do(hosted(careOfA, hostA, hostIPv4A)))
	refresh := b.m.Next()
	b.now = refresh
	b.update(b.do(signaling.Tick{}))
	for {
		send, bu, _ := b.next()
		if !send.Outer.IsValid() {
			continue
		}
		if d := b.now.Sub(refresh); d < 7*time.Second || d > 14*time.Second {
			t.Errorf("fell back after %v", d)
		}
		b.now = b.now.Add(20 * time.Millisecond)
		out := b.do(b.answer(send, bu, nat(0)))
		// Back at once, with the tunnel where it is until that is answered.
		binds := of[signaling.Bind](out)
		if send, bu = b.update(out); send.Outer.IsValid() || len(binds) != 1 || binds[0].RemotePort == 0 {
			t.Fatalf("effects:\n%s", out)
		}
		b.now = b.now.Add(20 * time.Millisecond)
		if binds = of[signaling.Bind](b.do(b.answer(send, bu))); len(binds) != 1 || binds[0].RemotePort != 0 || binds[0].Local != careOfA {
			t.Errorf("bound %+v", binds)
		}
		break
	}
	// If it does not pass native packets after all, that is that.
	b.now = b.m.Next()
	b.update(b.do(signaling.Tick{}))
	var send signaling.Send
	var bu *mh.BindingUpdate
	for !send.Outer.IsValid() {
		send, bu, _ = b.next()
	}
	b.update(b.do(b.answer(send, bu, nat(0))))
	send = signaling.Send{}
	for !send.Outer.IsValid() {
		send, bu, _ = b.next()
	}
	if out := b.do(b.answer(send, bu, nat(0))); len(out.sends()) != 0 || b.state() != StateRegistered {
		t.Errorf("tried again:\n%s", out)
	}
}

// That nothing at all was answered says nothing of the network.
func TestAnswerAfterAllHasFailedBringsTheFirstWayBack(t *testing.T) {
	b := newBench(t, over(Auto))
	b.do(hosted(careOfA, netip.Addr{}, hostIPv4A))
	var send signaling.Send
	var bu *mh.BindingUpdate
	for range 9 {
		send, bu, _ = b.next()
	}
	if !send.Outer.IsValid() {
		t.Fatal("not over UDP for the second time")
	}
	if send, _ := b.update(b.do(b.answer(send, bu, nat(0)))); send.Source != careOfA {
		t.Errorf("sent %+v", send)
	}
}

func TestUpgradeKeepsTheTunnelUntilTheAnswer(t *testing.T) {
	b := newBench(t, over(Auto))
	b.accept(b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)), nat(0))
	b.now = b.now.Add(5 * time.Second)
	out := b.do(hosted(careOfA, netip.Addr{}, hostIPv4A))
	if send, _ := b.update(out); send.Source != careOfA || index[signaling.Bind](out) >= 0 || index[signaling.Unbind](out) >= 0 {
		t.Fatalf("when IPv6 came:\n%s", out)
	}
	out = b.accept(out)
	if binds := of[signaling.Bind](out); len(binds) != 1 || binds[0].Local != careOfA || binds[0].RemotePort != 0 || binds[0].Router != router {
		t.Errorf("bound %+v", binds)
	}
}

func TestRFC5555_4_4_4_NotAtHomeOverUDP(t *testing.T) {
	at := atHome()
	at.HostIPv4 = hostIPv4A
	b := newBench(t, over(UDP))
	out := b.do(at)
	if send, _ := b.update(out); send.Outer != endpoint4 || index[signaling.Defend](out) >= 0 {
		t.Errorf("effects:\n%s", out)
	}
	b = newBench(t, over(Auto))
	out = b.do(at)
	if send, bu := b.update(out); send.Source != home || send.Outer.IsValid() || bu.Lifetime != 0 {
		t.Errorf("sent %+v", send)
	}
}

func TestShutdownOverUDPTellsTheHomeAgent(t *testing.T) {
	b := newBench(t, over(UDP))
	b.accept(b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)), nat(0))
	b.now = b.now.Add(5 * time.Second)
	out := b.do(signaling.Shutdown{})
	send, bu := b.update(out)
	if send.Outer != endpoint4 || send.Source != home || bu.Lifetime != 0 || !bu.ForceUDP || index[signaling.Unbind](out) < 0 {
		t.Errorf("effects:\n%s", out)
	}
	b.do(b.answer(send, bu, nat(-1)))
	b.wantState(StateStopped)
}

func TestAdoptedOverUDP(t *testing.T) {
	b := newBench(t, lease, over(Auto))
	made := Registration{CareOf: hostIPv4A, Endpoint: endpoint4, Uplink: "eth0", Keepalive: 25 * time.Second, Since: b.now.Add(-30 * time.Millisecond),
		Lifetime: time.Minute, Sequence: 41, RoundTrip: 30 * time.Millisecond}
	// It was made over UDP where there is a native care-of address too, for a reason.
	out := effects(b.m.Adopt(b.now, made, []signaling.Attachment{hosted(careOfA, netip.Addr{}, hostIPv4A)}))
	want := signaling.Bind{Home: netip.PrefixFrom(lent, 128), Mobile: true, Local: hostIPv4A, Remote: endpoint4.Addr(), RemotePort: 4191, Link: "eth0"}
	if binds := of[signaling.Bind](out); len(out.sends()) != 0 || len(binds) != 1 || binds[0] != want {
		t.Errorf("effects:\n%s", out)
	}
	if r := b.m.Registration(); r != made {
		t.Errorf("registration %+v, want %+v", r, made)
	}
	if place := b.m.Place(); !b.m.BoundBy(&place) || !place.UDP() {
		t.Errorf("place %+v", place)
	}
	if at := b.sendTimes(1); at[0] != 24970*time.Millisecond {
		t.Errorf("kept alive after %v", at[0])
	}

	// Of a restored one the uplink is not known, and it asks where it is.
	b = newBench(t, lease, over(Auto))
	made.Uplink = ""
	b.m.Adopt(b.now, made, nil)
	out = b.do(hosted(careOfA, netip.Addr{}, hostIPv4A))
	if send, _ := b.update(out); send.Outer != endpoint4 || send.Source != lent {
		t.Errorf("effects:\n%s", out)
	}
}

func TestReachBringsEndpoints(t *testing.T) {
	b := newBench(t, lease, func(c *Config) { c.Transport = Auto })
	if out := b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)); len(out) != 0 {
		t.Errorf("effects:\n%s", out)
	}
	if send, _ := b.update(b.m.Reach(b.now, []netip.AddrPort{endpoint6, endpoint4})); send.Outer != endpoint4 {
		t.Errorf("sent %+v", send)
	}
}

func TestNewRefusesBadTransports(t *testing.T) {
	good := newBench(t).m.cfg
	for name, change := range map[string]func(*Config){
		"unknown":   func(c *Config) { c.Transport = 3 },
		"discovery": func(c *Config) { c.Transport, c.HomeAgent = Auto, netip.Addr{} },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for transport, want := range map[Transport]string{Native: "native", UDP: "udp", Auto: "auto", 9: "transport 9"} {
		if transport.String() != want {
			t.Errorf("%q, want %q", transport, want)
		}
	}
}
