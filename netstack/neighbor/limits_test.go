package neighbor

import (
	"testing"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

func TestLimits(t *testing.T) {
	learn := func(b *bench, i int) {
		b.receive(m1, numbered(i), own, &nd.NeighborSolicitation{Target: own, Options: nd.Options{nd.SourceLinkLayerAddress(m1)}})
	}
	t.Run("solicitations from many sources", func(t *testing.T) {
		b := newBench(t, Config{MaxNeighbors: 100})
		b.put(reachable)
		for i := range 1000 {
			learn(b, 0x1000+i)
		}
		b.check()
		if b.neighbors != 100 || b.state(peer) != reachable || b.state(numbered(0x1000+999)) != stale || b.state(numbered(0x1000)) != removed {
			t.Errorf("%d neighbours", b.neighbors)
		}
		if c := b.Counters(); c.Evicted != 901 {
			t.Errorf("%+v", c)
		}
	})
	t.Run("packets to many destinations", func(t *testing.T) {
		b := newBench(t, Config{})
		for i := range 300 {
			b.resolve(numbered(0x1000+i), "a")
		}
		if c := b.Counters(); b.incomplete.Len() != 256 || c.IncompleteDropped != 44 || c.PendingDropped != 44 {
			t.Errorf("%d incomplete, %+v", b.incomplete.Len(), c)
		}
		if b.state(numbered(0x1000+43)) != removed || b.state(numbered(0x1000+44)) != incomplete {
			t.Error("not the oldest were dropped")
		}
		b.until(10 * time.Second)
		if b.neighbors != 0 {
			t.Errorf("%d neighbours stay", b.neighbors)
		}
	})
	t.Run("a table of reachable neighbours", func(t *testing.T) {
		b := newBench(t, Config{MaxNeighbors: 4})
		for i := range 4 {
			b.resolve(numbered(0x1000+i), "a")
			b.advertise(numbered(0x1000+i), m1)
		}
		learn(b, 0x2000)
		b.lines = nil
		b.resolve(peer, "a")
		b.expect()
		if c := b.Counters(); c.Refused != 2 || c.PendingDropped != 1 || b.neighbors != 4 {
			t.Errorf("%+v", c)
		}
	})
	t.Run("octets that wait", func(t *testing.T) {
		b := newBench(t, Config{})
		p := packet.New(65000)
		p.SetLen(65000)
		for i := range 100 {
			b.Resolve(b.now, numbered(0x1000+i), p)
		}
		b.check()
		if want := maxPendingOctets / 65000; b.pendingOctets != want*65000 || b.Counters().PendingDropped != uint64(100-want) {
			t.Errorf("%d octets", b.pendingOctets)
		}
	})
	t.Run("Flush", func(t *testing.T) {
		b := newBench(t, Config{})
		for i := range 100 {
			learn(b, 0x1000+i)
		}
		b.resolve(peer, "a")
		b.Lookup(numbered(0x1000))
		b.Flush()
		b.lines = nil
		b.until(time.Hour).expect()
		if b.neighbors != 0 {
			t.Errorf("%d neighbours", b.neighbors)
		}
	})
	t.Run("invalid", func(t *testing.T) {
		b := newBench(t, Config{})
		b.do(b.Handle(b.now, []byte{1, 2, 3}, m1))
		b.expect()
		if c := b.Counters(); c.Invalid != 1 {
			t.Errorf("%+v", c)
		}
	})
}
