package forwarding

import (
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

// The home agent's kernel has addresses ha4 and ha6, where UDP datagrams come to; h1 is bound to peer4, behind a NAT, h2 to
// peer6, and h5 natively to c2.
var (
	ha4   = addr("192.0.2.1")
	ha6   = addr("2001:db8:e::1")
	m4    = addr("10.0.0.2")
	m6    = addr("2001:db8:c6::1")
	h4    = addr("2001:db8:a::1004")
	h5    = addr("2001:db8:a::1005")
	peer4 = netip.MustParseAddrPort("198.51.100.7:40001")
	peer6 = netip.AddrPortFrom(m6, 4191)
	wild4 = netip.MustParseAddrPort("203.0.113.66:4191")
)

const (
	udpPort    PortID = 50
	allOffload        = packet.PartialChecksum | packet.SegmentTCP | packet.SegmentUDP
)

func udpTunnel(local netip.Addr, remote netip.AddrPort) Tunnel {
	return Tunnel{Local: local, Remote: remote.Addr(), RemotePort: remote.Port(), Via: true, Port: udpPort}
}

func datagramAnchor(t testing.TB) (*Engine, *Worker) {
	e, _ := anchor(t)
	must(t, e.SetPort(Port{ID: udpPort, UDP: true, MTU: 1500, Features: allOffload}))
	must(t, e.BindAnchored(host(h1), udpTunnel(ha4, peer4)))
	must(t, e.BindAnchored(host(h2), udpTunnel(ha6, peer6)))
	must(t, e.BindAnchored(host(h5), Tunnel{Local: ha, Remote: c2}))
	return e, e.NewWorker()
}

// datagramMobile holds h1 behind a NAT, bound at its home agent's ha4.
func datagramMobile(t testing.TB) (*Engine, *Worker) {
	e := New(Options{})
	must(t, e.SetPort(Port{ID: tunPort, Host: true, MTU: 1500, Features: allOffload}))
	must(t, e.SetPort(Port{ID: udpPort, UDP: true, MTU: 1500, Features: allOffload}))
	must(t, e.BindMobile(host(h1), udpTunnel(m4, agent4)))
	return e, e.NewWorker()
}

var agent4 = netip.AddrPortFrom(ha4, 4191)

func datagram(b []byte, peer netip.AddrPort, local netip.Addr, class uint8) *packet.Packet {
	p := pkt(b)
	p.Peer, p.Local, p.TrafficClass = peer, local, class
	return p
}

// receive hands a worker what came in a datagram.
func receive(w *Worker, b []byte, peer netip.AddrPort, local netip.Addr) *Result {
	return w.Process(start, udpPort, []*packet.Packet{datagram(b, peer, local, 0)})
}

// oneDatagram is the one packet that came out, for peer.
func oneDatagram(t testing.TB, r *Result, peer netip.AddrPort, local netip.Addr) *packet.Packet {
	t.Helper()
	one(t, r, udpPort)
	p := r.Outputs[0].Packets[0]
	if p.Peer != peer || p.Local != local {
		t.Fatalf("from %v to %v, want %v to %v", p.Local, p.Peer, local, peer)
	}
	return p
}

// mobility is a packet with a Mobility Header of type kind.
func mobility(source, destination netip.Addr, kind byte) []byte {
	m := make([]byte, 16)
	m[0], m[1], m[2] = 59, 1, kind
	return ipv6(0, source, destination, 135, 64, m)
}
