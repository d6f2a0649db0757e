package forwarding

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"kedge/netstack/packet"
)

func TestDatagramOut(t *testing.T) {
	for _, c := range []struct {
		name  string
		node  func(testing.TB) (*Engine, *Worker)
		in    PortID
		b     []byte
		peer  netip.AddrPort
		local netip.Addr
		hop   byte
	}{
		{"IPv4, from a link", datagramAnchor, ethPort, udpClass(0xb9, cn, h1, 100), peer4, ha4, 63},
		{"IPv6, from a link", datagramAnchor, ethPort, udpClass(0x02, cn, h2, 100), peer6, ha6, 63},
		{"from a mobile node", datagramMobile, tunPort, udpClass(0xff, h1, cn, 100), agent4, m4, 64},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := c.node(t)
			p := oneDatagram(t, process(w, c.in, c.b), c.peer, c.local)
			want := bytes.Clone(c.b)
			want[7] = c.hop
			if !bytes.Equal(p.Bytes(), want) {
				t.Errorf("got %x, want %x", p.Bytes(), want)
			}
			// DSCP and ECN field go outside as they are (RFC 5555 section 4.1.1, RFC 6040 section 4.1).
			if class := c.b[0]<<4 | c.b[1]>>4; p.TrafficClass != class {
				t.Errorf("traffic class %#x outside, want %#x", p.TrafficClass, class)
			}
			wantCount(t, e, Encapsulated, 1)
			wantCount(t, e, EncapsulatedOctets, uint64(len(c.b)))
		})
	}
}

func TestDatagramMTU(t *testing.T) {
	for _, c := range []struct {
		name                string
		peer                netip.AddrPort
		port, path, learned int
		want                int
	}{
		{"IPv4", peer4, 1500, 0, 0, 1472},
		{"IPv6", peer6, 1500, 0, 0, 1452},
		{"jumbo", peer4, 9000, 0, 0, 8972},
		{"configured", peer4, 1500, 1400, 0, 1372},
		{"learned", peer6, 1500, 1450, 1420, 1372},
		{"learned, IPv4", peer4, 1500, 0, 1320, 1292},
		{"below 1280, IPv4", peer4, 1500, 0, 576, 1280},
		{"configured below 1280, IPv4", peer4, 1500, 600, 0, 1280},
		{"below what is believed, IPv4", peer4, 1500, 0, 575, 1472},
		{"below what is believed, IPv6", peer6, 1500, 1279, 1279, 1452},
		{"1280 everywhere", peer6, 1280, 0, 0, 1280},
		{"wider than the port", peer4, 1500, 9000, 9000, 1472},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := datagramAnchor(t)
			must(t, e.SetPort(Port{ID: udpPort, UDP: true, MTU: c.port, Features: allOffload}))
			local := ha4
			if c.peer.Addr().Is6() {
				local = ha6
			}
			tunnel := udpTunnel(local, c.peer)
			tunnel.PathMTU = uint16(c.path)
			must(t, e.BindAnchored(host(h1), tunnel))
			if c.learned != 0 {
				e.SetPathMTU(c.peer.Addr(), c.learned, start)
			}
			oneDatagram(t, process(w, ethPort, udp(cn, h1, c.want-48)), c.peer, local)
			mtu, _ := wantICMP(t, one(t, process(w, ethPort, udp(cn, h1, c.want-47)), ethPort), ha, cn, 2, 0)
			if mtu != uint32(c.want) {
				t.Errorf("MTU %d, want %d", mtu, c.want)
			}
			// Each segment of a super-packet is what must fit.
			fits := super(packet.TCP, tcp(cn, h1, ack, nil, 20000), c.want-60)
			oneDatagram(t, w.Process(start, ethPort, []*packet.Packet{fits}), c.peer, local)
			tooBig := super(packet.TCP, tcp(cn, h1, ack, nil, 20000), c.want-59)
			wantICMP(t, one(t, w.Process(start, ethPort, []*packet.Packet{tooBig}), ethPort), ha, cn, 2, 0)
			// Both ways, connections keep to it.
			want := min(uint16(c.want-60), 9999)
			p := oneDatagram(t, process(w, ethPort, tcp(cn, h1, syn, []byte{2, 4, 0x27, 0x0f}, 0)), c.peer, local)
			if got := binary.BigEndian.Uint16(p.Bytes()[62:]); got != want {
				t.Errorf("segment size %d into the tunnel, want %d", got, want)
			}
			out := one(t, receive(w, tcp(h1, cn, syn, []byte{2, 4, 0x27, 0x0f}, 0), c.peer, local), ethPort)
			if got := binary.BigEndian.Uint16(out[62:]); got != want {
				t.Errorf("segment size %d out of the tunnel, want %d", got, want)
			}
			checkTransport(t, out)
		})
	}
}

func TestLearnedPathMTUOfIPv4(t *testing.T) {
	e, w := datagramMobile(t)
	for _, never := range []string{"0.0.0.0", "224.0.0.1", "127.0.0.1", "255.255.255.255", "::ffff:192.0.2.1"} {
		e.SetPathMTU(addr(never), 1300, start)
		if mtu := e.PathMTU(addr(never), start); mtu != 0 {
			t.Errorf("%s: %d", never, mtu)
		}
	}
	e.SetPathMTU(ha4, 1400, start)
	e.SetPathMTU(ha4, 1450, start)
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 1400}, {pathLifetime - time.Second, 1400}, {pathLifetime, 0}} {
		if mtu := e.PathMTU(ha4, start.Add(c.after)); mtu != c.want {
			t.Errorf("after %v: %d, want %d", c.after, mtu, c.want)
		}
	}
	if mtu := e.PathMTU(addr("192.0.2.2"), start); mtu != 0 {
		t.Errorf("of another address: %d", mtu)
	}
	mtu, _ := wantICMP(t, one(t, process(w, tunPort, udp(h1, cn, 1400)), tunPort), cn, h1, 2, 0)
	if mtu != 1372 {
		t.Errorf("MTU %d", mtu)
	}
	// Another care-of address, another path.
	must(t, e.BindMobile(host(h1), udpTunnel(addr("10.9.9.9"), agent4)))
	if mtu := e.PathMTU(ha4, start); mtu != 0 {
		t.Errorf("after a move: %d", mtu)
	}
}

// RFC 6040 section 4.2 holds for what comes out of datagrams.
func TestDatagramECN(t *testing.T) {
	for inner := range uint8(4) {
		for outer := range uint8(4) {
			e, w := datagramAnchor(t)
			r := w.Process(start, udpPort, []*packet.Packet{datagram(udpClass(0x28|inner, h1, cn, 9), peer4, ha4, 0xb8|outer)})
			want, ok := decapsulateECN(inner, outer)
			if !ok {
				wantDrop(t, e, r, DropCongestion)
				continue
			}
			out := one(t, r, ethPort)
			if class := out[0]<<4 | out[1]>>4; class != 0x28|want {
				t.Errorf("inner %d, outer %d: traffic class %#x", inner, outer, class)
			}
		}
	}
}

func TestUDPTunnelsThatCannotBe(t *testing.T) {
	good := udpTunnel(ha4, peer4)
	for _, c := range []struct {
		name string
		edit func(*Tunnel)
		want error
	}{
		{"two families", func(t *Tunnel) { t.Remote = m6 }, ErrUDP},
		{"two families, the other way round", func(t *Tunnel) { t.Local = ha6 }, ErrUDP},
		{"no local address", func(t *Tunnel) { t.Local = netip.Addr{} }, ErrUDP},
		{"no remote address", func(t *Tunnel) { t.Remote = netip.Addr{} }, ErrUDP},
		{"no addresses", func(t *Tunnel) { t.Local, t.Remote = netip.Addr{}, netip.Addr{} }, ErrAddress},
		{"no port of this node's", func(t *Tunnel) { t.Via = false }, ErrUDP},
		{"IPv4 without UDP", func(t *Tunnel) { t.RemotePort = 0 }, ErrAddress},
		{"multicast", func(t *Tunnel) { t.Remote = addr("224.0.0.1") }, ErrAddress},
		{"broadcast", func(t *Tunnel) { t.Remote = broadcast }, ErrAddress},
		{"unspecified", func(t *Tunnel) { t.Remote = addr("0.0.0.0") }, ErrAddress},
		{"loopback", func(t *Tunnel) { t.Local = addr("127.0.0.1") }, ErrAddress},
		{"mapped", func(t *Tunnel) { t.Local, t.Remote = ha6, addr("::ffff:192.0.2.9") }, ErrAddress},
		{"link-local IPv6", func(t *Tunnel) { t.Local, t.Remote = ha6, router }, ErrAddress},
		{"to itself", func(t *Tunnel) { t.Remote = ha4 }, ErrLoop},
		{"to what it carries", func(t *Tunnel) { t.Local, t.Remote = ha6, h1 }, ErrLoop},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := New(Options{})
			tunnel := good
			c.edit(&tunnel)
			if err := e.BindAnchored(host(h1), tunnel); !errors.Is(err, c.want) {
				t.Errorf("anchored: %v, want %v", err, c.want)
			}
			if err := e.BindMobile(host(h1), tunnel); !errors.Is(err, c.want) {
				t.Errorf("mobile: %v, want %v", err, c.want)
			}
		})
	}
	e := New(Options{})
	must(t, e.BindAnchored(host(h1), good))
	if got, ok := e.Anchored(host(h1)); !ok || got != good {
		t.Errorf("anchored %+v, %v", got, ok)
	}
}

func TestPortsAreOfOneKind(t *testing.T) {
	for i := range 16 {
		p := Port{MTU: 1500, Host: i&1 != 0, Access: i&2 != 0, UDP: i&4 != 0, Encapsulates: i&8 != 0}
		err := New(Options{}).SetPort(p)
		if one := i&(i-1) == 0; one != (err == nil) || err != nil && !errors.Is(err, ErrPort) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// Nothing but tunnels leaves by a UDP port, and UDP tunnels by nothing else.
func TestPortsThatDoNotFitTheTunnel(t *testing.T) {
	e, w := datagramAnchor(t)
	wrong := udpTunnel(ha4, peer4)
	for _, id := range []PortID{ethPort, 99} {
		wrong.Port = id
		must(t, e.BindAnchored(host(h1), wrong))
		process(w, ethPort, udp(cn, h1, 1))
	}
	must(t, e.BindAnchored(host(h5), Tunnel{Local: ha, Remote: c2, Via: true, Port: udpPort}))
	process(w, ethPort, udp(cn, h5, 1))
	must(t, e.SetRoute(host(cn), udpPort, netip.Addr{}))
	receive(w, udp(h2, cn, 1), peer6, ha6)
	w.OutputVia(start, udpPort, netip.Addr{}, []*packet.Packet{pkt(udp(ha, cn, 1))})
	wantCount(t, e, DropNoPort, 5)
	wantCount(t, e, Sent, 0)
}

func TestDatagramsThatLeadBack(t *testing.T) {
	t.Run("by the host's default route", func(t *testing.T) {
		e, w := datagramMobile(t)
		must(t, e.BindMobile(host(h1), udpTunnel(m6, netip.AddrPortFrom(ha6, 4191))))
		own := udp(h1, ha6, 100)
		binary.BigEndian.PutUint16(own[42:], 4191)
		wantDrop(t, e, process(w, tunPort, own), DropLoop)
		oneDatagram(t, process(w, tunPort, udp(h1, ha6, 100)), netip.AddrPortFrom(ha6, 4191), m6) // to another port
	})
	t.Run("to an own address", func(t *testing.T) {
		e, w := datagramAnchor(t)
		must(t, e.BindAnchored(host(h1), udpTunnel(ha6, netip.AddrPortFrom(ha, 4191))))
		wantDrop(t, e, process(w, ethPort, udp(cn, h1, 1)), DropLoop)
	})
	t.Run("care-of addresses that are anchored in a circle", func(t *testing.T) {
		e, w := datagramAnchor(t)
		must(t, e.BindAnchored(host(h1), udpTunnel(ha6, netip.AddrPortFrom(h2, 1))))
		must(t, e.BindAnchored(host(h2), udpTunnel(ha6, netip.AddrPortFrom(h1, 1))))
		wantDrop(t, e, process(w, ethPort, udp(cn, h1, 1)), DropNested)
	})
	t.Run("one native among them", func(t *testing.T) {
		e, w := datagramAnchor(t)
		must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: h2}))
		must(t, e.BindAnchored(host(h2), udpTunnel(ha6, netip.AddrPortFrom(h1, 1))))
		wantDrop(t, e, process(w, ethPort, udp(cn, h1, 1)), DropNested)
	})
}

func TestDatagramsAndTunnelsInEachOther(t *testing.T) {
	t.Run("native in UDP", func(t *testing.T) {
		e, w := datagramAnchor(t)
		must(t, e.BindAnchored(host(h5), Tunnel{Local: ha, Remote: h1})) // its care-of address is h1
		b := udpClass(2, cn, h5, 100)
		p := oneDatagram(t, process(w, ethPort, b), peer4, ha4)
		b[7]--
		if got, _ := flowless(p.Bytes()); !bytes.Equal(got, ipv6(2, ha, h1, 41, 64, b)) || p.TrafficClass != 2 {
			t.Errorf("%x in class %#x", got, p.TrafficClass)
		}
		// 1500 less 28 and 40, and what is shorter than 1280 always goes.
		mtu, _ := wantICMP(t, one(t, process(w, ethPort, udp(cn, h5, 1432-47)), ethPort), ha, cn, 2, 0)
		if mtu != 1432 {
			t.Errorf("MTU %d", mtu)
		}
		must(t, e.SetPort(Port{ID: udpPort, UDP: true, MTU: 1280, Features: allOffload}))
		if n := len(sent(process(w, ethPort, udp(cn, h5, 1280-48)), udpPort)); n != 2 {
			t.Errorf("%d fragments, want 2", n)
		}
		// And back.
		b = udp(h5, cn, 100)
		out := one(t, receive(w, tunnelled(0, h1, ha, b), peer4, ha4), ethPort)
		b[7]--
		if !bytes.Equal(out, b) {
			t.Errorf("out of both: %x", out)
		}
	})
	t.Run("super-packets, native in UDP", func(t *testing.T) {
		e, w := datagramAnchor(t)
		must(t, e.BindAnchored(host(h5), Tunnel{Local: ha, Remote: h1}))
		r := w.Process(start, ethPort, []*packet.Packet{super(packet.TCP, tcp(cn, h5, ack, nil, 5000), 1200)})
		if n := len(sent(r, udpPort)); n != 5 {
			t.Fatalf("%d packets", n)
		}
		for _, p := range r.Outputs[0].Packets {
			if p.Peer != peer4 || p.Local != ha4 {
				t.Errorf("to %v", p.Peer)
			}
			checkTransport(t, p.Bytes()[40:])
		}
	})
	t.Run("UDP over native", func(t *testing.T) {
		e, w := datagramAnchor(t)
		inside := netip.AddrPortFrom(h5, 9)
		must(t, e.BindAnchored(host(h1), udpTunnel(ha6, inside))) // the kernel hands the datagrams back, by the TUN
		oneDatagram(t, process(w, ethPort, udp(cn, h1, 1460-48-48)), inside, ha6)
		mtu, _ := wantICMP(t, one(t, process(w, ethPort, udp(cn, h1, 1460-48-47)), ethPort), ha, cn, 2, 0)
		if mtu != 1500-40-48 {
			t.Errorf("MTU %d", mtu)
		}
	})
	t.Run("too deep on the way in", func(t *testing.T) {
		for n := range byte(maxNesting + 1) {
			e, w := datagramAnchor(t)
			at := func(i byte) netip.Addr {
				a := addr("2001:db8:a::2000").As16()
				a[15] = i
				return netip.AddrFrom16(a)
			}
			b := udp(at(0), cn, 1)
			for i := range n {
				must(t, e.BindAnchored(host(at(i)), Tunnel{Local: ha, Remote: at(i + 1)}))
				b = tunnelled(0, at(i+1), ha, b)
			}
			must(t, e.BindAnchored(host(at(n)), udpTunnel(ha4, peer4)))
			if r := receive(w, b, peer4, ha4); n == maxNesting {
				wantDrop(t, e, r, DropNested)
			} else {
				one(t, r, ethPort)
			}
		}
	})
	t.Run("a native tunnel's packet claims to be a peer's", func(t *testing.T) {
		e, w := datagramAnchor(t)
		wantDrop(t, e, receive(w, tunnelled(0, h1, ha, udp(h1, cn, 1)), peer4, ha4), DropOuterSource)
		e, w = datagramAnchor(t)
		wantDrop(t, e, process(w, ethPort, tunnelled(0, m6, ha, udp(h2, cn, 2))), DropOuterSource)
	})
}
