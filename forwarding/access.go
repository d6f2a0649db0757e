package forwarding

import (
	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// fromAccess is the journey of a packet that a mobile node without mobility software sent. It is judged by its source
// prefix alone: whichever of its routers the host sent it to (the MAC address that it chose) does not matter.
func (w *Worker) fromAccess(p *packet.Packet, in PortID) {
	h, s := &w.header, w.state
	if !w.parse(p, h) {
		return
	}
	if h.Upper == ip6.ICMP && w.neighbor(p, h, in) {
		return
	}
	switch {
	case ip6.Bogon(h.Source) || ip6.BogonDestination(h.Destination):
		w.drop(DropBogon)
		return
	case h.Destination.IsMulticast():
		w.drop(DropMulticast)
		return
	case h.Destination.IsLinkLocalUnicast():
		w.toInterface(p, h, in)
		return
	case h.Source.IsLinkLocalUnicast(): // RFC 5213 section 6.10.5; no error, as it could only go to a link-local address
		w.drop(DropScope)
		return
	case p.Group:
		w.drop(DropGroupFrame)
		return
	}
	b := w.facts(h.Source).served(s)
	if b == nil || b.attached == nil || b.attached.Port != in {
		w.drop(DropNotAttached)
		w.stranger(p, h, in)
		return
	}
	a := b.attached
	if a.MobileNode != p.Neighbor {
		w.drop(DropLinkSource)
		w.stranger(p, h, in)
		return
	}
	a.use.from.count(w.stamp, !a.Tunnel.Native)
	if a.Tunnel.Native {
		w.leave(p, h, in, 0)
		return
	}
	if from := (origin{fromLink, in}); w.hop(p, h, from) {
		w.encapsulate(p, h, &a.Tunnel, from)
	}
}

// toInterface takes a packet for a link-local address of this node's, one of a distributed logical interface (RFC 8885
// section 3.7). Mobile nodes may ask whether it is there; nothing else of this node is to be reached by it.
func (w *Worker) toInterface(p *packet.Packet, h *ip6.Header, in PortID) {
	b, l := p.Bytes(), w.facts(h.Destination).local(w.state)
	if l == nil || l.port != in || h.Upper != ip6.ICMP || h.Mobile || h.Fragmented ||
		h.UpperOffset >= len(b) || b[h.UpperOffset] != icmp.EchoRequest {
		w.drop(DropLinkLocal)
		return
	}
	w.toHost(p)
}

// serve sends a packet for a prefix that this node serves on: to the access link if it is attached here, else into the
// tunnel to where it is. Its hop limit has been dealt with.
func (w *Worker) serve(p *packet.Packet, h *ip6.Header, b *binding, from origin) {
	if b.attached != nil {
		w.toAttached(p, h, b.attached, from, false)
		return
	}
	b.to.touch(w.stamp)
	w.encapsulate(p, h, &b.Tunnel, from)
}

// toAttached hands a packet over to the mobile node that its destination is attached with; tunneled says that it came out
// of the tunnel to the prefix's anchor. Its hop limit has been dealt with.
func (w *Worker) toAttached(p *packet.Packet, h *ip6.Header, a *attached, from origin, tunneled bool) {
	a.use.to.count(w.stamp, tunneled)
	w.send(p, h, a.Port, h.Destination, from)
}

// fromAnchor forwards a packet that came out of the tunnel to the anchor of an attached prefix (RFC 5213 section 6.10.5).
func (w *Worker) fromAnchor(p *packet.Packet, h *ip6.Header, a *attached, in PortID, o outer) {
	if from := (origin{fromLink, in}); w.openInner(p, h, &a.Tunnel, o) && w.hop(p, h, from) {
		w.toAttached(p, h, a, from, true)
	}
}
