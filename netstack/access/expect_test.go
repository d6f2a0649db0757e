package access

import (
	"testing"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

// A host that came from another access router goes on sending to that one's router until it has heard of the one here, and
// to routers of its own that this node is yet to be told of.
func TestFramesForARouterNotHeardOfYet(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	table := New(Config{LinkAddress: me})
	elsewhere := packet.LinkAddress{packet.RouterPrefix[0], packet.RouterPrefix[1], 1, 2, 3, 4}
	if table.Expects(elsewhere, m1) {
		t.Error("of a host that is not known")
	}
	table.Seen(now, m1, LinkUp)
	if table.Expects(elsewhere, m1) {
		t.Error("of a host that is not served")
	}
	r := Router{LinkLocal: addr("fe80::1"), LinkLayer: d1, Prefix: prefix("2001:db8:1::/64"), Preferred: time.Hour, Valid: time.Hour, Lifetime: time.Hour}
	if _, err := table.Serve(now, m1, r); err != nil {
		t.Fatal(err)
	}
	if !table.Expects(elsewhere, m1) {
		t.Error("not of a host that is served")
	}
	if table.Expects(m2, m1) || table.Expects(elsewhere, m2) {
		t.Error("to another host, or of one")
	}
	if allocs := testing.AllocsPerRun(100, func() { table.Expects(elsewhere, m1) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestQuery(t *testing.T) {
	out := New(Config{LinkAddress: packet.LinkAddress{2, 0, 0, 0, 0, 7}}).Query(time.Unix(0, 0))
	if len(out.Frames) != 1 || out.Frames[0].To != (packet.LinkAddress{0x33, 0x33, 0, 0, 0, 1}) {
		t.Fatalf("%+v", out)
	}
	from, to, m, err := nd.Parse(out.Frames[0].Packet.Bytes())
	if err != nil || from != addr("fe80::ff:fe00:7") || to != nd.AllNodes {
		t.Errorf("from %v to %v: %v", from, to, err)
	}
	if q, ok := m.(*nd.ListenerQuery); !ok || q.Version != 2 || !q.Group.IsUnspecified() {
		t.Errorf("%+v", m)
	}
}
