package forwarding

import (
	"kedge/forwarding/flow"
	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/forwarding/translate"
	"kedge/netstack/packet"
)

// flowIn takes a packet for an address that this mobile node holds, which came by tunnel t or past it, into account. It
// reports whether the host is to have it, its destination then being what the host knows.
func (w *Worker) flowIn(p *packet.Packet, h *ip6.Header, t *Tunnel) bool {
	k, kind := flow.Inbound(p.Bytes(), h)
	translated := w.facts(h.Destination).role(w.state) == flow.Translation
	switch kind {
	case flow.Error:
		return w.flowErrorIn(p, h, translated)
	case flow.Tracked:
		if !translated {
			return w.flowInDirect(&k, p, h, t)
		}
		k.SetLocal(w.state.flows.home)
		return w.flowInTranslated(w.state.flows.table.Lookup(&k), p, h, t)
	case flow.LaterFragment:
		f := w.fragmentOf(p, h)
		if translated && f == nil {
			// It may have overtaken the first one, which another worker may have seen. All flows of the address have the same
			// local one, and without the first fragment, which is judged, nobody makes anything of this one.
			if !translate.Destination(p, h, w.state.flows.home) {
				w.drop(DropNotTranslated)
				return false
			}
			w.count(TranslatedIn, 1)
			return true
		}
		if translated {
			return w.flowInTranslated(f, p, h, t)
		}
		return f == nil || w.mine(f, p, h, t)
	}
	if translated {
		w.unmatched(p, h, t)
	}
	return !translated
}

// flowAtHome takes a packet that came to an address whose binding b is native, and reports whether it did: the host's kernel
// takes what is for its own addresses, but does not know those for translation.
func (w *Worker) flowAtHome(p *packet.Packet, h *ip6.Header, b *binding, in PortID) bool {
	if w.facts(h.Destination).role(w.state) == flow.Translation {
		w.deliverOwn(p, h, &b.Tunnel, in, outer{ecn: h.TrafficClass & ecnMask}, 0)
		return true
	}
	if k, kind := flow.Inbound(p.Bytes(), h); kind == flow.Tracked {
		table := w.state.flows.table
		if f := table.Lookup(&k); f != nil && f.Verdict().State == flow.InUse && !f.Verdict().Translate {
			table.Saw(w.now, f, false, p.Bytes(), h)
		}
	}
	return false
}

// flowInTranslated takes a packet that came to an address for translation, and that f is the flow of, if any.
func (w *Worker) flowInTranslated(f *flow.Flow, p *packet.Packet, h *ip6.Header, t *Tunnel) bool {
	if f == nil {
		w.unmatched(p, h, t)
		return false
	}
	v := f.Verdict()
	switch {
	case v.State == flow.Holding || !v.Translate || v.Address != h.Destination:
		w.unmatched(p, h, t)
		return false
	case v.State == flow.Terminated:
		w.lateIn(p, h, t)
		return false
	}
	if h.FirstFragment {
		w.remember(p, h, f)
	}
	if !translate.Destination(p, h, w.state.flows.home) {
		w.drop(DropNotTranslated)
		return false
	}
	w.clear(f, v, h.Source)
	w.state.flows.table.Saw(w.now, f, false, p.Bytes(), h)
	w.count(TranslatedIn, 1)
	return true
}

// flowInDirect takes a packet that came to an address which the host has.
func (w *Worker) flowInDirect(k *flow.Tuple, p *packet.Packet, h *ip6.Header, t *Tunnel) bool {
	table := w.state.flows.table
	f := table.Lookup(k)
	opens := flow.OpensConnection(p.Bytes(), h)
	if f == nil || opens && h.Upper == ip6.TCP && f.Finished() {
		if flow.IsReset(p.Bytes(), h) {
			return true
		}
		o := &w.opening
		*o = flow.Opening{Tuple: *k, Profile: -1, Rule: -1, Opens: opens && h.Upper == ip6.TCP}
		if opens && !k.Asks() {
			o.Initiator = flow.Correspondent
		}
		var err error
		if f, _, err = table.Insert(w.now, o); err != nil {
			return true // it goes without an entry
		}
	}
	if h.FirstFragment {
		w.remember(p, h, f)
	}
	return w.mine(f, p, h, t)
}

// mine takes a packet of f that came to the flow's local address, and reports whether that is where it should have.
func (w *Worker) mine(f *flow.Flow, p *packet.Packet, h *ip6.Header, t *Tunnel) bool {
	switch v := f.Verdict(); {
	case v.State != flow.Holding && v.Translate:
		w.drop(DropFlowElsewhere)
		return false
	case v.State == flow.Terminated:
		w.lateIn(p, h, t)
		return false
	}
	w.state.flows.table.Saw(w.now, f, false, p.Bytes(), h)
	return true
}

// unmatched refuses a packet to an address for translation that no flow expects: through the tunnel that it came by, since
// the anchor takes that address from nowhere else.
func (w *Worker) unmatched(p *packet.Packet, h *ip6.Header, t *Tunnel) {
	w.drop(DropFlowUnknown)
	if p.Group || h.Fragmented && !h.FirstFragment || icmp.Refuses(p.Bytes(), h) {
		return
	}
	q := w.makeError(&icmp.Error{
		Type: icmp.DestinationUnreachable, Code: icmp.AddressUnreachable,
		Source: h.Destination, Destination: h.Source, Invoking: p.Bytes(),
	})
	if q != nil {
		w.count(ErrorsSent, 1)
		w.sendOwn(q, t)
	}
}

// sendOwn sends a packet made for one of the mobile node's addresses through that address's tunnel.
func (w *Worker) sendOwn(q *packet.Packet, t *Tunnel) {
	if h := &w.reply; !t.Down && w.parse(q, h) {
		w.reverse(q, h, t, origin{kind: fromItself})
	}
}
