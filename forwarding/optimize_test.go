package forwarding

import (
	"bytes"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

// own is the correspondent node's address, from its side; from the mobile node's it is cn.
var own = cn

// optimizing is the mobile node, with route optimisation to cn.
func optimizing(t testing.TB) (*Engine, *Worker) {
	e, w := mobileNode(t)
	must(t, e.SetOptimized(h1, cn, Optimized{CareOf: c1, Via: true, Port: ethPort, NextHop: router}))
	return e, w
}

// correspondent is a correspondent node at own that has bindings of h1 at c1.
func correspondent(t testing.TB) (*Engine, *Worker) {
	e := New(Options{})
	must(t, e.SetPort(Port{ID: tunPort, Host: true, MTU: 1500}))
	must(t, e.SetPort(Port{ID: ethPort, MTU: 1500, Features: packet.PartialChecksum}))
	must(t, e.SetRoute(netip.MustParsePrefix("::/0"), ethPort, router))
	must(t, e.BindMobile(host(own), Tunnel{Native: true}))
	must(t, e.SetCorrespondentBinding(h1, c1, own))
	return e, e.NewWorker()
}

// with puts headers in front of the payload of an IPv6 packet, and gives it other addresses.
func with(b []byte, source, destination netip.Addr, first uint8, headers ...[]byte) []byte {
	return ipv6(b[0]<<4|b[1]>>4, source, destination, first, b[7], append(bytes.Join(headers, nil), b[40:]...))
}

func optionOut(b []byte) []byte  { return with(b, c1, cn, 60, homeOption(b[6], h1)) }
func routingOut(b []byte) []byte { return with(b, own, c1, 43, routing2(b[6], h1)) }

// Checksums are the home address's.
func TestRFC6275_11_3_1_HomeAddressOption(t *testing.T) {
	e, w := optimizing(t)
	for _, b := range [][]byte{udpClass(0xb9, h1, cn, 20), tcp(h1, cn, 0x10, nil, 7), icmp6(h1, cn, 64, 128, 0, 1, nil)} {
		r := process(w, tunPort, b)
		if out := one(t, r, ethPort); !bytes.Equal(out, optionOut(b)) {
			t.Errorf("got  %x\nwant %x", out, optionOut(b))
		}
		if n := r.Outputs[0].Packets[0].NextHop; n != router {
			t.Errorf("next hop %v", n)
		}
	}
	wantCount(t, e, RouteOptimizedSent, 3)
	wantCount(t, e, Encapsulated, 0)
}

// Everything else takes the tunnel.
func TestRFC6275_11_3_1_ReverseTunnelling(t *testing.T) {
	update := ipv6(0, h1, cn, 135, 64, []byte{59, 0, 0, 0, 0, 0, 0, 0})
	for name, change := range map[string]func(e *Engine) []byte{
		"another correspondent node": func(*Engine) []byte { return udp(h1, c2, 1) },
		"another home address": func(e *Engine) []byte {
			must(t, e.BindMobile(host(h2), Tunnel{Local: c1, Remote: ha, Via: true, Port: ethPort, NextHop: router}))
			return udp(h2, cn, 1)
		},
		"taken back": func(e *Engine) []byte { e.RemoveOptimized(h1, cn); return udp(h1, cn, 1) },
		"no care-of address": func(e *Engine) []byte {
			must(t, e.SetOptimized(h1, cn, Optimized{}))
			return udp(h1, cn, 1)
		},
		"no port": func(e *Engine) []byte {
			must(t, e.SetOptimized(h1, cn, Optimized{CareOf: c1, Via: true, Port: 9}))
			return udp(h1, cn, 1)
		},
		"no route":                     func(e *Engine) []byte { must(t, e.SetOptimized(h1, cn, Optimized{CareOf: c1})); return udp(h1, cn, 1) },
		"signalling":                   func(*Engine) []byte { return update },
		"a home address option itself": func(*Engine) []byte { return with(udp(h1, cn, 1), h1, cn, 60, homeOption(17, h2)) },
	} {
		t.Run(name, func(t *testing.T) {
			e, w := mobileNode(t)
			must(t, e.SetOptimized(h1, cn, Optimized{CareOf: c1, Via: true, Port: ethPort, NextHop: router}))
			b := change(e)
			if out := one(t, process(w, tunPort, b), ethPort); out[6] != 41 || !bytes.Equal(out[40:], b) {
				t.Errorf("got %x", out)
			}
		})
	}
	e, w := optimizing(t)
	must(t, e.BindMobile(host(h1), Tunnel{Native: true, Via: true, Port: ethPort, NextHop: router}))
	if b := udp(h1, cn, 1); !bytes.Equal(one(t, process(w, tunPort, b), ethPort), b) {
		t.Error("at home there is nothing to optimise")
	}
	// What kedge itself sends through the tunnel stays in it: the home test init.
	e, w = optimizing(t)
	if out := one(t, w.OutputTunnel(start, h1, []*packet.Packet{pkt(udp(h1, cn, 1))}), ethPort); out[6] != 41 {
		t.Errorf("got %x", out)
	}
	_ = e
}

// The option comes behind hop-by-hop options and routing headers, and before fragment headers and other destination options.
func TestRFC6275_6_3_PlaceOfTheOption(t *testing.T) {
	_, w := optimizing(t)
	inner := udp(h1, cn, 8)
	hop := func(next uint8) []byte { return []byte{next, 0, 5, 2, 0, 0, 1, 0} }
	options := func(next uint8) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	fragment := func(next uint8) []byte { return []byte{next, 0, 0, 1, 0, 0, 0, 7} }
	routing := func(next uint8) []byte { return []byte{next, 0, 4, 0, 0, 0, 0, 0} }
	for _, c := range []struct{ in, want []byte }{
		{with(inner, h1, cn, 0, hop(17)), with(inner, c1, cn, 0, hop(60), homeOption(17, h1))},
		{with(inner, h1, cn, 44, fragment(17)), with(inner, c1, cn, 60, homeOption(44, h1), fragment(17))},
		{with(inner, h1, cn, 60, options(17)), with(inner, c1, cn, 60, homeOption(60, h1), options(17))},
		{with(inner, h1, cn, 43, routing(17)), with(inner, c1, cn, 43, routing(60), homeOption(17, h1))},
		{with(inner, h1, cn, 0, hop(60), options(43), routing(60), options(17)),
			with(inner, c1, cn, 0, hop(60), options(43), routing(60), homeOption(60, h1), options(17))},
	} {
		if out := one(t, process(w, tunPort, c.in), ethPort); !bytes.Equal(out, c.want) {
			t.Errorf("got  %x\nwant %x", out, c.want)
		}
		// And the other end undoes exactly that.
		_, other := correspondent(t)
		if back := one(t, process(other, ethPort, c.want), tunPort); !bytes.Equal(back, c.in) {
			t.Errorf("got  %x\nwant %x", back, c.in)
		}
	}
}

func TestRFC6275_11_3_3_Type2RoutingHeader(t *testing.T) {
	e, w := optimizing(t)
	inner := udpClass(0xb9, cn, h1, 20)
	if out := one(t, process(w, ethPort, with(inner, cn, c1, 43, routing2(17, h1))), tunPort); !bytes.Equal(out, inner) {
		t.Errorf("got  %x\nwant %x", out, inner)
	}
	echo := icmp6(cn, h1, 64, 129, 0, 1, nil)
	if out := one(t, process(w, ethPort, with(echo, cn, c1, 43, routing2(58, h1))), tunPort); !bytes.Equal(out, echo) {
		t.Errorf("got  %x\nwant %x", out, echo)
	}
	// While the next binding is being made, those on the way are taken, at a former care-of address too.
	must(t, e.SetOptimized(h1, cn, Optimized{}))
	must(t, e.SetLocal(c2, ethPort))
	if out := one(t, process(w, ethPort, with(inner, cn, c2, 43, routing2(17, h1))), tunPort); !bytes.Equal(out, inner) {
		t.Errorf("got  %x\nwant %x", out, inner)
	}
	wantCount(t, e, RouteOptimizedReceived, 3)
	message := []byte{59, 0, 6, 0, 0, 0, 0, 0}
	if r := process(w, ethPort, ipv6(0, cn, c1, 43, 64, append(routing2(135, h1), message...))); len(r.Signals) != 1 || r.Signals[0].RoutingHome != h1 {
		t.Errorf("signalling came out as %+v", *r)
	}
}

func TestRFC6275_11_3_3_RoutingHeadersAreChecked(t *testing.T) {
	inner := udp(cn, h1, 8)
	for _, c := range []struct {
		name string
		b    []byte
		want Counter
	}{
		{"not a home address", with(inner, cn, c1, 43, routing2(17, h2)), DropNotOptimized},
		{"its care-of address", with(inner, cn, c1, 43, routing2(17, c1)), DropNotOptimized},
		{"a stranger", with(inner, c2, c1, 43, routing2(17, h1)), DropNotOptimized},
		{"from itself", with(inner, h1, c1, 43, routing2(17, h1)), DropNotOptimized},
		{"two segments left", with(inner, cn, c1, 43, []byte{17, 2, 2, 2}, make([]byte, 20)), DropMalformed},
		{"behind a fragment header", with(inner, cn, c1, 44, []byte{43, 0, 0, 1, 0, 0, 0, 7}, routing2(17, h1)), DropFragment},
		{"not to a care-of address", with(inner, cn, h1, 43, routing2(17, h1)), DropNotTunneled},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := optimizing(t)
			wantDrop(t, e, process(w, ethPort, c.b), c.want)
		})
	}
}

func TestRFC6275_9_3_1_HomeAddressOptionOfABinding(t *testing.T) {
	e, w := correspondent(t)
	for _, b := range [][]byte{udpClass(0x2e, h1, own, 20), tcp(h1, own, 2, []byte{2, 4, 4, 0xb4}, 0), icmp6(h1, own, 64, 128, 0, 9, nil)} {
		if out := one(t, process(w, ethPort, optionOut(b)), tunPort); !bytes.Equal(out, b) {
			t.Errorf("got  %x\nwant %x", out, b)
		}
	}
	wantCount(t, e, RouteOptimizedReceived, 3)
	// Other options stay, where they were aligned.
	inner := udp(h1, own, 8)
	router5 := []byte{5, 2, 0, 0, 1, 0} // 6 octets
	mixed := append([]byte{17, 3}, append(append(router5, 0xc9, 16), append(h1.AsSlice(), 0x1e, 4, 1, 2, 3, 4)...)...)
	want := []byte{17, 1, 5, 2, 0, 0, 1, 0, 1, 0, 0x1e, 4, 1, 2, 3, 4}
	if out := one(t, process(w, ethPort, with(inner, c1, own, 60, mixed)), tunPort); !bytes.Equal(out, with(inner, h1, own, 60, want)) {
		t.Errorf("got  %x\nwant %x", out, with(inner, h1, own, 60, want))
	}
}

// Each is told to signalling, which answers with a Binding Error.
func TestRFC6275_9_3_1_HomeAddressOptionWithoutABinding(t *testing.T) {
	inner := udp(h1, own, 8)
	for _, b := range [][]byte{
		with(inner, c2, own, 60, homeOption(17, h1)),
		with(inner, c1, own, 60, homeOption(17, h2)),
		with(inner, c1, own, 60, homeOption(44, h2), []byte{17, 0, 0, 1, 0, 0, 0, 7}),
		with(icmp6(h2, own, 64, 128, 0, 9, nil), c1, own, 60, homeOption(58, h2)),
	} {
		_, w := correspondent(t)
		r := process(w, ethPort, b)
		if len(r.Signals) != 1 || len(r.Outputs)+len(r.ToHost) != 0 || r.Signals[0].Kind != RouteOptimized || r.Signals[0].Destination != own {
			t.Errorf("%x came out as %+v", b, *r)
		}
	}
	for _, c := range []struct {
		b    []byte
		want Counter
	}{
		{with(inner, c1, own, 60, homeOption(17, addr("ff02::1"))), DropBogon},
		{with(inner, c1, own, 60, homeOption(17, addr("fe80::1"))), DropBogon},
		{inner, DropAtHome}, // the kernel has it already
	} {
		e, w := correspondent(t)
		wantDrop(t, e, process(w, ethPort, c.b), c.want)
	}
	// Its own address is nobody's home address.
	e, w := correspondent(t)
	must(t, e.BindMobile(host(h1), Tunnel{Native: true}))
	wantDrop(t, e, process(w, ethPort, optionOut(inner)), DropOwnSource)
}

func TestRFC6275_9_3_2_Type2RoutingHeaderToABinding(t *testing.T) {
	e, w := correspondent(t)
	for _, b := range [][]byte{udpClass(0xb9, own, h1, 20), icmp6(own, h1, 64, 129, 0, 9, nil)} {
		r := process(w, tunPort, b)
		if out := one(t, r, ethPort); !bytes.Equal(out, routingOut(b)) {
			t.Errorf("got  %x\nwant %x", out, routingOut(b))
		}
		if n := r.Outputs[0].Packets[0].NextHop; n != router {
			t.Errorf("next hop %v", n)
		}
	}
	wantCount(t, e, RouteOptimizedSent, 2)
	other := udp(own, h2, 20)
	if out := one(t, process(w, tunPort, other), ethPort); !bytes.Equal(out, other) {
		t.Errorf("without a binding: %x", out)
	}
	e.RemoveCorrespondentBinding(h1, own)
	ordinary := udp(own, h1, 20)
	if out := one(t, process(w, tunPort, ordinary), ethPort); !bytes.Equal(out, ordinary) {
		t.Errorf("after its end: %x", out)
	}
	if e.state.Load().optimizations != nil {
		t.Error("empty tables are looked into")
	}
}

// Two mobile nodes: both headers, and each undone.
func TestRFC6275_6_1_BothEndsMobile(t *testing.T) {
	e, w := optimizing(t)
	must(t, e.SetCorrespondentBinding(cn, c2, h1))
	inner := udp(h1, cn, 20)
	want := with(inner, c1, c2, 43, routing2(60, cn), homeOption(17, h1))
	if out := one(t, process(w, tunPort, inner), ethPort); !bytes.Equal(out, want) {
		t.Errorf("got  %x\nwant %x", out, want)
	}
	back := udp(cn, h1, 20)
	if out := one(t, process(w, ethPort, with(back, c2, c1, 43, routing2(60, h1), homeOption(17, cn))), tunPort); !bytes.Equal(out, back) {
		t.Errorf("got  %x\nwant %x", out, back)
	}
	// With a binding of the peer's alone, its care-of address is reached by way of this node's home agent.
	e.RemoveOptimized(h1, cn)
	out := one(t, process(w, tunPort, inner), ethPort)
	if want := with(inner, h1, c2, 43, routing2(17, cn)); out[6] != 41 || !bytes.Equal(out[40:], want) {
		t.Errorf("got  %x\nwant %x", out[40:], want)
	}
	// And what it sends past its home agent comes through the tunnel.
	if out := one(t, process(w, ethPort, tunnelled(0, ha, c1, with(back, c2, h1, 60, homeOption(17, cn)))), tunPort); !bytes.Equal(out, back) {
		t.Errorf("got  %x\nwant %x", out, back)
	}
}

// The host's kernel sees what comes for the correspondent node's address, and may not know the option.
func TestRFC6275_9_3_1_KernelDoesNotDisownTheOption(t *testing.T) {
	e, w := correspondent(t)
	wantDrop(t, e, process(w, tunPort, icmp6(own, c1, 64, 4, 2, 46, optionOut(udp(h1, own, 8)))), DropComplaint)
	other := with(udp(c1, own, 8), c1, own, 60, []byte{17, 0, 0x9e, 4, 0, 0, 0, 0})
	one(t, process(w, tunPort, icmp6(own, c1, 64, 4, 2, 42, other)), ethPort)
}
