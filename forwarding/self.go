package forwarding

import (
	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// toSelf takes a packet for one of this node's own addresses. depth counts the tunnels that it came out of.
func (w *Worker) toSelf(p *packet.Packet, h *ip6.Header, in PortID, depth int) {
	if h.Mobile && w.takeOptimized(p, h, in, depth) {
		return
	}
	switch {
	case h.Fragmented:
		// The host puts fragments together, but does not know what Mobile IPv6 adds in front of them.
		if h.Mobile {
			w.drop(DropFragment)
			return
		}
		w.toHost(p)
	case h.Upper == ip6.IPv6:
		o := outer{source: h.Source, destination: h.Destination, ecn: h.TrafficClass & ecnMask, length: h.UpperOffset}
		if h.Mobile || h.Source.IsLinkLocalUnicast() {
			w.drop(DropMalformed)
			return
		}
		p.TrimFront(h.UpperOffset)
		w.decapsulate(p, in, o, depth+1)
	case h.Upper == ip6.MobilityHeader:
		if p.Offload.NeedsChecksum && packet.FinishChecksum(p) != nil {
			w.drop(DropOffload)
			return
		}
		w.signal(p, h, MobilityHeader, in, depth)
	case h.Upper == ip6.ICMP:
		w.icmpToSelf(p, h, in, depth)
	case h.Mobile:
		w.signal(p, h, RouteOptimized, in, depth)
	default:
		w.toHost(p)
	}
}

func (w *Worker) icmpToSelf(p *packet.Packet, h *ip6.Header, in PortID, depth int) {
	b := p.Bytes()
	if h.UpperOffset+icmp.HeaderLength > len(b) {
		w.drop(DropMalformed)
		return
	}
	t := b[h.UpperOffset]
	switch {
	case t <= icmp.ParameterProblem:
		w.errorToSelf(p, h, in, depth)
	case t >= icmp.HomeAgentDiscoveryRequest && t <= icmp.MobilePrefixAdvertisement:
		if !w.verify(p, h) {
			w.drop(DropChecksum)
			return
		}
		w.signal(p, h, MobileICMP, in, depth)
	case t >= icmp.RouterSolicitation && t <= icmp.Redirect:
		w.drop(DropNeighbor) // out of a tunnel: links do not come this way
	case h.Mobile:
		w.signal(p, h, RouteOptimized, in, depth)
	case t == icmp.EchoReply:
		// The host asks nobody; signalling does, to measure a path.
		if !w.verify(p, h) {
			w.drop(DropChecksum)
			return
		}
		w.signal(p, h, EchoReply, in, depth)
	default:
		w.toHost(p)
	}
}

func (w *Worker) toHost(p *packet.Packet) {
	w.result.ToHost = append(w.result.ToHost, p)
	w.count(DeliveredHost, 1)
}

func (w *Worker) signal(p *packet.Packet, h *ip6.Header, kind SignalKind, in PortID, depth int) {
	s := Signal{
		Packet: p, Kind: kind, Source: h.Source, Destination: h.Destination,
		Upper: h.Upper, PayloadOffset: h.UpperOffset, In: in, Tunneled: depth > 0,
	}
	if h.Mobile {
		s.HomeAddress, s.RoutingHome = h.HomeAddress, h.RoutingHome
	}
	// What is of a node behind the tunnel itself came another way.
	if port := w.state.ports[in]; port != nil && port.UDP && depth <= 1 && !h.Mobile {
		s.Outer, s.OuterLocal = p.Peer, p.Local
	}
	if kind == MobilityHeader {
		if s.Outer.IsValid() {
			w.announce(s.Outer.Addr(), s.Outer.Port())
		} else {
			w.announce(h.Source, 0)
		}
	}
	w.result.Signals = append(w.result.Signals, s)
	w.count(DeliveredSignal, 1)
}
