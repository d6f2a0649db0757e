package homeagent

import (
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// crowd is a home agent with n mobile nodes that authenticate.
func crowd(b *testing.B, n int) *Machine {
	c := config()
	c.MaxBindings, c.MobileNodes = 0, make([]MobileNode, n)
	for i := range c.MobileNodes {
		c.MobileNodes[i] = MobileNode{Identifier: fmt.Sprintf("mn%d@example.net", i), HomeAddress: homeOf(i), SPI: 1001}
	}
	m, err := New(c, noon)
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func homeOf(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 8: 1, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
}

func refresh(b *testing.B, i int, sequence uint16, at time.Time) signaling.Received {
	key := sha256Key
	key.Identifier = fmt.Sprintf("mn%d@example.net", i)
	return bu(homeOf(i), sequence, options(&mh.AlternateCareOf{Address: careOf1}), sign(key, at)).received(b)
}

// BenchmarkBindingUpdate is one authenticated refresh (HMAC-SHA-256-128, MN-ID, Alternate Care-of Address) through Handle:
// checksum, parsing, verification, the cache of 100,000 bindings, and the signed acknowledgement.
func BenchmarkBindingUpdate(b *testing.B) {
	const n, prepared = 100_000, 20_000
	m := crowd(b, n)
	now := noon
	for i := range n {
		m.Handle(now, refresh(b, i, 1, now))
	}
	if got := len(m.Bindings(now)); got != n {
		b.Fatalf("%d bindings", got)
	}
	updates := make([]signaling.Received, 0, prepared)
	var cpu, from time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	for k := range b.N {
		if k%prepared == 0 {
			b.StopTimer()
			if k > 0 {
				cpu += processorTime(b) - from
			}
			now = now.Add(time.Second)
			updates = updates[:0]
			for j := range prepared {
				updates = append(updates, refresh(b, (k+j)*7919%n, 2, now))
			}
			from = processorTime(b)
			b.StartTimer()
		}
		if e := m.Handle(now, updates[k%prepared]); len(of[signaling.Send](e)) != 1 {
			b.Fatal("no acknowledgement")
		}
	}
	b.StopTimer()
	cpu += processorTime(b) - from
	if r := m.Counters(); len(r.Refused) != 0 {
		b.Fatalf("refused %v", r.Refused)
	}
	b.ReportMetric(float64(b.N)/cpu.Seconds(), "updates/cpu-s")
}

// processorTime is what the process has used, garbage collection included, so that other load does not count.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkForgedBindingUpdate is one with a wrong authenticator.
func BenchmarkForgedBindingUpdate(b *testing.B) {
	m := crowd(b, 1)
	forged := sha256Key
	forged.Key = auth.Key("guessed")
	r := bu(homeOf(0), 1, sign(forged, noon)).received(b)
	b.ReportAllocs()
	for b.Loop() {
		m.Handle(noon, r)
	}
}

// BenchmarkMemory reports the heap that each of 100,000 bindings takes in a home agent that lets any mobile node register.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	for range b.N {
		c := config()
		c.MaxBindings, c.AllowAnyMobileNode, c.AllowUnauthenticated = 0, true, true
		m, err := New(c, noon)
		if err != nil {
			b.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range n {
			id := &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: fmt.Sprintf("mn%d@example.net", i)}
			m.Handle(noon, bu(homeOf(i), 1, options(id)).received(b))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if got := len(m.Bindings(noon)); got != n {
			b.Fatalf("%d bindings", got)
		}
		runtime.GC()
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/binding")
		runtime.KeepAlive(m)
	}
}
