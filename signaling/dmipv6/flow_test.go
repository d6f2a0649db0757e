package dmipv6

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
)

func TestNothingKnownTakesBothRoundTrips(t *testing.T) {
	w := newWorld(t, 2).online()
	from := w.now
	a, took := w.settle(1, 0, cnOf(0, 1))
	if !poolOf(0).Contains(a) {
		t.Fatalf("decided %s, want an address of %s", a, poolOf(0))
	}
	if took != 90*time.Millisecond {
		t.Errorf("took %v, want 80 ms to the home agent and 10 ms to the DHP", took)
	}
	want := []signaling.ReportKind{FlowClassified, FlowInitiator, DHPQuerySent, DHPQueryReplyReceived, TicketReceived, DHPSelected,
		DHoARequestSent, DHoAResponseReceived, DHoALent}
	if k := w.kinds(from); !slices.Equal(k[:len(want)], want) || !slices.Contains(k, FlowDecided) {
		t.Errorf("steps %v", k)
	}
	if b, ok := w.bound[netip.PrefixFrom(a, 128)]; !ok || b.Local != careOfA || b.Remote != proxyAddr(0) {
		t.Errorf("bound %+v", b)
	}
	if got := w.lookup(0, cnOf(0, 7)); got != a {
		t.Errorf("the next flow to the prefix has %v, want %s at once", got, a)
	}
	d, ok := w.m.Decision(w.decided[1].Decision)
	if !ok || d.Winner != proxyAddr(0) || d.Address != a || d.Reused || d.Source != FromHomeAgent || d.Mode != ModeTunnel ||
		len(d.Candidates) != 1 || d.Candidates[0].Measured || d.Candidates[0].MobileRoundTrip != 80*time.Millisecond || d.Prefix != coverageOf(0) {
		t.Errorf("explained as %+v", d)
	}
	var steps []signaling.ReportKind
	for _, s := range d.Steps {
		steps = append(steps, s.Kind)
	}
	if want := []signaling.ReportKind{FlowClassified, FlowInitiator, DHPQuerySent, DHPQueryReplyReceived, DHPSelected, DHoARequestSent,
		DHoAResponseReceived, FlowDecided}; !slices.Equal(steps, want) {
		t.Errorf("steps of the decision %v", steps)
	}
}

func TestKnownDHPTakesOneRoundTrip(t *testing.T) {
	w := newWorld(t, 1).online()
	a, _ := w.settle(1, 0, cnOf(0, 1))
	w.use(a, 1)
	w.use(a, 0)
	w.run(40 * time.Second) // given back
	if w.held[a] {
		t.Fatalf("%s is still held", a)
	}
	if w.lookup(0, cnOf(0, 1)).IsValid() {
		t.Error("an address that is given back is chosen")
	}
	b, took := w.settle(2, 0, cnOf(0, 2))
	if !poolOf(0).Contains(b) || b == a || took != 10*time.Millisecond {
		t.Errorf("decided %s after %v", b, took)
	}
	if d, _ := w.m.Decision(w.decided[2].Decision); d.Source != FromCache || !d.Candidates[0].Measured || d.Candidates[0].MobileRoundTrip != 10*time.Millisecond {
		t.Errorf("explained as %+v", d)
	}
}

func TestAddressInHandIsReusedWithoutSignalling(t *testing.T) {
	w := newWorld(t, 1).online()
	a, _ := w.settle(1, 0, cnOf(0, 1))
	from := w.now + 1
	w.run(time.Second)
	b, took := w.settle(2, 0, cnOf(0, 2))
	if a != b || took != 0 {
		t.Errorf("decided %s after %v, %s is in hand", b, took, a)
	}
	if n := len(since[signaling.Send](w, from)); n != 0 {
		t.Errorf("%d messages", n)
	}
	if d, _ := w.m.Decision(w.decided[2].Decision); !d.Reused {
		t.Error("not said to be reused")
	}
}

func TestConcurrentFlowsToOneRegionShareQueryAndRequest(t *testing.T) {
	w := newWorld(t, 1).online()
	from := w.now
	for i := range uint64(100) {
		w.flow(i, 0, cnOf(0, int(i)))
	}
	w.run(200 * time.Millisecond)
	if q, r := w.count(DHPQuerySent, from), w.count(DHoARequestSent, from); q != 1 || r != 1 {
		t.Errorf("%d queries, %d requests", q, r)
	}
	first := w.decided[0].Address
	for i := range uint64(100) {
		if d := w.decided[i]; d.Address != first || !poolOf(0).Contains(first) || w.when[i]-from != 90*time.Millisecond {
			t.Errorf("flow %d: %s after %v", i, d.Address, w.when[i]-from)
		}
	}
}

func TestRFC6275_11_8_ManyCorrespondentsJoinTheNextQuery(t *testing.T) {
	w := newWorld(t, 12).online()
	from := w.now
	for i := range 12 {
		w.flow(uint64(i), 0, cnOf(i, 1))
	}
	w.run(499 * time.Millisecond)
	if q := w.count(DHPQuerySent, from); q > 3 {
		t.Errorf("%d queries within a second", q)
	}
	w.run(5 * time.Second)
	for i := range 12 {
		if _, ok := w.decided[uint64(i)]; !ok {
			t.Errorf("flow %d is not decided", i)
		}
	}
	// What came too late for those serves the next.
	for i := range 12 {
		if a, _ := w.settle(uint64(100+i), 0, cnOf(i, 1)); i < 3 && !poolOf(i).Contains(a) {
			t.Errorf("flow to %d: %s", i, a)
		}
	}
}

func TestNoDHPKnownStaysAndIsRemembered(t *testing.T) {
	w := newWorld(t, 1).online()
	a, took := w.settle(1, 0, nowhere)
	if a != home || took != 80*time.Millisecond {
		t.Errorf("decided %s after %v", a, took)
	}
	if w.lookup(0, nowhere) != home {
		t.Error("the next flow is held in vain")
	}
	w.run(61 * time.Second)
	if w.lookup(0, nowhere).IsValid() {
		t.Error("still remembered after 60 s")
	}
}

func TestFixedAndNonPersistentNeedNoChoice(t *testing.T) {
	w := newWorld(t, 1)
	for _, profile := range []int{1, 4} {
		if w.lookup(profile, nowhere) != home {
			t.Errorf("profile %d has no choice from the start", profile)
		}
		if a, took := w.settle(uint64(profile), profile, cnOf(0, 1)); a != home || took != 0 {
			t.Errorf("profile %d: %s after %v", profile, a, took)
		}
	}
}

func TestNothingIsHeldInVain(t *testing.T) {
	for name, r := range map[string]signaling.HomeRegistration{
		"not registered": {HomeAgent: agent, CareOf: careOfA, Uplink: "eth0"},
		"at home":        {HomeAgent: agent, Registered: true, AtHome: true, CareOf: careOfA, Uplink: "eth0"},
	} {
		w := newWorld(t, 1)
		if w.lookup(0, nowhere) != home {
			t.Errorf("%s: not chosen before the first event", name)
		}
		w.careOf = careOfA
		w.handle(attached(careOfA))
		w.handle(r)
		if w.lookup(0, cnOf(0, 1)) != home || w.lookup(3, cnOf(0, 1)) != home {
			t.Errorf("%s: not chosen", name)
		}
		if a, took := w.settle(1, 0, cnOf(0, 1)); a != home || took != 0 {
			t.Errorf("%s: %s after %v", name, a, took)
		}
		w.handle(registration(careOfA))
		if w.lookup(0, nowhere).IsValid() {
			t.Errorf("%s: nobody is asked after registering", name)
		}
	}
}

func TestConfiguredDHPGetsItsTicketFromTheHomeAgent(t *testing.T) {
	w := newWorld(t, 2, func(c *Config) {
		c.Proxies = []Proxy{{Address: proxyAddr(1), Coverage: []netip.Prefix{netip.MustParsePrefix("2001:db8:c00::/47")}, Preference: 9}}
	}).online()
	// The home agent knows DHP 0 for this correspondent, but configuration comes first; DHP 1 covers its own address nowhere,
	// so its ticket comes with a flow to what it advertises.
	a, _ := w.settle(1, 0, cnOf(1, 1))
	if !poolOf(1).Contains(a) {
		t.Fatalf("decided %s", a)
	}
	b, took := w.settle(2, 0, cnOf(0, 1))
	if b != a || took != 0 {
		t.Errorf("decided %s after %v, want the configured DHP's %s", b, took, a)
	}
	if d, _ := w.m.Decision(w.decided[2].Decision); d.Source != FromConfiguration || d.Candidates[0].Preference != 9 {
		t.Errorf("explained as %+v", d)
	}
}

func TestLateDHoAServesLaterFlows(t *testing.T) {
	w := newWorld(t, 1).online()
	w.oneWay = func(_, peer netip.Addr) time.Duration {
		if peer == agent {
			return 40 * time.Millisecond
		}
		return 300 * time.Millisecond
	}
	if a, took := w.settle(1, 0, cnOf(0, 1)); a != home || took != 500*time.Millisecond {
		t.Errorf("decided %s after %v, want the home address after the hold time", a, took)
	}
	w.run(time.Second)
	if a, took := w.settle(2, 0, cnOf(0, 1)); !poolOf(0).Contains(a) || took != 0 {
		t.Errorf("then %s after %v", a, took)
	}
	if d, _ := w.m.Decision(w.decided[1].Decision); d.Mode != ModeHomeAgent || d.Why != "the answer took too long" {
		t.Errorf("explained as %+v", d)
	}
}
