package forwarding

import (
	"net/netip"
	"time"

	"kedge/netstack/packet"
)

// Early is what a mobile node sent through the tunnel from a new care-of address right behind its Binding Update. Workers
// do not wait for signalling, which may have yet to read that update: hand it to Worker.Reassembled once it has. Without
// Options.AwaitBindings there is none.
type Early struct {
	// Packet is the inner packet.
	Packet *packet.Packet
	In     PortID
	// OuterSource, OuterDestination and OuterTrafficClass were in the outer header. Packet.Peer has the port, if it was a
	// UDP datagram.
	OuterSource, OuterDestination netip.Addr
	OuterTrafficClass             uint8
}

// Bounds on what is early: that of the last mobile nodes that a worker has seen a Mobility Header message of, for as long
// as signalling should take at most.
const (
	earlySenders = 8
	earlyPackets = 256 // of each
	earlyTime    = 500 * time.Millisecond
)

// announcements are the senders of the last Mobility Header messages.
type announcements struct {
	list [earlySenders]announcement
	next int
	// final says that the packet in hand has waited already.
	final bool
}

type announcement struct {
	source netip.Addr
	port   uint16
	until  time.Duration
	left   int
}

// announce takes in that a Mobility Header message from source goes to signalling; port is that of the UDP datagram, if it
// came in one.
func (w *Worker) announce(source netip.Addr, port uint16) {
	if !w.engine.options.AwaitBindings {
		return
	}
	a := &w.announced
	a.list[a.next] = announcement{source, port, w.now + earlyTime, earlyPackets}
	a.next = (a.next + 1) % earlySenders
}

// early hands back an inner packet from a care-of address that is not its binding's, if that may be about
// to change.
func (w *Worker) early(p *packet.Packet, b *binding, in PortID, o outer) bool {
	if !w.engine.options.AwaitBindings || w.announced.final || b.Local != o.destination {
		return false
	}
	for i := range w.announced.list {
		a := &w.announced.list[i]
		if a.source == o.source && a.port == o.port && a.left > 0 && w.now < a.until {
			a.left--
			w.result.Early = append(w.result.Early, Early{p, in, o.source, o.destination, o.ecn})
			w.count(DeliveredEarly, 1)
			return true
		}
	}
	return false
}
