package forwarding

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"kedge/forwarding/icmp"
	"kedge/netstack/packet"
)

func TestDatagramIn(t *testing.T) {
	e, w := datagramAnchor(t)
	b := udp(h1, cn, 100)
	out := one(t, receive(w, b, peer4, ha4), ethPort)
	b[7]--
	if !bytes.Equal(out, b) {
		t.Errorf("routed %x, want %x", out, b)
	}
	wantCount(t, e, Decapsulated, 1)
	wantCount(t, e, DecapsulatedOctets, uint64(len(b)))
	// To another mobile node, each by its own transport.
	p := oneDatagram(t, receive(w, udp(h1, h2, 1), peer4, ha4), peer6, ha6)
	if want := udp(h1, h2, 1); !bytes.Equal(p.Bytes()[8:], want[8:]) || p.Bytes()[7] != 63 {
		t.Errorf("from datagram to datagram: %x", p.Bytes())
	}
	if out := one(t, receive(w, udp(h2, h5, 1), peer6, ha6), ethPort); addrAt(out, 24) != c2 || addrAt(out, 48) != h2 {
		t.Errorf("from datagram to native tunnel: %x", out)
	}
	oneDatagram(t, process(w, ethPort, tunnelled(0, c2, ha, udp(h5, h1, 1))), peer4, ha4)
	// To this node.
	if r := receive(w, icmp6(h1, ha, 64, icmp.EchoRequest, 0, 1, nil), peer4, ha4); len(r.ToHost) != 1 {
		t.Errorf("echo request: %+v", *r)
	}

	m, mw := datagramMobile(t)
	if out := one(t, receive(mw, udp(cn, h1, 100), agent4, addr("10.0.0.77")), tunPort); !bytes.Equal(out, udp(cn, h1, 100)) {
		t.Errorf("to the host: %x", out)
	}
	wantCount(t, m, Decapsulated, 1)
}

// Whatever a datagram may not bring is dropped, counted, and but for refusals unanswered.
func TestDatagramsThatAreDropped(t *testing.T) {
	otherPort := netip.AddrPortFrom(peer4.Addr(), peer4.Port()+1)
	for _, c := range []struct {
		name  string
		b     []byte
		peer  netip.AddrPort
		local netip.Addr
		want  Counter
		// refused says that the sender is told.
		refused bool
	}{
		{"empty", nil, peer4, ha4, DropMalformed, false},
		{"a keepalive of one octet", []byte{0xff}, peer4, ha4, DropNotIPv6, false},
		{"IPv4 inside", append([]byte{0x45}, make([]byte, 60)...), peer4, ha4, DropNotIPv6, false},
		{"half a header", udp(h1, cn, 1)[:30], peer4, ha4, DropMalformed, false},
		{"shorter than it says", udp(h1, cn, 40)[:80], peer4, ha4, DropMalformed, false},
		{"a broken extension header", ipv6(0, h1, cn, 60, 64, []byte{17, 9, 0, 0}), peer4, ha4, DropMalformed, false},
		{"another port", udp(h1, cn, 1), otherPort, ha4, DropOuterSource, true},
		{"another address", udp(h1, cn, 1), wild4, ha4, DropOuterSource, true},
		{"another address of this node", udp(h1, cn, 1), peer4, addr("192.0.2.9"), DropOuterSource, true},
		{"no port", udp(h1, cn, 1), netip.AddrPortFrom(peer4.Addr(), 0), ha4, DropOuterSource, false},
		{"no peer", udp(h1, cn, 1), netip.AddrPort{}, ha4, DropOuterSource, false},
		{"the right peer of another", udp(h2, cn, 1), peer4, ha4, DropOuterSource, true},
		{"native elsewhere", udp(h5, cn, 1), netip.AddrPortFrom(c2, 4191), ha6, DropOuterSource, true},
		{"its own address as source", udp(ha, cn, 1), peer4, ha4, DropOwnSource, false},
		{"multicast", udp(h1, addr("ff0e::1"), 1), peer4, ha4, MulticastRefused, false},
		{"multicast source", udp(addr("ff0e::1"), cn, 1), peer4, ha4, DropBogon, false},
		{"loopback", udp(h1, addr("::1"), 1), peer4, ha4, DropBogon, false},
		{"link-local destination", udp(h1, router, 1), peer4, ha4, DropLinkLocal, false},
		{"link-local source", udp(router, ha, 1), peer4, ha4, DropLinkLocal, false},
		{"neighbour solicitation", icmp6(h1, ha, 255, 135, 0, 0, h1.AsSlice()), peer4, ha4, DropNeighbor, false},
		{"router advertisement", icmp6(h1, cn, 255, 134, 0, 0, nil), peer4, ha4, DropNeighbor, false},
		{"redirect", icmp6(h1, cn, 255, 137, 0, 0, nil), peer4, ha4, DropNeighbor, false},
		{"multicast listener query", icmp6(h1, ha, 1, 130, 0, 0, nil), peer4, ha4, DropNeighbor, false},
		{"multicast listener report", icmp6(h1, ha, 1, 143, 0, 0, nil), wild4, ha4, DropNeighbor, false},
		{"hop limit of a refusal", icmp6(cn, h1, 255, 1, 5, 0, udp(h1, cn, 60)), peer4, ha4, DropNoBinding, false},
		{"ICMPv6 error for this node", icmp6(h3, ha, 64, 1, 0, 0, tunnelPacket(udp(cn, h1, 1))), wild4, ha4, DropNoBinding, false},
		{"about a tunnel that is none of IPv6-in-IPv6", icmp6(h2, ha, 64, 2, 0, 1300, tunnelled(0, ha, m6, udp(cn, h2, 1))), peer6, ha6, DropErrorUnrelated, false},
		{"Mobility Header for others", mobility(h3, cn, 5), wild4, ha4, DropNoBinding, false},
		{"Mobility Header from an own address", mobility(ha, ha, 5), wild4, ha4, DropOwnSource, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := datagramAnchor(t)
			r := receive(w, c.b, c.peer, c.local)
			switch {
			case c.refused:
				wantCount(t, e, c.want, 1)
				p := oneDatagram(t, r, c.peer, c.local)
				if quoted := checkRefusal(t, p.Bytes(), addrAt(c.b, 8)); p.Len() > len(c.b) || !bytes.Equal(quoted, c.b[:len(quoted)]) {
					t.Errorf("%d octets answered with %x", len(c.b), p.Bytes())
				}
			case c.want == DropNoBinding:
				wantCount(t, e, c.want, 1)
			default:
				wantDrop(t, e, r, c.want)
			}
		})
	}
	t.Run("mobile node", func(t *testing.T) {
		for _, c := range []struct {
			name string
			b    []byte
			peer netip.AddrPort
			want Counter
		}{
			{"not its home agent", udp(cn, h1, 1), wild4, DropOuterSource},
			{"another port of its home agent", udp(cn, h1, 1), netip.AddrPortFrom(ha4, 4192), DropOuterSource},
			{"for an address that it does not hold", udp(cn, h2, 1), agent4, DropNoBinding},
			{"from its own address", udp(h1, h1, 1), agent4, DropOwnSource},
			{"a refusal from elsewhere", icmp6(ha, h1, 255, 1, 5, 0, nil), wild4, DropOuterSource},
			{"a refusal with a bad checksum", ipv6(0, ha, h1, 58, 255, []byte{1, 5, 1, 2, 0, 0, 0, 0}), agent4, DropChecksum},
		} {
			t.Run(c.name, func(t *testing.T) {
				e, w := datagramMobile(t)
				wantDrop(t, e, receive(w, c.b, c.peer, m4), c.want)
			})
		}
	})
	t.Run("a mobile node without a binding", func(t *testing.T) {
		e, w := datagramMobile(t)
		must(t, e.BindMobile(host(h1), Tunnel{Down: true}))
		wantDrop(t, e, receive(w, udp(cn, h1, 1), agent4, m4), DropOuterSource)
	})
}

func TestDatagramSignals(t *testing.T) {
	type want struct {
		kind            SignalKind
		tunneled, outer bool
	}
	home := func(kind byte) []byte {
		m := append(homeOption(135, h5), mobility(h1, ha, kind)[40:]...)
		return ipv6(0, h1, ha, 60, 64, m)
	}
	for _, c := range []struct {
		name   string
		mobile bool
		b      []byte
		peer   netip.AddrPort
		want   *want
	}{
		{"Binding Update before there is a binding", false, mobility(h3, ha, 5), wild4, &want{MobilityHeader, false, true}},
		{"Binding Update from a new place", false, mobility(h1, ha, 5), wild4, &want{MobilityHeader, false, true}},
		{"Binding Update", false, mobility(h1, ha, 5), peer4, &want{MobilityHeader, true, true}},
		{"DHP query", false, mobility(h1, ha, 11), peer4, &want{MobilityHeader, true, true}},
		{"Home Test Init", false, mobility(h1, ha, 1), peer4, &want{MobilityHeader, true, true}},
		{"Home Test Init from anybody", false, mobility(h3, ha, 1), wild4, nil},
		{"Care-of Test Init from elsewhere", false, mobility(h1, ha, 2), wild4, nil},
		{"of a native node behind the tunnel", false, home(5), peer4, &want{MobilityHeader, true, false}},
		{"with a Home Address option from anybody", false, home(5), wild4, nil},
		{"fragment", false, ipv6(0, h1, ha, 44, 64, append([]byte{135, 0, 0, 1, 0, 0, 0, 1}, make([]byte, 16)...)), wild4, nil},
		{"home agent discovery", false, icmp6(h1, ha, 64, 144, 0, 0, make([]byte, 16)), peer4, &want{MobileICMP, true, true}},
		{"home agent discovery from anybody", false, icmp6(h3, ha, 64, 144, 0, 0, make([]byte, 16)), wild4, nil},
		{"echo reply", false, icmp6(h1, ha, 64, 129, 0, 9, nil), peer4, &want{EchoReply, true, true}},
		{"echo reply from anybody", false, icmp6(h3, ha, 64, 129, 0, 9, nil), wild4, nil},
		{"acknowledgement", true, mobility(ha, h1, 6), agent4, &want{MobilityHeader, true, true}},
		{"acknowledgement from another agent", true, mobility(ha, h1, 6), wild4, &want{MobilityHeader, false, true}},
		{"Home Test", true, mobility(cn, h1, 3), agent4, &want{MobilityHeader, true, true}},
		{"Home Test from elsewhere", true, mobility(cn, h1, 3), wild4, nil},
		{"refusal", true, icmp6(ha, h1, 255, 1, 5, 0, udp(h1, cn, 1)), agent4, &want{TunnelError, true, true}},
		{"answer to signalling's echo request", true, icmp6(ha, h1, 64, 129, 0, 7<<16|1, nil), agent4, &want{EchoReply, true, true}},
		{"answer to a program's echo request", true, icmp6(ha, h1, 64, 129, 0, 7<<16|1, make([]byte, 56)), agent4, nil},
		{"echo reply from elsewhere", true, icmp6(ha, h1, 64, 129, 0, 7<<16|1, nil), wild4, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, local, id := datagramAnchor, ha4, udpPort
			if c.mobile {
				node, local = datagramMobile, m4
			}
			_, w := node(t)
			r := receive(w, c.b, c.peer, local)
			if c.want == nil {
				if len(r.Signals) != 0 {
					t.Errorf("signal %+v", r.Signals[0])
				}
				return
			}
			if len(r.Signals) != 1 {
				t.Fatalf("came out as %+v", *r)
			}
			s := r.Signals[0]
			if s.Kind != c.want.kind || s.Tunneled != c.want.tunneled || s.In != id {
				t.Errorf("signal %+v", s)
			}
			if !c.want.outer && (s.Outer.IsValid() || s.OuterLocal.IsValid()) || c.want.outer && (s.Outer != c.peer || s.OuterLocal != local) {
				t.Errorf("from %v to %v", s.Outer, s.OuterLocal)
			}
		})
	}
	t.Run("without a datagram", func(t *testing.T) {
		_, w := datagramAnchor(t)
		p := datagram(mobility(cn, ha, 5), peer4, ha4, 0) // what an earlier use of the buffer left
		r := w.Process(start, ethPort, []*packet.Packet{p})
		if len(r.Signals) != 1 || r.Signals[0].Outer.IsValid() || r.Signals[0].OuterLocal.IsValid() {
			t.Errorf("came out as %+v", *r)
		}
	})
	t.Run("in a native tunnel in a datagram", func(t *testing.T) {
		e, w := datagramAnchor(t)
		must(t, e.BindAnchored(host(h5), Tunnel{Local: ha, Remote: h1}))
		r := receive(w, tunnelled(0, h1, ha, mobility(h5, ha, 5)), peer4, ha4)
		if len(r.Signals) != 1 || !r.Signals[0].Tunneled || r.Signals[0].Outer.IsValid() {
			t.Errorf("came out as %+v", *r)
		}
	})
	t.Run("held but down", func(t *testing.T) {
		e, w := datagramMobile(t)
		must(t, e.BindMobile(host(h1), Tunnel{Down: true}))
		if r := receive(w, mobility(ha, h1, 6), agent4, m4); len(r.Signals) != 1 || r.Signals[0].Tunneled || r.Signals[0].Outer != agent4 {
			t.Errorf("came out as %+v", *r)
		}
	})
	// What a correspondent says goes to the program, with any hop limit that it can have here.
	t.Run("an error that is no refusal", func(t *testing.T) {
		for _, b := range [][]byte{
			icmp6(cn, h1, 254, 1, 5, 0, udp(h1, cn, 1)), icmp6(cn, h1, 255, 1, 4, 0, udp(h1, cn, 1)), icmp6(cn, h1, 64, 129, 0, 0, make([]byte, 56)),
		} {
			_, w := datagramMobile(t)
			if out := one(t, receive(w, b, agent4, m4), tunPort); !bytes.Equal(out, b) {
				t.Errorf("%x", out)
			}
		}
	})
}

// An anchor that lost its bindings says so in a datagram that is never longer than what came, and the mobile node's signalling
// hears of it.
func TestRefusedDatagrams(t *testing.T) {
	for _, local := range []netip.Addr{ha4, ha6} {
		peer := wild4
		if local.Is6() {
			peer = peer6
		}
		for n := range 1400 {
			b := udp(h3, cn, n)
			e, w := datagramAnchor(t)
			p := oneDatagram(t, receive(w, b, peer, local), peer, local)
			if p.Len() > len(b) || p.Len() != min(len(b), 1280) {
				t.Fatalf("%d octets answered with %d", len(b), p.Len())
			}
			quoted := checkRefusal(t, p.Bytes(), h3)
			if !bytes.Equal(quoted, b[:len(quoted)]) {
				t.Fatalf("quoted %x", quoted)
			}
			wantCount(t, e, DropNoBinding, 1)
			wantCount(t, e, ErrorsSent, 1)
			if n%200 != 0 {
				continue
			}
			m, mw := datagramMobile(t)
			must(t, m.BindMobile(host(h3), udpTunnel(m4, agent4)))
			if r := receive(mw, p.Bytes(), agent4, m4); len(r.Signals) != 1 || r.Signals[0].Kind != TunnelError || r.Signals[0].Destination != h3 {
				t.Errorf("at the mobile node: %+v", *r)
			}
		}
	}
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"no room for an answer", ipv6(0, h3, cn, 59, 64, make([]byte, 7))},
		{"an error", icmp6(h3, cn, 64, 3, 0, 0, udp(cn, h3, 60))},
		{"a refusal", icmp6(h3, cn, 255, 1, 5, 0, udp(cn, h3, 60))},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := datagramAnchor(t)
			wantDrop(t, e, receive(w, c.b, wild4, ha4), DropNoBinding)
		})
	}
	t.Run("not by a mobile node", func(t *testing.T) {
		e, w := datagramMobile(t)
		wantDrop(t, e, receive(w, udp(h3, cn, 100), wild4, m4), DropNoBinding)
	})
	t.Run("rate, however many inner sources", func(t *testing.T) {
		e, w := datagramAnchor(t)
		for i := range byte(100) {
			from := addr("2001:db8:b::").As16()
			from[15] = i
			receive(w, udp(netip.AddrFrom16(from), cn, 100), wild4, ha4)
		}
		wantCount(t, e, ErrorsSent, 10)
		wantCount(t, e, ErrorsLimited, 90)
	})
	t.Run("super-packet", func(t *testing.T) {
		_, w := datagramAnchor(t)
		p := super(packet.TCP, tcp(h3, cn, ack, nil, 20000), 500)
		p.Peer, p.Local = wild4, ha4
		if q := oneDatagram(t, w.Process(start, udpPort, []*packet.Packet{p}), wild4, ha4); q.Len() != 560 {
			t.Errorf("%d octets", q.Len())
		}
	})
}

// checkRefusal checks a refusal of what has the inner source of, and returns what it quotes.
func checkRefusal(t testing.TB, b []byte, of netip.Addr) (quoted []byte) {
	t.Helper()
	if addrAt(b, 8) != ha || addrAt(b, 24) != of || b[7] != refusalHopLimit || b[40] != 1 || b[41] != 5 {
		t.Fatalf("refusal %x", b[:min(len(b), 60)])
	}
	checkTransport(t, b)
	return b[48:]
}

func TestPreviousPeer(t *testing.T) {
	soon := start.Add(time.Second)
	other := netip.MustParseAddrPort("198.51.100.8:9")
	for _, c := range []struct {
		name     string
		previous Previous
		r        func(w *Worker, at time.Time) *Result
	}{
		{"another port", Previous{Remote: peer4.Addr(), RemotePort: 9, Until: soon}, func(w *Worker, at time.Time) *Result {
			return w.Process(at, udpPort, []*packet.Packet{datagram(udp(h1, cn, 1), netip.AddrPortFrom(peer4.Addr(), 9), ha4, 0)})
		}},
		{"another address", Previous{Remote: other.Addr(), RemotePort: 9, Until: soon}, func(w *Worker, at time.Time) *Result {
			return w.Process(at, udpPort, []*packet.Packet{datagram(udp(h1, cn, 1), other, ha4, 0)})
		}},
		{"IPv6 datagrams", Previous{Remote: m6, RemotePort: 4191, Local: ha6, Until: soon}, func(w *Worker, at time.Time) *Result {
			return w.Process(at, udpPort, []*packet.Packet{datagram(udp(h1, cn, 1), peer6, ha6, 0)})
		}},
		{"native", Previous{Remote: c1, Local: ha, Until: soon}, func(w *Worker, at time.Time) *Result {
			return w.Process(at, ethPort, []*packet.Packet{pkt(tunnelled(0, c1, ha, udp(h1, cn, 1)))})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := datagramAnchor(t)
			c.r(w, start)
			wantCount(t, e, DropOuterSource, 1)
			wantCount(t, e, Decapsulated, 0)
			tunnel := udpTunnel(ha4, peer4)
			tunnel.Previous = &c.previous
			must(t, e.BindAnchored(host(h1), tunnel))
			one(t, c.r(w, start), ethPort)
			one(t, receive(w, udp(h1, cn, 1), peer4, ha4), ethPort)
			c.r(w, soon)
			wantCount(t, e, DropOuterSource, 2)
			oneDatagram(t, process(w, ethPort, udp(cn, h1, 1)), peer4, ha4)
		})
	}
}

// What comes behind a Binding Update in a datagram waits for signalling, if it comes from the same address and port.
func TestDatagramsBehindABindingUpdate(t *testing.T) {
	e := New(Options{Anchor: true, AwaitBindings: true})
	must(t, e.SetPort(Port{ID: ethPort, MTU: 1500}))
	must(t, e.SetPort(Port{ID: udpPort, UDP: true, MTU: 1500}))
	must(t, e.SetLocal(ha, ethPort))
	must(t, e.SetRoute(host(cn), ethPort, router))
	must(t, e.BindAnchored(host(h1), udpTunnel(ha4, peer4)))
	w := e.NewWorker()
	fresh := netip.AddrPortFrom(peer4.Addr(), 50000)
	b := udp(h1, cn, 20)
	r := w.Process(start, udpPort, []*packet.Packet{
		datagram(mobility(h1, ha, 5), fresh, ha4, 0), datagram(b, fresh, ha4, 3), datagram(b, wild4, ha4, 0),
	})
	if len(r.Signals) != 1 || len(r.Early) != 1 || len(r.Outputs) != 1 || r.Outputs[0].Packets[0].Peer != wild4 {
		t.Fatalf("came out as %+v", *r)
	}
	early := r.Early[0]
	if early.OuterSource != fresh.Addr() || early.Packet.Peer != fresh || early.OuterDestination != ha4 || early.OuterTrafficClass != 3 {
		t.Errorf("early %+v", early)
	}
	waited := packet.New(packet.MaxLength)
	waited.CopyFrom(early.Packet)
	again := func() *Result {
		p := packet.New(packet.MaxLength)
		p.CopyFrom(waited)
		return w.Reassembled(start, early.In, early.OuterSource, early.OuterDestination, early.OuterTrafficClass, p)
	}
	again()
	wantCount(t, e, DropOuterSource, 2)
	must(t, e.BindAnchored(host(h1), udpTunnel(ha4, fresh)))
	wantDrop(t, e, again(), DropCongestion) // the outer header said so
	early.OuterTrafficClass = 0
	one(t, again(), ethPort)
}

func TestOutputDatagram(t *testing.T) {
	output := func(w *Worker, port PortID, local netip.Addr, peer netip.AddrPort, b []byte) *Result {
		return w.OutputDatagram(start, port, local, peer, []*packet.Packet{pkt(b)})
	}
	_, w := datagramAnchor(t)
	b := mobility(ha, h1, 6)
	b[0], b[1] = 0x6b, 0x80
	for _, local := range []netip.Addr{ha4, {}} {
		p := oneDatagram(t, output(w, udpPort, local, wild4, b), wild4, local)
		if !bytes.Equal(p.Bytes(), b) || p.TrafficClass != 0xb8 {
			t.Errorf("class %#x, %x", p.TrafficClass, p.Bytes())
		}
	}
	oneDatagram(t, output(w, udpPort, ha4, wild4, udp(ha, h1, 1472-48)), wild4, ha4)
	for _, c := range []struct {
		name  string
		port  PortID
		local netip.Addr
		peer  netip.AddrPort
		b     []byte
		want  Counter
	}{
		{"no such port", 99, ha4, wild4, b, DropNoPort},
		{"another kind of port", ethPort, ha4, wild4, b, DropNoPort},
		{"no peer", udpPort, ha4, netip.AddrPort{}, b, DropNoRoute},
		{"port 0", udpPort, ha4, netip.AddrPortFrom(wild4.Addr(), 0), b, DropNoRoute},
		{"multicast", udpPort, ha4, netip.MustParseAddrPort("224.0.0.1:4191"), b, DropNoRoute},
		{"two families", udpPort, ha6, wild4, b, DropNoRoute},
		{"no IPv6 packet", udpPort, ha4, wild4, []byte{0}, DropNotIPv6},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := datagramAnchor(t)
			wantDrop(t, e, output(w, c.port, c.local, c.peer, c.b), c.want)
		})
	}
	t.Run("too long", func(t *testing.T) {
		e, w := datagramAnchor(t)
		e.SetPathMTU(wild4.Addr(), 1400, start)
		r := output(w, udpPort, ha4, wild4, udp(ha, h1, 1372-47))
		if len(r.Outputs) != 0 || len(r.ToHost) != 1 {
			t.Errorf("came out as %+v", *r)
		}
		wantCount(t, e, DropTooBig, 1)
	})
	// Own packets find the tunnels of bindings, too.
	oneDatagram(t, w.Output(start, []*packet.Packet{pkt(udp(ha, h1, 1))}), peer4, ha4)
	oneDatagram(t, w.OutputTunnel(start, h2, []*packet.Packet{pkt(udp(ha, cn, 1))}), peer6, ha6)
	_, m := datagramMobile(t)
	oneDatagram(t, m.OutputTunnel(start, h1, []*packet.Packet{pkt(udp(h1, cn, 1))}), agent4, m4)
}
