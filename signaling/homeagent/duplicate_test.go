package homeagent

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

var plainLinkLocal = netip.MustParseAddr("fe80::8")

func withL(m *message) { m.update.LinkLocal = true }

func (w *world) probed(address netip.Addr, duplicate bool) effects {
	return w.handle(signaling.DuplicateResult{Link: "eth0", Address: address, Duplicate: duplicate})
}

func probes(e effects) (all []netip.Addr) {
	for _, p := range of[signaling.ProbeDuplicate](e) {
		all = append(all, p.Address)
	}
	return all
}

func TestRFC6275_10_3_1_DuplicateAddressDetectionBeforeFirstAck(t *testing.T) {
	w := start(t, physical)
	e := w.send(bu(plain, 1))
	if got := of[signaling.ProbeDuplicate](e); !slices.Equal(got, []signaling.ProbeDuplicate{{Link: "eth0", Address: plain}}) {
		t.Fatalf("probes %v", got)
	}
	if len(of[signaling.Send](e)) != 0 || len(of[signaling.Bind](e)) != 0 {
		t.Errorf("acknowledged before: %v", e)
	}
	w.bound(plain, nowhere, 0)
	e = w.after(time.Second).probed(plain, false)
	a := e.status(t, 0)
	if a.Sequence != 1 || a.Lifetime != time.Minute {
		t.Errorf("acknowledgement %+v", a)
	}
	// The lifetime is counted from when the binding is made.
	w.bound(plain, careOf1, time.Minute)
	// Section 10.4.1, and L=0: only the home address.
	want := []signaling.Defend{{Link: "eth0", Address: plain, Announce: true, Proxy: true}}
	if got := of[signaling.Defend](e); !slices.Equal(got, want) {
		t.Errorf("defends %v, want %v", got, want)
	}
	// "Unless this home agent already has a binding".
	e = w.accept(bu(plain, 2, from(careOf2)))
	if len(of[signaling.ProbeDuplicate](e)) != 0 || len(of[signaling.Defend](e)) != 0 {
		t.Errorf("effects of the refresh: %v", e)
	}
}

func TestRFC6275_10_3_1_DuplicateAddressDetectionFailed(t *testing.T) {
	w := start(t, physical)
	w.send(bu(plain, 1))
	e := w.probed(plain, true)
	if a := e.status(t, 134); a.Sequence != 1 {
		t.Errorf("sequence number %d", a.Sequence)
	}
	if !slices.Contains(e.kinds(), DuplicateAddress) || len(of[signaling.Defend](e)) != 0 {
		t.Errorf("effects %v", e)
	}
	w.bound(plain, nowhere, 0)
	w.probed(plain, false).silent(t)
	// It may try again.
	if p := probes(w.send(bu(plain, 2))); len(p) != 1 {
		t.Errorf("probes %v", p)
	}
}

func TestRFC6275_10_3_1_LinkLocalAddressIsDefendedToo(t *testing.T) {
	w := start(t, physical)
	if p := probes(w.send(bu(plain, 1, withL))); !slices.Equal(p, []netip.Addr{plain, plainLinkLocal}) {
		t.Fatalf("probes %v", p)
	}
	w.probed(plainLinkLocal, false).silent(t)
	e := w.probed(plain, false)
	e.status(t, 0)
	if d := of[signaling.Defend](e); len(d) != 2 || d[1].Address != plainLinkLocal || !d[1].Announce {
		t.Errorf("defends %v", d)
	}
	e = w.accept(bu(plain, 2, lifetime(0)))
	if u := of[signaling.Undefend](e); len(u) != 2 {
		t.Errorf("lets go of %v", u)
	}
	// A duplicate link-local address refuses "the complete Binding Update".
	w.send(bu(plain, 3, withL))
	w.probed(plain, false).silent(t)
	w.probed(plainLinkLocal, true).status(t, 134)
	w.bound(plain, nowhere, 0)
}

func TestLinkLocalBitOfExistingBindingChanges(t *testing.T) {
	w := start(t, physical)
	w.send(bu(plain, 1))
	w.probed(plain, false)
	if p := probes(w.send(bu(plain, 2, withL))); !slices.Equal(p, []netip.Addr{plainLinkLocal}) {
		t.Fatalf("probes %v", p)
	}
	w.bound(plain, careOf1, time.Minute)
	e := w.probed(plainLinkLocal, false)
	e.ack(t)
	if d := of[signaling.Defend](e); len(d) != 1 || d[0].Address != plainLinkLocal {
		t.Errorf("defends %v", d)
	}
	e = w.accept(bu(plain, 3))
	if u := of[signaling.Undefend](e); !slices.Equal(u, []signaling.Undefend{{Link: "eth0", Address: plainLinkLocal}}) {
		t.Errorf("lets go of %v", u)
	}
	// A change of mind while the detection runs.
	w.send(bu(plain, 4, withL))
	w.accept(bu(plain, 5))
	if e := w.probed(plainLinkLocal, false); len(e) != 0 {
		t.Errorf("effects %v", e)
	}
}

func TestRetransmissionDoesNotRestartDetection(t *testing.T) {
	w := start(t, physical)
	w.send(bu(plain, 1))
	if p := probes(w.after(500 * time.Millisecond).send(bu(plain, 2, from(careOf2)))); len(p) != 0 {
		t.Errorf("probes %v", p)
	}
	w.send(bu(plain, 2)).status(t, 135)
	e := w.after(500*time.Millisecond).probed(plain, false)
	a, s := e.ack(t)
	if a.Status != 0 || a.Sequence != 2 || s.Destination != careOf2 {
		t.Errorf("acknowledgement %+v to %v", a, s.Destination)
	}
	w.bound(plain, careOf2, time.Minute)
	if n := w.m.Counters().Superseded; n != 1 {
		t.Errorf("%d superseded", n)
	}
}

func TestReplayWhileDetectionRunsIsRefused(t *testing.T) {
	w := start(t, physical)
	m := bu(signed, 1, sign(sha1Key, noon)).received(t)
	w.handle(m)
	effects(w.handle(m)).status(t, 144)
	w.probed(signed, false).verified(t, sha1Key, careOf1, signed)
}

func TestDeregistrationWhileDetectionRuns(t *testing.T) {
	w := start(t, physical)
	w.send(bu(plain, 1))
	w.send(bu(plain, 2, atHome)).status(t, 133)
	w.probed(plain, false).silent(t)
	w.bound(plain, nowhere, 0)
}

func TestDetectionWithoutAnswerEnds(t *testing.T) {
	w := start(t, physical)
	w.send(bu(plain, 1))
	if next := w.m.Next(); !next.Equal(noon.Add(10 * time.Second)) {
		t.Errorf("next at %v", next)
	}
	w.after(10*time.Second).tick().status(t, 128)
	if !w.m.Next().IsZero() {
		t.Errorf("next at %v", w.m.Next())
	}
}

func TestDetectionsAreLimited(t *testing.T) {
	w := start(t, physical, func(c *Config) { c.AllowAnyMobileNode, c.AllowUnauthenticated, c.MaxBindings = true, true, 3 })
	any := func(n byte) netip.Addr { return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 14: 0xcc, 15: n}) }
	for n := range byte(3) {
		w.send(bu(any(n), 1))
	}
	w.send(bu(any(3), 1)).status(t, 130)
	for n := range byte(3) {
		w.probed(any(n), false).status(t, 0)
	}
	w.send(bu(any(3), 1)).status(t, 130)

	w = start(t, physical, func(c *Config) { c.AllowAnyMobileNode, c.AllowUnauthenticated, c.MaxBindings = true, true, 0 })
	for n := range maxPending {
		a := any(byte(n)).As16()
		a[13] = byte(n >> 8)
		w.send(bu(netip.AddrFrom16(a), 1))
	}
	w.send(bu(plain, 1)).status(t, 130)
}

func TestRFC6275_10_3_2_AcknowledgementAtHomeGoesToTheLink(t *testing.T) {
	w := start(t, physical)
	w.send(bu(plain, 1))
	w.probed(plain, false)
	// Refused: the binding still draws packets for the home address into the tunnel.
	_, s := w.send(bu(plain, 1, atHome)).ack(t)
	if s.Link != "eth0" || s.Router != plain || s.Destination != plain {
		t.Errorf("refusal sent as %+v", s)
	}
	e := w.accept(bu(plain, 2, atHome))
	// "MUST stop intercepting packets", before the acknowledgement.
	undefend := slices.IndexFunc(e, func(v signaling.Effect) bool { _, ok := v.(signaling.Undefend); return ok })
	send := slices.IndexFunc(e, func(v signaling.Effect) bool { _, ok := v.(signaling.Send); return ok })
	if undefend < 0 || undefend > send {
		t.Errorf("effects %v", e)
	}
}

func TestRFC3963_6_2_RouterFlagInAdvertisement(t *testing.T) {
	w := start(t, physical)
	w.send(bu(router, 1, asRouter, options(&mh.MobileNetworkPrefix{Prefix: network1})))
	if d := of[signaling.Defend](w.probed(router, false)); len(d) != 1 || !d[0].Router {
		t.Errorf("defends %v", d)
	}
}
