package homeproxy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestConfigCheck(t *testing.T) {
	many := func(n int) (out []Coverage) {
		for i := range n {
			out = append(out, Coverage{Prefix: netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/48", 0x100+i))})
		}
		return out
	}
	endpoints := func(n int) (out []netip.AddrPort) {
		for i := range n {
			out = append(out, netip.AddrPortFrom(proxy, uint16(4191+i)))
		}
		return out
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"nothing", func(*Config) {}, ""},
		{"24 coverage prefixes", func(c *Config) { c.Coverage = many(24) }, ""},
		{"25 coverage prefixes", func(c *Config) { c.Coverage = many(25) }, "25 coverage prefixes are too many"},
		{"22 coverage prefixes and 4 endpoints", func(c *Config) { c.Coverage, c.Endpoints = many(22), endpoints(4) }, ""},
		{"23 coverage prefixes and 4 endpoints", func(c *Config) { c.Coverage, c.Endpoints = many(23), endpoints(4) }, "too many: with 4 UDP endpoints"},
		{"5 endpoints", func(c *Config) { c.Endpoints = endpoints(5) }, "5 UDP endpoints, at most 4"},
		{"endpoint without port", func(c *Config) { c.Endpoints = []netip.AddrPort{netip.AddrPortFrom(proxy, 0)} }, "no unicast address and port"},
		{"NAT refresh", func(c *Config) { c.NATRefresh = time.Millisecond }, "NAT refresh time 1ms"},
		{"no address", func(c *Config) { c.Address = netip.Addr{} }, "no unicast routable IPv6 address"},
		{"no pool", func(c *Config) { c.Pools = nil }, "no home prefix"},
		{"pool /96 in /64s", func(c *Config) { c.Pools[1].Prefix = netip.MustParsePrefix("2001:db8:dd00::/96") }, "too small"},
		{"pool /121", func(c *Config) { c.Pools[0].Prefix = netip.MustParsePrefix("2001:db8:d::/121") }, "too small"},
		{"pool not masked", func(c *Config) { c.Pools[0].Prefix = netip.PrefixFrom(plain, 64) }, "no unicast routable IPv6 prefix"},
		{"lend 96", func(c *Config) { c.Pools[0].Lend = 96 }, "lends /96"},
		{"overlap", func(c *Config) { c.Pools = append(c.Pools, Pool{addresses, 128}) }, "overlaps"},
		{"home agent is this node", func(c *Config) { c.HomeAgents[0].Address = proxy }, "no other node's"},
		{"no association", func(c *Config) { c.HomeAgents[0].SPI = 9999 }, "no security association with SPI 9999"},
		{"key too short", func(c *Config) { c.HomeAgents[0].SPI = 2000 }, "key of 16 octets, want 32"},
		{"two with one SPI", func(c *Config) { c.HomeAgents[1].SPI = 1001 }, "another home agent's too"},
		{"mobile node with a home agent's key", func(c *Config) { c.MobileNodes[0].SPI = 1001 }, "SPI 1001 is a home agent's"},
		{"roaming mobile node", func(c *Config) { c.MobileNodes[0].HomeAddress = netip.Addr{} }, "has no home address"},
		{"home address outside", func(c *Config) { c.MobileNodes[0].HomeAddress = careOf1 }, "in no home prefix"},
		{"mobile network in a pool", func(c *Config) {
			c.MobileNodes[0].MobileNetworks = []netip.Prefix{netip.MustParsePrefix("2001:db8:dd00:1::/64")}
		}, "is in a pool"},
		{"identifier of a lease", func(c *Config) { c.MobileNodes[0].Identifier = ownerOf(1001, alice) }, "begins with NUL"},
		{"quarantine", func(c *Config) { c.Quarantine = -1 }, "negative"},
		{"advertisement lifetime", func(c *Config) { c.AdvertisementLifetime = time.Second }, "advertisements each 1m0s that hold for 1s"},
		{"probe outside", func(c *Config) { c.Coverage[0].Probe = careOf1 }, "no IPv6 prefix with an address in it"},
		{"lifetime", func(c *Config) { c.MaxLifetime = 0 }, "maximum lifetime"},
	} {
		cfg := config()
		c.change(&cfg)
		err := cfg.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if _, newErr := New(cfg, noon); (newErr == nil) != (err == nil) {
			t.Errorf("%s: New says %v", c.name, newErr)
		}
	}
}

func TestReservedInterfaceIdentifiers(t *testing.T) {
	for _, c := range []struct {
		prefix, address string
		lendable        bool
	}{
		{"2001:db8::/64", "2001:db8::", false},
		{"2001:db8::/64", "2001:db8::1", true},
		{"2001:db8::/64", "2001:db8::200:5eff:fdff:ffff", true},
		{"2001:db8::/64", "2001:db8::200:5eff:fe00:0", false},
		{"2001:db8::/64", "2001:db8::200:5eff:feff:ffff", false},
		{"2001:db8::/64", "2001:db8::200:5eff:ff00:0", true},
		{"2001:db8::/64", "2001:db8::fdff:ffff:ffff:ff7f", true},
		{"2001:db8::/64", "2001:db8::fdff:ffff:ffff:ff80", false},
		{"2001:db8::/64", "2001:db8::fdff:ffff:ffff:ffff", false},
		{"2001:db8::/64", "2001:db8:0:1::5", false},
		{"2001:db8::/120", "2001:db8::", false},
		{"2001:db8::/120", "2001:db8::7f", true},
		{"2001:db8::/120", "2001:db8::80", false},
		{"2001:db8:0:0:1::/80", "2001:db8:0:0:1::", false},
		{"2001:db8::/48", "2001:db8:0:1::", false},
		{"2001:db8::/48", "2001:db8:0:1::1", true},
		{"2001:db8::/48", "2001:db8:0:ffff:ffff:ffff:ffff:ff80", false},
	} {
		p := pool{Pool: Pool{Prefix: netip.MustParsePrefix(c.prefix), Lend: 128}}
		if got := p.lendable(netip.MustParseAddr(c.address)); got != c.lendable {
			t.Errorf("%s of %s: %v", c.address, c.prefix, got)
		}
	}
}

// The pool's own arithmetic, for every length of pool.
func TestPoolDrawsAndWalksWithinItself(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, lend := range []int{64, 128} {
		for bits := 16; bits <= min(lend, 120); bits++ {
			p := pool{Pool: Pool{Prefix: netip.PrefixFrom(netip.MustParseAddr("2001:db8:5a5a:5a5a:5a5a:5a5a:5a5a:5a5a"), bits).Masked(), Lend: lend}}
			seen := make(map[netip.Addr]bool)
			for range 50 {
				a := p.draw(random)
				if next := p.after(a); !p.Prefix.Contains(a) || !p.Prefix.Contains(next) || a != p.home(a) || next != p.home(next) ||
					next == a && bits != lend {
					t.Fatalf("pool %v: %v, then %v", p.Pool, a, next)
				}
				seen[a] = true
			}
			if len(seen) < min(50, int(min(p.size(), 1000)))/4 {
				t.Errorf("pool %v: %d different of 50 drawn", p.Pool, len(seen))
			}
		}
	}
	p := pool{Pool: Pool{Prefix: netip.MustParsePrefix("2001:db8::/60"), Lend: 64}}
	a := p.home(p.Prefix.Addr())
	seen := make(map[netip.Addr]bool)
	for range 16 {
		seen[a] = true
		a = p.after(a)
	}
	if len(seen) != 16 || a != p.home(p.Prefix.Addr()) {
		t.Errorf("walked over %v", seen)
	}
}

func TestRecentIsBounded(t *testing.T) {
	r := newRecent[int, int](3, time.Minute)
	var evicted []int
	put := func(at time.Duration, k, v int) {
		r.put(noon.Add(at), k, v, func(v int) { evicted = append(evicted, v) })
	}
	put(0, 1, 10)
	put(time.Second, 2, 20)
	put(2*time.Second, 1, 11)
	put(3*time.Second, 3, 30)
	if len(evicted) != 0 {
		t.Errorf("evicted %v, which was overtaken", evicted)
	}
	put(4*time.Second, 4, 40)
	if got := fmt.Sprint(evicted); got != "[20]" {
		t.Errorf("evicted %v", got)
	}
	r.expire(noon.Add(time.Minute + 2*time.Second - 1))
	if v, ok := r.get(1); !ok || v != 11 {
		t.Error("forgotten too soon")
	}
	r.expire(noon.Add(time.Minute + 2*time.Second))
	if _, ok := r.get(1); ok {
		t.Error("not forgotten")
	}
	r.expire(noon.Add(time.Hour))
	for i := range 20_000 {
		put(time.Hour, i%7, i)
	}
	if len(r.order) > 256 || len(r.entries) > 3 {
		t.Errorf("%d notices, %d entries", len(r.order), len(r.entries))
	}
}

// What is forgotten for want of room is refused, not taken for new.
func TestEvictedTimestampsAreNotForgotten(t *testing.T) {
	w := start(t)
	w.m.stamps.limit = 2
	old := holder(alice).request(t, 1, anything, time.Minute, noon)
	w.handle(old)
	for i := range 3 {
		w.after(time.Millisecond).borrow(holder(nai(fmt.Sprint(i))), 1, anything, 0)
	}
	if _, ok := w.m.stamps.get(ownerOf(1001, alice)); ok {
		t.Fatal("nothing was evicted")
	}
	w.m.answers.expire(noon.Add(time.Hour))
	if r, _ := w.response(w.handle(old), holder(alice)); r == nil || r.Status != 144 {
		t.Errorf("replayed request gets %+v", r)
	}
	w.after(time.Millisecond).borrow(holder(alice), 2, anything, 0)
}

func TestOwnersAreDistinct(t *testing.T) {
	a := ownerOf(1001, nai("x"))
	for _, b := range []string{ownerOf(1002, nai("x")), ownerOf(1001, nai("y")), ownerOf(1001, nai("")), "x"} {
		if a == b {
			t.Errorf("%q twice", a)
		}
	}
	other := *nai("x")
	other.Subtype = 2
	if a == ownerOf(1001, &other) {
		t.Error("subtypes are one")
	}
	if spi, id, ok := parseOwner(a); spi != 1001 || id != "x" || !ok {
		t.Errorf("%d %q %v", spi, id, ok)
	}
}

func TestLongestIdentifierFitsTheStore(t *testing.T) {
	s := memory{}
	w := start(t, func(c *Config) { c.Store = s })
	w.borrow(holder(nai(strings.Repeat("x", maxIdentifier))), 1, anything, 0)
	e := effects(w.handle(holder(nai(strings.Repeat("x", maxIdentifier+1))).request(t, 1, anything, time.Minute, noon)))
	if len(e) != 0 || len(s) != 1 || w.m.Counters().HomeAgent.StoreErrors != 0 {
		t.Errorf("effects %v, %d stored", e, len(s))
	}
}
