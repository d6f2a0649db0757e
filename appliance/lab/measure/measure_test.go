package measure

import (
	"testing"
	"time"

	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

const msec = int64(time.Millisecond)

// stream sends a datagram each millisecond from 0, each 10 ms on the way, but for those that lost says.
func stream(until int64, lost func(sent int64) bool) (s traffic.Snapshot) {
	for t := int64(0); t < until; t += msec {
		s.Sent = append(s.Sent, t)
		if !lost(t) {
			s.Arrivals = append(s.Arrivals, traffic.Arrival{Sequence: uint64(t / msec), Sent: t, Received: t + 10*msec})
		}
	}
	return s
}

func TestAround(t *testing.T) {
	// The move at 1000 ms loses what is sent from 990 ms on: downlink, what is on the way when the link goes.
	s := stream(3000*msec, func(sent int64) bool { return sent >= 990*msec && sent < 1030*msec })
	v := Around(s, 1000*msec, 2000*msec, 10*time.Millisecond)
	if v.Duration() != 41*time.Millisecond || !v.Recovered || v.From != 999*msec || v.To != 1040*msec {
		t.Errorf("silence %v from %d to %d", v.Duration(), v.From, v.To)
	}
	if v.Lost != 40 || v.Sent != 1000 || v.Reordered != 0 {
		t.Errorf("lost %d of %d, reordered %d", v.Lost, v.Sent, v.Reordered)
	}
	if v.LatencyBefore != 10*time.Millisecond || v.LatencyAfter != 10*time.Millisecond {
		t.Errorf("latency %v, %v", v.LatencyBefore, v.LatencyAfter)
	}
	if at, ok := First(s, 1000*msec, 2000*msec, true); !ok || at != 1040*msec {
		t.Errorf("first uplink at %d", at)
	}
}

func TestAroundNeverRecovered(t *testing.T) {
	s := stream(3000*msec, func(sent int64) bool { return sent >= 990*msec })
	v := Around(s, 1000*msec, 2000*msec, 10*time.Millisecond)
	if v.Recovered || v.Duration() != 1001*time.Millisecond {
		t.Errorf("silence %v, recovered %v", v.Duration(), v.Recovered)
	}
}

// Long after the move only a pause with a loss counts.
func TestAroundBusyMachine(t *testing.T) {
	s := stream(3000*msec, func(int64) bool { return false })
	for i := range s.Arrivals {
		if a := &s.Arrivals[i]; a.Received > 1500*msec && a.Received < 1540*msec {
			a.Received = 1540 * msec
		}
	}
	if v := Around(s, 1000*msec, 2000*msec, 10*time.Millisecond); v.Duration() != time.Millisecond {
		t.Errorf("a late pause without loss counts as %v of silence", v.Duration())
	}
	s = stream(3000*msec, func(sent int64) bool { return sent >= 1500*msec && sent < 1540*msec })
	if v := Around(s, 1000*msec, 2000*msec, 10*time.Millisecond); v.Duration() != 41*time.Millisecond {
		t.Errorf("a late pause with loss counts as %v of silence", v.Duration())
	}
}

func TestSplit(t *testing.T) {
	at := func(ms int64, kind string) Event {
		return Event{Node: "mn", Time: time.Unix(0, ms*msec), Kind: kind}
	}
	p := Split([]Event{
		at(900, LinkUp), at(1001, AcknowledgementArrived), at(1002, LinkUp), at(1003, RouterAdvertisement),
		at(1004, CareOfAddressUsable), at(1005, BindingUpdateSent), {Node: "ha", Time: time.Unix(0, 1006*msec), Kind: AcknowledgementArrived},
		at(1025, AcknowledgementArrived), at(1030, RouterAdvertisement),
	}, "mn", 1000*msec, 2000*msec)
	want := []int64{2, 3, 4, 5, 25}
	for i, d := range p.List()[:5] {
		if d == nil || *d != time.Duration(want[i]*msec) {
			t.Errorf("%s: %v, expected %d ms", PartNames[i], d, want[i])
		}
	}
}

func TestSummarise(t *testing.T) {
	if s := Summarise([]time.Duration{4, 1, 3, 2}); s != (Summary{Count: 4, Min: 1, Median: 2, Max: 4}) {
		t.Errorf("%+v", s)
	}
	if s := Summarise(nil); s != (Summary{}) {
		t.Errorf("of nothing: %+v", s)
	}
	if m := MedianFloat([]float64{3, 1, 2}); m != 2 {
		t.Errorf("median %v", m)
	}
}

func TestClassify(t *testing.T) {
	moves := []Move{{Node: "mn", Class: topology.ForeignMove, Unplugged: 1000 * msec, Plugged: 1000 * msec}, {Node: "mn", Class: topology.ReturningMove, Unplugged: 2000 * msec, Plugged: 2001 * msec}}
	down := stream(3000*msec, func(sent int64) bool {
		return sent >= 990*msec && sent < 1030*msec || sent >= 1990*msec && sent < 2090*msec
	})
	up := stream(3000*msec, func(int64) bool { return false })
	h := Handoffs(moves, down, up, nil, 3000*msec)
	classes := Classify(h)
	if len(classes) != 2 || classes[0].Name != topology.ForeignMove || classes[1].Name != topology.ReturningMove {
		t.Fatalf("%+v", classes)
	}
	foreign, home := classes[0], classes[1]
	if foreign.Moves != 1 || foreign.Downlink.Median != 41*time.Millisecond || foreign.Uplink.Median != time.Millisecond || foreign.LostMax != 40 {
		t.Errorf("foreign: %+v", foreign)
	}
	if home.Moves != 1 || home.Downlink.Median != 101*time.Millisecond || home.Lost != 100 {
		t.Errorf("home: %+v", home)
	}
}
