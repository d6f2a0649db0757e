package directory

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// large is a directory of 1000 DHPs with 20 prefixes each.
func large(b *testing.B) *Machine {
	b.Helper()
	c := config()
	c.Proxies = nil
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		spi := uint32(10_000 + i)
		c.Associations[spi] = auth.Association{SPI: spi, Algorithm: auth.HMACSHA256, Key: kd1.Key}
		address := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xd0, 0, byte(i >> 8), byte(i), 15: 1})
		c.Proxies = append(c.Proxies, Proxy{Address: address, SPI: spi, Coverage: []netip.Prefix{netip.MustParsePrefix("::/0")}})
	}
	m, err := New(c, noon)
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range c.Proxies {
		var all []mh.DHPInformation
		for range 20 {
			a := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(r.IntN(4)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
			coverage, _ := a.Prefix(36 + r.IntN(29))
			all = append(all, mh.DHPInformation{Coverage: coverage, RTT: time.Duration(r.IntN(1e7))})
		}
		d := advertisement(p.Address, all...)
		d.Lifetime = time.Hour
		e := effects(m.Handle(noon, received(b, d, c.Associations[p.SPI], p.Address, noon)))
		e.status(b, c.Associations[p.SPI], mh.StatusAccepted)
	}
	return m
}

// BenchmarkQuery is one authenticated DHP Query through Handle: checksum, parsing, verification, look-ups among 20,000
// prefixes of 1000 DHPs, tickets and the signed reply.
func BenchmarkQuery(b *testing.B) {
	for _, cns := range []int{1, 16} {
		b.Run(fmt.Sprintf("CNs=%d", cns), func(b *testing.B) {
			const prepared = 10_000
			m := large(b)
			r := rand.New(rand.NewPCG(3, 4))
			now := noon
			var queries []signaling.Received
			b.ReportAllocs()
			b.ResetTimer()
			for k := range b.N {
				if k%prepared == 0 {
					b.StopTimer()
					queries = queries[:0]
					for range prepared {
						now = now.Add(time.Microsecond)
						d := query()
						for range cns {
							d.Options = append(d.Options, &mh.CNAddress{Address: netip.AddrFrom16([16]byte{
								0x20, 0x01, 0x0d, 0xb8, byte(r.IntN(4)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), 15: 1,
							})})
						}
						queries = append(queries, received(b, d, mnKey, careOf, now))
					}
					b.StartTimer()
				}
				if e := m.Handle(now, queries[k%prepared]); len(of[signaling.Send](e)) != 1 {
					b.Fatal("no reply")
				}
			}
			b.StopTimer()
			c := m.Counters()
			if c.Answered != uint64(b.N) {
				b.Fatalf("%+v", c)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
			b.ReportMetric(float64(c.Tickets)/float64(b.N), "tickets/query")
		})
	}
}

// BenchmarkForgedQuery is one with a wrong authenticator.
func BenchmarkForgedQuery(b *testing.B) {
	w := start(b)
	r := received(b, query("2001:db8:a::5"), forged(mnKey), careOf, noon)
	b.ReportAllocs()
	for b.Loop() {
		w.handle(r)
	}
}
