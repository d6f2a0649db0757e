package node

import (
	"net/netip"
	"testing"
	"time"

	"kedge/config"
	"kedge/forwarding"
	"kedge/signaling"
)

func TestPreviousCareOfAddress(t *testing.T) {
	agent, home := netip.MustParseAddr("2001:db8:f::1"), netip.MustParsePrefix("2001:db8:f::a/128")
	first, second := netip.MustParseAddr("2001:db8:1::5"), netip.MustParseAddr("2001:db8:2::5")
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	keep := 500 * time.Millisecond
	for name, c := range map[string]*config.Config{
		"home agent": {HomeAgent: &config.HomeAgent{PreviousCareOfTime: keep}},
		"home proxy": {HomeProxy: &config.HomeProxy{PreviousCareOfTime: keep}},
		"neither":    {HomeAgent: &config.HomeAgent{}},
	} {
		t.Run(name, func(t *testing.T) {
			n := &Node{cfg: c, engine: forwarding.New(forwarding.Options{Anchor: true})}
			for _, step := range []struct {
				after  time.Duration
				careOf netip.Addr
				want   netip.Addr
				until  time.Duration
			}{
				{0, first, netip.Addr{}, 0},
				{time.Second, second, first, 1500 * time.Millisecond},
				{1400 * time.Millisecond, second, first, 1500 * time.Millisecond}, // a refreshment
				{1500 * time.Millisecond, second, netip.Addr{}, 0},
				{2 * time.Second, first, second, 2500 * time.Millisecond},
			} {
				n.bind(start.Add(step.after), signaling.Bind{Home: home, Local: agent, Remote: step.careOf})
				tunnel, ok := n.engine.Anchored(home)
				var got forwarding.Previous
				if tunnel.Previous != nil {
					got = *tunnel.Previous
				}
				want := forwarding.Previous{Remote: step.want}
				if step.want.IsValid() {
					want.Until = start.Add(step.until)
				}
				if name == "neither" {
					want = forwarding.Previous{}
				}
				if !ok || tunnel.Remote != step.careOf || got != want {
					t.Errorf("after %v: bound to %v, previous %v until %v, want %v until %v", step.after, tunnel.Remote, got.Remote, got.Until, want.Remote, want.Until)
				}
			}
		})
	}
}

// TestPreviousEndpoint moves within a NAT, and from there to native packets.
func TestPreviousEndpoint(t *testing.T) {
	home := netip.MustParsePrefix("2001:db8:f::a/128")
	nat, local, agent, native := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:f::1"), netip.MustParseAddr("2001:db8:1::5")
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	n := &Node{
		cfg:    &config.Config{HomeAgent: &config.HomeAgent{PreviousCareOfTime: time.Second}},
		engine: forwarding.New(forwarding.Options{Anchor: true}), datagrams: []*datagrams{{id: 3, uplink: "e0"}},
	}
	if err := n.engine.SetPort(forwarding.Port{ID: 3, UDP: true, MTU: 1500}); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		bind signaling.Bind
		want *forwarding.Previous
	}{
		{signaling.Bind{Home: home, Local: local, Remote: nat, RemotePort: 40000, Link: "e0"}, nil},
		{signaling.Bind{Home: home, Local: local, Remote: nat, RemotePort: 40001, Link: "e0"}, &forwarding.Previous{Remote: nat, RemotePort: 40000, Until: start.Add(time.Second)}},
		{signaling.Bind{Home: home, Local: agent, Remote: native}, &forwarding.Previous{Remote: nat, RemotePort: 40001, Local: local, Until: start.Add(time.Second)}},
	} {
		n.bind(start, step.bind)
		tunnel, ok := n.engine.Anchored(home)
		if !ok || (tunnel.Previous == nil) != (step.want == nil) || step.want != nil && *tunnel.Previous != *step.want {
			t.Errorf("step %d: bound %t, previous %+v, want %+v", i, ok, tunnel.Previous, step.want)
		}
	}
}
