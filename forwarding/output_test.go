package forwarding

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

func TestOutput(t *testing.T) {
	e, w := anchor(t)
	b := udp(ha, cn, 10)
	out := func(b []byte) *Result { return w.Output(start, []*packet.Packet{pkt(b)}) }
	r := out(b)
	if got := one(t, r, ethPort); !bytes.Equal(got, b) || r.Outputs[0].Packets[0].NextHop != router {
		t.Errorf("routed: %x to %v", got, r.Outputs[0].Packets[0].NextHop)
	}
	b = udp(ha, h1, 10) // an echo reply, say, to a mobile node
	if got, _ := flowless(one(t, out(b), ethPort)); !bytes.Equal(got, ipv6(0, ha, c1, 41, 64, b)) {
		t.Errorf("bound: %x", got)
	}
	if r := out(udp(ha, ha, 10)); len(r.ToHost) != 1 {
		t.Error("to itself: not delivered")
	}
	wantDrop(t, e, out(udp(netip.IPv6Unspecified(), cn, 1)), DropBogon)
	e.RemoveRoute(netip.MustParsePrefix("::/0"))
	r = out(udp(ha, cn, 1))
	if len(r.ToHost) != 1 {
		t.Fatal("the host does not hear that there is no route")
	}
	wantICMP(t, r.ToHost[0].Bytes(), ha, ha, 1, 0)
}

func TestOutputVia(t *testing.T) {
	e, w := anchor(t)
	// Signalling to a care-of address by a router of its own choice; also from no address at all.
	for _, next := range []netip.Addr{addr("fe80::9"), {}} {
		b := ipv6(0, netip.IPv6Unspecified(), addr("ff02::2"), 58, 255, make([]byte, 8))
		r := w.OutputVia(start, ethPort, next, []*packet.Packet{pkt(b)})
		want := next
		if !next.IsValid() {
			want = addr("ff02::2")
		}
		if got := one(t, r, ethPort); !bytes.Equal(got, b) || r.Outputs[0].Packets[0].NextHop != want {
			t.Errorf("%x to %v", got, r.Outputs[0].Packets[0].NextHop)
		}
	}
	wantDrop(t, e, w.OutputVia(start, 99, netip.Addr{}, []*packet.Packet{pkt(udp(ha, cn, 1))}), DropNoPort)
}

func TestOutputTunnel(t *testing.T) {
	e, m := mobileNode(t)
	b := udp(h1, cn, 10)
	if got, _ := flowless(one(t, m.OutputTunnel(start, h1, []*packet.Packet{pkt(b)}), ethPort)); !bytes.Equal(got, ipv6(0, c1, ha, 41, 64, b)) {
		t.Errorf("mobile node: %x", got)
	}
	wantDrop(t, e, m.OutputTunnel(start, h2, []*packet.Packet{pkt(b)}), DropUnbound)
	_, a := anchor(t)
	b = udp(ha, cn, 10) // the destination does not matter
	if got, _ := flowless(one(t, a.OutputTunnel(start, h2, []*packet.Packet{pkt(b)}), ethPort)); !bytes.Equal(got, ipv6(0, ha, c2, 41, 64, b)) {
		t.Errorf("anchor: %x", got)
	}
}

func TestSeveralPorts(t *testing.T) {
	e, w := anchor(t)
	must(t, e.SetPort(Port{ID: 9, MTU: 1500}))
	must(t, e.SetRoute(netip.PrefixFrom(c2, 64), 9, netip.Addr{}))
	for range 3 { // the second and third time over buffers of the first
		r := w.Process(start, ethPort, []*packet.Packet{pkt(udp(cn, h1, 1)), pkt(udp(cn, h2, 2)), pkt(udp(cn, h3, 3)), pkt(udp(cn, h1, 4))})
		if len(r.Outputs) != 2 {
			t.Fatalf("%d ports", len(r.Outputs))
		}
		a, b := sent(r, ethPort), sent(r, 9)
		if len(a) != 2 || len(b) != 1 || len(a[0]) != 89 || len(a[1]) != 92 || len(b[0]) != 90 {
			t.Errorf("%d and %d packets", len(a), len(b))
		}
		one(t, process(w, ethPort, udp(cn, h2, 1)), 9)
	}
}

func TestFlowLabel(t *testing.T) {
	e, w := anchor(t)
	w2 := e.NewWorker()
	label := func(w *Worker, b []byte) uint32 {
		_, l := flowless(one(t, process(w, ethPort, b), ethPort))
		return l
	}
	a := label(w, udp(cn, h1, 1))
	if a != label(w2, udp(cn, h1, 1000)) {
		t.Error("a flow has two labels")
	}
	seen := map[uint32]bool{}
	for port := range 200 {
		b := udp(cn, h1, 1)
		b[41] = byte(port)
		seen[label(w, b)] = true
	}
	if len(seen) < 195 || seen[0] {
		t.Errorf("%d labels for 200 flows", len(seen))
	}
	_, other := anchor(t)
	if a == label(other, udp(cn, h1, 1)) && label(w, udp(cn, h2, 1)) == label(other, udp(cn, h2, 1)) {
		t.Error("labels do not depend on the engine")
	}
}

func TestControlErrors(t *testing.T) {
	e, _ := anchor(t)
	home, tunnel := host(h1), Tunnel{Local: ha, Remote: c1}
	v4 := addr("192.0.2.1")
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"port MTU", e.SetPort(Port{MTU: 1279}), ErrMTU},
		{"own address", e.SetLocal(addr("ff02::1"), 1), ErrAddress},
		{"own IPv4 address", e.SetLocal(v4, 1), ErrAddress},
		{"no own address", e.SetLocal(netip.Addr{}, 1), ErrAddress},
		{"no route", e.SetRoute(netip.Prefix{}, 1, router), ErrPrefix},
		{"IPv4 route", e.SetRoute(netip.MustParsePrefix("0.0.0.0/0"), 1, router), ErrPrefix},
		{"next hop", e.SetRoute(netip.MustParsePrefix("::/0"), 1, v4), ErrAddress},
		{"prefix", e.BindAnchored(netip.Prefix{}, tunnel), ErrPrefix},
		{"local", e.BindAnchored(home, Tunnel{Remote: c1}), ErrAddress},
		{"remote", e.BindMobile(home, Tunnel{Local: c1}), ErrAddress},
		{"tunnel next hop", e.BindMobile(home, Tunnel{Local: c1, Remote: ha, NextHop: v4}), ErrAddress},
		{"to itself", e.BindAnchored(home, Tunnel{Local: ha, Remote: ha}), ErrLoop},
		{"to its own home address", e.BindAnchored(home, Tunnel{Local: ha, Remote: h1}), ErrLoop},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
	}
	if e.BindAnchored(home, Tunnel{Native: true}) == nil {
		t.Error("native anchor")
	}
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.0/8")} {
		e.UnbindAnchored(p)
		e.UnbindMobile(p)
		e.RemoveRoute(p)
	}
	e.RemoveLocal(netip.Addr{})
	e.RemoveLocal(v4)
}

// What is set again as it is changes nothing.
func TestRefreshChangesNothing(t *testing.T) {
	e, _ := mobileNode(t)
	set := func() {
		must(t, e.BindAnchored(host(h2), Tunnel{Local: c1, Remote: c2}))
		must(t, e.BindMobile(host(h1), Tunnel{Local: c1, Remote: ha, Via: true, Port: ethPort, NextHop: router}))
		must(t, e.SetRoute(netip.MustParsePrefix("::/0"), ethPort, router))
	}
	set()
	before := e.state.Load()
	bound := before.hosts.get(h2)
	set()
	if e.state.Load() != before || before.hosts.get(h2) != bound {
		t.Error("a new state or binding")
	}
	must(t, e.BindAnchored(host(h2), Tunnel{Local: c1, Remote: c2, PathMTU: 1400}))
	if e.state.Load() != before || before.hosts.get(h2) == bound {
		t.Error("a new state, or no new binding")
	}
}

func TestCounters(t *testing.T) {
	seen := map[string]bool{}
	for c := range counterCount {
		if c.String() == "" || seen[c.String()] {
			t.Errorf("counter %d is called %q", c, c)
		}
		seen[c.String()] = true
		if c.IsDrop() != (c >= DropNotIPv6) {
			t.Errorf("%v", c)
		}
	}
	e, w := anchor(t)
	w2 := e.NewWorker()
	process(w, ethPort, udp(cn, h3, 1))
	process(w2, ethPort, udp(cn, h3, 1))
	wantCount(t, e, DropNotOurs, 2)
	w.Close()
	w.Close()
	wantCount(t, e, DropNotOurs, 2)
	process(w2, ethPort, udp(cn, h3, 1))
	c := e.Counters()
	if c.Dropped() != 3 || c[Received] != 3 {
		t.Errorf("%d dropped of %d", c.Dropped(), c[Received])
	}
}
