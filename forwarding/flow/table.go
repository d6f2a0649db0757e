package flow

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math/bits"
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
	seed   [6]uint64
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

// shard is one part of the flows.
type shard struct {
	buckets atomic.Pointer[buckets]

	mu    sync.Mutex // guards changes of the buckets, the lists, and what Flow says
	flows int
	lists [classes]list

	_ [56]byte // shards do not share cache lines
}

func (s *shard) of(hash uint64) *bucket { return s.buckets.Load().of(hash) }

// NewTable makes an empty table. Times handed to it are those since epoch.
func NewTable(c Config, epoch time.Time) *Table {
	if c.MaxFlows <= 0 {
		c.MaxFlows = defaultMaxFlows
	}
	c.Timeouts.setDefaults()
	c.Hold.setDefaults()
	t := &Table{config: c, epoch: epoch}
	var seed [len(t.seed) * 8]byte
	rand.Read(seed[:]) // never fails: crypto/rand ends the program instead
	for i := range t.seed {
		t.seed[i] = binary.LittleEndian.Uint64(seed[i*8:])
	}
	t.uses.of = map[netip.Addr]*use{}
	for i := range t.sharding {
		t.sharding[i].buckets.Store(&buckets{{}, {}})
	}
	return t
}

// hash is keyed multiplication, as that of Go's maps is where there are no AES instructions: in line it takes a third of the
// time of a call to those.
func (t *Table) hash(k *Tuple) uint64 {
	local := mix(k.localHigh^t.seed[0], k.localLow^t.seed[1])
	remote := mix(k.remoteHigh^t.seed[2], k.remoteLow^t.seed[3])
	// Ports that follow each other, as many are, would go to the shards in turns without the last step.
	return mix(mix(local^(uint64(k.ports)<<32|uint64(k.protocol)), remote^t.seed[4]), t.seed[5])
}

func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// shard is that of a hash, or of a flow's number.
func (t *Table) shard(hash uint64) *shard { return &t.sharding[hash%shards] }

// Lookup finds a flow; nil if there is none.
func (t *Table) Lookup(k *Tuple) *Flow {
	hash := t.hash(k)
	return t.shard(hash).of(hash).find(tagOf(hash), k)
}

// Find finds a flow by its number; nil if there is none.
func (t *Table) Find(number uint64) (found *Flow) {
	s := t.shard(number)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(number).each(func(_ uint64, f *Flow) {
		if f.number == number {
			found = f
		}
	})
	return found
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
	if old := s.of(hash).find(tagOf(hash), &o.Tuple); old != nil {
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
	f = &Flow{tuple: o.Tuple, number: t.serial.Add(1)<<hashBits | hash&hashMask, initiator: o.Initiator, created: tick(now)}
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

func (s *shard) insert(hash uint64, f *Flow) {
	if b := *s.buckets.Load(); s.flows >= meanFill*len(b) && len(b) < maxBuckets {
		more := b.doubled()
		s.buckets.Store(&more)
	}
	s.flows++
	s.of(hash).put(tagOf(hash), f)
}

// remove takes a flow out; the lock of its shard is held.
func (t *Table) remove(s *shard, f *Flow, why Event, now time.Duration) {
	s.of(f.number).take(f)
	s.flows--
	t.count.Add(-1)
	s.lists[f.class].take(f)
	t.members[f.class].Add(-1)
	f.dead = true
	f.flags.Or(removed)
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
	var segment []byte
	if f.tuple.protocol == ip6.TCP && !h.Fragmented && h.UpperOffset+tcpHeaderLength <= len(b) {
		segment = b[h.UpperOffset:]
	}
	t.saw(tick(now), f, outbound, len(b), segment)
}

// SawPlain is Saw for a packet that is plain: see Ahead.
func (t *Table) SawPlain(now time.Duration, f *Flow, outbound bool, b []byte) {
	var segment []byte
	if f.tuple.protocol == ip6.TCP {
		segment = b[ip6.HeaderLength:]
	}
	t.saw(tick(now), f, outbound, len(b), segment)
}

func (t *Table) saw(now uint32, f *Flow, outbound bool, length int, segment []byte) {
	way := 1
	if outbound {
		way = 0
	}
	f.packets[way].Add(1)
	f.octets[way].Add(uint64(length))
	if f.seen.Load() != now {
		f.seen.Store(now)
	}
	flags := uint32(sawOut << way)
	if segment != nil {
		flags |= f.segment(segment, way)
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
	s := t.shard(f.number)
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
