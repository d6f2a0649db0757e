package forwarding

import (
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// Worker is the packet side of an Engine. It is for one goroutine; an Engine may have many. Nothing is allocated per
// packet once its buffers have grown to what the traffic needs.
type Worker struct {
	engine *Engine
	// state and now are those of the batch.
	state *state
	now   time.Duration
	clock time.Time
	stamp uint32 // of now

	result    Result
	slots     [256]uint16 // port -> index in result.Outputs, plus one
	scratch   scratch
	segmenter packet.Segmenter
	limiter   icmp.Limiter
	tally     tally
	cache     *[cacheSize]facts
	strangers strangers
	// warmed keeps the compiler from leaving out what lookAhead reads.
	warmed    uint64
	announced announcements

	header, reply, embedded, original ip6.Header

	flowing
}

// NewWorker makes a worker, whose counters the engine sums until and after it is closed.
func (e *Engine) NewWorker() *Worker {
	w := &Worker{engine: e, cache: new([cacheSize]facts)}
	w.limiter.Init(e.options.ErrorRate, e.options.ErrorBurst)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.workers = append(e.workers, w)
	return w
}

// Close lets go of the worker, which must not be used any more.
func (w *Worker) Close() {
	e := w.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := slices.Index(e.workers, w); i >= 0 {
		e.workers = slices.Delete(e.workers, i, i+1)
		for c := range e.retired {
			e.retired[c] += w.tally.published[c].Load()
		}
	}
}

// Process says where the packets go that port in received. now may be read once for many batches.
func (w *Worker) Process(now time.Time, in PortID, pkts []*packet.Packet) *Result {
	w.begin(now, len(pkts))
	var port Port
	if p := w.state.ports[in]; p != nil {
		port = *p
	}
	if port.Host && w.state.flows != nil {
		w.fromHostWithFlows(pkts, in)
		return w.end()
	}
	w.lookAhead(pkts, port.UDP)
	if w.state.flows != nil && !port.Host && !port.Access {
		w.fromLinkWithFlows(pkts, in, port.UDP)
		return w.end()
	}
	for _, p := range pkts {
		switch {
		case port.Host:
			w.fromHost(p, in)
		case port.Access:
			w.fromAccess(p, in)
		case port.UDP:
			w.fromDatagram(p, in)
		default:
			w.fromLink(p, in)
		}
	}
	return w.end()
}

// Output sends packets that this node made itself, those of the gVisor host and of signalling: into the tunnel of the
// anchored binding that their destination is in, to the access port if it is attached, to the Host port if it is this mobile node's, else by its route; a
// packet to a link-local or multicast destination leaves by the port that owns its source address.
func (w *Worker) Output(now time.Time, pkts []*packet.Packet) *Result {
	w.begin(now, len(pkts))
	for _, p := range pkts {
		w.output(p)
	}
	return w.end()
}

// OutputVia sends packets that this node made itself out of a port to nextHop, or to their own destinations if nextHop
// is invalid.
func (w *Worker) OutputVia(now time.Time, port PortID, nextHop netip.Addr, pkts []*packet.Packet) *Result {
	w.begin(now, len(pkts))
	for _, p := range pkts {
		w.outputVia(p, port, nextHop)
	}
	return w.end()
}

// OutputTunnel sends packets that this node made itself through the tunnel of home: of the binding that it holds for
// home as a mobile node, else as an anchor.
func (w *Worker) OutputTunnel(now time.Time, home netip.Addr, pkts []*packet.Packet) *Result {
	w.begin(now, len(pkts))
	for _, p := range pkts {
		w.outputTunnel(p, home)
	}
	return w.end()
}

// OutputDatagram sends packets that this node made itself in UDP datagrams (RFC 5555 section 4.2), by a UDP port from local to
// peer; an invalid local address leaves that choice to the kernel.
func (w *Worker) OutputDatagram(now time.Time, port PortID, local netip.Addr, peer netip.AddrPort, pkts []*packet.Packet) *Result {
	w.begin(now, len(pkts))
	for _, p := range pkts {
		w.outputDatagram(p, port, local, peer)
	}
	return w.end()
}

// Reassembled takes the payload of a tunnel packet (next header 41) that the host put together from fragments, or that was
// Early, with what the outer header said: the same checks are made as for one that came in whole. outerTrafficClass is 0 if not known.
func (w *Worker) Reassembled(now time.Time, in PortID, outerSource, outerDestination netip.Addr, outerTrafficClass uint8, inner *packet.Packet) *Result {
	w.begin(now, 1)
	w.announced.final = true
	o := outer{source: outerSource, destination: outerDestination, ecn: outerTrafficClass & ecnMask}
	if port := w.state.ports[in]; port != nil && port.UDP {
		o.port = inner.Peer.Port()
	}
	w.decapsulate(inner, in, o, 1)
	w.announced.final = false
	return w.end()
}

// Undeliverable answers packets whose next hop did not answer with ICMPv6 Destination Unreachable, code 3 (RFC 4861 section
// 7.2.2).
func (w *Worker) Undeliverable(now time.Time, pkts []*packet.Packet) *Result {
	w.begin(now, len(pkts))
	for _, p := range pkts {
		h := &w.header
		if !w.parse(p, h) {
			continue
		}
		if w.undeliverableDetour(p, h) {
			continue
		}
		from := origin{kind: fromLink}
		if w.facts(h.Source).local(w.state) != nil {
			from.kind = fromItself
		}
		w.drop(DropNoNeighbor)
		w.sendError(p, h, from, icmp.DestinationUnreachable, icmp.AddressUnreachable, 0)
	}
	return w.end()
}

func (w *Worker) begin(now time.Time, n int) {
	w.state = w.engine.state.Load()
	w.clock, w.now = now, now.Sub(w.engine.epoch)
	w.stamp = stampOf(w.now)
	w.scratch.reset()
	for i := range w.result.Outputs {
		w.slots[w.result.Outputs[i].Port] = 0
		w.result.Outputs[i].Packets = w.result.Outputs[i].Packets[:0]
	}
	r := &w.result
	r.Outputs, r.ToHost, r.Signals, r.Neighbor = r.Outputs[:0], r.ToHost[:0], r.Signals[:0], r.Neighbor[:0]
	r.Strangers, r.Early = r.Strangers[:0], r.Early[:0]
	r.News, r.More = false, false
	w.count(Received, n)
}

// end publishes the batch's counters. Only this worker writes them, so that load and store need no lock.
func (w *Worker) end() *Result {
	t := &w.tally
	for i, m := range t.touched {
		for ; m != 0; m &= m - 1 {
			c := i<<6 | bits.TrailingZeros64(m)
			t.published[c].Store(t.now[c])
		}
		t.touched[i] = 0
	}
	if f := w.state.flows; f != nil {
		w.result.News = f.table.HasNews()
	}
	return &w.result
}

func (w *Worker) count(c Counter, n int) { w.tally.add(c, n) }

// drop counts a packet that ends here.
func (w *Worker) drop(c Counter) { w.tally.add(c, 1) }

// emit appends a finished packet to a port's output.
func (w *Worker) emit(port PortID, p *packet.Packet) {
	i := w.slots[port]
	if i == 0 {
		n := len(w.result.Outputs)
		if n < cap(w.result.Outputs) {
			w.result.Outputs = w.result.Outputs[:n+1] // with the slice that an earlier batch left there
			w.result.Outputs[n].Port = port
		} else {
			w.result.Outputs = append(w.result.Outputs, Output{Port: port})
		}
		i = uint16(n + 1)
		w.slots[port] = i
	}
	o := &w.result.Outputs[i-1]
	o.Packets = append(o.Packets, p)
	w.count(Sent, 1)
}
