package movement

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func newKeeper(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, func(c *Config) { c.KeepCareOf = true })
	b.do(Carrier{true})
	b.do(anchored(routerA, prefixA))
	b.wantAttached(routerA, prefixA)
	return b
}

func TestKeepsTheCareOfAddressAcrossLinks(t *testing.T) {
	for name, order := range map[string][]RouterAdvertisement{
		"new first":    {anchored(routerB, prefixB), deprecated(routerA, prefixA)},
		"former first": {deprecated(routerA, prefixA), anchored(routerB, prefixB)},
	} {
		t.Run(name, func(t *testing.T) {
			b := newKeeper(t)
			kept := b.careOf()
			b.move()
			var all []Effect
			for range 3 {
				for _, ra := range order {
					all = append(all, b.do(ra)...)
					all = append(all, b.run(300*time.Millisecond)...)
				}
			}
			all = append(all, b.run(20*time.Minute)...)
			if list := careOfs(all); !slices.Equal(list, []netip.Addr{kept}) {
				t.Errorf("care-of addresses %v, want %v all the time", list, kept)
			}
			b.wantAttached(routerA, prefixA)
			if r := effectsOf[RemoveAddress](all); slices.ContainsFunc(r, func(r RemoveAddress) bool { return r.Address == kept }) {
				t.Errorf("removed %v", r)
			}
		})
	}
}

func TestKeepsTheCareOfAddressWhenItsRouterAnswers(t *testing.T) {
	b := newKeeper(t)
	b.move()
	out := b.do(anchored(routerB, prefixB))
	if p := effectsOf[ProbeRouter](out); len(p) != 1 || p[0].Router != routerA || b.careOf().IsValid() {
		t.Errorf("probes %v, attached %+v", p, b.m.Attachment())
	}
	b.do(RouterReachable{routerA})
	b.wantAttached(routerA, prefixA)
}

func TestTakesTheNewAddressWhenTheKeptOneIsNotHeard(t *testing.T) {
	b := newKeeper(t)
	kept := b.careOf()
	b.move()
	b.do(anchored(routerB, prefixB))
	b.run(keepTime - time.Millisecond)
	if b.careOf().IsValid() {
		t.Errorf("attached %+v before its time", b.m.Attachment())
	}
	out := b.run(time.Millisecond)
	b.wantAttached(routerB, prefixB)
	if r := effectsOf[RemoveAddress](out); len(r) != 1 || r[0].Address != kept {
		t.Errorf("removed %v, want %v", r, kept)
	}
	// From here on this one is kept.
	b.move()
	b.do(deprecated(routerB, prefixB))
	b.do(anchored(routerA, prefixA))
	b.wantAttached(routerB, prefixB)
}

func TestTakesTheNewAddressWhenTheKeptOneGoes(t *testing.T) {
	withdrawn := deprecated(routerA, prefixA)
	withdrawn.Lifetime, withdrawn.Prefixes[0].Valid = 0, 0
	for name, end := range map[string]Event{
		"its router is lost":        RouterUnreachable{routerA},
		"its router is none":        withdrawn,
		"another node holds it":     nil, // below
		"its prefix is not renewed": Tick{},
	} {
		t.Run(name, func(t *testing.T) {
			b := newKeeper(t)
			b.move()
			next := anchored(routerB, prefixB)
			next.Lifetime = 9000 * time.Second
			b.do(next)
			b.do(deprecated(routerA, prefixA))
			b.wantAttached(routerA, prefixA)
			switch end.(type) {
			case nil:
				for range maxAddressAttempts {
					b.do(DuplicateFound{b.m.findPrefix(prefixA).address})
				}
			case Tick:
				b.run(30 * time.Minute) // the router's lifetime
			default:
				b.do(end)
			}
			b.wantAttached(routerB, prefixB)
		})
	}
}

func TestKeepsNothingAfterTheOnlyRouterIsLost(t *testing.T) {
	b := newKeeper(t)
	b.do(RouterUnreachable{routerA})
	b.do(anchored(routerB, prefixB))
	b.wantAttached(routerB, prefixB)
}
