package forwarding

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/forwarding/flow"
	"kedge/netstack/packet"
)

// The speed of the engine alone, links not counted: batches of 64 packets of 64 octets of payload each, of known flows that
// are picked at random among all, which use a Distributed Home Address.
//
//	go test ./forwarding -run '^$' -bench 'FlowOut|FlowIn' -count 5
//
// BenchmarkFlowOut is what the host sends: the flow found, its source translated, and all put into an IPv6 tunnel or
// addressed as a datagram, with finished checksums and with those that the kernel leaves to others (partial). BenchmarkFlowIn
// is the way back, and BenchmarkFlowNew what a flow's first packet costs: classified, and its flow made. Only Process
// counts, in processor time of its thread; what it reads of a packet is in the processor's caches, as when a link has just
// read it.
func BenchmarkFlowOut(b *testing.B) {
	for _, kind := range []string{"native", "native-partial", "udp"} {
		for _, n := range []int{10, 1000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/flows=%d", kind, n), func(b *testing.B) {
				e, w, octets := manyFlows(b, n, kind == "udp")
				original := udp(h1, cn, 64)
				var offload packet.Offload
				if kind == "native-partial" {
					offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 6}
				}
				pkts := packet.NewBatch(batch, packet.SmallLength)
				r := rand.New(rand.NewPCG(1, 2))
				perPacketOf(b, func() {
					for _, q := range pkts {
						q.Set(original)
						q.Offload = offload
						number(q.Bytes()[40:], r.IntN(n))
					}
				}, func() {
					if r := w.Process(start, tunPort, pkts); len(r.Outputs) != 1 || len(r.Outputs[0].Packets) != batch {
						b.Fatal(drops(e.Counters()))
					}
				})
				b.ReportMetric(octets, "octets/flow")
			})
		}
	}
}

func BenchmarkFlowIn(b *testing.B) {
	for _, kind := range []string{"native", "udp"} {
		for _, n := range []int{10, 1000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/flows=%d", kind, n), func(b *testing.B) {
				e, w, _ := manyFlows(b, n, kind == "udp")
				original, port, ports := tunnelled(0, dhp1, c1, udp(cn, d1, 64)), ethPort, 80
				if kind == "udp" {
					original, port, ports = original[40:], benchUDPPort, 40
				}
				pkts := packet.NewBatch(batch, packet.SmallLength)
				r := rand.New(rand.NewPCG(1, 2))
				answer := func(q *packet.Packet, i int) {
					q.Set(original)
					q.Peer, q.Local = benchPeer, c1
					x := q.Bytes()[ports:]
					number(x, i)
					x[0], x[1], x[2], x[3] = x[2], x[3], x[0], x[1]
				}
				for i := range n { // a flow's first answer changes its standing, once
					answer(pkts[0], i)
					w.Process(start, port, pkts[:1])
				}
				perPacketOf(b, func() {
					for _, q := range pkts {
						answer(q, r.IntN(n))
					}
				}, func() {
					if r := w.Process(start, port, pkts); len(r.Outputs) != 1 || len(r.Outputs[0].Packets) != batch {
						b.Fatal(drops(e.Counters()))
					}
				})
			})
		}
	}
}

const benchUDPPort PortID = 7

var benchPeer = netip.AddrPortFrom(dhp1, 4191)

// manyFlows is a mobile node with n flows that use d1, and how much memory each takes.
func manyFlows(b *testing.B, n int, datagrams bool) (e *Engine, w *Worker, octets float64) {
	e, w = flowNode(b, flow.Config{MaxFlows: 1 << 21})
	if datagrams {
		must(b, e.SetPort(Port{ID: benchUDPPort, UDP: true, MTU: 1500, Features: packet.PartialChecksum | packet.SegmentTCP | packet.SegmentUDP}))
		must(b, e.BindMobile(host(d1), Tunnel{
			Local: c1, Remote: benchPeer.Addr(), RemotePort: benchPeer.Port(), Via: true, Port: benchUDPPort,
		}))
	}
	must(b, e.SetChoice(testProfile, all, d1, 1))
	before := memory()
	p := small(nil)
	for i := range n {
		p.Set(udp(h1, cn, 64))
		number(p.Bytes()[40:], i)
		w.Process(start, tunPort, []*packet.Packet{p})
	}
	if e.Flows().Len() != n {
		b.Fatalf("%d flows", e.Flows().Len())
	}
	return e, w, float64(memory()-before) / float64(n)
}

// number makes the ports those of flow i. The checksum is wrong then, which nobody looks at.
func number(ports []byte, i int) { binary.BigEndian.PutUint32(ports, uint32(i)*2654435761) }

// perPacketOf reports what a packet of the batches costs that process deals with, in processor time; prepare is not counted.
func perPacketOf(b *testing.B, prepare, process func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	var used time.Duration
	for b.Loop() {
		prepare()
		before := threadClock(b)
		process()
		used += threadClock(b) - before
	}
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N)/batch, "cpu-ns/packet")
}

func threadClock(b *testing.B) time.Duration {
	var t unix.Timespec
	must(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}

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
