package forwarding

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"kedge/netstack/packet"
)

// about checks an ICMPv6 error to a mobile node: from this node, of a type, about a packet.
func about(t *testing.T, b []byte, kind, code byte, parameter uint32, invoking []byte) {
	t.Helper()
	if addrAt(b, 8) != maar || b[6] != 58 || b[40] != kind || b[41] != code || binary.BigEndian.Uint32(b[44:]) != parameter {
		t.Errorf("got %x", b[:min(len(b), 48)])
	}
	if slowSum(b[40:], addrAt(b, 8), addrAt(b, 24), 58) != 0xffff {
		t.Error("bad checksum")
	}
	if embedded := b[48:]; len(embedded) < 40 || addrAt(embedded, 8) != addrAt(invoking, 8) || addrAt(embedded, 24) != addrAt(invoking, 24) {
		t.Errorf("about %x", embedded)
	}
}

// Errors about what a mobile node sends come to it on its own link, whichever prefix it used.
func TestErrorsToMobileNodes(t *testing.T) {
	e, w := accessRouter(t)
	big := udp(within(earlier1), cn, 1420)
	about(t, one(t, said(w, access1, mac1, big), access1), 2, 0, 1460, big)
	wantCount(t, e, DropTooBig, 1)

	last := udp(within(earlier1), cn, 1)
	last[7] = 1
	about(t, one(t, said(w, access1, mac1, last), access1), 3, 0, 0, last)
	last = udp(within(local1), within(local2), 1)
	last[7] = 1
	about(t, one(t, said(w, access1, mac1, last), access1), 3, 0, 0, last)

	e.RemoveRoute(netip.MustParsePrefix("::/0"))
	lost := udp(within(local1), cn, 1)
	about(t, one(t, said(w, access1, mac1, lost), access1), 1, 0, 0, lost)
	lost = udp(within(earlier1), cn, 1)
	if r := said(w, access1, mac1, lost); len(r.Outputs) != 0 {
		t.Errorf("%+v", *r)
	}
	wantCount(t, e, DropNoRoute, 2)
}

// What does not fit the access link is reported to where it came from.
func TestTooBigForTheAccessLink(t *testing.T) {
	e, w := accessRouter(t)
	must(t, e.SetPort(Port{ID: access1, Access: true, MTU: 1280}))
	b := udp(cn, within(local1), 1300)
	about(t, one(t, process(w, ethPort, b), ethPort), 2, 0, 1280, b)
	b = udp(cn, within(earlier1), 1300)
	about(t, one(t, process(w, ethPort, tunnelled(0, previous, maar, b)), ethPort), 2, 0, 1280, b)
}

func TestSegmentSizeOfAttached(t *testing.T) {
	_, w := accessRouter(t)
	syn := []byte{2, 4, 0xff, 0xff}
	size := func(b []byte) int { return int(binary.BigEndian.Uint16(b[62:])) }
	if n := size(one(t, said(w, access1, mac1, tcp(within(earlier1), cn, 2, syn, 0)), ethPort)[40:]); n != 1400 {
		t.Errorf("into the tunnel: %d", n)
	}
	out := one(t, process(w, ethPort, tunnelled(0, previous, maar, tcp(cn, within(earlier1), 0x12, syn, 0))), access1)
	if n := size(out); n != 1400 {
		t.Errorf("out of the tunnel: %d", n)
	}
	if slowSum(out[40:], cn, within(earlier1), 6) != 0xffff {
		t.Error("bad checksum")
	}
	if n := size(one(t, said(w, access1, mac1, tcp(within(local1), cn, 2, syn, 0)), ethPort)); n != 0xffff {
		t.Errorf("native: %d", n)
	}
}

// Errors about tunnel packets between MAARs reach the mobile node as errors about its own packets (RFC 2473 section 8), but a
// Parameter Problem or a lost binding, which are no concern of it.
func TestTunnelErrorsBetweenMAARs(t *testing.T) {
	e, w := accessRouter(t)
	inner := udp(within(earlier1), cn, 1380)
	tunnel := ipv6(0, maar, previous, 41, 64, inner)
	about(t, one(t, process(w, ethPort, icmp6(far, maar, 60, 2, 0, 1400, tunnel)), access1), 2, 0, 1360, inner)
	if mtu := e.PathMTU(previous, start); mtu != 1400 {
		t.Errorf("learned %d", mtu)
	}
	about(t, one(t, said(w, access1, mac1, inner), access1), 2, 0, 1360, inner) // and so the next one does not go out

	r := process(w, ethPort, icmp6(far, maar, 60, 3, 0, 0, tunnel))
	about(t, one(t, r, access1), 1, 3, 0, inner)
	for _, c := range [][2]byte{{4, 0}, {1, 5}} {
		r := process(w, ethPort, icmp6(previous, maar, 60, c[0], c[1], 0, tunnel))
		if len(r.Signals) != 1 || r.Signals[0].Kind != TunnelError || len(r.Outputs) != 0 {
			t.Errorf("type %d: %d signals, %d outputs", c[0], len(r.Signals), len(r.Outputs))
		}
	}
	for name, b := range map[string][]byte{
		"another anchor":  ipv6(0, maar, serving, 41, 64, inner),
		"native prefix":   ipv6(0, maar, previous, 41, 64, udp(within(local1), cn, 1300)),
		"another's inner": ipv6(0, maar, previous, 41, 64, udp(cn, cn, 1300)),
	} {
		before := e.Counters()[DropErrorUnrelated]
		r := process(w, ethPort, icmp6(far, maar, 60, 2, 0, 1300, b))
		if len(r.Outputs) != 0 || e.Counters()[DropErrorUnrelated] != before+1 {
			t.Errorf("%s was believed", name)
		}
	}
}

// A distributed logical interface answers to echo requests at its link-local address (RFC 4443 section 4.2).
func TestEchoToDLIF(t *testing.T) {
	_, w := accessRouter(t)
	host := addr("fe80::5")
	r := said(w, access1, mac1, icmp6(host, dlif1, 64, 128, 0, 1, nil))
	if len(r.ToHost) != 1 || len(r.Outputs) != 0 {
		t.Fatalf("%+v", *r)
	}
	reply := icmp6(dlif1, host, 64, 129, 0, 1, nil)
	out := w.Output(start, []*packet.Packet{pkt(reply)})
	one(t, out, access1)
	if hop := out.Outputs[0].Packets[0].NextHop; hop != host {
		t.Errorf("next hop %v", hop)
	}
}

func TestNeighborMessagesFromAccess(t *testing.T) {
	_, w := accessRouter(t)
	host := addr("fe80::5")
	for _, b := range [][]byte{
		icmp6(host, addr("ff02::2"), 255, 133, 0, 0, nil),
		icmp6(host, dlif1, 255, 135, 0, 0, dlif1.AsSlice()),
		icmp6(host, addr("ff02::16"), 1, 143, 0, 0, nil),
	} {
		r := said(w, access1, mac2, b)
		if len(r.Neighbor) != 1 || r.Neighbor[0].LinkSource != mac2 || r.Neighbor[0].In != access1 || len(r.Strangers) != 0 {
			t.Errorf("%+v", *r)
		}
	}
}

// Reports of strangers are few: one a second of each, a few in a batch.
func TestStrangers(t *testing.T) {
	_, w := accessRouter(t)
	b := udp(within(gone), cn, 1)
	at := func(d time.Duration, pkts ...*packet.Packet) []Stranger {
		return w.Process(start.Add(d), access2, pkts).Strangers
	}
	want := Stranger{access2, mac2, within(gone)}
	if got := at(0, frame(b, mac2), frame(b, mac2)); len(got) != 1 || got[0] != want {
		t.Errorf("at once: %+v", got)
	}
	if got := at(999*time.Millisecond, frame(b, mac2)); len(got) != 0 {
		t.Errorf("again before a second: %+v", got)
	}
	if got := at(time.Second, frame(b, mac2)); len(got) != 1 {
		t.Errorf("after a second: %+v", got)
	}
	if got := at(-time.Hour, frame(b, mac2)); len(got) != 1 {
		t.Errorf("when the clock went back: %+v", got)
	}
	total := 0
	for i := range 100 {
		var pkts []*packet.Packet
		for j := range 100 {
			pkts = append(pkts, frame(b, packet.LinkAddress{2, 1, 0, 0, byte(i), byte(j)}))
		}
		got := at(time.Minute, pkts...)
		if len(got) > maxStrangers {
			t.Fatalf("%d in one batch", len(got))
		}
		total += len(got)
	}
	if total > strangerSlots {
		t.Errorf("%d in one moment", total)
	}
}

// A MAAR may be a home agent, too: a mobile node that is attached here may have its care-of address here.
func TestHomeAgentOfAttached(t *testing.T) {
	e, w := accessRouter(t)
	for _, careOf := range []Attached{here(access1, mac1), through(access1, mac1, previous)} {
		must(t, e.BindAttached(local1, careOf))
		must(t, e.BindAnchored(host(h1), Tunnel{Local: maar, Remote: within(local1)}))
		b := udp(cn, h1, 20)
		r := process(w, ethPort, b)
		out := one(t, r, access1)
		if addrAt(out, 24) != within(local1) || addrAt(out, 64) != h1 || r.Outputs[0].Packets[0].NextHop != within(local1) {
			t.Errorf("down: %x", out)
		}
	}
	must(t, e.BindAttached(local1, here(access1, mac1)))
	b := udp(h1, cn, 20)
	out := one(t, said(w, access1, mac1, tunnelled(0, within(local1), maar, b)), ethPort)
	if addrAt(out, 8) != h1 || addrAt(out, 24) != cn {
		t.Errorf("up: %x", out)
	}
	wantDrop(t, e, said(w, access1, mac1, udp(h1, cn, 1)), DropNotAttached)
}
