package forwarding

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

// peers anchors as many home addresses as bindings does, with UDP tunnels to as many addresses, IPv4 and IPv6.
func peers(tb testing.TB, e *Engine, n int) (homes []netip.Addr, ends []netip.AddrPort, locals []netip.Addr) {
	homes, careOfs := bindings(tb, e, n)
	for i, home := range homes {
		local, remote := ha6, careOfs[i]
		if i%2 == 0 {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], uint32(0x0b000001+i))
			local, remote = ha4, netip.AddrFrom4(a)
		}
		locals, ends = append(locals, local), append(ends, netip.AddrPortFrom(remote, 4191))
		must(tb, e.BindAnchored(host(home), udpTunnel(local, ends[i])))
	}
	return homes, ends, locals
}

// BenchmarkDatagramOut is BenchmarkEncapsulate over UDP.
func BenchmarkDatagramOut(b *testing.B) {
	sizes(b, func(b *testing.B, length, n int) {
		e, w := datagramAnchor(b)
		homes, _, _ := peers(b, e, n)
		pkts := make([]*packet.Packet, batch)
		for i := range pkts {
			pkts[i] = small(udp(cn, homes[i*7919%n], length-48))
		}
		passing(b, e, w, ethPort, pkts, func(p *packet.Packet) { p.Bytes()[7] = 64 })
	})
}

// BenchmarkDatagramIn is BenchmarkDecapsulate over UDP.
func BenchmarkDatagramIn(b *testing.B) {
	sizes(b, func(b *testing.B, length, n int) {
		e, w := datagramAnchor(b)
		homes, ends, locals := peers(b, e, n)
		pkts := make([]*packet.Packet, batch)
		for i := range pkts {
			k := i * 7919 % n
			pkts[i] = small(udp(homes[k], cn, length-48))
			pkts[i].Peer, pkts[i].Local = ends[k], locals[k]
		}
		passing(b, e, w, udpPort, pkts, func(p *packet.Packet) { p.Bytes()[7] = 64 })
	})
}
