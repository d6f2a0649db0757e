package forwarding

import (
	"bytes"
	"encoding/binary"
	"testing"

	"kedge/forwarding/flow"
	"kedge/forwarding/icmp"
	"kedge/netstack/packet"
)

// translatingNode has all new flows use d1.
func translatingNode(t testing.TB) (*Engine, *Worker) {
	t.Helper()
	e, w := flowNode(t, flow.Config{})
	must(t, e.SetChoice(testProfile, all, d1, 1))
	return e, w
}

// answer exchanges the ports of a packet without extension headers, which changes no checksum.
func answer(b []byte) []byte {
	b = bytes.Clone(b)
	copy(b[40:], append(append([]byte{}, b[42:44]...), b[40:42]...))
	return b
}

// cut makes fragments of a packet without extension headers.
func cut(b []byte, size int) (fragments [][]byte) {
	for at := 40; at < len(b); at += size {
		end := min(at+size, len(b))
		f := []byte{b[6], 0, 0, 0, 0xab, 0xcd, 0xef, 1}
		binary.BigEndian.PutUint16(f[2:], uint16(at-40))
		if end < len(b) {
			f[3] |= 1
		}
		fragments = append(fragments, ipv6(0, addrAt(b, 8), addrAt(b, 24), 44, 64, append(f, b[at:end]...)))
	}
	return fragments
}

// join puts fragments in order together.
func join(fragments [][]byte) []byte {
	var payload []byte
	for _, f := range fragments {
		payload = append(payload, f[48:]...)
	}
	return ipv6(0, addrAt(fragments[0], 8), addrAt(fragments[0], 24), fragments[0][40], 64, payload)
}

func TestTranslatedFragments(t *testing.T) {
	_, w := translatingNode(t)
	var left [][]byte
	for _, f := range cut(udp(h1, cn, 3000), 1200) {
		left = append(left, inner(t, one(t, process(w, tunPort, f), ethPort), dhp1))
	}
	if got, want := join(left), udp(d1, cn, 3000); !bytes.Equal(got, want) {
		t.Errorf("to the correspondent\n%x, want\n%x", got, want)
	}
	var came [][]byte
	for _, f := range cut(answer(udp(cn, d1, 3001)), 1200) {
		came = append(came, one(t, process(w, ethPort, tunnelled(0, dhp1, c1, f)), tunPort))
	}
	if got, want := join(came), answer(udp(cn, h1, 3001)); !bytes.Equal(got, want) {
		t.Errorf("to the host\n%x, want\n%x", got, want)
	}
}

// A later fragment may overtake the first, which shows what it is of, or reach another worker: it goes to the host, which
// makes nothing of it without the first.
func TestTranslatedFragmentsOutOfOrder(t *testing.T) {
	e, w := translatingNode(t)
	one(t, process(w, tunPort, udp(h1, cn, 10)), ethPort)
	fragments := cut(answer(udp(cn, d1, 3000)), 1200)
	var came [][]byte
	for i := range fragments {
		f := fragments[len(fragments)-1-i]
		came = append([][]byte{one(t, process(e.NewWorker(), ethPort, tunnelled(0, dhp1, c1, f)), tunPort)}, came...)
	}
	if got, want := join(came), answer(udp(cn, h1, 3000)); !bytes.Equal(got, want) {
		t.Errorf("to the host\n%x, want\n%x", got, want)
	}
	// Of a flow that nobody knows it is the first that is refused.
	stray := answer(udp(cn, d1, 3000))
	stray[41]++
	process(w, ethPort, tunnelled(0, dhp1, c1, cut(stray, 1200)[0]))
	if n := e.Counters()[DropFlowUnknown]; n != 1 {
		t.Errorf("%d packets of flows that nobody knows", n)
	}
}

func TestTranslatedSuperPackets(t *testing.T) {
	for _, c := range []struct {
		kind packet.Segmentation
		b    []byte
		head int
	}{
		{packet.TCP, tcp(h1, cn, 0x18, []byte{1, 1, 1, 1}, 5000), 24},
		{packet.UDP, udp(h1, cn, 5000), 8},
	} {
		e, w := translatingNode(t)
		process(w, tunPort, tcp(h1, cn, syn, nil, 0))
		r := w.Process(start, tunPort, []*packet.Packet{super(c.kind, c.b, 1200)})
		out := sent(r, ethPort)
		if len(out) != 5 {
			t.Fatalf("%d segments; %v", len(out), drops(e.Counters()))
		}
		var payload []byte
		for _, b := range out {
			b = inner(t, b, dhp1)
			if addrAt(b, 8) != d1 {
				t.Errorf("a segment from %v", addrAt(b, 8))
			}
			payload = append(payload, b[40+c.head:]...)
		}
		if !bytes.Equal(payload, c.b[40+c.head:]) {
			t.Error("the payload changed")
		}
	}
}

// TestTranslatedErrorIn: the host gets an error about what it sent, not about what became of that.
func TestTranslatedErrorIn(t *testing.T) {
	_, w := translatingNode(t)
	original := udp(h1, cn, 1300)
	left := inner(t, one(t, process(w, tunPort, original), ethPort), dhp1)
	for _, length := range []int{len(left), 48, 44} {
		about := icmp6(addr("2001:db8:ee::1"), d1, 60, icmp.PacketTooBig, 0, 1280, left[:min(length, 1232)])
		got := one(t, process(w, ethPort, tunnelled(0, dhp1, c1, about)), tunPort)
		want := icmp6(addr("2001:db8:ee::1"), h1, 60, icmp.PacketTooBig, 0, 1280, original[:min(length, 1232)])
		if !bytes.Equal(got, want) {
			t.Errorf("%d octets quoted:\n%x, want\n%x", length, got, want)
		}
	}
}

// TestTranslatedErrorOut: the correspondent gets an error about what it sent.
func TestTranslatedErrorOut(t *testing.T) {
	_, w := translatingNode(t)
	process(w, tunPort, udp(h1, cn, 10))
	original := answer(udp(cn, d1, 20))
	came := one(t, process(w, ethPort, tunnelled(0, dhp1, c1, original)), tunPort)
	about := icmp6(h1, cn, 64, icmp.DestinationUnreachable, icmp.PortUnreachable, 0, came)
	got := inner(t, one(t, process(w, tunPort, about), ethPort), dhp1)
	want := icmp6(d1, cn, 64, icmp.DestinationUnreachable, icmp.PortUnreachable, 0, original)
	if !bytes.Equal(got, want) {
		t.Errorf("%x, want\n%x", got, want)
	}
}

// TestTranslatedTooBig: what this node itself says about a packet that it has translated is about the host's own.
func TestTranslatedTooBig(t *testing.T) {
	_, w := translatingNode(t)
	original := udp(h1, cn, 1452)
	mtu, quoted := wantICMP(t, one(t, process(w, tunPort, original), tunPort), c1, h1, icmp.PacketTooBig, 0)
	if mtu != 1460 || !bytes.Equal(quoted, original[:1232]) {
		t.Errorf("MTU %d, about\n%x, want\n%x", mtu, quoted, original[:1232])
	}
}

// TestTranslatedTunnelError: an error about a tunnel packet is passed on as one about what the host sent.
func TestTranslatedTunnelError(t *testing.T) {
	_, w := translatingNode(t)
	original := udp(h1, cn, 100)
	outer := one(t, process(w, tunPort, original), ethPort)
	r := process(w, ethPort, icmp6(addr("2001:db8:ee::1"), c1, 60, icmp.TimeExceeded, 0, 0, outer))
	_, quoted := wantICMP(t, one(t, r, tunPort), c1, h1, icmp.DestinationUnreachable, icmp.AddressUnreachable)
	if !bytes.Equal(quoted, original) {
		t.Errorf("about\n%x, want\n%x", quoted, original)
	}
}

// TestTranslatedEcho: of two echoes with the same identifier, that of the mobile node is translated, and the other one is not.
func TestTranslatedEcho(t *testing.T) {
	_, w := translatingNode(t)
	got := inner(t, one(t, process(w, tunPort, icmp6(h1, cn, 64, 128, 0, 7<<16|1, nil)), ethPort), dhp1)
	if want := icmp6(d1, cn, 64, 128, 0, 7<<16|1, nil); !bytes.Equal(got, want) {
		t.Errorf("request\n%x, want\n%x", got, want)
	}
	got = one(t, process(w, ethPort, tunnelled(0, dhp1, c1, icmp6(cn, d1, 64, 129, 0, 7<<16|1, nil))), tunPort)
	if want := icmp6(cn, h1, 64, 129, 0, 7<<16|1, nil); !bytes.Equal(got, want) {
		t.Errorf("reply\n%x, want\n%x", got, want)
	}
	got = one(t, process(w, ethPort, tunnelled(0, ha, c1, icmp6(cn, h1, 64, 128, 0, 7<<16|1, nil))), tunPort)
	if want := icmp6(cn, h1, 64, 128, 0, 7<<16|1, nil); !bytes.Equal(got, want) {
		t.Errorf("the correspondent's request\n%x, want\n%x", got, want)
	}
	got = inner(t, one(t, process(w, tunPort, icmp6(h1, cn, 64, 129, 0, 7<<16|1, nil)), ethPort), ha)
	if want := icmp6(h1, cn, 64, 129, 0, 7<<16|1, nil); !bytes.Equal(got, want) {
		t.Errorf("the reply to it\n%x, want\n%x", got, want)
	}
}
