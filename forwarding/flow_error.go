package forwarding

import (
	"kedge/forwarding/flow"
	"kedge/forwarding/ip6"
	"kedge/forwarding/translate"
	"kedge/netstack/packet"
)

// flowErrorOut sends an ICMPv6 error of the host: if it is about a packet of a translated flow, as an error about the packet
// that the correspondent sent.
func (w *Worker) flowErrorOut(p *packet.Packet, h *ip6.Header, b *binding, from origin) {
	if q, ok := translate.Embedded(p, h); ok && q.HasPorts && q.Destination == h.Source {
		k := flow.Key{Local: q.Destination, Remote: q.Source, Protocol: q.Protocol, LocalPort: q.DestinationPort, RemotePort: q.SourcePort}
		if f := w.quoted(&k); f != nil {
			v := f.Verdict()
			if v.State == flow.Terminated {
				w.drop(DropTerminated)
				return
			}
			if v.State == flow.InUse && v.Translate {
				w.reverseErrorAs(p, h, v, from)
				return
			}
		}
	}
	w.reverse(p, h, &b.Tunnel, from)
}

func (w *Worker) reverseErrorAs(p *packet.Packet, h *ip6.Header, v *flow.Verdict, from origin) {
	of := w.facts(v.Address)
	b := of.mobile(w.state)
	switch {
	case b == nil || of.role(w.state) != flow.Translation:
		w.drop(DropUnbound)
	case !translate.ErrorOutbound(p, h, v.Address):
		w.drop(DropNotTranslated)
	default:
		w.count(TranslatedOut, 1)
		w.reverse(p, h, &b.Tunnel, from)
	}
}

// flowErrorIn takes an ICMPv6 error for an address that this mobile node holds, and reports whether the host is to have it:
// one to an address for translation must be about a flow that uses it.
func (w *Worker) flowErrorIn(p *packet.Packet, h *ip6.Header, translated bool) bool {
	home := w.state.flows.home
	q, ok := translate.Embedded(p, h)
	if !ok || !q.HasPorts || q.Source != h.Destination {
		if translated {
			w.drop(DropErrorUnrelated)
		}
		return !translated
	}
	k := flow.Key{Local: q.Source, Remote: q.Destination, Protocol: q.Protocol, LocalPort: q.SourcePort, RemotePort: q.DestinationPort}
	if translated {
		k.Local = home
	}
	f := w.quoted(&k)
	if !translated {
		if f != nil {
			if v := f.Verdict(); v.State != flow.Holding && v.Translate {
				w.drop(DropFlowElsewhere)
				return false
			}
		}
		return true
	}
	if f == nil {
		w.drop(DropErrorUnrelated)
		return false
	}
	if v := f.Verdict(); v.State != flow.InUse || v.Address != h.Destination || !translate.ErrorInbound(p, h, home) {
		w.drop(DropErrorUnrelated)
		return false
	}
	w.count(TranslatedIn, 1)
	return true
}

// quoted finds the flow of a quoted packet.
func (w *Worker) quoted(k *flow.Key) *flow.Flow {
	t := k.Tuple()
	return w.state.flows.table.Lookup(&t)
}

// flowRelayed takes what this node itself sends to its host: ICMPv6 errors about translated packets are such about what the
// host sent. It reports whether the host is to have it.
func (w *Worker) flowRelayed(p *packet.Packet, h *ip6.Header) bool {
	if w.facts(h.Destination).role(w.state) != flow.Translation {
		return true
	}
	if _, kind := flow.Inbound(p.Bytes(), h); kind != flow.Error {
		w.drop(DropFlowUnknown)
		return false
	}
	return w.flowErrorIn(p, h, true)
}
