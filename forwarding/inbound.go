package forwarding

import (
	"errors"
	"net/netip"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// origin is where a packet came from, which says where an ICMPv6 error about it goes.
type origin struct {
	kind originKind
	port PortID
}

type originKind uint8

const (
	fromLink   originKind = iota // or a tunnel: errors follow the routes and bindings to the source
	fromHost                     // a Host port: errors go back there
	fromItself                   // this node made it: errors go to the gVisor host
)

// parse reads a packet's headers into h and cuts off what lies behind its payload; if it cannot, it drops the packet.
func (w *Worker) parse(p *packet.Packet, h *ip6.Header) bool {
	if err := h.Parse(p.Bytes()); err != nil {
		switch {
		case errors.Is(err, ip6.ErrVersion):
			w.drop(DropNotIPv6)
		case errors.Is(err, ip6.ErrTooMany):
			w.drop(DropTooManyHeaders)
		default:
			w.drop(DropMalformed)
		}
		return false
	}
	if h.Length < p.Len() {
		p.SetLen(h.Length)
	}
	return w.checkOffload(p)
}

// fromLink is the journey of a packet that came in on an Ethernet.
func (w *Worker) fromLink(p *packet.Packet, in PortID) {
	h, s := &w.header, w.state
	if !w.parse(p, h) {
		return
	}
	if h.Upper == ip6.ICMP && w.neighbor(p, h, in) {
		return
	}
	if ip6.Bogon(h.Source) || ip6.BogonDestination(h.Destination) {
		w.drop(DropBogon)
		return
	}
	if h.Destination.IsMulticast() {
		w.multicast(p, h)
		return
	}
	to := w.facts(h.Destination)
	if l := to.local(s); l != nil {
		if l.port != in && h.Destination.IsLinkLocalUnicast() {
			w.drop(DropLinkLocal)
			return
		}
		w.toSelf(p, h, in, 0)
		return
	}
	if b := to.served(s); b != nil {
		w.intercept(p, h, in, b)
		return
	}
	// No errors from here on: the link also shows what is for the host's own kernel, which has the same MAC address.
	if b := to.mobile(s); b != nil {
		// A mobile node that came home is acknowledged without a tunnel, and before it is taken to be at home (RFC 6275
		// section 11.5.5).
		if signalling(p.Bytes(), h) {
			w.toSelf(p, h, in, 0)
			return
		}
		if b.Native {
			if w.pastHomeAgent(p, h, in, 0) || s.flows != nil && w.flowAtHome(p, h, b, in) {
				return
			}
			w.drop(DropAtHome)
		} else {
			w.drop(DropNotTunneled)
		}
		return
	}
	w.drop(DropNotOurs)
}

// signalling reports whether a packet carries what only the protocol roles know. The host's kernel would answer it with
// an error.
func signalling(b []byte, h *ip6.Header) bool {
	return !h.Fragmented && (h.Upper == ip6.MobilityHeader || mobileICMP(b, h))
}

// intercept takes a packet from a link to where its destination is: to its care-of address (RFC 6275 section 10.4.2), or to
// its access link.
func (w *Worker) intercept(p *packet.Packet, h *ip6.Header, in PortID, b *binding) {
	from := origin{fromLink, in}
	switch {
	case b.attached != nil && !b.attached.Tunnel.Native:
		w.drop(DropNotTunneled)
	case p.Group:
		w.drop(DropGroupFrame)
	case h.Destination.IsLinkLocalUnicast():
		w.drop(DropLinkLocal)
		w.sendError(p, h, from, icmp.DestinationUnreachable, icmp.AddressUnreachable, 0)
	case h.Source.IsLinkLocalUnicast():
		w.drop(DropScope)
		w.sendError(p, h, from, icmp.DestinationUnreachable, icmp.BeyondScope, 0)
	case w.hop(p, h, from):
		w.serve(p, h, b, from)
	}
}

// hop takes one from the hop limit of a packet that this node forwards; at the end of it, it drops the packet. Where a
// packet enters or leaves by a Host port there is no hop: kedge and its host's kernel are one node, and the kernel
// counts when it forwards.
func (w *Worker) hop(p *packet.Packet, h *ip6.Header, from origin) bool {
	if h.HopLimit <= 1 {
		w.drop(DropHopLimit)
		w.sendError(p, h, from, icmp.TimeExceeded, icmp.HopLimitExceeded, 0)
		return false
	}
	h.HopLimit--
	p.Bytes()[7] = h.HopLimit
	return true
}

// fromHost is the journey of a packet that came out of this host's kernel.
func (w *Worker) fromHost(p *packet.Packet, in PortID) {
	h, s := &w.header, w.state
	if !w.parse(p, h) {
		return
	}
	from := origin{fromHost, in}
	switch {
	case complaint(p, h):
		w.drop(DropComplaint)
		return
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
	if w.facts(h.Destination).local(s) != nil {
		w.toHost(p)
		return
	}
	if of := w.facts(h.Source); of.mobile(s) != nil {
		b := of.m
		if s.flows != nil {
			w.flowOut(p, h, b, of.role(s), from)
			return
		}
		w.reverse(p, h, &b.Tunnel, from)
		return
	}
	if b := w.facts(h.Destination).served(s); b != nil {
		w.serve(p, h, b, from)
		return
	}
	w.drop(DropUnbound)
	if w.engine.options.Anchor {
		w.sendError(p, h, from, icmp.DestinationUnreachable, icmp.AddressUnreachable, 0)
	} else if !s.anyMobile {
		w.sendError(p, h, from, icmp.DestinationUnreachable, icmp.NoRoute, 0)
	}
}

// complaint reports whether a packet from the host's kernel is an ICMPv6 Parameter Problem about a Mobility Header or a Home
// Address option. The kernel sees what a link receives for its home address, and does not know that kedge understands it:
// a peer that was told so would take this node for one without Mobile IPv6 (RFC 6275 section 11.3.5).
func complaint(p *packet.Packet, h *ip6.Header) bool {
	const nextHeader = 6 // of the embedded IPv6 header
	at := h.UpperOffset
	b := p.Bytes()
	return h.Upper == ip6.ICMP && at+icmp.HeaderLength+nextHeader < len(b) &&
		b[at] == icmp.ParameterProblem && disowned(b[at+1], b[at+icmp.HeaderLength:])
}

// reverse sends what the mobile node's programs sent: through the tunnel, or as it is when at home.
func (w *Worker) reverse(p *packet.Packet, h *ip6.Header, t *Tunnel, from origin) {
	if t.Down {
		w.drop(DropUnbound)
		w.sendError(p, h, from, icmp.DestinationUnreachable, icmp.NoRoute, 0)
		return
	}
	if from.kind == fromHost && w.optimize(p, h, t, from) {
		return
	}
	if !t.Native {
		w.encapsulate(p, h, t, from)
		return
	}
	port, nextHop := t.Port, t.NextHop
	if !t.Via {
		r := w.facts(h.Destination).route(w.state)
		if r == nil {
			w.drop(DropNoRoute)
			w.sendError(p, h, from, icmp.DestinationUnreachable, icmp.NoRoute, 0)
			return
		}
		port, nextHop = r.port, r.nextHop
	}
	w.count(Native, 1)
	w.send(p, h, port, nextHop, from)
}

// neighbor takes the messages of neighbour discovery and multicast listener discovery, and reports whether it did.
func (w *Worker) neighbor(p *packet.Packet, h *ip6.Header, in PortID) bool {
	b := p.Bytes()
	if h.UpperOffset >= len(b) || (h.Fragmented && !h.FirstFragment) {
		return false
	}
	t, limit := b[h.UpperOffset], uint8(255)
	switch {
	case t >= icmp.RouterSolicitation && t <= icmp.Redirect:
	case t >= icmp.Query && t <= icmp.Done, t == icmp.ReportV2:
		limit = 1
	default:
		return false
	}
	// RFC 4861 section 6.1 and following, RFC 3810 section 6.2, RFC 6980.
	if h.HopLimit != limit || h.Fragmented || h.Source.IsMulticast() || !w.verify(p, h) {
		w.drop(DropNeighbor)
		return true
	}
	w.result.Neighbor = append(w.result.Neighbor, NeighborMessage{
		Packet: p, Source: h.Source, Destination: h.Destination, Type: t, PayloadOffset: h.UpperOffset, In: in,
		LinkSource: p.Neighbor,
	})
	w.count(DeliveredNeighbor, 1)
	return true
}

var allNodes = netip.IPv6LinkLocalAllNodes()

// multicast passes on what others ask of all nodes of the link. Nothing else that is sent to a group is for this node.
func (w *Worker) multicast(p *packet.Packet, h *ip6.Header) {
	if h.Destination == allNodes && h.Upper == ip6.ICMP && !h.Mobile {
		w.toHost(p)
		return
	}
	w.drop(DropMulticast)
}

// verify checks the checksum of an ICMPv6 message, or finishes it if it never was on a wire. A Home Address option and a
// type 2 routing header change the addresses that it covers (RFC 6275 sections 6.3 and 6.4).
func (w *Worker) verify(p *packet.Packet, h *ip6.Header) bool {
	if p.Offload.NeedsChecksum {
		return packet.FinishChecksum(p) == nil
	}
	source, destination := h.Source, h.Destination
	if h.Mobile {
		if h.HomeAddress.IsValid() {
			source = h.HomeAddress
		}
		if h.RoutingHome.IsValid() {
			destination = h.RoutingHome
		}
	}
	return icmp.ChecksumValid(p.Bytes()[h.UpperOffset:], source, destination)
}
