package forwarding

import (
	"bytes"
	"net/netip"
	"testing"

	"kedge/forwarding/flow"
	"kedge/netstack/packet"
)

var supers = []struct {
	name string
	kind packet.Segmentation
	make func(source, destination netip.Addr) []byte
}{
	{"TCP", packet.TCP, func(s, d netip.Addr) []byte { return tcp(s, d, 0x18, []byte{1, 1, 1, 1}, 5000) }},
	{"UDP", packet.UDP, func(s, d netip.Addr) []byte { return udp(s, d, 5000) }},
}

// wholeSuper checks that p is a whole super-packet, and that its segments are those of want with finished checksums.
func wholeSuper(t testing.TB, p *packet.Packet, kind packet.Segmentation, want []byte, hop byte) {
	t.Helper()
	want = bytes.Clone(want)
	want[7] = hop
	if expected := super(kind, want, 1200); p.Offload != expected.Offload || p.Len() != expected.Len() {
		t.Fatalf("%d octets, %+v; want %d, %+v", p.Len(), p.Offload, expected.Len(), expected.Offload)
	}
	cut := func(p *packet.Packet) (all [][]byte) {
		out := packet.NewBatch(8, packet.SmallLength)
		n, err := packet.Split(p, out)
		must(t, err)
		for _, q := range out[:n] {
			checkTransport(t, q.Bytes())
			all = append(all, q.Bytes())
		}
		return all
	}
	got, expected := cut(p), cut(super(kind, want, 1200))
	if len(got) != len(expected) || len(got) != 5 {
		t.Fatalf("%d segments", len(got))
	}
	for i := range got {
		if !bytes.Equal(got[i], expected[i]) {
			t.Errorf("segment %d\n%x, want\n%x", i, got[i], expected[i])
		}
	}
}

func TestSuperPacketsAndDatagrams(t *testing.T) {
	for _, c := range supers {
		t.Run(c.name, func(t *testing.T) {
			e, w := datagramAnchor(t)
			down := c.make(cn, h1)
			r := w.Process(start, ethPort, []*packet.Packet{super(c.kind, down, 1200)})
			wholeSuper(t, oneDatagram(t, r, peer4, ha4), c.kind, down, 63)
			wantCount(t, e, SplitSegments, 0)

			up := super(c.kind, c.make(h1, cn), 1200)
			up.Peer, up.Local = peer4, ha4
			r = w.Process(start, udpPort, []*packet.Packet{up})
			one(t, r, ethPort)
			wholeSuper(t, r.Outputs[0].Packets[0], c.kind, c.make(h1, cn), 63)

			hairpin := super(c.kind, c.make(h1, h2), 1200)
			hairpin.Peer, hairpin.Local = peer4, ha4
			wholeSuper(t, oneDatagram(t, w.Process(start, udpPort, []*packet.Packet{hairpin}), peer6, ha6), c.kind, c.make(h1, h2), 63)

			// A link that takes none gets segments, which go to the same place.
			must(t, e.SetPort(Port{ID: udpPort, UDP: true, MTU: 1500}))
			b := c.make(cn, h1)
			b[0], b[1] = b[0]|0x0b, b[1]|0x90
			r = w.Process(start, ethPort, []*packet.Packet{super(c.kind, b, 1200)})
			if n := len(sent(r, udpPort)); n != 5 {
				t.Fatalf("%d segments; %v", n, drops(e.Counters()))
			}
			for _, p := range r.Outputs[0].Packets {
				if checkTransport(t, p.Bytes()); p.Peer != peer4 || p.Local != ha4 || p.TrafficClass != 0xb9 {
					t.Errorf("from %v to %v in class %#x", p.Local, p.Peer, p.TrafficClass)
				}
			}
		})
	}
	t.Run("partial checksum", func(t *testing.T) {
		e, w := datagramAnchor(t)
		in := func() *Result {
			p := pkt(udp(cn, h1, 100))
			p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 6}
			partial(p)
			return w.Process(start, ethPort, []*packet.Packet{p})
		}
		if p := oneDatagram(t, in(), peer4, ha4); !p.Offload.NeedsChecksum {
			t.Error("finished what the link does")
		}
		must(t, e.SetPort(Port{ID: udpPort, UDP: true, MTU: 1500}))
		checkTransport(t, oneDatagram(t, in(), peer4, ha4).Bytes())
	})
}

// A flow that uses a Distributed Home Address, whose home-proxy is reached by UDP.
func TestTranslatedSuperPacketsAndDatagrams(t *testing.T) {
	proxy := netip.AddrPortFrom(addr("192.0.2.99"), 4191)
	for _, c := range supers {
		t.Run(c.name, func(t *testing.T) {
			e, w := flowNode(t, flow.Config{})
			must(t, e.SetPort(Port{ID: tunPort, Host: true, MTU: 1500, Features: allOffload}))
			must(t, e.SetPort(Port{ID: udpPort, UDP: true, MTU: 1500, Features: allOffload}))
			must(t, e.BindMobile(host(d1), udpTunnel(m4, proxy)))
			must(t, e.SetChoice(testProfile, all, d1, 1))
			process(w, tunPort, tcp(h1, cn, syn, nil, 0))
			r := w.Process(start, tunPort, []*packet.Packet{super(c.kind, c.make(h1, cn), 1200)})
			wholeSuper(t, oneDatagram(t, r, proxy, m4), c.kind, c.make(d1, cn), 64)

			back := super(c.kind, answer(c.make(cn, d1)), 1200)
			back.Peer, back.Local = proxy, m4
			r = w.Process(start, udpPort, []*packet.Packet{back})
			one(t, r, tunPort)
			wholeSuper(t, r.Outputs[0].Packets[0], c.kind, answer(c.make(cn, h1)), 64)

			// From another anchor's peer it is refused, whoever else holds what.
			stray := super(c.kind, answer(c.make(cn, d1)), 1200)
			stray.Peer, stray.Local = wild4, m4
			wantDrop(t, e, w.Process(start, udpPort, []*packet.Packet{stray}), DropOuterSource)
			// Errors about what is too long for the path name what the program sent.
			e.SetPathMTU(proxy.Addr(), 1280, start)
			tooBig := w.Process(start, tunPort, []*packet.Packet{super(c.kind, c.make(h1, cn), 1300)})
			mtu, quoted := wantICMP(t, one(t, tooBig, tunPort), c1, h1, 2, 0)
			if mtu != 1280 || addrAt(quoted, 8) != h1 {
				t.Errorf("MTU %d, about %v", mtu, addrAt(quoted, 8))
			}
		})
	}
}

// Route optimisation is native: with a tunnel of datagrams, packets go by it.
func TestDatagramsAreNotRouteOptimized(t *testing.T) {
	e, w := datagramMobile(t)
	must(t, e.SetPort(Port{ID: ethPort, MTU: 1500}))
	must(t, e.SetLocal(c1, ethPort))
	must(t, e.SetOptimized(h1, cn, Optimized{CareOf: c1, Via: true, Port: ethPort, NextHop: router}))
	p := oneDatagram(t, process(w, tunPort, udp(h1, cn, 100)), agent4, m4)
	if !bytes.Equal(p.Bytes(), udp(h1, cn, 100)) {
		t.Errorf("left as %x", p.Bytes())
	}
	// To a mobile node that has told this one where it is, through the tunnel.
	must(t, e.SetCorrespondentBinding(h2, c2, h1))
	p = oneDatagram(t, process(w, tunPort, udp(h1, h2, 100)), agent4, m4)
	if addrAt(p.Bytes(), 24) != c2 || addrAt(p.Bytes(), 48) != h2 {
		t.Errorf("left as %x", p.Bytes())
	}
	// By a port of datagrams there is no other way either.
	must(t, e.BindMobile(host(h1), Tunnel{Native: true, Via: true, Port: udpPort}))
	wantDrop(t, e, process(w, tunPort, udp(h1, h2, 100)), DropNoPort)
}

const kernelPort PortID = 51

// encapsulating binds h1 by a port whose other side makes the outer headers.
func encapsulating(t testing.TB) (*Engine, *Worker) {
	e, w := anchor(t)
	must(t, e.SetPort(Port{ID: kernelPort, Encapsulates: true, MTU: 1500, Features: allOffload}))
	must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c1, Via: true, Port: kernelPort, NextHop: router}))
	return e, w
}

func TestPortThatEncapsulates(t *testing.T) {
	for _, c := range supers {
		t.Run(c.name, func(t *testing.T) {
			e, w := encapsulating(t)
			r := w.Process(start, ethPort, []*packet.Packet{super(c.kind, c.make(cn, h1), 1200)})
			one(t, r, kernelPort)
			p := r.Outputs[0].Packets[0]
			wholeSuper(t, p, c.kind, c.make(cn, h1), 63)
			if p.NextHop != c1 || p.Peer.IsValid() {
				t.Errorf("to %v, %v", p.NextHop, p.Peer)
			}
			wantCount(t, e, Encapsulated, 1)
		})
	}
	e, w := encapsulating(t)
	b := udp(cn, h1, 1460-48)
	if out := one(t, process(w, ethPort, b), kernelPort); !bytes.Equal(out[8:], b[8:]) {
		t.Errorf("left as %x", out[:40])
	}
	if mtu, _ := wantICMP(t, one(t, process(w, ethPort, udp(cn, h1, 1460-47)), ethPort), ha, cn, 2, 0); mtu != 1460 {
		t.Errorf("MTU %d", mtu)
	}
	// What is in its tunnel already gets the other header from the port, too.
	must(t, e.BindAnchored(host(h5), Tunnel{Local: ha, Remote: h1}))
	b = udp(cn, h5, 100)
	out := one(t, process(w, ethPort, b), kernelPort)
	b[7]--
	if got, _ := flowless(out); !bytes.Equal(got, ipv6(0, ha, h1, 41, 64, b)) {
		t.Errorf("nested: %x", out)
	}
	// It comes back as any other.
	one(t, process(w, ethPort, tunnelled(0, c1, ha, udp(h1, cn, 1))), ethPort)
}

// encapLimit is a destination options header with a tunnel encapsulation limit (RFC 2473 section 4.1.1), which Linux puts
// behind the outer header.
var encapLimit = []byte{41, 0, 4, 1, 4, 1, 1, 0}

// What a kernel joined with its outer header on (GRO) comes out of the tunnel whole.
func TestTunnelledSuperPackets(t *testing.T) {
	for _, c := range supers {
		for _, options := range [][]byte{nil, encapLimit} {
			t.Run(c.name, func(t *testing.T) {
				wrap := func(source, destination netip.Addr, inner []byte) *packet.Packet {
					p := super(c.kind, inner, 1200)
					next := byte(41)
					if options != nil {
						next = 60
					}
					outside := ipv6(0, source, destination, next, 64, append(bytes.Clone(options), inner...))
					n := 40 + len(options)
					copy(p.Prepend(n), outside[:n])
					return p
				}
				e, w := datagramAnchor(t)
				r := w.Process(start, ethPort, []*packet.Packet{wrap(c2, ha, c.make(h5, cn))})
				one(t, r, ethPort)
				wholeSuper(t, r.Outputs[0].Packets[0], c.kind, c.make(h5, cn), 63)
				r = w.Process(start, ethPort, []*packet.Packet{wrap(c2, ha, c.make(h5, h1))})
				wholeSuper(t, oneDatagram(t, r, peer4, ha4), c.kind, c.make(h5, h1), 63)
				wantCount(t, e, SplitSegments, 0)

				m, mw := mobileNode(t)
				must(t, m.SetPort(Port{ID: tunPort, Host: true, MTU: 1500, Features: allOffload}))
				r = mw.Process(start, ethPort, []*packet.Packet{wrap(ha, c1, c.make(cn, h1))})
				one(t, r, tunPort)
				wholeSuper(t, r.Outputs[0].Packets[0], c.kind, c.make(cn, h1), 64)

				f, fw := translatingNode(t)
				must(t, f.SetPort(Port{ID: tunPort, Host: true, MTU: 1500, Features: allOffload}))
				process(fw, tunPort, tcp(h1, cn, syn, nil, 0))
				fw.Process(start, tunPort, []*packet.Packet{super(c.kind, c.make(h1, cn), 1200)})
				r = fw.Process(start, ethPort, []*packet.Packet{wrap(dhp1, c1, answer(c.make(cn, d1)))})
				one(t, r, tunPort)
				wholeSuper(t, r.Outputs[0].Packets[0], c.kind, answer(c.make(cn, h1)), 64)
			})
		}
	}
	// Offload state whose header or checksum lies in what is taken off does not come out.
	for _, o := range []packet.Offload{
		{Segmentation: packet.TCP, SegmentSize: 1200, HeaderLength: 60, NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 16},
		{Segmentation: packet.TCP, SegmentSize: 1200, HeaderLength: 40, NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: 16},
		{Segmentation: packet.TCP, SegmentSize: 1200, HeaderLength: 80, NeedsChecksum: true, ChecksumStart: 80, ChecksumOffset: 16},
		{Segmentation: packet.TCP, SegmentSize: 1200, HeaderLength: 100},
		{Segmentation: packet.TCP, HeaderLength: 100, NeedsChecksum: true, ChecksumStart: 80, ChecksumOffset: 16},
	} {
		e, w := datagramAnchor(t)
		p := pkt(tunnelled(0, c2, ha, tcp(h5, cn, ack, nil, 5000)))
		p.Offload = o
		wantDrop(t, e, w.Process(start, ethPort, []*packet.Packet{p}), DropOffload)
	}
}
