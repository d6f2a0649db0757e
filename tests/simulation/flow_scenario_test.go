package simulation

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

// One way from the first access networks to the home agent and to the DHP of a number.
const toAgent = 20 * time.Millisecond

func toProxy(i int) time.Duration { return time.Duration(5+3*i) * time.Millisecond }

// fair is weather in which nothing goes wrong: one mobile node, no loss, no jitter, everything kept.
func fair(proxies int) weather {
	return weather{seed: 1, mobiles: 1, proxies: proxies, near: 2 * time.Millisecond, kept: true, stored: true, lifetime: 5 * time.Minute,
		tickets: time.Hour, quarantine: time.Minute, advertised: 10 * time.Second, idle: 30 * time.Second, graceful: time.Minute}
}

// online is an internet whose mobile nodes are registered and whose home agent knows the DHPs.
func online(t *testing.T, c weather, change ...func(*internet)) *internet {
	t.Helper()
	w := newInternet(t, c)
	for a := range place(accesses) {
		w.setDelay(placeAccess+a, placeHome, toAgent)
		for i := range c.proxies {
			w.setDelay(placeAccess+a, placeProxy+place(i), toProxy(i))
		}
	}
	for _, f := range change {
		f(w)
	}
	for _, m := range w.mobiles {
		m.attach("eth0", placeAccess)
	}
	w.run(7 * time.Second)
	for _, m := range w.mobiles {
		if s := m.role.home.Status(m.time()); s.State != mobilenode.StateRegistered {
			t.Fatalf("%s is %q", m.name, s.State)
		}
	}
	return w
}

// begun begins a flow and returns it, and how long its first packet waited.
func (m *roamer) begun(profile int, remote netip.Addr) (*flow, time.Duration) {
	m.w.t.Helper()
	f := m.open(profile, remote)
	m.w.run(holdTime + 10*time.Millisecond)
	if !f.address.IsValid() {
		m.w.t.Fatalf("flow %d is not decided", f.number)
	}
	return f, f.decided - f.begun
}

// flowsToAll has one flow to each region, by its DHP.
func (w *internet) flowsToAll(m *roamer) []*flow {
	w.t.Helper()
	var list []*flow
	for i := range w.c.proxies {
		f, _ := m.begun(sessionProfile, peerIn(i, 1))
		if placeOf(f.address) != placeProxy+place(i) {
			w.t.Fatalf("flow to region %d has %v", i, f.address)
		}
		list = append(list, f)
	}
	w.run(5 * time.Second) // measurements
	return list
}

// anchorsOn counts a node's DHoAs whose DHPs have acknowledged a care-of address.
func (m *roamer) anchorsOn(careOf netip.Addr) (n int) {
	for _, a := range m.role.flows.Anchors(m.time()) {
		if a.Registration.State == mobilenode.StateRegistered && a.Registration.CareOf == careOf && m.w.proxies[placeOf(a.Proxy)-placeProxy].tunnels[a.Address] == careOf {
			n++
		}
	}
	return n
}

func TestFirstPacketDelay(t *testing.T) {
	c := fair(1)
	c.idle = time.Second
	w := online(t, c)
	m := w.mobiles[0]
	f, d := m.begun(sessionProfile, peerIn(0, 1))
	if want := 2*toAgent + 2*toProxy(0); d != want || placeOf(f.address) != placeProxy {
		t.Errorf("nothing known: %v by %v, want %v", d, f.address, want)
	}
	other, d := m.begun(sessionProfile, peerIn(0, 2))
	if d != 0 || other.address != f.address {
		t.Errorf("address in hand: %v by %v", d, other.address)
	}
	m.shut(f)
	m.shut(other)
	w.run(5 * time.Second)
	if n := len(m.role.flows.Anchors(m.time())); n != 0 {
		t.Fatalf("%d addresses are held", n)
	}
	f, d = m.begun(sessionProfile, peerIn(0, 3))
	if want := 2 * toProxy(0); d != want || placeOf(f.address) != placeProxy {
		t.Errorf("DHP known: %v by %v, want %v", d, f.address, want)
	}
	f, d = m.begun(fixedProfile, peerIn(0, 4))
	if d != 0 || f.address != m.home {
		t.Errorf("fixed: %v by %v", d, f.address)
	}
	// That no DHP is near the correspondent is learnt once.
	f, d = m.begun(sessionProfile, peerIn(5, 1))
	if d != 2*toAgent || f.address != m.home {
		t.Errorf("not covered: %v by %v", d, f.address)
	}
	if f, d = m.begun(sessionProfile, peerIn(5, 1)); d != 0 || f.address != m.home {
		t.Errorf("known not to be covered: %v by %v", d, f.address)
	}
}

// TestAllAnchorsMoveAtOnce has each anchor bound after its own round trip, so that the last is after the slowest.
func TestAllAnchorsMoveAtOnce(t *testing.T) {
	for _, n := range []int{1, 4, 16} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := online(t, fair(n))
			m := w.mobiles[0]
			w.flowsToAll(m)
			m.attach("eth0", placeAccess+1)
			began, careOf := w.now, m.careOf["eth0"]
			for i := range n {
				// Just before and just after the answer of the next.
				w.run(began + 2*toProxy(i) - time.Microsecond - w.now)
				if got := m.anchorsOn(careOf); got != i {
					t.Errorf("before %v: %d anchors bound, want %d", 2*toProxy(i), got, i)
				}
				w.run(2 * time.Microsecond)
				if got := m.anchorsOn(careOf); got != i+1 {
					t.Errorf("after %v: %d anchors bound, want %d", 2*toProxy(i), got, i+1)
				}
			}
		})
	}
}

func TestLostBindingUpdateDelaysItsAnchorOnly(t *testing.T) {
	const n, unlucky = 4, 2
	w := online(t, fair(n))
	m := w.mobiles[0]
	flows := w.flowsToAll(m)
	lost := 0
	w.tap = func(s *signaling.Send) bool {
		if mh.Type(s.Payload[2]) == mh.TypeBindingUpdate && s.Destination == proxyAddress(unlucky) && lost == 0 {
			lost++
			return true
		}
		return false
	}
	m.attach("eth0", placeAccess+1)
	careOf := m.careOf["eth0"]
	w.run(2*toProxy(n-1) + time.Millisecond)
	for i, f := range flows {
		if got := w.proxies[i].tunnels[f.address]; (got == careOf) != (i != unlucky) {
			t.Errorf("DHP %d has %v after the slowest round trip", i, got)
		}
	}
	// The first retransmission is after INITIAL_BINDACK_TIMEOUT (RFC 6275 section 12) at the latest.
	w.run(time.Second + 2*toProxy(unlucky))
	if got := m.anchorsOn(careOf); got != n || lost != 1 {
		t.Errorf("%d anchors bound after a second, %d lost", got, lost)
	}
}

func TestProxyRestart(t *testing.T) {
	for _, kept := range []bool{true, false} {
		c := fair(1)
		c.kept, c.lifetime, c.beat = kept, time.Minute, time.Second
		w := online(t, c)
		m, l := w.mobiles[0], w.proxies[0]
		f := w.flowsToAll(m)[0]
		updates := 0
		w.tap = func(s *signaling.Send) bool {
			if mh.Type(s.Payload[2]) == mh.TypeBindingUpdate && s.Destination == l.address {
				updates++
			}
			return false
		}
		l.stopAnchor()
		w.run(2 * time.Second)
		l.boot()
		w.run(3 * time.Second)
		// With its store it serves on; without, the first packet is refused, and the address bound again by its ticket.
		if l.tunnels[f.address] != m.careOf["eth0"] || w.now-f.heard > 2*time.Second || kept == (updates > 0) || f.over {
			t.Errorf("kept %v: tunnel to %v, last answer %v ago, %d updates", kept, l.tunnels[f.address], w.now-f.heard, updates)
		}
	}
}

func TestMobileNodeWithLeasesRestarts(t *testing.T) {
	for _, stored := range []bool{true, false} {
		c := fair(4)
		c.stored, c.beat = stored, time.Second
		w := online(t, c)
		m := w.mobiles[0]
		flows := w.flowsToAll(m)
		before := map[netip.Addr]bool{}
		for _, f := range flows {
			before[f.address] = true
		}
		requests := 0
		w.tap = func(s *signaling.Send) bool {
			if x, ok := parsed(s.Payload).(*mh.DMIPv6); ok && x.Subtype == mh.DHoARequest {
				requests++
			}
			return false
		}
		m.stop()
		w.run(3 * time.Second)
		if !stored {
			clear(m.store)
		}
		m.boot()
		w.run(3 * time.Second)
		if !stored {
			if len(m.role.flows.Anchors(m.time())) != 0 {
				t.Error("leases are there that nothing kept")
			}
			continue
		}
		for _, f := range flows {
			if f.over || !m.held[f.address] || !before[f.address] || w.now-f.heard > 2*time.Second {
				t.Errorf("flow by %v did not go on: over %v, last answer %v ago", f.address, f.over, w.now-f.heard)
			}
		}
		if requests != 0 {
			t.Errorf("%d DHoA Requests", requests)
		}
	}
}

// TestDeadProxy ends the flows of a DHP that is dead, and of no other; an outage here ends none.
func TestDeadProxy(t *testing.T) {
	c := fair(3)
	c.beat = time.Second
	w := online(t, c)
	m := w.mobiles[0]
	flows := w.flowsToAll(m)
	for i := range 3 {
		w.cut[pair(placeAccess, placeProxy+place(i))] = true
	}
	w.cut[pair(placeAccess, placeHome)] = true
	w.run(time.Minute)
	clear(w.cut)
	w.run(10 * time.Second)
	for _, f := range flows {
		if f.over || w.now-f.heard > 2*time.Second {
			t.Fatalf("flow by %v: over %v, last answer %v ago, after an outage of a minute", f.address, f.over, w.now-f.heard)
		}
	}
	w.proxies[1].stopAnchor()
	w.run(15 * time.Second)
	for i, f := range flows {
		if f.over != (i == 1) {
			t.Errorf("flow by DHP %d: over %v, when DHP 1 is dead", i, f.over)
		}
	}
	// The home agent, if it is asked again, still names it.
	if f, d := m.begun(sessionProfile, peerIn(1, 7)); d > 2*toAgent || f.address != m.home {
		t.Errorf("a new flow to the dead DHP's region: %v by %v", d, f.address)
	}
}

// TestGracefulReplacement gives new flows after a move a new address, and ends the old one's in time.
func TestGracefulReplacement(t *testing.T) {
	c := fair(1)
	c.graceful, c.idle = 30*time.Second, 5*time.Second
	w := online(t, c)
	m := w.mobiles[0]
	old, _ := m.begun(gracefulProfile, peerIn(0, 1))
	w.run(2 * time.Second)
	m.attach("eth0", placeAccess+1)
	w.run(2 * time.Second)
	f, d := m.begun(gracefulProfile, peerIn(0, 1))
	if f.address == old.address || f.address == m.home || d != 2*toProxy(0) {
		t.Errorf("after the move %v by %v, before by %v", d, f.address, old.address)
	}
	if old.over {
		t.Error("the old flow is over at once")
	}
	w.run(40 * time.Second)
	if !old.over || f.over || m.held[old.address] || !m.held[f.address] {
		t.Errorf("40 s later: old over %v, new over %v", old.over, f.over)
	}
}

func TestFloodOfNewFlows(t *testing.T) {
	w := online(t, fair(2))
	w.flooded = true
	m := w.mobiles[0]
	var queries []time.Duration
	w.tap = func(s *signaling.Send) bool {
		if x, ok := parsed(s.Payload).(*mh.DMIPv6); ok && x.Subtype == mh.DHPQuery {
			queries = append(queries, w.now)
		}
		return false
	}
	// open fails if one is not decided in time.
	const flows = 10_000
	for i := range flows {
		w.after(time.Duration(i)*100*time.Microsecond, func() {
			m.open(sessionProfile, netip.AddrFrom16([16]byte{0x2a, 0, byte(i >> 8), byte(i), 0, 1, 15: 1}))
		})
	}
	w.run(2 * time.Second)
	for _, f := range m.flows {
		if !f.address.IsValid() {
			t.Fatalf("flow %d is still held", f.number)
		}
	}
	if len(m.flows) != flows {
		t.Errorf("%d flows", len(m.flows))
	}
	for i := range queries {
		if i >= 3 && queries[i]-queries[i-3] < time.Second {
			t.Errorf("queries at %v: four in a second (RFC 6275 section 11.8)", queries)
			break
		}
	}
	if n := len(m.role.flows.Cache(m.time())); n > 1024 {
		t.Errorf("%d prefixes are remembered", n)
	}
	counters := m.role.flows.Counters()
	t.Logf("%d queries, %+v", len(queries), counters)
	// What nobody waits for any more does not stand in the way of what comes.
	if f, d := m.begun(sessionProfile, peerIn(0, 1)); placeOf(f.address) != placeProxy {
		t.Errorf("after the flood a flow has %v after %v", f.address, d)
	}
}

// parsed is a message; nil if it is none.
func parsed(payload []byte) mh.Message {
	m, err := mh.Parse(payload)
	if err != nil {
		return nil
	}
	return m
}

// TestDelegatedPrefix has a whole prefix follow the mobile node.
func TestDelegatedPrefix(t *testing.T) {
	c := fair(1)
	c.delegated, c.beat = true, time.Second
	w := online(t, c)
	m := w.mobiles[0]
	f, _ := m.begun(sessionProfile, peerIn(0, 1))
	if a := m.role.flows.Anchors(m.time()); len(a) != 1 || a[0].Prefix.Bits() != 64 || !a[0].Prefix.Contains(f.address) {
		t.Fatalf("flow by %v of %+v", f.address, a)
	}
	w.run(2 * time.Second)
	m.attach("eth0", placeAccess+1)
	w.run(5 * time.Second)
	l := w.proxies[0]
	for _, a := range []netip.Addr{f.address, netip.PrefixFrom(f.address, 64).Masked().Addr()} {
		if l.tunnels[a] != m.careOf["eth0"] {
			t.Errorf("the DHP has %v at %v", a, l.tunnels[a])
		}
	}
	if f.over || w.now-f.heard > 2*time.Second {
		t.Errorf("over %v, last answer %v ago", f.over, w.now-f.heard)
	}
}
