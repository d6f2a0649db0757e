package database

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling/mh"
)

func dlif(i byte) []mh.Option {
	return []mh.Option{
		&mh.DLIFLinkLocalAddress{Address: netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: i})},
		&mh.DLIFLinkLayerAddress{Address: []byte{2, 0, 0, 0, 0, i}},
	}
}

func described(i byte) func(*pbu) {
	return func(p *pbu) {
		options := mh.Options{p.Options[0], p.Options[1]}
		options = append(options, dlif(i)...)
		p.Options = append(options, p.Options[2:]...)
	}
}

func TestRFC8885_3_1_InitialRegistration(t *testing.T) {
	for _, mode := range []Mode{Relay, Locator, Proxy} {
		w := start(t, mode)
		w.registers(1, 7, time.Minute, described(1)).drawing(`
			0s maar1 > cmd PBU 7 1m0s anchored p1 fe80::1 020000000001
			0s cmd > maar1 PBA 7 1m0s anchored p1 fe80::1 020000000001`)
		w.isSession("maar1 p1")
		s := w.m.Session(w.now, "mn@example.net")[0]
		if s.Serving != maar(1) || s.Lifetime != time.Minute || s.Left != time.Minute || s.Sequence != 7 || s.Handoff != 4 ||
			s.AccessTechnology != 3 || s.Prefixes[0].Anchor != maar(1) || s.Prefixes[0].LinkLayer != "02:00:00:00:00:01" ||
			s.Prefixes[0].LinkLocal != netip.MustParseAddr("fe80::1") {
			t.Errorf("session %+v", s)
		}
	}
}

func TestRFC8885_3_2_Relay(t *testing.T) {
	w := start(t, Relay)
	w.registers(1, 1, time.Minute, described(1)).at(10 * time.Second).skip()
	w.registers(2, 5, time.Minute, described(2)).at(10*time.Second + 20*time.Millisecond)
	w.acknowledges(1, dlif(1)...)
	w.drawing(`
		10s maar2 > cmd PBU 5 1m0s anchored p2 fe80::2 020000000002
		10s cmd > maar1 PBU 5 1m0s anchored p1 fe80::1 020000000001 serving maar2
		10.02s maar1 > cmd PBA 5 1m0s home p1 fe80::1 020000000001 serving maar2
		10.02s cmd > maar2 PBA 5 56s anchored p2 fe80::2 020000000002 previous maar1 p1 fe80::1 020000000001`)
	w.isSession("maar2 p1 p2")

	// Two P-MAARs: the S-MAAR hears when the farther one has answered.
	w.at(20*time.Second).registers(3, 9, time.Minute).at(20*time.Second + 10*time.Millisecond)
	w.isSession("maar3 p1? p2? p3")
	w.acknowledges(2).at(20*time.Second + 30*time.Millisecond).acknowledges(1).drawing(`
		20s maar3 > cmd PBU 9 1m0s anchored p3
		20s cmd > maar1 PBU 9 1m0s anchored p1 fe80::1 020000000001 serving maar3
		20.000001s cmd > maar2 PBU 9 56s anchored p2 fe80::2 020000000002 serving maar3
		20.01s maar2 > cmd PBA 9 56s home p2 serving maar3
		20.03s maar1 > cmd PBA 9 1m0s home p1 serving maar3
		20.03s cmd > maar3 PBA 9 56s anchored p3 previous maar1 p1 fe80::1 020000000001 previous maar2 p2 fe80::2 020000000002`)
	if n := w.m.Next(); !n.Equal(w.begin.Add(80 * time.Second)) {
		t.Errorf("next is %v", n.Sub(w.begin))
	}
}

func TestRFC8885_3_2_RelayAggregatesUntilATimeout(t *testing.T) {
	w := start(t, Relay, func(c *Config) { c.AggregationTimeout = 300 * time.Millisecond })
	w.registers(1, 1, time.Minute).at(time.Second).registers(2, 1, time.Minute).acknowledges(1).at(2 * time.Second).skip()
	w.registers(3, 4, time.Minute).at(2100 * time.Millisecond).acknowledges(2).at(2600 * time.Millisecond).acknowledges(1).drawing(`
		2s maar3 > cmd PBU 4 1m0s anchored p3
		2s cmd > maar1 PBU 4 1m0s anchored p1 serving maar3
		2.000001s cmd > maar2 PBU 4 56s anchored p2 serving maar3
		2.1s maar2 > cmd PBA 4 56s home p2 serving maar3
		2.3s cmd > maar3 PBA 4 56s anchored p3 previous maar2 p2
		2.6s maar1 > cmd PBA 4 1m0s home p1 serving maar3
		2.6s cmd > maar3 PBA 4 56s anchored p3 previous maar1 p1`)
	if c := w.m.Counters(); c.Late != 1 || c.Handoffs != 2 || c.Registrations != 1 || c.Acknowledgements != 3 {
		t.Errorf("counters %+v", c)
	}
}

func TestRFC8885_3_2_LateAnswersAfterARefreshComeWhole(t *testing.T) {
	w := start(t, Relay)
	w.registers(1, 1, time.Minute).at(time.Second).registers(2, 1, time.Minute).acknowledges(1).at(2 * time.Second)
	w.registers(3, 4, time.Minute).at(2001 * time.Millisecond).acknowledges(2).at(2600 * time.Millisecond).skip()
	w.registers(3, 5, time.Minute, hint(mh.HandoffNotChanged)).acknowledges(1).drawing(`
		2.6s maar3 > cmd PBU 5 1m0s anchored p3
		2.6s cmd > maar3 PBA 5 1m0s anchored p3 previous maar2 p2
		2.6s maar1 > cmd PBA 4 1m0s home p1 serving maar3
		2.6s cmd > maar3 PBA 5 1m0s anchored p3 previous maar1 p1 previous maar2 p2`)
}

func TestRFC8885_3_2_PacesWhatGoesOut(t *testing.T) {
	w := start(t, Relay, func(c *Config) { c.PacingInterval = 10 * time.Millisecond })
	for i := 1; i <= 4; i++ {
		w.at(time.Duration(i)*20*time.Second).registers(i, 1, time.Minute)
		w.at(time.Duration(i)*20*time.Second + time.Second)
		for j := 1; j < i; j++ {
			w.acknowledges(j)
		}
	}
	w.at(100 * time.Second).skip()
	w.registers(5, 1, time.Minute).at(100*time.Second + 40*time.Millisecond).drawing(`
		1m40s maar5 > cmd PBU 1 1m0s anchored p5
		1m40s cmd > maar1 PBU 1 1m0s anchored p1 serving maar5
		1m40.01s cmd > maar2 PBU 1 56s anchored p2 serving maar5
		1m40.02s cmd > maar3 PBU 1 56s anchored p3 serving maar5
		1m40.03s cmd > maar4 PBU 1 56s anchored p4 serving maar5`)
}

func TestRFC8885_3_3_Locator(t *testing.T) {
	w := start(t, Locator)
	w.registers(1, 1, time.Minute).at(10 * time.Second).skip()
	w.registers(2, 0x1234, time.Minute).at(10*time.Second + 20*time.Millisecond).acknowledges(1).at(20 * time.Second)
	// The P-MAAR's own PBA to MAAR 2 has this sequence number.
	w.drawing(`
		10s maar2 > cmd PBU 4660 1m0s anchored p2
		10s cmd > maar1 PBU 4660 1m0s anchored p1 serving maar2
		10.02s maar1 > cmd PBA 4660 1m0s home p1 serving maar2`)
	w.isSession("maar2 p1 p2")
	// What the S-MAAR does not hear it asks for.
	w.registers(2, 0x1234, time.Minute).drawing(`
		20s maar2 > cmd PBU 4660 1m0s anchored p2
		20s cmd > maar2 PBA 4660 1m0s anchored p2 previous maar1 p1`)
}

func TestRFC8885_3_3_LocatorAnswersForThoseThatDoNot(t *testing.T) {
	w := start(t, Locator)
	w.registers(1, 1, time.Minute).at(10*time.Second).registers(2, 1, time.Minute).acknowledges(1).at(20 * time.Second).skip()
	w.registers(3, 2, time.Minute).acknowledges(1).at(20*time.Second + 600*time.Millisecond).acknowledges(2).drawing(`
		20s maar3 > cmd PBU 2 1m0s anchored p3
		20s cmd > maar1 PBU 2 1m0s anchored p1 serving maar3
		20s maar1 > cmd PBA 2 1m0s home p1 serving maar3
		20.000001s cmd > maar2 PBU 2 56s anchored p2 serving maar3
		20.5s cmd > maar3 PBA 2 56s anchored p3 previous maar1 p1
		20.6s maar2 > cmd PBA 2 56s home p2 serving maar3`)

	// Sent again while it waits, and nobody has answered at all: refused by its only P-MAAR.
	w = start(t, Locator)
	w.registers(1, 1, time.Minute).at(10 * time.Second).skip()
	w.registers(2, 2, time.Minute).answers(1, mh.StatusNotAuthorizedForHomePrefix).drawing(`
		10s maar2 > cmd PBU 2 1m0s anchored p2
		10s cmd > maar1 PBU 2 1m0s anchored p1 serving maar2
		10s maar1 > cmd PBA 2 1m0s status 155 home p1 serving maar2
		10s cmd > maar2 PBA 2 1m0s anchored p2`)
	w.isSession("maar2 p2")
}

func TestRFC8885_3_4_Proxy(t *testing.T) {
	w := start(t, Proxy)
	w.registers(1, 1, time.Minute, described(1)).at(10 * time.Second).skip()
	w.registers(2, 5, time.Minute).at(10*time.Second + 20*time.Millisecond).acknowledges(1).drawing(`
		10s maar2 > cmd PBU 5 1m0s anchored p2
		10s cmd > maar2 PBA 5 1m0s anchored p2 previous maar1 p1 fe80::1 020000000001
		10s cmd > maar1 PBU 5 1m0s anchored p1 fe80::1 020000000001 serving maar2
		10.02s maar1 > cmd PBA 5 1m0s home p1 serving maar2`)
	w.isSession("maar2 p1 p2")
}

func TestReturnToAnEarlierMAAR(t *testing.T) {
	w := start(t, Proxy)
	w.registers(1, 1, time.Minute).at(10*time.Second).registers(2, 1, time.Minute).acknowledges(1)
	w.at(20*time.Second).registers(3, 1, time.Minute).acknowledges(1).at(20001 * time.Millisecond).acknowledges(2)
	w.at(30 * time.Second).skip()
	w.registers(1, 8, time.Minute).at(30001 * time.Millisecond).acknowledges(2).acknowledges(3).drawing(`
		30s maar1 > cmd PBU 8 1m0s anchored p1
		30s cmd > maar1 PBA 8 1m0s anchored p1 previous maar2 p2 previous maar3 p3
		30s cmd > maar2 PBU 8 1m0s anchored p2 serving maar1
		30.000001s cmd > maar3 PBU 8 56s anchored p3 serving maar1
		30.001s maar2 > cmd PBA 8 1m0s home p2 serving maar1
		30.001s maar3 > cmd PBA 8 56s home p3 serving maar1`)
	w.isSession("maar1 p2 p3 p1")

	// A MAAR that comes back empty and gives another prefix is told which it had.
	w.at(40*time.Second).registers(1, 1, time.Minute, anchoring(nth(1, 1))).drawing(`
		40s maar1 > cmd PBU 1 1m0s anchored p1.1
		40s cmd > maar1 PBA 1 1m0s anchored p1.1 previous maar2 p2 previous maar3 p3 previous maar1 p1`)
	w.isSession("maar1 p2 p3 p1 p1.1")
}

func TestRefresh(t *testing.T) {
	for _, mode := range []Mode{Relay, Locator, Proxy} {
		w := start(t, mode)
		w.registers(1, 1, time.Minute).at(10*time.Second).registers(2, 1, time.Minute).acknowledges(1).at(40 * time.Second).skip()
		w.registers(2, 2, time.Hour, hint(mh.HandoffNotChanged)).at(80 * time.Second).drawing(`
			40s maar2 > cmd PBU 2 1h0m0s anchored p2
			40s cmd > maar2 PBA 2 10m0s anchored p2 previous maar1 p1`)
		w.isSession("maar2 p1 p2")
	}
}

func TestTwoMAARsAtOnce(t *testing.T) {
	w := start(t, Relay)
	w.registers(1, 1, time.Minute).at(10 * time.Second).skip()
	stale := w.update(4, 3, time.Minute)
	w.at(10*time.Second+time.Millisecond).registers(2, 5, time.Minute)
	w.at(10*time.Second+2*time.Millisecond).registers(3, 6, time.Minute)
	w.hears(stale)
	w.acknowledges(1).at(10*time.Second + 3*time.Millisecond).acknowledges(2).drawing(`
		10.001s maar2 > cmd PBU 5 1m0s anchored p2
		10.001s cmd > maar1 PBU 5 1m0s anchored p1 serving maar2
		10.002s maar3 > cmd PBU 6 1m0s anchored p3
		10.002s cmd > maar2 PBA 5 1m0s anchored p2
		10.002s cmd > maar1 PBU 6 1m0s anchored p1 serving maar3
		10.002s maar4 > cmd PBU 3 1m0s anchored p4
		10.002s cmd > maar4 PBA 3 0s status 157 anchored p4
		10.002s maar1 > cmd PBA 6 1m0s home p1 serving maar3
		10.002001s cmd > maar2 PBU 6 56s anchored p2 serving maar3
		10.003s maar2 > cmd PBA 6 56s home p2 serving maar3
		10.003s cmd > maar3 PBA 6 56s anchored p3 previous maar1 p1 previous maar2 p2`)
	w.isSession("maar3 p1 p2 p3")
}
