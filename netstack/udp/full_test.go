package udp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/netstack/internal/testnet"
	"kedge/netstack/internal/wait"
	"kedge/netstack/packet"
)

// shaped is two links of namespaces on one wire; from the first they pass a token bucket filter (tc-tbf(8)) with parameters.
func shaped(t *testing.T, segment bool, parameters ...string) (from *testnet.Namespace, a, b *Link) {
	t.Helper()
	from, to := testnet.New(t), testnet.New(t)
	from.Veth("ka-a", to, "ka-b")
	from.Address("ka-a", "10.1.0.1/24")
	to.Address("ka-b", "10.1.0.2/24")
	from.Do(func() {
		a = open(t, Config{Listen: netip.MustParseAddrPort("10.1.0.1:4191"), Segment: segment})
	})
	to.Do(func() { b = open(t, Config{Listen: netip.MustParseAddrPort("10.1.0.2:4191"), Coalesce: segment}) })
	tc(t, from, append([]string{"qdisc", "add", "dev", "ka-a", "root", "tbf"}, parameters...)...)
	return from, a, b
}

func tc(t *testing.T, n *testnet.Namespace, arguments ...string) {
	t.Helper()
	n.Do(func() {
		if out, err := exec.Command("tc", arguments...).CombinedOutput(); err != nil {
			t.Skipf("no queue that is full: tc %v: %v: %s", arguments, err, out)
		}
	})
}

// numbers are the TCP sequence numbers of what comes in, until the last, in the order in which it comes.
func numbers(t *testing.T, l *Link, last uint32) <-chan []uint32 {
	t.Helper()
	all := make(chan []uint32, 1)
	late := time.AfterFunc(10*time.Second, func() { l.Close() })
	go func() {
		defer late.Stop()
		var got []uint32
		defer func() { all <- got }()
		pkts := packet.NewBatch(64, packet.MaxLength)
		for {
			n, err := l.Read(pkts)
			if err != nil {
				return
			}
			for _, p := range pkts[:n] {
				var s packet.Segmenter
				if s.Start(p) != nil {
					t.Error("no packet")
					return
				}
				for out := packet.New(packet.MaxLength); s.Segments() > 0; {
					if _, err := s.Next(out); err != nil {
						t.Error(err)
						return
					}
					if got = append(got, binary.BigEndian.Uint32(out.Bytes()[44:])); got[len(got)-1] == last {
						return
					}
				}
			}
		}
	}()
	return all
}

// descriptors are this process's open ones.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// processorTime is this process's.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A full queue of the interface refuses packets (ENOBUFS): each is counted, the others arrive in order, and nothing waits.
func TestFullQueue(t *testing.T) {
	for _, segment := range []bool{false, true} {
		t.Run(fmt.Sprintf("segment=%v", segment), func(t *testing.T) {
			_, a, b := shaped(t, segment, "rate", "8mbit", "burst", "70000", "limit", "140000")
			before := descriptors(t)
			const rounds, size = 40, 1000
			in := numbers(t, b, rounds*64)
			sent := 0
			for range rounds {
				var pkts []*packet.Packet
				for range 64 {
					p := super(packet.TCP, 1, uint32(sent), payload(size), size)
					p.Peer = b.LocalAddrPort()
					pkts = append(pkts, p)
					sent++
				}
				n, err := a.Write(pkts)
				if err != nil || n > len(pkts) {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			c := a.Counters()
			if c.NoBuffers == 0 || c != (Counters{NoBuffers: c.NoBuffers}) {
				t.Fatalf("%+v", c)
			}
			time.Sleep(300 * time.Millisecond) // the queue takes 140
			p := super(packet.TCP, 1, uint32(sent), payload(size), size)
			p.Peer = b.LocalAddrPort()
			sent++
			if n, err := a.Write([]*packet.Packet{p}); n != 1 || err != nil {
				t.Errorf("after the queue was full: Write = %d, %v", n, err)
			}
			got := <-in
			if now := descriptors(t); now != before {
				t.Errorf("%d descriptors are open, %d were", now, before)
			}
			t.Logf("%d of %d came, %d were refused", len(got), sent, c.NoBuffers)
			if len(got)+int(c.NoBuffers) != sent || !slices.IsSorted(got) || len(slices.Compact(got)) != len(got) || got[len(got)-1] != uint32(sent-1) {
				t.Errorf("%d of %d packets came, %d were refused; in order: %v", len(got), sent, c.NoBuffers, slices.IsSorted(got))
			}
		})
	}
}

// Where the socket's own buffer is full (EAGAIN) a Write waits, once, without using the processor, however much it was given;
// it goes on as soon as there is room.
func TestFullSendBuffer(t *testing.T) {
	for _, segment := range []bool{false, true} {
		t.Run(fmt.Sprintf("segment=%v", segment), func(t *testing.T) {
			from, a, b := shaped(t, segment, "rate", "8kbit", "burst", "70000", "limit", "100000000")
			_ = a.raw.Control(func(fd uintptr) {
				if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 300000); err != nil {
					t.Error(err)
				}
			})
			before := descriptors(t)
			var pkts []*packet.Packet
			for i := range 64 {
				p := super(packet.TCP, 1, uint32(i*60000), payload(60000), 1400)
				p.Peer = b.LocalAddrPort()
				pkts = append(pkts, p)
			}
			for a.Counters().NoBuffers == 0 {
				if _, err := a.Write(pkts); err != nil {
					t.Fatal(err)
				}
			}
			was, used, begin := a.Counters().NoBuffers, processorTime(t), time.Now()
			n, err := a.Write(pkts)
			took, used := time.Since(begin), processorTime(t)-used
			if c := a.Counters(); err != nil || n > 2 || c != (Counters{NoBuffers: c.NoBuffers}) || c.NoBuffers < was+uint64(len(pkts)-n) {
				t.Errorf("Write = %d, %v; %+v, %d before", n, err, c, was)
			}
			t.Logf("64 super-packets took %v, %v of the processor", took, used)
			if took < wait.Patience || took > 50*wait.Patience || used > 10*wait.Patience {
				t.Errorf("64 super-packets took %v, %v of the processor", took, used)
			}
			// What is queued goes with the filter.
			tc(t, from, "qdisc", "del", "dev", "ka-a", "root")
			const more = 100
			in := numbers(t, b, 1<<30+more-1)
			lost := a.Counters()
			for i := range more {
				p := super(packet.TCP, 1, uint32(1<<30+i), payload(1000), 1000)
				p.Peer = b.LocalAddrPort()
				if n, err := a.Write([]*packet.Packet{p}); n != 1 || err != nil {
					t.Errorf("with room again: Write = %d, %v", n, err)
				}
			}
			if c := a.Counters(); c != lost {
				t.Errorf("with room again: %+v, before %+v", c, lost)
			}
			if now := descriptors(t); now != before {
				t.Errorf("%d descriptors are open, %d were", now, before)
			}
			got := <-in
			if !slices.IsSorted(got) || len(got) < more || got[len(got)-1] != 1<<30+more-1 {
				t.Errorf("%d packets came, in order: %v", len(got), slices.IsSorted(got))
			}
		})
	}
}
