package simulation

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/homeproxy"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
	"kedge/signaling/ticket"
)

// TestProxyThatLiesAboutCoverage advertises what its home agent does not allow it: nobody hears of it.
func TestProxyThatLiesAboutCoverage(t *testing.T) {
	const far = 9
	w := online(t, fair(2), func(w *internet) {
		l := w.proxies[1]
		l.stopAnchor()
		l.change = func(c *homeproxy.Config) {
			c.Coverage = []homeproxy.Coverage{{Prefix: region(far)}, {Prefix: netip.MustParsePrefix("::/0")}}
		}
		l.boot()
	})
	m := w.mobiles[0]
	for _, i := range []int{far, 1} {
		if f, d := m.begun(sessionProfile, peerIn(i, 1)); f.address != m.home || d != 2*toAgent {
			t.Errorf("region %d: %v by %v", i, d, f.address)
		}
	}
	if f, _ := m.begun(sessionProfile, peerIn(0, 1)); placeOf(f.address) != placeProxy {
		t.Errorf("the honest DHP's region: %v", f.address)
	}
}

// TestLateProxy has the flow go home in time, and a later one by the address that came late.
func TestLateProxy(t *testing.T) {
	w := online(t, fair(1), func(w *internet) { w.setDelay(placeAccess, placeProxy, 400*time.Millisecond) })
	m := w.mobiles[0]
	f, d := m.begun(sessionProfile, peerIn(0, 1))
	if d != holdTime || f.address != m.home {
		t.Errorf("%v by %v", d, f.address)
	}
	w.run(time.Second)
	if f, d := m.begun(sessionProfile, peerIn(0, 2)); d != 0 || placeOf(f.address) != placeProxy {
		t.Errorf("a second later %v by %v", d, f.address)
	}
}

// TestEverythingThrice has one address lent and one decision made, however often messages come.
func TestEverythingThrice(t *testing.T) {
	c := fair(2)
	c.double, c.jitter = 1, 20*time.Millisecond
	w := online(t, c)
	m := w.mobiles[0]
	for i := range 2 {
		if f, _ := m.begun(sessionProfile, peerIn(i, 1)); placeOf(f.address) != placeProxy+place(i) {
			t.Errorf("region %d: %v", i, f.address)
		}
	}
	w.run(3 * time.Second)
	for i, l := range w.proxies {
		if a := l.leases(); len(a) != 1 || !m.held[a[0]] {
			t.Errorf("DHP %d lends %v", i, a)
		}
	}
	if a := m.role.flows.Anchors(m.time()); len(a) != 2 {
		t.Errorf("addresses %+v", a)
	}
}

// TestProxyThatLendsOthersAddresses is a DHP that owns its keys and lies about what it lends.
func TestProxyThatLendsOthersAddresses(t *testing.T) {
	for name, lent := range map[string]func(*internet, *roamer) netip.Addr{
		"home agent":            func(*internet, *roamer) netip.Addr { return agentAddr },
		"home address":          func(_ *internet, m *roamer) netip.Addr { return m.home },
		"care-of address":       func(_ *internet, m *roamer) netip.Addr { return m.careOf["eth0"] },
		"correspondent":         func(*internet, *roamer) netip.Addr { return peerIn(0, 1) },
		"itself":                func(*internet, *roamer) netip.Addr { return proxyAddress(0) },
		"another DHP":           func(*internet, *roamer) netip.Addr { return proxyAddress(1) },
		"lent by another DHP":   func(w *internet, _ *roamer) netip.Addr { return w.proxies[1].leases()[0] },
		"link-local":            func(*internet, *roamer) netip.Addr { return netip.MustParseAddr("fe80::7") },
		"multicast":             func(*internet, *roamer) netip.Addr { return netip.MustParseAddr("ff0e::7") },
		"loopback":              func(*internet, *roamer) netip.Addr { return netip.IPv6Loopback() },
		"IPv4-mapped":           func(*internet, *roamer) netip.Addr { return netip.MustParseAddr("::ffff:192.0.2.1") },
		"the unspecified":       func(*internet, *roamer) netip.Addr { return netip.IPv6Unspecified() },
		"no address whatsoever": func(*internet, *roamer) netip.Addr { return netip.Addr{} },
	} {
		t.Run(name, func(t *testing.T) {
			w := online(t, fair(2))
			m := w.mobiles[0]
			m.begun(sessionProfile, peerIn(1, 1))
			held := maps.Clone(m.held)
			var expiry time.Time
			w.tap = func(s *signaling.Send) bool {
				if x, ok := parsed(s.Payload).(*mh.DMIPv6); ok && x.Subtype == mh.DHoARequest {
					k, _ := mh.Find[*mh.KeyTicket](x.Options)
					expiry = k.Expiry
				}
				return false
			}
			w.alter = func(r signaling.Received) []signaling.Received {
				x, ok := parsed(r.Payload).(*mh.DMIPv6)
				if !ok || x.Subtype != mh.DHoAResponse {
					return []signaling.Received{r}
				}
				stamp, err := auth.Timestamp(x.Options)
				if err != nil {
					t.Fatal(err)
				}
				id := &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: identifier(0)}
				x.Options = mh.Options{id}
				if a := lent(w, m); a.IsValid() {
					x.Options = append(x.Options, &mh.DHoA{Prefix: netip.PrefixFrom(a, 128)})
				}
				key := auth.Association{SPI: kd(0).SPI, Algorithm: auth.HMACSHA256, Key: ticket.SessionKey(kd(0).Key, proxyAddress(0), expiry, id)}
				if r.Payload, err = auth.Sign(x, key, r.Destination, netip.IPv6Unspecified(), stamp); err != nil {
					t.Fatal(err)
				}
				mh.SetChecksum(r.Payload, r.Source, r.Destination)
				return []signaling.Received{r}
			}
			f, d := m.begun(sessionProfile, peerIn(0, 1))
			if f.address != m.home || d != 2*toAgent+2*toProxy(0) || !maps.Equal(held, m.held) {
				t.Errorf("%v by %v, held %v", d, f.address, m.held)
			}
			if n := m.role.flows.Counters().Unauthentic; n != 0 {
				t.Errorf("%d responses were not even believed", n)
			}
		})
	}
}

// TestExhaustedProxy is told at once, and not asked again for a while.
func TestExhaustedProxy(t *testing.T) {
	c := fair(1)
	c.mobiles = 2
	w := online(t, c, func(w *internet) {
		l := w.proxies[0]
		l.stopAnchor()
		l.change = func(c *homeproxy.Config) { c.MaxBindings = 1 }
		l.boot()
	})
	lucky, m := w.mobiles[0], w.mobiles[1]
	if f, _ := lucky.begun(sessionProfile, peerIn(0, 1)); f.address == lucky.home {
		t.Fatal("the first gets none")
	}
	f, d := m.begun(sessionProfile, peerIn(0, 1))
	if f.address != m.home || d != 2*toAgent+2*toProxy(0) {
		t.Errorf("%v by %v", d, f.address)
	}
	requests := m.role.flows.Counters().RequestsSent
	for i := range 20 {
		if f, d := m.begun(sessionProfile, peerIn(0, i)); f.address != m.home || d != 0 {
			t.Errorf("later %v by %v", d, f.address)
		}
	}
	if n := m.role.flows.Counters().RequestsSent; n != requests {
		t.Errorf("asked %d times more in ten seconds", n-requests)
	}
}

// TestDeadProxyInTheDirectory has the home agent name a dead DHP before a live one: the live one is asked when the first
// does not answer in time.
func TestDeadProxyInTheDirectory(t *testing.T) {
	c := fair(2)
	c.overlap, c.advertised = true, time.Minute
	w := online(t, c, func(w *internet) {
		w.setDelay(placeProxy, placeRegion+1, time.Millisecond)
		w.setDelay(placeProxy+1, placeRegion+1, 30*time.Millisecond)
	})
	m := w.mobiles[0]
	w.proxies[0].stopAnchor()
	f, d := m.begun(sessionProfile, peerIn(1, 1))
	// The first wait is twice the home agent's round trip, as that of the DHP is not known, but no less than 100 ms.
	if want := 2*toAgent + max(4*toAgent, 100*time.Millisecond) + 2*toProxy(1); placeOf(f.address) != placeProxy+1 || d != want {
		t.Errorf("%v by %v, want %v", d, f.address, want)
	}
	if f, d := m.begun(sessionProfile, peerIn(0, 1)); f.address != m.home || d > holdTime {
		t.Errorf("where there is none but the dead one: %v by %v", d, f.address)
	}
	w.run(2 * time.Second)
	if f, d := m.begun(sessionProfile, peerIn(0, 2)); f.address != m.home || d != 0 {
		t.Errorf("once it is known to be dead: %v by %v", d, f.address)
	}
}

// state is what attackers would like to change.
type state struct {
	tunnels []map[netip.Addr]netip.Addr
	held    []map[netip.Addr]bool
	bound   []map[netip.Addr]signaling.Bind
	chosen  []map[choice]netip.Addr
	entries int
}

func (w *internet) state() state {
	s := state{tunnels: []map[netip.Addr]netip.Addr{maps.Clone(w.agent.tunnels)}, entries: len(w.agent.directory.Entries(w.agent.time()))}
	for _, l := range w.proxies {
		s.tunnels = append(s.tunnels, maps.Clone(l.tunnels))
	}
	for _, m := range w.mobiles {
		s.held, s.bound, s.chosen = append(s.held, maps.Clone(m.held)), append(s.bound, maps.Clone(m.bound)), append(s.chosen, maps.Clone(m.chosen))
	}
	return s
}

func (s *state) equal(o *state) bool {
	same := s.entries == o.entries
	for i := range s.tunnels {
		same = same && maps.Equal(s.tunnels[i], o.tunnels[i])
	}
	for i := range s.held {
		same = same && maps.Equal(s.held[i], o.held[i]) && maps.Equal(s.bound[i], o.bound[i]) && maps.Equal(s.chosen[i], o.chosen[i])
	}
	return same
}

// TestReplayedAndForgedMessages plays back all that was said, to whom it was said and to everybody else, as it was and with
// octets changed: nothing comes of it.
func TestReplayedAndForgedMessages(t *testing.T) {
	c := fair(3)
	c.mobiles = 2
	type packet struct {
		signaling.Send
		to netip.Addr
	}
	var heard []packet
	w := newInternet(t, c)
	w.tap = func(s *signaling.Send) bool {
		x := *s
		x.Payload = bytes.Clone(s.Payload)
		heard = append(heard, packet{x, s.Destination})
		return false
	}
	for _, m := range w.mobiles {
		m.attach("eth0", placeAccess)
	}
	w.run(7 * time.Second)
	for _, m := range w.mobiles {
		w.flowsToAll(m)
		m.attach("eth0", placeAccess+1)
		w.run(2 * time.Second)
		m.attach("eth0", placeAccess)
		w.run(2 * time.Second)
		m.begun(sessionProfile, peerIn(7, 1))
	}
	w.run(3 * time.Second)
	w.tap = nil
	if len(heard) < 50 {
		t.Fatalf("only %d messages", len(heard))
	}
	r := rand.New(rand.NewPCG(7, 7))
	everybody := []netip.Addr{agentAddr}
	for _, l := range w.proxies {
		everybody = append(everybody, l.address)
	}
	for _, m := range w.mobiles {
		everybody = append(everybody, m.careOf["eth0"])
	}
	before := w.state()
	play := func(p packet, to netip.Addr) {
		w.receive(signaling.Received{Source: p.Source, Destination: to, HomeAddress: p.HomeAddress, RoutingHome: p.RoutingHome,
			Payload: bytes.Clone(p.Payload)}, to)
		w.run(time.Millisecond)
	}
	check := func(what string, p packet) {
		t.Helper()
		if after := w.state(); !before.equal(&after) {
			t.Fatalf("%s %+v (%T) changes\n%+v\ninto\n%+v", what, p, parsed(p.Payload), before, after)
		}
	}
	for _, p := range heard {
		play(p, p.to)
		check("replay of", p)
		for _, to := range everybody {
			play(p, to)
		}
		check("misdirected replay of", p)
		for range 5 {
			q := p
			q.Payload = bytes.Clone(p.Payload)
			q.Payload[r.IntN(len(q.Payload))] ^= 1 << r.IntN(8)
			from, to := q.Source, p.to
			if q.HomeAddress.IsValid() {
				from = q.HomeAddress
			}
			if q.RoutingHome.IsValid() {
				to = q.RoutingHome
			}
			q.Payload[4], q.Payload[5] = 0, 0
			mh.SetChecksum(q.Payload, from, to)
			play(q, p.to)
			check("forgery of", q)
		}
		// From another place, as a thief of addresses would.
		q := p
		q.Source = placeAccess.address(2, 0x666)
		if q.HomeAddress.IsValid() && !slices.Contains(everybody, q.HomeAddress) {
			play(q, p.to)
			check("theft by", q)
		}
	}
	for i, m := range w.mobiles {
		if n := m.anchorsOn(m.careOf["eth0"]); n != 3 {
			t.Errorf("node %d has %d addresses bound", i, n)
		}
	}
}

// TestTicketsExpire has the home agent away while tickets run out: leases last as long as was granted, and are renewed with
// another ticket when it is back.
func TestTicketsExpire(t *testing.T) {
	c := fair(2)
	c.tickets = time.Minute
	w := online(t, c)
	m := w.mobiles[0]
	flows := w.flowsToAll(m)
	w.agent.stopAnchor()
	w.run(3 * time.Minute)
	for _, f := range flows {
		if f.over || !m.held[f.address] {
			t.Fatalf("flow by %v is over while its lease holds", f.address)
		}
	}
	w.agent.boot()
	w.run(10 * time.Minute)
	for i, f := range flows {
		if f.over || w.proxies[i].tunnels[f.address] != m.careOf["eth0"] {
			t.Errorf("flow by %v: over %v, its DHP has %v", f.address, f.over, w.proxies[i].tunnels[f.address])
		}
	}
	for _, a := range m.role.flows.Anchors(m.time()) {
		if a.TicketExpiry.Before(m.time()) || a.Registration.State != mobilenode.StateRegistered {
			t.Errorf("%v: %q, its ticket is good until %v", a.Address, a.Registration.State, a.TicketExpiry)
		}
	}
	// Without a home agent for good it ends, in good order.
	w.agent.stopAnchor()
	w.run(15 * time.Minute)
	for _, f := range flows {
		if !f.over || m.held[f.address] {
			t.Errorf("flow by %v goes on without a lease", f.address)
		}
	}
}

// TestClocksThatAreWrong has tickets judged by the clocks of those who issue and take them, whatever the mobile node's says.
func TestClocksThatAreWrong(t *testing.T) {
	for _, ahead := range []int64{-86400, -3600, -20, 20, 3600, 86400} {
		w := online(t, fair(1), func(w *internet) {
			w.mobiles[0].clock = ahead
			w.mobiles[0].boot()
		})
		m := w.mobiles[0]
		f, _ := m.begun(sessionProfile, peerIn(0, 1))
		if placeOf(f.address) != placeProxy {
			t.Errorf("%d s ahead: %v", ahead, f.address)
		}
		// Somebody sets it right, and tickets run out meanwhile.
		m.clock = 0
		w.run(2 * time.Hour)
		if f.over || m.anchorsOn(m.careOf["eth0"]) != 1 {
			t.Errorf("%d s ahead and set right: over %v, %+v", ahead, f.over, m.role.flows.Anchors(m.time()))
		}
	}
}

// TestHomeAgentWithoutDMIPv6 has everything stay with the home address, at no cost after the first flow.
func TestHomeAgentWithoutDMIPv6(t *testing.T) {
	w := online(t, fair(1))
	m := w.mobiles[0]
	w.tap = func(s *signaling.Send) bool {
		x, ok := parsed(s.Payload).(*mh.DMIPv6)
		return ok && x.Subtype == mh.DHPQuery
	}
	if f, d := m.begun(sessionProfile, peerIn(0, 1)); f.address != m.home || d > holdTime {
		t.Errorf("%v by %v", d, f.address)
	}
	w.run(5 * time.Second)
	for i := range 10 {
		if f, d := m.begun(sessionProfile, peerIn(0, i)); f.address != m.home || d != 0 {
			t.Errorf("later %v by %v", d, f.address)
		}
	}
	if got := m.role.flows.Counters(); got.DirectoryFailures != 1 || got.QueriesSent != 3 {
		t.Errorf("%+v", got)
	}
}
