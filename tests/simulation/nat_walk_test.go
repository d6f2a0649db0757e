package simulation

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling/mobilenode"
)

// wrong says what keeps the world from being in order; empty if it is.
func (w *natWorld) wrong() string {
	s := w.mn.Status(w.time())
	switch {
	case s.State != mobilenode.StateRegistered:
		return fmt.Sprintf("mobile node is %q (%s)", s.State, s.LastError)
	case w.bind == nil || w.bind.Local != s.CareOf:
		return fmt.Sprintf("mobile node has %+v for %v", w.bind, s.CareOf)
	case w.served == nil:
		return "home agent has no binding"
	case s.Transport == mobilenode.Native && (w.served.Remote != s.CareOf || w.served.RemotePort != 0):
		return fmt.Sprintf("home agent has %+v for %v", w.served, s.CareOf)
	case s.Transport == mobilenode.UDP && w.served.RemotePort == 0:
		return fmt.Sprintf("home agent has %+v for a mobile node over UDP", w.served)
	case s.NATDetected != (s.CareOf.Is4() && sites[w.at].nats > 0):
		return fmt.Sprintf("NAT detected is %v at %s", s.NATDetected, sites[w.at].name)
	case w.now-w.arrived > time.Second:
		return fmt.Sprintf("nothing arrived for %v", w.now-w.arrived)
	case w.now-w.sent > time.Second && !w.quiet:
		return fmt.Sprintf("nothing got to the home agent for %v", w.now-w.sent)
	}
	return ""
}

func (w *natWorld) mishap() {
	switch w.rng.IntN(10) {
	case 0, 1, 2:
		w.goTo(w.rng.IntN(len(sites)))
	case 3:
		w.at = -1
		w.attach()
	case 4:
		// A NAT starts anew, perhaps with another public address.
		for _, row := range w.nats {
			for _, n := range row {
				n.port = 0
				if w.rng.IntN(2) == 0 {
					n.public = netip.AddrFrom4([4]byte{203, 0, 113, byte(100 + w.rng.IntN(100))})
				}
			}
		}
	case 5:
		w.up = false
		w.haLife++
		w.after(w.upTo(20*time.Second), func() {
			if !w.up {
				w.startAgent()
			}
		})
	case 6:
		clear(w.store) // what it had it will not know after the next start
	case 7:
		w.startMobile()
	case 8:
		w.quiet = !w.quiet
	case 9:
		for i := range 1 + w.rng.IntN(5) {
			to := w.rng.IntN(len(sites))
			w.after(time.Duration(i)*w.upTo(300*time.Millisecond), func() { w.goTo(to) })
		}
	}
}

// settle lets the world come to order in calm, see that that lasts longer than NATs remember, and returns how long it took.
func (w *natWorld) settle(seed uint64, limit time.Duration) time.Duration {
	w.t.Helper()
	w.calm = true
	w.run(5 * time.Second) // for what is on its way
	if !w.up {
		w.startAgent()
	}
	if w.at < 0 {
		w.goTo(w.rng.IntN(len(sites)))
	}
	// What looks like order may be from before a home agent was away, of which the mobile node is about to draw conclusions.
	begin := w.now
	since := begin
	for w.now-since < 30*time.Second {
		w.run(time.Second)
		if w.wrong() == "" {
			continue
		}
		if since = w.now; since-begin > limit {
			w.t.Fatalf("seed %d: after %v of calm at %s: %s\n%+v", seed, limit, sites[w.at].name, w.wrong(), w.mn.Status(w.time()))
		}
	}
	took := since - begin
	for range 40 {
		w.run(5 * time.Second)
		if wrong := w.wrong(); wrong != "" {
			w.t.Fatalf("seed %d: order at %s did not last: %s\n%+v", seed, sites[w.at].name, wrong, w.mn.Status(w.time()))
		}
	}
	w.calm = false
	return took
}

// walkBehindNATs is one walk; it returns the longest time that order took to come back.
func walkBehindNATs(t *testing.T, seed uint64, traced bool) (longest time.Duration) {
	t.Helper()
	w := newNATWorld(t, seed)
	w.traced = traced
	for range 4 {
		for range 8 {
			w.mishap()
			w.run(w.upTo(20 * time.Second))
		}
		// A quiet one hears that its binding is lost at its next refreshment, after 144 s.
		longest = max(longest, w.settle(seed, 3*time.Minute))
	}
	if w.moved == 0 {
		t.Errorf("seed %d: went nowhere", seed)
	}
	return longest
}

// TestWalksBehindNATs has a mobile node go between networks with and without IPv6, with native packets blocked or not, behind no
// NAT, one, or two, which forget; in the end the home agent has to send where the mobile node is.
func TestWalksBehindNATs(t *testing.T) {
	var longest time.Duration
	for s := range *seeds / 5 {
		longest = max(longest, walkBehindNATs(t, s, false))
	}
	t.Logf("order came back within %v", longest)
}

// TestOneWalkBehindNATs prints what happens in one: go test ./tests/simulation -run OneWalkBehindNATs -v -seed 7
func TestOneWalkBehindNATs(t *testing.T) { walkBehindNATs(t, *seed, true) }
