package forwarding

import (
	"net/netip"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// output sends a packet that this node made. Its header goes into w.reply, since an ICMPv6 error about another packet
// comes this way too.
func (w *Worker) output(p *packet.Packet) {
	h, s, from := &w.reply, w.state, origin{kind: fromItself}
	if !w.parse(p, h) {
		return
	}
	if h.Destination.IsMulticast() || h.Destination.IsLinkLocalUnicast() {
		l := w.facts(h.Source).local(s)
		if l == nil {
			w.drop(DropLinkLocal)
			return
		}
		w.send(p, h, l.port, netip.Addr{}, from)
		return
	}
	if ip6.Bogon(h.Source) || ip6.BogonDestination(h.Destination) {
		w.drop(DropBogon)
		return
	}
	to := w.facts(h.Destination)
	if to.local(s) != nil {
		w.toHost(p)
		return
	}
	if to.mobile(s) != nil {
		if s.host == nil {
			w.drop(DropNoPort)
			return
		}
		if s.flows != nil && !w.flowRelayed(p, h) {
			return
		}
		w.put(p, s.host, netip.Addr{})
		return
	}
	if b := to.served(s); b != nil {
		w.serve(p, h, b, from)
		return
	}
	r := to.route(s)
	if r == nil {
		w.drop(DropNoRoute)
		w.sendError(p, h, from, icmp.DestinationUnreachable, icmp.NoRoute, 0)
		return
	}
	w.count(Routed, 1)
	w.send(p, h, r.port, r.nextHop, from)
}

func (w *Worker) outputVia(p *packet.Packet, port PortID, nextHop netip.Addr) {
	if h := &w.reply; w.parse(p, h) {
		w.send(p, h, port, nextHop, origin{kind: fromItself})
	}
}

func (w *Worker) outputTunnel(p *packet.Packet, home netip.Addr) {
	h := &w.reply
	if !w.parse(p, h) {
		return
	}
	of, s := w.facts(home), w.state
	b := of.mobile(s)
	if b == nil {
		if b = of.anchored(s); b == nil {
			w.drop(DropUnbound)
			return
		}
	}
	w.reverse(p, h, &b.Tunnel, origin{kind: fromItself})
}

// send puts a packet that needs no tunnel out of a port, to nextHop or its own destination, if it fits.
func (w *Worker) send(p *packet.Packet, h *ip6.Header, id PortID, nextHop netip.Addr, from origin) {
	port := w.state.ports[id]
	if port == nil || port.UDP {
		w.drop(DropNoPort)
		return
	}
	if wireLength(p) > port.MTU {
		w.drop(DropTooBig)
		w.sendError(p, h, from, icmp.PacketTooBig, 0, uint32(port.MTU))
		return
	}
	if !nextHop.IsValid() {
		nextHop = h.Destination
	}
	w.put(p, port, nextHop)
}

// put emits a packet with as much of its offload state as the port takes.
func (w *Worker) put(p *packet.Packet, port *Port, nextHop netip.Addr) {
	p.NextHop = nextHop
	var needs packet.Features
	switch p.Offload.Segmentation {
	case packet.TCP:
		needs = packet.SegmentTCP | packet.PartialChecksum
	case packet.UDP:
		needs = packet.SegmentUDP | packet.PartialChecksum
	default:
		if p.Offload.NeedsChecksum && port.Features&packet.PartialChecksum == 0 && packet.FinishChecksum(p) != nil {
			w.drop(DropOffload)
			return
		}
	}
	if needs&^port.Features == 0 {
		w.emit(port.ID, p)
		return
	}
	w.split(p, func(q *packet.Packet) { w.emit(port.ID, q) })
}

// split cuts a super-packet up and hands each segment, its checksum finished, to each.
func (w *Worker) split(p *packet.Packet, each func(segment *packet.Packet)) {
	s := &w.segmenter
	if s.Start(p) != nil {
		w.drop(DropOffload)
		return
	}
	for s.Segments() > 0 {
		q := w.scratch.get(wireLength(p))
		if q == nil {
			w.drop(DropScratch)
			return
		}
		if ok, err := s.Next(q); err != nil || !ok {
			w.drop(DropOffload)
			return
		}
		w.count(SplitSegments, 1)
		each(q)
	}
}

// wireLength is how long a packet, or the longest segment of a super-packet, is once it is on a wire.
func wireLength(p *packet.Packet) int {
	if p.Offload.Segmentation == packet.NotSegmented {
		return p.Len()
	}
	return min(p.Len(), int(p.Offload.HeaderLength)+int(p.Offload.SegmentSize))
}

// checkOffload drops a packet whose offload state points outside of it.
func (w *Worker) checkOffload(p *packet.Packet) bool {
	o := &p.Offload
	if !o.NeedsChecksum && o.Segmentation == packet.NotSegmented {
		return true
	}
	end := int(o.ChecksumStart) + int(o.ChecksumOffset) + 2
	if o.NeedsChecksum && (int(o.ChecksumStart) < ip6.HeaderLength || end > p.Len()) ||
		o.Segmentation != packet.NotSegmented && !segmentable(p) {
		w.drop(DropOffload)
		return false
	}
	return true
}

// segmentable reports whether a super-packet says how to cut it up.
func segmentable(p *packet.Packet) bool {
	o := &p.Offload
	return o.NeedsChecksum && o.SegmentSize != 0 && o.HeaderLength > o.ChecksumStart && int(o.HeaderLength) <= p.Len()
}

// isSYN reports whether a packet whose upper layer is TCP opens a connection.
func isSYN(p *packet.Packet, h *ip6.Header) bool {
	b := p.Bytes()
	return h.UpperOffset+13 < len(b) && b[h.UpperOffset+13]&tcpSYN != 0
}
