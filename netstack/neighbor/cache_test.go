package neighbor

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

func TestRFC4861Section722AddressResolution(t *testing.T) {
	const ns = "2001:db8::ee > ff02::1:ff00:1 NS 2001:db8::1 source=me"
	t.Run("answered", func(t *testing.T) {
		b := newBench(t, Config{})
		b.resolve(peer, "a")
		b.at(200*time.Millisecond).resolve(peer, "b")
		if b.link(peer) != "" {
			t.Error("an INCOMPLETE neighbour has a link-layer address")
		}
		b.until(1500*time.Millisecond).advertise(peer, m1)
		b.until(20 * time.Second)
		b.expect("0s "+ns, "1s "+ns,
			"1.5s packet a to m1", "1.5s packet b to m1", "1.5s NeighborReachable {2001:db8::1 [2 0 0 0 0 1]}")
		if b.link(peer) != "m1" || b.state(peer) != reachable {
			t.Errorf("link %q, state %d", b.link(peer), b.state(peer))
		}
	})
	t.Run("not answered", func(t *testing.T) {
		b := newBench(t, Config{})
		b.resolve(peer, "a")
		b.until(3 * time.Second)
		b.resolve(peer, "b")
		b.expect("0s "+ns, "1s "+ns, "2s "+ns, "3s undeliverable a", "3s NeighborUnreachable {2001:db8::1}", "3s "+ns)
	})
	t.Run("the queue drops the oldest", func(t *testing.T) {
		b := newBench(t, Config{})
		for i := range 10 {
			b.resolve(peer, strconv.Itoa(i))
		}
		b.advertise(peer, m1)
		want := []string{"0s " + ns}
		for i := 2; i < 10; i++ {
			want = append(want, fmt.Sprintf("0s packet %d to m1", i))
		}
		b.expect(append(want, "0s NeighborReachable {2001:db8::1 [2 0 0 0 0 1]}")...)
		if c := b.Counters(); c.PendingDropped != 2 {
			t.Errorf("%+v", c)
		}
	})
	t.Run("the source is the packet's if it is ours, else link-local", func(t *testing.T) {
		b := newBench(t, Config{})
		b.do(b.Resolve(b.now, peer, data(ll, peer, "")))
		b.do(b.Resolve(b.now, host, data(addr("2001:db8:5::5"), host, "")))
		b.expect("0s fe80::ee > ff02::1:ff00:1 NS 2001:db8::1 source=me", "0s fe80::ee > ff02::1:ff00:2 NS 2001:db8::2 source=me")
	})
	t.Run("the copy keeps its offload state", func(t *testing.T) {
		b := newBench(t, Config{})
		p := data(own, peer, "super")
		p.Offload = packet.Offload{Segmentation: packet.UDP, SegmentSize: 1, NeedsChecksum: true, ChecksumStart: 40}
		want := p.Offload
		b.Resolve(b.now, peer, p)
		p.Reset()
		m, _ := nd.Append(nil, peer, own, &nd.NeighborAdvertisement{Target: peer, Options: nd.Options{nd.TargetLinkLayerAddress(m1)}})
		out := b.Handle(b.now, m, m1)
		if len(out.Frames) != 1 || out.Frames[0].Packet.Offload != want || string(out.Frames[0].Packet.Bytes()[40:]) != "super" {
			t.Errorf("%+v", out.Frames)
		}
	})
	t.Run("known and multicast addresses need none", func(t *testing.T) {
		b := newBench(t, Config{})
		b.put(reachable)
		b.resolve(peer, "a")
		b.resolve(nd.AllNodes, "b")
		b.expect("0s packet a to m1", "0s packet b to 333300000001")
	})
	t.Run("what cannot be a neighbour", func(t *testing.T) {
		b := newBench(t, Config{})
		for _, a := range []netip.Addr{any6, addr("::1"), addr("192.0.2.1"), {}} {
			b.do(b.Resolve(b.now, a, data(own, any6, "a")))
		}
		b.expect("0s undeliverable a", "0s undeliverable a", "0s undeliverable a", "0s undeliverable a")
	})
}

func TestRFC4861Section723ReceiptOfSolicitations(t *testing.T) {
	solicit := func(from packet.LinkAddress) *nd.NeighborSolicitation {
		return &nd.NeighborSolicitation{Target: own, Options: nd.Options{nd.SourceLinkLayerAddress(from)}}
	}
	group := nd.SolicitedNode(own)
	const answer = " 2001:db8::ee > 2001:db8::1 (m1) NA 2001:db8::ee [SO] target=me"

	t.Run("teaches the sender as STALE", func(t *testing.T) {
		b := newBench(t, Config{})
		b.receive(m1, peer, group, solicit(m1))
		b.expect("0s" + answer)
		if b.state(peer) != stale || b.link(peer) != "m1" || b.index.find(peer).isRouter {
			t.Errorf("state %d, link %q", b.state(peer), b.link(peer))
		}
	})
	t.Run("a changed link-layer address makes it STALE, IsRouter stays", func(t *testing.T) {
		b := newBench(t, Config{})
		b.put(reachable).isRouter = true
		b.receive(m1, peer, group, solicit(m1))
		if b.state(peer) != reachable {
			t.Error("the same address changed the state")
		}
		b.receive(m2, peer, group, solicit(m2))
		if b.state(peer) != stale || b.link(peer) != "m2" || !b.index.find(peer).isRouter {
			t.Errorf("state %d, link %q", b.state(peer), b.link(peer))
		}
	})
	t.Run("resolves an INCOMPLETE neighbour", func(t *testing.T) {
		b := newBench(t, Config{})
		b.resolve(peer, "a")
		b.lines = nil
		b.receive(m1, peer, group, solicit(m1))
		b.expect("0s packet a to m1", "0s"+answer)
		if b.state(peer) != delay {
			t.Errorf("state %d, want DELAY since a packet was sent", b.state(peer))
		}
	})
	t.Run("for others it is discarded", func(t *testing.T) {
		b := newBench(t, Config{})
		b.receive(m1, peer, nd.SolicitedNode(host), &nd.NeighborSolicitation{
			Target: host, Options: nd.Options{nd.SourceLinkLayerAddress(m1)},
		})
		b.expect()
		if b.state(peer) != removed {
			t.Error("created a neighbour")
		}
	})
	t.Run("without option it is answered where it came from and teaches nothing", func(t *testing.T) {
		b := newBench(t, Config{})
		b.receive(m1, peer, own, &nd.NeighborSolicitation{Target: own})
		b.expect("0s" + answer)
		if b.state(peer) != removed {
			t.Error("created a neighbour")
		}
	})
	t.Run("link-layer addresses that cannot be are not learned", func(t *testing.T) {
		b := newBench(t, Config{})
		for _, bad := range []packet.LinkAddress{{}, me, {0x33, 0x33, 0, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
			b.receive(m1, peer, group, solicit(bad))
			b.expect("0s" + answer)
			if b.state(peer) != removed {
				t.Errorf("learned %v", bad)
			}
		}
	})
	t.Run("our own are not heard", func(t *testing.T) {
		b := newBench(t, Config{})
		b.receive(me, peer, group, solicit(m1))
		b.expect()
		if c := b.Counters(); c.Looped != 1 {
			t.Errorf("%+v", c)
		}
	})
}

// TestRFC4861Section725ReceiptOfAdvertisements goes through the table of RFC 4861 appendix C.
func TestRFC4861Section725ReceiptOfAdvertisements(t *testing.T) {
	const (
		same      = "m1"
		different = "m2"
		no        = ""
	)
	tests := []struct {
		before              state
		solicited, override bool
		option              string
		after               state
		link                string
	}{
		{incomplete, true, false, no, incomplete, ""},
		{incomplete, false, false, different, stale, "m2"},
		{incomplete, false, true, different, stale, "m2"},
		{incomplete, true, false, different, reachable, "m2"},
		{incomplete, true, true, different, reachable, "m2"},

		{reachable, true, false, same, reachable, "m1"},
		{stale, true, false, same, reachable, "m1"},
		{delay, true, false, same, reachable, "m1"},
		{probe, true, false, same, reachable, "m1"},
		{probe, true, false, no, reachable, "m1"},
		{stale, true, true, no, reachable, "m1"},

		{reachable, true, false, different, stale, "m1"},
		{reachable, false, false, different, stale, "m1"},
		{stale, true, false, different, stale, "m1"},
		{delay, true, false, different, delay, "m1"},
		{probe, true, false, different, probe, "m1"},
		{probe, false, false, different, probe, "m1"},

		{reachable, true, true, different, reachable, "m2"},
		{stale, true, true, different, reachable, "m2"},
		{probe, true, true, different, reachable, "m2"},
		{reachable, false, true, different, stale, "m2"},
		{delay, false, true, different, stale, "m2"},
		{probe, false, true, different, stale, "m2"},

		{reachable, false, false, same, reachable, "m1"},
		{stale, false, true, same, stale, "m1"},
		{delay, false, true, same, delay, "m1"},
		{probe, false, false, no, probe, "m1"},
		{removed, true, true, different, removed, ""},
	}
	for _, tt := range tests {
		b := newBench(t, Config{})
		if tt.before != removed {
			b.put(tt.before).isRouter = true
		}
		m := &nd.NeighborAdvertisement{Target: peer, Solicited: tt.solicited, Override: tt.override, Router: true}
		if tt.option == same {
			m.Options = nd.Options{nd.TargetLinkLayerAddress(m1)}
		} else if tt.option == different {
			m.Options = nd.Options{nd.TargetLinkLayerAddress(m2)}
		}
		b.receive(m2, peer, own, m)
		if got, link := b.state(peer), b.link(peer); got != tt.after || link != tt.link {
			t.Errorf("%+v: state %d at %q", tt, got, link)
		}
	}

	t.Run("a router that is none any more", func(t *testing.T) {
		b := newBench(t, Config{})
		b.put(reachable).isRouter = true
		b.advertise(peer, m1)
		b.advertise(peer, m1)
		b.expect("0s RouterGone {2001:db8::1}")
	})
	t.Run("link-layer addresses that cannot be", func(t *testing.T) {
		b := newBench(t, Config{})
		b.put(reachable)
		for _, bad := range []packet.LinkAddress{{}, me, {0x33, 0x33, 0, 0, 0, 1}} {
			b.receive(m2, peer, own, &nd.NeighborAdvertisement{
				Target: peer, Solicited: true, Override: true, Options: nd.Options{nd.TargetLinkLayerAddress(bad)},
			})
		}
		if b.link(peer) != "m1" {
			t.Errorf("link %q", b.link(peer))
		}
	})
}

func TestRFC4861Section733UnreachabilityDetection(t *testing.T) {
	const ns = "fe80::ee > 2001:db8::1 (m1) NS 2001:db8::1 source=me"
	t.Run("unused neighbours are not probed", func(t *testing.T) {
		b := newBench(t, Config{})
		b.put(reachable)
		b.until(29 * time.Second)
		b.Lookup(peer)
		if b.state(peer) != reachable {
			t.Errorf("state %d after 29 s", b.state(peer))
		}
		b.until(30 * time.Second)
		if b.state(peer) != stale || !b.Next().IsZero() {
			t.Errorf("state %d after 30 s, next %v", b.state(peer), b.Next())
		}
		b.until(time.Hour)
		b.expect()
	})
	t.Run("used and gone", func(t *testing.T) {
		b := newBench(t, Config{})
		b.put(stale)
		for len(b.Wake()) > 0 {
			<-b.Wake()
		}
		b.at(10 * time.Second)
		for range 3 {
			if b.link(peer) != "m1" {
				t.Error("a STALE neighbour cannot be used")
			}
		}
		if len(b.Wake()) != 1 || b.Next().After(b.now) || b.Next().IsZero() {
			t.Errorf("the use of a STALE neighbour does not ask for a tick: next %v", b.Next())
		}
		b.do(b.Tick(b.now))
		if b.state(peer) != delay {
			t.Errorf("state %d, want DELAY", b.state(peer))
		}
		b.until(17 * time.Second)
		if b.link(peer) != "m1" {
			t.Error("a neighbour cannot be used while it is probed")
		}
		b.until(time.Hour)
		b.expect("15s "+ns, "16s "+ns, "17s "+ns, "18s NeighborUnreachable {2001:db8::1}")
		if b.state(peer) != removed || b.link(peer) != "" {
			t.Error("an unreachable neighbour is kept")
		}
	})
	t.Run("used and there", func(t *testing.T) {
		b := newBench(t, Config{})
		b.put(stale)
		b.resolve(peer, "a")
		b.until(5500*time.Millisecond).advertise(peer, m1)
		b.until(35 * time.Second)
		b.expect("0s packet a to m1", "5s "+ns, "5.5s NeighborReachable {2001:db8::1 [2 0 0 0 0 1]}")
		if b.state(peer) != reachable {
			t.Errorf("state %d", b.state(peer))
		}
		b.until(35500 * time.Millisecond)
		if b.state(peer) != stale {
			t.Errorf("state %d", b.state(peer))
		}
	})
	t.Run("a mark from an earlier STALE time does no harm", func(t *testing.T) {
		b := newBench(t, Config{})
		b.put(stale)
		b.Lookup(peer)
		b.put(reachable)
		b.put(stale)
		b.Lookup(peer)
		b.do(b.Tick(b.now))
		b.Lookup(peer)
		b.put(stale)
		b.Lookup(peer)
		b.do(b.Tick(b.now))
		if b.state(peer) != delay {
			t.Errorf("state %d", b.state(peer))
		}
	})
	t.Run("RFC 4861 section 7.3.1 advice of upper layers", func(t *testing.T) {
		b := newBench(t, Config{})
		b.put(stale)
		b.Lookup(peer)
		b.do(b.Tick(b.now))
		b.at(4 * time.Second)
		b.do(b.Confirm(b.now, peer))
		b.until(30 * time.Second)
		b.expect("4s NeighborReachable {2001:db8::1 [2 0 0 0 0 1]}")
		b.resolve(host, "a")
		b.do(b.Confirm(b.now, host))
		if b.state(host) != incomplete {
			t.Error("advice ended address resolution")
		}
	})
	t.Run("timers of router advertisements", func(t *testing.T) {
		b := newBench(t, Config{})
		b.SetTimers(2*time.Second, 100*time.Millisecond)
		b.put(reachable)
		b.until(2 * time.Second)
		b.Lookup(peer)
		b.until(8 * time.Second)
		b.expect("7s "+ns, "7.1s "+ns, "7.2s "+ns, "7.3s NeighborUnreachable {2001:db8::1}")
		b.SetTimers(time.Nanosecond, 1000*time.Hour)
		if b.reachableTime != 10*time.Millisecond || b.retransTimer != time.Hour {
			t.Errorf("%v, %v", b.reachableTime, b.retransTimer)
		}
		b.SetTimers(0, time.Second)
		if b.reachableTime != 10*time.Millisecond || b.retransTimer != time.Second {
			t.Errorf("%v, %v", b.reachableTime, b.retransTimer)
		}
	})
}

func TestRFC4861Section634RouterAdvertisement(t *testing.T) {
	b := newBench(t, Config{})
	ra := &nd.RouterAdvertisement{Options: nd.Options{nd.SourceLinkLayerAddress(m1)}}
	b.receive(m1, router, nd.AllNodes, ra)
	b.expect("0s RouterAdvertised fe80::1")
	if b.link(router) != "m1" || b.state(router) != stale || !b.index.find(router).isRouter {
		t.Errorf("link %q, state %d", b.link(router), b.state(router))
	}
	b.receive(m1, router, nd.AllNodes, &nd.RouterAdvertisement{})
	b.receive(m2, addr("fe80::2"), nd.AllNodes, &nd.RouterAdvertisement{})
	b.expect("0s RouterAdvertised fe80::1", "0s RouterAdvertised fe80::2")
	if b.state(addr("fe80::2")) != removed {
		t.Error("learned a router without an option")
	}
	b.receive(m1, router, ll, &nd.Redirect{Target: host, Destination: host})
	b.lines = nil
	if b.state(host) != removed {
		t.Error("a redirect was followed")
	}
}

func TestRFC4861Section626RouterSolicitation(t *testing.T) {
	rs := &nd.RouterSolicitation{Options: nd.Options{nd.SourceLinkLayerAddress(m1)}}
	b := newBench(t, Config{})
	b.receive(m1, router, nd.AllRouters, rs)
	b.expect()
	if b.state(router) != removed {
		t.Error("a host heard a router solicitation")
	}
	b = newBench(t, Config{Router: true})
	b.receive(m1, router, nd.AllRouters, rs)
	if len(b.lines) != 1 || b.state(router) != stale || b.index.find(router).isRouter {
		t.Errorf("%v, state %d", b.lines, b.state(router))
	}
}
