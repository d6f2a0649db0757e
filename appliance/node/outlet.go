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

	mu     sync.Mutex // guards what follows
	worker *forwarding.Worker
	buffer *packet.Packet
	one    [1]*packet.Packet
}

func newOutlet(e *forwarding.Engine, p *ports) *outlet {
	return &outlet{ports: p, worker: e.NewWorker(), buffer: packet.New(packet.MaxLength)}
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
	case via.fixed:
		r = o.worker.OutputVia(now, via.port, via.router, o.one[:])
	default:
		r = o.worker.Output(now, o.one[:])
	}
	o.ports.send(r.Outputs)
}

// sendHost is send for a packet of the gVisor host, which is copied.
func (o *outlet) sendHost(b []byte) {
	o.send(func(p *packet.Packet) { p.Set(b) }, route{})
}

// reassembled takes a tunnel packet's payload that the host put together. What it leads to for this node itself is
// handed on after the lock is free, since the host may answer at once.
func (o *outlet) reassembled(in forwarding.PortID, source, destination netip.Addr, trafficClass uint8, inner []byte, to receiver) {
	o.mu.Lock()
	now := time.Now()
	if !o.buffer.Set(inner) {
		o.mu.Unlock()
		return
	}
	r := o.worker.Reassembled(now, in, source, destination, trafficClass, o.buffer)
	o.ports.send(r.Outputs)
	var mine *packet.Packet
	if len(r.ToHost) > 0 {
		mine = packet.New(r.ToHost[0].Len())
		mine.CopyFrom(r.ToHost[0])
	}
	for i := range r.Signals {
		to.signal(&r.Signals[i], now)
	}
	o.mu.Unlock()
	if mine != nil {
		to.toHost(mine)
	}
}

// route is how a packet of the node's own leaves: through the tunnel of a home address, by a port and the next hop there,
// or as the routes say.
type route struct {
	tunnel netip.Addr
	fixed  bool
	port   forwarding.PortID
	router netip.Addr
}
