package forwarding

import (
	"encoding/binary"
	"net/netip"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// outerHopLimit is that of tunnel packets (RFC 2473 section 6.3 leaves it to configuration).
const outerHopLimit = 64

// way is how tunnel packets leave: by a port, or through another tunnel.
type way struct {
	port    *Port
	nextHop netip.Addr
	over    *Tunnel
	// mtu is the longest tunnel packet in octets, its headers of length overhead included, that gets through as far as is
	// known.
	mtu, overhead int
	// bare says that the port puts the outer headers around the packet.
	bare bool
}

// tunnelMTU is the longest inner packet that is taken as it is (RFC 2473 section 6.7, at least 1280 by section 7.1).
func (v *way) tunnelMTU() int { return max(ip6.MinimumMTU, v.mtu-v.overhead) }

// resolve finds the way of a tunnel's packets. If there is none, it returns the reason to drop, else 0. A care-of
// address that is itself anchored here leads through that binding's tunnel, depth tunnels deep; one that is attached here is
// next.
func (w *Worker) resolve(t *Tunnel, depth int) (v way, reason Counter) {
	if t.RemotePort != 0 {
		return w.resolveDatagram(t, depth)
	}
	s := w.state
	id, nextHop := t.Port, t.NextHop
	v.overhead = ip6.HeaderLength
	to := w.facts(t.Remote)
	if to.local(s) != nil {
		return v, DropLoop
	}
	if !t.Via {
		b := to.served(s)
		switch {
		case b != nil && b.attached != nil:
			id, nextHop = b.attached.Port, netip.Addr{}
		case b != nil:
			if depth == maxNesting {
				return v, DropNested
			}
			under, reason := w.resolve(&b.Tunnel, depth+1)
			if reason != 0 {
				return v, reason
			}
			v.over, v.mtu = &b.Tunnel, under.tunnelMTU()
			w.limitMTU(&v, t)
			return v, 0
		default:
			r := to.route(s)
			if r == nil {
				return v, DropNoRoute
			}
			id, nextHop = r.port, r.nextHop
		}
	}
	if v.port = s.ports[id]; v.port == nil || v.port.UDP {
		return v, DropNoPort
	}
	if v.bare = v.port.Encapsulates; v.bare || !nextHop.IsValid() {
		nextHop = t.Remote
	}
	v.nextHop, v.mtu = nextHop, v.port.MTU
	w.limitMTU(&v, t)
	return v, 0
}

func (w *Worker) limitMTU(v *way, t *Tunnel) {
	if mtu := int(t.PathMTU); mtu >= leastMTU(t.Remote) && mtu < v.mtu {
		v.mtu = mtu
	}
	if learned := w.state.pathMTU(t.Remote, w.now); learned != 0 && learned < v.mtu {
		v.mtu = learned
	}
}

// encapsulate sends a packet into a tunnel (RFC 2473 section 3.1). Its hop limit has been dealt with.
func (w *Worker) encapsulate(p *packet.Packet, h *ip6.Header, t *Tunnel, from origin) {
	if h.Destination == t.Remote && isOuter(p, h, t) {
		w.drop(DropLoop)
		return
	}
	v, reason := w.resolve(t, 1)
	if reason != 0 {
		w.drop(reason)
		return
	}
	mtu := v.tunnelMTU()
	if wireLength(p) > mtu {
		w.drop(DropTooBig)
		w.sendError(p, h, from, icmp.PacketTooBig, 0, uint32(mtu))
		return
	}
	if h.Upper == ip6.TCP && isSYN(p, h) {
		w.clampSegmentSize(p, h, mtu)
	}
	if v.bare {
		w.tunnelBare(p, t, &v)
		return
	}
	label := w.engine.flowLabel(p.Bytes(), h)
	if p.Offload.Segmentation != packet.NotSegmented {
		// No link takes a super-packet inside another header.
		w.split(p, func(segment *packet.Packet) { w.tunnel(segment, t, &v, label, 1) })
		return
	}
	if packet.FinishChecksum(p) != nil {
		w.drop(DropOffload)
		return
	}
	w.tunnel(p, t, &v, label, 1)
}

// tunnel puts the outer header in front of an ordinary packet with a finished checksum and sends it on its way, in
// fragments if it must. The traffic class goes outside whole, ECN field included (RFC 6040 section 4.1, normal mode).
func (w *Worker) tunnel(p *packet.Packet, t *Tunnel, v *way, label uint32, depth int) {
	if v.bare {
		w.tunnelBare(p, t, v)
		return
	}
	n := p.Len()
	class := trafficClass(p.Bytes())
	b := p.Prepend(ip6.HeaderLength)
	if b == nil {
		w.drop(DropNested)
		return
	}
	ip6.PutHeader(b, class, label, n, ip6.IPv6, outerHopLimit, t.Local, t.Remote)
	w.count(Encapsulated, 1)
	w.count(EncapsulatedOctets, n)
	if p.Len() > v.mtu {
		w.fragment(p, v, label, depth)
		return
	}
	w.transmit(p, v, label, depth)
}

func trafficClass(b []byte) uint8 { return b[0]<<4 | b[1]>>4 }

// isOuter reports whether a packet to a tunnel's remote end is one of the tunnel's own, which has come back.
func isOuter(p *packet.Packet, h *ip6.Header, t *Tunnel) bool {
	if t.RemotePort == 0 {
		return h.Source == t.Local
	}
	b, at := p.Bytes(), h.UpperOffset
	return h.Upper == ip6.UDP && (!h.Fragmented || h.FirstFragment) && at+4 <= len(b) &&
		binary.BigEndian.Uint16(b[at+2:]) == t.RemotePort
}

// tunnelBare sends a packet into a tunnel whose outer headers the port makes: as it is, super-packets whole. What stands in
// its traffic class goes outside, as with tunnel. A packet that is longer than the path takes has at most 1280 octets, and
// the kernel fragments what it puts around it.
func (w *Worker) tunnelBare(p *packet.Packet, t *Tunnel, v *way) {
	w.count(Encapsulated, 1)
	w.count(EncapsulatedOctets, p.Len())
	if t.RemotePort != 0 {
		p.Peer, p.Local = netip.AddrPortFrom(t.Remote, t.RemotePort), t.Local
		p.TrafficClass = trafficClass(p.Bytes())
	}
	w.put(p, v.port, v.nextHop)
}

// transmit sends a tunnel packet that fits.
func (w *Worker) transmit(p *packet.Packet, v *way, label uint32, depth int) {
	if v.over == nil {
		p.NextHop = v.nextHop
		w.emit(v.port.ID, p)
		return
	}
	under, reason := w.resolve(v.over, depth+1)
	if reason != 0 {
		w.drop(reason)
		return
	}
	w.tunnel(p, v.over, &under, label, depth+1)
}
