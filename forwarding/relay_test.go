package forwarding

import (
	"bytes"
	"encoding/binary"
	"testing"

	"kedge/netstack/packet"
)

var far = addr("2001:db8:ffff::1") // a router in the tunnel

// tunnelPacket is what the anchor sent for inner.
func tunnelPacket(inner []byte) []byte { return ipv6(0, ha, c1, 41, 60, inner) }

// RFC 2473 section 8.
func TestRelayedPacketTooBig(t *testing.T) {
	for _, c := range []struct{ mtu, length, want int }{
		{1400, 1400, 1360},
		{1400, 1361, 1360},
		{1400, 1360, 0},
		{1300, 1281, 1280},
		{1300, 1280, 0}, // goes out in fragments from now on
		{1280, 1400, 1280},
	} {
		e, w := anchor(t)
		inner := udp(cn, h1, c.length-48)
		r := process(w, ethPort, icmp6(far, ha, 60, 2, 0, uint32(c.mtu), tunnelPacket(inner)[:1232]))
		if got := e.PathMTU(c1, start); got != c.mtu {
			t.Errorf("%+v: path MTU %d", c, got)
		}
		wantCount(t, e, PathMTULearned, 1)
		if c.want == 0 {
			wantDrop(t, e, r, DropConsumed)
			continue
		}
		mtu, invoking := wantICMP(t, one(t, r, ethPort), ha, cn, 2, 0)
		if int(mtu) != c.want || !bytes.HasPrefix(inner, invoking) || len(invoking) != 1232-40 {
			t.Errorf("%+v: MTU %d, embeds %d octets", c, mtu, len(invoking))
		}
	}
}

func TestRelayedPacketTooBigAtMobileNode(t *testing.T) {
	e, w := mobileNode(t)
	inner := udp(h1, cn, 1352)
	r := process(w, ethPort, icmp6(far, c1, 60, 2, 0, 1380, ipv6(0, c1, ha, 41, 60, inner)[:1232]))
	if mtu, _ := wantICMP(t, one(t, r, tunPort), c1, h1, 2, 0); mtu != 1340 {
		t.Errorf("MTU %d", mtu)
	}
	if got := e.PathMTU(ha, start); got != 1380 {
		t.Errorf("path MTU %d", got)
	}
}

func TestRelayedUnreachable(t *testing.T) {
	inner := udp(cn, h1, 100)
	for _, kind := range []byte{1, 3} {
		_, w := anchor(t)
		r := process(w, ethPort, icmp6(far, ha, 60, kind, 0, 0, tunnelPacket(inner)))
		_, invoking := wantICMP(t, one(t, r, ethPort), ha, cn, 1, 3)
		if !bytes.Equal(invoking, inner) {
			t.Errorf("embeds %x", invoking)
		}
		if len(r.Signals) != 1 || r.Signals[0].Kind != TunnelError || r.Signals[0].Payload()[0] != kind {
			t.Errorf("signals %+v", r.Signals)
		}
	}
}

// A home agent that lost its bindings says so: the mobile node's signalling hears of it, its programs do not.
func TestLostBindingIsASignal(t *testing.T) {
	_, anchorWorker := anchor(t)
	e, w := mobileNode(t)
	must(t, e.BindMobile(host(h3), Tunnel{Local: c1, Remote: ha, Via: true, Port: ethPort, NextHop: router}))
	tunnelPacket := one(t, process(w, tunPort, udp(h3, cn, 0)), ethPort)
	answer := one(t, process(anchorWorker, ethPort, tunnelPacket), ethPort)
	r := process(w, ethPort, answer)
	if len(r.Signals) != 1 || len(r.Outputs) != 0 {
		t.Fatalf("got %+v; %v", *r, drops(e.Counters()))
	}
	s := r.Signals[0]
	if s.Kind != TunnelError || s.Source != ha || s.Destination != c1 || s.Payload()[1] != 5 {
		t.Errorf("got %+v", s)
	}
}

func TestSpoofedErrors(t *testing.T) {
	inner := udp(cn, h1, 100)
	bad := icmp6(far, ha, 60, 2, 0, 1300, tunnelPacket(inner))
	bad[42]++
	for _, c := range []struct {
		name string
		b    []byte
		want Counter
	}{
		{"checksum", bad, DropChecksum},
		{"not from here", icmp6(far, ha, 60, 2, 0, 1300, ipv6(0, cn, c1, 41, 60, inner)), DropErrorUnrelated},
		{"not the care-of address", icmp6(far, ha, 60, 2, 0, 1300, ipv6(0, ha, c2, 41, 60, inner)), DropErrorUnrelated},
		{"no such binding", icmp6(far, ha, 60, 2, 0, 1300, ipv6(0, ha, c1, 41, 60, udp(cn, h3, 1))), DropErrorUnrelated},
		{"too little to tell", icmp6(far, ha, 60, 2, 0, 1300, tunnelPacket(inner)[:70]), DropErrorUnrelated},
		{"IPv4 inside", icmp6(far, ha, 60, 2, 0, 1300, tunnelPacket(append([]byte{0x45}, inner...))), DropErrorUnrelated},
		{"below the minimum", icmp6(far, ha, 60, 2, 0, 1279, tunnelPacket(inner)), DropErrorUnrelated},
		{"absurdly large", icmp6(far, ha, 60, 2, 0, 1<<31, tunnelPacket(inner)), DropErrorUnrelated},
		{"truncated", ipv6(0, far, ha, 58, 60, []byte{2, 0, 0}), DropMalformed},
		{"nothing embedded", icmp6(far, ha, 60, 1, 0, 0, nil), DropErrorUnrelated},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := anchor(t)
			wantDrop(t, e, process(w, ethPort, c.b), c.want)
			if got := e.PathMTU(c1, start); got != 0 {
				t.Errorf("path MTU %d", got)
			}
		})
	}
}

// Errors are not answered with errors, also when they were in a tunnel.
func TestErrorAboutTunnelledErrorIsNotRelayed(t *testing.T) {
	e, w := anchor(t)
	inner := icmp6(cn, h1, 60, 1, 0, 0, make([]byte, 100))
	r := process(w, ethPort, icmp6(far, ha, 60, 1, 0, 0, tunnelPacket(inner)))
	if len(r.Outputs) != 0 || len(r.Signals) != 1 {
		t.Errorf("got %+v; %v", *r, drops(e.Counters()))
	}
}

func TestErrorsAboutOwnPackets(t *testing.T) {
	mh := make([]byte, 16)
	for _, c := range []struct {
		name    string
		sent    []byte
		toHost  int
		signals int
	}{
		{"an echo request of the host", icmp6(ha, cn, 64, 128, 0, 0, nil), 1, 0},
		{"UDP of the host", udp(ha, cn, 1), 1, 0},
		{"a Mobility Header", ipv6(0, ha, c1, 135, 64, mh), 0, 1},
		{"a Mobility Header with a routing header", ipv6(0, ha, c1, 43, 64, append(routing2(135, h1), mh...)), 0, 1},
		{"a Mobility Header with a home address", ipv6(0, ha, c1, 60, 64, append(homeOption(135, h1), mh...)), 0, 1},
		{"data with a routing header", ipv6(0, ha, c1, 43, 64, append(routing2(17, h1), mh...)), 0, 1},
		{"home agent discovery", icmp6(ha, cn, 64, 144, 0, 0, nil), 0, 1},
		{"a later fragment", ipv6(0, ha, cn, 44, 64, append([]byte{17, 0, 0, 8, 0, 0, 0, 1}, mh...)), 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := anchor(t)
			r := process(w, ethPort, icmp6(far, ha, 60, 1, 0, 0, c.sent))
			if len(r.ToHost) != c.toHost || len(r.Signals) != c.signals {
				t.Fatalf("got %+v; %v", *r, drops(e.Counters()))
			}
			if c.signals > 0 && (r.Signals[0].Kind != SignalingError || r.Signals[0].Source != far) {
				t.Errorf("got %+v", r.Signals[0])
			}
		})
	}
}

// Where a fragmented tunnel packet met the trouble, the first fragment tells.
func TestErrorAboutFirstFragment(t *testing.T) {
	e, w := anchor(t)
	inner := udp(cn, h1, 1200)
	fragment := append([]byte{41, 0, 0, 1, 0, 0, 0, 7}, inner[:1000]...)
	r := process(w, ethPort, icmp6(far, ha, 60, 1, 0, 0, ipv6(0, ha, c1, 44, 60, fragment)))
	if len(r.Signals) != 1 || r.Signals[0].Kind != TunnelError {
		t.Errorf("got %+v; %v", *r, drops(e.Counters()))
	}
	wantICMP(t, one(t, r, ethPort), ha, cn, 1, 3)
}

// A Packet Too Big that never saw a wire, with its checksum partial.
func TestErrorWithPartialChecksum(t *testing.T) {
	e, w := anchor(t)
	p := pkt(icmp6(far, ha, 60, 2, 0, 1300, tunnelPacket(udp(cn, h1, 100))))
	p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 2}
	binary.BigEndian.PutUint16(p.Bytes()[42:], 0)
	partial(p)
	w.Process(start, ethPort, []*packet.Packet{p})
	if got := e.PathMTU(c1, start); got != 1300 {
		t.Errorf("path MTU %d; %v", got, drops(e.Counters()))
	}
}
