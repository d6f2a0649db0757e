package database

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// crowd is a database with two MAARs whose pools hold millions.
func crowd(b *testing.B, mode Mode) *Machine {
	c := Config{
		Address: cmd, Mode: mode, AllowAnyNode: true, MaxSessions: 1 << 21, PacingInterval: time.Nanosecond,
		Associations: map[uint32]auth.Association{301: association(1), 302: association(2)},
	}
	for i := 1; i <= 2; i++ {
		c.Routers = append(c.Routers, Router{
			Address: maar(i), SPI: uint32(300 + i), Prefixes: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("2001:%d::/32", i))},
		})
	}
	m, err := New(c, noon)
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// arrival is the PBU of MAAR i about mobile node n, as it arrives.
func arrival(b *testing.B, i, n int, now time.Time) signaling.Received {
	p := prefixFrom(uint64(0x2001)<<48 | uint64(i)<<32 | uint64(n))
	mac := [6]byte{2, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	u := &mh.BindingUpdate{
		Sequence: uint16(n), Acknowledge: true, ProxyRegistration: true, Distributed: true, Lifetime: time.Hour,
		Options: mh.Options{
			&mh.MobileNodeIdentifier{Subtype: 5, Identifier: string(mac[:])},
			&mh.AnchoredPrefix{Prefix: p},
			&mh.DLIFLinkLocalAddress{Address: linkLocalOf(uint64(n) + 1)},
			&mh.DLIFLinkLayerAddress{Address: mac[:]},
			&mh.HandoffIndicator{Indicator: mh.HandoffUnknown},
			&mh.AccessTechnologyType{Technology: mh.AccessEthernet},
			&mh.Timestamp{Time: now},
			&mh.LinkLayerIdentifier{Identifier: mac[:]},
		},
	}
	payload, err := auth.Sign(u, association(i), maar(i), netip.IPv6Unspecified(), mh.NTPTimeOf(now))
	if err != nil {
		b.Fatal(err)
	}
	mh.SetChecksum(payload, maar(i), cmd)
	return signaling.Received{Source: maar(i), Destination: cmd, Payload: payload}
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// BenchmarkSessions fills a database, 20,000 registrations a second of its own time, and reports what one session takes.
func BenchmarkSessions(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				m := crowd(b, Proxy)
				now, spent := noon, time.Duration(0)
				for i := range n {
					now = now.Add(50 * time.Microsecond)
					r := arrival(b, 1, i, now)
					begin := time.Now()
					m.Handle(now, r)
					spent += time.Since(begin)
				}
				if m.Len() != n {
					b.Fatalf("%d sessions: %+v", m.Len(), m.Counters())
				}
				// What is remembered against replay goes within seconds.
				m.stamps.forget(m.at(now.Add(time.Minute)))
				m.stamps = newRecent[mh.NTPTime](m.stamps.keep)
				b.ReportMetric(float64(heap()-before)/float64(n), "octets/session")
				b.ReportMetric(float64(n)/spent.Seconds(), "registrations/s")
				runtime.KeepAlive(m)
			}
		})
	}
}

// BenchmarkRefresh is the registration of a session that there is, among 100,000.
func BenchmarkRefresh(b *testing.B) {
	const n = 100_000
	m := crowd(b, Proxy)
	now := noon
	for i := range n {
		now = now.Add(50 * time.Microsecond)
		m.Handle(now, arrival(b, 1, i, now))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		now = now.Add(50 * time.Microsecond)
		r := arrival(b, 1, i%n, now)
		b.StartTimer()
		m.Handle(now, r)
	}
}
