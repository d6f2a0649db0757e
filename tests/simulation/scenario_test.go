package simulation

import (
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mobilenode"
	"kedge/signaling/movement"
)

// lab are the conditions of the handoff lab: 10 ms to the home agent, routers that answer at once.
func lab() conditions {
	return conditions{delay: 10 * time.Millisecond, physical: true, lifetime: time.Minute, interval: 70 * time.Millisecond, told: true}
}

// begin is a world in order, with the node on a link.
func begin(t *testing.T, c conditions, at int) *world {
	t.Helper()
	w := newWorld(t, c)
	w.mn.at = at
	w.mn.carrier(true)
	w.settle(10 * time.Second)
	w.calm = false
	return w
}

// until runs until order is there and returns how long that took, to the millisecond.
func (w *world) until(limit time.Duration) time.Duration {
	w.t.Helper()
	begin := w.now
	for w.now-begin < limit {
		w.run(time.Millisecond)
		if w.wrong() == "" {
			return w.now - begin
		}
	}
	w.t.Fatalf("after %v: %s", limit, w.wrong())
	return 0
}

// since returns when each kind of report came first since begin.
func (m *mobile) since(begin time.Duration, kinds ...signaling.ReportKind) []time.Duration {
	m.w.t.Helper()
	var at []time.Duration
	for _, k := range kinds {
		i := slices.IndexFunc(m.tracedAt, func(d time.Duration) bool { return d >= begin })
		for i >= 0 && i < len(m.trace) && m.trace[i] != k {
			i++
		}
		if i < 0 || i == len(m.trace) {
			m.w.t.Fatalf("no %q in %v", k, m.trace)
		}
		at = append(at, m.tracedAt[i]-begin)
	}
	return at
}

func TestHandoffWaitsForNothing(t *testing.T) {
	w := begin(t, lab(), 0)
	for _, to := range []int{1, 2, 0, 1} {
		moved := w.now
		w.mn.goTo(to, true)
		w.until(time.Second)
		w.run(100 * time.Millisecond)
		at := w.mn.since(moved, movement.LinkUp, movement.RouterAdvertised, movement.CareOfUsable,
			mobilenode.BindingUpdateSent, mobilenode.BindingAcknowledgementReceived, mobilenode.BindingRegistered)
		// Solicitation and advertisement take 1 ms each; an unsolicited one may come first.
		if ra := at[1]; at[0] != 0 || ra > 2*time.Millisecond || at[2] != ra || at[3] != ra || at[4] != ra+20*time.Millisecond || at[5] != at[4] {
			t.Errorf("to %s: %v", links[to].name, at)
		}
		w.run(5 * time.Second)
	}
}

func TestReturningHomeAndLeavingAgain(t *testing.T) {
	w := begin(t, lab(), 0)
	moved := w.now
	w.mn.goTo(homeLink, true)
	w.until(time.Second)
	if at := w.mn.since(moved, mobilenode.BindingUpdateSent, mobilenode.ReturnedHome); at[1] > 22*time.Millisecond {
		t.Errorf("home after %v", at)
	}
	w.run(5 * time.Second)
	moved = w.now
	w.mn.goTo(1, true)
	w.until(5 * time.Second)
	// The home agent does duplicate address detection again.
	if at := w.mn.since(moved, mobilenode.LeftHome, mobilenode.BindingUpdateSent, mobilenode.BindingRegistered); at[2] < time.Second || at[2] > 1100*time.Millisecond {
		t.Errorf("away after %v", at)
	}
}

func TestSilentMoveIsNoticed(t *testing.T) {
	// No carrier: access1 and access2 have routers with the same address, access3 another.
	w := begin(t, lab(), 0)
	for _, to := range []int{1, 2, 0} {
		w.mn.goTo(to, false)
		if d := w.until(time.Second); d > 400*time.Millisecond {
			t.Errorf("to %s: %v", links[to].name, d)
		}
		w.run(5 * time.Second)
	}
}

func TestHomeAgentRestart(t *testing.T) {
	for _, stored := range []bool{false, true} {
		c := lab()
		c.stored, c.lifetime = stored, time.Hour
		w := begin(t, c, 0)
		updates := len(w.mn.updates)
		w.ha.stop()
		w.run(3 * time.Second)
		w.ha.start()
		d := w.until(30 * time.Second)
		sent := len(w.mn.updates) - updates
		switch {
		case stored && (d > 600*time.Millisecond || sent != 0):
			t.Errorf("stored: in order after %v, %d updates", d, sent)
		case !stored && (d > 3*time.Second || sent == 0):
			// The next packet is refused, the update sent, the address probed for a second.
			t.Errorf("not stored: in order after %v, %d updates", d, sent)
		}
	}
}

func TestHomeAgentRestartWithoutTraffic(t *testing.T) {
	c := lab()
	c.physical = false
	w := begin(t, c, 0)
	w.mn.bind = nil
	w.ha.stop()
	w.ha.start()
	w.run(50 * time.Second)
	if w.ha.careOf != w.mn.status().CareOf {
		t.Error("the refresh did not bring the binding back")
	}
}

func TestMobileNodeRestart(t *testing.T) {
	for _, unauthenticated := range []bool{false, true} {
		for _, at := range []int{0, homeLink} {
			c := lab()
			c.unauthenticated = unauthenticated
			w := begin(t, c, at)
			w.run(5 * time.Second)
			w.mn.start()
			if d := w.until(10 * time.Second); d > 100*time.Millisecond {
				t.Errorf("unauthenticated %v, on %s: in order after %v", unauthenticated, links[at].name, d)
			}
		}
	}
}

func TestComesHomeWhileDown(t *testing.T) {
	w := begin(t, lab(), 0)
	w.mn.up = false
	w.mn.at = homeLink
	w.mn.start()
	w.run(2 * time.Second)
	w.mn.carrier(true)
	if d := w.until(5 * time.Second); d > 600*time.Millisecond {
		t.Errorf("in order after %v", d)
	}
}

func TestClockSteps(t *testing.T) {
	for _, step := range []int64{5, -5, 3600, -3600, 100 * 86400, -100 * 86400} {
		for _, at := range []string{"mobile node", "home agent"} {
			w := begin(t, lab(), 0)
			if at == "mobile node" {
				w.mn.clock += step
			} else {
				w.ha.clock += step
			}
			w.settle(time.Second)
			w.stays()
			w.mn.goTo(1, true)
			if d := w.until(30 * time.Second); d > 3*time.Second {
				t.Errorf("step of %d s at the %s: in order %v after a move", step, at, d)
			}
		}
	}
}

func TestUplinkDownForAMinute(t *testing.T) {
	w := begin(t, lab(), 0)
	w.mn.carrier(false)
	w.run(time.Minute)
	if s := w.mn.status(); s.State != mobilenode.StateUnattached {
		t.Errorf("state %q", s.State)
	}
	w.mn.carrier(true)
	if d := w.until(5 * time.Second); d > 1600*time.Millisecond {
		t.Errorf("in order after %v", d)
	}
}

func TestHalfOfAllMessagesLost(t *testing.T) {
	moves, worst := 200, time.Duration(0)
	c := lab()
	c.loss = 0.5
	w := begin(t, c, 0)
	for i := range moves {
		w.mn.goTo((i+1)%3, true)
		begin := w.now
		for w.ha.careOf != w.mn.status().CareOf || !w.ha.careOf.IsValid() {
			w.run(10 * time.Millisecond)
			if w.now-begin > 2*time.Minute {
				t.Fatalf("move %d: not registered after two minutes: %+v", i, w.mn.status())
			}
		}
		worst = max(worst, w.now-begin)
		w.run(2 * time.Second)
	}
	t.Logf("%d moves, the home agent knew after %v at worst", moves, worst)
}

func TestShutdownLeavesNothingAtTheHomeAgent(t *testing.T) {
	for _, loss := range []float64{0, 0.5} {
		c := lab()
		c.loss = loss
		w := begin(t, c, 0)
		w.mn.handle(signaling.Shutdown{})
		w.run(70 * time.Second)
		if w.ha.careOf.IsValid() || w.ha.defends || w.mn.bind != nil || !w.mn.node.Stopped() {
			t.Errorf("loss %v: home agent has %v, mobile node %+v", loss, w.ha.careOf, w.mn.bind)
		}
	}
}

func TestHomeAgentDownForMinutes(t *testing.T) {
	for _, at := range []int{0, homeLink} {
		w := begin(t, lab(), at)
		w.ha.stop()
		w.run(5 * time.Minute)
		if s := w.mn.status(); at != homeLink && s.State != mobilenode.StateRegistering {
			t.Errorf("state %q without a home agent", s.State)
		}
		// From 32 s apart (MAX_BINDACK_TIMEOUT), no more than ten in five minutes and the first few.
		if n := len(w.mn.updates); n > 20 {
			t.Errorf("%d updates in five minutes", n)
		}
		w.ha.start()
		if d := w.until(time.Minute); d > 35*time.Second {
			t.Errorf("on %s: in order after %v", links[at].name, d)
		}
	}
}

func TestHomeWhileTheHomeAgentIsDown(t *testing.T) {
	w := begin(t, lab(), 0)
	w.ha.stop()
	left := w.mn.status().Remaining
	w.mn.goTo(homeLink, true)
	// The binding has to end, and the home address to be probed, before it is used without the home agent.
	if d := w.until(2 * time.Minute); d < left+time.Second || d > left+2*time.Second {
		t.Errorf("in order after %v, when the binding was good for %v", d, left)
	}
	w.ha.start()
	w.run(time.Minute)
	w.stays()
}

func TestDiscoversItsHomeAgent(t *testing.T) {
	c := lab()
	c.discover = true
	w := begin(t, c, 0)
	if got := w.mn.status().HomeAgent; got != agentAddr {
		t.Errorf("home agent %v", got)
	}
}
