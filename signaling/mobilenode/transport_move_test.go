package mobilenode

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
)

func TestMovesBetweenIPv6AndIPv4Only(t *testing.T) {
	b := newBench(t, over(Auto))
	b.accept(b.do(hosted(careOfA, netip.Addr{}, netip.Addr{})))
	for range 3 {
		b.now = b.now.Add(5 * time.Second)
		out := b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4A))
		send, _ := b.update(out)
		binds := of[signaling.Bind](out)
		// At once, and the tunnel right behind.
		if send.Outer != endpoint4 || send.OuterLocal != hostIPv4A || len(binds) != 1 || binds[0].Local != hostIPv4A || binds[0].Remote != endpoint4.Addr() {
			t.Fatalf("to IPv4 only:\n%s", out)
		}
		b.accept(out, nat(0))
		b.wantState(StateRegistered)
		b.now = b.now.Add(5 * time.Second)
		out = b.do(hosted(careOfA, netip.Addr{}, netip.Addr{}))
		send, _ = b.update(out)
		if binds := of[signaling.Bind](out); send.Source != careOfA || len(binds) != 1 || binds[0].Local != careOfA || binds[0].RemotePort != 0 {
			t.Fatalf("back to IPv6:\n%s", out)
		}
		b.accept(out)
		b.wantState(StateRegistered)
	}
}

func TestChangedHostAddressIsToldAtOnce(t *testing.T) {
	b := newBench(t, over(UDP))
	b.accept(b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)), nat(0))
	b.now = b.now.Add(5 * time.Second)
	out := b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4B))
	if send, _ := b.update(out); send.OuterLocal != hostIPv4B {
		t.Errorf("sent %+v", send)
	}
	b.accept(out, nat(0))
	b.now = b.now.Add(5 * time.Second)
	// The same private address after a change of link may be in another network.
	b.do(hosted(netip.Addr{}, netip.Addr{}, netip.Addr{}))
	if send, _ := b.update(b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4B))); send.OuterLocal != hostIPv4B {
		t.Errorf("sent %+v", send)
	}
}

func TestUplinksWithTheSamePrivateAddress(t *testing.T) {
	b := newBench(t, over(Auto))
	wlan := hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)
	wlan.Uplink, wlan.Preference = "wlan0", 1
	b.accept(b.do(wlan), nat(0))
	b.now = b.now.Add(5 * time.Second)
	other := hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)
	if out := b.do(other); len(out) != 0 {
		t.Fatalf("effects:\n%s", out)
	}
	out := effects(b.m.Prefer(b.now, "eth0"))
	send, _ := b.update(out)
	if binds := of[signaling.Bind](out); send.Link != "eth0" || len(binds) != 1 || binds[0].Link != "eth0" || binds[0].RemotePort == 0 {
		t.Errorf("effects:\n%s", out)
	}
	b.accept(out, nat(0))
	b.now = b.now.Add(5 * time.Second)
	// The third is native.
	native := on("wwan0", 0, careOfB)
	b.do(native)
	if send, _ := b.update(b.m.Prefer(b.now, "wwan0")); send.Source != careOfB || send.Outer.IsValid() {
		t.Errorf("sent %+v", send)
	}
}
