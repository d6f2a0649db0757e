package forwarding

import (
	"bytes"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

func TestSignals(t *testing.T) {
	message := []byte{59, 1, 5, 0, 0, 0, 0, 1, 0x80, 0, 0, 10, 1, 2, 0, 0}
	none := netip.Addr{}
	// An echo request with a Home Address option: its checksum covers the home address.
	echo := icmp6(h1, ha, 64, 128, 0, 0, nil)[40:]
	prefixAdvertisement := icmp6(cn, h1, 64, 147, 0, 0, nil)[40:]
	for _, c := range []struct {
		name          string
		b             []byte
		kind          SignalKind
		home, routing netip.Addr
		upper         uint8
		offset        int
	}{
		{"binding update", ipv6(0, c1, ha, 60, 64, append(homeOption(135, h1), message...)), MobilityHeader, h1, none, 135, 64},
		{"deregistration from home", ipv6(0, h1, ha, 135, 64, message), MobilityHeader, none, none, 135, 40},
		{"acknowledgement", ipv6(0, cn, ha, 43, 64, append(routing2(135, h1), message...)), MobilityHeader, none, h1, 135, 64},
		{"both", ipv6(0, cn, ha, 43, 64, append(routing2(60, h1), append(homeOption(135, h2), message...)...)), MobilityHeader, h2, h1, 135, 88},
		{"padding options first", ipv6(0, c1, ha, 0, 64, append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, message...)), MobilityHeader, none, none, 135, 48},
		{"discovery", icmp6(c1, ha, 64, 144, 0, 0, nil), MobileICMP, none, none, 58, 40},
		{"prefix advertisement", ipv6(0, cn, ha, 43, 64, append(routing2(58, h1), prefixAdvertisement...)), MobileICMP, none, h1, 58, 64},
		{"echo reply", icmp6(c1, ha, 64, 129, 0, 0, nil), EchoReply, none, none, 58, 40},
		{"echo past the home agent", ipv6(0, c1, ha, 60, 64, append(homeOption(58, h1), echo...)), RouteOptimized, h1, none, 58, 64},
		{"data past the home agent", ipv6(0, c1, ha, 60, 64, append(homeOption(6, h1), message...)), RouteOptimized, h1, none, 6, 64},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := anchor(t)
			for _, tunneled := range []bool{false, true} {
				b := c.b
				if tunneled {
					// Only h1 speaks out of this tunnel.
					if netip.AddrFrom16([16]byte(b[8:24])) != h1 {
						continue
					}
					b = tunnelled(0, c1, ha, b)
				}
				r := process(w, ethPort, b)
				if len(r.Signals) != 1 || len(r.ToHost)+len(r.Outputs)+len(r.Neighbor) != 0 {
					t.Fatalf("got %+v; %v", *r, drops(e.Counters()))
				}
				s := r.Signals[0]
				want := Signal{
					Packet: s.Packet, Kind: c.kind, Source: netip.AddrFrom16([16]byte(c.b[8:24])), Destination: ha,
					HomeAddress: c.home, RoutingHome: c.routing, Upper: c.upper, PayloadOffset: c.offset, In: ethPort, Tunneled: tunneled,
				}
				if s != want || !bytes.Equal(s.Payload(), c.b[c.offset:]) {
					t.Errorf("got  %+v\nwant %+v", s, want)
				}
			}
		})
	}
}

func TestSignalChecks(t *testing.T) {
	message := make([]byte, 16)
	discovery := icmp6(c1, ha, 64, 144, 0, 0, nil)
	discovery[43]++
	for _, c := range []struct {
		name string
		b    []byte
		want Counter
	}{
		{"two home addresses", ipv6(0, c1, ha, 60, 64, append(homeOption(60, h1), append(homeOption(135, h2), message...)...)), DropMalformed},
		{"home address too short", ipv6(0, c1, ha, 60, 64, append([]byte{135, 0, 0xc9, 4, 0, 0, 0, 0}, message...)), DropMalformed},
		{"option beyond its header", ipv6(0, c1, ha, 60, 64, append([]byte{135, 0, 0xc9, 16, 0, 0, 0, 0}, message...)), DropMalformed},
		{"header beyond the packet", ipv6(0, c1, ha, 60, 64, homeOption(135, h1)[:20]), DropMalformed},
		{"routing header with two segments left", ipv6(0, c1, ha, 43, 64, append([]byte{135, 2, 2, 2}, make([]byte, 40)...)), DropMalformed},
		{"routing header too long", ipv6(0, c1, ha, 43, 64, append([]byte{135, 4, 2, 1}, make([]byte, 60)...)), DropMalformed},
		{"options without end", ipv6(0, c1, ha, 60, 64, append([]byte{135, 10}, make([]byte, 102)...)), DropTooManyHeaders},
		{"checksum of home agent discovery", discovery, DropChecksum},
		{"fragment with a home address", ipv6(0, c1, ha, 60, 64, append(homeOption(44, h1), 135, 0, 0, 1, 0, 0, 0, 1)), DropFragment},
		{"tunnel packet with a home address", ipv6(0, c1, ha, 60, 64, append(homeOption(41, h1), udp(h1, cn, 1)...)), DropMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := anchor(t)
			wantDrop(t, e, process(w, ethPort, c.b), c.want)
		})
	}
}

func TestToHost(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"echo request", icmp6(cn, ha, 64, 128, 0, 0, nil)},
		{"UDP", udp(cn, ha, 10)},
		{"TCP", tcp(cn, ha, 2, nil, 0)},
		{"unknown protocol", ipv6(0, cn, ha, 253, 64, nil)},
		{"fragment of a tunnel packet", ipv6(0, c1, ha, 44, 64, append([]byte{41, 0, 0, 1, 0, 0, 0, 9}, udp(h1, cn, 8)...))},
		{"last fragment", ipv6(0, c1, ha, 44, 64, []byte{41, 0, 0, 16, 0, 0, 0, 9, 1})},
		{"type 0 routing header", ipv6(0, cn, ha, 43, 64, append([]byte{17, 2, 0, 1, 0, 0, 0, 0}, make([]byte, 24)...))},
		{"echo request to all nodes", icmp6(router, addr("ff02::1"), 64, 128, 0, 0, nil)},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := anchor(t)
			r := process(w, ethPort, c.b)
			if len(r.ToHost) != 1 || len(r.Signals)+len(r.Outputs)+len(r.Neighbor) != 0 {
				t.Fatalf("got %+v; %v", *r, drops(e.Counters()))
			}
			if !bytes.Equal(r.ToHost[0].Bytes(), c.b) {
				t.Errorf("got %x", r.ToHost[0].Bytes())
			}
		})
	}
}

func TestNeighborMessages(t *testing.T) {
	solicitation := icmp6(router, h1, 255, 135, 0, 0, h1.AsSlice()) // unicast probe of a proxied address
	for _, c := range []struct {
		name string
		b    []byte
		kind uint8
	}{
		{"solicitation for a bound address", solicitation, 135},
		{"duplicate address detection", icmp6(netip.IPv6Unspecified(), addr("ff02::1:ff00:1"), 255, 135, 0, 0, ha.AsSlice()), 135},
		{"router advertisement", icmp6(router, addr("ff02::1"), 255, 134, 0, 0, make([]byte, 8)), 134},
		{"listener query", ipv6(0, router, addr("ff02::1"), 0, 1, append([]byte{58, 0, 5, 2, 0, 0, 1, 0}, icmp6(router, addr("ff02::1"), 1, 130, 0, 0, make([]byte, 16))[40:]...)), 130},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := anchor(t)
			r := process(w, ethPort, c.b)
			if len(r.Neighbor) != 1 || len(r.Signals)+len(r.Outputs)+len(r.ToHost) != 0 {
				t.Fatalf("got %+v; %v", *r, drops(e.Counters()))
			}
			m := r.Neighbor[0]
			if m.Type != c.kind || m.In != ethPort || m.Payload()[0] != c.kind || m.Source != netip.AddrFrom16([16]byte(c.b[8:24])) {
				t.Errorf("got %+v", m)
			}
		})
	}
	bad := bytes.Clone(solicitation)
	bad[50]++
	for _, b := range [][]byte{
		icmp6(router, h1, 64, 135, 0, 0, h1.AsSlice()),
		bad,
		ipv6(0, router, h1, 44, 255, append([]byte{58, 0, 0, 0, 0, 0, 0, 1}, solicitation[40:]...)),
		tunnelled(0, c1, ha, icmp6(h1, ha, 255, 135, 0, 0, ha.AsSlice())),
	} {
		e, w := anchor(t)
		wantDrop(t, e, process(w, ethPort, b), DropNeighbor)
	}
}

func TestLinkLocalAddressesAreOfTheirPort(t *testing.T) {
	e, w := anchor(t)
	own := addr("fe80::aa")
	must(t, e.SetLocal(own, ethPort))
	if r := process(w, ethPort, icmp6(router, own, 64, 128, 0, 0, nil)); len(r.ToHost) != 1 {
		t.Error("not delivered")
	}
	wantDrop(t, e, process(w, 9, icmp6(router, own, 64, 128, 0, 0, nil)), DropLinkLocal)
	r := w.Output(start, []*packet.Packet{pkt(icmp6(own, router, 64, 129, 0, 0, nil))})
	one(t, r, ethPort)
	if n := r.Outputs[0].Packets[0].NextHop; n != router {
		t.Errorf("next hop %v", n)
	}
}
