package forwarding

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"kedge/netstack/packet"
)

// Every octet of what goes into and comes out of the tunnel to the anchor (RFC 5213 section 6.10.5, figure 14).
func TestRFC5213_6_10_5_TunnelToTheAnchor(t *testing.T) {
	e, w := accessRouter(t)
	up := udpClass(0xb8, within(earlier1), cn, 20)
	out, label := flowless(one(t, said(w, access1, mac1, up), ethPort))
	if want := ipv6(0xb8, maar, previous, 41, 64, hopped(up)); !bytes.Equal(out, want) || label == 0 {
		t.Errorf("up, with label %#x:\ngot  %x\nwant %x", label, out, want)
	}
	down := udp(cn, within(earlier1), 20)
	r := process(w, ethPort, tunnelled(0, previous, maar, down))
	if out := one(t, r, access1); !bytes.Equal(out, hopped(down)) {
		t.Errorf("down:\ngot  %x\nwant %x", out, hopped(down))
	}
	if hop := r.Outputs[0].Packets[0].NextHop; hop != within(earlier1) {
		t.Errorf("next hop %v", hop)
	}
	u := useOf(t, e, earlier1)
	if u.From.Tunneled != 1 || u.To.Tunneled != 1 || u.From.Native != 0 || u.To.Native != 0 {
		t.Errorf("use %+v", u)
	}
}

// "Packets that are sent with the link-local source address MUST NOT be forwarded."
func TestRFC5213_6_10_5_LinkLocalSourceIsNotForwarded(t *testing.T) {
	for _, to := range []netip.Addr{cn, within(local2), maar} {
		e, w := accessRouter(t)
		wantDrop(t, e, said(w, access1, mac1, udp(addr("fe80::5"), to, 1)), DropScope)
	}
}

// "The mobile access gateway MUST ensure that there is an established binding for that mobile node."
func TestRFC5213_6_10_5_NothingIsForwardedWithoutABinding(t *testing.T) {
	e, w := accessRouter(t)
	e.UnbindAttached(earlier1)
	r := said(w, access1, mac1, udp(within(earlier1), cn, 1))
	wantDrop(t, e, r, DropNotAttached)
	if len(r.Strangers) != 1 || r.Strangers[0] != (Stranger{access1, mac1, within(earlier1)}) {
		t.Errorf("strangers %+v", r.Strangers)
	}
}

// "If the mobile access gateway is not allowed to route the packet directly, it MUST route the packet through the
// bi-directional tunnel": EnableMAGLocalRouting is off.
func TestRFC5213_6_10_5_TunnelledSourceToLocalDestination(t *testing.T) {
	_, w := accessRouter(t)
	for _, to := range []netip.Addr{within(local2), within(local1), within(local3), within(gone), within(earlier1), maar} {
		out := one(t, said(w, access1, mac1, udp(within(earlier1), to, 1)), ethPort)
		if addrAt(out, 24) != previous || addrAt(out, 64) != to {
			t.Errorf("to %v went %x", to, out[:80])
		}
	}
}

// "If the mobile access gateway cannot find the connected interface for that destination address, it MUST silently drop the
// packet", or report it as RFC 2473 says: to the tunnel's entry point.
func TestRFC5213_6_10_5_NoInterfaceForTheDestination(t *testing.T) {
	e, w := accessRouter(t)
	e.UnbindAttached(earlier1)
	out := one(t, process(w, ethPort, tunnelled(0, previous, maar, udp(cn, within(earlier1), 20))), ethPort)
	if addrAt(out, 24) != previous || out[6] != 58 || out[40] != 1 || out[41] != 5 {
		t.Errorf("got %x", out)
	}
	wantCount(t, e, DropNoBinding, 1)

	e = New(Options{})
	must(t, e.SetPort(Port{ID: ethPort, MTU: 1500}))
	must(t, e.SetLocal(maar, ethPort))
	must(t, e.SetRoute(netip.MustParsePrefix("::/0"), ethPort, router))
	w = e.NewWorker()
	wantDrop(t, e, process(w, ethPort, tunnelled(0, previous, maar, udp(cn, within(earlier1), 20))), DropNoBinding)
}

// RFC 5213 section 5.6.3: marks of congestion cross the tunnel both ways.
func TestRFC5213_5_6_3_CongestionNotification(t *testing.T) {
	e, w := accessRouter(t)
	out := one(t, said(w, access1, mac1, udpClass(2, within(earlier1), cn, 1)), ethPort)
	if class := out[0]<<4 | out[1]>>4; class != 2 {
		t.Errorf("outer traffic class %#x", class)
	}
	down := one(t, process(w, ethPort, tunnelled(3, previous, maar, udpClass(2, cn, within(earlier1), 1))), access1)
	if class := down[0]<<4 | down[1]>>4; class != 3 {
		t.Errorf("inner traffic class %#x", class)
	}
	wantDrop(t, e, process(w, ethPort, tunnelled(3, previous, maar, udp(cn, within(earlier1), 1))), DropCongestion)
}

// "MAAR1 acts as a plain router for packets destined to the MN as no encapsulation or special handling takes place."
func TestRFC8885_3_1_LocalPrefixIsRouted(t *testing.T) {
	e, w := accessRouter(t)
	for range 10 {
		up, down := udp(within(local1), cn, 20), udp(cn, within(local1), 20)
		if out := one(t, said(w, access1, mac1, up), ethPort); !bytes.Equal(out, hopped(up)) {
			t.Fatalf("up %x", out)
		}
		if out := one(t, process(w, ethPort, down), access1); !bytes.Equal(out, hopped(down)) {
			t.Fatalf("down %x", out)
		}
	}
	want := Traffic{Last: useOf(t, e, local1).Last(), Native: 10}
	if u := useOf(t, e, local1); u.From != want || u.To != want || !u.Attached {
		t.Errorf("use %+v", u)
	}
	wantCount(t, e, Encapsulated, 0)
	wantCount(t, e, Decapsulated, 0)
}

// RFC 8885 section 3.2, step 5: what a mobile node sends and gets with the prefix of its previous MAAR goes through the
// tunnel between the two, and the previous MAAR routes it on.
func TestRFC8885_3_2_EarlierPrefixGoesThroughBothMAARs(t *testing.T) {
	_, w := accessRouter(t)
	p := New(Options{Anchor: true})
	must(t, p.SetPort(Port{ID: ethPort, MTU: 1500}))
	must(t, p.SetLocal(previous, ethPort))
	must(t, p.SetRoute(netip.MustParsePrefix("::/0"), ethPort, router))
	must(t, p.BindAnchored(earlier1, Tunnel{Local: previous, Remote: maar}))
	pw := p.NewWorker()

	up := udp(within(earlier1), cn, 20)
	between := one(t, said(w, access1, mac1, up), ethPort)
	if out := one(t, process(pw, ethPort, between), ethPort); !bytes.Equal(out, hopped(hopped(up))) {
		t.Errorf("up %x", out)
	}
	down := udp(cn, within(earlier1), 20)
	between = one(t, process(pw, ethPort, down), ethPort)
	if out := one(t, process(w, ethPort, between), access1); !bytes.Equal(out, hopped(hopped(down))) {
		t.Errorf("down %x", out)
	}
	if u := useOf(t, p, earlier1); u.Attached || u.From.Last.IsZero() || u.To.Last.IsZero() {
		t.Errorf("use at the previous MAAR %+v", u)
	}
}

// A mobile node is served by all routers that it sees, and chooses among them as it likes: nothing but the source decides.
func TestRFC8885_3_7_AnyRouterTakesAnySource(t *testing.T) {
	_, w := accessRouter(t)
	if out := one(t, said(w, access1, mac1, udp(within(local1), cn, 1)), ethPort); addrAt(out, 8) != within(local1) {
		t.Errorf("native: %x", out)
	}
	if out := one(t, said(w, access1, mac1, udp(within(earlier1), cn, 1)), ethPort); addrAt(out, 8) != maar {
		t.Errorf("tunnelled: %x", out)
	}
}

func TestAttachedToEachOther(t *testing.T) {
	e, w := accessRouter(t)
	for _, c := range []struct {
		name string
		to   netip.Addr
		port PortID
	}{
		{"same link", within(local2), access1},
		{"other link", within(local3), access2},
		{"itself", within(local1), access1},
		{"attached, but anchored elsewhere", within(earlier1), access1},
	} {
		b := udp(within(local1), c.to, 20)
		r := said(w, access1, mac1, b)
		if out := one(t, r, c.port); !bytes.Equal(out, hopped(b)) {
			t.Errorf("%s: %x", c.name, out)
		}
		if len(r.Neighbor) != 0 || len(r.ToHost) != 0 {
			t.Errorf("%s: more than the packet", c.name)
		}
	}
	wantCount(t, e, ErrorsSent, 0)
	out := one(t, said(w, access1, mac1, udp(within(local1), within(gone), 20)), ethPort)
	if addrAt(out, 24) != serving {
		t.Errorf("to a mobile node that is elsewhere: %x", out)
	}
	if r := said(w, access1, mac1, udp(within(local1), maar, 20)); len(r.ToHost) != 1 {
		t.Error("to this node: not at the host")
	}
}

// What mobile nodes that are served elsewhere send to those that are here goes straight to the access link, also if their
// prefix is anchored at the MAAR that it came from.
func TestAnchoredToAttached(t *testing.T) {
	e, w := accessRouter(t)
	for _, to := range []netip.Prefix{local1, earlier1} {
		b := udp(within(gone), within(to), 20)
		if out := one(t, process(w, ethPort, tunnelled(0, serving, maar, b)), access1); !bytes.Equal(out, hopped(b)) {
			t.Errorf("to %v: %x", to, out)
		}
	}
	if useOf(t, e, gone).From.Last.IsZero() {
		t.Error("no use of the anchored prefix")
	}
}

// A prefix that is back is routed, though its tunnel is still there; what is on its way through the tunnel arrives.
func TestAttachedGoesBeforeAnchored(t *testing.T) {
	e, w := accessRouter(t)
	must(t, e.BindAttached(gone, here(access2, mac3)))
	b := udp(cn, within(gone), 20)
	if out := one(t, process(w, ethPort, b), access2); !bytes.Equal(out, hopped(b)) {
		t.Errorf("down: %x", out)
	}
	b = udp(within(gone), cn, 20)
	if out := one(t, said(w, access2, mac3, b), ethPort); !bytes.Equal(out, hopped(b)) {
		t.Errorf("up: %x", out)
	}
	if out := one(t, process(w, ethPort, tunnelled(0, serving, maar, b)), ethPort); !bytes.Equal(out, hopped(b)) {
		t.Errorf("up, late: %x", out)
	}
	e.UnbindAnchored(gone)
	wantDropped(t, e, process(w, ethPort, tunnelled(0, serving, maar, b)), DropNoBinding)
	must(t, e.BindAnchored(gone, Tunnel{Local: maar, Remote: serving}))
	one(t, process(w, ethPort, udp(cn, within(gone), 20)), access2)
	e.UnbindAttached(gone)
	out := one(t, process(w, ethPort, udp(cn, within(gone), 20)), ethPort)
	if addrAt(out, 24) != serving {
		t.Errorf("when it is gone again: %x", out)
	}
	e.UnbindAnchored(gone)
	if _, ok := e.AttachedUse(gone); ok {
		t.Error("still bound")
	}
}

// wantDropped is wantDrop where an ICMPv6 error may go out.
func wantDropped(t testing.TB, e *Engine, r *Result, c Counter) {
	t.Helper()
	for _, o := range r.Outputs {
		for _, p := range o.Packets {
			if p.Bytes()[6] != 58 {
				t.Errorf("%x came out", p.Bytes())
			}
		}
	}
	wantCount(t, e, c, 1)
}

func TestMobileNodeMoves(t *testing.T) {
	e, w := accessRouter(t)
	one(t, said(w, access1, mac1, udp(within(local1), cn, 1)), ethPort)
	must(t, e.BindAttached(local1, here(access2, mac1)))
	one(t, process(w, ethPort, udp(cn, within(local1), 1)), access2)
	wantDropped(t, e, said(w, access1, mac1, udp(within(local1), cn, 1)), DropNotAttached)
	one(t, said(w, access2, mac1, udp(within(local1), cn, 1)), ethPort)
	if u := useOf(t, e, local1); u.From.Native != 2 || u.To.Native != 1 {
		t.Errorf("use %+v", u)
	}
	generation := e.state.Load().generation
	must(t, e.BindAttached(local1, here(access2, mac1)))
	e.UnbindAttached(netip.MustParsePrefix("2001:db8:4711::/64"))
	if g := e.state.Load().generation; g != generation {
		t.Error("a refresh changed the state")
	}
}

func TestBindAttachedErrors(t *testing.T) {
	e, _ := accessRouter(t)
	tunnel := func(t Tunnel) Attached { return Attached{Port: access1, MobileNode: mac1, Tunnel: t} }
	for _, c := range []struct {
		name   string
		prefix netip.Prefix
		a      Attached
		want   error
	}{
		{"no prefix", netip.Prefix{}, here(access1, mac1), ErrPrefix},
		{"IPv4", netip.MustParsePrefix("10.0.0.0/8"), here(access1, mac1), ErrPrefix},
		{"nobody", local1, here(access1, packet.LinkAddress{}), ErrMobileNode},
		{"group", local1, here(access1, packet.LinkAddress{0x33, 0x33}), ErrMobileNode},
		{"no tunnel", local1, tunnel(Tunnel{}), ErrAddress},
		{"no local end", local1, tunnel(Tunnel{Remote: previous}), ErrAddress},
		{"anchor within", local1, tunnel(Tunnel{Local: maar, Remote: within(local1)}), ErrLoop},
		{"to itself", local1, tunnel(Tunnel{Local: maar, Remote: maar}), ErrLoop},
		{"down", local1, tunnel(Tunnel{Down: true}), nil},
	} {
		if err := e.BindAttached(c.prefix, c.a); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := e.SetPort(Port{ID: 9, MTU: 1500, Host: true, Access: true}); !errors.Is(err, ErrPort) {
		t.Errorf("host and access: %v", err)
	}
}

func TestUse(t *testing.T) {
	e, w := accessRouter(t)
	if u := useOf(t, e, local1); !u.Last().IsZero() || !u.Attached {
		t.Errorf("before any packet: %+v", u)
	}
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	near := func(got, want time.Time) bool { return got.After(want.Add(-1001*time.Millisecond)) && !got.After(want) }
	w.Process(at(10.5), access1, []*packet.Packet{frame(udp(within(earlier1), cn, 1), mac1)})
	w.Process(at(70.9), ethPort, []*packet.Packet{pkt(tunnelled(0, previous, maar, udp(cn, within(earlier1), 1)))})
	w.Process(at(80), ethPort, []*packet.Packet{pkt(udp(cn, within(earlier1), 1))})                              // dropped
	w.Process(at(80), access1, []*packet.Packet{frame(udp(within(earlier1), cn, 1), mac2)})                      // dropped
	w.Process(at(80), ethPort, []*packet.Packet{pkt(tunnelled(0, serving, maar, udp(cn, within(earlier1), 1)))}) // dropped
	u := useOf(t, e, earlier1)
	if !near(u.From.Last, at(10.5)) || !near(u.To.Last, at(70.9)) || u.Last() != u.To.Last {
		t.Errorf("%+v", u)
	}
	w.Process(at(90), ethPort, []*packet.Packet{pkt(udp(cn, within(gone), 1))})
	w.Process(at(95), ethPort, []*packet.Packet{pkt(tunnelled(0, serving, maar, udp(within(gone), cn, 1)))})
	u = useOf(t, e, gone)
	if u.Attached || !near(u.To.Last, at(90)) || !near(u.From.Last, at(95)) || u.Last() != u.From.Last {
		t.Errorf("anchored: %+v", u)
	}
	seen := map[netip.Prefix]Use{}
	for prefix, u := range e.AttachedUses() {
		seen[prefix] = u
	}
	if len(seen) != 5 || seen[gone] != u {
		t.Errorf("all: %v", seen)
	}
}
