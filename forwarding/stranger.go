package forwarding

import (
	"net/netip"
	"time"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// Stranger is the sender of data on an access port that came from an address which no prefix attached there is for, or
// another mobile node's is: it may have attached unnoticed. It is reported once in a while as long as it goes on.
type Stranger struct {
	Port       PortID
	LinkSource packet.LinkAddress
	Source     netip.Addr
}

const (
	// strangerInterval is how often one link-layer address is reported at most, and strangerSlots how many are told apart,
	// a power of two; others share a turn. Both together bound the reports of a worker to 256 a second.
	strangerInterval = time.Second
	strangerSlots    = 256
	// maxStrangers bounds the reports of a batch.
	maxStrangers = 16
)

// strangers holds the time from which on an address may be reported again.
type strangers [strangerSlots]time.Duration

// stranger reports the sender of a packet, unless it has just been.
func (w *Worker) stranger(p *packet.Packet, h *ip6.Header, in PortID) {
	if len(w.result.Strangers) == maxStrangers {
		return
	}
	a := p.Neighbor
	high := uint64(a[0])<<16 | uint64(a[1])<<8 | uint64(a[2]) | uint64(in)<<24
	low := uint64(a[3])<<16 | uint64(a[4])<<8 | uint64(a[5])
	next := &w.strangers[mix(high^w.engine.flowSeed[0], low^w.engine.flowSeed[1])%strangerSlots]
	// A time further ahead than it can get is from before the clock went back.
	if w.now < *next && *next-w.now <= strangerInterval {
		return
	}
	*next = w.now + strangerInterval
	w.result.Strangers = append(w.result.Strangers, Stranger{Port: in, LinkSource: a, Source: h.Source})
}
