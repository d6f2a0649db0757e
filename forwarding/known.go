package forwarding

import (
	"net/netip"

	"kedge/forwarding/flow"
	"kedge/forwarding/ip6"
	"kedge/forwarding/translate"
	"kedge/netstack/packet"
)

// Packets of flows that are known, which most are, take a short way. What the long one looks up for every packet, flowOut
// and all that follows, is looked up once: what depends on the flow's addresses when its first packet in a state of the
// tables passes, which flow.Flow.Clear notes, and what depends on the address that it uses once in a batch, in an exit.
// Whatever is not as usual about a packet sends it the long way, and both do the same to it.

const (
	// aheadPackets is how many packets a worker looks ahead: enough to wait for memory once for all of them, and few enough
	// that all they need stays in the first cache.
	aheadPackets = 64
	// exitCount is the number of exits that a worker remembers, a power of two.
	exitCount = 64
)

// exit is how packets of flows leave that have the same local address and use the same one.
type exit struct {
	batch uint64 // that it is good in
	// The local address, and one of the verdicts that say what the correspondent sees instead.
	localHigh, localLow uint64
	verdict             *flow.Verdict
	// tunnel is that of the address, and back the exchange on the way in; nil if packets have to go the long way.
	tunnel *Tunnel
	back   translate.Exchange
	// plain says that packets leave by way, in one tunnel, if they are not longer than mtu: in a datagram from local to peer
	// if that is valid, else behind header unless the way is bare.
	plain    bool
	mtu      int
	exchange translate.Exchange
	way      way
	header   [ip6.HeaderLength]byte
	peer     netip.AddrPort
	local    netip.Addr
}

// known is what a worker has for flows that are known.
type known struct {
	ahead  [aheadPackets]flow.Ahead
	warmed uint64
	exits  [exitCount]exit
	last   *exit
	batch  uint64
	local  localEnd
	// Counted since the last settle.
	counts [TranslatedIn + 1]int
}

// fromHostWithFlows is fromHost for a batch, on a node that keeps flows.
func (w *Worker) fromHostWithFlows(pkts []*packet.Packet, in PortID) {
	k, t := w.beginKnown(), w.state.flows.table
	for len(pkts) > 0 {
		n := min(len(pkts), aheadPackets)
		for i, p := range pkts[:n] {
			k.ahead[i].Begin(t, p.Bytes())
		}
		k.fetch(n)
		for i, p := range pkts[:n] {
			if !w.knownOut(p, &k.ahead[i]) {
				w.fromHost(p, in)
			}
		}
		pkts = pkts[n:]
	}
	k.settle(w)
}

func (w *Worker) beginKnown() *known {
	if w.known == nil {
		w.known = &known{last: new(exit)}
	}
	w.known.batch++
	return w.known
}

func (k *known) fetch(n int) {
	for i := range k.ahead[:n] {
		k.ahead[i].Ask()
	}
	for i := range k.ahead[:n] {
		k.warmed += k.ahead[i].Fetch()
	}
}

// settle counts what has gone the short way.
func (k *known) settle(w *Worker) {
	for c, n := range k.counts {
		if n != 0 {
			w.count(Counter(c), n)
		}
	}
	k.counts = [TranslatedIn + 1]int{}
}

// knownOut sends a packet of the host the short way, or reports false and has not touched it.
func (w *Worker) knownOut(p *packet.Packet, a *flow.Ahead) bool {
	f, v := w.knownFlow(a)
	if f == nil || !translate.Fits(p) {
		return false
	}
	x := w.exitOf(f, v)
	if !x.takes(p) {
		return false
	}
	w.state.flows.table.SawPlain(w.now, f, true, p.Bytes())
	k := w.known
	if v.Translate {
		x.exchange.Source(p)
		k.counts[TranslatedOut]++
	}
	k.counts[Encapsulated]++
	k.counts[EncapsulatedOctets] += p.Len()
	if x.way.bare {
		if x.peer.IsValid() {
			p.Peer, p.Local, p.TrafficClass = x.peer, x.local, trafficClass(p.Bytes())
		}
		w.put(p, x.way.port, x.way.nextHop)
		return true
	}
	w.putOuter(p, x)
	p.NextHop = x.way.nextHop
	w.emit(x.way.port.ID, p)
	return true
}

// knownFlow is the flow that a plain packet belongs to, and its verdict, if nothing about it needs the long way; else nil.
func (w *Worker) knownFlow(a *flow.Ahead) (*flow.Flow, *flow.Verdict) {
	if !a.Plain() {
		return nil, nil
	}
	f := a.Flow()
	if f == nil || !f.Cleared(w.state.generation) {
		return nil, nil
	}
	v := f.Verdict()
	if v.State != flow.InUse {
		return nil, nil
	}
	return f, v
}

// takes reports whether a plain packet that Fits leaves by x as the long way would have it leave.
func (x *exit) takes(p *packet.Packet) bool {
	if !x.plain {
		return false
	}
	if p.Offload.Segmentation == packet.NotSegmented {
		return p.Len() <= x.mtu
	}
	return x.way.bare && segmentable(p) && wireLength(p) <= x.mtu
}

// putOuter puts the outer header in front of an ordinary plain packet that Fits.
func (w *Worker) putOuter(p *packet.Packet, x *exit) {
	packet.FinishChecksum(p) // cannot fail then
	b := p.Bytes()
	n, class, label := len(b), trafficClass(b), w.engine.plainLabel(b)
	b = p.Prepend(ip6.HeaderLength)
	copy(b, x.header[:])
	ip6.PutFirst(b, class, label, n)
}

// exitOf is how a packet of f leaves, whose verdict is v.
func (w *Worker) exitOf(f *flow.Flow, v *flow.Verdict) *exit {
	k := w.known
	if x := k.last; x.verdict == v && x.batch == k.batch && x.isLocal(f) {
		return x
	}
	b := v.Address.As16()
	x := &k.exits[(b[15]^b[7])%exitCount]
	if x.batch != k.batch || !x.isLocal(f) || x.verdict.Address != v.Address || x.verdict.Translate != v.Translate {
		w.makeExit(x, f.Tuple(), v)
	}
	k.last = x
	return x
}

func (x *exit) isLocal(f *flow.Flow) bool {
	high, low := f.Tuple().LocalHalves()
	return x.localLow == low && x.localHigh == high
}

// makeExit looks up what reverseAs and encapsulate would.
func (w *Worker) makeExit(x *exit, of *flow.Tuple, v *flow.Verdict) {
	*x = exit{batch: w.known.batch, verdict: v}
	x.localHigh, x.localLow = of.LocalHalves()
	s := w.state
	a := w.facts(v.Address)
	b := a.mobile(s)
	if b == nil || v.Translate != (a.role(s) == flow.Translation) || b.Down || b.Native {
		return
	}
	t := &b.Tunnel
	way, reason := w.resolve(t, 1)
	x.tunnel = t
	if v.Translate {
		x.exchange = translate.NewExchange(of.Local(), v.Address)
		x.back = translate.NewExchange(v.Address, of.Local())
	}
	if reason != 0 || way.over != nil || t.RemotePort == 0 && v.Address == t.Local {
		return
	}
	x.plain, x.way, x.mtu = true, way, min(way.tunnelMTU(), way.mtu-way.overhead)
	switch {
	case t.RemotePort != 0:
		x.peer, x.local = netip.AddrPortFrom(t.Remote, t.RemotePort), t.Local
	case !way.bare:
		ip6.PutHeader(x.header[:], 0, 0, 0, ip6.IPv6, outerHopLimit, t.Local, t.Remote)
	}
}

// clear notes that packets of f, to and from a correspondent, can go the short way as far as that depends on the flow's
// addresses: the local one is the host's to use, none goes past the home agents, and the correspondent is neither this node
// nor the end of the tunnel.
func (w *Worker) clear(f *flow.Flow, v *flow.Verdict, correspondent netip.Addr) {
	s := w.state
	if v.State != flow.InUse || f.Cleared(s.generation) ||
		s.cached(correspondent, v.Address) != nil || s.optimized(v.Address, correspondent) != nil {
		return
	}
	if to := w.facts(correspondent); to.local(s) != nil || to.mobile(s) != nil {
		return
	}
	if of := w.facts(f.Tuple().Local()); of.mobile(s) == nil || of.role(s) == flow.Translation {
		return
	}
	if b := w.facts(v.Address).mobile(s); b != nil && b.Remote != correspondent {
		f.Clear(s.generation)
	}
}
