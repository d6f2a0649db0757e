package forwarding

import (
	"bytes"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

func TestMobileOut(t *testing.T) {
	_, w := mobileNode(t)
	inner := udpClass(0xb9, h1, cn, 20)
	r := process(w, tunPort, inner)
	out, label := flowless(one(t, r, ethPort))
	if want := ipv6(0xb9, c1, ha, 41, 64, inner); !bytes.Equal(out, want) || label == 0 {
		t.Errorf("got  %x\nwant %x", out, want)
	}
	if n := r.Outputs[0].Packets[0].NextHop; n != router {
		t.Errorf("next hop %v", n)
	}
}

func TestMobileIn(t *testing.T) {
	e, w := mobileNode(t)
	inner := udp(cn, h1, 20)
	if out := one(t, process(w, ethPort, tunnelled(0, ha, c1, inner)), tunPort); !bytes.Equal(out, inner) {
		t.Errorf("got  %x\nwant %x", out, inner)
	}
	// In flight to a former care-of address that is still held.
	must(t, e.SetLocal(c2, ethPort))
	one(t, process(w, ethPort, tunnelled(0, ha, c2, inner)), tunPort)
}

func TestMobileInChecks(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		want Counter
	}{
		{"not the home agent", tunnelled(0, c2, c1, udp(cn, h1, 1)), DropOuterSource},
		{"not a held address", tunnelled(0, ha, c1, udp(cn, h2, 1)), DropNoBinding},
		{"its own address as source", tunnelled(0, ha, c1, udp(h1, h1, 1)), DropOwnSource},
		{"its care-of address as source", tunnelled(0, ha, c1, udp(c1, h1, 1)), DropOwnSource},
		{"away, but not tunnelled", udp(cn, h1, 1), DropNotTunneled},
		{"for somebody else", udp(cn, h2, 1), DropNotOurs},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := mobileNode(t)
			wantDrop(t, e, process(w, ethPort, c.b), c.want)
		})
	}
	t.Run("no host port", func(t *testing.T) {
		e, w := mobileNode(t)
		e.RemovePort(tunPort)
		wantDrop(t, e, process(w, ethPort, tunnelled(0, ha, c1, udp(cn, h1, 1))), DropNoPort)
	})
}

func TestFromHostDrops(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		want Counter
	}{
		{"group", udp(h1, addr("ff0e::1"), 1), MulticastRefused},
		{"link-local source", udp(addr("fe80::5"), cn, 1), DropLinkLocal},
		{"link-local destination", udp(h1, addr("fe80::5"), 1), DropLinkLocal},
		{"loopback", udp(netip.IPv6Loopback(), cn, 1), DropBogon},
		{"source not held", udp(h2, cn, 1), DropUnbound},
		{"outer would equal inner", udp(c1, ha, 1), DropUnbound},
		{"IPv4", []byte{0x45, 0, 0, 20}, DropNotIPv6},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := mobileNode(t)
			wantDrop(t, e, process(w, tunPort, c.b), c.want)
		})
	}
	t.Run("same as its tunnel", func(t *testing.T) {
		e, w := mobileNode(t)
		must(t, e.BindMobile(netip.MustParsePrefix("2001:db8:c1::/64"), Tunnel{Local: c1, Remote: ha, Via: true, Port: ethPort, NextHop: router}))
		wantDrop(t, e, process(w, tunPort, udp(c1, ha, 1)), DropLoop)
	})
}

func TestUnboundHomeAddress(t *testing.T) {
	e, w := mobileNode(t)
	e.UnbindMobile(host(h1))
	wantICMP(t, one(t, process(w, tunPort, udp(h1, cn, 1)), tunPort), c1, h1, 1, 0)
	wantCount(t, e, DropUnbound, 1)
	e.RemoveLocal(c1) // nor any address of its own
	wantICMP(t, one(t, process(w, tunPort, udp(h1, cn, 1)), tunPort), cn, h1, 1, 0)
}

func TestAtHome(t *testing.T) {
	e, w := mobileNode(t)
	must(t, e.BindMobile(host(h1), Tunnel{Local: c1, Remote: ha, Native: true, Via: true, Port: ethPort, NextHop: router}))
	b := udp(h1, cn, 20)
	r := process(w, tunPort, b)
	if out := one(t, r, ethPort); !bytes.Equal(out, b) {
		t.Errorf("got %x", out)
	}
	if n := r.Outputs[0].Packets[0].NextHop; n != router {
		t.Errorf("next hop %v", n)
	}
	// What still comes out of the tunnel is taken; what comes natively the kernel takes.
	one(t, process(w, ethPort, tunnelled(0, ha, c1, udp(cn, h1, 1))), tunPort)
	wantDrop(t, e, process(w, ethPort, udp(cn, h1, 1)), DropAtHome)
	wantCount(t, e, Native, 1)
	if d := e.Counters(); d.Dropped() != 0 {
		t.Errorf("%d counted as trouble", d.Dropped())
	}

	must(t, e.BindMobile(host(h1), Tunnel{Native: true}))
	must(t, e.SetRoute(netip.MustParsePrefix("2001:db8:cc::/48"), ethPort, netip.Addr{}))
	r = process(w, tunPort, b)
	one(t, r, ethPort)
	if n := r.Outputs[0].Packets[0].NextHop; n != cn {
		t.Errorf("on-link next hop %v", n)
	}
	wantICMP(t, one(t, process(w, tunPort, udp(h1, c2, 1)), tunPort), c1, h1, 1, 0)
}

func TestHostTalksToKedge(t *testing.T) {
	e, w := mobileNode(t)
	r := process(w, tunPort, udp(h1, c1, 1))
	if len(r.ToHost) != 1 || len(r.Outputs) != 0 {
		t.Fatalf("got %+v", *r)
	}
	b := udp(c1, h1, 1)
	if out := one(t, w.Output(start, []*packet.Packet{pkt(b)}), tunPort); !bytes.Equal(out, b) {
		t.Errorf("got %x", out)
	}
	wantCount(t, e, DeliveredHost, 1)
}

// Signalling for a home address reaches the protocol roles and never the kernel.
func TestSignallingForHomeAddress(t *testing.T) {
	message := ipv6(0, ha, h1, 135, 64, []byte{59, 0, 6, 0, 0, 0, 0, 0})
	for _, tunnel := range []Tunnel{
		{Down: true}, {Native: true}, {Local: c1, Remote: ha, Via: true, Port: ethPort, NextHop: router},
	} {
		e, w := mobileNode(t)
		must(t, e.BindMobile(host(h1), tunnel))
		for _, b := range [][]byte{message, icmp6(ha, h1, 64, 145, 0, 0, nil), tunnelled(0, ha, c1, message)} {
			tunneled := b[6] == 41
			if tunneled && !tunnel.Via {
				continue
			}
			r := process(w, ethPort, b)
			if len(r.Signals) != 1 || len(r.Outputs) != 0 {
				t.Fatalf("%+v: got %+v; %v", tunnel, *r, drops(e.Counters()))
			}
			if s := r.Signals[0]; s.Source != ha || s.Destination != h1 || s.Tunneled != tunneled {
				t.Errorf("got %+v", s)
			}
		}
	}
}

func TestDown(t *testing.T) {
	e, w := mobileNode(t)
	must(t, e.BindMobile(host(h1), Tunnel{Down: true}))
	wantICMP(t, one(t, process(w, tunPort, udp(h1, cn, 1)), tunPort), c1, h1, 1, 0)
	wantDrop(t, e, process(w, ethPort, udp(cn, h1, 1)), DropNotTunneled)
	wantDrop(t, e, process(w, ethPort, tunnelled(0, ha, c1, udp(cn, h1, 1))), DropOuterSource)
	wantCount(t, e, DropUnbound, 1)
	if e.BindAnchored(host(h1), Tunnel{Down: true}) == nil {
		t.Error("an anchor has no bindings that are down")
	}
}

// A peer that is told that the mobile node does not recognize the Mobility Header stops signalling to it (RFC 6275 section
// 11.3.5); the host's kernel, which sees the acknowledgements of a mobile node at home too, would say so.
func TestRFC6275_11_3_5_KernelDoesNotDisownMobility(t *testing.T) {
	e, w := mobileNode(t)
	ack := ipv6(0, ha, h1, 135, 64, []byte{59, 0, 6, 0, 0, 0, 0, 0})
	wantDrop(t, e, process(w, tunPort, icmp6(h1, ha, 64, 4, 1, 6, ack)), DropComplaint)
	// Any other complaint is the program's business.
	other := ipv6(0, ha, h1, 132, 64, make([]byte, 8))
	one(t, process(w, tunPort, icmp6(h1, ha, 64, 4, 1, 6, other)), ethPort)
}
