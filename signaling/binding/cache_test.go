package binding

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	epoch   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	compare = gocmp.Options{
		gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		gocmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmpopts.EquateEmpty(),
	}
)

func home(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}), 128)
}

func careOf(n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 4: 0xff, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
}

func TestRFC6275_9_5_1_SequenceNumbersAreComparedModulo65536(t *testing.T) {
	// "if the last received sequence number was 15, then messages with sequence numbers 0 through 15, as well as 32783
	// through 65535, would be considered less than or equal."
	for n := range 1 << 16 {
		want := n > 15 && n < 32783
		if got := Newer(uint16(n), 15); got != want {
			t.Fatalf("Newer(%d, 15) = %v", n, got)
		}
	}
	if !Newer(0, 65535) || Newer(65535, 0) || Newer(7, 7) {
		t.Error("the counter does not wrap")
	}
}

func TestRefreshLead(t *testing.T) {
	for lifetime, want := range map[time.Duration]time.Duration{
		4 * time.Second:    time.Second,
		8 * time.Second:    2 * time.Second,
		60 * time.Second:   2 * time.Second,
		160 * time.Second:  5 * time.Second,
		3600 * time.Second: 10 * time.Second,
		MaxLifetime:        10 * time.Second,
	} {
		if got := RefreshLead(lifetime); got != want {
			t.Errorf("RefreshLead(%v) = %v, want %v", lifetime, got, want)
		}
	}
}

// model is the cache as one would write it without a thought to speed.
type model struct {
	limits   Limits
	bindings map[netip.Prefix]Binding
}

func (m *model) put(b Binding) error {
	old, exists := m.bindings[b.Home]
	if !exists && m.limits.Total > 0 && len(m.bindings) >= m.limits.Total {
		return ErrFull
	}
	had := exists && old.Owner == b.Owner && old.Flags&Invalid == 0
	if b.Owner != "" && b.Flags&Invalid == 0 && !had && m.limits.PerOwner > 0 && m.ownerLen(b.Owner) >= m.limits.PerOwner {
		return ErrOwnerFull
	}
	m.bindings[b.Home] = b
	return nil
}

func (m *model) ownerLen(owner string) (n int) {
	for _, b := range m.bindings {
		if b.Owner == owner && b.Flags&Invalid == 0 {
			n++
		}
	}
	return n
}

func (m *model) ownerEntries(owner string) (n int) {
	for _, b := range m.bindings {
		if b.Owner == owner {
			n++
		}
	}
	return n
}

func (m *model) next() (next time.Time) {
	for _, b := range m.bindings {
		if next.IsZero() || b.Due().Before(next) {
			next = b.Due()
		}
	}
	return next
}

// fakeStore is a Store in memory, which fails when told to.
type fakeStore struct {
	records map[string][]byte
	fail    error
}

func (s *fakeStore) Save(key, record []byte) error {
	if s.fail == nil {
		s.records[string(key)] = record
	}
	return s.fail
}

func (s *fakeStore) Delete(key []byte) error {
	if s.fail == nil {
		delete(s.records, string(key))
	}
	return s.fail
}

func (s *fakeStore) Load(each func(key, record []byte) error) error {
	for k, r := range s.records {
		if err := each([]byte(k), r); err != nil {
			return err
		}
	}
	return s.fail
}

func byHome(a, b Binding) int {
	return cmp.Or(a.Home.Addr().Compare(b.Home.Addr()), a.Home.Bits()-b.Home.Bits())
}

func TestCacheAgreesWithModel(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		limits := Limits{Total: 40, PerOwner: 4}
		store := &fakeStore{records: map[string][]byte{}}
		c := New(epoch, limits, store)
		m := &model{limits, map[netip.Prefix]Binding{}}
		now := epoch
		held, deleted := map[netip.Prefix]bool{}, uint64(0)
		for range 3000 {
			now = now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
			switch r.IntN(10) {
			case 0:
				h := home(r.IntN(60))
				existed, err := c.Delete(h)
				if _, want := m.bindings[h]; existed != want || err != nil {
					t.Fatalf("Delete(%v) = %v, %v; want %v", h, existed, err, want)
				}
				delete(m.bindings, h)
			case 1, 2:
				for {
					b, ok := c.Due(now)
					if !ok {
						break
					}
					if want := m.next(); !b.Due().Equal(want) || b.Due().After(now) {
						t.Fatalf("due at %v, want %v", b.Due(), want)
					}
					if b.Flags&AskRefresh != 0 {
						b.Flags &^= AskRefresh
						if err := c.Put(b); err != nil {
							t.Fatal(err)
						}
						m.bindings[b.Home] = b
					} else {
						c.Delete(b.Home)
						delete(m.bindings, b.Home)
					}
				}
				if next := m.next(); !next.IsZero() && !next.After(now) {
					t.Fatalf("binding due at %v was not handed out at %v", next, now)
				}
			default:
				b := Binding{
					Home:      home(r.IntN(60)),
					CareOf:    careOf(r.IntN(1000)),
					Owner:     []string{"", "a", "b", "c"}[r.IntN(4)],
					Flags:     Flags(r.IntN(32)),
					Sequence:  uint16(r.Uint32()),
					Timestamp: r.Uint64(),
					Lifetime:  time.Duration(r.IntN(100)) * LifetimeUnit,
					Since:     now,
				}
				switch r.IntN(3) {
				case 0:
					b.CareOf = netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(256))})
					b.Port, b.Local = uint16(1+r.IntN(65535)), netip.AddrFrom4([4]byte{198, 51, 100, byte(r.IntN(5))})
				case 1:
					b.Port, b.Local = 4191, careOf(r.IntN(3))
				}
				b.Expires = now.Add(b.Lifetime)
				for range r.IntN(4) - 1 {
					b.Networks = append(b.Networks, netip.PrefixFrom(careOf(r.IntN(1000)), 64))
				}
				got, want := c.Put(b), m.put(b)
				if !errors.Is(got, want) {
					t.Fatalf("Put = %v, want %v", got, want)
				}
			}
			if !c.Next().Equal(m.next()) {
				t.Fatalf("Next = %v, want %v", c.Next(), m.next())
			}
			valid := 0
			for _, o := range []string{"", "a", "b", "c", "d"} {
				if got, want := c.OwnerLen(o), m.ownerLen(o); got != want {
					t.Fatalf("OwnerLen(%q) = %d, want %d", o, got, want)
				}
				if got, want := c.OwnerEntries(o), m.ownerEntries(o); got != want {
					t.Fatalf("OwnerEntries(%q) = %d, want %d", o, got, want)
				}
				valid += m.ownerLen(o)
			}
			if c.Valid() != valid {
				t.Fatalf("Valid = %d, want %d", c.Valid(), valid)
			}
			for h := range held {
				if _, ok := m.bindings[h]; !ok {
					deleted++
					delete(held, h)
				}
			}
			for h := range m.bindings {
				held[h] = true
			}
			if c.Deleted() != deleted {
				t.Fatalf("Deleted = %d, want %d", c.Deleted(), deleted)
			}
		}
		want := slices.SortedFunc(maps.Values(m.bindings), byHome)
		if diff := gocmp.Diff(want, slices.SortedFunc(c.All(), byHome), compare); diff != "" {
			t.Fatalf("seed %d: cache differs from model (-want +got):\n%s", seed, diff)
		}
		again := New(now, Limits{}, store)
		if err := again.Load(now); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, slices.SortedFunc(again.All(), byHome), compare, cmpopts.EquateApproxTime(time.Millisecond)); diff != "" {
			t.Fatalf("seed %d: reloaded cache differs (-want +got):\n%s", seed, diff)
		}
	}
}

func TestAllows(t *testing.T) {
	c := New(epoch, Limits{Total: 3, PerOwner: 1}, nil)
	if err := c.Put(Binding{Home: home(1), Owner: "a", Expires: epoch}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		owner    string
		reserved int
		want     error
	}{
		{"b", 0, nil},
		{"", 1, nil},
		{"a", 0, ErrOwnerFull},
		{"b", 2, ErrFull},
	} {
		if err := c.Allows(test.owner, test.reserved); !errors.Is(err, test.want) {
			t.Errorf("Allows(%q, %d) = %v, want %v", test.owner, test.reserved, err, test.want)
		}
	}
}

func TestStoreErrorsSurfaceAndTheCacheServesOn(t *testing.T) {
	broken := errors.New("disk is full")
	c := New(epoch, Limits{}, &fakeStore{records: map[string][]byte{}, fail: broken})
	err := c.Put(Binding{Home: home(1), Expires: epoch.Add(time.Minute)})
	if !errors.Is(err, ErrStore) || !errors.Is(err, broken) {
		t.Errorf("Put = %v", err)
	}
	if _, ok := c.Get(home(1)); !ok {
		t.Error("the binding is gone")
	}
	existed, err := c.Delete(home(1))
	if !existed || !errors.Is(err, ErrStore) || c.Len() != 0 {
		t.Errorf("Delete = %v, %v; %d left", existed, err, c.Len())
	}
	if err := c.Load(epoch); !errors.Is(err, broken) {
		t.Errorf("Load = %v", err)
	}
}

func TestLoadReportsBadRecordsAndTakesTheRest(t *testing.T) {
	good, err := AppendRecord(nil, &Binding{Lifetime: time.Minute, Expires: epoch.Add(time.Minute), Since: epoch})
	if err != nil {
		t.Fatal(err)
	}
	c := New(epoch, Limits{}, &fakeStore{records: map[string][]byte{
		string(recordKey(home(1))): good,
		string(recordKey(home(2))): good[:9],
		"?":                        good,
	}})
	if err := c.Load(epoch.Add(10 * time.Second)); !errors.Is(err, ErrRecord) {
		t.Errorf("Load = %v", err)
	}
	b, ok := c.Get(home(1))
	if c.Len() != 1 || !ok || !b.Expires.Equal(epoch.Add(time.Minute)) {
		t.Errorf("%d bindings, %+v", c.Len(), b)
	}
}

func TestCacheDoesNotLeakOwnersOrSlots(t *testing.T) {
	c := New(epoch, Limits{}, nil)
	for i := range 10_000 {
		b := Binding{Home: home(i), Owner: fmt.Sprint("mn", i), Networks: []netip.Prefix{home(i)}, Expires: epoch}
		if err := c.Put(b); err != nil {
			t.Fatal(err)
		}
		if i >= 10 {
			c.Delete(home(i - 10))
		}
	}
	if c.used > 11 || len(c.owners.list) > 12 || c.owners.numbers.Len() != 10 || len(c.networks) != 10 {
		t.Errorf("%d slots, %d owners, %d names, %d networks for %d bindings",
			c.used, len(c.owners.list), c.owners.numbers.Len(), len(c.networks), c.Len())
	}
}

// BenchmarkMemory reports the heap that one of 100,000 bindings takes, with a name of its own each.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	for range b.N {
		var before, after runtime.MemStats
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("mn%d@example.net", i)
		}
		runtime.GC()
		runtime.ReadMemStats(&before)
		c := New(epoch, Limits{}, nil)
		for i := range n {
			if err := c.Put(Binding{Home: home(i), CareOf: careOf(i), Owner: names[i], Expires: epoch.Add(time.Duration(i))}); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/binding")
		runtime.KeepAlive(c)
		runtime.KeepAlive(names)
	}
}

func BenchmarkRefresh(b *testing.B) {
	const n = 100_000
	c := New(epoch, Limits{}, nil)
	for i := range n {
		c.Put(Binding{Home: home(i), CareOf: careOf(i), Owner: "mn", Expires: epoch.Add(time.Duration(i))})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		v, _ := c.Get(home(i * 7919 % n))
		v.Expires = epoch.Add(time.Duration(n + i))
		if err := c.Put(v); err != nil {
			b.Fatal(err)
		}
	}
}
