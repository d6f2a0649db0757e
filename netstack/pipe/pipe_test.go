package pipe

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"kedge/netstack"
	"kedge/netstack/packet"
)

func ordinary(text string) *packet.Packet {
	p := packet.New(packet.SmallLength)
	p.Set([]byte(text))
	return p
}

func read(t *testing.T, l *Link) []string {
	t.Helper()
	pkts := packet.NewBatch(8, packet.SmallLength)
	n, err := l.Read(pkts)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range pkts[:n] {
		got = append(got, string(p.Bytes()))
	}
	return got
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestBothWaysInOrder(t *testing.T) {
	a, b := New(1500)
	for _, ends := range [][2]*Link{{a, b}, {b, a}} {
		one, two := ordinary("one"), ordinary("two")
		one.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 1}
		one.Group = true
		if n, err := ends[0].Write([]*packet.Packet{one, two}); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		one.Bytes()[0] = 'X' // the sender's again
		pkts := packet.NewBatch(1, packet.SmallLength)
		if n, err := ends[1].Read(pkts); n != 1 || err != nil || string(pkts[0].Bytes()) != "one" ||
			pkts[0].Offload != one.Offload || !pkts[0].Group {
			t.Fatalf("%d, %v, %+v", n, err, pkts[0])
		}
		equal(t, read(t, ends[1]), "two")
	}
}

func TestDrops(t *testing.T) {
	a, b := New(4)
	b.SetCapacity(2)
	super := ordinary("super")
	super.Offload.Segmentation = packet.TCP
	a.Write([]*packet.Packet{ordinary("12345"), super, ordinary("1234"), ordinary("full")})
	equal(t, read(t, b), "super", "1234")
	if a.Dropped() != 2 || b.Dropped() != 0 {
		t.Errorf("dropped %d and %d, want 2 and 0", a.Dropped(), b.Dropped())
	}
	a.SetMTU(5)
	a.Write([]*packet.Packet{ordinary("12345"), ordinary("1")})
	small := packet.NewBatch(1, 4)
	if n, err := b.Read(small); n != 1 || err != nil || string(small[0].Bytes()) != "1" {
		t.Errorf("Read with little room = %d, %v", n, err)
	}
	if a.Dropped() != 3 || a.MTU() != 5 {
		t.Errorf("dropped %d, want 3; MTU %d, want 5", a.Dropped(), a.MTU())
	}
}

func TestHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := New(1500)
		a.SetHook(func(p *packet.Packet) Verdict {
			switch string(p.Bytes()) {
			case "lost":
				return Verdict{Drop: true}
			case "slow":
				return Verdict{Delay: 30 * time.Millisecond}
			}
			return Verdict{Delay: 10 * time.Millisecond}
		})
		begin := time.Now()
		a.Write([]*packet.Packet{ordinary("slow"), ordinary("lost"), ordinary("fast")})
		equal(t, read(t, b), "fast")
		if d := time.Since(begin); d != 10*time.Millisecond {
			t.Errorf("took %v", d)
		}
		equal(t, read(t, b), "slow")
		if d := time.Since(begin); d != 30*time.Millisecond {
			t.Errorf("took %v", d)
		}
		a.SetHook(nil)
		a.Write([]*packet.Packet{ordinary("lost")})
		equal(t, read(t, b), "lost")
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := New(1500)
		failed := make(chan error)
		go func() {
			_, err := a.Read(packet.NewBatch(1, 1))
			failed <- err
		}()
		synctest.Wait()
		a.Close()
		if err := <-failed; !errors.Is(err, netstack.ErrClosed) {
			t.Errorf("Read: %v", err)
		}
		if _, err := a.Write(nil); !errors.Is(err, netstack.ErrClosed) {
			t.Errorf("Write: %v", err)
		}
		if n, err := b.Write([]*packet.Packet{ordinary("x")}); n != 1 || err != nil {
			t.Errorf("Write to a closed peer = %d, %v", n, err)
		}
	})
}

func TestDoesNotAllocate(t *testing.T) {
	a, b := New(1500)
	out, in := []*packet.Packet{ordinary("one"), ordinary("two")}, packet.NewBatch(4, packet.SmallLength)
	if n := testing.AllocsPerRun(100, func() {
		a.Write(out)
		if n, err := b.Read(in); n != 2 || err != nil {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
