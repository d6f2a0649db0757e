package scale

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
)

var tick = signaling.Tick{}

func host(i int) netip.Prefix { return netip.PrefixFrom(homeOf(i), 128) }

// sizes runs a benchmark with anchors of 1,000 to 1,000,000 bindings.
func sizes(b *testing.B, udp bool, run func(b *testing.B, a *anchor)) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		var a *anchor
		b.Run(fmt.Sprintf("bindings=%d", n), func(b *testing.B) {
			if a == nil { // and not again for more iterations
				a = newAnchor(b, n, udp)
				a.register(0)
			}
			a.tb = b
			b.ReportAllocs()
			b.ResetTimer()
			run(b, a)
		})
	}
}

// BenchmarkDownlink is a packet to a random mobile node through the engine, in batches of 64. The part of it that makes the
// packets is reported apart.
func BenchmarkDownlink(b *testing.B) {
	const batch = 64
	for _, udp := range []bool{false, true} {
		b.Run(map[bool]string{false: "native", true: "udp"}[udp], func(b *testing.B) {
			sizes(b, udp, func(b *testing.B, a *anchor) {
				d := newDownlink(batch)
				var making time.Duration
				for range b.N {
					at := time.Now()
					d.aim(a.n)
					making += time.Since(at)
					r := a.worker.Process(a.now, ethernet, d.packets)
					if len(r.Outputs) != 1 || len(r.Outputs[0].Packets) != batch {
						b.Fatal(a.engine.Counters())
					}
				}
				b.ReportMetric(float64(b.Elapsed()-making)/float64(b.N)/batch, "ns/packet")
				b.ReportMetric(float64(making)/float64(b.N)/batch, "ns-making/packet")
			})
		})
	}
}

// BenchmarkMove is a mobile node's new care-of address on its way into the engine's tables.
func BenchmarkMove(b *testing.B) {
	sizes(b, false, func(b *testing.B, a *anchor) {
		for k := range b.N {
			i := int(scramble(uint64(k)) % uint64(a.n))
			must(b, a.engine.BindAnchored(host(i), a.tunnel(careOf(i, k+2))))
		}
	})
}

// BenchmarkBindingUpdate is a signed Binding Update of a random mobile node through the home agent: a refresh, or a move
// that the engine is told of.
func BenchmarkBindingUpdate(b *testing.B) {
	for _, moving := range []bool{false, true} {
		b.Run(map[bool]string{false: "refresh", true: "move"}[moving], func(b *testing.B) {
			sizes(b, false, func(b *testing.B, a *anchor) {
				const prepared = 1 << 12
				updates := make([]signaling.Event, 0, prepared)
				for k := range b.N {
					if k%prepared == 0 {
						b.StopTimer()
						updates = updates[:0]
						moves := 0
						if moving {
							moves = int(a.now.Sub(noon)/time.Millisecond) + 2
						}
						for j := range min(prepared, b.N-k) {
							a.now = a.now.Add(time.Microsecond)
							updates = append(updates, a.update(int(scramble(uint64(k+j))%uint64(a.n)), moves))
						}
						a.sent = 0
						b.StartTimer()
					}
					a.handle(updates[k%prepared])
				}
				if a.sent != (b.N-1)%prepared+1 {
					b.Fatalf("%d acknowledgements, counters %+v", a.sent, a.agent.Counters())
				}
			})
		})
	}
}
