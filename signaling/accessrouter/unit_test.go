package accessrouter

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

func TestConfigCheck(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"":                          func(*Config) {},
		"no unicast routable":       func(c *Config) { c.Address = netip.MustParseAddr("ff02::1") },
		"either a central":          func(c *Config) { c.Database = netip.Addr{} },
		"mobility anchor":           func(c *Config) { c.LocalMobilityAnchor = lma },
		"no security association":   func(c *Config) { c.SPI = 9 },
		"peer 2001:db8:1::1":        func(c *Config) { c.Peers = append(c.Peers, Peer{Address: maar(1)}) },
		"peer 2001:db8:2::1: there": func(c *Config) { c.Peers[0].SPI = 9 },
		"needs a prefix pool":       func(c *Config) { c.Pools = nil },
		"overlap":                   func(c *Config) { c.Pools = append(c.Pools, netip.MustParsePrefix("2001:db8:a1:100::/56")) },
		"at most 64 bits":           func(c *Config) { c.Pools = []netip.Prefix{netip.MustParsePrefix("2001:db8::/65")} },
		"local prefix":              func(c *Config) { c.LocalPrefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} },
		"no individual":             func(c *Config) { c.Nodes = []Node{{}} },
		"or another's":              func(c *Config) { c.Nodes = []Node{{LinkLayer: host, Prefix: netip.MustParsePrefix("2001:db8::/48")}} },
		"is too long or another's":  func(c *Config) { c.Nodes = []Node{{LinkLayer: host, Identifier: strings.Repeat("x", 254)}} },
		"lifetime 1s":               func(c *Config) { c.Lifetime = time.Second },
		"preferred lifetime":        func(c *Config) { c.ValidLifetime, c.PreferredLifetime = time.Minute, time.Hour },
		"router lifetime":           func(c *Config) { c.RouterLifetime = 3 * time.Hour },
		"may not be below 0":        func(c *Config) { c.Quarantine = -1 },
		"at least one mobile node":  func(c *Config) { c.MaxNodes = -1 },
		"unknown ordering":          func(c *Config) { c.Ordering = 9 },
	} {
		c := configOf(1, 3)
		change(&c)
		err := c.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", want, err)
		}
		if m, err := New(c, noon); (m != nil) != (want == "") {
			t.Errorf("New with %q: %v", want, err)
		}
	}
}

func TestOwnInterfaceIsLocallyAdministeredAndStays(t *testing.T) {
	m := alone(t).m
	linkLocal, linkLayer := m.ownInterface(mnID)
	// Made without this project, by
	//
	//	hmac.new(bytes([1]+[0]*31), bytes([0,0,0,4]) + b"dlif" + bytes([5, 0,0,0,0, 2,0,0,0,0,0x11]), hashlib.sha256)
	//
	// of which octets 0 to 7 are the interface identifier and 8 to 13, 04:e4:..., the link-layer address but for two bits.
	if linkLocal.String() != "fe80::c830:6714:4349:d596" || linkLayer.String() != "06:e4:15:c4:da:95" {
		t.Errorf("%v, %v", linkLocal, linkLayer)
	}
	seen := make(map[netip.Addr]bool)
	for n := range 1000 {
		a, l := m.ownInterface(identity{mh.IdentifierNAI, string(rune(n))})
		if !a.IsLinkLocalUnicast() || seen[a] || l[0]&3 != 2 {
			t.Fatalf("%v, %v", a, l)
		}
		seen[a] = true
	}
	other := alone(t, func(c *Config) { c.Secret[0]++ }).m
	if a, _ := other.ownInterface(mnID); a == linkLocal {
		t.Error("another secret makes the same identity")
	}
}

// TestPoolAgainstOracle gives prefixes out and takes them back at random, beside a list that is looked through.
func TestPoolAgainstOracle(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c := Config{
		Pools:      []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/61"), netip.MustParsePrefix("2001:db8:b::/62")},
		Quarantine: time.Minute, PrefixMemory: time.Hour, MaxNodes: 100,
	}
	p := newPool(&c)
	type lease struct {
		prefix   netip.Prefix
		released time.Time
	}
	held := make(map[identity]lease)
	now, size := noon, 8+4
	for range 20000 {
		now = now.Add(time.Duration(random.Int64N(int64(10 * time.Second))))
		id := identity{mh.IdentifierNAI, string(rune('a' + random.IntN(20)))}
		had, ok := held[id]
		if ok && had.released.IsZero() {
			p.release(now, had.prefix)
			held[id] = lease{had.prefix, now}
			continue
		}
		blocked := 0
		for other, l := range held {
			if other != id && (l.released.IsZero() || now.Sub(l.released) < c.Quarantine) {
				blocked++
			}
		}
		prefix, got := p.take(now, id, netip.Prefix{})
		if want := blocked < size; got != want {
			t.Fatalf("%d of %d are taken: %v, %v", blocked, size, prefix, got)
		}
		if !got {
			continue
		}
		if prefix.Bits() != 64 || !p.covers(prefix.Addr()) {
			t.Fatalf("%v is in no pool", prefix)
		}
		for other, l := range held {
			if other == id || l.prefix != prefix {
				continue
			}
			if l.released.IsZero() || now.Sub(l.released) < c.Quarantine {
				t.Fatalf("%v is %v's", prefix, other)
			}
			delete(held, other)
		}
		if ok && now.Sub(had.released) < c.Quarantine && prefix != had.prefix {
			t.Fatalf("%v had %v, and now %v", id, had.prefix, prefix)
		}
		held[id] = lease{prefix: prefix}
		if random.IntN(50) == 0 {
			for _, gone := range p.forget(now) {
				for other, l := range held {
					if l.prefix == gone && (l.released.IsZero() || now.Sub(l.released) < c.PrefixMemory) {
						t.Fatalf("%v of %v is forgotten", gone, other)
					}
				}
			}
		}
	}
}

func TestPrefixIsTheSameAfterALossOfMemory(t *testing.T) {
	a, prefix := served(t)
	b, again := served(t)
	if prefix != again || a == b {
		t.Errorf("%v, then %v", prefix, again)
	}
}

func TestRecordGolden(t *testing.T) {
	r := record{
		prefix: netip.MustParsePrefix("2001:db8:a1:1::/64"), preferred: true, linkLayer: host, tunnel: maar(2),
		expires: noon, id: identity{mh.IdentifierNAI, "mn"}, link: "radio",
	}
	const want = "0101" + "020000000011" + "20010db8000200000000000000000001" + "0000000000000000" + "0000019ca9450a00" +
		"01" + "026d6e" + "05726164696f"
	if got := hex.EncodeToString(r.append()); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	if k := hex.EncodeToString(recordKey(r.prefix)); k != "20010db800a10001000000000000000040" {
		t.Errorf("key %s", k)
	}
}

func TestUpdateSentBeforeTheRegistrationIsOutdated(t *testing.T) {
	s := alone(t)
	u := one[*mh.BindingUpdate](s, s.attach())
	own, _ := mh.Find[*mh.AnchoredPrefix](u.Options)
	s.now = s.now.Add(5 * time.Millisecond)
	e := s.from(cmd, noticeOf(1, maar(2), own.Prefix), s.m.association, cmd, mh.NTPTimeOf(noon.Add(-time.Millisecond)))
	s.silent(e)
	if len(of[signaling.Bind](e)) != 0 || s.m.Counters().Discarded.Outdated != 1 || s.state().State != "attaching" {
		t.Errorf("%v, %s", e, s.state().State)
	}
}

// TestUpdateAndAcknowledgementThatCross has the CMD's word that another serves arrive between the registration and its
// acceptance. Only the CMD knows which was last, and is asked by a clean-up of nothing.
func TestUpdateAndAcknowledgementThatCross(t *testing.T) {
	for _, last := range []bool{true, false} {
		s := alone(t)
		u := one[*mh.BindingUpdate](s, s.attach())
		own, _ := mh.Find[*mh.AnchoredPrefix](u.Options)
		s.now = s.now.Add(5 * time.Millisecond)
		s.notice(maar(2), own.Prefix)
		if s.state().State != "previous" {
			t.Fatalf("state %s", s.state().State)
		}
		p := one[*mh.BindingUpdate](s, s.acknowledge(u, mh.StatusAccepted))
		if o, ok := mh.Find[*mh.PreviousMAAR](p.Options); !ok || p.Lifetime != 0 || o.Address != maar(2) {
			t.Errorf("PBU %+v", p)
		}
		if last {
			e := s.acknowledge(p, mh.StatusAccepted)
			if b := of[signaling.BindAttached](e); len(b) != 1 || b[0].Remote.IsValid() || s.state().State != "attaching" {
				t.Errorf("bound %+v, %s", b, s.state().State)
			}
			continue
		}
		if e := s.acknowledge(p, mh.StatusGatewayNotAuthorized); len(of[signaling.Unbind](e)) != 0 || s.state().State != "previous" {
			t.Errorf("%v, %s", e, s.state().State)
		}
		s.silent(s.after(time.Hour))
	}
}

func TestCameForAMomentAndWentBeforeTheDatabaseKnew(t *testing.T) {
	s, prefix := served(t)
	s.notice(maar(2), prefix)
	s.attach()
	e := s.handle(signaling.MobileNodeDetached{Link: "radio", LinkLayer: host})
	if b := of[signaling.Bind](e); len(b) != 1 || b[0].Remote != maar(2) || s.state().State != "previous" {
		t.Errorf("bound %+v, %s", b, s.state().State)
	}
	// The CMD may have heard of it all the same: it is asked in the end.
	s.silent(s.after(DefaultLifetime - time.Millisecond))
	u := one[*mh.BindingUpdate](s, s.after(time.Millisecond))
	if u.Lifetime != 0 {
		t.Errorf("PBU %+v", u)
	}
	if s.acknowledge(u, mh.StatusGatewayNotAuthorized); s.state().State != "previous" {
		t.Errorf("state %s", s.state().State)
	}
	s.silent(s.after(24 * time.Hour))
}

func BenchmarkRegistration(b *testing.B) {
	s := alone(b)
	n := uint32(0)
	for b.Loop() {
		n++
		mac := signaling.LinkLayerAddress{2, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
		if len(s.m.sessions) > DefaultMaxNodes-2 {
			s = alone(b)
		}
		for _, e := range s.handle(signaling.MobileNodeAttached{Link: "radio", LinkLayer: mac}) {
			if send, ok := e.(signaling.Send); ok {
				m, _ := mh.Parse(send.Payload)
				u := m.(*mh.BindingUpdate)
				stamp, _ := auth.Timestamp(u.Options)
				s.from(cmd, answer(u, 0), s.m.association, maar(1), stamp)
			}
		}
	}
}
