package database

import (
	"testing"
	"time"

	"kedge/signaling/mh"
)

// moved is a world where mn@example.net went from MAAR 1 to 2 and 3, at 20 s.
func moved(t *testing.T, mode Mode, changes ...func(*Config)) *world {
	t.Helper()
	w := start(t, mode, changes...)
	w.registers(1, 1, time.Minute).at(10*time.Second).registers(2, 1, time.Minute).acknowledges(1)
	w.at(20*time.Second).registers(3, 1, time.Minute).at(20001 * time.Millisecond).acknowledges(1).acknowledges(2)
	w.isSession("maar3 p1 p2 p3")
	return w.at(30 * time.Second).skip()
}

func renew(c *Config) { c.Deregistration = RenewPrevious }

func TestRFC8885_3_5_OnlyTheServingMAARDeregisters(t *testing.T) {
	w := moved(t, Relay)
	w.registers(2, 9, 0).drawing(`
		30s maar2 > cmd PBU 9 0s anchored p2
		30s cmd > maar2 PBA 9 0s status 154 anchored p2`)
	w.isSession("maar3 p1 p2 p3")

	w = moved(t, Relay, renew)
	w.registers(2, 9, 0).drawing(`
		30s maar2 > cmd PBU 9 0s anchored p2
		30s cmd > maar2 PBA 9 48s anchored p2 serving maar3`)
	w.isSession("maar3 p1 p2 p3")
	if n := w.m.Counters().Renewals; n != 1 {
		t.Errorf("%d renewals", n)
	}

	for _, method := range []func(*Config){func(*Config) {}, renew} {
		w = moved(t, Proxy, method)
		w.registers(3, 9, 0).at(30*time.Second + time.Millisecond).acknowledges(1).acknowledges(2).at(time.Hour).drawing(`
			30s maar3 > cmd PBU 9 0s anchored p3
			30s cmd > maar3 PBA 9 0s anchored p3
			30s cmd > maar1 PBU 9 0s anchored p1
			30.000001s cmd > maar2 PBU 9 0s anchored p2
			30.001s maar1 > cmd PBA 9 0s home p1
			30.001s maar2 > cmd PBA 9 0s home p2`)
		w.isSession("none")
		// Its PBA was lost: it asks again.
		w.registers(3, 9, 0).drawing(`
			1h0m0s maar3 > cmd PBU 9 0s anchored p3
			1h0m0s cmd > maar3 PBA 9 0s anchored p3`)
	}
}

func TestRFC8885_3_5_ExpiryTellsThePreviousMAARs(t *testing.T) {
	w := moved(t, Relay)
	w.at(80 * time.Second).acknowledges(1).at(80*time.Second + time.Millisecond).acknowledges(2).at(time.Hour).drawing(`
		1m20s cmd > maar1 PBU 1 0s anchored p1
		1m20s maar1 > cmd PBA 1 0s home p1
		1m20.000001s cmd > maar2 PBU 1 0s anchored p2
		1m20.001s maar2 > cmd PBA 1 0s home p2`)
	w.isSession("none")
	if c := w.m.Counters(); c.Expired != 1 || w.m.Len() != 0 || !w.m.Next().IsZero() {
		t.Errorf("counters %+v, next %v", c, w.m.Next())
	}
}

func TestCleanUp(t *testing.T) {
	w := moved(t, Relay)
	cleaning := func(p ...mh.Option) []func(*pbu) {
		return []func(*pbu){anchoring(), hint(mh.HandoffNotChanged), func(b *pbu) { b.Options = append(b.Options, p...) }}
	}
	w.registers(3, 9, 0, cleaning(&mh.PreviousMAAR{Address: maar(1), Prefix: pref(1)})...).acknowledges(1).drawing(`
		30s maar3 > cmd PBU 9 0s previous maar1 p1
		30s cmd > maar3 PBA 9 0s previous maar1 p1
		30s cmd > maar1 PBU 9 0s anchored p1 serving maar3
		30s maar1 > cmd PBA 9 0s home p1 serving maar3`)
	w.isSession("maar3 p2 p3")
	// What is not there, or elsewhere, is as good as cleaned up; only the S-MAAR may ask.
	w.at(31*time.Second).registers(3, 10, 0, cleaning(&mh.PreviousMAAR{Address: maar(1), Prefix: pref(2)},
		&mh.PreviousMAAR{Address: maar(1), Prefix: pref(1)})...)
	w.at(32*time.Second).registers(2, 11, 0, cleaning(&mh.PreviousMAAR{Address: maar(3), Prefix: pref(3)})...).drawing(`
		31s maar3 > cmd PBU 10 0s previous maar1 p2 previous maar1 p1
		31s cmd > maar3 PBA 10 0s previous maar1 p2 previous maar1 p1
		32s maar2 > cmd PBU 11 0s previous maar3 p3
		32s cmd > maar2 PBA 11 0s status 154 previous maar3 p3`)
	w.isSession("maar3 p2 p3")
	// While a P-MAAR is being asked.
	w.at(33*time.Second).registers(4, 1, time.Minute).at(33100 * time.Millisecond).acknowledges(2).skip()
	w.registers(4, 2, 0, cleaning(&mh.PreviousMAAR{Address: maar(3), Prefix: pref(3)})...).drawing(`
		33.1s maar4 > cmd PBU 2 0s previous maar3 p3
		33.1s cmd > maar4 PBA 1 56s anchored p4 previous maar2 p2
		33.1s cmd > maar4 PBA 2 0s previous maar3 p3
		33.1s cmd > maar3 PBU 2 0s anchored p3 serving maar4`)
	w.isSession("maar4 p2 p4")
}

func TestEndIsCalledOffByReturn(t *testing.T) {
	w := moved(t, Proxy)
	w.registers(3, 9, 0).at(30*time.Second + 500*time.Millisecond).skip()
	w.registers(1, 2, time.Minute).at(40*time.Second + 500*time.Millisecond).drawing(`
		30.5s maar1 > cmd PBU 2 1m0s anchored p1
		30.5s cmd > maar1 PBA 2 1m0s anchored p1
		31.000001s cmd > maar2 PBU 9 0s anchored p2 serving maar1
		33.000001s cmd > maar2 PBU 9 0s anchored p2 serving maar1
		37.000001s cmd > maar2 PBU 9 0s anchored p2 serving maar1`)
	w.isSession("maar1 p1")
}

func TestLimitOfPreviousMAARs(t *testing.T) {
	w := moved(t, Proxy, func(c *Config) { c.MaxPreviousMAARs = 2 })
	w.registers(4, 1, time.Minute).at(30*time.Second + time.Millisecond).drawing(`
		30s maar4 > cmd PBU 1 1m0s anchored p4
		30s cmd > maar4 PBA 1 1m0s anchored p4 previous maar2 p2 previous maar3 p3
		30s cmd > maar1 PBU 1 0s anchored p1 serving maar4
		30.000001s cmd > maar2 PBU 1 56s anchored p2 serving maar4
		30.000002s cmd > maar3 PBU 1 56s anchored p3 serving maar4`)
	w.isSession("maar4 p2? p3? p4")
	if n := w.m.Counters().Dropped; n != 1 {
		t.Errorf("%d dropped", n)
	}
	// So are the prefixes that one MAAR gives one after the other.
	for i := range 6 {
		w.at(time.Duration(31+i)*time.Second).registers(4, uint16(2+i), time.Minute, anchoring(nth(4, 1+i)))
	}
	w.isSession("maar4 p4.4 p4.5 p4.6")
}

func TestRemoval(t *testing.T) {
	w := moved(t, Relay)
	effects, ok := w.m.Remove(w.now, "mn@example.net")
	w.take(effects)
	w.at(30*time.Second + time.Millisecond).drawing(`
		30s cmd > maar3 PBU 1 0s anchored p3
		30.000001s cmd > maar1 PBU 1 0s anchored p1
		30.000002s cmd > maar2 PBU 1 0s anchored p2`)
	w.acknowledges(1).acknowledges(2).acknowledges(3).at(time.Hour)
	w.isSession("none")
	if c := w.m.Counters(); !ok || c.Removed != 1 || c.Acknowledgements != 5+1 || c.Unanswered != 0 {
		t.Errorf("%v %+v", ok, c)
	}
	if effects, ok := w.m.Remove(w.now, "mn@example.net"); ok || len(effects) > 0 {
		t.Errorf("removed what there is not: %v", effects)
	}
}

func TestRFC8885_3_6_Retransmissions(t *testing.T) {
	w := start(t, Relay)
	w.registers(1, 1, 10*time.Minute).at(10 * time.Second).skip()
	w.registers(2, 5, 10*time.Minute).at(5 * time.Minute).drawing(`
		10s maar2 > cmd PBU 5 10m0s anchored p2
		10s cmd > maar1 PBU 5 10m0s anchored p1 serving maar2
		10.5s cmd > maar2 PBA 5 9m56s anchored p2
		11s cmd > maar1 PBU 5 9m56s anchored p1 serving maar2
		13s cmd > maar1 PBU 5 9m56s anchored p1 serving maar2
		17s cmd > maar1 PBU 5 9m52s anchored p1 serving maar2
		25s cmd > maar1 PBU 5 9m44s anchored p1 serving maar2
		41s cmd > maar1 PBU 5 9m28s anchored p1 serving maar2
		1m13s cmd > maar1 PBU 5 8m56s anchored p1 serving maar2`)
	w.isSession("maar2 p2")
	if c := w.m.Counters(); c.Retransmissions != 6 || c.UpdatesSent != 7 || c.Unanswered != 1 {
		t.Errorf("counters %+v", c)
	}
	if r := w.reports[len(w.reports)-1]; r.Kind != PrefixEnded || r.Peer != maar(1) || r.Home != pref(1).Addr() {
		t.Errorf("last report %+v", r)
	}
}

func TestRFC8885_3_6_NoMoreThanThreeASecond(t *testing.T) {
	w := start(t, Proxy)
	w.registers(1, 1, time.Minute).at(10 * time.Second)
	times := []time.Duration{}
	for i := range 20 {
		w.at(10*time.Second+time.Duration(i)*50*time.Millisecond).registers(2+i%2, uint16(i), time.Minute)
	}
	for range 3000 {
		before := w.m.Counters().UpdatesSent
		delete(w.asked, 1)
		w.at(w.now.Sub(w.begin) + time.Millisecond)
		if w.m.Counters().UpdatesSent > before && w.asked[1] != nil {
			times = append(times, w.now.Sub(w.begin))
		}
	}
	for i := 3; i < len(times); i++ {
		if times[i]-times[i-3] < time.Second {
			t.Errorf("PBUs at %v and %v are the first and fourth", times[i-3], times[i])
		}
	}
	if c := w.m.Counters(); c.RateLimited == 0 || len(times) == 0 {
		t.Errorf("counters %+v, %v", c, times)
	}
	s, _ := mh.Find[*mh.ServingMAAR](w.asked1().Options)
	if s.Address != maar(3) {
		t.Errorf("the last word is that %v serves", s.Address)
	}
}

// asked1 waits for the next PBU to MAAR 1.
func (w *world) asked1() *mh.BindingUpdate {
	for w.asked[1] == nil && !w.m.Next().IsZero() {
		w.at(w.now.Sub(w.begin) + time.Second)
	}
	return w.asked[1]
}

func TestPreviousMAARRefuses(t *testing.T) {
	w := start(t, Proxy)
	w.registers(1, 1, time.Minute).at(10*time.Second).registers(2, 5, time.Minute).skip()
	// A clock that differs: the database takes over MAAR 1's and asks again. So long as it lacks resources, it is asked later.
	w.answers(1, mh.StatusIDMismatch).at(10*time.Second + time.Millisecond)
	w.answers(1, mh.StatusInsufficientResources).at(13 * time.Second).drawing(`
		10s maar1 > cmd PBA 5 1m0s status 144 home p1 serving maar2
		10.000001s cmd > maar1 PBU 5 56s anchored p1 serving maar2
		10.001s maar1 > cmd PBA 5 56s status 130 home p1 serving maar2
		12.000001s cmd > maar1 PBU 5 56s anchored p1 serving maar2`)
	w.isSession("maar2 p1? p2")
	w.answers(1, mh.StatusNotAuthorizedForHomePrefix)
	w.isSession("maar2 p2")
	if c := w.m.Counters(); c.Declined != 1 {
		t.Errorf("counters %+v", c)
	}
}
