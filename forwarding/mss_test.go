package forwarding

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

func addrAt(b []byte, i int) netip.Addr { return netip.AddrFrom16([16]byte(b[i : i+16])) }

func TestSegmentSizeClamp(t *testing.T) {
	for _, c := range []struct {
		name    string
		flags   byte
		options []byte
		at      int // of the value among the options; -1 if nothing changes
	}{
		{"SYN", 0x02, []byte{2, 4, 0x05, 0xa0}, 2},
		{"SYN, ACK", 0x12, []byte{2, 4, 0x05, 0xa0}, 2},
		{"odd place", 0x02, []byte{1, 2, 4, 0xff, 0xff, 0, 0, 0}, 3},
		{"behind others", 0x02, []byte{3, 3, 7, 1, 4, 2, 2, 4, 0x20, 0x00, 0, 0}, 8},
		{"at the limit", 0x02, []byte{2, 4, 0x05, 0x78}, -1},
		{"below", 0x02, []byte{2, 4, 0x02, 0x18}, -1},
		{"none", 0x02, []byte{1, 1, 1, 1}, -1},
		{"no SYN", 0x10, []byte{2, 4, 0x05, 0xa0}, -1},
		{"behind the end", 0x02, []byte{0, 0, 0, 0, 2, 4, 0x05, 0xa0}, -1},
		{"cut off", 0x02, []byte{1, 1, 2, 4}, -1},
		{"another length", 0x02, []byte{2, 6, 0xff, 0xff, 0, 0, 0, 0}, -1},
		{"length 0", 0x02, []byte{3, 0, 2, 4, 0xff, 0xff, 0, 0}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := func(out, in []byte, source string) {
				t.Helper()
				in[7], out[7] = 0, 0
				if c.at >= 0 {
					if got := binary.BigEndian.Uint16(out[60+c.at:]); got != 1400 {
						t.Errorf("%s: segment size %d, want 1400", source, got)
					}
					if slowSum(out[40:], addrAt(out, 8), addrAt(out, 24), 6) != 0xffff {
						t.Errorf("%s: bad checksum", source)
					}
					copy(in[60+c.at:], []byte{5, 0x78})
					copy(in[56:58], out[56:58])
				}
				if !bytes.Equal(out, in) {
					t.Errorf("%s: got  %x\nwant %x", source, out, in)
				}
			}
			e, a := anchor(t)
			in := tcp(cn, h1, c.flags, c.options, 0)
			check(one(t, process(a, ethPort, in), ethPort)[40:], in, "anchor in")
			in = tcp(h1, cn, c.flags, c.options, 0)
			check(one(t, process(a, ethPort, tunnelled(0, c1, ha, in)), ethPort), in, "anchor out")
			_, m := mobileNode(t)
			in = tcp(h1, cn, c.flags, c.options, 0)
			check(one(t, process(m, tunPort, in), ethPort)[40:], in, "mobile out")
			in = tcp(cn, h1, c.flags, c.options, 0)
			check(one(t, process(m, ethPort, tunnelled(0, ha, c1, in)), tunPort), in, "mobile in")
			if n := e.Counters()[SegmentSizeClamp]; (n == 2) != (c.at >= 0) {
				t.Errorf("counted %d", n)
			}
		})
	}
}

func TestSegmentSizeClampWithPartialChecksum(t *testing.T) {
	e, w := anchor(t)
	p := pkt(tcp(h1, cn, 2, []byte{1, 2, 4, 0xff, 0xff, 0, 0, 0}, 0))
	p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 16}
	partial(p)
	copy(p.Prepend(40), tunnelled(0, c1, ha, p.Bytes())[:40])
	binary.BigEndian.PutUint16(p.Bytes()[4:], uint16(p.Len()-40))
	r := w.Process(start, ethPort, []*packet.Packet{p})
	one(t, r, ethPort)
	q := r.Outputs[0].Packets[0]
	if !q.Offload.NeedsChecksum {
		t.Fatal("finished")
	}
	must(t, packet.FinishChecksum(q))
	checkTransport(t, q.Bytes())
	wantCount(t, e, SegmentSizeClamp, 1)
}

func TestSegmentSizeFollowsPathMTU(t *testing.T) {
	e, w := anchor(t)
	e.SetPathMTU(c1, 1300, start)
	out := one(t, process(w, ethPort, tcp(cn, h1, 2, []byte{2, 4, 0x05, 0xa0}, 0)), ethPort)
	if got := binary.BigEndian.Uint16(out[102:]); got != 1220 {
		t.Errorf("segment size %d, want 1220: tunnels take 1280 octets whatever the path", got)
	}
}
