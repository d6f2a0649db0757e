package forwarding

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"kedge/forwarding/flow"
	"kedge/netstack/packet"
)

// BenchmarkFlowOut is a mobile node's way out with flows: lookup, translation, encapsulation.
func BenchmarkFlowOut(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("flows=%d", n), func(b *testing.B) {
			e, w := flowNode(b, flow.Config{MaxFlows: 1 << 21})
			must(b, e.SetChoice(testProfile, all, d1, 1))
			before := memory()
			p := small(udp(h1, cn, 1352))
			original := append([]byte{}, p.Bytes()...)
			number := func(q *packet.Packet, i int) { // keeps the checksum wrong, which nobody looks at
				binary.BigEndian.PutUint32(q.Bytes()[40:], uint32(i)*2654435761)
			}
			one := []*packet.Packet{p}
			for i := range n {
				p.Set(original)
				number(p, i)
				w.Process(start, tunPort, one)
			}
			if e.Flows().Len() != n {
				b.Fatalf("%d flows", e.Flows().Len())
			}
			perFlow := float64(memory()-before) / float64(n)
			pkts := make([]*packet.Packet, batch)
			for i := range pkts {
				pkts[i] = small(original)
			}
			b.ReportAllocs()
			defer perPacket(b)()
			at := 0
			for b.Loop() {
				for _, q := range pkts {
					number(q, at)
					if at += 7919; at >= n {
						at %= n
					}
				}
				if r := w.Process(start, tunPort, pkts); len(r.Outputs) != 1 || len(r.Outputs[0].Packets) != batch {
					b.Fatal(drops(e.Counters()))
				}
				for _, q := range pkts {
					q.TrimFront(40)
					copy(q.Bytes(), original[:48])
				}
			}
			b.ReportMetric(perFlow, "octets/flow")
		})
	}
}

// BenchmarkFlowIn is the way back.
func BenchmarkFlowIn(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("flows=%d", n), func(b *testing.B) {
			e, w := flowNode(b, flow.Config{MaxFlows: 1 << 21})
			must(b, e.SetChoice(testProfile, all, d1, 1))
			p := small(udp(h1, cn, 1352))
			original := append([]byte{}, p.Bytes()...)
			one := []*packet.Packet{p}
			for i := range n {
				p.Set(original)
				binary.BigEndian.PutUint32(p.Bytes()[40:], uint32(i)*2654435761)
				w.Process(start, tunPort, one)
			}
			answer := tunnelled(0, dhp1, c1, udp(cn, d1, 1352))
			pkts := make([]*packet.Packet, batch)
			for i := range pkts {
				pkts[i] = small(answer)
			}
			b.ReportAllocs()
			defer perPacket(b)()
			at := 0
			for b.Loop() {
				for _, q := range pkts {
					ports := uint32(at) * 2654435761
					binary.BigEndian.PutUint32(q.Bytes()[80:], ports<<16|ports>>16)
					if at += 7919; at >= n {
						at %= n
					}
				}
				if r := w.Process(start, ethPort, pkts); len(r.Outputs) != 1 || len(r.Outputs[0].Packets) != batch {
					b.Fatal(drops(e.Counters()))
				}
				for _, q := range pkts {
					q.Prepend(40)
					copy(q.Bytes(), answer[:88])
				}
			}
		})
	}
}

// BenchmarkFlowNew is what a new flow costs beside that.
func BenchmarkFlowNew(b *testing.B) {
	e, w := flowNode(b, flow.Config{MaxFlows: 1 << 17})
	must(b, e.SetChoice(testProfile, all, d1, 1))
	p := small(udp(h1, cn, 100))
	original := append([]byte{}, p.Bytes()...)
	pkts := make([]*packet.Packet, batch)
	for i := range pkts {
		pkts[i] = small(original)
	}
	b.ReportAllocs()
	defer perPacket(b)()
	for i := uint32(0); b.Loop(); {
		for _, q := range pkts {
			q.Set(original)
			binary.BigEndian.PutUint32(q.Bytes()[40:], i*2654435761)
			i++
		}
		w.Process(start, tunPort, pkts)
	}
}

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
