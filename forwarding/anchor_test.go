package forwarding

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"kedge/netstack/packet"
)

// flowless takes the flow label out of a packet, since it is keyed at random.
func flowless(b []byte) (plain []byte, label uint32) {
	b = bytes.Clone(b)
	label = binary.BigEndian.Uint32(b) & 0xfffff
	b[1] &^= 0x0f
	b[2], b[3] = 0, 0
	return b, label
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// RFC 6275 section 10.4.2, RFC 2473 section 3.1: every octet.
func TestInterceptedPacketGolden(t *testing.T) {
	_, w := anchor(t)
	in := unhex(`
		60b00000 000a 11 40
		20010db800cc0000 0000000000000001 20010db8000a0000 0000000000001001
		0fa01388 000a beef 6869`)
	out, label := flowless(one(t, process(w, ethPort, in), ethPort))
	want := unhex(`
		60b00000 0032 29 40
		20010db8000a0000 0000000000000001 20010db800c10000 0000000000000001
		60b00000 000a 11 3f
		20010db800cc0000 0000000000000001 20010db8000a0000 0000000000001001
		0fa01388 000a beef 6869`)
	if !bytes.Equal(out, want) {
		t.Errorf("got  %x\nwant %x", out, want)
	}
	if label == 0 {
		t.Error("no flow label")
	}
}

func TestNextHop(t *testing.T) {
	e, w := anchor(t)
	next := func() netip.Addr {
		t.Helper()
		r := process(w, ethPort, udp(cn, h1, 10))
		if len(r.Outputs) != 1 {
			t.Fatal("no output")
		}
		return r.Outputs[0].Packets[0].NextHop
	}
	if n := next(); n != router {
		t.Errorf("by the default route: %v", n)
	}
	must(t, e.SetRoute(netip.MustParsePrefix("2001:db8:c1::/64"), ethPort, netip.Addr{}))
	if n := next(); n != c1 {
		t.Errorf("on-link: %v", n)
	}
	other := addr("fe80::2")
	must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c1, Via: true, Port: ethPort, NextHop: other}))
	if n := next(); n != other {
		t.Errorf("via: %v", n)
	}
}

// RFC 6275 section 10.4.5.
func TestReverseTunnelled(t *testing.T) {
	e, w := anchor(t)
	inner := udp(h1, cn, 20)
	out := one(t, process(w, ethPort, tunnelled(0, c1, ha, inner)), ethPort)
	inner[7]--
	if !bytes.Equal(out, inner) {
		t.Errorf("got  %x\nwant %x", out, inner)
	}
	wantCount(t, e, Decapsulated, 1)
	wantCount(t, e, DecapsulatedOctets, 68)
}

func TestReverseTunnelChecks(t *testing.T) {
	group := addr("ff0e::1")
	for _, c := range []struct {
		name string
		b    []byte
		want Counter
	}{
		{"another care-of address", tunnelled(0, c2, ha, udp(h1, cn, 1)), DropOuterSource},
		{"inner source of another binding", tunnelled(0, c1, ha, udp(h2, cn, 1)), DropOuterSource},
		{"to a group", tunnelled(0, c1, ha, udp(h1, group, 1)), MulticastRefused},
		{"from a group", tunnelled(0, c1, ha, udp(group, cn, 1)), DropBogon},
		{"from nowhere", tunnelled(0, c1, ha, udp(netip.IPv6Unspecified(), cn, 1)), DropBogon},
		{"to loopback", tunnelled(0, c1, ha, udp(h1, netip.IPv6Loopback(), 1)), DropBogon},
		{"to IPv4-mapped", tunnelled(0, c1, ha, udp(h1, addr("::ffff:1.2.3.4"), 1)), DropBogon},
		{"from link-local", tunnelled(0, c1, ha, udp(addr("fe80::9"), cn, 1)), DropLinkLocal},
		{"to link-local", tunnelled(0, c1, ha, udp(h1, addr("fe80::9"), 1)), DropLinkLocal},
		{"IPv4 inside", tunnelled(0, c1, ha, append([]byte{0x45}, make([]byte, 60)...)), DropNotIPv6},
		{"inner longer than outer", tunnelled(0, c1, ha, udp(h1, cn, 20)[:60]), DropMalformed},
		{"empty", tunnelled(0, c1, ha, nil), DropMalformed},
		{"congestion over no ECN", tunnelled(3, c1, ha, udp(h1, cn, 1)), DropCongestion},
		{"outer source link-local", tunnelled(0, addr("fe80::5"), ha, udp(h1, cn, 1)), DropMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := anchor(t)
			wantDrop(t, e, process(w, ethPort, c.b), c.want)
		})
	}
	t.Run("another outer destination", func(t *testing.T) {
		e, w := anchor(t)
		other := addr("2001:db8:a::2")
		must(t, e.SetLocal(other, ethPort))
		wantDrop(t, e, process(w, ethPort, tunnelled(0, c1, other, udp(h1, cn, 1))), DropOuterSource)
	})
}

func TestMobileNetworkPrefix(t *testing.T) {
	e, w := anchor(t)
	must(t, e.BindAnchored(netip.MustParsePrefix("2001:db8:aa::/48"), Tunnel{Local: ha, Remote: c1}))
	behind := addr("2001:db8:aa:1::5")
	one(t, process(w, ethPort, tunnelled(0, c1, ha, udp(behind, cn, 1))), ethPort)
	out := one(t, process(w, ethPort, udp(cn, behind, 1)), ethPort)
	if d := netip.AddrFrom16([16]byte(out[24:40])); d != c1 {
		t.Errorf("tunnelled to %v", d)
	}
	e.UnbindAnchored(netip.MustParsePrefix("2001:db8:aa::/48"))
	wantDrop(t, e, process(w, ethPort, udp(cn, behind, 1)), DropNotOurs)
}

func TestHairpin(t *testing.T) {
	e, w := anchor(t)
	inner := udp(h1, h2, 20)
	out, _ := flowless(one(t, process(w, ethPort, tunnelled(0, c1, ha, inner)), ethPort))
	inner[7]-- // one hop, not two
	want := ipv6(0, ha, c2, 41, 64, inner)
	if !bytes.Equal(out, want) {
		t.Errorf("got  %x\nwant %x", out, want)
	}
	wantCount(t, e, Decapsulated, 1)
	wantCount(t, e, Encapsulated, 1)
}

// A mobile node whose care-of address is the home address of another is reached through both tunnels.
func TestNestedTunnels(t *testing.T) {
	e, w := anchor(t)
	must(t, e.BindAnchored(host(h3), Tunnel{Local: ha, Remote: h2}))
	inner := udp(cn, h3, 20)
	out := one(t, process(w, ethPort, inner), ethPort)
	inner[7]--
	if len(out) != len(inner)+80 || !bytes.Equal(out[80:], inner) {
		t.Fatalf("got %x", out)
	}
	outer, label := flowless(out[:40])
	middle, label2 := flowless(out[40:80])
	if !bytes.Equal(outer, ipv6(0, ha, c2, 41, 64, make([]byte, len(inner)+40))[:40]) || label == 0 || label != label2 {
		t.Errorf("outer header %x", out[:40])
	}
	if !bytes.Equal(middle, ipv6(0, ha, h2, 41, 64, make([]byte, len(inner)))[:40]) {
		t.Errorf("middle header %x", out[40:80])
	}
	// And back: h2 forwards what h3 tunnelled to the home agent, in its own tunnel.
	back := udp(h3, cn, 20)
	got := one(t, process(w, ethPort, tunnelled(0, c2, ha, tunnelled(0, h2, ha, back))), ethPort)
	back[7]--
	if !bytes.Equal(got, back) {
		t.Errorf("got %x", got)
	}
	wantDrop(t, e, process(w, ethPort, tunnelled(0, c1, ha, tunnelled(0, h2, ha, back))), DropOuterSource)
}

func TestLoops(t *testing.T) {
	e, w := anchor(t)
	// Each other's care-of address.
	must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: h2}))
	must(t, e.BindAnchored(host(h2), Tunnel{Local: ha, Remote: h1}))
	wantDrop(t, e, process(w, ethPort, udp(cn, h1, 1)), DropNested)
	// A care-of address that is this node's own.
	own := addr("2001:db8:a::2")
	must(t, e.BindAnchored(host(h3), Tunnel{Local: ha, Remote: own}))
	must(t, e.SetLocal(own, ethPort))
	wantDrop(t, e, process(w, ethPort, udp(cn, h3, 1)), DropLoop)
}

func TestTooDeep(t *testing.T) {
	e, w := anchor(t)
	must(t, e.BindAnchored(netip.MustParsePrefix("2001:db8:ee::/48"), Tunnel{Local: ha, Remote: addr("2001:db8:ee::1")}))
	inner := udp(addr("2001:db8:ee::1"), cn, 1)
	for range maxNesting + 1 {
		inner = tunnelled(0, addr("2001:db8:ee::1"), ha, inner)
	}
	wantDrop(t, e, process(w, ethPort, inner), DropNested)
}

func TestFromLinkDrops(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		want Counter
	}{
		{"empty", nil, DropMalformed},
		{"IPv4", []byte{0x45, 0, 0, 20}, DropNotIPv6},
		{"short", udp(cn, h1, 20)[:30], DropMalformed},
		{"payload cut off", udp(cn, h1, 20)[:60], DropMalformed},
		{"source loopback", udp(netip.IPv6Loopback(), h1, 1), DropBogon},
		{"source group", udp(addr("ff02::5"), h1, 1), DropBogon},
		{"source unspecified", udp(netip.IPv6Unspecified(), h1, 1), DropBogon},
		{"source IPv4-mapped", udp(addr("::ffff:10.0.0.1"), h1, 1), DropBogon},
		{"destination unspecified", udp(cn, netip.IPv6Unspecified(), 1), DropBogon},
		{"group", udp(cn, addr("ff0e::7"), 1), DropMulticast},
		{"unbound", udp(cn, h3, 1), DropNotOurs},
		{"other host", udp(cn, addr("2001:db8:a::ffff"), 1), DropNotOurs},
		{"link-local elsewhere", udp(router, addr("fe80::77"), 1), DropNotOurs},
		{"too many headers", ipv6(0, cn, h1, 60, 64, bytes.Repeat([]byte{60, 0, 1, 4, 0, 0, 0, 0}, 9)), DropTooManyHeaders},
		{"hop-by-hop in the middle", ipv6(0, cn, h1, 60, 64, append([]byte{0, 0, 1, 4, 0, 0, 0, 0}, 17, 0, 1, 4, 0, 0, 0, 0)), DropMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := anchor(t)
			wantDrop(t, e, process(w, ethPort, c.b), c.want)
		})
	}
	t.Run("group frame", func(t *testing.T) {
		e, w := anchor(t)
		p := pkt(udp(cn, h1, 1))
		p.Group = true
		wantDrop(t, e, w.Process(start, ethPort, []*packet.Packet{p}), DropGroupFrame)
	})
	t.Run("no port", func(t *testing.T) {
		e, w := anchor(t)
		e.RemovePort(ethPort)
		wantDrop(t, e, process(w, ethPort, udp(cn, h1, 1)), DropNoPort)
	})
	t.Run("no route", func(t *testing.T) {
		e, w := anchor(t)
		e.RemoveRoute(netip.MustParsePrefix("::/0"))
		wantDrop(t, e, process(w, ethPort, udp(cn, h1, 1)), DropNoRoute)
	})
}

// A link may hand over what an Ethernet pads short frames with.
func TestPaddingIsCutOff(t *testing.T) {
	_, w := anchor(t)
	b := udp(cn, h1, 1)
	out := one(t, process(w, ethPort, append(bytes.Clone(b), 0, 0, 0, 0, 0)), ethPort)
	if len(out) != len(b)+40 {
		t.Errorf("%d octets out of %d", len(out), len(b))
	}
}

func TestTUNAnchor(t *testing.T) {
	e, w := anchor(t)
	must(t, e.SetPort(Port{ID: tunPort, Host: true, MTU: 1500}))
	must(t, e.SetRoute(netip.MustParsePrefix("2001:db8:cc::/48"), tunPort, netip.Addr{}))
	inner := udp(cn, h1, 1)
	out := one(t, process(w, tunPort, inner), ethPort)
	if !bytes.Equal(out[40:], inner) {
		t.Error("the hop limit is the kernel's to count on its way to the TUN")
	}
	back := udp(h1, cn, 1)
	if out := one(t, process(w, ethPort, tunnelled(0, c1, ha, back)), tunPort); !bytes.Equal(out, back) {
		t.Error("the hop limit is the kernel's to count on its way from the TUN")
	}
	// A home address that nobody is bound to.
	r := process(w, tunPort, udp(cn, h3, 1))
	wantICMP(t, one(t, r, tunPort), ha, cn, 1, 3)
}
