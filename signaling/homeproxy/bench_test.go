package homeproxy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"kedge/signaling"
)

// crowd has room for everybody.
func crowd(c *Config) {
	c.HomeAgents, c.Coverage, c.MaxBindings, c.MaxBindingsPerNode = c.HomeAgents[:1], nil, 0, 0
}

func member(i int) node {
	b := careOf1.As16()
	binary.BigEndian.PutUint32(b[12:], uint32(i))
	return holder(nai(fmt.Sprintf("mn%d@example.net", i))).from(netip.AddrFrom16(b))
}

// measure hands b.N prepared messages in, and reports how many a second of processor time, garbage collection included.
func measure(b *testing.B, w *world, what string, prepare func(i int) signaling.Received) {
	const prepared = 10_000
	var messages []signaling.Received
	var cpu, from time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	for k := range b.N {
		if k%prepared == 0 {
			b.StopTimer()
			if k > 0 {
				cpu += processorTime(b) - from
			}
			w.after(time.Second)
			messages = messages[:0]
			for i := range min(prepared, b.N-k) {
				messages = append(messages, prepare(k+i))
			}
			from = processorTime(b)
			b.StartTimer()
		}
		w.handle(messages[k%prepared])
	}
	b.StopTimer()
	cpu += processorTime(b) - from
	if c := w.m.Counters(); len(c.Refused) != 0 || len(c.HomeAgent.Refused) != 0 {
		b.Fatalf("refused %v, %v", c.Refused, c.HomeAgent.Refused)
	}
	b.ReportMetric(float64(b.N)/cpu.Seconds(), what+"/cpu-s")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDHoARequest is one new lease each: checksum, parsing, session key, verification, address, binding, and the signed
// response.
func BenchmarkDHoARequest(b *testing.B) {
	w := start(b, crowd)
	measure(b, w, "requests", func(i int) signaling.Received { return member(i).request(b, 1, anything, 10*time.Minute, w.now) })
	if got := int(w.m.Counters().Lent); got != b.N {
		b.Fatalf("%d lent of %d", got, b.N)
	}
}

// BenchmarkBindingUpdate is one refresh each, with a ticket, of 50,000 leases.
func BenchmarkBindingUpdate(b *testing.B) {
	const n = 50_000
	w := start(b, crowd)
	homes := make([]netip.Addr, n)
	for i := range homes {
		homes[i] = w.borrow(member(i), 1, anything, 0).Addr()
	}
	measure(b, w, "updates", func(i int) signaling.Received {
		j := i * 7919 % n
		return member(j).update(b, 2, homes[j], 10*time.Minute, w.now.Add(time.Duration(i)))
	})
}

// BenchmarkForgedRequest is one with a wrong authenticator.
func BenchmarkForgedRequest(b *testing.B) {
	w := start(b, crowd)
	forged := holder(alice)
	forged.kd.Key = []byte("guessed")
	r := forged.request(b, 1, anything, time.Minute, noon)
	b.ReportAllocs()
	for b.Loop() {
		w.handle(r)
	}
}

// BenchmarkMemory reports the heap that each of 100,000 leases takes: just made, when requests are still known again, and
// after.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	for range b.N {
		w := start(b, crowd)
		w.tick()
		before := heap()
		for i := range n {
			w.handle(member(i).request(b, 1, anything, 10*time.Minute, w.now))
		}
		made := heap()
		w.after(answersFor).tick()
		kept := heap()
		if got := w.m.inner.Cache().Valid(); got != n {
			b.Fatalf("%d leases", got)
		}
		b.ReportMetric(float64(made-before)/n, "new-B/lease")
		b.ReportMetric(float64(kept-before)/n, "B/lease")
		runtime.KeepAlive(w)
	}
}
