package neighbor

import (
	"testing"
	"time"
)

func TestRFC6275Section1151Verify(t *testing.T) {
	const unicastNS = "fe80::ee > 2001:db8::1 (m1) NS 2001:db8::1 source=me"
	const multicastNS = "fe80::ee > ff02::1:ff00:1 NS 2001:db8::1 source=me"
	t.Run("there", func(t *testing.T) {
		b := newBench(t, Config{})
		b.put(reachable)
		b.do(b.Verify(b.now, peer))
		b.do(b.Verify(b.now, peer))
		b.at(100*time.Millisecond).advertise(peer, m1)
		b.until(20*time.Second).expect("0s "+unicastNS, "100ms NeighborReachable {2001:db8::1 [2 0 0 0 0 1]}")
	})
	t.Run("gone", func(t *testing.T) {
		b := newBench(t, Config{})
		b.put(stale)
		b.do(b.Verify(b.now, peer))
		if b.link(peer) != "m1" {
			t.Error("cannot be used in the meantime")
		}
		b.until(20*time.Second).expect("0s "+unicastNS, "1s "+unicastNS, "2s "+unicastNS, "3s NeighborUnreachable {2001:db8::1}")
	})
	t.Run("unknown", func(t *testing.T) {
		b := newBench(t, Config{MaxIncomplete: 1})
		b.resolve(host, "a")
		b.lines = nil
		b.do(b.Verify(b.now, peer))
		b.do(b.Verify(b.now, any6))
		b.until(20*time.Second).expect("0s "+multicastNS, "1s "+multicastNS, "2s "+multicastNS, "3s NeighborUnreachable {2001:db8::1}")
	})
	t.Run("without an address to ask from", func(t *testing.T) {
		b := newBench(t, Config{})
		b.RemoveAddress(b.now, ll)
		b.RemoveAddress(b.now, own)
		b.put(reachable)
		b.do(b.Verify(b.now, peer))
		b.until(20 * time.Second).expect()
		if b.state(peer) != stale {
			t.Errorf("state %d", b.state(peer))
		}
	})
}
