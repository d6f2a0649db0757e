package forwarding

import (
	"net/netip"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// optimizedError takes an ICMPv6 error, checksum verified, about a packet with a Home Address option or a type 2 routing
// header, whose header is in w.embedded, and reports whether it did. Errors about signalling are for signalling. As with
// tunnels, it must be about a packet that the tables would have sent.
func (w *Worker) optimizedError(p *packet.Packet, h *ip6.Header, in PortID, depth int) bool {
	s, e := w.state, &w.embedded
	m := p.Bytes()[h.UpperOffset:]
	if s.optimizations == nil || !e.Mobile || signalling(m[icmp.HeaderLength:], e) {
		return false
	}
	d := detour{source: e.Source, destination: e.Destination, homeAddress: e.HomeAddress, routingHome: e.RoutingHome}
	if !w.sends(&d) {
		w.drop(DropErrorUnrelated)
		return true
	}
	relay := icmp.Error{Type: m[0], Code: m[1], Source: h.Source, Destination: d.home()}
	kind, length := m[0], e.Length
	if kind == icmp.PacketTooBig {
		limit, ok := w.learnPathMTU(e.Destination, m)
		if !ok {
			w.drop(DropErrorUnrelated)
			return true
		}
		limit = max(ip6.MinimumMTU, limit-d.length())
		w.drop(DropConsumed)
		if length-d.length() <= limit {
			return true // what is so short takes the tunnel from now on
		}
		relay.Parameter = uint32(limit)
	} else {
		w.signal(p, h, SignalingError, in, depth)
		if kind == icmp.ParameterProblem {
			return true // about a header that the program did not write
		}
	}
	w.relayUndone(&relay, &d, m[icmp.HeaderLength:])
	return true
}

// sends reports whether the tables send packets on the detour.
func (w *Worker) sends(d *detour) bool {
	home, correspondent := d.home(), d.destination
	if d.routingHome.IsValid() {
		correspondent = d.routingHome
		if c := w.state.cached(correspondent, home); c == nil || c.careOf != d.destination {
			return false
		}
	}
	if d.homeAddress.IsValid() {
		if o := w.state.optimized(home, correspondent); o == nil || o.CareOf != d.source {
			return false
		}
	}
	return true
}

// home is the packet's source without the detour.
func (d *detour) home() netip.Addr {
	if d.homeAddress.IsValid() {
		return d.homeAddress
	}
	return d.source
}

// relayUndone passes an ICMPv6 error on to the program whose packet, as quoted, took the detour.
func (w *Worker) relayUndone(relay *icmp.Error, d *detour, quoted []byte) {
	destination := d.destination
	if d.routingHome.IsValid() {
		destination = d.routingHome
	}
	q := w.scratch.get(len(quoted))
	if q == nil || !q.Set(quoted) {
		w.drop(DropScratch)
		return
	}
	relay.Invoking, _ = undo(q.Bytes(), d.home(), destination)
	o := &w.original
	if o.ParseEmbedded(relay.Invoking) != nil || icmp.Refuses(relay.Invoking, o) {
		return
	}
	if q := w.makeError(relay); q != nil {
		w.count(ErrorsRelayed, 1)
		w.output(q)
	}
}

// undeliverableDetour answers a packet on a detour whose next hop does not answer, and reports whether it was one.
func (w *Worker) undeliverableDetour(p *packet.Packet, h *ip6.Header) bool {
	if w.state.optimizations == nil || !h.Mobile || signalling(p.Bytes(), h) {
		return false
	}
	d := detour{source: h.Source, destination: h.Destination, homeAddress: h.HomeAddress, routingHome: h.RoutingHome}
	if !w.sends(&d) {
		return false
	}
	w.drop(DropNoNeighbor)
	relay := icmp.Error{
		Type: icmp.DestinationUnreachable, Code: icmp.AddressUnreachable,
		Source: w.errorSource(origin{kind: fromItself}), Destination: d.home(),
	}
	if !relay.Source.IsValid() {
		relay.Source = h.Destination
	}
	w.relayUndone(&relay, &d, p.Bytes())
	return true
}
