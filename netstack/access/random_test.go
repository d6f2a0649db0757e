package access

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

func hostNumber(i int) packet.LinkAddress {
	return packet.LinkAddress{2, 0xa, 0, 0, byte(i >> 8), byte(i)}
}

func routerNumber(i int) Router {
	return Router{
		LinkLocal: addr(fmt.Sprintf("fe80::d:%x", i)), LinkLayer: packet.LinkAddress{2, 0xd, 0, 0, byte(i >> 8), byte(i)},
		Prefix: prefix(fmt.Sprintf("2001:db8:%x::/64", i)), Preferred: time.Hour, Valid: time.Hour, Lifetime: time.Hour,
	}
}

// Whatever is done in whatever order, the table agrees with a plain map of who has which prefix, and with itself.
func TestRandomOrder(t *testing.T) {
	var routers []Router
	for i := range 10 {
		routers = append(routers, routerNumber(i))
	}
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 1))
		table := New(Config{LinkAddress: me, MaxHosts: 12, MaxStrangers: 4, Random: half{}})
		owners := map[netip.Prefix]packet.LinkAddress{}
		now := epoch
		for step := range 1000 {
			now = now.Add(time.Duration(random.IntN(2000)) * time.Millisecond)
			mn, n := hostNumber(random.IntN(20)), random.IntN(10)
			r := routers[n]
			switch random.IntN(10) {
			case 0, 1, 2:
				if random.IntN(4) == 0 {
					r.Preferred = 0
				}
				if random.IntN(8) == 0 {
					r.LinkLocal = addr("fe80::d:ffff")
				}
				if random.IntN(8) == 0 {
					r.LinkLayer = packet.LinkAddress{2, 0xd, 0xff}
				}
				if _, err := table.Serve(now, mn, r); err == nil {
					owners[r.Prefix] = mn
				}
			case 3:
				table.Withdraw(now, mn, r.Prefix, random.IntN(2) == 0)
				if owners[r.Prefix] == mn {
					delete(owners, r.Prefix)
				}
			case 4:
				table.Forget(now, mn)
			case 5:
				if !table.Heard(mn) {
					table.Stranger(now, mn)
				}
			case 6:
				if random.IntN(5) == 0 {
					table.Carrier(now, random.IntN(2) == 0)
				}
			case 7, 8:
				target := addr(fmt.Sprintf("fe80::%x", random.IntN(8)))
				b, _ := nd.Append(nil, any6, nd.SolicitedNode(target), &nd.NeighborSolicitation{Target: target})
				table.Handle(now, b, mn)
			default:
				table.Tick(now)
			}
			for _, r := range routers {
				p := r.Prefix
				want, has := owners[p]
				if got, known := table.Owner(p); got != want || known != has {
					t.Fatalf("seed %d, step %d: %v is owned by %x, %v; want %x, %v", seed, step, p, got, known, want, has)
				}
			}
			if p := table.problems(); len(p) > 0 {
				t.Fatalf("seed %d, step %d: %v", seed, step, p)
			}
		}
	}
}

// The index agrees with a map.
func TestIndex(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	x, oracle := newIndex[int](8, key{random.Uint64(), random.Uint64()}), map[key]int{}
	for i := range 10000 {
		k := key{uint64(random.IntN(50)), uint64(random.IntN(2))}
		if random.IntN(3) > 0 {
			x.set(k, i)
			oracle[k] = i
		} else {
			x.remove(k)
			delete(oracle, k)
		}
		k = key{uint64(random.IntN(50)), uint64(random.IntN(2))}
		want, has := oracle[k]
		if got, found := x.find(k); got != want || found != has {
			t.Fatalf("%v: %d, %v; want %d, %v", k, got, found, want, has)
		}
	}
}

// What packets need is consistent while everything changes.
func TestReadersAndWriters(t *testing.T) {
	table := New(Config{LinkAddress: me})
	var wait sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wait.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				n := i % 50
				r := routerNumber(n)
				if to, from, known := table.LinkAddresses(r.Prefix.Addr()); known && (to != hostNumber(n) || from != r.LinkLayer) {
					t.Errorf("%v: %x from %x", r.Prefix, to, from)
				}
				table.Receives(r.LinkLayer)
				if !table.Heard(hostNumber(n)) {
					table.Stranger(epoch, hostNumber(n))
				}
			}
		})
	}
	for i := range 3000 {
		n := i % 50
		if i/50%2 == 0 {
			if _, err := table.Serve(epoch, hostNumber(n), routerNumber(n)); err != nil {
				t.Error(err)
			}
		} else {
			table.Withdraw(epoch, hostNumber(n), routerNumber(n).Prefix, i%3 == 0)
		}
	}
	close(stop)
	wait.Wait()
	for _, p := range table.problems() {
		t.Error(p)
	}
}

func TestDoesNotAllocate(t *testing.T) {
	table := New(Config{LinkAddress: me})
	if _, err := table.Serve(epoch, m1, r1); err != nil {
		t.Fatal(err)
	}
	table.Seen(epoch, m1, Data)
	hop, stranger := addr("2001:db8:1::5"), addr("2001:db8:9::5")
	if n := testing.AllocsPerRun(1000, func() {
		if _, _, known := table.LinkAddresses(hop); !known || !table.Heard(m1) || !table.Receives(d1) || table.Receives(d2) {
			t.Error("not served")
		}
		if owner, known := table.Owner(p1); owner != m1 || !known {
			t.Error("not owned")
		}
		table.LinkAddresses(stranger)
		table.Heard(m2)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzHandle(f *testing.F) {
	for _, m := range []nd.Message{
		&nd.RouterSolicitation{}, &nd.NeighborSolicitation{Target: r1.LinkLocal}, &nd.NeighborAdvertisement{Target: r1.LinkLocal},
		&nd.ListenerReport{}, &nd.ListenerReportV1{Group: nd.AllRouters}, &nd.RouterAdvertisement{}, &nd.ListenerQuery{Group: any6},
	} {
		for _, src := range []netip.Addr{ll1, any6} {
			b, err := nd.Append(nil, src, nd.SolicitedNode(r1.LinkLocal), m)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, byte(1))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, from byte) {
		table := New(Config{LinkAddress: me, MaxHosts: 8, Random: half{}})
		for _, r := range []Router{r1, r2} {
			if _, err := table.Serve(epoch, m1, r); err != nil {
				t.Fatal(err)
			}
		}
		out := table.Handle(epoch.Add(5*time.Second), b, packet.LinkAddress{2, 0, 0, 0, 0, from})
		for _, frame := range out.Frames {
			if frame.To != m1 {
				t.Errorf("a frame to %x", frame.To)
			}
			if _, _, _, err := nd.Parse(frame.Packet.Bytes()); err != nil {
				t.Error(err)
			}
		}
		for _, p := range table.problems() {
			t.Error(p)
		}
	})
}

func BenchmarkLinkAddresses(b *testing.B) {
	table := New(Config{LinkAddress: me, MaxHosts: 10000})
	hops := make([]netip.Addr, 8192)
	for i := range hops {
		if _, err := table.Serve(epoch, hostNumber(i), routerNumber(i)); err != nil {
			b.Fatal(err)
		}
		hops[i] = routerNumber(i).Prefix.Addr().Next()
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, _, known := table.LinkAddresses(hops[i&8191]); !known {
			b.Fatal(i)
		}
		i++
	}
}

func BenchmarkServe(b *testing.B) {
	table := New(Config{LinkAddress: me, MaxHosts: 10000})
	for i := range 8192 {
		if _, err := table.Serve(epoch, hostNumber(i), routerNumber(i)); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	for b.Loop() {
		r := routerNumber(i & 8191)
		r.Preferred = time.Duration(1+i>>13) * time.Second
		if _, err := table.Serve(epoch.Add(time.Duration(i)*time.Millisecond), hostNumber(i&8191), r); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
