package dmipv6

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
)

func BenchmarkFlowHeldWithAddressInHand(b *testing.B) {
	w, _ := anchored(b, 16)
	key := signaling.FlowKey{Local: home, Remote: cnOf(7, 9), Protocol: 6, LocalPort: 1, RemotePort: 443}
	now := w.time()
	for i := 0; b.Loop(); i++ {
		w.m.Handle(now, signaling.FlowHeld{Flow: uint64(i), Key: key, Since: now})
	}
}

// BenchmarkMoveOf16Anchors is how long it takes until all updates are ready to be sent.
func BenchmarkMoveOf16Anchors(b *testing.B) {
	var w *world
	var now time.Time
	for i := 0; b.Loop(); i++ {
		if i%50 == 0 {
			// Nobody answers the updates, and leases end.
			b.StopTimer()
			w, _ = anchored(b, 16)
			now = w.time()
			b.StartTimer()
		}
		now = now.Add(2 * time.Second)
		w.m.Handle(now, attached([]netip.Addr{careOfB, careOfA}[i%2]))
	}
}
