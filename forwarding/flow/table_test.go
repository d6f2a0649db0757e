package flow

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"kedge/forwarding/ip6"
)

// model is a table as simple as can be.
type model struct {
	flows map[Key]*Flow
	uses  map[netip.Addr]int
}

func (m *model) check(t *testing.T, table *Table) {
	t.Helper()
	if table.Len() != len(m.flows) {
		t.Fatalf("%d flows, want %d", table.Len(), len(m.flows))
	}
	for _, a := range []netip.Addr{home, lent, other} {
		if n := table.Uses(a); n != m.uses[a] {
			t.Fatalf("%v is used by %d flows, want %d", a, n, m.uses[a])
		}
	}
}

func TestAgainstModel(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		table := NewTable(Config{MaxFlows: 1 << 20}, epoch)
		if err := errors.Join(table.SetRole(lent, Translation), table.SetRole(other, Host)); err != nil {
			t.Fatal(err)
		}
		m := model{map[Key]*Flow{}, map[netip.Addr]int{}}
		now := time.Duration(0)
		randomKey := func() Key { return key(ip6.UDP, uint16(r.IntN(3000)), 53) }
		for range 20000 {
			now += time.Duration(r.IntN(10)) * time.Millisecond
			k := randomKey()
			switch r.IntN(10) {
			case 0, 1, 2, 3: // insert
				o := opening(k)
				address := home
				if r.IntN(2) == 0 {
					address = lent
					o.Verdict = &Verdict{State: InUse, Address: lent, Translate: true, Decision: 9}
				}
				f, created, err := table.Insert(now, o)
				if err != nil || created != (m.flows[k] == nil) || !created && f != m.flows[k] {
					t.Fatalf("insert %v: %v %v", k, created, err)
				}
				if created {
					m.flows[k] = f
					m.uses[address]++
				}
			case 4: // terminate
				if f := m.flows[k]; f != nil {
					address := f.Verdict().Address
					if _, alive := table.Terminate(now, f); alive {
						m.uses[address]--
					}
				}
			case 5: // new connection over a terminated one
				o := opening(k)
				o.Opens = true
				old := m.flows[k]
				f, created, err := table.Insert(now, o)
				if err != nil || created != (old == nil || old.Finished()) {
					t.Fatalf("reopen %v: %v %v", k, created, err)
				}
				if created {
					m.flows[k] = f
					m.uses[home]++
				}
			case 6: // remove
				if f := m.flows[k]; f != nil {
					s := table.shard(f.number)
					s.mu.Lock()
					if v := f.Verdict(); v.State == InUse {
						m.uses[v.Address]--
					}
					table.remove(s, f, Ended, now)
					s.mu.Unlock()
					delete(m.flows, k)
				}
			default:
				tuple := k.Tuple()
				f := table.Lookup(&tuple)
				if f != m.flows[k] {
					t.Fatalf("lookup %v: %v, want %v", k, f, m.flows[k])
				}
				if f != nil && (f.Key() != k || table.Find(f.Number()) != f) {
					t.Fatalf("%v is %v, or not found as %d", k, f.Key(), f.Number())
				}
			}
		}
		m.check(t, table)
		seen := map[Key]bool{}
		for _, s := range table.All(nil, 0, nil) {
			if m.flows[s.Key] == nil || seen[s.Key] {
				t.Fatalf("%v should not be there", s.Key)
			}
			seen[s.Key] = true
		}
		if len(seen) != len(m.flows) {
			t.Fatalf("All has %d flows, want %d", len(seen), len(m.flows))
		}
		if n := len(table.All(nil, 10, nil)); n != 10 {
			t.Errorf("%d, want 10", n)
		}
	}
}

// Lookups must find what is there all the time, whatever else changes.
func TestConcurrent(t *testing.T) {
	table := NewTable(Config{MaxFlows: 1 << 20}, epoch)
	if err := table.SetRole(lent, Translation); err != nil {
		t.Fatal(err)
	}
	var stay []Tuple
	for i := range 500 {
		stay = append(stay, key(ip6.UDP, uint16(i), 1).Tuple())
		insert(t, table, time.Hour, opening(stay[i].Key()))
	}
	var changers, readers sync.WaitGroup
	for w := range 3 {
		changers.Add(1)
		go func() {
			defer changers.Done()
			for i := range 4000 {
				now := time.Duration(i) * time.Millisecond
				k := key(ip6.UDP, uint16(i%2000), uint16(2+i/2000))
				o := waiting(k)
				if w == 1 {
					o.Verdict = &Verdict{State: InUse, Address: lent, Translate: true}
				}
				f, _, err := table.Insert(now, o)
				if err != nil {
					t.Error(err)
					return
				}
				table.Hold(f, octets(50))
				saw(table, now, f, w == 0)
				switch i % 3 {
				case 0:
					table.Terminate(now, f)
				case 1:
					for done := false; !done; {
						_, _, done = table.Drain(now, f, &Verdict{State: InUse, Address: lent, Translate: true}, nil)
					}
				}
				table.Sweep(now+time.Hour, 3)
				if i%100 == 0 {
					table.TakeNews(nil)
					table.All(nil, 10, nil)
					table.Matching(lent, -1, nil)
				}
			}
		}()
	}
	stop := make(chan struct{})
	readers.Add(1)
	go func() {
		defer readers.Done()
		for {
			for i := range stay {
				f := table.Lookup(&stay[i])
				if f == nil {
					t.Errorf("lost %v", stay[i].Key())
					return
				}
				saw(table, time.Hour, f, true)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	changers.Wait()
	close(stop)
	readers.Wait()
	if table.Terminate(0, table.Lookup(&stay[0])); table.Len() < 500 {
		t.Errorf("%d flows left", table.Len())
	}
}

// What one worker makes while another makes the same is one flow.
func TestConcurrentInsertIsOneFlow(t *testing.T) {
	table := NewTable(Config{}, epoch)
	var wait sync.WaitGroup
	numbers := make([][]uint64, 4)
	for w := range numbers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := range 3000 {
				f, _, err := table.Insert(0, opening(key(ip6.UDP, uint16(i), 9)))
				if err != nil {
					t.Error(err)
					return
				}
				numbers[w] = append(numbers[w], f.Number())
			}
		}()
	}
	wait.Wait()
	for w := range numbers {
		if !slices.Equal(numbers[w], numbers[0]) {
			t.Fatal("workers have different flows")
		}
	}
	if table.Len() != 3000 || table.Uses(home) != 3000 {
		t.Errorf("%d flows, %d uses", table.Len(), table.Uses(home))
	}
}

// Nobody who does not know the key can tell where a flow goes.
func TestHashIsKeyed(t *testing.T) {
	a, b := NewTable(Config{}, epoch), NewTable(Config{}, epoch)
	same := 0
	for i := range 1000 {
		k := key(ip6.TCP, uint16(i), 80).Tuple()
		if a.hash(&k)%shards == b.hash(&k)%shards {
			same++
		}
	}
	if same > 50 {
		t.Errorf("%d of 1000 flows in the same shard of two tables", same)
	}
}

func TestDoesNotAllocate(t *testing.T) {
	table := NewTable(Config{}, epoch)
	f := insert(t, table, 0, opening(key(ip6.TCP, 1, 80)))
	establish(table, 0, f)
	k := *f.Tuple()
	miss := key(ip6.TCP, 2, 80).Tuple()
	b, h := ipPacket(ip6.TCP, make([]byte, 40))
	b[52], b[53] = 5<<4, tcpACK
	now := time.Second
	if n := testing.AllocsPerRun(100, func() {
		now += time.Second
		table.Saw(now, table.Lookup(&k), true, b, h)
		table.Saw(now, table.Lookup(&k), false, b, h)
		table.Lookup(&miss)
		Outbound(b, h)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRestore(t *testing.T) {
	table := NewTable(Config{}, epoch)
	s := Snapshot{Key: key(ip6.TCP, 1, 80), Address: lent, Decision: 4, Profile: 2, Rule: 3, Initiator: MobileNode}
	if err := table.Restore(0, &s); !errors.Is(err, ErrRole) {
		t.Fatalf("without the address: %v", err)
	}
	if err := table.SetRole(lent, Translation); err != nil {
		t.Fatal(err)
	}
	if err := table.Restore(time.Minute, &s); err != nil {
		t.Fatal(err)
	}
	if err := table.Restore(0, &s); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	got := table.All(nil, 0, nil)[0]
	if got.Key != s.Key || got.Address != lent || got.Decision != 4 || got.Profile != 2 || got.Rule != 3 ||
		got.Initiator != MobileNode || got.TCP != TCPEstablished || !got.Created.Equal(epoch.Add(time.Minute)) {
		t.Errorf("%+v", got)
	}
	if again, ok := table.Snapshot(got.Number); !ok || again != got {
		t.Errorf("%+v", again)
	}
	if m := table.Matching(lent, 2, nil); !slices.Equal(m, []uint64{got.Number}) {
		t.Errorf("matching %v", m)
	}
	if m := table.Matching(lent, 1, nil); m != nil {
		t.Errorf("matching %v", m)
	}
}

// An address that was given back serves nobody else before the last flow that is translated to it has gone.
func TestRoleOutlivedByItsFlows(t *testing.T) {
	table := NewTable(Config{}, time.Unix(0, 0))
	home, lent := netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:d::1")
	remote := netip.MustParseAddr("2001:db8:c::1")
	if err := table.SetRole(lent, Translation); err != nil {
		t.Fatal(err)
	}
	tuple := func(local netip.Addr) Tuple {
		return Key{Local: local, Remote: remote, Protocol: 6, LocalPort: 1, RemotePort: 2}.Tuple()
	}
	translated := &Verdict{State: InUse, Address: lent, Translate: true}
	if _, _, err := table.Insert(0, &Opening{Tuple: tuple(home), Verdict: translated, Rule: -1, Profile: -1}); err != nil {
		t.Fatal(err)
	}
	if err := table.SetRole(lent, Unassigned); err != nil {
		t.Fatal(err)
	}
	if _, _, err := table.Insert(0, &Opening{Tuple: tuple(lent), Rule: -1, Profile: -1}); !errors.Is(err, ErrRole) {
		t.Errorf("a flow of the address itself: %v, want ErrRole", err)
	}
}
