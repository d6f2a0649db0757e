package neighbor

import (
	"container/list"
	"net/netip"
	"sync/atomic"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

// state is a neighbour's state (RFC 4861 section 7.3.2).
type state uint8

const (
	removed state = iota
	incomplete
	reachable
	stale
	delay
	probe
)

// neighbor is an entry of the neighbour cache. The first group of fields is read without the table's mutex.
type neighbor struct {
	addr     netip.Addr
	word     atomic.Uint64
	next     atomic.Pointer[neighbor]
	used     atomic.Bool
	nextUsed *neighbor

	state    state
	isRouter bool
	link     packet.LinkAddress
	// solicited is the number of solicitations sent in this state, waited the number of retransmission timers that ran.
	solicited, waited int
	pending           []*packet.Packet
	timer             timer
	// place is where the neighbour is in Table.stale or Table.incomplete.
	place *list.Element
}

// setState puts n in a state with all that goes with being in it. The timers of INCOMPLETE and PROBE are solicit's.
func (t *Table) setState(n *neighbor, s state) {
	t.leaveState(n)
	was := n.state
	n.state = s
	word := packWord(n.link) | wordKnown
	switch s {
	case removed, incomplete:
		word = 0
		if s == incomplete {
			n.place = t.incomplete.PushBack(n)
		}
	case reachable:
		t.timers.set(&n.timer, t.now.Add(t.reachableTime))
		if was != reachable {
			t.out.Events = append(t.out.Events, NeighborReachable{n.addr, n.link})
		}
	case stale:
		word |= wordWatched
		n.place = t.stale.PushBack(n)
	case delay:
		t.timers.set(&n.timer, t.now.Add(DelayFirstProbeTime))
	}
	n.solicited, n.waited = 0, 0
	n.word.Store(word)
}

func (t *Table) leaveState(n *neighbor) {
	t.timers.cancel(&n.timer)
	switch n.state {
	case incomplete:
		t.incomplete.Remove(n.place)
	case stale:
		t.stale.Remove(n.place)
	}
	n.place = nil
}

// expire is what n's timer does.
func (t *Table) expire(n *neighbor) {
	switch n.state {
	case reachable:
		t.setState(n, stale)
	case delay:
		t.setState(n, probe)
		t.solicit(n)
	case incomplete, probe:
		n.waited++
		if n.waited >= MaxMulticastSolicit && n.state == incomplete || n.waited >= MaxUnicastSolicit && n.state == probe {
			t.unreachable(n)
			return
		}
		t.solicit(n)
	}
}

// unreachable forgets n, which did not answer. If it could not even be asked, nothing is known about it.
func (t *Table) unreachable(n *neighbor) {
	if n.solicited > 0 {
		t.out.Events = append(t.out.Events, NeighborUnreachable{n.addr})
	}
	t.out.Undeliverable = append(t.out.Undeliverable, n.pending...)
	t.clearPending(n)
	t.forget(n)
}

// solicit sends n a solicitation, by multicast while its link-layer address is unknown (RFC 4861 section 7.2.2), and
// waits for the answer. Without an address to send from, an INCOMPLETE neighbour waits for one.
func (t *Table) solicit(n *neighbor) {
	src := t.source(pendingSource(n))
	if !src.IsValid() && n.state == probe {
		t.setState(n, stale)
		return
	}
	t.timers.set(&n.timer, t.now.Add(t.retransTimer))
	if !src.IsValid() {
		return
	}
	n.solicited++
	m := &nd.NeighborSolicitation{Target: n.addr, Options: nd.Options{nd.SourceLinkLayerAddress(t.cfg.LinkAddress)}}
	if n.state == incomplete {
		t.multicast(src, nd.SolicitedNode(n.addr), m)
	} else {
		t.send(src, n.addr, m, n.link)
	}
}

// solicitWaiting solicits the neighbours that waited for an address to be solicited from.
func (t *Table) solicitWaiting() {
	for e := t.incomplete.Front(); e != nil; e = e.Next() {
		if n := e.Value.(*neighbor); n.solicited == 0 {
			n.waited = 0
			t.solicit(n)
		}
	}
}

// use is the sending of a packet to n, whose link-layer address is known (RFC 4861 section 7.3.3).
func (t *Table) use(n *neighbor) {
	if n.state == stale {
		t.setState(n, delay)
	}
}

// create makes room for a neighbour and adds it with no state yet; nil if there is no room.
func (t *Table) create(addr netip.Addr) *neighbor {
	if t.neighbors >= t.cfg.MaxNeighbors && !t.evict() {
		t.counters.Refused++
		return nil
	}
	n := &neighbor{addr: addr}
	n.timer.fire = func() { t.expire(n) }
	t.index.insert(n)
	t.neighbors++
	return n
}

// createIncomplete adds a neighbour that is about to be solicited; nil if there is no room.
func (t *Table) createIncomplete(addr netip.Addr) *neighbor {
	if t.incomplete.Len() >= t.cfg.MaxIncomplete {
		t.evictIncomplete()
	}
	n := t.create(addr)
	if n != nil {
		t.setState(n, incomplete)
	}
	return n
}

func (t *Table) evict() bool {
	if e := t.stale.Front(); e != nil {
		t.counters.Evicted++
		t.forget(e.Value.(*neighbor))
		return true
	}
	return t.evictIncomplete()
}

func (t *Table) evictIncomplete() bool {
	e := t.incomplete.Front()
	if e == nil {
		return false
	}
	t.counters.IncompleteDropped++
	t.forget(e.Value.(*neighbor))
	return true
}

func (t *Table) forget(n *neighbor) {
	t.counters.PendingDropped += uint64(len(n.pending))
	t.clearPending(n)
	t.setState(n, removed)
	t.index.remove(n)
	t.neighbors--
}

// enqueue keeps a copy of p until n's link-layer address is known.
func (t *Table) enqueue(n *neighbor, p *packet.Packet) {
	if t.pendingOctets+p.Len() > maxPendingOctets {
		t.counters.PendingDropped++
		return
	}
	if len(n.pending) == MaxPendingPerNeighbor {
		t.counters.PendingDropped++
		t.pendingOctets -= n.pending[0].Len()
		n.pending = append(n.pending[:0], n.pending[1:]...)
	}
	q := packet.New(p.Len())
	q.CopyFrom(p)
	n.pending = append(n.pending, q)
	t.pendingOctets += q.Len()
}

func (t *Table) clearPending(n *neighbor) {
	for _, p := range n.pending {
		t.pendingOctets -= p.Len()
	}
	n.pending = nil
}

// release sends what waited for n's link-layer address.
func (t *Table) release(n *neighbor) {
	if len(n.pending) == 0 {
		return
	}
	for _, p := range n.pending {
		t.out.Frames = append(t.out.Frames, Frame{Packet: p, To: n.link})
	}
	t.clearPending(n)
	t.use(n)
}

// pendingSource is the source of the packet that prompts soliciting n; invalid if there is none.
func pendingSource(n *neighbor) netip.Addr {
	if len(n.pending) == 0 || n.pending[0].Len() < 40 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte(n.pending[0].Bytes()[8:24]))
}

// learn takes the link-layer address that a solicitation or router advertisement gives for its sender (RFC 4861 sections
// 6.2.6, 6.3.4 and 7.2.3).
func (t *Table) learn(addr netip.Addr, link packet.LinkAddress) *neighbor {
	n := t.index.find(addr)
	if !t.plausible(link) || t.addresses[addr] != nil || addr.IsUnspecified() || addr.IsLoopback() {
		return n
	}
	if n == nil {
		if n = t.create(addr); n == nil {
			return nil
		}
	} else if n.state != incomplete && n.link == link {
		return n
	}
	n.link = link
	t.setState(n, stale)
	t.release(n)
	return n
}

// advertised applies a neighbour advertisement to the cache (RFC 4861 section 7.2.5).
func (t *Table) advertised(m *nd.NeighborAdvertisement) {
	n := t.index.find(m.Target)
	if n == nil {
		return
	}
	o, has := nd.Find[nd.TargetLinkLayerAddress](m.Options)
	link := packet.LinkAddress(o)
	if has && !t.plausible(link) || !has && n.state == incomplete {
		return
	}
	differs := has && link != n.link
	switch {
	case n.state == incomplete:
		n.link = link
		if m.Solicited {
			t.setState(n, reachable)
		} else {
			t.setState(n, stale)
		}
	case differs && !m.Override:
		if n.state == reachable {
			t.setState(n, stale)
		}
		return
	default:
		if differs {
			n.link = link
		}
		if m.Solicited {
			t.setState(n, reachable)
		} else if differs {
			t.setState(n, stale)
		}
	}
	if n.isRouter && !m.Router {
		t.out.Events = append(t.out.Events, RouterGone{n.addr})
	}
	n.isRouter = m.Router
	t.release(n)
}

// plausible refuses link-layer addresses that no other node can have.
func (t *Table) plausible(link packet.LinkAddress) bool {
	return link[0]&1 == 0 && link != packet.LinkAddress{} && link != t.cfg.LinkAddress
}
