package mobilenode

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

func TestRFC5555_4_3_KeepaliveTimes(t *testing.T) {
	for name, c := range map[string]struct {
		change []func(*mh.BindingAcknowledgement)
		want   time.Duration
		nat    bool
	}{
		"no NAT":            {[]func(*mh.BindingAcknowledgement){nat(-1)}, 480 * time.Second, false},
		"suggested":         {[]func(*mh.BindingAcknowledgement){nat(25 * time.Second)}, 25 * time.Second, true},
		"none suggested":    {[]func(*mh.BindingAcknowledgement){nat(0)}, 110 * time.Second, true},
		"no option":         {nil, 110 * time.Second, true},
		"beyond refreshing": {[]func(*mh.BindingAcknowledgement){nat(time.Hour)}, 480 * time.Second, true},
		"too often":         {[]func(*mh.BindingAcknowledgement){nat(time.Second)}, 2 * time.Second, true},
	} {
		b := newBench(t, over(UDP), func(c *Config) { c.Lifetime = 10 * time.Minute })
		b.accept(b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)), c.change...)
		if s := b.m.Status(b.now); s.NATDetected != c.nat {
			t.Errorf("%s: status %+v", name, s)
		}
		for range 3 {
			// It counts from when the update was sent.
			send, bu, after := b.next()
			if after != c.want-20*time.Millisecond {
				t.Errorf("%s: refreshed after %v, want %v", name, after, c.want-20*time.Millisecond)
			}
			if send.Outer != endpoint4 || bu.Lifetime != 10*time.Minute {
				t.Errorf("%s: sent %+v", name, send)
			}
			b.now = b.now.Add(20 * time.Millisecond)
			b.do(b.answer(send, bu, c.change...))
		}
	}
}

func TestNativeBindingNeedsNoKeepalive(t *testing.T) {
	b := newBench(t, over(Auto), func(c *Config) { c.Lifetime = 10 * time.Minute })
	b.accept(b.do(attachment(careOfA)))
	if at := b.sendTimes(1); at[0] != 480*time.Second-20*time.Millisecond {
		t.Errorf("refreshed after %v", at[0])
	}
}

func TestUnansweredKeepaliveIsRepeated(t *testing.T) {
	b := newBench(t, over(UDP), func(c *Config) { c.Endpoints = []netip.AddrPort{endpoint4} })
	b.accept(b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)), nat(25*time.Second))
	start := b.now
	var at []time.Duration
	for range 5 {
		b.next()
		at = append(at, b.now.Sub(start).Round(time.Millisecond))
	}
	ms := time.Millisecond
	// From 100 ms on doubling, with three a second at most.
	if want := []time.Duration{24980 * ms, 25080 * ms, 25280 * ms, 25981 * ms, 26781 * ms}; !slices.Equal(at, want) {
		t.Errorf("sent at %v, want %v", at, want)
	}
	if out := b.wait(36 * time.Second); index[signaling.Unbind](out) < 0 || !slices.Contains(out.kinds(), BindingLost) {
		t.Errorf("after its lifetime:\n%s", out)
	}
}

func TestAcknowledgementByAnotherWayIsIgnored(t *testing.T) {
	for name, change := range map[string]func(*signaling.Received){
		"another endpoint":     func(r *signaling.Received) { r.Outer = endpoint6 },
		"another port":         func(r *signaling.Received) { r.Outer = netip.AddrPortFrom(endpoint4.Addr(), 4192) },
		"natively":             func(r *signaling.Received) { r.Outer = netip.AddrPort{} },
		"with routing header":  func(r *signaling.Received) { r.RoutingHome, r.Destination = home, careOfA },
		"to another address":   func(r *signaling.Received) { r.Destination = careOfA },
		"from another node":    func(r *signaling.Received) { r.Source = careOfA },
		"with another payload": func(r *signaling.Received) { r.Payload = r.Payload[:len(r.Payload)-8] },
	} {
		b := newBench(t, over(UDP))
		send, bu := b.update(b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)))
		r := b.answer(send, bu, nat(0))
		change(&r)
		if b.do(r); b.state() != StateRegistering || b.m.Bound() {
			t.Errorf("%s: %s", name, b.state())
		}
	}
	b := newBench(t, over(Auto))
	send, bu := b.update(b.do(hosted(careOfA, netip.Addr{}, hostIPv4A)))
	r := b.answer(send, bu)
	r.Outer = endpoint4
	if b.do(r); b.state() != StateRegistering {
		t.Errorf("the answer to a native update in a datagram: %s", b.state())
	}
}

func TestRFC5555_4_4_2_Status144IsTheClocksFirst(t *testing.T) {
	b := newBench(t, over(Auto))
	udpOnly := hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)
	send, bu := b.update(b.do(udpOnly))
	stamp, _ := auth.Timestamp(bu.Options)
	b.now = b.now.Add(20 * time.Millisecond)
	out := b.do(b.answer(send, bu, status(mh.StatusIDMismatch), func(ba *mh.BindingAcknowledgement) {
		ba.Options = append(ba.Options, &mh.ReplayProtection{Timestamp: auth.MismatchReply(stamp, b.now.Add(time.Hour))})
	}))
	send, bu = b.update(out)
	if !slices.Contains(out.kinds(), ClockAdjusted) || !bu.ForceUDP || send.Outer != endpoint4 {
		t.Errorf("effects:\n%s", out)
	}
	if s, _ := auth.Timestamp(bu.Options); s.Time().Sub(b.now).Round(time.Minute) != time.Hour {
		t.Errorf("timestamp %v at %v", s.Time(), b.now)
	}
	b.now = b.now.Add(20 * time.Millisecond)
	b.do(b.answer(send, bu, nat(0)))
	b.wantState(StateRegistered)
}

func TestRFC5555_4_4_2_Status144RefusesUDP(t *testing.T) {
	refuse := func(b *bench, out effects) effects {
		send, bu := b.update(out)
		b.now = b.now.Add(500 * time.Millisecond)
		// With the timestamp as it came, since that is not what is wrong.
		return b.do(b.answer(send, bu, status(mh.StatusIDMismatch)))
	}
	b := newBench(t, over(UDP))
	out := b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4A))
	for range maxResent {
		out = refuse(b, out)
		b.wantState(StateRegistering)
	}
	out = refuse(b, out)
	b.wantState(StateRefused)
	if reports := of[signaling.Report](out); len(out.sends()) != 0 || reports[len(reports)-1].Kind != BindingRefused {
		t.Errorf("effects:\n%s", out)
	}
	if at := b.sendTimes(1); at[0] != firstRefusalWait {
		t.Errorf("asked again after %v", at[0])
	}

	// Without authentication there is nothing else that it could mean. Where there is a native way, that is tried once more.
	b = newBench(t, over(Auto), func(c *Config) { c.Association, c.AllowUnauthenticated = nil, true })
	b.do(hosted(careOfA, netip.Addr{}, hostIPv4A))
	send, bu, _ := b.next()
	for !send.Outer.IsValid() {
		send, bu, _ = b.next()
	}
	b.now = b.now.Add(time.Second)
	out = b.do(b.answer(send, bu, status(mh.StatusIDMismatch)))
	if send, bu = b.update(out); send.Outer.IsValid() || bu.ForceUDP || send.Source != careOfA || !slices.Contains(out.kinds(), TransportChanged) {
		t.Errorf("effects:\n%s", out)
	}
	b.do(b.answer(send, bu))
	b.wantState(StateRegistered)
}

func TestRefusalFromTheAnchorInTheTunnelRegistersAgain(t *testing.T) {
	b := newBench(t, over(UDP))
	b.accept(b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)), nat(0))
	b.now = b.now.Add(5 * time.Second)
	quoted := ipv6(6, home, careOfB, make([]byte, 20))
	refusal := func(kind, code byte, from, to netip.Addr, quoted []byte) signaling.ReceivedICMP {
		r := icmp(kind, code, from, quoted)
		r.Destination = to
		return r
	}
	for name, r := range map[string]signaling.ReceivedICMP{
		"another code":   refusal(1, 0, agent, home, quoted),
		"another type":   refusal(3, 5, agent, home, quoted),
		"another's":      refusal(1, 5, agent, careOfB, ipv6(6, careOfB, careOfA, nil)),
		"to another":     refusal(1, 5, agent, careOfA, quoted),
		"nothing quoted": refusal(1, 5, agent, home, nil),
	} {
		if out := b.do(r); len(out) != 0 {
			t.Errorf("%s:\n%s", name, out)
		}
	}
	out := b.do(refusal(1, 5, agent, home, quoted))
	if send, _ := b.update(out); send.Outer != endpoint4 || !slices.Contains(out.kinds(), BindingLost) {
		t.Errorf("effects:\n%s", out)
	}
	if out := b.do(refusal(1, 5, agent, home, quoted)); len(out) != 0 {
		t.Errorf("again at once:\n%s", out)
	}
}
