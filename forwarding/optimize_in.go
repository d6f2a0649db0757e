package forwarding

import (
	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// pastHomeAgent takes what comes in for an address that this node holds as a mobile node, if its extension headers or those
// of the packet that it is an ICMPv6 error about are route optimisation's, and reports whether it did.
func (w *Worker) pastHomeAgent(p *packet.Packet, h *ip6.Header, in PortID, depth int) bool {
	if h.Mobile {
		return w.takeOptimized(p, h, in, depth)
	}
	b := p.Bytes()
	if w.state.optimizations == nil || h.Upper != ip6.ICMP || h.Fragmented || h.UpperOffset+icmp.HeaderLength > len(b) ||
		b[h.UpperOffset] > icmp.ParameterProblem || !w.verify(p, h) {
		return false
	}
	e := &w.embedded
	if e.ParseEmbedded(b[h.UpperOffset+icmp.HeaderLength:]) != nil || e.Source != h.Destination {
		return false
	}
	return w.optimizedError(p, h, in, depth)
}

// takeOptimized takes a packet with a Home Address option or a type 2 routing header, unless it is signalling, and reports
// whether it did. Its final destination gets it without them if the tables bear the addresses out (RFC 6275 sections 9.3.1
// and 11.3.3).
func (w *Worker) takeOptimized(p *packet.Packet, h *ip6.Header, in PortID, depth int) bool {
	s := w.state
	if signalling(p.Bytes(), h) {
		return false
	}
	source, destination, headers := h.Source, h.Destination, 0
	if h.RoutingHome.IsValid() {
		destination = h.RoutingHome
		headers++
	}
	held := w.facts(destination).mobile(s)
	if held == nil {
		if h.RoutingHome.IsValid() {
			w.drop(DropNotOptimized)
			return true
		}
		return false
	}
	if h.HomeAddress.IsValid() {
		if !unicast(h.HomeAddress) || h.HomeAddress.IsLinkLocalUnicast() {
			w.drop(DropBogon)
			return true
		}
		if c := s.cached(h.HomeAddress, destination); c == nil || c.careOf != h.Source {
			w.signal(p, h, RouteOptimized, in, depth)
			return true
		}
		source = h.HomeAddress
		headers++
	}
	if h.RoutingHome.IsValid() && s.optimized(destination, source) == nil {
		w.drop(DropNotOptimized)
		return true
	}
	b, found := undo(p.Bytes(), source, destination)
	if found != headers {
		w.drop(DropFragment) // they stand behind a fragment header, where none may
		return true
	}
	p.TrimFront(p.Len() - len(b))
	if w.parse(p, h) {
		w.count(RouteOptimizedReceived, 1)
		w.deliverOwn(p, h, &held.Tunnel, in, outer{ecn: h.TrafficClass & ecnMask}, depth)
	}
	return true
}

// disowned reports whether a Parameter Problem with this code, about the quoted packet, comes of what the host's kernel does
// not know of Mobile IPv6.
func disowned(code uint8, quoted []byte) bool {
	const unrecognizedOption = 2 // RFC 4443 section 3.4
	switch code {
	case icmp.UnrecognizedHeader:
		return quoted[6] == ip6.MobilityHeader
	case unrecognizedOption:
		var h ip6.Header
		return h.ParseEmbedded(quoted) == nil && h.Mobile && h.HomeAddress.IsValid()
	}
	return false
}
