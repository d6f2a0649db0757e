package homeproxy

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

func one(c *Config) { c.HomeAgents = c.HomeAgents[:1] }

// advertisement is the one DHP Advertisement to agent1 among the effects, authenticated; nil if there is none.
func (w *world) advertisement(e effects) *mh.DMIPv6 {
	w.t.Helper()
	for _, s := range of[signaling.Send](e) {
		m, err := mh.Parse(s.Payload)
		if err != nil || s.Destination != agent1 || !mh.ChecksumValid(s.Payload, proxy, agent1) {
			w.t.Fatalf("sent %+v, %v", s, err)
		}
		a := m.(*mh.DMIPv6)
		if a.Subtype != mh.DHPAdvertisement {
			continue
		}
		lookup := func(spi uint32) (auth.Association, bool) { return kd1, spi == kd1.SPI }
		if _, err := auth.Verify(s.Payload, a, lookup, proxy, netip.IPv6Unspecified()); err != nil {
			w.t.Fatal(err)
		}
		return a
	}
	return nil
}

func stampOf(m *mh.DMIPv6) mh.NTPTime { t, _ := auth.Timestamp(m.Options); return t }

// answer is agent1's to advertisement a, signed with key.
func answer1(t *testing.T, a *mh.DMIPv6, status mh.Status, stamp mh.NTPTime, key auth.Association) signaling.Received {
	t.Helper()
	m := &mh.DMIPv6{Subtype: mh.DHPAdvertisementAcknowledgement, Status: status, Sequence: a.Sequence, Lifetime: a.Lifetime}
	payload, err := auth.Sign(m, key, proxy, netip.IPv6Unspecified(), stamp)
	if err != nil {
		t.Fatal(err)
	}
	return wire(payload, agent1, proxy)
}

func TestAdvertisementTellsAll(t *testing.T) {
	w := start(t, one)
	a := w.advertisement(w.tick())
	if a == nil || a.Lifetime != 3*time.Minute || stampOf(a) != mh.NTPTimeOf(noon) {
		t.Fatalf("advertisement %+v", a)
	}
	infos := mh.FindAll[*mh.DHPInformation](a.Options)
	want := mh.DHPInformation{Preference: 7, RTT: -1, Coverage: covered, Lifetime: 3 * time.Minute, Address: proxy}
	if len(infos) != 2 || *infos[0] != want || infos[1].Coverage != netip.MustParsePrefix("2001:db8:ee::/48") {
		t.Errorf("information %+v", infos)
	}
	w.handle(answer1(t, a, 0, stampOf(a), kd1))
	w.borrow(holder(alice), 1, anything, 0)
	e := w.after(20 * time.Millisecond).tick()
	if len(of[signaling.SendEcho](e)) != 0 {
		t.Error("probed too soon")
	}
	w.handle(signaling.EchoReply{Source: target, Destination: proxy, Identifier: w.m.echoes, Sequence: 1})
	// A round trip that has become known is told soon.
	if a = w.advertisement(w.after(afterChange).tick()); a == nil {
		t.Fatal("no advertisement")
	}
	infos = mh.FindAll[*mh.DHPInformation](a.Options)
	if infos[0].RTT != 20*time.Millisecond || infos[0].Load != 1 || infos[1].RTT != -1 {
		t.Errorf("information %+v %+v", infos[0], infos[1])
	}
}

func TestAdvertisementIsRepeatedUntilAcknowledged(t *testing.T) {
	w := start(t, one)
	first := w.advertisement(w.tick())
	var at []time.Duration
	for w.now.Before(noon.Add(95 * time.Second)) {
		w.now = w.m.Next()
		if a := w.advertisement(w.tick()); a != nil {
			at = append(at, w.now.Sub(noon))
			if a.Sequence != first.Sequence || stampOf(a) == stampOf(first) {
				t.Fatalf("repeated as %+v", a)
			}
			first = a
		}
	}
	want := []time.Duration{1, 3, 7, 15, 31, 63, 95}
	for i, d := range want {
		if i >= len(at) || at[i] != d*time.Second {
			t.Fatalf("repeated after %v, want %v s", at, want)
		}
	}
	w.after(50 * time.Millisecond)
	w.handle(answer1(t, first, 0, stampOf(first), kd1))
	w.now = w.m.Next()
	for w.advertisement(w.tick()) == nil {
		w.now = w.m.Next()
	}
	if s := w.m.Status(w.now).HomeAgents[0]; s.Acknowledged || s.Answered.IsZero() || s.Sequence != first.Sequence+1 {
		t.Errorf("status %+v", s)
	}
	// From now on the round trip is known.
	before := w.now
	for w.now = w.m.Next(); w.advertisement(w.tick()) == nil; w.now = w.m.Next() {
	}
	if d := w.now.Sub(before); d < shortestWait || d > 10*time.Second {
		t.Errorf("repeated after %v", d)
	}
}

func TestAdvertisementInterval(t *testing.T) {
	w := start(t, one)
	a := w.advertisement(w.tick())
	w.handle(answer1(t, a, 0, stampOf(a), kd1))
	if s := w.m.Status(w.now).HomeAgents[0]; !s.Acknowledged || s.NextIn != time.Minute || s.RoundTripMilliseconds != 1 {
		t.Errorf("status %+v", s)
	}
	for w.now.Before(noon.Add(time.Minute)) {
		if b := w.advertisement(w.tick()); b != nil {
			t.Fatalf("advertisement after %v", w.now.Sub(noon))
		}
		w.now = w.m.Next()
	}
	if b := w.advertisement(w.tick()); b == nil || b.Sequence != a.Sequence+1 {
		t.Errorf("advertisement %+v", b)
	}
}

func TestAcknowledgementsThatDoNotCount(t *testing.T) {
	w := start(t, one)
	a := w.advertisement(w.tick())
	stamp := stampOf(a)
	wrong := *a
	wrong.Sequence++
	elsewhere := answer1(t, a, 0, stamp, kd1)
	unsigned, _ := mh.Append(nil, &mh.DMIPv6{Subtype: mh.DHPAdvertisementAcknowledgement, Sequence: a.Sequence})
	for name, r := range map[string]signaling.Received{
		"forged":         answer1(t, a, 0, stamp, auth.Association{SPI: 1001, Algorithm: auth.HMACSHA256, Key: auth.Key("guessed")}),
		"other key":      answer1(t, a, 0, stamp, kd2),
		"other sequence": answer1(t, &wrong, 0, stamp, kd1),
		"other time":     answer1(t, a, 0, stamp+1, kd1),
		"no time":        answer1(t, a, 0, 0, kd1),
		"other source":   wire(elsewhere.Payload, agent2, proxy),
		"unsigned":       wire(unsigned, agent1, proxy),
	} {
		w.handle(r)
		if s := w.m.Status(w.now).HomeAgents[0]; s.Acknowledged {
			t.Errorf("%s: counts", name)
		}
	}
	d := w.m.Counters().Discarded
	if d.Forged != 2 || d.Unmatched != 4 || d.Unauthenticated != 1 {
		t.Errorf("counters %+v", d)
	}
	right := answer1(t, a, 0, stamp, kd1)
	w.handle(right)
	w.handle(right)
	if w.m.Counters().Acknowledgements != 1 || w.m.Counters().Discarded.Unmatched != 5 {
		t.Errorf("counters %+v", w.m.Counters())
	}
}

func TestAdvertiserTakesTheHomeAgentsTime(t *testing.T) {
	w := start(t, one)
	theirs := func() time.Time { return w.now.Add(time.Hour) }
	a := w.advertisement(w.tick())
	b := w.advertisement(w.handle(answer1(t, a, 144, auth.MismatchReply(stampOf(a), theirs()), kd1)))
	if b == nil || b.Sequence != a.Sequence || stampOf(b).Time().Sub(theirs()).Abs() > time.Second {
		t.Fatalf("answered with %+v", b)
	}
	// It does not go on for ever.
	n := 0
	for ; b != nil && n < 10; n++ {
		b = w.advertisement(w.handle(answer1(t, b, 144, auth.MismatchReply(stampOf(b), theirs()), kd1)))
	}
	if n != resynchronisations {
		t.Errorf("sent at once %d times", n)
	}
	if next := w.m.advertisers[0].next; !next.After(w.now) {
		t.Error("never sent again")
	}
}

func TestShutdownWithdraws(t *testing.T) {
	w := start(t, one)
	a := w.advertisement(w.tick())
	w.handle(answer1(t, a, 0, stampOf(a), kd1))
	w.after(time.Second)
	b := w.advertisement(w.handle(signaling.Shutdown{}))
	if b == nil || b.Lifetime != 0 || b.Sequence != a.Sequence+1 {
		t.Fatalf("advertisement %+v", b)
	}
	for _, i := range mh.FindAll[*mh.DHPInformation](b.Options) {
		if i.Lifetime != 0 {
			t.Errorf("information %+v", i)
		}
	}
	w.now = w.m.Next()
	if c := w.advertisement(w.tick()); c == nil || c.Sequence != b.Sequence || c.Lifetime != 0 {
		t.Fatalf("repeated as %+v", c)
	}
	w.handle(answer1(t, b, 0, stampOf(b), kd1))
	if next := w.m.Next(); !next.IsZero() {
		t.Errorf("next %v", next)
	}

	w = start(t, one)
	if e := w.handle(signaling.Shutdown{}); len(e) != 0 {
		t.Errorf("one that was never advertised has effects %v", e)
	}
}

func TestProbes(t *testing.T) {
	w := start(t, one)
	expect := func(want time.Duration) {
		t.Helper()
		if got := roundTrip(w.m.probes, target); got != want {
			t.Errorf("round trip %v, want %v", got, want)
		}
	}
	probed := func() signaling.SendEcho {
		t.Helper()
		echoes := of[signaling.SendEcho](w.tick())
		if len(echoes) != 1 || echoes[0].Source != proxy || echoes[0].Destination != target {
			t.Fatalf("probes %+v", echoes)
		}
		return echoes[0]
	}
	reply := func(e signaling.SendEcho) {
		w.handle(signaling.EchoReply{Source: target, Destination: proxy, Identifier: e.Identifier, Sequence: e.Sequence})
	}
	e := probed()
	w.after(8 * time.Millisecond)
	reply(signaling.SendEcho{Identifier: e.Identifier, Sequence: e.Sequence + 1})
	reply(signaling.SendEcho{Identifier: e.Identifier + 1, Sequence: e.Sequence})
	expect(-1)
	reply(e)
	expect(8 * time.Millisecond)
	w.after(time.Millisecond)
	reply(e)
	expect(8 * time.Millisecond)
	w.now = noon.Add(probeInterval)
	e = probed()
	w.after(16 * time.Millisecond)
	reply(e)
	expect(9 * time.Millisecond)
	for i := range 4 {
		expect(9 * time.Millisecond)
		w.now = noon.Add(time.Duration(2+i) * probeInterval)
		e = probed()
	}
	expect(-1)
	if c := w.m.Counters(); c.Probes != 6 || c.ProbesLost != 3 {
		t.Errorf("counters %+v", c)
	}
	reply(e)
	expect(0)
	if c := w.m.Status(w.now).Coverage; c[0].RoundTripMilliseconds != 0 || c[1].RoundTripMilliseconds != -1 {
		t.Errorf("status %+v", c)
	}
}

func TestAnycastQueries(t *testing.T) {
	anycast := netip.MustParseAddr("2001:db8:c:7:fdff:ffff:ffff:fffd")
	query := func(destination, cn netip.Addr, long bool) signaling.Received {
		m := &mh.DMIPv6{Subtype: mh.DHPQuery, Sequence: 77, Options: mh.Options{&mh.CNAddress{Address: cn}}}
		if long {
			m.Options = append(m.Options, nai("somebody@example.net"))
		}
		b, err := mh.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return wire(b, careOf1, destination)
	}
	w := start(t, func(c *Config) { c.Anycast = true })
	w.tick()
	for _, c := range []struct {
		name string
		q    signaling.Received
	}{
		{"too short", query(anycast, cn, false)},
		{"not in the prefix asked", query(anycast, target, true)},
		{"not covered", query(netip.MustParseAddr("2001:db8:99:7:fdff:ffff:ffff:fffd"), netip.MustParseAddr("2001:db8:99:7::1"), true)},
		{"unicast", query(proxy, cn, true)},
	} {
		if e := w.handle(c.q); len(e) != 0 {
			t.Errorf("%s: effects %v", c.name, e)
		}
	}
	q := query(anycast, cn, true)
	sends := of[signaling.Send](w.handle(q))
	if len(sends) != 1 || sends[0].Source != proxy || sends[0].Destination != careOf1 || len(sends[0].Payload) > len(q.Payload) {
		t.Fatalf("sent %+v", sends)
	}
	m, err := mh.Parse(sends[0].Payload)
	r, ok := m.(*mh.DMIPv6)
	if err != nil || !ok || r.Subtype != mh.DHPQueryReply || r.Sequence != 77 || r.Status != 0 || len(r.Options) != 1 {
		t.Fatalf("reply %+v, %v", m, err)
	}
	if i, ok := mh.Find[*mh.DHPInformation](r.Options); !ok || i.Address != proxy || i.Coverage != covered || i.Preference != 7 {
		t.Errorf("information %+v", i)
	}
	answers := 0
	for range 1000 {
		answers += len(of[signaling.Send](w.handle(q)))
	}
	if answers != anycastRate-1 {
		t.Errorf("%d answers to a flood", answers)
	}
	w.empty()
	off := start(t)
	off.tick()
	if e := off.handle(q); len(e) != 0 {
		t.Errorf("effects %v", e)
	}
}

func TestFirstProbesAreRepeatedSoon(t *testing.T) {
	p := &probe{roundTrip: unknownRoundTrip}
	for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
		if got := p.interval(); got != want {
			t.Errorf("after %d losses: %v, want %v", i, got, want)
		}
		p.losses++
	}
	p.roundTrip, p.losses = time.Millisecond, 1
	if got := p.interval(); got != 5*time.Second {
		t.Errorf("once the round trip is known: %v", got)
	}
}
