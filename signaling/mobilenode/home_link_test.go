package mobilenode

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

func TestRFC6275_11_5_5_ReturningHome(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.now = b.now.Add(5 * time.Second)
	out := b.do(atHome())
	send, bu := b.update(out)
	if send.Source != home || send.Destination != agent || send.HomeAddress.IsValid() || send.Tunnel.IsValid() || send.Link != "eth0" {
		t.Errorf("sent %+v", send)
	}
	if !bu.Acknowledge || !bu.HomeRegistration || bu.Lifetime != 0 {
		t.Errorf("update %+v", bu)
	}
	if o, ok := mh.Find[*mh.AlternateCareOf](bu.Options); !ok || o.Address != home {
		t.Errorf("alternate care-of address %v", o)
	}
	want := signaling.Defend{Link: "eth0", Address: home}
	if d := of[signaling.Defend](out); len(d) != 1 || d[0] != want || index[signaling.Defend](out) > index[signaling.Send](out) {
		t.Errorf("effects:\n%s", out)
	}
	if index[signaling.Bind](out) >= 0 {
		t.Error("uses the home address before the home agent stepped aside")
	}
	b.wantState(StateReturningHome)

	b.now = b.now.Add(2 * time.Millisecond)
	out = b.do(b.answer(send, bu))
	want.Announce = true
	if d := of[signaling.Defend](out); len(d) != 1 || d[0] != want {
		t.Errorf("announced %+v", d)
	}
	bind := signaling.Bind{Home: boundHome, Mobile: true, Native: true, Link: "eth0", Router: homeRouter}
	if d := of[signaling.Bind](out); len(d) != 1 || d[0] != bind {
		t.Errorf("bound %+v", d)
	}
	if !slices.Contains(out.kinds(), ReturnedHome) {
		t.Errorf("reports %v", out.kinds())
	}
	b.wantState(StateAtHome)
	if !b.m.Next().IsZero() {
		t.Error("has something to do at home")
	}
}

func TestRFC6275_11_5_5_NoDuplicateDetectionWhileABindingMayExist(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.do(atHome())
	if out := b.wait(59 * time.Second); index[signaling.ProbeDuplicate](out) >= 0 {
		t.Error("probes an address that the home agent may be defending")
	}
	if out := b.wait(2 * time.Second); index[signaling.ProbeDuplicate](out) < 0 {
		t.Error("does not probe once the binding is over")
	}
}

func TestRFC6275_11_5_5_HomeAgentThatKnowsNoBinding(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(atHome()))
	out := b.do(b.answer(send, bu, status(mh.StatusNotHomeAgent)))
	if d := of[signaling.Bind](out); len(d) != 1 || !d[0].Native {
		t.Errorf("effects:\n%s", out)
	}
	b.wantState(StateAtHome)
}

func TestHomeNextHopAlternates(t *testing.T) {
	b := newBench(t)
	send, _ := b.update(b.do(atHome()))
	hops := []netip.Addr{send.Router}
	for range 2 {
		b.now = b.m.Next()
		send, _ := b.update(b.do(signaling.Tick{}))
		hops = append(hops, send.Router)
	}
	if !slices.Equal(hops, []netip.Addr{homeRouter, agent, homeRouter}) {
		t.Errorf("next hops %v", hops)
	}
}

func TestAtHomeWithoutAHomeAgent(t *testing.T) {
	b := newBench(t)
	b.do(atHome())
	out := b.wait(11 * time.Second)
	if p := of[signaling.ProbeDuplicate](out); len(p) != 1 || p[0] != (signaling.ProbeDuplicate{Link: "eth0", Address: home}) {
		t.Fatalf("probes %+v", p)
	}
	out = b.do(signaling.DuplicateResult{Link: "eth0", Address: home, Duplicate: true})
	if index[signaling.Bind](out) >= 0 || !slices.Contains(out.kinds(), HomeAddressDuplicate) {
		t.Errorf("when somebody else has it:\n%s", out)
	}
	if out = b.wait(30 * time.Second); index[signaling.ProbeDuplicate](out) < 0 {
		t.Error("does not look again")
	}
	out = b.do(signaling.DuplicateResult{Link: "eth0", Address: home})
	if d := of[signaling.Bind](out); len(d) != 1 || !d[0].Native {
		t.Errorf("when nobody has it:\n%s", out)
	}
	b.wantState(StateAtHome)
	// The home agent is told when it is back.
	out = b.wait(time.Minute)
	if len(out.sends()) == 0 {
		t.Error("gave up telling the home agent")
	}
}

func TestLeavingHomeRegistersAgain(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(atHome()))
	b.do(b.answer(send, bu))
	out := b.do(attachment(careOfA))
	if u := of[signaling.Undefend](out); len(u) != 1 || u[0] != (signaling.Undefend{Link: "eth0", Address: home}) {
		t.Errorf("undefended %+v", u)
	}
	if index[signaling.Unbind](out) < 0 || index[signaling.Bind](out) >= 0 || !slices.Contains(out.kinds(), LeftHome) {
		t.Errorf("effects:\n%s", out)
	}
	send, bu = b.update(out)
	if bu.Lifetime != 60*time.Second || send.Source != careOfA || b.m.Next().Sub(b.now) != 1500*time.Millisecond {
		t.Errorf("sent %+v, waits %v", send, b.m.Next().Sub(b.now))
	}
	if out := b.do(b.answer(send, bu)); index[signaling.Bind](out) < 0 {
		t.Errorf("effects:\n%s", out)
	}
}

func TestLeavingHomeBeforeTheAcknowledgement(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.do(atHome())
	b.now = b.now.Add(time.Second)
	out := b.do(attachment(careOfA))
	// The home agent may or may not have deregistered: the tunnel waits for its word.
	if index[signaling.Unbind](out) < 0 || index[signaling.Undefend](out) < 0 || len(out.sends()) != 1 {
		t.Errorf("effects:\n%s", out)
	}
}

func TestLinkFlapAtHome(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(atHome()))
	b.do(b.answer(send, bu))
	out := b.do(attachment(netip.Addr{}))
	if index[signaling.Unbind](out) < 0 {
		t.Errorf("when the home link is gone:\n%s", out)
	}
	b.now = b.now.Add(2 * time.Second)
	send, bu = b.update(b.do(atHome()))
	b.do(b.answer(send, bu))
	b.wantState(StateAtHome)
}

func TestShutdownAwayDeregisters(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	out := b.do(signaling.Shutdown{})
	send, bu := b.update(out)
	if send.Source != careOfA || send.HomeAddress != home || bu.Lifetime != 0 {
		t.Errorf("sent %+v, lifetime %v", send, bu.Lifetime)
	}
	if index[signaling.Unbind](out) < 0 {
		t.Error("still bound")
	}
	b.wantState(StateDeregistering)
	if b.m.Stopped() {
		t.Error("stopped before the acknowledgement")
	}
	// Lost: it is retransmitted.
	b.now = b.m.Next()
	send, bu = b.update(b.do(signaling.Tick{}))
	out = b.do(b.answer(send, bu))
	if !b.m.Stopped() || !slices.Contains(out.kinds(), Deregistered) || !b.m.Next().IsZero() {
		t.Errorf("stopped %v:\n%s", b.m.Stopped(), out)
	}
	if out := b.do(attachment(careOfB)); len(out) != 0 {
		t.Errorf("acts after it stopped:\n%s", out)
	}
}

func TestShutdownElsewhere(t *testing.T) {
	for name, prepare := range map[string]func(b *bench){
		"never attached": func(b *bench) {},
		"unattached":     func(b *bench) { b.register(careOfA); b.do(attachment(netip.Addr{})) },
		"at home": func(b *bench) {
			send, bu := b.update(b.do(atHome()))
			b.do(b.answer(send, bu))
		},
		"refused": func(b *bench) { b.register(careOfA, status(mh.StatusNotHomeSubnet)) },
	} {
		b := newBench(t)
		prepare(b)
		bound := b.m.bound.how != notBound
		out := b.do(signaling.Shutdown{})
		if !b.m.Stopped() || len(out.sends()) != 0 {
			t.Errorf("%s: stopped %v:\n%s", name, b.m.Stopped(), out)
		}
		if got := index[signaling.Unbind](out) >= 0; got != bound {
			t.Errorf("%s: unbound %v", name, got)
		}
		b.wantState(StateStopped)
	}
}

func TestShutdownWithoutAnswerEndsWithTheBinding(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.do(signaling.Shutdown{})
	b.wait(59 * time.Second)
	if b.m.Stopped() {
		t.Error("stopped while the home agent may have a binding")
	}
	b.wait(35 * time.Second)
	if !b.m.Stopped() {
		t.Error("never stops")
	}
}
