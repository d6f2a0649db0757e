// Package flow is a mobile node's table of service flows: which address each uses, what waits for that to be decided, and
// how far its TCP connection has come.
//
// A worker looks a flow up, without a lock, for every packet. What a worker changes of a flow is atomic. Insertion,
// removal, growth, the hold queues and changes of verdicts are under the lock of the flow's shard; the locks of addresses in
// use and of news are taken inside it, each for itself. Nothing here takes two shards' locks at once.
//
// The table hashes with a secret key, so that nobody can choose flows that collide. It has a limit; when it is full, the
// oldest idle flow makes room, one that has not got beyond its beginning before any other. Flows that were established and
// are not idle are never put out for a new one: see reserve.
//
// Times are those since the moment that the table was made with, and coarse where a flow keeps them: see Tick.
package flow

import (
	"net/netip"
	"sync/atomic"
	"time"

	"kedge/forwarding/ip6"
)

// Tick is the unit of the times in a flow: 1/16 of a second.
const Tick = time.Second / 16

// State says what becomes of a flow's packets.
type State uint8

// The states of a flow.
const (
	// Holding: its packets wait for the choice of its address.
	Holding State = iota
	// InUse: they leave with the verdict's address as their source.
	InUse
	// Terminated: they are dropped.
	Terminated
)

var stateNames = [...]string{"holding", "in-use", "terminated"}

func (s State) String() string { return stateNames[s] }

// Verdict is what was decided about a flow. It is immutable, and flows share it.
type Verdict struct {
	State State
	// Address is the flow's source as the correspondent sees it.
	Address netip.Addr
	// Translate says that Address is not the one that the host uses.
	Translate bool
	// Decision numbers the explanation that its maker keeps; 0 if there is none.
	Decision uint32
}

// Initiator says who began a flow.
type Initiator uint8

// Who may have begun a flow. UnknownInitiator means that its beginning was not seen.
const (
	UnknownInitiator Initiator = iota
	MobileNode
	Correspondent
)

var initiatorNames = [...]string{"unknown", "mobile-node", "correspondent"}

func (i Initiator) String() string { return initiatorNames[i] }

// What a flow remembers of its packets, each direction at its own bit: shifted by one for what comes in.
const (
	sawOut = 1 << (2 * iota)
	synOut
	ackOut // an acknowledgement without SYN
	finOut
	knownOut // the sequence number that its receiver expects next is known
	resetOut
	inward = 1 // the shift
	// removed says that the flow is not in the table any more.
	removed = 1 << 12
)

// Flow is an entry of a Table. What every packet touches comes first, in 96 octets: those are two cache lines, since the
// allocator puts entries at multiples of 32.
type Flow struct {
	tuple   Tuple
	verdict atomic.Pointer[Verdict]
	seen    atomic.Uint32
	flags   atomic.Uint32
	cleared atomic.Uint32
	// profile and rule are -1 if there is none, and profile is userUnknown while it takes the user to tell.
	profile atomic.Int32
	// Of what the host has sent [0] and what it got [1].
	packets, octets [2]atomic.Uint64

	rule atomic.Int32
	// expects are the sequence numbers that the TCP of the correspondent [0] and of the host [1] expect next.
	expects [2]atomic.Uint32
	// number has a serial number above 24 bits of the hash, by which the flow is found again.
	number    uint64
	created   uint32
	initiator Initiator

	// The shard's lock guards the rest. listed is when the flow was last put at the end of its list.
	class        class
	dead         bool
	listed       uint32
	hold         *queue
	older, newer *Flow
}

const userUnknown = -2

// Number identifies the flow until it has gone, and no other one ever.
func (f *Flow) Number() uint64 { return f.number }

// Verdict is what is decided about the flow now.
func (f *Flow) Verdict() *Verdict { return f.verdict.Load() }

// Key is what identifies it to the host.
func (f *Flow) Key() Key { return f.tuple.Key() }

// Tuple is the key as the table keeps it.
func (f *Flow) Tuple() *Tuple { return &f.tuple }

// Finished reports whether a new connection may take the place of the flow.
func (f *Flow) Finished() bool {
	return f.verdict.Load().State == Terminated || f.tuple.protocol == ip6.TCP && f.closed(f.flags.Load())
}

// Clear notes that all that a worker looks into its tables for is as it should be for the flow's two addresses, with the state
// of those tables that has this number. Cleared reports whether it is so noted. Only the low 32 bits count: a flow would
// have to be without a packet for so many changes that its time is up long before.
func (f *Flow) Clear(state uint64) {
	if !f.Cleared(state) {
		f.cleared.Store(uint32(state))
	}
}

// Cleared says what Clear has noted.
func (f *Flow) Cleared(state uint64) bool { return f.cleared.Load() == uint32(state) }

// class is a flow's standing when the table is full: the lowest goes first.
type class uint8

const (
	// embryonic flows have packets in one direction only, or a TCP connection that is not open yet or not any more.
	embryonic class = iota
	// answered flows have packets in both directions.
	answered
	// connected flows are established TCP connections.
	connected
	classes
)

func (f *Flow) classify(flags uint32) class {
	switch {
	case f.tuple.protocol == ip6.TCP:
		if f.tcpState(flags) == TCPEstablished {
			return connected
		}
	case flags&sawOut != 0 && flags&(sawOut<<inward) != 0:
		return answered
	}
	return embryonic
}
