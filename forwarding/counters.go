package forwarding

import "sync/atomic"

// Counter names one thing that a worker counts: an action, or a reason to drop a packet. Each packet that ends here is
// counted under exactly one reason.
type Counter uint8

// The counters. Those from the first drop reason on count packets that went no further.
const (
	Received Counter = iota // packets handed to Process, Output and Reassembled
	Sent                    // packets handed to ports
	Encapsulated
	EncapsulatedOctets // inner octets
	Decapsulated
	DecapsulatedOctets // inner octets
	Native             // packets of a mobile node at home, sent as they are
	Routed             // own packets, those out of tunnels, and those of attached mobile nodes, that follow a route
	DeliveredHost      // to the gVisor host
	DeliveredSignal
	DeliveredNeighbor
	DeliveredEarly   // tunnel packets that signalling is asked about first
	SplitSegments    // segments made of super-packets
	OuterFragments   // fragments made of tunnel packets
	SegmentSizeClamp // TCP maximum segment sizes lowered
	ErrorsSent       // ICMPv6 errors made
	ErrorsLimited    // ICMPv6 errors not made because of their rate
	ErrorsRelayed    // ICMPv6 errors out of tunnels passed on to the inner source
	PathMTULearned   // Packet Too Big messages about tunnel packets
	CongestionMarked // inner packets marked Congestion Experienced out of the outer header (RFC 6040)
	HeldPackets      // packets of new flows that wait for the choice of an address
	TranslatedOut    // packets whose source became a Distributed Home Address
	TranslatedIn     // packets whose destination was one
	ResetsSent       // TCP resets that end flows
	// Packets that go, or came, past the home agent (RFC 6275 sections 9.3 and 11.3).
	RouteOptimizedSent
	RouteOptimizedReceived

	DropNotIPv6
	DropMalformed      // truncated, or a broken extension header
	DropTooManyHeaders // more extension headers or options than are looked at
	DropBogon          // impossible source or destination
	DropLinkLocal      // link-local address where it cannot go on
	DropScope          // link-local source, wider destination
	DropMulticast      // multicast that nobody here listens to
	MulticastRefused   // multicast that would have to cross a tunnel
	DropNotOurs        // unicast that is neither for this node nor for a binding
	DropAtHome         // for the mobile node at home, whose host's kernel takes the frame itself
	DropNotTunneled    // for an address of this mobile node, which is away, or of one attached here, but not in its tunnel
	DropGroupFrame     // to be forwarded, but sent by link-layer multicast
	DropHopLimit
	DropTooBig
	DropNoRoute
	DropNoPort         // route or tunnel by a port that is not there
	DropNoBinding      // tunnelled, but no binding for the inner source or destination
	DropOuterSource    // binding with another care-of address or home agent
	DropOwnSource      // from elsewhere, with a source address of this node's
	DropCongestion     // outer Congestion Experienced over an inner packet without ECN (RFC 6040 section 4.2)
	DropNested         // too many tunnels in each other, or a loop of tunnels
	DropLoop           // tunnel packet to this node itself, or the same as what it carries
	DropUnbound        // from the host, with a source that no binding is for
	DropNeighbor       // neighbour discovery with a hop limit below 255, bad checksum or extension, or from the host
	DropChecksum       // ICMPv6 message for this node with a bad checksum
	DropErrorUnrelated // ICMPv6 error about a tunnel packet that no current binding would have sent
	DropFragment       // fragment with a Home Address option or type 2 routing header
	DropScratch        // more output from one batch than a worker has buffers for
	DropOffload        // offload state that does not fit the packet
	DropNoNeighbor     // the next hop does not answer
	DropComplaint      // Parameter Problem of the host's kernel about a Mobility Header for its home address
	DropConsumed       // ICMPv6 error about a tunnel packet, dealt with
	DropHoldFull       // of a flow that waits, beyond what may wait
	DropFlowUnknown    // to a Distributed Home Address for translation, of no flow that uses it
	DropFlowElsewhere  // to a home address, of a flow that uses a Distributed Home Address
	DropNotTranslated  // of a translated flow, but not to be translated
	DropTerminated     // late packet of a flow that was ended
	DropNotOptimized   // type 2 routing header from where no route optimisation is set, or to an address that is not held
	DropNotAttached    // on an access port, with a source that no prefix attached there is for
	DropLinkSource     // on an access port, with a source that is attached there with another link-layer address

	counterCount
)

var counterNames = [counterCount]string{
	"received", "sent", "encapsulated", "encapsulated-octets", "decapsulated", "decapsulated-octets", "native", "routed",
	"delivered-host", "delivered-signal", "delivered-neighbor", "delivered-early", "split-segments", "outer-fragments", "segment-size-clamp",
	"errors-sent", "errors-limited", "errors-relayed", "path-mtu-learned", "congestion-marked",
	"held-packets", "translated-out", "translated-in", "resets-sent", "route-optimized-sent", "route-optimized-received",
	"drop-not-ipv6", "drop-malformed", "drop-too-many-headers", "drop-bogon", "drop-link-local", "drop-scope",
	"drop-multicast", "drop-multicast-refused", "drop-not-ours", "drop-at-home", "drop-not-tunneled", "drop-group-frame",
	"drop-hop-limit", "drop-too-big", "drop-no-route", "drop-no-port", "drop-no-binding", "drop-outer-source",
	"drop-own-source", "drop-congestion", "drop-nested", "drop-loop", "drop-unbound", "drop-neighbor", "drop-checksum",
	"drop-error-unrelated", "drop-fragment", "drop-scratch", "drop-offload", "drop-no-neighbor", "drop-complaint", "drop-consumed",
	"drop-hold-full", "drop-flow-unknown", "drop-flow-elsewhere", "drop-not-translated", "drop-terminated",
	"drop-not-optimized", "drop-not-attached", "drop-link-source",
}

// String is the counter's name in the control API; it stays.
func (c Counter) String() string { return counterNames[c] }

// IsDrop reports whether the counter is a reason to drop packets.
func (c Counter) IsDrop() bool { return c >= DropNotIPv6 && c < counterCount }

// Counters holds a value for each Counter.
type Counters [counterCount]uint64

// Dropped is the sum over all drop reasons but DropConsumed, DropComplaint, DropAtHome and DropTerminated, which are as they
// should be.
func (c *Counters) Dropped() (n uint64) {
	for i := DropNotIPv6; i < counterCount; i++ {
		if i != DropConsumed && i != DropComplaint && i != DropAtHome && i != DropTerminated {
			n += c[i]
		}
	}
	return n
}

// tally is a worker's counters: plain during a batch, published at its end. touched has a bit for each counter that
// the batch changed, so that a small batch pays for what it did only.
type tally struct {
	touched   [2]uint64
	now       [counterCount]uint64
	published [counterCount]atomic.Uint64
}

var _ [128 - int(counterCount)]struct{} // touched has a bit for each

func (t *tally) add(c Counter, n int) {
	t.now[c] += uint64(n)
	t.touched[c>>6] |= 1 << (c & 63)
}

// Counters sums the counters of all workers, those closed included.
func (e *Engine) Counters() Counters {
	e.mu.Lock()
	defer e.mu.Unlock()
	sum := Counters(e.retired)
	for _, w := range e.workers {
		for i := range sum {
			sum[i] += w.tally.published[i].Load()
		}
	}
	return sum
}
