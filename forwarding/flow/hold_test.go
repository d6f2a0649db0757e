package flow

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"time"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

var toLent = &Verdict{State: InUse, Address: lent, Translate: true, Decision: 5}

func holding(t testing.TB, c Config) *Table {
	t.Helper()
	table := NewTable(c, epoch)
	if err := table.SetRole(lent, Translation); err != nil {
		t.Fatal(err)
	}
	return table
}

func TestHoldBounds(t *testing.T) {
	for _, c := range []struct {
		name            string
		octets, packets int
	}{
		{"packets", 100, 16}, {"octets", 10000, 6}, {"super-packets", 65575, 1},
	} {
		table := holding(t, Config{})
		f := insert(t, table, 0, waiting(key(ip6.UDP, 1, 1)))
		n := 0
		for table.Hold(f, octets(c.octets)) == Queued {
			n++
		}
		if n != c.packets {
			t.Errorf("%s: %d packets of %d octets, want %d", c.name, n, c.octets, c.packets)
		}
		if want := n * (c.octets + packet.Headroom); table.HeldOctets() != want {
			t.Errorf("%s: %d octets held, want %d", c.name, table.HeldOctets(), want)
		}
		if table.Stats()[HoldOverflows] != 1 {
			t.Errorf("%s: overflow not counted", c.name)
		}
		table.Terminate(0, f)
		if table.HeldOctets() != 0 || table.Stats()[HoldDiscarded] != uint64(n) {
			t.Errorf("%s: %d octets held for nobody", c.name, table.HeldOctets())
		}
	}
	table := holding(t, Config{})
	queued := 0
	for i := range 200 {
		f := insert(t, table, 0, waiting(key(ip6.UDP, uint16(i), 1)))
		if table.Hold(f, octets(60000)) == Queued {
			queued++
		}
	}
	if want := 4 << 20 / (60000 + packet.Headroom); queued != want || table.HeldOctets() > 4<<20 {
		t.Errorf("%d flows of 60000 octets, want %d", queued, want)
	}
}

func TestDrain(t *testing.T) {
	table := holding(t, Config{})
	f := insert(t, table, 0, waiting(key(ip6.UDP, 1, 1)))
	table.Hold(f, octets(50))
	table.Hold(f, octets(51))
	pkts, v, done := table.Drain(0, f, toLent, nil)
	if len(pkts) != 2 || pkts[0].Len() != 50 || v != toLent || done || f.Verdict().State != Holding {
		t.Fatalf("%d packets, %v, done %v", len(pkts), v, done)
	}
	if table.Uses(lent) != 1 {
		t.Error("its address is not in use while it drains")
	}
	if table.Hold(f, octets(52)) != Queued {
		t.Fatal("not queued behind")
	}
	// Another verdict comes too late.
	pkts, v, done = table.Drain(0, f, &Verdict{State: InUse, Address: home}, nil)
	if len(pkts) != 1 || v != toLent || done {
		t.Fatalf("%d packets, %v, done %v", len(pkts), v, done)
	}
	if pkts, _, done = table.Drain(0, f, toLent, nil); len(pkts) != 0 || !done || f.Verdict() != toLent {
		t.Fatalf("%d packets, done %v, %v", len(pkts), done, f.Verdict())
	}
	if table.Hold(f, octets(50)) != Decided || table.Uses(lent) != 1 || table.HeldOctets() != 0 {
		t.Error("still waits")
	}
	if _, _, done = table.Drain(0, f, toLent, nil); !done || table.Uses(lent) != 1 {
		t.Error("drained twice")
	}
}

func TestDrainToWhatIsNotThere(t *testing.T) {
	table := NewTable(Config{}, epoch)
	f := insert(t, table, 0, waiting(key(ip6.UDP, 1, 1)))
	table.Hold(f, octets(50))
	if _, v, _ := table.Drain(0, f, toLent, nil); v.Address != home || v.Translate {
		t.Errorf("%+v, want its local address", v)
	}
}

func TestTerminateWhileDraining(t *testing.T) {
	table := holding(t, Config{})
	f := insert(t, table, 0, waiting(key(ip6.UDP, 1, 1)))
	table.Hold(f, octets(50))
	if m := table.Matching(home, -1, nil); len(m) != 1 {
		t.Errorf("%d flows of the home address", len(m))
	}
	table.Drain(0, f, toLent, nil)
	if m := table.Matching(lent, -1, nil); len(m) != 1 || len(table.Matching(home, -1, nil)) != 0 {
		t.Errorf("%d flows of the lent address", len(m))
	}
	if used, alive := table.Terminate(0, f); used != lent || !alive || table.Uses(lent) != 0 {
		t.Errorf("%v %v, %d uses", used, alive, table.Uses(lent))
	}
	if _, _, done := table.Drain(0, f, toLent, nil); !done || f.Verdict().State != Terminated {
		t.Error("came back")
	}
	f = insert(t, table, 0, waiting(key(ip6.UDP, 2, 1)))
	if used, alive := table.Terminate(0, f); used.IsValid() || !alive {
		t.Errorf("%v %v; nobody heard of it", used, alive)
	}
}

func TestHoldTimeout(t *testing.T) {
	table := holding(t, Config{})
	f := insert(t, table, 0, waiting(key(ip6.UDP, 1, 1)))
	draining := insert(t, table, 0, waiting(key(ip6.UDP, 2, 1)))
	table.Hold(f, octets(50))
	table.Hold(draining, octets(50))
	table.Drain(0, draining, toLent, nil)
	table.Sweep(5*time.Second-Tick, table.Buckets())
	if f.Verdict().State != Holding {
		t.Fatal("given up early")
	}
	table.Sweep(5*time.Second, table.Buckets())
	if v := f.Verdict(); v.State != InUse || v.Address != home || table.HeldOctets() != 0 || table.Stats()[HoldTimeouts] != 1 {
		t.Errorf("%+v, %d octets held", v, table.HeldOctets())
	}
	if draining.Verdict().State != Holding {
		t.Error("given up while it drains")
	}
}

// A host goes on sending while the queue drains: what leaves is in order.
func TestHoldKeepsOrder(t *testing.T) {
	for range 20 {
		table := holding(t, Config{Hold: HoldLimits{Packets: 1 << 20, Octets: 1 << 30, Total: 1 << 30}})
		f := insert(t, table, 0, waiting(key(ip6.UDP, 1, 1)))
		var wire sync.Mutex
		var order []uint32
		send := func(p *packet.Packet) {
			wire.Lock()
			order = append(order, binary.BigEndian.Uint32(p.Bytes()))
			wire.Unlock()
		}
		started, ended := make(chan struct{}), make(chan struct{})
		go func() { // the worker of the host's port
			defer close(ended)
			p := octets(40)
			for i := range uint32(5000) {
				if i == 10 {
					close(started)
				}
				binary.BigEndian.PutUint32(p.Bytes(), i)
				if f.Verdict().State == Holding && table.Hold(f, p) == Queued {
					continue
				}
				send(p)
			}
		}()
		<-started
		for done := false; !done; { // the worker that releases
			var pkts []*packet.Packet
			pkts, _, done = table.Drain(0, f, toLent, nil)
			for _, p := range pkts {
				send(p)
			}
		}
		<-ended
		if len(order) != 5000 || !slices.IsSorted(order) {
			t.Fatalf("%d packets, in order: %v", len(order), slices.IsSorted(order))
		}
	}
}

func TestNewsOfWaiting(t *testing.T) {
	table := holding(t, Config{})
	f := insert(t, table, 0, waiting(key(ip6.UDP, 1, 1)))
	o := waiting(key(ip6.UDP, 2, 1))
	o.NeedsUser = true
	u := insert(t, table, 0, o)
	if !table.HasNews() {
		t.Fatal("no news")
	}
	news := table.TakeNews(nil)
	if !slices.Equal(events(news), []Event{Waits, WaitsForUser}) || !news[1].Flow.NeedsUser || news[0].Flow.Number != f.Number() {
		t.Fatalf("%+v", news)
	}
	if table.HasNews() || table.TakeNews(nil) != nil {
		t.Error("told twice")
	}
	if table.Classified(f, 1, 1, true) {
		t.Error("classified a flow that has a profile")
	}
	if !table.Classified(u, 3, 4, true) {
		t.Fatal("not classified")
	}
	news = table.TakeNews(nil)
	if !slices.Equal(events(news), []Event{Waits}) || news[0].Flow.Profile != 4 || news[0].Flow.Rule != 3 {
		t.Fatalf("%+v", news)
	}
	// However much else happens, those that wait are told.
	for i := range 3 * maxNews {
		table.Terminate(0, insert(t, table, 0, opening(key(ip6.TCP, uint16(i), 7))))
	}
	late := insert(t, table, 0, waiting(key(ip6.UDP, 3, 1)))
	for i := range 100 { // and those that do not wait any more are not
		table.Terminate(0, insert(t, table, 0, waiting(key(ip6.UDP, uint16(i), 9))))
	}
	news = table.TakeNews(nil)
	waits := slices.DeleteFunc(slices.Clone(news), func(n News) bool { return n.Event != Waits })
	if len(waits) != 1 || waits[0].Flow.Number != late.Number() || len(news) > maxNews+1 || table.Stats()[NewsLost] == 0 {
		t.Errorf("%d events, %d wait, %d lost", len(news), len(waits), table.Stats()[NewsLost])
	}
}

func TestTerminatedDropsForAMinute(t *testing.T) {
	table := NewTable(Config{}, epoch)
	k := key(ip6.TCP, 1, 80)
	f := insert(t, table, 0, opening(k))
	establish(table, 0, f)
	table.Terminate(time.Second, f)
	if _, alive := table.Terminate(time.Second, f); alive {
		t.Error("ended twice")
	}
	table.Sweep(60*time.Second, table.Buckets())
	if table.Len() != 1 || f.Verdict().State != Terminated {
		t.Error("gone early")
	}
	if removed := table.Sweep(61*time.Second, table.Buckets()); removed != 1 || table.Len() != 0 {
		t.Error("still there")
	}
	var ended int
	for _, n := range table.TakeNews(nil) {
		if n.Event == Ended {
			ended++
		}
	}
	if ended != 1 {
		t.Errorf("its end was told %d times", ended)
	}
}

func TestSweepIsIncremental(t *testing.T) {
	table := NewTable(Config{}, epoch)
	for i := range 5000 {
		insert(t, table, 0, opening(key(ip6.UDP, uint16(i), 1)))
	}
	steps, removed := 0, 0
	for budget := table.Buckets(); budget > 0; budget -= 50 {
		n := table.Sweep(time.Hour, 50)
		if n > 400 {
			t.Fatalf("%d at once", n)
		}
		removed += n
		steps++
	}
	removed += table.Sweep(time.Hour, 50)
	if removed != 5000 || table.Len() != 0 || steps < 20 {
		t.Errorf("%d removed in %d steps", removed, steps)
	}
}
