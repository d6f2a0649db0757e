package command

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"kedge/appliance/control"
)

func TestPrintStatus(t *testing.T) {
	started := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	home := netip.MustParseAddr("2001:db8:f::100")
	s := control.Status{
		Version: "v1", Roles: []string{"mobile-node"}, Started: started, Reason: "registering",
		MobileNode: &control.MobileNode{
			State: "registering", HomeAddress: home, HomeAgent: netip.MustParseAddr("2001:db8:f::1"),
			CareOf: netip.MustParseAddr("2001:db8:1::c"), Uplink: "eth0", LifetimeSeconds: 59.6, Sequence: 7, RTTMilliseconds: 20.25,
			LastError: "no answer",
		},
		Links: []control.Link{
			{Name: "eth0", Kind: "ethernet", Up: true, MTU: 1500, Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:1::c")}, Router: netip.MustParseAddr("fe80::1")},
			{Name: "eth1", Kind: "ethernet", Absent: true},
			{Name: "eth2", Kind: "ethernet", MTU: 1500},
		},
		Counters: map[string]uint64{"forwarding-sent": 3, "forwarding-drop-bogon": 0},
	}
	var b strings.Builder
	if err := printStatus(&b, s, started.Add(90*time.Second)); err != nil {
		t.Fatal(err)
	}
	want := `node             mobile-node, kedge v1, up 1m30s
health           NOT HEALTHY: registering
state            registering
home address     2001:db8:f::100
home agent       2001:db8:f::1
care-of address  2001:db8:1::c on eth0
binding          1m0s left, sequence number 7
round trip       20.2 ms to the home agent
last error       no answer
link eth0        ethernet, up, MTU 1500, 2001:db8:1::c, router fe80::1
link eth1        ethernet, ABSENT: there is no interface of this name
link eth2        ethernet, DOWN, MTU 1500
forwarding-sent  3
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestPrintEvent(t *testing.T) {
	var b strings.Builder
	err := printEvent(&b, control.Event{
		Time: time.Date(2026, 11, 21, 12, 0, 0, 1000, time.UTC), Kind: "binding-refused", Home: netip.MustParseAddr("2001:db8:f::100"),
		Link: "eth0", Sequence: 9, LifetimeSeconds: 60, Status: 132, Detail: "not home subnet",
	})
	want := "12:00:00.000001 binding-refused home=2001:db8:f::100 link=eth0 sequence=9 lifetime=1m0s status=132 (not home subnet)\n"
	if err != nil || b.String() != want {
		t.Errorf("got %q, %v", b.String(), err)
	}
}
