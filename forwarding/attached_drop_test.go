package forwarding

import (
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

func TestFromAccessDrops(t *testing.T) {
	redirect := icmp6(addr("fe80::5"), within(local1), 64, 137, 0, 0, make([]byte, 32))
	for _, c := range []struct {
		name string
		port PortID
		from packet.LinkAddress
		b    []byte
		want Counter
	}{
		{"unknown prefix", access1, mac1, udp(within(netip.MustParsePrefix("2001:db8:77::/64")), cn, 1), DropNotAttached},
		{"prefix that is elsewhere", access1, mac1, udp(within(gone), cn, 1), DropNotAttached},
		{"this node's address", access1, mac1, udp(maar, cn, 1), DropNotAttached},
		{"prefix of another link", access2, mac1, udp(within(local1), cn, 1), DropNotAttached},
		{"another's prefix", access1, mac2, udp(within(local1), cn, 1), DropLinkSource},
		{"another's tunnelled prefix", access1, mac2, udp(within(earlier1), cn, 1), DropLinkSource},
		{"no link-layer address", access1, packet.LinkAddress{}, udp(within(local1), cn, 1), DropLinkSource},
		{"to a group", access1, mac1, udp(within(local1), addr("ff0e::1"), 1), DropMulticast},
		{"echo to all nodes", access1, mac1, icmp6(within(local1), addr("ff02::1"), 64, 128, 0, 0, nil), DropMulticast},
		{"from a group", access1, mac1, udp(addr("ff0e::1"), cn, 1), DropBogon},
		{"unspecified", access1, mac1, udp(netip.IPv6Unspecified(), cn, 1), DropBogon},
		{"loopback", access1, mac1, udp(within(local1), netip.IPv6Loopback(), 1), DropBogon},
		{"IPv4-mapped", access1, mac1, udp(within(local1), addr("::ffff:10.0.0.1"), 1), DropBogon},
		{"to a link-local address", access1, mac1, udp(within(local1), addr("fe80::77"), 1), DropLinkLocal},
		{"data to a router's", access1, mac1, udp(addr("fe80::5"), dlif1, 1), DropLinkLocal},
		{"to another link's router", access2, mac3, icmp6(addr("fe80::5"), dlif1, 64, 128, 0, 0, nil), DropLinkLocal},
		{"tunnel to a router's", access1, mac1, tunnelled(0, addr("fe80::5"), dlif1, udp(within(gone), cn, 1)), DropLinkLocal},
		{"redirect with a low hop limit", access1, mac1, redirect, DropNeighbor},
		{"tunnel of a stranger's", access1, mac1, tunnelled(0, within(gone), maar, udp(within(gone), cn, 1)), DropNotAttached},
		{"as the serving MAAR", access1, mac1, tunnelled(0, serving, maar, udp(within(gone), cn, 1)), DropNotAttached},
		{"cut off", access1, mac1, udp(within(local1), cn, 20)[:50], DropMalformed},
		{"empty", access1, mac1, nil, DropMalformed},
		{"IPv4", access1, mac1, []byte{0x45, 0, 0, 20}, DropNotIPv6},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := accessRouter(t)
			r := said(w, c.port, c.from, c.b)
			wantDrop(t, e, r, c.want)
			if reported := len(r.Strangers) == 1; reported != (c.want == DropNotAttached || c.want == DropLinkSource) {
				t.Errorf("strangers %+v", r.Strangers)
			}
		})
	}
	t.Run("tunnel in the own name", func(t *testing.T) {
		e, w := accessRouter(t)
		wantDrop(t, e, said(w, access1, mac1, tunnelled(0, within(local1), maar, udp(within(gone), cn, 20))), DropOuterSource)
	})
	t.Run("group frame", func(t *testing.T) {
		e, w := accessRouter(t)
		p := frame(udp(within(local1), cn, 1), mac1)
		p.Group = true
		wantDrop(t, e, w.Process(start, access1, []*packet.Packet{p}), DropGroupFrame)
	})
	t.Run("no port", func(t *testing.T) {
		e, w := accessRouter(t)
		e.RemovePort(access1)
		wantDrop(t, e, process(w, ethPort, udp(cn, within(local1), 1)), DropNoPort)
	})
}

func TestToAttachedDrops(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		want Counter
	}{
		{"tunnelled prefix without its tunnel", udp(cn, within(earlier1), 1), DropNotTunneled},
		{"out of another's tunnel", tunnelled(0, serving, maar, udp(cn, within(earlier1), 1)), DropOuterSource},
		{"from this node", tunnelled(0, previous, maar, udp(maar, within(earlier1), 1)), DropOwnSource},
		{"to a group", tunnelled(0, previous, maar, udp(cn, addr("ff0e::1"), 1)), MulticastRefused},
		{"from link-local", tunnelled(0, previous, maar, udp(addr("fe80::9"), within(earlier1), 1)), DropLinkLocal},
		{"to link-local", tunnelled(0, previous, maar, udp(cn, addr("fe80::9"), 1)), DropLinkLocal},
		{"from loopback", tunnelled(0, previous, maar, udp(netip.IPv6Loopback(), within(earlier1), 1)), DropBogon},
		{"uplink from another than the serving MAAR", tunnelled(0, previous, maar, udp(within(gone), cn, 1)), DropOuterSource},
		{"core, to a group", udp(cn, addr("ff0e::1"), 1), DropMulticast},
		{"core, to a router's link-local address", udp(addr("fe80::9"), dlif1, 1), DropLinkLocal},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := accessRouter(t)
			wantDrop(t, e, process(w, ethPort, c.b), c.want)
		})
	}
	t.Run("to another of this node's addresses", func(t *testing.T) {
		e, w := accessRouter(t)
		other := addr("2001:db8:b::2")
		must(t, e.SetLocal(other, ethPort))
		wantDrop(t, e, process(w, ethPort, tunnelled(0, previous, other, udp(cn, within(earlier1), 1))), DropOuterSource)
	})
}
