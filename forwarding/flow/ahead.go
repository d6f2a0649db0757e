package flow

import (
	"encoding/binary"
	"net/netip"

	"kedge/forwarding/ip6"
)

// Ahead is what a worker finds out about a packet before its turn comes. The entries of many flows do not fit the
// processor's caches, and waiting for each in turn takes longer than everything else that is done to a packet. A worker
// therefore goes over a batch in steps: Begin reads the packets, Ask the places in the table, Fetch the flows there, and Flow
// finds each when it is its turn. Ask and Fetch wait for nothing in between, so that the processor has the reads of
// many packets under way at the same time.
type Ahead struct {
	tuple Tuple
	hash  uint64
	plain bool
	tags  uint64
	at    *bucket
	found *Flow
}

const (
	ipv6NoExtension = ip6.HeaderLength
	udpHeaderLength = 8
)

// Begin looks at the packet b of the host, and reports whether it is plain: IPv6 and TCP or UDP without anything between
// them, neither cut off nor longer than it says, and no TCP segment that opens or resets a connection. Of others nothing
// is known ahead.
func (a *Ahead) Begin(t *Table, b []byte) bool {
	if a.plain = a.tuple.readPlain(b, true); a.plain {
		a.locate(t)
	}
	return a.plain
}

// BeginInbound is Begin for a packet for the host, where local is its address there.
func (a *Ahead) BeginInbound(t *Table, b []byte, local netip.Addr) bool {
	if a.plain = a.tuple.readPlain(b, false); a.plain {
		a.tuple.SetLocal(local)
		a.locate(t)
	}
	return a.plain
}

// None says that there is nothing to look at.
func (a *Ahead) None() { a.plain = false }

func (a *Ahead) locate(t *Table) {
	a.hash = t.hash(&a.tuple)
	a.at = t.shard(a.hash).of(a.hash)
}

// Plain is what Begin reported.
func (a *Ahead) Plain() bool { return a.plain }

// Ask reads the flow's place in the table.
func (a *Ahead) Ask() {
	if a.plain {
		a.tags = a.at.tags.Load()
	}
}

// Fetch returns something of both cache lines of the flow, the first and the last word, so that they are read.
func (a *Ahead) Fetch() uint64 {
	a.found = nil
	if c := candidates(a.tags, tagOf(a.hash)); a.plain && c != 0 {
		if f := a.at.flows[slotOf(c)].Load(); f != nil {
			a.found = f
			return f.tuple.localHigh + f.octets[1].Load()
		}
	}
	return 0
}

// Flow is the flow of a plain packet, if Fetch found it and it has not been removed since; else nil, and Table.Lookup tells.
func (a *Ahead) Flow() *Flow {
	if f := a.found; f != nil && f.tuple.is(&a.tuple) && f.flags.Load()&removed == 0 {
		return f
	}
	return nil
}

// readPlain is read for plain packets; it reports false for all others.
func (t *Tuple) readPlain(b []byte, outbound bool) bool {
	if len(b) < ipv6NoExtension+udpHeaderLength || b[0]>>4 != 6 || int(binary.BigEndian.Uint16(b[4:]))+ipv6NoExtension != len(b) {
		return false
	}
	switch b[6] {
	case ip6.UDP:
	case ip6.TCP:
		if len(b) < ipv6NoExtension+tcpHeaderLength || b[ipv6NoExtension+13]&(tcpSYN|tcpRST) != 0 {
			return false
		}
	default:
		return false
	}
	t.protocol = uint32(b[6])
	t.place(b, uint32(binary.BigEndian.Uint16(b[40:])), uint32(binary.BigEndian.Uint16(b[42:])), outbound)
	return true
}
