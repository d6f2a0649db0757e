package flow

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"kedge/forwarding/ip6"
)

// Config bounds a Table. Zero values mean the defaults.
type Config struct {
	// MaxFlows is the most flows that it keeps; 0 means 1,048,576.
	MaxFlows int
	Timeouts Timeouts
	Hold     HoldLimits
}

const defaultMaxFlows = 1 << 20

// Errors of a Table.
var (
	// ErrFull means that no flow could make room for another one.
	ErrFull = errors.New("flow table full")
	// ErrRole means that an address serves translation where the host was to use it, or the other way round.
	ErrRole = errors.New("address is in another use")
	// ErrExists means that there is such a flow already.
	ErrExists = errors.New("flow exists")
)

const (
	shardBits = 8
	shards    = 1 << shardBits
	// hashBits of a flow's number are those of its hash: enough for 2^16 buckets in each shard.
	hashBits   = 24
	hashMask   = 1<<hashBits - 1
	maxBuckets = 1 << (hashBits - shardBits)
)

// Table holds flows. Its methods are safe for concurrent use.
type Table struct {
	config Config
	seed   maphash.Seed
	epoch  time.Time
	serial atomic.Uint64
	count  atomic.Int64
	// members counts the flows of each class.
	members [classes]atomic.Int64
	// hand is the shard where room was last looked for.
	hand     atomic.Uint32
	held     atomic.Int64
	stats    [statCount]atomic.Uint64
	uses     uses
	news     news
	sweeper  sweeper
	sharding [shards]shard
}

// shard is one part of the flows. Lookups go without its lock: they read generation before and after, which is odd while
// the buckets are being changed for more.
type shard struct {
	buckets    atomic.Pointer[buckets]
	generation atomic.Uint32

	mu    sync.Mutex // guards changes of the buckets, the lists, and what Flow says
	flows int
	lists [classes]list

	_ [32]byte // shards do not share cache lines
}

type buckets struct {
	mask  uint32
	chain []atomic.Pointer[Flow]
}

func newBuckets(n int) *buckets {
	return &buckets{uint32(n - 1), make([]atomic.Pointer[Flow], n)}
}

func (b *buckets) of(hash uint32) *atomic.Pointer[Flow] { return &b.chain[hash>>shardBits&b.mask] }

// NewTable makes an empty table. Times handed to it are those since epoch.
func NewTable(c Config, epoch time.Time) *Table {
	if c.MaxFlows <= 0 {
		c.MaxFlows = defaultMaxFlows
	}
	c.Timeouts.setDefaults()
	c.Hold.setDefaults()
	t := &Table{config: c, seed: maphash.MakeSeed(), epoch: epoch}
	t.uses.of = map[netip.Addr]*use{}
	for i := range t.sharding {
		t.sharding[i].buckets.Store(newBuckets(8))
	}
	return t
}

func (t *Table) hash(k *Tuple) uint32 { return uint32(maphash.Comparable(t.seed, *k)) & hashMask }

func (t *Table) shard(hash uint32) *shard { return &t.sharding[hash%shards] }

// Lookup finds a flow; nil if there is none.
func (t *Table) Lookup(k *Tuple) *Flow {
	hash := t.hash(k)
	s := t.shard(hash)
	before := s.generation.Load()
	if f := s.find(hash, k); f != nil {
		return f
	}
	if before&1 == 0 && s.generation.Load() == before {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(hash, k)
}

func (s *shard) find(hash uint32, k *Tuple) *Flow {
	for f := s.buckets.Load().of(hash).Load(); f != nil; f = f.next.Load() {
		if f.tuple == *k {
			return f
		}
	}
	return nil
}

// Find finds a flow by its number; nil if there is none.
func (t *Table) Find(number uint64) *Flow {
	hash := uint32(number & hashMask)
	s := t.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := s.buckets.Load().of(hash).Load(); f != nil; f = f.next.Load() {
		if f.number == number {
			return f
		}
	}
	return nil
}

// Len is the number of flows.
func (t *Table) Len() int { return int(t.count.Load()) }

// Opening says how a new flow begins. A nil Verdict means that it stays with its local address. Rule and Profile are -1 if
// there is none; with NeedsUser the flow is held until Classified tells the profile. Opens says that the packet begins a
// connection, which may take the place of a finished one.
type Opening struct {
	Tuple         Tuple
	Verdict       *Verdict
	Profile, Rule int
	Initiator     Initiator
	Opens         bool
	NeedsUser     bool
}

// Held is the verdict of flows that wait.
var Held = &Verdict{State: Holding}

// Insert makes a flow, unless there is one already, which it then returns. It fails with ErrFull or ErrRole.
func (t *Table) Insert(now time.Duration, o *Opening) (f *Flow, created bool, err error) {
	if !t.reserve(now) {
		t.stats[Refused].Add(1)
		return nil, false, ErrFull
	}
	hash := t.hash(&o.Tuple)
	s := t.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.find(hash, &o.Tuple); old != nil {
		if !o.Opens || !old.Finished() {
			t.count.Add(-1)
			return old, false, nil
		}
		t.remove(s, old, Ended, now)
	}
	v := o.Verdict
	if v == nil || v.State == InUse {
		if v, err = t.uses.acquire(o.Tuple.Local(), v); err != nil {
			t.count.Add(-1)
			return nil, false, err
		}
	}
	f = &Flow{tuple: o.Tuple, number: t.serial.Add(1)<<hashBits | uint64(hash), initiator: o.Initiator, created: tick(now)}
	f.verdict.Store(v)
	f.seen.Store(f.created)
	f.listed = f.created
	f.rule.Store(int32(o.Rule))
	f.profile.Store(int32(o.Profile))
	if v.State == Holding {
		f.hold = new(queue)
		if o.NeedsUser {
			f.profile.Store(userUnknown)
		}
	}
	s.insert(hash, f)
	s.lists[embryonic].push(f)
	t.members[embryonic].Add(1)
	if v.State == Holding {
		t.news.hold(f)
	} else {
		t.tell(Created, f, now)
	}
	return f, true, nil
}

func (s *shard) insert(hash uint32, f *Flow) {
	b := s.buckets.Load()
	if s.flows++; s.flows > len(b.chain) && len(b.chain) < maxBuckets {
		s.grow()
		b = s.buckets.Load()
	}
	head := b.of(hash)
	f.next.Store(head.Load())
	head.Store(f)
}

// grow doubles the buckets. A lookup under way may be led from the chain that it follows into another one, to whose end it
// comes; it finds the generation changed then.
func (s *shard) grow() {
	from := s.buckets.Load()
	to := newBuckets(2 * len(from.chain))
	s.generation.Add(1)
	for i := range from.chain {
		for f := from.chain[i].Load(); f != nil; {
			next := f.next.Load()
			head := to.of(uint32(f.number & hashMask))
			f.next.Store(head.Load())
			head.Store(f)
			f = next
		}
	}
	s.buckets.Store(to)
	s.generation.Add(1)
}

// remove takes a flow out; the lock of its shard is held. A lookup that stands on it goes on to those behind it.
func (t *Table) remove(s *shard, f *Flow, why Event, now time.Duration) {
	at := s.buckets.Load().of(uint32(f.number & hashMask))
	for at.Load() != f {
		at = &at.Load().next
	}
	at.Store(f.next.Load())
	s.flows--
	t.count.Add(-1)
	s.lists[f.class].take(f)
	t.members[f.class].Add(-1)
	f.dead = true
	t.discard(f)
	switch v := f.verdict.Load(); v.State {
	case InUse:
		t.uses.release(v)
	case Terminated:
		return // which was told
	}
	t.tell(why, f, now)
}

// Saw takes a packet of a flow into account: b with header h, from the host if outbound. What TCP segments say that come in
// fragments is passed over.
func (t *Table) Saw(now time.Duration, f *Flow, outbound bool, b []byte, h *ip6.Header) {
	way := 1
	if outbound {
		way = 0
	}
	f.packets[way].Add(1)
	f.octets[way].Add(uint64(len(b)))
	if k := tick(now); f.seen.Load() != k {
		f.seen.Store(k)
	}
	flags := uint32(sawOut << way)
	if f.tuple.protocol == ip6.TCP && !h.Fragmented && h.UpperOffset+tcpHeaderLength <= len(b) {
		flags |= f.segment(b[h.UpperOffset:], way)
	}
	if before := f.flags.Load(); before&flags != flags {
		after := f.flags.Or(flags) | flags
		if f.classify(before) != f.classify(after) {
			t.reclassify(f)
		}
	}
}

// reclassify moves a flow to the list of its class.
func (t *Table) reclassify(f *Flow) {
	s := t.shard(uint32(f.number & hashMask))
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := f.classify(f.flags.Load()); !f.dead && c != f.class {
		s.lists[f.class].take(f)
		t.members[f.class].Add(-1)
		f.class, f.listed = c, f.seen.Load()
		s.lists[c].push(f)
		t.members[c].Add(1)
	}
}

func tick(now time.Duration) uint32 { return uint32(now / Tick) }
