package movement

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestHostileAdvertisementsCannotGrowMemory(t *testing.T) {
	b := newBench(t)
	b.attach()
	kept := b.careOf()
	b.now = b.now.Add(time.Minute)
	for i := range 10000 {
		router := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 12: byte(i >> 8), 13: byte(i), 15: 0x77})
		var prefixes []netip.Prefix
		for j := range 4 {
			prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 2, 4: byte(i >> 8), 5: byte(i), 6: byte(j)}), 64))
		}
		b.do(advertise(router, prefixes...))
	}
	if len(b.m.routers) > maxRouters || len(b.m.prefixes) > maxPrefixes {
		t.Errorf("%d routers, %d prefixes", len(b.m.routers), len(b.m.prefixes))
	}
	c := b.m.Counters()
	if c.RoutersIgnored != 10000-7 || c.PrefixesIgnored == 0 {
		t.Errorf("counters %+v", c)
	}
	if b.careOf() != kept {
		t.Error("left the router in use")
	}
}

func TestIgnoresAdvertisementsFromElsewhere(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	for _, from := range []string{"2001:db8::1", "::", "ff02::1", "192.0.2.1"} {
		b.do(advertise(netip.MustParseAddr(from), prefixA))
	}
	b.do(RouterAdvertisement{})
	if b.careOf().IsValid() || b.m.Counters().Invalid != 5 {
		t.Errorf("care-of address %v, %+v", b.careOf(), b.m.Counters())
	}
}

// FuzzHandle runs event sequences made of octets and looks for panics, growth and ticks without end.
func FuzzHandle(f *testing.F) {
	f.Add([]byte{0, 1, 2, 10, 0, 0xff, 1, 2, 3, 4, 3, 1, 0, 0, 4, 9, 5, 0, 6, 0x80, 0})
	f.Add([]byte("\x00\x01\x02\x11\x22\x33\x44\x55\x66\x00\x00\x00\x01\x02\x99\x98\x97"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), 200)]
		b := newBench(t, func(c *Config) {
			c.KeepCareOf = len(data)%2 == 1
			c.Gateway = netip.MustParseAddr("2001:db8:f::1")
			c.Addresses = []netip.Prefix{netip.MustParsePrefix("2001:db8:f::2/64")}
		})
		next := func() byte {
			if len(data) == 0 {
				return 0
			}
			x := data[0]
			data = data[1:]
			return x
		}
		lifetime := func() time.Duration {
			return [...]time.Duration{0, time.Second, time.Minute, 3 * time.Hour, Infinite, -time.Second, 90 * time.Minute, 24 * time.Hour}[next()%8]
		}
		router := func() netip.Addr {
			return [...]netip.Addr{routerA, routerB, {}, b.m.cfg.Gateway}[next()%4]
		}

		held := map[netip.Addr]bool{}
		for len(data) > 0 {
			switch next() % 8 {
			case 0:
				b.do(Carrier{next()%2 == 1})
			case 1, 2:
				ra := RouterAdvertisement{Router: router(), LinkLayerKnown: next()%2 == 0, Lifetime: lifetime(), MTU: int(next()) * 8, Interval: time.Duration(next()) * time.Millisecond}
				for range next() % 5 {
					x := next()
					var a [16]byte
					binary.BigEndian.PutUint64(a[:], 0x2001_0db8_0000_0000|uint64(x%32)<<16)
					bits := 64
					if x > 250 {
						bits = int(x) - 200
					}
					ra.Prefixes = append(ra.Prefixes, PrefixInformation{Prefix: netip.PrefixFrom(netip.AddrFrom16(a), bits),
						OnLink: x&32 != 0, Autonomous: x&64 != 0, Valid: lifetime(), Preferred: lifetime()})
				}
				b.do(ra)
			case 3:
				b.do(RouterUnreachable{router()})
			case 4:
				b.do(DuplicateFound{b.careOf()})
			case 5:
				b.do(AddressConfirmed{b.careOf()})
			case 6:
				b.do(RouterReachable{router()})
			case 7:
				b.run(time.Duration(next()) * time.Duration(next()) * 10 * time.Millisecond)
			}
			for _, e := range b.out {
				switch x := e.(type) {
				case AddAddress:
					held[x.Address.Addr()] = true
				case RemoveAddress:
					delete(held, x.Address)
				}
			}
			if a := b.m.Attachment(); a.CareOf.IsValid() && (!b.m.up || !a.Router.IsValid() || !held[a.CareOf]) {
				t.Fatalf("attached %+v", a)
			}
			if len(b.m.routers) > maxRouters || len(b.m.prefixes) > maxPrefixes || len(b.m.removed) != 0 {
				t.Fatal("too much is kept")
			}
		}
	})
}
