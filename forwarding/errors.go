package forwarding

import (
	"net/netip"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// sendError answers a packet, which is as it came in but for its hop limit, with an ICMPv6 error to its source, where
// RFC 4443 section 2.4 allows it.
func (w *Worker) sendError(p *packet.Packet, h *ip6.Header, from origin, kind, code uint8, parameter uint32) {
	if p.Group || icmp.Refuses(p.Bytes(), h) || !w.untranslate(p, h, from) {
		return
	}
	e := icmp.Error{
		Type: kind, Code: code, Parameter: parameter,
		Source: w.errorSource(from), Destination: h.Source, Invoking: p.Bytes(),
	}
	if !e.Source.IsValid() {
		if from.kind != fromHost {
			return
		}
		// A mobile node without any address but its home address: the kernel at the other end of the TUN is this same
		// node, and takes the error whoever it comes from.
		e.Source = h.Destination
	}
	q := w.makeError(&e)
	if q == nil {
		return
	}
	w.count(ErrorsSent, 1)
	switch from.kind {
	case fromHost:
		if port := w.state.ports[from.port]; port != nil {
			w.put(q, port, netip.Addr{})
		}
	case fromItself:
		w.toHost(q)
	default:
		w.output(q)
	}
}

func (w *Worker) errorSource(from origin) netip.Addr {
	if from.kind != fromItself {
		if a := w.state.sources[from.port]; a.IsValid() {
			return a
		}
	}
	return w.state.fallback
}

func (w *Worker) makeError(e *icmp.Error) *packet.Packet {
	if !w.limiter.Allow(w.now, e.Destination) {
		w.count(ErrorsLimited, 1)
		return nil
	}
	q := w.scratch.get(ip6.MinimumMTU)
	if q != nil {
		e.Put(q)
	}
	return q
}

// sendUnbound tells the sender of a tunnel packet that this anchor has no binding for what is in it: Destination
// Unreachable, code 5 (RFC 4443 section 3.1). Since the sender has not been verified, the answer is no longer than the
// packet, or than what it takes to embed both headers.
func (w *Worker) sendUnbound(p *packet.Packet, o outer) {
	if o.length == 0 || p.Group || p.Prepend(o.length) == nil {
		return
	}
	const both = 2*ip6.HeaderLength + icmp.HeaderLength + ip6.HeaderLength
	e := icmp.Error{
		Type: icmp.DestinationUnreachable, Code: icmp.SourceFailedPolicy,
		Source: o.destination, Destination: o.source, Invoking: p.Bytes(), Limit: max(p.Len(), both),
	}
	if q := w.makeError(&e); q != nil {
		w.count(ErrorsSent, 1)
		w.output(q)
	}
}
