package movement

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kedge/signaling"
)

// epoch is when tests begin.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

var (
	routerA = netip.MustParseAddr("fe80::a")
	routerB = netip.MustParseAddr("fe80::b")
	prefixA = netip.MustParsePrefix("2001:db8:a::/64")
	prefixB = netip.MustParsePrefix("2001:db8:b::/64")
)

// bench drives one machine in virtual time and keeps what it returned last.
type bench struct {
	t   *testing.T
	m   *Machine
	now time.Time
	// out is what the last event returned.
	out []Effect
}

func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	cfg := Config{Uplink: "eth0", Secret: []byte("0123456789abcdef"), Autoconfigure: true, Preference: 3, MTU: 1500}
	for _, f := range change {
		f(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, m: m, now: epoch}
}

func (b *bench) do(e Event) []Effect {
	b.out = b.m.Handle(b.now, e)
	return b.out
}

// run ticks the machine whenever it asks for it until d has passed, and returns all that it did.
func (b *bench) run(d time.Duration) []Effect {
	b.t.Helper()
	end := b.now.Add(d)
	var all []Effect
	for steps := 0; ; steps++ {
		if steps > 10000 {
			b.t.Fatal("the machine asks for ticks without end")
		}
		next := b.m.Next()
		if next.IsZero() || next.After(end) {
			b.now = end
			b.out = all
			return all
		}
		if next.After(b.now) {
			b.now = next
		}
		all = append(all, b.do(Tick{})...)
	}
}

// effectsOf picks the effects of one type.
func effectsOf[E Effect](all []Effect) []E {
	var list []E
	for _, e := range all {
		if x, ok := e.(E); ok {
			list = append(list, x)
		}
	}
	return list
}

func last[E Effect](t *testing.T, all []Effect) E {
	t.Helper()
	list := effectsOf[E](all)
	if len(list) == 0 {
		var e E
		t.Fatalf("no %T in %v", e, names(all))
	}
	return list[len(list)-1]
}

func names(all []Effect) string {
	var s []string
	for _, e := range all {
		s = append(s, fmt.Sprintf("%T%+v", e, e))
	}
	return strings.Join(s, "\n")
}

func kinds(all []Effect) []signaling.ReportKind {
	var list []signaling.ReportKind
	for _, r := range effectsOf[Report](all) {
		list = append(list, r.Kind)
	}
	return list
}

func (b *bench) careOf() netip.Addr { return b.m.Attachment().CareOf }

// advertise is a router advertisement as the lab's routers send it.
func advertise(router netip.Addr, prefixes ...netip.Prefix) RouterAdvertisement {
	ra := RouterAdvertisement{Router: router, LinkLayerKnown: true, Lifetime: 30 * time.Minute}
	for _, p := range prefixes {
		ra.Prefixes = append(ra.Prefixes, PrefixInformation{Prefix: p, OnLink: true, Autonomous: true,
			Valid: 24 * time.Hour, Preferred: 4 * time.Hour, Address: p.Addr()})
	}
	return ra
}

func (b *bench) attach() {
	b.t.Helper()
	b.do(Carrier{true})
	b.do(advertise(routerA, prefixA))
	if !prefixA.Contains(b.careOf()) {
		b.t.Fatalf("care-of address %v after the first advertisement", b.careOf())
	}
}
