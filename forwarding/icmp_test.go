package forwarding

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"kedge/netstack/packet"
)

// wantICMP checks an ICMPv6 error and returns its parameter and what it embeds.
func wantICMP(t testing.TB, b []byte, source, destination netip.Addr, kind, code uint8) (parameter uint32, invoking []byte) {
	t.Helper()
	if len(b) < 48 || b[6] != 58 || int(binary.BigEndian.Uint16(b[4:])) != len(b)-40 {
		t.Fatalf("not an ICMPv6 packet: %x", b)
	}
	s, d := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	if s != source || d != destination || b[40] != kind || b[41] != code {
		t.Fatalf("%v > %v type %d code %d, want %v > %v type %d code %d", s, d, b[40], b[41], source, destination, kind, code)
	}
	if slowSum(b[40:], s, d, 58) != 0xffff {
		t.Error("bad checksum")
	}
	if len(b) > 1280 {
		t.Errorf("%d octets", len(b))
	}
	return binary.BigEndian.Uint32(b[44:]), b[48:]
}

// RFC 2473 section 7.1: the tunnel MTU is that of the path less the header, and at least 1280.
func TestTunnelMTU(t *testing.T) {
	for _, c := range []struct{ port, known, learned, length, want int }{
		{1500, 0, 0, 1460, 0},
		{1500, 0, 0, 1461, 1460},
		{1500, 1400, 0, 1360, 0},
		{1500, 1400, 0, 1361, 1360},
		{1500, 0, 1350, 1310, 0},
		{1500, 0, 1350, 1311, 1310},
		{1500, 1400, 1450, 1361, 1360},
		{1500, 0, 1300, 1281, 1280},
		{1500, 0, 1280, 1281, 1280},
		{1280, 0, 0, 1281, 1280},
		{1500, 9000, 0, 1461, 1460},
		{9000, 0, 0, 8961, 8960},
	} {
		e, w := anchor(t)
		must(t, e.SetPort(Port{ID: ethPort, MTU: c.port}))
		must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c1, PathMTU: uint16(c.known)}))
		if c.learned > 0 {
			e.SetPathMTU(c1, c.learned, start)
		}
		b := udp(cn, h1, c.length-48)
		out := one(t, process(w, ethPort, b), ethPort)
		if c.want == 0 {
			if out[6] != 41 {
				t.Errorf("%+v: next header %d", c, out[6])
			}
			continue
		}
		mtu, invoking := wantICMP(t, out, ha, cn, 2, 0)
		b[7]-- // as it was forwarded
		if int(mtu) != c.want || !bytes.HasPrefix(b, invoking) || len(out) != 1280 {
			t.Errorf("%+v: MTU %d, embeds %d octets", c, mtu, len(invoking))
		}
	}
}

func TestLearnedPathMTUExpires(t *testing.T) {
	e, w := anchor(t)
	e.SetPathMTU(c1, 1400, start)
	e.SetPathMTU(c1, 1450, start) // does not raise it
	e.SetPathMTU(c1, 1279, start) // RFC 8201 section 4
	if got := e.PathMTU(c1, start.Add(10*time.Minute-1)); got != 1400 {
		t.Errorf("got %d", got)
	}
	if got := e.PathMTU(c1, start.Add(10*time.Minute)); got != 0 {
		t.Errorf("after ten minutes %d", got)
	}
	out := w.Process(start.Add(10*time.Minute), ethPort, []*packet.Packet{pkt(udp(cn, h1, 1400))})
	if b := one(t, out, ethPort); b[6] != 41 {
		t.Error("still too big")
	}
}

// Another care-of address is another path.
func TestLearnedPathMTUEndsWithTheCareOfAddress(t *testing.T) {
	e, _ := mobileNode(t)
	e.SetPathMTU(ha, 1400, start)
	must(t, e.BindMobile(host(h1), Tunnel{Local: c1, Remote: ha})) // a refresh
	if got := e.PathMTU(ha, start); got != 1400 {
		t.Errorf("after a refresh %d", got)
	}
	must(t, e.BindMobile(host(h1), Tunnel{Local: c2, Remote: ha}))
	if got := e.PathMTU(ha, start); got != 0 {
		t.Errorf("after a move %d", got)
	}
}

func TestPacketTooBigGoesWhereThePacketCameFrom(t *testing.T) {
	t.Run("host", func(t *testing.T) {
		_, w := mobileNode(t)
		mtu, _ := wantICMP(t, one(t, process(w, tunPort, udp(h1, cn, 1450)), tunPort), c1, h1, 2, 0)
		if mtu != 1460 {
			t.Errorf("MTU %d", mtu)
		}
	})
	t.Run("tunnel", func(t *testing.T) {
		e, w := anchor(t)
		must(t, e.BindAnchored(host(h2), Tunnel{Local: ha, Remote: c2, PathMTU: 1400}))
		out := one(t, process(w, ethPort, tunnelled(0, c1, ha, udp(h1, h2, 1380))), ethPort)
		if d := netip.AddrFrom16([16]byte(out[24:40])); d != c1 || out[6] != 41 {
			t.Fatalf("next header %d to %v", out[6], d)
		}
		wantICMP(t, out[40:], ha, h1, 2, 0)
	})
	t.Run("itself", func(t *testing.T) {
		e, w := anchor(t)
		r := w.Output(start, []*packet.Packet{pkt(udp(ha, h1, 1450))})
		if len(r.ToHost) != 1 || len(r.Outputs) != 0 {
			t.Fatalf("got %+v; %v", *r, drops(e.Counters()))
		}
		wantICMP(t, r.ToHost[0].Bytes(), ha, ha, 2, 0)
	})
	t.Run("router behind a smaller link", func(t *testing.T) {
		e, w := anchor(t)
		must(t, e.SetPort(Port{ID: 7, MTU: 1300}))
		must(t, e.SetRoute(netip.MustParsePrefix("2001:db8:cc::/48"), 7, router))
		out := one(t, process(w, ethPort, tunnelled(0, c1, ha, udp(h1, cn, 1300))), ethPort)
		if mtu, _ := wantICMP(t, out[40:], ha, h1, 2, 0); mtu != 1300 {
			t.Errorf("MTU %d", mtu)
		}
	})
}

// RFC 4443 section 2.4 e.
func TestNoErrorAbout(t *testing.T) {
	big := make([]byte, 1450)
	for _, c := range []struct {
		name  string
		b     []byte
		group bool
		want  Counter
	}{
		{"an ICMPv6 error", icmp6(cn, h1, 64, 1, 0, 0, big), false, DropTooBig},
		{"an ICMPv6 message without a type", ipv6(0, cn, h1, 58, 1, nil), false, DropHopLimit},
		{"a group frame", udp(cn, h1, 1450), true, DropGroupFrame},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := anchor(t)
			p := pkt(c.b)
			p.Group = c.group
			wantDrop(t, e, w.Process(start, ethPort, []*packet.Packet{p}), c.want)
		})
	}
}

func TestHopLimit(t *testing.T) {
	for _, limit := range []byte{0, 1} {
		e, w := anchor(t)
		b := udp(cn, h1, 20)
		b[7] = limit
		_, invoking := wantICMP(t, one(t, process(w, ethPort, b), ethPort), ha, cn, 3, 0)
		if !bytes.Equal(invoking, b) {
			t.Errorf("embeds %x", invoking)
		}
		wantCount(t, e, DropHopLimit, 1)
		b = udp(h1, cn, 20)
		b[7] = limit
		out := one(t, process(w, ethPort, tunnelled(0, c1, ha, b)), ethPort)
		wantICMP(t, out[40:], ha, h1, 3, 0)
	}
	// To this node itself there is no hop.
	_, w := anchor(t)
	b := udp(h1, ha, 20)
	b[7] = 1
	if r := process(w, ethPort, tunnelled(0, c1, ha, b)); len(r.ToHost) != 1 {
		t.Error("not delivered")
	}
}

func TestLinkLocal(t *testing.T) {
	e, w := anchor(t)
	local := addr("fe80::aa")
	// RFC 6275 section 10.4.2: a home agent that defends a mobile node's link-local address does not tunnel to it.
	must(t, e.BindAnchored(host(local), Tunnel{Local: ha, Remote: c1}))
	wantICMP(t, one(t, process(w, ethPort, udp(cn, local, 1)), ethPort), ha, cn, 1, 3)
	// RFC 4443 section 3.1: beyond the scope of its source.
	must(t, e.SetLocal(addr("fe80::1:1"), ethPort))
	wantICMP(t, one(t, process(w, ethPort, udp(addr("fe80::5"), h1, 1)), ethPort), ha, addr("fe80::5"), 1, 2)
	wantCount(t, e, DropLinkLocal, 1)
	wantCount(t, e, DropScope, 1)
}

// A mobile node notices that its home agent has lost its binding; the answer is not longer than it must be.
func TestReverseTunnelWithoutBinding(t *testing.T) {
	for _, n := range []int{0, 1, 40, 1000, 1352} {
		e, w := anchor(t)
		b := tunnelled(0, addr("2001:db8:c3::1"), ha, udp(h3, cn, n))
		out := one(t, process(w, ethPort, b), ethPort)
		_, invoking := wantICMP(t, out, ha, addr("2001:db8:c3::1"), 1, 5)
		if !bytes.HasPrefix(b, invoking) || len(out) > max(len(b), 128) || len(invoking) < 80 {
			t.Errorf("payload %d: %d octets for %d, embeds %d", n, len(out), len(b), len(invoking))
		}
		wantCount(t, e, DropNoBinding, 1)
	}
	e, w := mobileNode(t)
	wantDrop(t, e, process(w, ethPort, tunnelled(0, c2, c1, udp(h3, cn, 1))), DropNoBinding)
}

// RFC 4443 section 2.4 f.
func TestErrorRate(t *testing.T) {
	e, w := anchor(t)
	count := func(now time.Time, source netip.Addr, n int) (errors int) {
		for range n {
			r := w.Process(now, ethPort, []*packet.Packet{pkt(udp(source, h1, 1450))})
			errors += len(sent(r, ethPort))
		}
		return errors
	}
	if n := count(start, cn, 100); n != 10 {
		t.Errorf("%d at once, want 10", n)
	}
	wantCount(t, e, ErrorsLimited, 90)
	if n := count(start, addr("2001:db8:cc::2"), 100); n != 10 {
		t.Errorf("%d to another address, want 10", n)
	}
	if n := count(start.Add(500*time.Millisecond), cn, 100); n != 5 {
		t.Errorf("%d half a second later, want 5", n)
	}
	if n := count(start.Add(time.Hour), cn, 100); n != 10 {
		t.Errorf("%d after an hour, want 10", n)
	}
	// The clock stepped back an hour.
	if n := count(start, cn, 100); n != 10 {
		t.Errorf("%d after the clock stepped back, want 10", n)
	}
}

func TestRFC4861_7_2_2_UndeliverablePacketsAreAnswered(t *testing.T) {
	e, w := anchor(t)
	lost := udp(cn, h2, 20)
	b := one(t, w.Undeliverable(time.Now(), []*packet.Packet{pkt(lost)}), ethPort)
	if _, invoking := wantICMP(t, b, ha, cn, 1, 3); !bytes.Equal(invoking, lost) {
		t.Errorf("invoking packet %x", invoking)
	}
	wantCount(t, e, DropNoNeighbor, 1)
	// Its own go to its own host.
	if r := w.Undeliverable(time.Now(), []*packet.Packet{pkt(udp(ha, cn, 20))}); len(r.ToHost) != 1 || len(r.Outputs) != 0 {
		t.Errorf("result %+v", r)
	}
}
