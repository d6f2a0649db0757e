package forwarding

import (
	"errors"
	"net/netip"

	"kedge/forwarding/flow"
	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/forwarding/policy"
	"kedge/forwarding/translate"
	"kedge/netstack/packet"
)

// fragmentPackets is how many fragmented packets a worker remembers the flows of.
const fragmentPackets = 1024

// flowing is what a worker has for flows.
type flowing struct {
	fragments *translate.Fragments
	opening   flow.Opening
	// home is the source that the packet under way had before it was translated; invalid if it was not.
	home netip.Addr
	// drained are packets that waited, for Release.
	drained []*packet.Packet
	known   *known
}

func translatable(protocol uint8) bool {
	return protocol == ip6.TCP || protocol == ip6.UDP || protocol == ip6.ICMP
}

// flowOut sends a packet of the host from an address that binding b holds and whose role this is.
func (w *Worker) flowOut(p *packet.Packet, h *ip6.Header, b *binding, role flow.Role, from origin) {
	if role == flow.Translation {
		// The host does not hold it, and could collide with what is translated to it.
		w.refuse(p, h, from)
		return
	}
	t, kind := flow.Outbound(p.Bytes(), h)
	var f *flow.Flow
	switch kind {
	case flow.Tracked:
		f = w.flowOf(&t, p, h)
	case flow.LaterFragment:
		f = w.fragmentOf(p, h)
	case flow.Error:
		w.flowErrorOut(p, h, b, from)
		return
	}
	if f == nil {
		w.reverse(p, h, &b.Tunnel, from)
		return
	}
	v := f.Verdict()
	if v.State == flow.Terminated {
		w.lateOut(p, h, f, from)
		return
	}
	table := w.state.flows.table
	table.Saw(w.now, f, true, p.Bytes(), h)
	if h.FirstFragment {
		w.remember(p, h, f)
	}
	for v.State == flow.Holding {
		switch table.Hold(f, p) {
		case flow.Queued:
			w.count(HeldPackets, 1)
			return
		case flow.Overflowed:
			w.drop(DropHoldFull)
			return
		}
		v = f.Verdict()
	}
	w.clear(f, v, h.Destination)
	if v.State == flow.InUse && !v.Translate {
		w.reverse(p, h, &b.Tunnel, from)
		return
	}
	w.reverseAs(p, h, v, from)
}

// refuse drops a packet of the host whose source cannot be used now.
func (w *Worker) refuse(p *packet.Packet, h *ip6.Header, from origin) {
	w.drop(DropUnbound)
	w.sendError(p, h, from, icmp.DestinationUnreachable, icmp.NoRoute, 0)
}

// reverseAs sends a packet of the host with the source that the verdict says, through the tunnel of that address. If this
// node does not hold it any more, the packet is refused.
func (w *Worker) reverseAs(p *packet.Packet, h *ip6.Header, v *flow.Verdict, from origin) {
	s := w.state
	if v.State != flow.InUse {
		w.drop(DropTerminated)
		return
	}
	of := w.facts(v.Address)
	b := of.mobile(s)
	if b == nil || v.Translate != (of.role(s) == flow.Translation) {
		w.refuse(p, h, from)
		return
	}
	if !v.Translate {
		w.reverse(p, h, &b.Tunnel, from)
		return
	}
	home := h.Source
	if !translate.Source(p, h, v.Address) {
		w.drop(DropNotTranslated)
		return
	}
	w.count(TranslatedOut, 1)
	w.home = home
	w.reverse(p, h, &b.Tunnel, from)
	w.home = netip.Addr{}
}

// untranslate gives a packet of the host that an ICMPv6 error is to be about its own source back, and reports whether that
// was possible.
func (w *Worker) untranslate(p *packet.Packet, h *ip6.Header, from origin) bool {
	return from.kind != fromHost || !w.home.IsValid() || h.Source == w.home || translate.Source(p, h, w.home)
}

// flowOf finds or makes the flow of a packet of the host; nil if it is none that is tracked.
func (w *Worker) flowOf(t *flow.Tuple, p *packet.Packet, h *ip6.Header) *flow.Flow {
	fs := w.state.flows
	f := fs.table.Lookup(t)
	opens := flow.OpensConnection(p.Bytes(), h)
	if f != nil && !(opens && h.Upper == ip6.TCP && f.Finished()) {
		return f
	}
	if flow.IsReset(p.Bytes(), h) {
		return nil
	}
	o := &w.opening
	*o = flow.Opening{Tuple: *t, Profile: -1, Rule: -1, Opens: opens && h.Upper == ip6.TCP}
	switch {
	case !opens:
	case t.Answers():
		o.Initiator = flow.Correspondent
	default:
		o.Initiator = flow.MobileNode
		if fs.classifier != nil {
			w.choose(o, t, h, h.Source == fs.home && translate.Translatable(h, p.Bytes()))
		}
	}
	f, _, err := fs.table.Insert(w.now, o)
	if o.Verdict != nil && errors.Is(err, flow.ErrRole) {
		o.Verdict = nil // the choice was taken back at this moment
		f, _, _ = fs.table.Insert(w.now, o)
	}
	return f
}

// choose decides about a new flow of the mobile node: by the choice for its profile, or that it waits. One that is not free
// to choose keeps its address and only gets a profile.
func (w *Worker) choose(o *flow.Opening, t *flow.Tuple, h *ip6.Header, free bool) {
	k := t.Key()
	fs := w.state.flows
	r := fs.classifier.Classify(&policy.Packet{
		Source: k.Local, Destination: k.Remote, Protocol: k.Protocol, SourcePort: portOf(&k, k.LocalPort),
		DestinationPort: portOf(&k, k.RemotePort), DSCP: h.TrafficClass >> 2,
	})
	if r.NeedsUser {
		if free {
			o.Verdict, o.NeedsUser = flow.Held, true
		}
		return
	}
	o.Rule, o.Profile = r.Rule, r.Profile
	if !free {
		return
	}
	v := fs.choice(r.Profile, k.Remote)
	switch {
	case v == nil:
		o.Verdict = flow.Held
	case w.usable(v):
		o.Verdict = v
	}
}

// usable reports whether a new flow of the home address can have a verdict: its address is held and its binding up.
func (w *Worker) usable(v *flow.Verdict) bool {
	if !v.Translate {
		return v.Address == w.state.flows.home
	}
	of := w.facts(v.Address)
	b := of.mobile(w.state)
	return b != nil && !b.Down && of.role(w.state) == flow.Translation
}

// portOf is a port as rules see it: echoes have none.
func portOf(k *flow.Key, port uint16) uint16 {
	if k.Protocol == ip6.ICMP {
		return 0
	}
	return port
}

// remember has later fragments of the packet, of which p is the first, find its flow.
func (w *Worker) remember(p *packet.Packet, h *ip6.Header, f *flow.Flow) {
	if key, ok := translate.KeyOf(p.Bytes(), h); ok {
		if w.fragments == nil {
			w.fragments = translate.NewFragments(fragmentPackets)
		}
		w.fragments.Put(w.now, key, f.Number())
	}
}

// fragmentOf is the flow of a later fragment; nil if its first one has not been seen by this worker.
func (w *Worker) fragmentOf(p *packet.Packet, h *ip6.Header) *flow.Flow {
	if w.fragments == nil {
		return nil
	}
	key, ok := translate.KeyOf(p.Bytes(), h)
	if !ok {
		return nil
	}
	number, ok := w.fragments.Get(w.now, key)
	if !ok {
		return nil
	}
	return w.state.flows.table.Find(number)
}
