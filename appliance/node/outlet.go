package node

import (
	"net/netip"
	"sync"
	"time"

	"kedge/forwarding"
	"kedge/netstack/packet"
)

// outlet is the way out for packets that the node makes itself: signalling and what its gVisor host says. Both are rare
// beside what the pumps carry, so that one worker behind a lock serves all.
type outlet struct {
	ports *ports
	to    receiver

	mu     sync.Mutex // guards what follows
	worker *forwarding.Worker
	buffer *packet.Packet
	one    [1]*packet.Packet
}

func newOutlet(e *forwarding.Engine, p *ports, to receiver) *outlet {
	return &outlet{ports: p, to: to, worker: e.NewWorker(), buffer: packet.New(packet.MaxLength)}
}

// send lets fill write a packet and has it leave as route says.
func (o *outlet) send(fill func(*packet.Packet), via route) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fill(o.buffer)
	o.one[0] = o.buffer
	now := time.Now()
	var r *forwarding.Result
	switch {
	case via.tunnel.IsValid():
		r = o.worker.OutputTunnel(now, via.tunnel, o.one[:])
	case via.datagram:
		r = o.worker.OutputDatagram(now, via.port, via.local, via.peer, o.one[:])
	case via.fixed:
		r = o.worker.OutputVia(now, via.port, via.router, o.one[:])
	default:
		r = o.worker.Output(now, o.one[:])
	}
	o.hand(r, now)
}

// hand passes on what a worker made of a packet. The lock is held, so that what is for the host goes there later: the host
// may have something to say at once.
func (o *outlet) hand(r *forwarding.Result, now time.Time) {
	o.ports.send(r.Outputs)
	for _, p := range r.ToHost {
		o.to.toHostLater(p)
	}
	for i := range r.Signals {
		o.to.signal(&r.Signals[i], now)
	}
	if r.News {
		o.to.newsOfFlows()
	}
}

// sendHost is send for a packet of the gVisor host, which is copied.
func (o *outlet) sendHost(b []byte) {
	o.send(func(p *packet.Packet) { p.Set(b) }, route{})
}

// undeliverable takes packets whose next hop did not answer.
func (o *outlet) undeliverable(pkts []*packet.Packet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	o.hand(o.worker.Undeliverable(now, pkts), now)
}

// reassembled takes a tunnel packet's payload that the host put together.
func (o *outlet) reassembled(in forwarding.PortID, source, destination netip.Addr, trafficClass uint8, inner []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.buffer.Set(inner) {
		return
	}
	now := time.Now()
	o.hand(o.worker.Reassembled(now, in, source, destination, trafficClass, o.buffer), now)
}

// early takes a tunnel packet's payload after the signalling that came before it.
func (o *outlet) early(e forwarding.Early) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	o.hand(o.worker.Reassembled(now, e.In, e.OuterSource, e.OuterDestination, e.OuterTrafficClass, e.Packet), now)
}

// route is how a packet of the node's own leaves: through the tunnel of a home address, by a port and the next hop there, in
// a datagram, or as the routes say.
type route struct {
	tunnel netip.Addr
	fixed  bool
	port   forwarding.PortID
	router netip.Addr
	// datagram says that it leaves in one from local to peer, by port.
	datagram bool
	local    netip.Addr
	peer     netip.AddrPort
}
