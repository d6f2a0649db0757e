package forwarding

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"kedge/netstack/packet"
)

// reassemble puts fragments of one packet together by RFC 8200 section 4.5, in a way of its own: a map of octets.
func reassemble(fragments [][]byte) (whole []byte, id uint32, err error) {
	octets, end := map[int]byte{}, -1
	for i, f := range fragments {
		if f[6] != 44 || int(binary.BigEndian.Uint16(f[4:])) != len(f)-40 {
			return nil, 0, fmt.Errorf("fragment %d: header %x", i, f[:40])
		}
		field := binary.BigEndian.Uint16(f[42:])
		this := binary.BigEndian.Uint32(f[44:])
		if i > 0 && this != id {
			return nil, 0, fmt.Errorf("fragment %d: identification %x, not %x", i, this, id)
		}
		id = this
		offset := int(field >> 3 * 8)
		for k, octet := range f[48:] {
			if _, twice := octets[offset+k]; twice {
				return nil, 0, fmt.Errorf("fragment %d overlaps at %d", i, offset+k)
			}
			octets[offset+k] = octet
		}
		if field&1 == 0 {
			end = offset + len(f) - 48
		} else if len(f)%8 != 0 {
			return nil, 0, fmt.Errorf("fragment %d: %d octets", i, len(f))
		}
	}
	if end != len(octets) {
		return nil, 0, fmt.Errorf("%d octets, end at %d", len(octets), end)
	}
	first := fragments[0]
	whole = bytes.Clone(first[:40])
	binary.BigEndian.PutUint16(whole[4:], uint16(end))
	whole[6] = first[40]
	for i := range end {
		whole = append(whole, octets[i])
	}
	return whole, id, nil
}

// RFC 2473 section 7.1: an inner packet of at most 1280 octets goes through, in fragments if it must.
func TestOuterFragments(t *testing.T) {
	seen := map[uint32]bool{}
	for _, mtu := range []int{1280, 1281, 1300, 1319} {
		for _, length := range []int{mtu - 39, 1280} {
			e, w := anchor(t)
			must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c1, PathMTU: uint16(mtu)}))
			inner := udp(cn, h1, length-48)
			fragments := sent(process(w, ethPort, inner), ethPort)
			inner[7]--
			for _, f := range fragments {
				if len(f) > mtu {
					t.Errorf("MTU %d: fragment of %d octets", mtu, len(f))
				}
			}
			whole, id, err := reassemble(fragments)
			if err != nil || len(fragments) != 2 {
				t.Fatalf("MTU %d, length %d: %d fragments: %v", mtu, length, len(fragments), err)
			}
			if plain, _ := flowless(whole); !bytes.Equal(plain, ipv6(0, ha, c1, 41, 64, inner)) {
				t.Errorf("MTU %d, length %d: reassembled to %x", mtu, length, plain)
			}
			if seen[id] {
				t.Errorf("identification %x again", id)
			}
			seen[id] = true
			wantCount(t, e, OuterFragments, 2)
		}
		e, w := anchor(t)
		must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c1, PathMTU: uint16(mtu)}))
		if b := one(t, process(w, ethPort, udp(cn, h1, mtu-40-48)), ethPort); b[6] != 41 || len(b) != mtu {
			t.Errorf("MTU %d: fragmented what fits", mtu)
		}
	}
}

func TestFragmentsInNestedTunnel(t *testing.T) {
	e, w := anchor(t)
	must(t, e.BindAnchored(host(h2), Tunnel{Local: ha, Remote: c2, PathMTU: 1280}))
	must(t, e.BindAnchored(host(h3), Tunnel{Local: ha, Remote: h2}))
	inner := udp(cn, h3, 1280-48)
	// The tunnel to h2 has an MTU of 1280 and its path 1280: two fragments inside, the first of which takes two outside.
	fragments := sent(process(w, ethPort, inner), ethPort)
	if len(fragments) != 3 {
		t.Fatalf("%d fragments", len(fragments))
	}
	first, _, err := reassemble(fragments[:2])
	if err != nil {
		t.Fatal(err)
	}
	whole, _, err := reassemble([][]byte{first[40:], fragments[2][40:]})
	if err != nil {
		t.Fatal(err)
	}
	inner[7]--
	if !bytes.Equal(whole[40:], inner) {
		t.Errorf("got %x", whole)
	}
}

func TestReassembled(t *testing.T) {
	inner := udpClass(2, h1, cn, 1200)
	_, w := anchor(t)
	out := one(t, w.Reassembled(start, ethPort, c1, ha, 3, pkt(inner)), ethPort)
	inner[7]--
	if out[1]>>4 != 3 {
		t.Error("congestion experienced was lost")
	}
	out[1] = out[1]&0x0f | 2<<4
	if !bytes.Equal(out, inner) {
		t.Errorf("got %x", out)
	}
	e, w := anchor(t)
	wantDrop(t, e, w.Reassembled(start, ethPort, c2, ha, 0, pkt(inner)), DropOuterSource)
	e, w = anchor(t)
	wantDrop(t, e, w.Reassembled(start, ethPort, c1, ha, 0, pkt(udp(h3, cn, 1))), DropNoBinding)
	_, w = mobileNode(t)
	one(t, w.Reassembled(start, ethPort, ha, c1, 0, pkt(udp(cn, h1, 1))), tunPort)
}

// Both ends of a tunnel with a small path: what one fragments the other takes, put together.
func TestFragmentRoundTrip(t *testing.T) {
	e, a := anchor(t)
	must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c1, PathMTU: 1280}))
	_, m := mobileNode(t)
	inner := udp(cn, h1, 1232)
	fragments := sent(process(a, ethPort, inner), ethPort)
	for _, f := range fragments {
		if r := m.Process(start, ethPort, []*packet.Packet{pkt(f)}); len(r.ToHost) != 1 {
			t.Fatal("fragment not for the host")
		}
	}
	whole, _, err := reassemble(fragments)
	if err != nil {
		t.Fatal(err)
	}
	out := one(t, m.Reassembled(start, ethPort, ha, c1, 0, pkt(whole[40:])), tunPort)
	inner[7]--
	if !bytes.Equal(out, inner) {
		t.Errorf("got %x", out)
	}
}
