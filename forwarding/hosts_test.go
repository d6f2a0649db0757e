package forwarding

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"unsafe"

	"kedge/netstack/packet"
)

func hostAddress(i int) netip.Addr {
	a := h1.As16()
	binary.BigEndian.PutUint32(a[12:], uint32(i)*2654435761)
	return netip.AddrFrom16(a)
}

func bindingOf(a netip.Addr) *binding {
	b := new(binding)
	b.high, b.low = halves(a)
	return b
}

// TestHostsAgainstMap puts, replaces and removes at random, with a hash that is good and with ones that make nearly all
// addresses meet, and holds every step against a map.
func TestHostsAgainstMap(t *testing.T) {
	for name, seed := range map[string]uint64{"good": 0x9e3779b97f4a7c15, "bad": 1 << 63, "worst": 0} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			table := &hosts{seed: [2]uint64{seed, seed >> 1}}
			if name == "worst" {
				// A product with 0 is 0: there is one hash.
				high, _ := halves(h1)
				table.seed[0] = high
			}
			want := map[netip.Addr]*binding{}
			most := 3000
			if name == "worst" {
				most = 100
			}
			for range 20_000 {
				a := hostAddress(random.IntN(most))
				if random.IntN(5) < 2 {
					table.remove(bindingOf(a))
					delete(want, a)
				} else {
					b := bindingOf(a)
					table.put(b)
					want[a] = b
				}
				probe := hostAddress(random.IntN(most))
				if got := table.get(probe); got != want[probe] {
					t.Fatalf("%v: %p, want %p", probe, got, want[probe])
				}
			}
			all := map[netip.Addr]*binding{}
			for b := range table.all() {
				all[addressOf(b.high, b.low)] = b
			}
			if len(all) != len(want) || int(table.count.Load()) != len(want) {
				t.Fatalf("%d bindings listed, %d counted, want %d", len(all), table.count.Load(), len(want))
			}
			for a, b := range want {
				if all[a] != b || table.get(a) != b {
					t.Fatalf("%v is not what was put", a)
				}
				table.remove(b)
			}
			for i := range table.shards {
				if n := table.shards[i].size(); n > 1 {
					t.Fatalf("%d groups left of an empty shard", n)
				}
			}
		})
	}
}

// TestHostsWhileTheyChange has workers look for addresses that are bound all the while, as the table around them grows,
// shrinks, and replaces them.
func TestHostsWhileTheyChange(t *testing.T) {
	const kept, coming = 500, 20_000
	e := New(Options{Anchor: true})
	for i := range kept {
		must(t, e.BindAnchored(host(hostAddress(i)), Tunnel{Local: ha, Remote: c1}))
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			table := e.state.Load().hosts
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				a := hostAddress(i % kept)
				if b := table.get(a); b == nil || addressOf(b.high, b.low) != a || b.Remote != c1 && b.Remote != c2 {
					t.Errorf("%v: %+v", a, b)
					return
				}
			}
		}()
	}
	for i := kept; i < coming; i++ {
		must(t, e.BindAnchored(host(hostAddress(i)), Tunnel{Local: ha, Remote: c1}))
		must(t, e.BindAnchored(host(hostAddress(i%kept)), Tunnel{Local: ha, Remote: []netip.Addr{c1, c2}[i%2]}))
	}
	for i := kept; i < coming; i++ {
		e.UnbindAnchored(host(hostAddress(i)))
	}
	close(stop)
	readers.Wait()
	if n := e.state.Load().hosts.count.Load(); n != kept {
		t.Errorf("%d bindings left, want %d", n, kept)
	}
}

// TestLookAheadChangesNothing has what a worker does not look ahead for, in garbage too, come out the same.
func TestLookAheadChangesNothing(t *testing.T) {
	const n = 2 * manyHosts
	e, w := anchor(t)
	for i := range n {
		must(t, e.BindAnchored(host(hostAddress(i)), Tunnel{Local: ha, Remote: c2}))
	}
	random := rand.New(rand.NewPCG(3, 4))
	var pkts []*packet.Packet
	want := 0
	for range 200 {
		switch i := random.IntN(2 * n); random.IntN(4) {
		case 0:
			b := make([]byte, random.IntN(100))
			for j := range b {
				b[j] = byte(random.Uint32())
			}
			pkts = append(pkts, pkt(b))
		case 1:
			pkts = append(pkts, pkt(tunnelled(0, c2, ha, udp(hostAddress(i), cn, 9))))
			if i < n {
				want++
			}
		default:
			pkts = append(pkts, pkt(udp(cn, hostAddress(i), 9)))
			if i < n {
				want++
			}
		}
	}
	got := 0
	for _, b := range sent(w.Process(start, ethPort, pkts), ethPort) {
		if a := addrAt(b, 8); a == ha && b[6] == 41 || a != ha {
			got++
		}
	}
	if got != want {
		t.Errorf("%d packets forwarded, want %d: %v", got, want, drops(e.Counters()))
	}
	if n := testing.AllocsPerRun(100, func() { w.lookAhead(pkts, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// An anchor has one for each of its bindings, of which there may be a million.
func TestBindingSize(t *testing.T) {
	if n := unsafe.Sizeof(binding{}); n > 128 {
		t.Errorf("%d octets", n)
	}
	if n := unsafe.Sizeof(hostGroup{}); n != 64 {
		t.Errorf("a group has %d octets, want a cache line's", n)
	}
}
