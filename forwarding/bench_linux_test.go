package forwarding

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/netstack/packet"
)

const batch = 64

// bindings anchors n home addresses 2001:db8:a::1:0 and up at as many care-of addresses.
func bindings(tb testing.TB, e *Engine, n int) (homes, careOfs []netip.Addr) {
	for i := range n {
		home, careOf := h1.As16(), c1.As16()
		binary.BigEndian.PutUint32(home[12:], uint32(1<<16+i))
		binary.BigEndian.PutUint32(careOf[12:], uint32(1<<16+i))
		careOf[7] = byte(i)
		homes = append(homes, netip.AddrFrom16(home))
		careOfs = append(careOfs, netip.AddrFrom16(careOf))
		must(tb, e.BindAnchored(host(homes[i]), Tunnel{Local: ha, Remote: careOfs[i]}))
	}
	return homes, careOfs
}

func sizes(b *testing.B, run func(b *testing.B, length, bindings int)) {
	for _, length := range []int{64, 1400} {
		for _, n := range []int{1, 1000, 100_000} {
			b.Run(fmt.Sprintf("octets=%d/bindings=%d", length, n), func(b *testing.B) { run(b, length, n) })
		}
	}
}

// passing has a batch pass again and again; restore makes a packet what it was.
func passing(b *testing.B, e *Engine, w *Worker, in PortID, pkts []*packet.Packet, restore func(*packet.Packet)) {
	b.ReportAllocs()
	defer perPacket(b)()
	for b.Loop() {
		r := w.Process(start, in, pkts)
		if len(r.Outputs) != 1 || len(r.Outputs[0].Packets) != len(pkts) {
			b.Fatal(drops(e.Counters()))
		}
		for _, p := range pkts {
			restore(p)
		}
	}
}

func BenchmarkEncapsulate(b *testing.B) {
	sizes(b, func(b *testing.B, length, n int) {
		e, w := anchor(b)
		homes, _ := bindings(b, e, n)
		pkts := make([]*packet.Packet, batch)
		for i := range pkts {
			pkts[i] = small(udp(cn, homes[i*7919%n], length-48))
		}
		passing(b, e, w, ethPort, pkts, func(p *packet.Packet) {
			p.TrimFront(40)
			p.Bytes()[7] = 64
		})
	})
}

func BenchmarkDecapsulate(b *testing.B) {
	sizes(b, func(b *testing.B, length, n int) {
		e, w := anchor(b)
		homes, careOfs := bindings(b, e, n)
		pkts := make([]*packet.Packet, batch)
		for i := range pkts {
			k := i * 7919 % n
			pkts[i] = small(tunnelled(0, careOfs[k], ha, udp(homes[k], cn, length-48)))
		}
		passing(b, e, w, ethPort, pkts, func(p *packet.Packet) {
			p.Bytes()[7] = 64
			p.Prepend(40)
		})
	})
}

// BenchmarkMobile is a mobile node's way out and in again.
func BenchmarkMobile(b *testing.B) {
	e, w := mobileNode(b)
	pkts := make([]*packet.Packet, batch)
	for i := range pkts {
		pkts[i] = small(udp(h1, cn, 1352))
	}
	b.ReportAllocs()
	defer perPacket(b)()
	for b.Loop() {
		if r := w.Process(start, tunPort, pkts); len(r.Outputs) != 1 {
			b.Fatal(drops(e.Counters()))
		}
		for _, p := range pkts {
			p.TrimFront(40)
		}
	}
}

// BenchmarkBind is the cost of a change of one binding among many.
func BenchmarkBind(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("bindings=%d", n), func(b *testing.B) {
			e, _ := anchor(b)
			homes, _ := bindings(b, e, n)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				must(b, e.BindAnchored(host(homes[i*7919%n]), Tunnel{Local: ha, Remote: c2, PathMTU: uint16(1280 + i%101)}))
			}
		})
	}
}

// perPacket reports what a packet costs from here until the function it returns is called: by the clock, and in
// processor time, which says more on a machine with other work to do.
func perPacket(b *testing.B) func() {
	runtime.LockOSThread()
	before := threadTime(b)
	return func() {
		used := threadTime(b) - before
		runtime.UnlockOSThread()
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/packet")
		b.ReportMetric(float64(used.Nanoseconds())/float64(b.N)/batch, "cpu-ns/packet")
	}
}

func threadTime(b *testing.B) time.Duration {
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_THREAD, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// small is pkt in a buffer of the size that links use where there are no super-packets.
func small(b []byte) *packet.Packet {
	p := packet.New(packet.SmallLength)
	p.Set(b)
	return p
}
