package neighbor

import (
	"container/list"
	"encoding/binary"
	"io"
	"net/netip"
	"sync"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

// maxPendingOctets bounds all packets that wait for link-layer addresses; super-packets are large.
const maxPendingOctets = 4 << 20

// Table is the neighbour discovery of one interface.
type Table struct {
	cfg   Config
	index index
	used  usedNeighbors
	wake  chan struct{}

	// mu guards all below, and changes of index.
	mu                          sync.Mutex
	now                         time.Time
	out                         Output
	timers                      timers
	promised                    time.Time
	reachableTime, retransTimer time.Duration
	neighbors                   int
	// stale and incomplete list the neighbours in these states, those longest in them first.
	stale, incomplete list.List
	pendingOctets     int
	addresses         map[netip.Addr]*address
	// sources are the addresses that are this node's own, in the order in which they became so.
	sources  []*address
	listener listener
	counters Counters
}

// New makes a table. It listens to the all-nodes group, and as a router to the all-routers group, from the start.
func New(cfg Config) *Table {
	cfg.setDefaults()
	t := &Table{
		cfg:       cfg,
		wake:      make(chan struct{}, 1),
		addresses: map[netip.Addr]*address{},
	}
	t.index = newIndex(cfg.MaxNeighbors, [2]uint64{t.random(), t.random()})
	t.retransTimer = DefaultRetransTimer
	t.setReachableTime(DefaultReachableTime)
	t.initListener()
	return t
}

// Lookup is the link-layer address of a neighbour or of a multicast group. It takes no lock and does not allocate. If it
// is false, the packet goes to Resolve. Looking up a STALE neighbour leads to its being probed (RFC 4861 section 7.3.3).
func (t *Table) Lookup(addr netip.Addr) (packet.LinkAddress, bool) {
	if addr.IsMulticast() {
		return nd.MulticastMAC(addr), true
	}
	n := t.index.find(addr)
	if n == nil {
		return packet.LinkAddress{}, false
	}
	w := n.word.Load()
	if w&wordWatched != 0 && t.used.push(n) {
		t.signal()
	}
	return unpackWord(w), w&wordKnown != 0
}

// LinkAddresses is Lookup for links whose frames may leave with several link-layer addresses: these leave with the
// interface's own, which a zero from stands for.
func (t *Table) LinkAddresses(hop netip.Addr) (to, from packet.LinkAddress, known bool) {
	to, known = t.Lookup(hop)
	return to, packet.LinkAddress{}, known
}

// Resolve sends a copy of p to the neighbour addr, now if its link-layer address is known, else when it has been found
// out. At most MaxPendingPerNeighbor packets wait for a neighbour; the oldest give way. p stays the caller's.
func (t *Table) Resolve(now time.Time, addr netip.Addr, p *packet.Packet) Output {
	defer t.enter(now)()
	if link, known := t.Lookup(addr); known {
		t.out.Frames = append(t.out.Frames, Frame{Packet: clone(p), To: link})
		return t.finish()
	}
	if !unicast(addr) {
		t.out.Undeliverable = append(t.out.Undeliverable, clone(p))
		return t.finish()
	}
	if n := t.index.find(addr); n != nil {
		t.enqueue(n, p)
		return t.finish()
	}
	n := t.createIncomplete(addr)
	if n == nil {
		t.counters.PendingDropped++
		return t.finish()
	}
	t.enqueue(n, p)
	t.solicit(n)
	return t.finish()
}

// Handle takes an IPv6 packet for which nd.Is holds and the link-layer address that it came from.
func (t *Table) Handle(now time.Time, b []byte, from packet.LinkAddress) Output {
	defer t.enter(now)()
	t.receive(b, from)
	return t.finish()
}

// Confirm is the upper layers' advice that packets sent to addr lately arrived (RFC 4861 section 7.3.1).
func (t *Table) Confirm(now time.Time, addr netip.Addr) Output {
	defer t.enter(now)()
	if n := t.index.find(addr); n != nil && n.state != incomplete {
		t.setState(n, reachable)
	}
	return t.finish()
}

// Flush forgets all neighbours and what waited for them, as when the interface was connected to another link.
func (t *Table) Flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.index.buckets {
		for n := t.index.buckets[i].Load(); n != nil; n = t.index.buckets[i].Load() {
			t.forget(n)
		}
	}
}

// AddAddress begins to answer for addr. If it is held already, its kind changes; if it is being probed and kind is not
// Optimistic, that ends without an event. An Optimistic address is solicited at once.
func (t *Table) AddAddress(now time.Time, addr netip.Addr, kind Kind) Output {
	defer t.enter(now)()
	if !unicast(addr) {
		return t.finish()
	}
	if a := t.addresses[addr]; a != nil && a.kind == kind {
		return t.finish()
	}
	if a := t.setKind(addr, kind); kind == Optimistic {
		t.detect(a)
	} else {
		t.endDetection(a)
	}
	return t.finish()
}

// RemoveAddress stops answering for addr, and ends a Probe of it without an event.
func (t *Table) RemoveAddress(now time.Time, addr netip.Addr) Output {
	defer t.enter(now)()
	if a := t.addresses[addr]; a != nil {
		t.dropAddress(a)
	}
	return t.finish()
}

// Announce multicasts an unsolicited advertisement for an address that is held, with the Override flag unless it is
// Optimistic, MaxNeighborAdvertisement times in all, RetransTimer apart (RFC 4861 section 7.2.6). While that goes on, a
// call only begins the count anew.
func (t *Table) Announce(now time.Time, addr netip.Addr) Output {
	defer t.enter(now)()
	a := t.addresses[addr]
	if a == nil || a.kind == tentative {
		return t.finish()
	}
	if a.announcement != nil {
		a.announcement.left = MaxNeighborAdvertisement
		return t.finish()
	}
	a.announcement = &announcement{left: MaxNeighborAdvertisement}
	a.announcement.timer.fire = func() { t.announce(a) }
	t.announce(a)
	return t.finish()
}

// Probe runs duplicate address detection (RFC 4862 section 5.4) for an address that is not held; an event Unique or
// Duplicate follows. For one that is held and not Optimistic the event Unique comes at once.
func (t *Table) Probe(now time.Time, addr netip.Addr) Output {
	defer t.enter(now)()
	if !unicast(addr) {
		return t.finish()
	}
	a := t.addresses[addr]
	if a == nil {
		a = t.setKind(addr, tentative)
	}
	if a.kind != tentative && a.kind != Optimistic {
		t.out.Events = append(t.out.Events, Unique{addr})
	} else {
		t.detect(a)
	}
	return t.finish()
}

// Tick does what is due at now. Calling it early does no harm.
func (t *Table) Tick(now time.Time) Output {
	defer t.enter(now)()
	t.used.take(t.use)
	for tm := t.timers.due(now); tm != nil; tm = t.timers.due(now) {
		tm.fire()
	}
	return t.finish()
}

// Next is when Tick is wanted at the latest; the zero time if never. A time in the past means at once.
func (t *Table) Next() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.promised = t.timers.next()
	if t.used.head.Load() != nil {
		t.promised = t.now
	}
	return t.promised
}

// Wake has a value when Next may have come nearer.
func (t *Table) Wake() <-chan struct{} { return t.wake }

// Groups are the multicast groups that the interface must receive, those of the events Joined less those of Left.
func (t *Table) Groups() []netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]netip.Addr{nd.AllNodes}, sorted(t.listener.members)...)
}

// SetTimers sets the reachable time and the retransmission timer, as router advertisements may (RFC 4861 section 6.3.4).
// Zero or less leaves one as it is; both are kept within 10 ms and 1 h.
func (t *Table) SetTimers(reachable, retrans time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const least, most = 10 * time.Millisecond, time.Hour
	if reachable > 0 {
		t.setReachableTime(min(max(reachable, least), most))
	}
	if retrans > 0 {
		t.retransTimer = min(max(retrans, least), most)
	}
}

// Counters are the table's counts up to now.
func (t *Table) Counters() Counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counters
}

// enter begins a method that has an Output; what it returns ends it.
func (t *Table) enter(now time.Time) (exit func()) {
	t.mu.Lock()
	t.now = now
	return t.mu.Unlock
}

// finish is the Output of the method that enter began.
func (t *Table) finish() Output {
	if next := t.timers.next(); !next.IsZero() && (t.promised.IsZero() || next.Before(t.promised)) {
		t.signal()
	}
	out := t.out
	t.out = Output{}
	return out
}

func (t *Table) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *Table) multicast(src, group netip.Addr, m nd.Message) {
	t.send(src, group, m, nd.MulticastMAC(group))
}

func (t *Table) send(src, dst netip.Addr, m nd.Message, to packet.LinkAddress) {
	b, err := nd.Append(nil, src, dst, m)
	if err != nil {
		return // no message that the table makes can fail
	}
	p := packet.New(len(b))
	p.Set(b)
	t.out.Frames = append(t.out.Frames, Frame{Packet: p, To: to})
}

func (t *Table) random() uint64 {
	var b [8]byte
	_, _ = io.ReadFull(t.cfg.Random, b[:]) // jitter is not worth failing for
	return binary.BigEndian.Uint64(b[:])
}

// jitter is a random time from 0 to most.
func (t *Table) jitter(most time.Duration) time.Duration {
	return time.Duration(float64(most) * float64(t.random()) / (1 << 64))
}

// setReachableTime sets a random time around base (RFC 4861 section 6.3.2), so that neighbours are not all probed at once.
func (t *Table) setReachableTime(base time.Duration) {
	t.reachableTime = base/2 + t.jitter(base)
}

func clone(p *packet.Packet) *packet.Packet {
	q := packet.New(p.Len())
	q.CopyFrom(p)
	return q
}

// unicast reports whether addr can be an address of a node on the link.
func unicast(addr netip.Addr) bool {
	return addr.Is6() && !addr.IsMulticast() && !addr.IsUnspecified() && !addr.IsLoopback()
}
