package forwarding

import (
	"net/netip"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// maxNesting bounds tunnels in tunnels, on the way in and on the way out.
const maxNesting = 4

// outer is what the headers said that a packet came out of. port is the source port of a UDP datagram, 0 if it was an IPv6
// packet. length is what stood in front of the inner packet and still does, in the buffer: 0 if it does not.
type outer struct {
	source, destination netip.Addr
	port                uint16
	ecn                 uint8
	length              int
}

// isRemote reports whether a packet came from the remote end of a tunnel.
func (o *outer) isRemote(t *Tunnel) bool { return t.Remote == o.source && t.RemotePort == o.port }

// decapsulate takes the packet inside a tunnel packet for this node (RFC 2473 section 3.3). depth counts tunnels.
func (w *Worker) decapsulate(p *packet.Packet, in PortID, o outer, depth int) {
	if depth > maxNesting {
		w.drop(DropNested)
		return
	}
	h, s := &w.header, w.state
	if !w.parse(p, h) {
		return
	}
	switch {
	case h.Destination.IsMulticast():
		w.drop(MulticastRefused)
		return
	case ip6.Bogon(h.Source) || ip6.BogonDestination(h.Destination):
		w.drop(DropBogon)
		return
	case h.Source.IsLinkLocalUnicast() || h.Destination.IsLinkLocalUnicast():
		w.drop(DropLinkLocal)
		return
	}
	if o.port != 0 && w.fromAnyPeer(p, h, in, o) {
		return
	}
	if b := w.facts(h.Destination).mobile(s); b != nil {
		w.deliver(p, h, &b.Tunnel, in, o, depth)
		return
	}
	of := w.facts(h.Source)
	b := of.anchored(s)
	switch {
	case of.local(s) != nil:
		w.drop(DropOwnSource)
	case b != nil && !w.fromCareOf(b, &o) && w.early(p, b, in, o):
	case b == nil || !w.fromCareOf(b, &o):
		w.fromElsewhere(p, h, in, o, b != nil)
	case w.openInner(p, h, &b.Tunnel, o):
		b.from.touch(w.stamp)
		w.leave(p, h, in, depth)
	}
}

// fromCareOf reports whether a tunnel packet is from the care-of address of an anchored binding, or from the one that it had
// before and still in time.
func (w *Worker) fromCareOf(b *binding, o *outer) bool {
	if o.isRemote(&b.Tunnel) && b.Local == o.destination {
		return true
	}
	v := b.Previous
	return v != nil && v.Remote == o.source && v.RemotePort == o.port && w.clock.Before(v.Until) &&
		(b.Local == o.destination || v.Local == o.destination)
}

// fromElsewhere takes a tunnel packet that did not come from a mobile node which is anchored here; bound says that its inner
// source is, though. It may come from the anchor of a mobile node that is attached here.
func (w *Worker) fromElsewhere(p *packet.Packet, h *ip6.Header, in PortID, o outer, bound bool) {
	if b := w.facts(h.Destination).served(w.state); b != nil && b.attached != nil && !b.attached.Tunnel.Native {
		if t := &b.attached.Tunnel; o.isRemote(t) && t.Local == o.destination {
			w.fromAnchor(p, h, b.attached, in, o)
			return
		}
		bound = true
	}
	if bound {
		w.drop(DropOuterSource)
	} else {
		w.drop(DropNoBinding)
	}
	switch {
	case !w.engine.options.Anchor:
	case o.port != 0:
		// Of a mobile node that is bound too: a NAT may have forgotten it and given it another port, of which it knows nothing.
		w.refuseDatagram(p, h, in)
	case !bound:
		w.sendUnbound(p, o)
	}
}

// openInner does to an inner packet what leaving the tunnel does: ECN and the segment size. It counts, or drops.
func (w *Worker) openInner(p *packet.Packet, h *ip6.Header, t *Tunnel, o outer) bool {
	inner := h.TrafficClass & ecnMask
	ecn, ok := decapsulateECN(inner, o.ecn)
	if !ok {
		w.drop(DropCongestion)
		return false
	}
	if ecn != inner {
		ip6.SetECN(p.Bytes(), ecn)
		h.TrafficClass = h.TrafficClass&^ecnMask | ecn
		if ecn == ce {
			w.count(CongestionMarked, 1)
		}
	}
	if h.Upper == ip6.TCP && isSYN(p, h) {
		if way, reason := w.resolve(t, 1); reason == 0 {
			w.clampSegmentSize(p, h, way.tunnelMTU())
		}
	}
	w.count(Decapsulated, 1)
	w.count(DecapsulatedOctets, p.Len())
	return true
}

// deliver gives a packet out of the home agent's tunnel to the mobile node's kernel, or to its signalling (RFC 6275
// sections 6.1.5 and 6.8).
func (w *Worker) deliver(p *packet.Packet, h *ip6.Header, t *Tunnel, in PortID, o outer, depth int) {
	if !o.isRemote(t) {
		w.drop(DropOuterSource)
		return
	}
	if o.port != 0 && (w.refused(p, h, in, depth) || w.measured(p, h, in, depth)) {
		return
	}
	if !w.pastHomeAgent(p, h, in, depth) {
		w.deliverOwn(p, h, t, in, o, depth)
	}
}

// deliverOwn is the rest of deliver, for packets that came past the home agent too.
func (w *Worker) deliverOwn(p *packet.Packet, h *ip6.Header, t *Tunnel, in PortID, o outer, depth int) {
	s := w.state
	if of := w.facts(h.Source); of.mobile(s) != nil || of.local(s) != nil {
		w.drop(DropOwnSource)
		return
	}
	if signalling(p.Bytes(), h) {
		w.toSelf(p, h, in, depth)
		return
	}
	if s.host == nil {
		w.drop(DropNoPort)
		return
	}
	if s.flows != nil && !w.flowIn(p, h, t) {
		return
	}
	if w.openInner(p, h, t, o) {
		w.put(p, s.host, netip.Addr{})
	}
}

// leave forwards a packet out of a mobile node's tunnel, or from one that is attached here.
func (w *Worker) leave(p *packet.Packet, h *ip6.Header, in PortID, depth int) {
	s, from := w.state, origin{fromLink, in}
	to := w.facts(h.Destination)
	if to.local(s) != nil {
		w.toSelf(p, h, in, depth)
		return
	}
	if b := to.served(s); b != nil {
		if w.hop(p, h, from) {
			w.serve(p, h, b, from)
		}
		return
	}
	if w.engine.options.ForwardByHost && s.host != nil {
		w.count(Routed, 1)
		w.put(p, s.host, netip.Addr{})
		return
	}
	r := to.route(s)
	if r == nil {
		w.drop(DropNoRoute)
		w.sendError(p, h, from, icmp.DestinationUnreachable, icmp.NoRoute, 0)
		return
	}
	if port := s.ports[r.port]; port == nil || port.Host || w.hop(p, h, from) {
		w.count(Routed, 1)
		w.send(p, h, r.port, r.nextHop, from)
	}
}
