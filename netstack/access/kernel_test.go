package access_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"kedge/netstack/access"
	"kedge/netstack/internal/testnet"
	"kedge/netstack/packet"
)

// numbered is the n-th router of a host that has the number of.
func numbered(of, n int, preferred time.Duration) access.Router {
	return access.Router{
		LinkLocal: addr(fmt.Sprintf("fe80::d:%x:%x", of, n)), LinkLayer: packet.LinkAddress{2, 0xd1, 1, 0xf, byte(of), byte(n)},
		Prefix:    prefix(fmt.Sprintf("2001:db8:%x:%x::/64", of, n)),
		Preferred: preferred, Valid: 2 * time.Hour, Lifetime: 30 * time.Minute,
	}
}

// One unmodified host with two routers, one of them an earlier MAAR's, keeps both through all that can happen to its link,
// and uses them as it likes.
func TestKernelKeepsItsRouters(t *testing.T) {
	t.Parallel()
	own := testnet.New(t)
	k := newKernel(t, own, "acc-own", "acc-host")
	g := newGateway(t, own, "acc-own", access.Config{MTU: 1400})
	now, earlier := numbered(1, 1, time.Hour), numbered(1, 2, 0)
	now.LocalPrefixes = []netip.Prefix{prefix("2001:db8:aaaa::/48")}
	g.give(k, now, earlier)
	both := func() string { return k.shows(now, earlier) }

	k.up()
	g.awaitAttached(k.link)
	// An address is not made of a prefix that is deprecated from the start, unless it is valid (RFC 4862 section 5.5.3 d).
	k.eventually("at first", both)
	k.eventually("local route", func() string {
		if got := k.routers(prefix("2001:db8:aaaa::/48")); !slices.Equal(got, []netip.Addr{now.LinkLocal}) {
			return fmt.Sprint(got)
		}
		return ""
	})
	k.eventually("on-link prefixes", func() string {
		// Point-to-point: other hosts of the prefix, if there were any, are behind the router.
		if got := k.routers(now.Prefix); len(got) > 0 {
			return fmt.Sprint(got)
		}
		return ""
	})

	t.Run("any router takes any source", func(t *testing.T) {
		k := *k
		k.T = t
		k.echo(now.Prefix)
		k.echo(earlier.Prefix) // by the one that is preferred
		for _, gateway := range []netip.Addr{earlier.LinkLocal, now.LinkLocal} {
			route := &netlink.Route{
				LinkIndex: k.Link(k.name).Attrs().Index, Gw: gateway.AsSlice(),
				Dst: &net.IPNet{IP: server.AsSlice(), Mask: net.CIDRMask(128, 128)},
			}
			if err := k.Netlink.RouteReplace(route); err != nil {
				t.Fatal(err)
			}
			k.echo(now.Prefix)
			k.echo(earlier.Prefix)
			if err := k.Netlink.RouteDel(route); err != nil {
				t.Fatal(err)
			}
		}
		if g.refused > 0 {
			t.Errorf("%d datagrams refused", g.refused)
		}
	})

	// The carrier goes on the gateway's side: the host does not flush its addresses.
	flap := func(down, up func() error) {
		// The kernel tells of a carrier that comes within a second, and of one that comes and goes in between not at all.
		k.eventually("the gateway's carrier", func() string {
			if !g.link.State().Up {
				return "still down"
			}
			return ""
		})
		if err := down(); err != nil {
			t.Fatal(err)
		}
		g.awaitDeparted(k.link, access.CarrierLost)
		if err := up(); err != nil {
			t.Fatal(err)
		}
	}
	flap(func() error { return own.Netlink.LinkSetDown(own.Link("acc-own")) },
		func() error { return own.Netlink.LinkSetUp(own.Link("acc-own")) })
	g.awaitAttached(k.link)
	k.eventually("after a carrier flap", both)
	k.echo(earlier.Prefix)

	// The host flushes its addresses, and asks.
	flap(func() error { return k.Netlink.LinkSetDown(k.Link(k.name)) }, func() error { return k.Netlink.LinkSetUp(k.Link(k.name)) })
	g.awaitAttached(k.link)
	k.eventually("after link down and up", both)
	k.echo(now.Prefix)

	// The roles change, as when the host moves back: RFC 4862 resets preferred lifetimes at once.
	now.Preferred, earlier.Preferred = 0, time.Hour
	for _, r := range []access.Router{now, earlier} {
		out, err := g.table.Serve(time.Now(), k.link, r)
		if err != nil {
			t.Fatal(err)
		}
		g.link.Perform(out)
	}
	k.eventually("with roles changed", both)

	g.link.Perform(g.table.Withdraw(time.Now(), k.link, now.Prefix, true))
	k.eventually("after one was withdrawn", func() string {
		if got := k.routers(prefix("::/0")); !slices.Equal(got, []netip.Addr{earlier.LinkLocal}) {
			return fmt.Sprint(got)
		}
		if a := k.addresses()[now.Prefix]; a.PreferedLft != 0 {
			return fmt.Sprint(a)
		}
		return ""
	})
}

// Many hosts on a bridge each see their own routers only, and get their own packets.
func TestKernelsOnABridge(t *testing.T) {
	t.Parallel()
	own, bridge := testnet.New(t), testnet.New(t)
	if err := bridge.Netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "acc-br"}}); err != nil {
		t.Skipf("no bridges here: %v", err)
	}
	bridge.Up("acc-br")
	join := func(name string) {
		if err := bridge.Netlink.LinkSetMaster(bridge.Link(name), bridge.Link("acc-br")); err != nil {
			t.Fatal(err)
		}
	}
	bridge.Veth("acc-gw", own, "acc-own")
	join("acc-gw")
	g := newGateway(t, own, "acc-own", access.Config{})
	var kernels []*kernel
	for i := range 8 {
		port := fmt.Sprintf("acc-port%d", i)
		k := newKernel(t, bridge, port, fmt.Sprintf("acc-host%d", i))
		join(port)
		g.give(k, numbered(i, 1, time.Hour), numbered(i, 2, 0))
		kernels = append(kernels, k)
	}
	for _, k := range kernels {
		k.up()
	}
	for i, k := range kernels {
		k.eventually(k.name, func() string { return k.shows(numbered(i, 1, time.Hour), numbered(i, 2, 0)) })
		k.echo(numbered(i, 1, 0).Prefix)
		k.echo(numbered(i, 2, 0).Prefix)
	}

	// A host that takes another's address gets no answer.
	thief := kernels[1]
	stolen := kernels[0].addresses()[numbered(0, 1, 0).Prefix].IP
	thief.Address(thief.name, stolen.String()+"/128")
	var conn *net.UDPConn
	var err error
	thief.Do(func() {
		conn, err = net.DialUDP("udp", &net.UDPAddr{IP: stolen}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, 7)))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("stolen")); err != nil {
		t.Fatal(err)
	}
	thief.eventually("the theft", func() string {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.refused == 0 {
			return "nothing refused"
		}
		return ""
	})
	kernels[0].echo(numbered(0, 1, 0).Prefix)
}

// A host that goes without a word is noticed, here with a bridge between.
func TestKernelDeparts(t *testing.T) {
	t.Parallel()
	own, bridge := testnet.New(t), testnet.New(t)
	if err := bridge.Netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "acc-br"}}); err != nil {
		t.Skipf("no bridges here: %v", err)
	}
	bridge.Up("acc-br")
	bridge.Veth("acc-gw", own, "acc-own")
	k := newKernel(t, bridge, "acc-port", "acc-host")
	for _, name := range []string{"acc-gw", "acc-port"} {
		if err := bridge.Netlink.LinkSetMaster(bridge.Link(name), bridge.Link("acc-br")); err != nil {
			t.Fatal(err)
		}
	}
	g := newGateway(t, own, "acc-own", access.Config{IdleTime: 300 * time.Millisecond, RetransTimer: 200 * time.Millisecond})
	router := numbered(1, 1, time.Hour)
	g.give(k, router)
	k.up()
	g.awaitAttached(k.link)
	k.eventually("at first", func() string { return k.shows(router) })
	// It answers while it is there: five times as long as it would take to give it up.
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if !g.has(k) {
			t.Fatalf("%+v", g.table.Hosts())
		}
	}
	for len(g.events) > 0 {
		if e, is := (<-g.events).(access.Departed); is && e.LinkLayer == k.link {
			t.Errorf("%+v", e)
		}
	}
	k.down()
	g.awaitDeparted(k.link, access.Unreachable)
	k.up()
	g.awaitAttached(k.link)
	k.eventually("back again", func() string { return k.shows(router) })
}
