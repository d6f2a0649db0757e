package movement

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// deprecated is a router advertisement of an anchor that the node came by earlier: its prefix is still valid, but not for
// what is new.
func deprecated(router netip.Addr, p netip.Prefix) RouterAdvertisement {
	ra := advertise(router, p)
	ra.Preference = -1
	ra.Prefixes[0].OnLink, ra.Prefixes[0].Preferred = false, 0
	return ra
}

func anchored(router netip.Addr, p netip.Prefix) RouterAdvertisement {
	ra := advertise(router, p)
	ra.Prefixes[0].OnLink = false
	return ra
}

// move has the link change below.
func (b *bench) move() {
	b.now = b.now.Add(10 * time.Second)
	b.do(Carrier{false})
	b.now = b.now.Add(2 * time.Millisecond)
	b.do(Carrier{true})
	b.now = b.now.Add(30 * time.Millisecond)
}

// careOfs are the care-of addresses of all attachments, each change once.
func careOfs(all []Effect) []netip.Addr {
	var list []netip.Addr
	for _, a := range effectsOf[Attach](all) {
		if len(list) == 0 || list[len(list)-1] != a.CareOf {
			list = append(list, a.CareOf)
		}
	}
	return list
}

func (b *bench) wantAttached(router netip.Addr, p netip.Prefix) {
	b.t.Helper()
	if a := b.m.Attachment(); a.Router != router || !p.Contains(a.CareOf) {
		b.t.Errorf("attached with %v by %v, want an address of %v by %v", a.CareOf, a.Router, p, router)
	}
}

// The order in which the two routers are heard does not matter, nor how often.
func TestRFC8885_DeprecatedPrefixOfFormerAnchorDoesNotFlap(t *testing.T) {
	for name, order := range map[string][]RouterAdvertisement{
		"new first":    {anchored(routerB, prefixB), deprecated(routerA, prefixA)},
		"former first": {deprecated(routerA, prefixA), anchored(routerB, prefixB)},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.do(Carrier{true})
			b.do(anchored(routerA, prefixA))
			former := b.careOf()
			b.move()
			var all []Effect
			for range 5 {
				for _, ra := range order {
					all = append(all, b.do(ra)...)
					b.now = b.now.Add(250 * time.Millisecond)
				}
			}
			b.wantAttached(routerB, prefixB)
			list := careOfs(all)
			if name == "former first" && len(list) > 0 && list[0] == former {
				list = list[1:] // the only one known then
			}
			if len(list) != 1 || !prefixB.Contains(list[0]) {
				t.Errorf("care-of addresses one after the other: %v", list)
			}
			held := b.m.findPrefix(prefixA)
			if held == nil || held.address != former || !held.usable() {
				t.Errorf("of the former address %v is kept %+v", former, held)
			}
		})
	}
}

func TestRFC6275_11_5_4_FormerAddressIsKeptWhileItIsValid(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	b.do(anchored(routerA, prefixA))
	former := b.careOf()
	b.move()
	ra := deprecated(routerA, prefixA)
	ra.Prefixes[0].Valid = 10 * time.Minute // no less than two hours are believed (RFC 4862 section 5.5.3 e), if it was known
	ra.Lifetime = 9000 * time.Second
	next := anchored(routerB, prefixB)
	next.Lifetime = 9000 * time.Second
	b.do(next)
	b.do(ra)
	if r := effectsOf[RemoveAddress](b.run(10*time.Minute - time.Second)); len(r) != 0 {
		t.Errorf("removed %v", r)
	}
	if r := effectsOf[RemoveAddress](b.run(time.Second)); len(r) != 1 || r[0].Address != former {
		t.Errorf("removed %v at its end, want %v", r, former)
	}
	b.wantAttached(routerB, prefixB)
}

func TestFormerAddressGoesWithItsRouter(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	b.do(anchored(routerB, prefixB))
	b.do(deprecated(routerA, prefixA))
	former := b.m.findPrefix(prefixA).address
	gone := deprecated(routerA, prefixA)
	gone.Lifetime, gone.Prefixes[0].Valid = 0, 0
	if r := effectsOf[RemoveAddress](b.do(gone)); len(r) != 1 || r[0].Address != former {
		t.Errorf("removed %v when its router is none any more, want %v", r, former)
	}
	b.wantAttached(routerB, prefixB)
}

func TestDeprecatedAddressIsUsedIfThereIsNothingBetter(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	b.do(deprecated(routerA, prefixA))
	b.wantAttached(routerA, prefixA)
	b.do(anchored(routerB, prefixB))
	b.wantAttached(routerB, prefixB)
	b.do(RouterUnreachable{routerB})
	b.wantAttached(routerA, prefixA)
	b.do(anchored(routerB, prefixB))
	b.wantAttached(routerB, prefixB)
}

func TestReturnToAFormerAnchor(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	b.do(anchored(routerA, prefixA))
	first := b.careOf()
	b.move()
	b.do(anchored(routerB, prefixB))
	b.do(deprecated(routerA, prefixA))
	b.move()
	out := b.do(anchored(routerA, prefixA))
	b.now = b.now.Add(100 * time.Millisecond)
	out = append(out, b.do(deprecated(routerB, prefixB))...)
	if list := careOfs(out); !slices.Equal(list, []netip.Addr{first}) {
		t.Errorf("care-of addresses %v, want %v at once", list, first)
	}
	if p := b.m.findPrefix(prefixB); p == nil || !p.usable() {
		t.Error("the address of the anchor in between is not kept")
	}
}

func TestLeavingTheDomainDropsItsAddresses(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	b.do(anchored(routerB, prefixB))
	b.do(deprecated(routerA, prefixA))
	b.move()
	elsewhere := netip.MustParsePrefix("2001:db8:c::/64")
	out := b.do(advertise(netip.MustParseAddr("fe80::c"), elsewhere))
	b.wantAttached(netip.MustParseAddr("fe80::c"), elsewhere)
	if n := len(effectsOf[RemoveAddress](out)); n != 2 || len(b.m.prefixes) != 1 || len(b.m.routers) != 1 {
		t.Errorf("%d addresses removed, %d prefixes and %d routers left", n, len(b.m.prefixes), len(b.m.routers))
	}
}

// Two ordinary routers on one link: the first keeps the node, from the first second on.
func TestEqualRoutersDoNotFlap(t *testing.T) {
	b := newBench(t)
	b.do(Carrier{true})
	var all []Effect
	for range 20 {
		all = append(all, b.do(advertise(routerA, prefixA))...)
		b.now = b.now.Add(30 * time.Millisecond)
		all = append(all, b.do(advertise(routerB, prefixB))...)
		b.now = b.now.Add(30 * time.Millisecond)
	}
	if list := careOfs(all); len(list) != 1 {
		t.Errorf("care-of addresses one after the other: %v", list)
	}
	b.wantAttached(routerA, prefixA)
}

func TestRFC4191_RouterPreference(t *testing.T) {
	for _, c := range []struct {
		a, b int
		want netip.Addr
	}{{0, 0, routerA}, {0, 1, routerB}, {-1, 0, routerB}, {1, 0, routerA}, {0, -1, routerA}} {
		b := newBench(t)
		b.do(Carrier{true})
		x, y := advertise(routerA, prefixA), advertise(routerB, prefixB)
		x.Preference, y.Preference = c.a, c.b
		b.do(x)
		b.now = b.now.Add(time.Minute)
		b.do(y)
		if a := b.m.Attachment(); a.Router != c.want {
			t.Errorf("preferences %d and %d: by %v", c.a, c.b, a.Router)
		}
	}
	// A deprecated prefix is not made better by it.
	b := newBench(t)
	b.do(Carrier{true})
	b.do(advertise(routerA, prefixA))
	ra := deprecated(routerB, prefixB)
	ra.Preference = 1
	b.do(ra)
	b.wantAttached(routerA, prefixA)
}
