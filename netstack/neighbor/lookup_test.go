package neighbor

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

func numbered(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 12: byte(i >> 24), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
}

// filled is a table with n STALE neighbours.
func filled(tb testing.TB, n int) *Table {
	t := New(Config{LinkAddress: me, Random: half{}})
	t.AddAddress(epoch, own, Own)
	for i := range n {
		m, err := nd.Append(nil, numbered(0x10000+i), own, &nd.NeighborSolicitation{
			Target: own, Options: nd.Options{nd.SourceLinkLayerAddress(linkOf(i))},
		})
		if err != nil {
			tb.Fatal(err)
		}
		t.Handle(epoch, m, linkOf(i))
	}
	return t
}

func linkOf(i int) packet.LinkAddress {
	return packet.LinkAddress{2, 0x11, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table := filled(t, 100)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		table.Lookup(numbered(0x10000 + i%100)) // STALE at first: marked as used
		table.Lookup(nd.AllNodes)
		table.Lookup(host)
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWakeWhenNextComesNearer(t *testing.T) {
	b := newBench(t, Config{})
	woken := func() bool {
		select {
		case <-b.Wake():
			return true
		default:
			return false
		}
	}
	b.put(reachable)
	woken()
	if next := b.Next(); !next.Equal(epoch.Add(30*time.Second)) || woken() {
		t.Errorf("next is %v", next)
	}
	b.at(time.Second).resolve(host, "a")
	if !woken() {
		t.Error("nobody was told of an earlier timer")
	}
	if next := b.Next(); !next.Equal(epoch.Add(2 * time.Second)) {
		t.Errorf("next is %v", next)
	}
	b.at(1500*time.Millisecond).resolve(addr("2001:db8::3"), "a")
	if woken() {
		t.Error("told of a later timer")
	}
}

// TestLookupWhileChanging runs readers beside everything that changes the table. What is looked up is never wrong.
func TestLookupWhileChanging(t *testing.T) {
	const neighbors = 200
	table := New(Config{LinkAddress: me, MaxNeighbors: 64})
	table.AddAddress(epoch, own, Own)
	var readers, writers sync.WaitGroup
	stop := make(chan struct{})
	for r := range 3 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(r)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := random.IntN(neighbors)
				if link, ok := table.Lookup(numbered(0x10000 + i)); ok && link != linkOf(i) {
					t.Errorf("neighbour %d is at %v", i, link)
					return
				}
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(w)))
			p := data(own, peer, "a")
			for step := range 1000 {
				now := epoch.Add(time.Duration(step) * 100 * time.Millisecond)
				i := random.IntN(neighbors)
				a := numbered(0x10000 + i)
				switch random.IntN(5) {
				case 0:
					table.Resolve(now, a, p)
				case 1:
					m, _ := nd.Append(nil, a, own, &nd.NeighborSolicitation{
						Target: own, Options: nd.Options{nd.SourceLinkLayerAddress(linkOf(i))},
					})
					table.Handle(now, m, linkOf(i))
				case 2:
					m, _ := nd.Append(nil, a, own, &nd.NeighborAdvertisement{
						Target: a, Solicited: true, Override: true, Options: nd.Options{nd.TargetLinkLayerAddress(linkOf(i))},
					})
					table.Handle(now, m, linkOf(i))
				case 3:
					table.Next()
					table.Tick(now)
				case 4:
					if step%100 == 0 {
						table.Flush()
					}
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	for _, p := range table.problems() {
		t.Error(p)
	}
}

// TestUsedNeighborsAreAllTaken has many readers mark neighbours while one takes them: no use is lost or seen twice.
func TestUsedNeighborsAreAllTaken(t *testing.T) {
	var used usedNeighbors
	all := make([]neighbor, 50)
	var marks [4]int
	var readers sync.WaitGroup
	for r := range marks {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(3, uint64(r)))
			for range 5000 {
				if used.push(&all[random.IntN(len(all))]) {
					marks[r]++
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { readers.Wait(); close(done) }()
	taken := 0
	for more := true; more; {
		select {
		case <-done:
			more = false
		default:
		}
		used.take(func(*neighbor) { taken++ })
	}
	if want := marks[0] + marks[1] + marks[2] + marks[3]; taken != want {
		t.Errorf("took %d of %d", taken, want)
	}
}

// TestIndexAgainstMap compares the index with a map over random changes, with few buckets so that chains are long.
func TestIndexAgainstMap(t *testing.T) {
	x := newIndex(4, [2]uint64{rand.Uint64(), rand.Uint64()})
	oracle := map[netip.Addr]*neighbor{}
	random := rand.New(rand.NewPCG(4, 4))
	for range 20000 {
		a := numbered(random.IntN(40))
		switch n := oracle[a]; {
		case n == nil && random.IntN(2) == 0:
			n = &neighbor{addr: a}
			x.insert(n)
			oracle[a] = n
		case n != nil && random.IntN(2) == 0:
			x.remove(n)
			delete(oracle, a)
		}
		b := numbered(random.IntN(40))
		if got := x.find(b); got != oracle[b] {
			t.Fatalf("%v: found %p, want %p", b, got, oracle[b])
		}
	}
}

func TestLinkAddressInAWord(t *testing.T) {
	for i := range 6 {
		var a packet.LinkAddress
		a[i] = 0xa5
		if got := unpackWord(packWord(a) | wordKnown | wordWatched); got != a {
			t.Errorf("%v came back as %v", a, got)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	table := filled(b, 1000)
	addrs := make([]netip.Addr, 1024)
	for i := range addrs {
		addrs[i] = numbered(0x10000 + i%1000)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok := table.Lookup(addrs[i&1023]); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkLookupParallel(b *testing.B) {
	table := filled(b, 1000)
	table.Tick(epoch)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			table.Lookup(numbered(0x10000 + i%1000))
		}
	})
}

// BenchmarkSolicitationFlood is what an attacker can make a full table do.
func BenchmarkSolicitationFlood(b *testing.B) {
	table := filled(b, DefaultMaxNeighbors)
	packets := make([][]byte, 2*DefaultMaxNeighbors)
	for i := range packets {
		packets[i], _ = nd.Append(nil, numbered(0x20000+i), own, &nd.NeighborSolicitation{
			Target: own, Options: nd.Options{nd.SourceLinkLayerAddress(m1)},
		})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		table.Handle(epoch, packets[i%len(packets)], m1)
	}
}
