package directory

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// raw is a Mobility Header message with a right checksum.
func raw(source, home netip.Addr, payload ...byte) signaling.Received {
	from := source
	if home.IsValid() {
		from = home
	}
	mh.SetChecksum(payload, from, agent)
	return signaling.Received{Source: source, Destination: agent, HomeAddress: home, Payload: payload}
}

func TestOtherTypesAreTheHomeAgents(t *testing.T) {
	w := start(t)
	for _, b := range [][]byte{{59, 0, 99, 0, 0, 0, 0, 0}, {59, 0, 5, 0, 0, 0, 0, 0}, {59, 0}, nil} {
		r := signaling.Received{Source: careOf, Destination: agent, Payload: b}
		if e := w.handle(r); len(e) != 0 {
			t.Errorf("%x: %v", b, e)
		}
	}
	for _, e := range []signaling.Event{signaling.Tick{}, signaling.Shutdown{}, signaling.ReceivedICMP{}} {
		if e := w.handle(e); len(e) != 0 {
			t.Errorf("%v", e)
		}
	}
	if d := w.m.Counters().Discarded; d != (Discarded{}) {
		t.Errorf("%+v", d)
	}
}

// Another experiment gets the answer to an unknown MH Type (RFC 6275 section 9.2), with the home address of its option.
func TestAnotherMagicIsAnUnknownType(t *testing.T) {
	w := start(t)
	hoa := netip.MustParseAddr("2001:db8:1::7")
	for _, home := range []netip.Addr{{}, hoa} {
		for _, b := range [][]byte{
			{59, 0, 11, 0, 0, 0, 1, 0},
			{59, 1, 11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x44, 0x4d, 0x76, 0x32},
		} {
			sends := of[signaling.Send](w.handle(raw(careOf, home, b...)))
			if len(sends) != 1 || sends[0].Destination != careOf || !mh.ChecksumValid(sends[0].Payload, agent, careOf) {
				t.Fatalf("%x: %v", b, sends)
			}
			m, err := mh.Parse(sends[0].Payload)
			want := netip.IPv6Unspecified()
			if home.IsValid() {
				want = home
			}
			if e, ok := m.(*mh.BindingError); err != nil || !ok || e.Status != mh.UnrecognizedType || e.HomeAddress != want {
				t.Errorf("%x: %+v, %v", b, m, err)
			}
		}
	}
	if c := w.m.Counters(); c.Discarded.UnknownType != 4 || c.BindingErrors != 4 {
		t.Errorf("%+v", c)
	}
	n := 0
	for range 5000 {
		n += len(w.after(time.Millisecond).handle(raw(careOf, netip.Addr{}, 59, 0, 11, 0, 0, 0, 1, 0)))
	}
	if n < 55 || n > 60 {
		t.Errorf("%d in 5 s, want 10 a second after a burst", n)
	}
	for _, source := range []string{"::", "ff02::1", "::1"} {
		w.after(time.Second)
		if e := w.handle(raw(netip.MustParseAddr(source), netip.Addr{}, 59, 0, 11, 0, 0, 0, 1, 0)); len(e) != 0 {
			t.Errorf("%s gets %v", source, e)
		}
	}
}

func TestMalformedMessages(t *testing.T) {
	w := start(t)
	good := received(t, query("2001:db8:a::5"), mnKey, careOf, noon)
	bad := good
	bad.Payload = append([]byte(nil), good.Payload...)
	bad.Payload[4] ^= 1
	if e := w.handle(bad); len(e) != 0 || w.m.Counters().Discarded.BadChecksum != 1 {
		t.Errorf("bad checksum: %v", e)
	}
	// Each truncation whose Header Len and checksum agree is dropped, or says less than the whole.
	for n := 16; n < len(good.Payload); n += 8 {
		b := append([]byte(nil), good.Payload[:n]...)
		b[1] = byte(n/8 - 1)
		w.handle(raw(careOf, netip.Addr{}, b...)).silent(t)
	}
	if e := w.handle(raw(careOf, netip.Addr{}, 58, 1, 11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x44, 0x4d, 0x76, 0x31)); len(of[signaling.SendParameterProblem](e)) != 1 || w.m.Counters().ParameterProblems != 1 {
		t.Errorf("Payload Proto: %v", e)
	}
	for name, change := range map[string]func(*signaling.Received){
		"home address option":   func(r *signaling.Received) { r.HomeAddress = careOf },
		"type 2 routing header": func(r *signaling.Received) { r.RoutingHome = agent },
	} {
		r := good
		change(&r)
		before := w.m.Counters().Discarded.BadAddresses
		if e := w.handle(r); len(e) != 0 || w.m.Counters().Discarded.BadAddresses != before+1 {
			t.Errorf("%s: %v", name, e)
		}
	}
	other := received(t, query("2001:db8:a::5"), mnKey, careOf, noon)
	other.Destination = agent.Next()
	mh.SetChecksum(other.Payload, careOf, other.Destination)
	w.handle(other).silent(t)
	w.handle(received(t, query("2001:db8:a::5"), mnKey, careOf, noon)).status(t, mnKey, mh.StatusNoDHPKnown)
}

func TestConfigCheck(t *testing.T) {
	good := config()
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"home agent address":                func(c *Config) { c.Address = netip.Addr{} },
		"ticket lifetime 1s":                func(c *Config) { c.TicketLifetime = time.Second },
		"ticket lifetime 100h":              func(c *Config) { c.TicketLifetime = 100 * time.Hour },
		"DHP address fe80::1":               func(c *Config) { c.Proxies[0].Address = netip.MustParseAddr("fe80::1") },
		"another's, or the home agent's":    func(c *Config) { c.Proxies[0].Address = agent },
		"DHP address 2001:db8:d1::1 is":     func(c *Config) { c.Proxies[1].Address = dhp1 },
		"DHP 2001:db8:d2::1: SPI 2001 is":   func(c *Config) { c.Proxies[1].SPI = 2001 },
		"names no key of 32 octets":         func(c *Config) { c.Proxies[0].SPI = 1000; c.MobileNodes = nil },
		"no prefix that it may advertise":   func(c *Config) { c.Proxies[0].Coverage = nil },
		"is not an IPv6 prefix":             func(c *Config) { c.Proxies[0].Coverage = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} },
		"mobile node 1 has no identifier":   func(c *Config) { c.MobileNodes[0].Identifier = "" },
		"no security association with SPI":  func(c *Config) { c.MobileNodes[0].SPI = 4711 },
		"mobile node mn@example.net: SPI 2": func(c *Config) { c.MobileNodes[0].SPI = 2001 },
	} {
		c := config()
		change(&c)
		if _, err := New(c, noon); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// FuzzHandle checks that nothing that arrives makes the directory panic, and that nobody who has not authenticated gets more
// octets than it sent or changes what is listed.
func FuzzHandle(f *testing.F) {
	signed := func(d *mh.DMIPv6, a auth.Association, source netip.Addr) []byte {
		return received(f, d, a, source, noon).Payload
	}
	f.Add(signed(query("2001:db8:a::5", "2001:db8:b::5"), mnKey, careOf), true)
	f.Add(signed(query("2001:db8:a::5"), forged(mnKey), careOf), true)
	f.Add(signed(advertisement(dhp1, near("2001:db8:a::/48")), kd1, dhp1), false)
	f.Add(signed(advertisement(dhp1, near("2001:db8:a::/48")), forged(kd1), dhp1), false)
	for s := range mh.Subtype(8) {
		f.Add(signed(&mh.DMIPv6{Subtype: s, Options: mh.Options{
			&mh.DHoA{Prefix: netip.MustParsePrefix("::/64")}, &mh.KeyTicket{Expiry: noon}, &mh.ExperimentalOption{Data: []byte{9, 0}},
		}}, mnKey, careOf), true)
	}
	f.Add([]byte{59, 0, 11, 0, 0, 0, 1, 0}, true)
	f.Fuzz(func(t *testing.T, payload []byte, mobile bool) {
		w := start(t)
		w.advertise(kd2, dhp2, near("2001:db8:b::/48"))
		source := dhp1
		if mobile {
			source = careOf
		}
		r := signaling.Received{Source: source, Destination: agent, Payload: append([]byte(nil), payload...)}
		if len(payload) >= 8 && len(payload) <= 2048 {
			mh.SetChecksum(r.Payload, source, agent)
		}
		e := w.handle(r)
		sends := of[signaling.Send](e)
		if len(sends) > 1 {
			t.Fatalf("%d messages", len(sends))
		}
		accepted := false
		for _, s := range sends {
			m, err := mh.Parse(s.Payload)
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *mh.BindingError:
				if len(s.Payload) > 24 {
					t.Errorf("Binding Error of %d octets", len(s.Payload))
				}
			case *mh.DMIPv6:
				accepted = m.Status.Accepted()
				if m.Status == mh.StatusAuthenticationFailure && len(s.Payload) > len(payload) {
					t.Errorf("%d octets answer %d", len(s.Payload), len(payload))
				}
			}
		}
		if n := len(w.m.Entries(w.now)); n != 1 && !accepted {
			t.Errorf("%d entries", n)
		}
		// In a datagram, nothing but answers to what is authentic may be longer.
		for _, e := range start(t).handle(inDatagram(r)) {
			switch e := e.(type) {
			case signaling.SendParameterProblem:
				t.Error("Parameter Problem")
			case signaling.Send:
				m, err := mh.Parse(e.Payload)
				if err != nil {
					t.Fatal(err)
				}
				d, ok := m.(*mh.DMIPv6)
				if len(e.Payload) > len(payload) && (!ok || d.Status == mh.StatusAuthenticationFailure) || e.Outer != outer {
					t.Errorf("%d octets answer %d: %+v", len(e.Payload), len(payload), e)
				}
			}
		}
	})
}
