package dmipv6

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/homeproxy"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

// anchored has n DHoAs, one per DHP, with a flow each.
func anchored(t testing.TB, n int, change ...func(*Config)) (*world, []netip.Addr) {
	w := newWorld(t, n, change...).online()
	var list []netip.Addr
	for i := range n {
		// The directory is asked three times a second; nobody hurries.
		w.run(time.Second)
		a, _ := w.settle(uint64(i), 0, cnOf(i, 1))
		if !poolOf(i).Contains(a) {
			t.Fatalf("anchor %d: %s", i, a)
		}
		w.use(a, 1)
		list = append(list, a)
	}
	w.run(5 * time.Second)
	return w, list
}

func TestMoveBindsAllAnchorsWithinTheSlowestRoundTrip(t *testing.T) {
	for _, n := range []int{1, 4, 16} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w, list := anchored(t, n)
			// Each anchor is 3 ms farther than the one before.
			w.oneWay = func(_, peer netip.Addr) time.Duration {
				for i := range n {
					if peer == proxyAddr(i) {
						return time.Duration(5+3*i) * time.Millisecond
					}
				}
				return 40 * time.Millisecond
			}
			from := w.now
			out := w.attach(careOfB)
			updates, binds := 0, 0
			for _, e := range out {
				switch e := e.(type) {
				case signaling.Send:
					if parsed, err := mh.Parse(e.Payload); err == nil && parsed.Type() == mh.TypeBindingUpdate && e.Source == careOfB {
						updates++
					}
				case signaling.Bind:
					binds++
				}
			}
			if updates != n || binds != n {
				t.Fatalf("%d updates and %d tunnels moved in the same call, want %d", updates, binds, n)
			}
			w.run(time.Second)
			var slowest time.Duration
			for _, e := range w.trace {
				if r, ok := e.effect.(signaling.Report); ok && r.Kind == mobilenode.BindingRegistered && e.at > from {
					slowest = e.at - from
				}
			}
			if want := time.Duration(2*(5+3*(n-1))) * time.Millisecond; slowest != want {
				t.Errorf("all bound after %v, want the slowest round trip, %v", slowest, want)
			}
			for _, a := range list {
				if b := w.bound[netip.PrefixFrom(a, 128)]; b.Local != careOfB {
					t.Errorf("%s is bound to %s", a, b.Local)
				}
			}
			t.Logf("%d anchors: silent for %v", n, slowest)
		})
	}
}

func TestAnchorsRecoverFromLossEachByItself(t *testing.T) {
	w, list := anchored(t, 2)
	lost := 0
	w.drop = func(from, to netip.Addr, payload []byte) bool {
		if to == proxyAddr(0) && payload != nil && lost == 0 {
			lost++
			return true
		}
		return false
	}
	from := w.now
	w.attach(careOfB)
	w.run(2 * time.Second)
	var at []time.Duration
	for _, e := range w.trace {
		if r, ok := e.effect.(signaling.Report); ok && r.Kind == mobilenode.BindingRegistered && e.at > from {
			at = append(at, e.at-from)
		}
	}
	if len(at) != 2 || at[0] != 10*time.Millisecond || at[1] != 110*time.Millisecond {
		t.Errorf("%v registered at %v", list, at)
	}
}

func TestFlowsThatTheNewNetworkCannotServeAreEnded(t *testing.T) {
	w := newWorld(t, 1).online()
	a, _ := w.settle(1, 2, cnOf(0, 1)) // voice: 50 ms
	w.use(a, 1)
	w.run(3 * time.Second)
	w.oneWay = func(careOf, peer netip.Addr) time.Duration { return 40 * time.Millisecond }
	from := w.now
	w.attach(careOfB)
	w.run(80 * time.Millisecond)
	if b := w.bound[netip.PrefixFrom(a, 128)]; b.Local != careOfB {
		t.Fatal("the binding waited for the judgement")
	}
	w.run(time.Second)
	ends := since[signaling.Terminate](w, from)
	if len(ends) != 1 || ends[0].Address != a || ends[0].Profile != 2 {
		t.Fatalf("ended %+v", ends)
	}
	if at := w.at(FlowsTerminated, from); at > 80*time.Millisecond+judgeTime {
		t.Errorf("judged %v after the move", at)
	}
	if w.lookup(2, cnOf(0, 1)) == a {
		t.Error("new flows of the profile still get the address")
	}
	from = w.now
	w.use(a, 0)
	w.run(200 * time.Millisecond)
	if w.held[a] {
		t.Error("the address is not given back at once")
	}
	if k := w.count(DHoAReturned, from); k != 1 {
		t.Errorf("returned %d times", k)
	}
	if b := w.proxies[proxyAddr(0)].Bindings(w.time()); len(b) != 0 {
		t.Errorf("the DHP still has %+v", b)
	}
}

func TestMaintainedFlowsOfOtherProfilesKeepTheAddress(t *testing.T) {
	w := newWorld(t, 1).online()
	a, _ := w.settle(1, 0, cnOf(0, 1))
	b, _ := w.settle(2, 2, cnOf(0, 1))
	if a != b {
		t.Fatalf("%s and %s", a, b)
	}
	w.use(a, 2)
	w.run(3 * time.Second)
	w.oneWay = func(careOf, peer netip.Addr) time.Duration { return 40 * time.Millisecond }
	from := w.now
	w.attach(careOfB)
	w.run(3 * time.Second)
	if ends := since[signaling.Terminate](w, from); len(ends) != 1 || ends[0].Profile != 2 {
		t.Errorf("ended %+v", ends)
	}
	if !w.held[a] || w.lookup(0, cnOf(0, 1)) != a {
		t.Error("the other profile lost the address")
	}
	// A selection explains itself by what was measured.
	w.settle(3, 2, cnOf(0, 2))
	if d, _ := w.m.Decision(w.decided[3].Decision); d.Address != home || d.Candidates[0].Accepted || d.Candidates[0].Why != "round trip 80ms, the profile allows 50ms" {
		t.Errorf("explained as %+v", d)
	}
}

func TestLossIsJudged(t *testing.T) {
	w := newWorld(t, 1).online()
	a, _ := w.settle(1, 5, cnOf(0, 1)) // lossless: 20 %
	w.use(a, 1)
	w.run(3 * time.Second)
	n := 0
	w.drop = func(from, to netip.Addr, payload []byte) bool {
		if payload != nil || from != careOfB || to != proxyAddr(0) {
			return false
		}
		n++
		return n%2 == 0
	}
	from := w.now
	w.attach(careOfB)
	w.run(2 * time.Second)
	if ends := since[signaling.Terminate](w, from); len(ends) != 1 || ends[0].Profile != 5 {
		t.Errorf("ended %+v", ends)
	}
	if at := w.at(QualityJudged, from); at > 10*time.Millisecond+judgeTime {
		t.Errorf("judged after %v", at)
	}
}

func TestGoodNetworkEndsNothing(t *testing.T) {
	w, list := anchored(t, 4)
	from := w.now
	w.attach(careOfB)
	w.run(30 * time.Second)
	if ends := since[signaling.Terminate](w, from); len(ends) != 0 || w.count(QualityJudged, from) == 0 {
		t.Errorf("ended %+v, judged %d", ends, w.count(QualityJudged, from))
	}
	for _, a := range list {
		if !w.held[a] {
			t.Errorf("%s is lost", a)
		}
	}
}

func TestDeadAnchorEndsItsFlows(t *testing.T) {
	w, list := anchored(t, 2)
	w.silent[proxyAddr(0)] = true
	from := w.now
	w.run(15 * time.Second)
	ends := since[signaling.Terminate](w, from)
	if len(ends) != 1 || ends[0].Address != list[0] || ends[0].Profile != -1 {
		t.Fatalf("ended %+v", ends)
	}
	if w.held[list[0]] || !w.held[list[1]] {
		t.Errorf("held %v", w.held)
	}
	if silent, dead := w.at(AnchorSilent, from), w.at(DHoALost, from); dead-silent > 2*time.Second {
		t.Errorf("dead %v after the missed heartbeat", dead-silent)
	}
	if got := w.lookup(0, cnOf(0, 1)); got == list[0] {
		t.Error("still chosen")
	}
}

func TestSilenceOfTheNetworkKillsNobody(t *testing.T) {
	w, list := anchored(t, 2)
	from := w.now
	w.drop = func(netip.Addr, netip.Addr, []byte) bool { return true }
	w.run(2 * time.Minute)
	w.drop = nil
	w.run(time.Minute)
	if ends := since[signaling.Terminate](w, from); len(ends) != 0 || !w.held[list[0]] || !w.held[list[1]] {
		t.Errorf("ended %+v", ends)
	}
}

func TestGracefulReplacement(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.GracefulTime = time.Minute }).online()
	a, _ := w.settle(1, 3, cnOf(0, 1))
	w.use(a, 1)
	from := w.now
	w.attach(careOfB)
	w.run(2 * time.Second)
	if !w.held[a] || w.lookup(3, cnOf(0, 1)).IsValid() {
		t.Fatalf("after the move new flows have %s", w.lookup(3, cnOf(0, 1)))
	}
	b, took := w.settle(2, 3, cnOf(0, 1))
	if b == a || !poolOf(0).Contains(b) || took != 10*time.Millisecond {
		t.Errorf("a new flow has %s after %v, the old address is %s", b, took, a)
	}
	w.use(b, 1)
	w.run(50 * time.Second)
	if ends := since[signaling.Terminate](w, from); len(ends) != 0 {
		t.Errorf("ended too early: %+v", ends)
	}
	w.run(20 * time.Second)
	ends := since[signaling.Terminate](w, from)
	if len(ends) != 1 || ends[0].Address != a || ends[0].Profile != 3 {
		t.Errorf("ended %+v", ends)
	}
	w.use(a, 0)
	w.run(time.Second)
	if w.held[a] || !w.held[b] {
		t.Errorf("held %v", w.held)
	}
}

func TestIdleAddressIsGivenBack(t *testing.T) {
	w, list := anchored(t, 1)
	w.use(list[0], 0)
	w.run(29 * time.Second)
	if !w.held[list[0]] || w.lookup(0, cnOf(0, 1)) != list[0] {
		t.Fatal("gone too early")
	}
	from := w.now
	w.run(3 * time.Second)
	if w.held[list[0]] {
		t.Fatal("still held")
	}
	// First no new flows, then, drainTime later, the tunnel.
	var unchosen, unbound time.Duration
	for _, e := range w.trace {
		switch e.effect.(type) {
		case signaling.Unchoose:
			if e.at > from && unchosen == 0 {
				unchosen = e.at
			}
		case signaling.Unbind:
			unbound = e.at
		}
	}
	if unbound-unchosen != drainTime {
		t.Errorf("%v between", unbound-unchosen)
	}
}

func TestFlowThatRacesTheIdleTimeKeepsItsAddress(t *testing.T) {
	w, list := anchored(t, 1)
	w.use(list[0], 0)
	w.run(30*time.Second + drainTime/2)
	if w.lookup(0, cnOf(0, 1)).IsValid() {
		t.Fatal("not drained")
	}
	w.use(list[0], 1)
	w.run(time.Minute)
	if !w.held[list[0]] || w.lookup(0, cnOf(0, 1)) != list[0] {
		t.Error("taken away from a flow")
	}
}

func TestLostBindingEndsItsFlows(t *testing.T) {
	w, list := anchored(t, 1)
	from := w.now
	// For longer than the lease nothing gets through, and the network is there again at once.
	w.drop = func(from, to netip.Addr, payload []byte) bool { return to == proxyAddr(0) || from == proxyAddr(0) }
	w.silent[agent] = true
	w.run(11 * time.Minute)
	if ends := since[signaling.Terminate](w, from); len(ends) != 1 || w.held[list[0]] {
		t.Errorf("ended %+v", ends)
	}
}

func TestOperatorSwitchesTheUplink(t *testing.T) {
	w, list := anchored(t, 2)
	if _, err := w.m.Switch(w.time(), list[0], "wlan0"); err == nil {
		t.Error("an uplink that is not there was taken")
	}
	if _, err := w.m.Switch(w.time(), home, "eth0"); err == nil {
		t.Error("the home address is not this machine's to switch")
	}
	other := attached(careOfC)
	other.Uplink, other.Preference = "wlan0", -1
	w.handle(other)
	out, err := w.m.Switch(w.time(), list[0], "wlan0")
	if err != nil {
		t.Fatal(err)
	}
	w.carryOut(out)
	if b := w.bound[netip.PrefixFrom(list[0], 128)]; b.Local != careOfC || b.Link != "wlan0" {
		t.Errorf("bound %+v", b)
	}
	if b := w.bound[netip.PrefixFrom(list[1], 128)]; b.Local != careOfA {
		t.Errorf("the other one is bound %+v", b)
	}
}

func TestHints(t *testing.T) {
	w, list := anchored(t, 1, func(c *Config) { c.Hints = true })
	if len(w.hints) != 1 {
		t.Fatalf("hints %v", w.hints)
	}
	var host netip.Addr
	for h := range w.hints {
		host = h.address
		if h.address == list[0] || h.prefix != coverageOf(0) {
			t.Errorf("hint %+v, translation has %s", h, list[0])
		}
	}
	for c, a := range w.chosen {
		if a == host {
			t.Errorf("the host's address is chosen for translation of %v", c)
		}
	}
	w.run(5 * time.Minute)
	if !w.held[host] {
		t.Error("the host lost its address while the DHP is in use")
	}
	w.use(list[0], 0)
	w.run(2 * time.Minute)
	if len(w.held) != 1 || len(w.hints) != 0 {
		t.Errorf("held %v, hints %v", w.held, w.hints)
	}
}

func TestDelegatedPrefixMovesWhole(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.Delegated = true })
	prefixes := netip.MustParsePrefix("2001:db8:d00:100::/56")
	w.addProxy(0, func(c *homeproxy.Config) { c.Pools = []homeproxy.Pool{{Prefix: prefixes, Lend: 64}} })
	w.run(time.Second)
	w.lends = func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 64).Masked() }
	w.online()
	a, _ := w.settle(1, 0, cnOf(0, 1))
	if !prefixes.Contains(a) {
		t.Fatalf("decided %s", a)
	}
	w.use(a, 1)
	w.run(3 * time.Second)
	w.attach(careOfB)
	w.run(20 * time.Minute)
	if b := w.bound[netip.PrefixFrom(a, 64).Masked()]; !w.held[a] || b.Local != careOfB {
		t.Errorf("held %v, bound %+v", w.held[a], b)
	}
	if list := w.m.Anchors(w.time()); len(list) != 1 || list[0].Registration.State != mobilenode.StateRegistered {
		t.Errorf("anchors %+v", list)
	}
}
