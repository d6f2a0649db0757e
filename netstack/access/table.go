package access

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"kedge/netstack/ethernet"
	"kedge/netstack/nd"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

// Table is the neighbour discovery of one access link.
type Table struct {
	cfg Config
	// destinations says who gets what is sent to an address, links which host has a link-layer address, own which
	// link-layer addresses are routers'. They are read without a lock.
	destinations index[destination]
	links        index[*host]
	own          index[struct{}]
	wake         chan struct{}

	// mu guards all below, and changes of the indexes.
	mu       sync.Mutex
	now      time.Time
	out      neighbor.Output
	promised time.Time
	mtu      int
	hosts    map[packet.LinkAddress]*host
	queue    queue
	// strangers are the hosts that nobody serves, those heard of longest ago first.
	strangers list.List
	// prefixes are the routers by prefix, claims those by link-local address, owners the hosts by theirs; uses counts the
	// routers with a link-layer address.
	prefixes map[netip.Prefix]*router
	claims   map[netip.Addr][]*router
	owners   map[netip.Addr]*host
	uses     map[packet.LinkAddress]int
	// tokens are how many strangers may be admitted, as of when they were filled up.
	tokens   float64
	filled   time.Time
	counters Counters
}

// destination is between which link-layer addresses a packet travels.
type destination struct{ to, from packet.LinkAddress }

var _ ethernet.AccessTable = (*Table)(nil)

// New makes a table.
func New(cfg Config) *Table {
	cfg.setDefaults()
	t := &Table{
		cfg: cfg, wake: make(chan struct{}, 1), mtu: cfg.MTU,
		hosts: map[packet.LinkAddress]*host{}, prefixes: map[netip.Prefix]*router{},
		claims: map[netip.Addr][]*router{}, owners: map[netip.Addr]*host{}, uses: map[packet.LinkAddress]int{},
	}
	t.destinations = newIndex[destination](4*cfg.MaxHosts, key{t.random(), t.random()})
	t.links = newIndex[*host](cfg.MaxHosts, key{t.random(), t.random()})
	t.own = newIndex[struct{}](4*cfg.MaxHosts, key{t.random(), t.random()})
	return t
}

// LinkAddresses implements ethernet.Neighbors: the host that has the prefix of a next hop, or its link-local address, gets
// the packet from the router with that prefix.
func (t *Table) LinkAddresses(hop netip.Addr) (to, from packet.LinkAddress, known bool) {
	d, known := t.destinations.find(destinationKey(hop))
	return d.to, d.from, known
}

// Owner is the link-layer address of the host that a prefix is served to, which alone may send from it.
func (t *Table) Owner(prefix netip.Prefix) (packet.LinkAddress, bool) {
	if prefix.Bits() != 64 || prefix.Addr().IsLinkLocalUnicast() {
		return packet.LinkAddress{}, false
	}
	d, found := t.destinations.find(destinationKey(prefix.Addr()))
	return d.to, found
}

// Receives implements ethernet.AccessTable.
func (t *Table) Receives(to packet.LinkAddress) bool {
	_, found := t.own.find(linkKey(to))
	return found
}

// Expects implements ethernet.AccessTable: a host that is served, and has just come from elsewhere, goes on sending to the
// router that it used last, of which this node may not have heard yet.
func (t *Table) Expects(to, from packet.LinkAddress) bool {
	if [2]byte(to[:2]) != packet.RouterPrefix {
		return false
	}
	h, known := t.links.find(linkKey(from))
	return known && h.flags.Load()&watchedFlag == 0
}

// Addresses implements ethernet.AccessTable.
func (t *Table) Addresses(most int) []packet.LinkAddress {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]packet.LinkAddress, 0, min(most, len(t.uses)))
	for a := range t.uses {
		if len(all) == most {
			break
		}
		all = append(all, a)
	}
	slices.SortFunc(all, compareLinks)
	return all
}

// Heard implements ethernet.AccessTable. It is false for the first packet of a host that is not known, or that is known but
// not served or not there, and for another after each event Attached.
func (t *Table) Heard(from packet.LinkAddress) bool {
	h, found := t.links.find(linkKey(from))
	if !found {
		return t.ours(from)
	}
	if h.flags.Load()&heardFlag != 0 {
		return true
	}
	before := h.flags.Or(heardFlag)
	return before&heardFlag != 0 || before&watchedFlag == 0
}

// Stranger implements ethernet.AccessTable.
func (t *Table) Stranger(now time.Time, from packet.LinkAddress) neighbor.Output {
	return t.Seen(now, from, Data)
}

// Seen says that a host has shown itself other than by neighbour discovery: by Data, or, as its link layer says, LinkUp.
func (t *Table) Seen(now time.Time, link packet.LinkAddress, cause Cause) neighbor.Output {
	defer t.enter(now)()
	if !t.ours(link) {
		t.sign(link, netip.Addr{}, cause, false)
	}
	return t.finish()
}

// Forget says that a host has left, as its link layer says.
func (t *Table) Forget(now time.Time, link packet.LinkAddress) neighbor.Output {
	defer t.enter(now)()
	if h := t.hosts[link]; h != nil {
		t.depart(h, LinkDown)
	}
	return t.finish()
}

// Carrier says that the interface has lost its carrier, with which all hosts depart, or has it. Then those that are still
// served are asked whether they are there, since they may have noticed nothing.
func (t *Table) Carrier(now time.Time, up bool) neighbor.Output {
	defer t.enter(now)()
	for _, h := range t.sortedHosts() {
		switch {
		case !up:
			t.depart(h, CarrierLost)
		case !h.present:
			h.probes, h.probeAt = 0, now.Add(t.jitter(t.cfg.RetransTimer))
			t.schedule(h)
		}
	}
	return t.finish()
}

// Query asks all hosts of the link for their groups (RFC 3810 section 5.1), by which those show themselves that are there
// already: nothing else has a host speak to a router that it does not know.
func (t *Table) Query(now time.Time) neighbor.Output {
	defer t.enter(now)()
	a := t.cfg.LinkAddress
	b := [16]byte{0xfe, 0x80, 8: a[0] ^ 2, 9: a[1], 10: a[2], 11: 0xff, 12: 0xfe, 13: a[3], 14: a[4], 15: a[5]}
	everybody := packet.LinkAddress{0x33, 0x33, 0, 0, 0, 1}
	t.send(&router{Router: Router{LinkLocal: netip.AddrFrom16(b)}}, nd.AllNodes, &nd.ListenerQuery{
		Version: 2, Group: netip.IPv6Unspecified(), MaximumResponseDelay: queryResponseDelay,
	}, everybody)
	return t.finish()
}

// Handle implements ethernet.Neighbors.
func (t *Table) Handle(now time.Time, b []byte, from packet.LinkAddress) neighbor.Output {
	defer t.enter(now)()
	t.receive(b, from)
	return t.finish()
}

// Resolve implements ethernet.Neighbors. A packet for nobody who is served is undeliverable at once. p stays the caller's.
func (t *Table) Resolve(now time.Time, hop netip.Addr, p *packet.Packet) neighbor.Output {
	defer t.enter(now)()
	q := packet.New(p.Len())
	q.CopyFrom(p)
	if to, from, known := t.LinkAddresses(hop); known {
		t.out.Frames = append(t.out.Frames, neighbor.Frame{Packet: q, To: to, From: from})
	} else {
		t.counters.Undeliverable++
		t.out.Undeliverable = append(t.out.Undeliverable, q)
	}
	return t.finish()
}

// SetMTU changes the MTU that is advertised from now on, in octets; 0 leaves it out.
func (t *Table) SetMTU(mtu int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mtu = mtu
}

// Tick does what is due at now. Calling it early does no harm.
func (t *Table) Tick(now time.Time) neighbor.Output {
	defer t.enter(now)()
	for next := t.queue.next(); !next.IsZero() && !next.After(now); next = t.queue.next() {
		t.run(t.queue[0])
	}
	return t.finish()
}

// Next is when Tick is wanted at the latest; the zero time if never.
func (t *Table) Next() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.promised = t.queue.next()
	return t.promised
}

// Wake has a value when Next may have come nearer.
func (t *Table) Wake() <-chan struct{} { return t.wake }

// Counters are the table's counts up to now.
func (t *Table) Counters() Counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counters
}

// Hosts are those known, by link-layer address.
func (t *Table) Hosts() []Host {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Host
	for _, h := range t.sortedHosts() {
		shown := Host{LinkLayer: h.link, Present: h.present, Addresses: slices.Clone(h.addresses)}
		for _, r := range h.routers {
			shown.Routers = append(shown.Routers, r.Router)
		}
		all = append(all, shown)
	}
	return all
}

func (t *Table) sortedHosts() []*host {
	all := make([]*host, 0, len(t.hosts))
	for _, h := range t.hosts {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b *host) int { return compareLinks(a.link, b.link) })
	return all
}

func compareLinks(a, b packet.LinkAddress) int {
	return bytes.Compare(a[:], b[:])
}

// enter begins a method that has an Output; what it returns ends it.
func (t *Table) enter(now time.Time) (exit func()) {
	t.mu.Lock()
	t.now = now
	return t.mu.Unlock
}

// finish is the Output of the method that enter began.
func (t *Table) finish() neighbor.Output {
	if next := t.queue.next(); !next.IsZero() && (t.promised.IsZero() || next.Before(t.promised)) {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
	out := t.out
	t.out = neighbor.Output{}
	return out
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

// ErrFull is returned, wrapped, when no more hosts can be served.
var ErrFull = errors.New("too many hosts on the access link")

func errHost(link packet.LinkAddress, err error) error {
	return fmt.Errorf("host %x: %w", link[:], err)
}
