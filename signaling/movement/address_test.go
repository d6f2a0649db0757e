package movement

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestRFC7217_5_IdentifierDependsOnAllItsParts(t *testing.T) {
	of := func(uplink, secret string, p netip.Prefix, counter uint8) netip.Addr {
		m, err := New(Config{Uplink: uplink, Secret: []byte(secret), Autoconfigure: true, MTU: 1500})
		if err != nil {
			t.Fatal(err)
		}
		return m.address(p, counter)
	}
	const secret = "0123456789abcdef"
	a := of("eth0", secret, prefixA, 0)
	// HMAC-SHA256 by another implementation (openssl dgst -mac HMAC) over 20010db8000a0000 00 "eth0".
	if want := netip.MustParseAddr("2001:db8:a:0:3c8d:afb1:0135:4807"); a != want {
		t.Errorf("address %v, want %v", a, want)
	}
	if a != of("eth0", secret, prefixA, 0) {
		t.Error("address is not stable")
	}
	seen := map[uint64]bool{}
	for _, x := range []netip.Addr{a, of("eth1", secret, prefixA, 0), of("eth0", secret+"g", prefixA, 0), of("eth0", secret, prefixB, 0), of("eth0", secret, prefixA, 1)} {
		b := x.As16()
		seen[binary.BigEndian.Uint64(b[8:])] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d different identifiers of 5", len(seen))
	}
}

func TestRFC5453_ReservedIdentifiersAreNotUsed(t *testing.T) {
	for id, want := range map[uint64]bool{
		0: true, 1: false,
		0x0200_5eff_fe00_0000: true, 0x0200_5eff_fdff_ffff: false, 0x0200_5eff_feff_ffff: true, 0x0200_5eff_ff00_0000: false,
		0xfdff_ffff_ffff_ff7f: false, 0xfdff_ffff_ffff_ff80: true, 0xfdff_ffff_ffff_fffe: true, 0xfdff_ffff_ffff_ffff: true, 0xfe00_0000_0000_0000: false,
	} {
		if reservedIdentifier(id) != want {
			t.Errorf("%016x: %v", id, !want)
		}
	}
}

func TestRFC7217_6_DuplicatesGetThreeAttempts(t *testing.T) {
	b := newBench(t)
	b.attach()
	seen := []netip.Addr{b.careOf()}
	for range 2 {
		out := b.do(DuplicateFound{b.careOf()})
		if r := last[RemoveAddress](t, out); r.Address != seen[len(seen)-1] {
			t.Errorf("removed %v", r.Address)
		}
		if !b.careOf().IsValid() || slices.Contains(seen, b.careOf()) {
			t.Fatalf("care-of address %v after duplicates %v", b.careOf(), seen)
		}
		seen = append(seen, b.careOf())
	}
	b.do(DuplicateFound{b.careOf()})
	if b.careOf().IsValid() {
		t.Errorf("a fourth address: %v", b.careOf())
	}
	b.do(advertise(routerA, prefixA))
	if b.careOf().IsValid() || b.m.Counters().Duplicates != 3 {
		t.Errorf("care-of address %v, %+v", b.careOf(), b.m.Counters())
	}
}

func TestDuplicateLinkLocalAddress(t *testing.T) {
	b := newBench(t)
	source := last[SendRouterSolicitation](t, b.do(Carrier{true})).Source
	for range 2 {
		b.do(DuplicateFound{source})
		next := last[SendRouterSolicitation](t, b.run(10*time.Second)).Source
		if next == source || !next.IsLinkLocalUnicast() {
			t.Fatalf("solicits from %v after %v was a duplicate", next, source)
		}
		source = next
	}
	b.do(DuplicateFound{source})
	if rs := last[SendRouterSolicitation](t, b.run(time.Minute)); rs.Source.IsValid() || rs.LinkLayerAddress {
		t.Errorf("solicits with %+v", rs)
	}
}

func (b *bench) advertiseLifetimes(valid, preferred time.Duration) {
	ra := advertise(routerA, prefixA)
	ra.Prefixes[0].Valid, ra.Prefixes[0].Preferred = valid, preferred
	b.do(ra)
}

func TestRFC4862_5_5_3_TwoHourRule(t *testing.T) {
	const hour = time.Hour
	for _, c := range []struct {
		name                    string
		first, elapsed, next, d time.Duration
	}{
		{"longer than two hours", 10 * hour, 0, 3 * hour, 3 * hour},
		{"longer than what remains", 1 * hour, 30 * time.Minute, 45 * time.Minute, 45 * time.Minute},
		{"two hours or less remain", 90 * time.Minute, 0, 10 * time.Minute, 90 * time.Minute},
		{"more than two hours remain", 10 * hour, 0, 10 * time.Minute, 2 * hour},
		{"zero does not kill", 10 * hour, 0, 0, 2 * hour},
		{"infinite", 1 * hour, 0, Infinite, 0},
		{"infinite cut", Infinite, 0, 1 * hour, 2 * hour},
	} {
		b := newBench(t)
		b.do(Carrier{true})
		b.advertiseLifetimes(c.first, c.first)
		address := b.careOf()
		b.now = b.now.Add(c.elapsed)
		b.advertiseLifetimes(c.next, 0)
		p := b.m.findPrefix(prefixA)
		want := b.now.Add(c.d)
		if c.d == 0 {
			want = time.Time{}
		}
		if !p.validUntil.Equal(want) || p.address != address {
			t.Errorf("%s: valid until %v, want %v", c.name, p.validUntil, want)
		}
	}
}

func TestRFC4862_5_5_3_IgnoresWhatItMust(t *testing.T) {
	for name, change := range map[string]func(*PrefixInformation){
		"not autonomous":        func(p *PrefixInformation) { p.Autonomous = false },
		"link-local":            func(p *PrefixInformation) { p.Prefix = linkLocalPrefix },
		"preferred above valid": func(p *PrefixInformation) { p.Preferred = p.Valid + 1 },
		"valid is zero":         func(p *PrefixInformation) { p.Valid, p.Preferred = 0, 0 },
		"not 64 bits":           func(p *PrefixInformation) { p.Prefix = netip.PrefixFrom(prefixA.Addr(), 63) },
		"multicast":             func(p *PrefixInformation) { p.Prefix = netip.MustParsePrefix("ff02::/64") },
		"no prefix at all":      func(p *PrefixInformation) { p.Prefix = netip.Prefix{} },
		"IPv4":                  func(p *PrefixInformation) { p.Prefix = netip.MustParsePrefix("192.0.2.0/24") },
	} {
		b := newBench(t)
		b.do(Carrier{true})
		ra := advertise(routerA, prefixA)
		change(&ra.Prefixes[0])
		b.do(ra)
		if b.careOf().IsValid() {
			t.Errorf("%s: care-of address %v", name, b.careOf())
		}
	}
}

func TestRFC4861_6_3_4_OnLinkFlag(t *testing.T) {
	b := newBench(t)
	b.attach()
	ra := advertise(routerA, prefixA)
	ra.Prefixes[0].OnLink = false
	b.do(ra)
	if on := b.m.Attachment().OnLink; !slices.Equal(on, []netip.Prefix{prefixA}) {
		t.Errorf("on-link %v: L=0 says nothing", on)
	}
	ra.Prefixes[0].OnLink, ra.Prefixes[0].Valid, ra.Prefixes[0].Preferred = true, 0, 0
	out := b.do(ra)
	if len(last[SetOnLink](t, out).Prefixes) != 0 || len(b.m.Attachment().OnLink) != 0 {
		t.Errorf("on-link %v after a lifetime of zero", b.m.Attachment().OnLink)
	}
}

func TestRFC4862_5_5_4_PrefersThenExpires(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	ra := advertise(routerA, prefixA, prefixB)
	ra.Lifetime = 9000 * time.Second
	ra.Prefixes[0].Valid, ra.Prefixes[0].Preferred = 2*time.Hour, 10*time.Minute
	ra.Prefixes[1].Valid, ra.Prefixes[1].Preferred = 90*time.Minute, 30*time.Minute
	b.do(ra)
	if !prefixA.Contains(b.careOf()) {
		t.Fatalf("care-of address %v, want the longer lived", b.careOf())
	}
	b.run(10 * time.Minute)
	if !prefixB.Contains(b.careOf()) {
		t.Errorf("care-of address %v when the other is deprecated", b.careOf())
	}
	b.run(50 * time.Minute)
	if !prefixB.Contains(b.careOf()) {
		t.Errorf("care-of address %v when both are deprecated, want the one in use", b.careOf())
	}
	out := b.run(30 * time.Minute)
	if !prefixA.Contains(b.careOf()) || !prefixB.Contains(last[RemoveAddress](t, out).Address) {
		t.Errorf("care-of address %v when the other is invalid", b.careOf())
	}
	b.run(30 * time.Minute)
	if b.careOf().IsValid() || len(b.m.prefixes) != 0 {
		t.Errorf("care-of address %v when none is valid", b.careOf())
	}
}

func TestAddressEndsBeforeItsPrefixLeavesTheLink(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	b.advertiseLifetimes(10*time.Minute, 10*time.Minute)
	address := b.careOf()
	ra := advertise(routerA, prefixA)
	ra.Prefixes[0].Autonomous, ra.Prefixes[0].Valid = false, time.Hour
	b.do(ra)
	out := b.run(10 * time.Minute)
	if b.careOf().IsValid() || last[RemoveAddress](t, out).Address != address {
		t.Errorf("care-of address %v after its valid lifetime", b.careOf())
	}
	if on := b.m.Attachment().OnLink; !slices.Equal(on, []netip.Prefix{prefixA}) {
		t.Errorf("on-link %v", on)
	}
}

func TestAttachmentFollowsLifetimeInSteps(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	handed := 0
	for range 1000 {
		b.advertiseLifetimes(time.Hour, time.Hour)
		handed += len(effectsOf[Attach](b.out))
		b.now = b.now.Add(10 * time.Second)
	}
	// An hour is told again whenever a quarter of it has passed: 10,000 s / 900 s.
	if handed < 10 || handed > 13 {
		t.Errorf("handed over %d times in 10,000 s", handed)
	}
	if left := b.m.Attachment().CareOfUntil.Sub(b.now); left < 2600*time.Second {
		t.Errorf("%v left by the attachment", left)
	}
}
