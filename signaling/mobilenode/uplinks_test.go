package mobilenode

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
)

func on(uplink string, preference int, careOf netip.Addr) signaling.Attachment {
	a := attachment(careOf)
	a.Uplink, a.Preference = uplink, preference
	return a
}

func TestFailOverAndBack(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(on("wwan0", 1, careOfA)))
	b.do(b.answer(send, bu))
	b.now = b.now.Add(2 * time.Second)

	send, bu = b.update(b.do(on("eth0", 2, careOfB)))
	if send.Link != "eth0" || send.Source != careOfB {
		t.Errorf("a better uplink: sent %+v", send)
	}
	b.do(b.answer(send, bu))
	b.now = b.now.Add(2 * time.Second)

	send, bu = b.update(b.do(on("eth0", 2, netip.Addr{})))
	if send.Link != "wwan0" || send.Source != careOfA {
		t.Errorf("fail-over: sent %+v", send)
	}
	b.do(b.answer(send, bu))
	b.now = b.now.Add(2 * time.Second)

	out := b.do(on("eth0", 2, careOfB))
	if send, _ = b.update(out); send.Link != "eth0" {
		t.Errorf("fail-back: sent %+v", send)
	}
	if binds := of[signaling.Bind](out); len(binds) != 1 || binds[0].Link != "eth0" {
		t.Errorf("bound %+v", binds)
	}
}

func TestEqualUplinksStay(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(on("wlan0", 0, careOfA)))
	b.do(b.answer(send, bu))
	if out := b.do(on("eth0", 0, careOfB)); len(out) != 0 {
		t.Errorf("left an uplink as good:\n%s", out)
	}
}

func TestUnreachableHomeAgentTriesTheNextUplink(t *testing.T) {
	b := newBench(t)
	b.do(on("wwan0", 1, careOfA))
	b.now = b.now.Add(2 * time.Second)
	send, _ := b.update(b.do(on("eth0", 2, careOfB)))
	out := b.do(icmpError(1, 0, router, send))
	if send, _ = b.update(out); send.Link != "wwan0" {
		t.Errorf("sent %+v", send)
	}
	// After a while the preferred one gets another chance.
	b.now = b.now.Add(30 * time.Second)
	b.do(signaling.Tick{})
	if p := b.m.place; p.Uplink != "eth0" {
		t.Errorf("on %s after 30 s", p.Uplink)
	}
}

func TestManyUplinksAreBounded(t *testing.T) {
	b := newBench(t)
	for i := range 1000 {
		b.do(on(string(rune('a'+i)), 0, netip.Addr{}))
	}
	if len(b.m.uplinks) != maxUplinks {
		t.Errorf("%d uplinks", len(b.m.uplinks))
	}
}

// After a change of link the same care-of address may be reached by another router, which no Binding Update tells of.
func TestTunnelFollowsTheRouterOfTheSameCareOfAddress(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(on("eth0", 0, careOfA)))
	b.do(b.answer(send, bu))
	b.do(on("eth0", 0, netip.Addr{}))
	next := on("eth0", 0, careOfA)
	next.Router = netip.MustParseAddr("fe80::b")
	out := b.do(next)
	if binds := of[signaling.Bind](out); len(binds) != 1 || binds[0].Router != next.Router || binds[0].Local != careOfA {
		t.Errorf("bound %+v", binds)
	}
	if sent := of[signaling.Send](out); len(sent) != 0 {
		t.Errorf("sent %+v", sent)
	}
}
