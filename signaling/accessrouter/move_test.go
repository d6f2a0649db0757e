package accessrouter

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/database"
	"kedge/signaling/mh"
)

func TestMoveThroughTheDomainAndBack(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		w := network(t, mode, 3)
		w.attach(1)
		w.run(2 * time.Second)
		w.served(1)
		first := w.own(1)
		w.attach(2)
		w.run(2 * time.Second)
		w.served(2, 1)
		w.attach(3)
		w.run(2 * time.Second)
		w.served(3, 1, 2)
		w.attach(1)
		w.run(2 * time.Second)
		w.served(1, 2, 3)
		if w.own(1) != first {
			t.Errorf("back at MAAR 1: %v, want %v", w.own(1), first)
		}
		// It leaves: the session lasts until its lifetime is over, and then nothing is left.
		w.detach(1)
		w.run(DefaultLifetime - 12*time.Second)
		if s := w.info(1).State; s != "absent" || w.cmd.Len() != 1 {
			t.Errorf("before the end of its lifetime: %s, %d sessions", s, w.cmd.Len())
		}
		w.run(20 * time.Second)
		w.empty()
	})
}

// TestHandoffTime measures from the attachment to when each prefix is bound at both ends: RFC 8885 has the relay wait for its
// farthest P-MAAR, the locator for each P-MAAR on its own, and the proxy for one round trip to the CMD.
func TestHandoffTime(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		mode database.Mode
		// cmd and far are the one-way delays of the CMD from MAARs 2 and 3, and from MAAR 1; between is that among MAARs.
		cmd, far, between time.Duration
		// near and distant are when the prefixes of MAARs 2 and 1 are bound at the S-MAAR, first and last when they are at
		// the P-MAARs.
		near, distant, first, last time.Duration
	}{
		{database.Relay, 5 * ms, 5 * ms, 5 * ms, 20100 * time.Microsecond, 20100 * time.Microsecond, 10 * ms, 10100 * time.Microsecond},
		{database.Relay, 20 * ms, 20 * ms, 5 * ms, 80100 * time.Microsecond, 80100 * time.Microsecond, 40 * ms, 40100 * time.Microsecond},
		{database.Relay, 50 * ms, 50 * ms, 5 * ms, 200100 * time.Microsecond, 200100 * time.Microsecond, 100 * ms, 100100 * time.Microsecond},
		{database.Relay, 5 * ms, 50 * ms, 5 * ms, 110 * ms, 110 * ms, 10100 * time.Microsecond, 55 * ms},
		{database.Locator, 5 * ms, 5 * ms, 5 * ms, 15100 * time.Microsecond, 15 * ms, 10 * ms, 10100 * time.Microsecond},
		{database.Locator, 20 * ms, 20 * ms, 5 * ms, 45100 * time.Microsecond, 45 * ms, 40 * ms, 40100 * time.Microsecond},
		{database.Locator, 50 * ms, 50 * ms, 5 * ms, 105100 * time.Microsecond, 105 * ms, 100 * ms, 100100 * time.Microsecond},
		{database.Locator, 5 * ms, 50 * ms, 5 * ms, 15100 * time.Microsecond, 60 * ms, 10100 * time.Microsecond, 55 * ms},
		{database.Proxy, 5 * ms, 5 * ms, 5 * ms, 10 * ms, 10 * ms, 10 * ms, 10100 * time.Microsecond},
		{database.Proxy, 20 * ms, 20 * ms, 5 * ms, 40 * ms, 40 * ms, 40 * ms, 40100 * time.Microsecond},
		{database.Proxy, 50 * ms, 50 * ms, 5 * ms, 100 * ms, 100 * ms, 100 * ms, 100100 * time.Microsecond},
		{database.Proxy, 5 * ms, 50 * ms, 5 * ms, 10 * ms, 10 * ms, 10100 * time.Microsecond, 55 * ms},
	} {
		w := network(t, test.mode, 3)
		w.delay = func(from, to netip.Addr) time.Duration {
			switch {
			case from != cmd && to != cmd:
				return test.between
			case from == maar(1) || to == maar(1):
				return test.far
			}
			return test.cmd
		}
		for n := 1; n <= 2; n++ {
			w.attach(n)
			w.run(3 * time.Second)
		}
		start, bound := w.now, map[string]time.Duration{}
		note := func(name string, done bool) {
			if _, ok := bound[name]; done && !ok {
				bound[name] = w.now.Sub(start)
			}
		}
		p1, p2 := w.own(1), w.own(2)
		w.attach(3)
		for range 3000 {
			note("near", w.at(3).native[p2].Remote == maar(2))
			note("distant", w.at(3).native[p1].Remote == maar(1))
			there1, there2 := w.at(1).tunnels[p1] == maar(3), w.at(2).tunnels[p2] == maar(3)
			note("first", there1 || there2)
			note("last", there1 && there2)
			w.run(100 * time.Microsecond)
		}
		want := map[string]time.Duration{"near": test.near, "distant": test.distant, "first": test.first, "last": test.last}
		if !maps.Equal(bound, want) {
			t.Errorf("%v, CMD %v and %v away: %v, want %v", test.mode, test.cmd, test.far, bound, want)
		}
	}
}

// TestMessagesPerHandoff counts what all nodes send for one handoff with 1 to 8 P-MAARs. The locator's S-MAAR asks the CMD once
// more, a second later, for what may have been lost: two messages.
func TestMessagesPerHandoff(t *testing.T) {
	want := map[database.Mode]func(k int) int{
		database.Relay:   func(k int) int { return 2 + 2*k },
		database.Locator: func(k int) int { return 1 + 3*k + 2 },
		database.Proxy:   func(k int) int { return 2 + 2*k },
	}
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		w := network(t, mode, 9)
		for n := 1; n <= 9; n++ {
			before, octets := w.sent()
			w.attach(n)
			w.run(5 * time.Second)
			after, now := w.sent()
			if n > 1 && after-before != want[mode](n-1) {
				t.Errorf("%d P-MAARs: %d messages, want %d", n-1, after-before, want[mode](n-1))
			}
			t.Logf("%v, %d P-MAARs: %d messages, %d octets of Mobility Headers", mode, n-1, after-before, now-octets)
		}
	})
}

func TestMakeBeforeBreak(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		w := network(t, mode, 2)
		w.attach(1)
		w.run(time.Second)
		prefix := w.own(1)
		w.attach(2)
		// The link at MAAR 1 is still up, and used until its packets follow, in the same step.
		for range 40 {
			_, attached := w.at(1).native[prefix]
			if tunnelled := w.at(1).tunnels[prefix].IsValid(); attached == tunnelled {
				t.Fatalf("attached %v and tunnelled %v", attached, tunnelled)
			}
			w.run(time.Millisecond)
		}
		w.run(2 * time.Second)
		w.served(2, 1)
		// That the old link goes down changes nothing.
		w.detach(1)
		w.run(time.Minute)
		w.served(2, 1)
	})
}

func TestIdlePrefixIsCleanedUp(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		w := network(t, mode, 3)
		for n := 1; n <= 3; n++ {
			w.attach(n)
			w.run(2 * time.Second)
		}
		prefix := w.own(1)
		idle := func(d time.Duration) {
			w.handle(3, signaling.PrefixIdle{Prefix: prefix, Since: w.now.Add(-d)})
			w.run(time.Second)
		}
		idle(time.Minute)
		w.served(3, 1, 2)
		w.run(DefaultIdleTimeout)
		idle(DefaultIdleTimeout)
		w.served(3, 2)
		if len(w.at(1).tunnels) != 0 || w.info(1).State != "none" || w.at(3).maar.Counters().Cleanups != 1 {
			t.Errorf("MAAR 1 still has %v, %s", w.at(1).tunnels, w.info(1).State)
		}
		// It comes back, and has the same prefix again.
		w.attach(1)
		w.run(2 * time.Second)
		if w.own(1) != prefix {
			t.Errorf("%v, want %v again", w.own(1), prefix)
		}
		w.served(1, 2, 3)
	})
}

func TestTooManyPreviousMAARs(t *testing.T) {
	w := network(t, database.Proxy, 4, func(c *Config, _ *database.Config) { c.MaxPreviousMAARs = 2 })
	for n := 1; n <= 4; n++ {
		w.attach(n)
		w.run(2 * time.Second)
	}
	w.served(4, 2, 3)
	if len(w.at(1).tunnels) != 0 {
		t.Errorf("the oldest has %v still", w.at(1).tunnels)
	}
}

func TestTwoLinksOfOneMAAR(t *testing.T) {
	w := network(t, database.Relay, 2)
	w.attach(1)
	w.run(time.Second)
	w.attach(2)
	w.run(2 * time.Second)
	before, _ := w.sent()
	w.handle(2, signaling.MobileNodeAttached{Link: "other", LinkLayer: host})
	// The old link notices later, and it does not matter.
	w.detach(2)
	w.run(2 * time.Second)
	w.served(2, 1)
	for prefix, b := range w.at(2).native {
		if b.Link != "other" {
			t.Errorf("%v is bound to %s", prefix, b.Link)
		}
	}
	if after, _ := w.sent(); after != before {
		t.Errorf("%d messages about a change of link inside a MAAR", after-before)
	}
}

func TestDepartureAndReturn(t *testing.T) {
	w := network(t, database.Relay, 2)
	w.attach(1)
	w.run(time.Second)
	w.attach(2)
	w.run(2 * time.Second)
	w.detach(2)
	w.run(time.Minute)
	if len(w.at(2).routers) != 0 || len(w.at(2).native) != 2 || w.info(2).State != "absent" {
		t.Errorf("gone for a minute: %d routers, %d prefixes, %s", len(w.at(2).routers), len(w.at(2).native), w.info(2).State)
	}
	w.attach(2)
	// What it knew is there at once, without a message awaited.
	w.served(2, 1)
	w.run(2 * time.Second)
	w.served(2, 1)
	// A host whose addresses went with its link asks again and is answered again.
	clear(w.at(2).routers)
	w.attach(2)
	w.served(2, 1)
}

func TestRefreshKeepsEverything(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		for _, ordering := range []Ordering{Timestamps, SequenceNumbers} {
			for _, method := range []Method{ByServing, AtExpiry} {
				w := network(t, mode, 3, func(c *Config, d *database.Config) {
					c.Ordering, c.Deregistration, c.Lifetime = ordering, method, time.Minute
					d.Ordering, d.Deregistration = database.Ordering(ordering), database.Method(method)
				})
				for n := 1; n <= 3; n++ {
					w.attach(n)
					w.run(2 * time.Second)
				}
				w.run(10 * time.Minute)
				w.served(3, 1, 2)
				w.detach(3)
				w.run(3 * time.Minute)
				w.empty()
			}
		}
	})
}

// TestReturnBeforeTheMoveWasHeardOf has the CMD's word of a move be lost, and the host come back meanwhile.
func TestReturnBeforeTheMoveWasHeardOf(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		w := network(t, mode, 2)
		w.attach(1)
		w.run(2 * time.Second)
		w.fate = func(from, to netip.Addr) (int, time.Duration) {
			if from == cmd && to == maar(1) {
				return 0, 0
			}
			return 1, 0
		}
		w.attach(2)
		w.run(500 * time.Millisecond)
		w.detach(2)
		w.fate = nil
		w.attach(1)
		w.run(3 * time.Second)
		w.served(1, 2)
	})
}

// TestMoveEndsWhatIsUnderWay has a host move on while the clean-up of a prefix is not answered.
func TestMoveEndsWhatIsUnderWay(t *testing.T) {
	s, prefix := served(t)
	p2 := netip.MustParsePrefix("2001:db8:a2:7::/64")
	u := one[*mh.BindingUpdate](s, s.attach())
	s.acknowledge(u, mh.StatusAccepted, previousOf(2, p2)...)
	s.after(DefaultIdleTimeout)
	if c := one[*mh.BindingUpdate](s, s.handle(signaling.PrefixIdle{Prefix: p2, Since: noon})); c.Lifetime != 0 {
		t.Errorf("PBU %+v", c)
	}
	s.notice(maar(3), prefix)
	s.silent(s.after(24 * time.Hour))
}
