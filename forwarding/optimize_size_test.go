package forwarding

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

// No link knows what the checksum of a packet with a Home Address option is made of.
func TestOptimizedSuperPackets(t *testing.T) {
	e, w := optimizing(t)
	must(t, e.SetPort(Port{ID: ethPort, MTU: 1500, Features: packet.PartialChecksum | packet.SegmentTCP}))
	p := pkt(tcp(h1, cn, 0x10, nil, 3000))
	superPacket(p, packet.TCP, 1000)
	r := w.Process(start, tunPort, []*packet.Packet{p})
	out := sent(r, ethPort)
	if len(out) != 3 {
		t.Fatalf("%d packets", len(out))
	}
	for i, b := range out {
		if sum := slowSum(b[64:], h1, cn, 6); len(b) != 40+24+20+1000 || sum != 0xffff || b[40+24+20] != byte(i*1000) {
			t.Errorf("packet %d: %d octets, sum %#x", i, len(b), sum)
		}
		if o := r.Outputs[0].Packets[i].Offload; o != (packet.Offload{}) {
			t.Errorf("offload %+v", o)
		}
	}
	p = pkt(udp(h1, cn, 100))
	p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 6}
	partial(p)
	if out := one(t, w.Process(start, tunPort, []*packet.Packet{p}), ethPort); !bytes.Equal(out, optionOut(udp(h1, cn, 100))) {
		t.Errorf("partial checksum: %x", out)
	}
	// What comes in may still be partial.
	whole := routingOut(udp(own, h1, 100))
	p = pkt(whole)
	p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 64, ChecksumOffset: 6}
	b := p.Bytes()
	binary.BigEndian.PutUint16(b[70:], packet.PseudoHeaderSum(own.AsSlice(), h1.AsSlice(), len(b)-64, 17))
	if out := one(t, w.Process(start, ethPort, []*packet.Packet{p}), tunPort); !bytes.Equal(out, udp(own, h1, 100)) {
		t.Errorf("partial checksum in: %x", out)
	}
}

func TestOptimizedTooBig(t *testing.T) {
	e, w := optimizing(t)
	one(t, process(w, tunPort, udp(h1, cn, 1500-24-48)), ethPort)
	wantTooBig(t, one(t, process(w, tunPort, udp(h1, cn, 1500-24-48+1)), tunPort), h1, 1476)
	e.SetPathMTU(cn, 1290, start)
	wantTooBig(t, one(t, process(w, tunPort, udp(h1, cn, 1280-48+1)), tunPort), h1, 1280)
	must(t, e.SetOptimized(h1, cn, Optimized{CareOf: c2, Via: true, Port: ethPort, NextHop: router}))
	if m := e.PathMTU(cn, start); m != 0 {
		t.Errorf("the path from another care-of address has an MTU of %d", m)
	}
	e.SetPathMTU(cn, 1290, start)
	// 1280 octets go through every tunnel.
	if out := sent(process(w, tunPort, udp(h1, cn, 1280-48)), ethPort); len(out) != 1 || out[0][6] != 41 {
		t.Errorf("got %x", out)
	}
	if out := one(t, process(w, tunPort, udp(h1, cn, 1290-24-48)), ethPort); out[6] != 60 {
		t.Errorf("got %x", out)
	}
	// At a correspondent node they go the ordinary way.
	e, w = correspondent(t)
	e.SetPathMTU(c1, 1280, start)
	b := udp(own, h1, 1280-48)
	if out := one(t, process(w, tunPort, b), ethPort); !bytes.Equal(out, b) {
		t.Errorf("got %x", out)
	}
}

func wantTooBig(t *testing.T, b []byte, destination netip.Addr, mtu uint32) {
	t.Helper()
	if b[6] != 58 || b[40] != 2 || netip.AddrFrom16([16]byte(b[24:40])) != destination || binary.BigEndian.Uint32(b[44:]) != mtu {
		t.Errorf("got %x, want packet too big of %d", b, mtu)
	}
}

// A connection fits the tunnel too, should it have to go back there.
func TestOptimizedSegmentSize(t *testing.T) {
	syn := []byte{2, 4, 0xff, 0xff}
	_, w := optimizing(t)
	if out := one(t, process(w, tunPort, tcp(h1, cn, 2, syn, 0)), ethPort); binary.BigEndian.Uint16(out[40+24+22:]) != 1460-60 {
		t.Errorf("mobile node: %d", binary.BigEndian.Uint16(out[40+24+22:]))
	}
	_, w = correspondent(t)
	if out := one(t, process(w, tunPort, tcp(own, h1, 0x12, syn, 0)), ethPort); binary.BigEndian.Uint16(out[40+24+22:]) != 1476-60 {
		t.Errorf("correspondent node: %d", binary.BigEndian.Uint16(out[40+24+22:]))
	}
}

// Errors about packets that left with extension headers become errors about what the program sent.
func TestRFC6275_9_3_4_ErrorsPastTheHomeAgent(t *testing.T) {
	far := addr("2001:db8:fa::1")
	type side struct {
		name                  string
		make                  func(testing.TB) (*Engine, *Worker)
		inner                 []byte
		wrap                  func([]byte) []byte
		at, remote, wireRoute netip.Addr
	}
	for _, s := range []side{
		{"mobile node", optimizing, udp(h1, cn, 1400), optionOut, c1, h1, cn},
		{"correspondent node", correspondent, udp(own, h1, 1400), routingOut, own, own, c1},
	} {
		t.Run(s.name, func(t *testing.T) {
			e, w := s.make(t)
			quoted := s.wrap(s.inner)
			b := one(t, process(w, ethPort, icmp6(far, s.at, 64, 2, 0, 1400, quoted[:1200])), tunPort)
			wantTooBig(t, b, s.remote, 1376)
			if n := len(b) - 48; netip.AddrFrom16([16]byte(b[8:24])) != far || n != 1200-24 || !bytes.Equal(b[48:], s.inner[:n]) {
				t.Errorf("got %x", b)
			}
			if slowSum(b[40:], far, s.remote, 58) != 0xffff {
				t.Error("bad checksum")
			}
			if m := e.PathMTU(s.wireRoute, start); m != 1400 {
				t.Errorf("path MTU %d", m)
			}
			r := process(w, ethPort, icmp6(far, s.at, 64, 1, 3, 0, quoted[:1200]))
			if b := one(t, r, tunPort); b[40] != 1 || b[41] != 3 || !bytes.Equal(b[48:88], s.inner[:40]) {
				t.Errorf("got %x", b)
			}
			if len(r.Signals) != 1 || r.Signals[0].Kind != SignalingError || !bytes.Equal(r.Signals[0].Payload()[8:], quoted[:1200]) {
				t.Errorf("signalled %+v", r.Signals)
			}
			// Anybody can make the rest up.
			e, w = s.make(t)
			wrong := s.wrap(s.inner)
			copy(wrong[48:], h2.AsSlice())
			wantDrop(t, e, process(w, ethPort, icmp6(far, s.at, 64, 2, 0, 1400, wrong[:1200])), DropErrorUnrelated)
			e, w = s.make(t)
			wantDrop(t, e, process(w, ethPort, icmp6(far, s.at, 64, 2, 0, 1000, quoted[:1200])), DropErrorUnrelated)
		})
	}
}

// A next hop that does not answer is an error about what the program sent.
func TestOptimizedUndeliverable(t *testing.T) {
	for name, make := range map[string]func(testing.TB) (*Engine, *Worker){"mobile node": optimizing, "correspondent node": correspondent} {
		t.Run(name, func(t *testing.T) {
			e, w := make(t)
			b, wire := udp(h1, cn, 50), optionOut(udp(h1, cn, 50))
			if name != "mobile node" {
				b, wire = udp(own, h1, 50), routingOut(udp(own, h1, 50))
			}
			got := one(t, w.Undeliverable(start, []*packet.Packet{pkt(wire)}), tunPort)
			if got[40] != 1 || got[41] != 3 || !bytes.Equal(got[24:40], b[8:24]) || !bytes.Equal(got[48:], b) {
				t.Errorf("got %x", got)
			}
			wantCount(t, e, DropNoNeighbor, 1)
		})
	}
}
