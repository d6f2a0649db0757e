package forwarding

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// A flow that is translated to a Distributed Home Address goes past the home-proxy like one of the home address, and what
// the program gets is its own.
func TestOptimizedTranslatedFlow(t *testing.T) {
	e, w := translatingNode(t)
	// The connection begins in the tunnel.
	inner(t, one(t, process(w, tunPort, out(4000, 1, 0, syn, 0)), ethPort), dhp1)
	must(t, e.SetOptimized(d1, cn, Optimized{CareOf: c1, Via: true, Port: ethPort, NextHop: router}))

	sent := out(4000, 2, 1, ack, 1000)
	translated := segment{d1, cn, 4000, 80, 2, 1, ack, 1000}.bytes()
	if got, want := one(t, process(w, tunPort, sent), ethPort), with(translated, c1, cn, 60, homeOption(6, d1)); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	back := in(d1, 4000, 1, 1002, ack, 1000)
	if got, want := one(t, process(w, ethPort, with(back, cn, c1, 43, routing2(6, d1))), tunPort), in(h1, 4000, 1, 1002, ack, 1000); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	// Both ways stay open.
	if got, want := one(t, process(w, ethPort, tunnelled(0, dhp1, c1, back)), tunPort), in(h1, 4000, 1, 1002, ack, 1000); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	// An error about the packet on its detour is one about the program's packet.
	long := with(segment{d1, cn, 4000, 80, 2, 1, ack, 1400}.bytes(), c1, cn, 60, homeOption(6, d1))
	b := one(t, process(w, ethPort, icmp6(c2, c1, 64, 2, 0, 1300, long[:1200])), tunPort)
	wantTooBig(t, b, h1, 1280)
	if addrAt(b, 48+8) != h1 || slowSum(b[40:], c2, h1, 58) != 0xffff {
		t.Errorf("got %x", b)
	}
	// As is one that kedge makes itself.
	b = one(t, process(w, tunPort, out(4000, 2, 1, ack, 1400)), tunPort)
	wantTooBig(t, b, h1, 1280)
	if addrAt(b, 48+8) != h1 || binary.BigEndian.Uint16(b[48+40:]) != 4000 {
		t.Errorf("got %x", b)
	}
	// The flow of the home address itself is another pair.
	if got := one(t, process(w, tunPort, ipv6(0, h1, cn, 253, 64, make([]byte, 8))), ethPort); got[6] != 41 || addrAt(got, 24) != ha {
		t.Errorf("got %x", got)
	}
}
