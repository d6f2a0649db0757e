package measure

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/appliance/lab/traffic"
)

func TestRoundTrips(t *testing.T) {
	there := stream(1000*msec, func(int64) bool { return false })
	back := stream(500*msec, func(int64) bool { return false })
	if d := RoundTrip(there, back, Window{100 * msec, 400 * msec}); d != 20*time.Millisecond {
		t.Errorf("round trip %v", d)
	}
	if d := RoundTrip(there, back, Window{600 * msec, 900 * msec}); d != 0 {
		t.Errorf("round trip %v where nothing came back", d)
	}
	trips := []traffic.RoundTrip{{Sent: 1, Took: 5}, {Sent: 2, Took: 7}, {Sent: 3, Took: 9}, {Sent: 4, Took: 100}}
	if d := EchoRoundTrip(trips, Window{1, 3}); d != 8 {
		t.Errorf("median %d", d)
	}
	if d := EchoRoundTrip(trips, Window{4, 5}); d != 0 {
		t.Errorf("median %d of nothing", d)
	}
}

func TestTerminate(t *testing.T) {
	const lent, other = "2001:db8:d::1", "2001:db8:d::2"
	at := func(ms int64, node, kind, home string) Event {
		return Event{Node: node, Time: time.Unix(0, ms*msec), Kind: kind, Home: home, Detail: "too slow"}
	}
	events := []Event{
		at(3000, "dhp", BindingDeleted, lent), at(900, "mn", AcknowledgementArrived, lent), at(1020, "mn", AcknowledgementArrived, other),
		at(1030, "mn", AcknowledgementArrived, lent), at(1500, "mn", QualityJudged, other), at(1600, "mn", QualityJudged, lent),
		at(1610, "mn", FlowTerminated, other), at(1620, "mn", FlowTerminated, lent), at(1700, "mn", QualityJudged, lent), at(1710, "mn", FlowTerminated, lent), at(2000, "dhp", BindingDeleted, other), at(2900, "mn", BindingDeleted, lent),
	}
	InOrder(events)
	got := Terminate(events, "mn", netip.MustParseAddr(lent), 1000*msec)
	want := Termination{Bound: 1020 * msec, Judged: 1600 * msec, Reason: "too slow", GivenBack: 3000 * msec}
	if got != want {
		t.Errorf("%+v, expected %+v", got, want)
	}
	if d, both := Since(got.Bound, got.Judged); d != 580*time.Millisecond || !both {
		t.Errorf("%v, %v", d, both)
	}
	if _, both := Since(got.Judged, got.Told); both {
		t.Error("never told, and yet there is a time since")
	}
}

func TestLeases(t *testing.T) {
	const one, two = "2001:db8:d::1", "2001:db8:d::2"
	at := func(ms int64, node, kind, home string) Event {
		return Event{Node: node, Time: time.Unix(0, ms*msec), Kind: kind, Home: home}
	}
	got := Leases([]Event{
		at(1, "mn", AddressLent, one), at(2, "mn", AddressLent, two), at(3, "dhp", BindingDeleted, two),
		at(4, "other", AddressLent, one), at(5, "mn", AddressLent, two), at(6, "mn", BindingDeleted, one),
	}, "mn")
	want := []Lease{{netip.MustParseAddr(one), 1 * msec, 0}, {netip.MustParseAddr(two), 2 * msec, 3 * msec}, {netip.MustParseAddr(two), 5 * msec, 0}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, expected %+v", got, want)
	}
}
