// Package pipe is the link in memory: what is written to one end is read from the other. It is for tests and the simulator.
package pipe

import (
	"sync"
	"time"

	"kedge/netstack"
	"kedge/netstack/packet"
)

// DefaultCapacity is how many packets may wait at an end.
const DefaultCapacity = 1024

// Verdict is what a Hook wants done with a packet.
type Verdict struct {
	// Drop loses the packet.
	Drop bool
	// Delay is how long it is under way. A packet may overtake one with a longer delay.
	Delay time.Duration
}

// Hook looks at a packet that was written and says what becomes of it. It may change the packet, but not keep it. It is
// called by the goroutine that writes, with no lock held, and may be called by several at once if several write.
type Hook func(p *packet.Packet) Verdict

// Link is one end of a pipe. It implements netstack.Link.
type Link struct {
	name     string
	peer     *Link
	features packet.Features
	queue    queue

	mu   sync.Mutex // guards the following
	mtu  int
	hook Hook
}

var _ netstack.Link = (*Link)(nil)

// queue holds packets on their way to the reader of an end, in buffers of its own that are used again.
type queue struct {
	mu      sync.Mutex // guards the following
	ready   sync.Cond  // something is waiting, or the end is closed
	waiting []*packet.Packet
	free    []*packet.Packet
	capacity,
	underway int // packets delayed
	dropped uint64
	closed  bool
}

// New makes a pipe whose packets are at most mtu octets long; longer ones are dropped, but for super-packets. Each end
// takes every offload state and hands it on.
func New(mtu int) (a, b *Link) {
	a, b = newEnd("pipe-a", mtu), newEnd("pipe-b", mtu)
	a.peer, b.peer = b, a
	return a, b
}

func newEnd(name string, mtu int) *Link {
	l := &Link{name: name, mtu: mtu, features: packet.PartialChecksum | packet.SegmentTCP | packet.SegmentUDP}
	l.queue.ready.L, l.queue.capacity = &l.queue.mu, DefaultCapacity
	return l
}

// SetName names the end.
func (l *Link) SetName(name string) { l.name = name }

// SetFeatures says what Features returns from now on; call it before the end is in use. What the pipe hands on does not
// depend on it.
func (l *Link) SetFeatures(f packet.Features) { l.features = f }

// SetMTU changes the MTU of this end.
func (l *Link) SetMTU(mtu int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mtu = mtu
}

// SetHook puts a hook on what is written to this end; nil takes it off.
func (l *Link) SetHook(hook Hook) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = hook
}

// SetCapacity sets how many packets may wait at this end to be read, those under way included.
func (l *Link) SetCapacity(packets int) {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	l.queue.capacity = packets
}

// Dropped is how many packets, written to this end, did not fit the MTU or the other end's capacity.
func (l *Link) Dropped() uint64 {
	l.peer.queue.mu.Lock()
	defer l.peer.queue.mu.Unlock()
	return l.peer.queue.dropped
}

// Name implements netstack.Link.
func (l *Link) Name() string { return l.name }

// MTU implements netstack.Link.
func (l *Link) MTU() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mtu
}

// Features implements netstack.Link.
func (l *Link) Features() packet.Features { return l.features }

// Read implements netstack.Link. A packet that has not enough room in pkts is dropped and counted.
func (l *Link) Read(pkts []*packet.Packet) (int, error) {
	q := &l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for n := 0; ; {
		for len(q.waiting) == 0 && !q.closed {
			q.ready.Wait()
		}
		if q.closed {
			return 0, netstack.ErrClosed
		}
		used := 0
		for _, p := range q.waiting {
			if n == len(pkts) {
				break
			}
			used++
			if pkts[n].CopyFrom(p) {
				n++
			} else {
				q.dropped++
			}
			q.free = append(q.free, p)
		}
		q.waiting = append(q.waiting[:0], q.waiting[used:]...)
		if n > 0 || len(pkts) == 0 {
			return n, nil
		}
	}
}

// Write implements netstack.Link. Dropped packets count as sent: the sender of a wire does not know.
func (l *Link) Write(pkts []*packet.Packet) (int, error) {
	l.mu.Lock()
	mtu, hook := l.mtu, l.hook
	l.mu.Unlock()
	if l.isClosed() {
		return 0, netstack.ErrClosed
	}
	for _, p := range pkts {
		var v Verdict
		if hook != nil {
			v = hook(p)
		}
		if v.Drop {
			continue
		}
		l.peer.queue.put(p, v.Delay, p.Len() > mtu && p.Offload.Segmentation == packet.NotSegmented)
	}
	return len(pkts), nil
}

func (l *Link) isClosed() bool {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return l.queue.closed
}

// put takes a copy of p on its way.
func (q *queue) put(p *packet.Packet, delay time.Duration, long bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if long || len(q.waiting)+q.underway >= q.capacity {
		q.dropped++
		return
	}
	var c *packet.Packet
	if n := len(q.free); n > 0 {
		c, q.free = q.free[n-1], q.free[:n-1]
	}
	if c == nil || !c.CopyFrom(p) {
		c = packet.New(max(p.Len(), packet.SmallLength))
		c.CopyFrom(p)
	}
	if delay <= 0 {
		q.arrive(c)
		return
	}
	q.underway++
	time.AfterFunc(delay, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.underway--
		q.arrive(c)
	})
}

func (q *queue) arrive(p *packet.Packet) {
	q.waiting = append(q.waiting, p)
	q.ready.Signal()
}

// Close implements netstack.Link. The other end stays open: what is written to it is lost.
func (l *Link) Close() error {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	l.queue.closed = true
	l.queue.ready.Broadcast()
	return nil
}
