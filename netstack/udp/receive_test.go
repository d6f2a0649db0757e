package udp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/netstack/packet"
)

// sender is a plain socket that sends whatever a test wants.
func sender(t testing.TB, to *Link) func(data []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	address := &unix.SockaddrInet6{Port: int(to.LocalAddrPort().Port()), Addr: to.LocalAddrPort().Addr().As16()}
	return func(data []byte) {
		t.Helper()
		if err := unix.Sendto(fd, data, 0, address); err != nil {
			t.Fatal(err)
		}
	}
}

// last is an IPv6 packet without contents.
func last() []byte {
	b := make([]byte, 40)
	b[0], b[6] = 0x60, 59
	return b
}

func TestGarbageIsCounted(t *testing.T) {
	l := open(t, Config{Listen: netip.MustParseAddrPort("[::1]:0"), Coalesce: true})
	send := sender(t, l)
	send(nil)
	send([]byte{0x60})
	send([]byte{0x45, 0, 0, 20})
	send([]byte("\xff nothing of the kind"))
	send(make([]byte, 1))
	send(last()[:39])
	send(append(last(), 0))
	long := last()
	long[5] = 1
	send(long)
	send(last())
	if got := receive(t, l, 1); len(got) != 1 || !bytes.Equal(got[0], last()) {
		t.Errorf("%x", got)
	}
	if got, want := l.Counters(), (Counters{IPv4: 1, NotIPv6: 3, Invalid: 4}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestPacketsLongerThanTheirBuffersAreCounted(t *testing.T) {
	a, b := ends(t, "::1", Config{Coalesce: true})
	for _, n := range []int{100, 2000, 100} {
		p := super(packet.UDP, uint16(n), 0, payload(n), 1<<15)
		p.Peer = b.LocalAddrPort()
		if n, err := a.Write([]*packet.Packet{p}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	in := packet.NewBatch(1, 1000)
	for range 2 {
		n, err := b.Read(in)
		if n != 1 || err != nil || in[0].Len() != 148 {
			t.Fatal(n, err, in[0].Len())
		}
	}
	if got, want := b.Counters(), (Counters{Truncated: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestWhatCannotBeSentIsCounted(t *testing.T) {
	a, b := ends(t, "::1", Config{Segment: true})
	change := func(f func(p *packet.Packet)) *packet.Packet {
		p := super(packet.TCP, 1, 0, payload(3000), 1000)
		p.Peer = b.LocalAddrPort()
		f(p)
		return p
	}
	pkts := []*packet.Packet{
		change(func(p *packet.Packet) { p.Peer = netip.AddrPort{} }),
		change(func(p *packet.Packet) { p.Peer = netip.AddrPortFrom(p.Peer.Addr(), 0) }),
		change(func(p *packet.Packet) { p.Local = netip.MustParseAddr("127.0.0.1") }),
		change(func(p *packet.Packet) { p.Local = netip.MustParseAddr("2001:db8:ffff::1") }),
		change(func(p *packet.Packet) { p.Offload.SegmentSize = 0 }),
		change(func(p *packet.Packet) { p.SetLen(0); p.Offload = packet.Offload{} }),
		change(func(p *packet.Packet) { p.Offload.Segmentation = packet.NotSegmented; p.Offload.ChecksumStart = 65000 }),
		change(func(p *packet.Packet) {
			*p = *super(packet.UDP, 1, 0, payload(65500), 65500)
			p.Peer = b.LocalAddrPort()
		}),
		change(func(*packet.Packet) {}),
	}
	if n, err := a.Write(pkts); n != 1 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	if got, want := a.Counters(), (Counters{NoPeer: 3, Unreachable: 1, Refused: 3, TooBig: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	receive(t, b, 3)
}

func TestOverflowIsCounted(t *testing.T) {
	a, b := ends(t, "::1", Config{ReceiveBuffer: 4096})
	p := super(packet.UDP, 1, 0, payload(1000), 1000)
	p.Peer = b.LocalAddrPort()
	const sent = 100
	write := func() {
		if n, err := a.Write([]*packet.Packet{p}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	for range sent {
		write()
	}
	in := packet.NewBatch(2*sent, packet.MaxLength)
	got, err := b.Read(in)
	if err != nil {
		t.Fatal(err)
	}
	write() // the count comes with what is received afterwards
	for {
		n, err := b.Read(in)
		if err != nil {
			t.Fatal(err)
		}
		if got += n; b.Counters().Overflow != 0 {
			break
		}
	}
	if want := uint64(sent + 1 - got); b.Counters().Overflow != want {
		t.Errorf("%d received, %d overflowed, %d sent", got, b.Counters().Overflow, sent+1)
	}
}

func TestAddressesAndTrafficClass(t *testing.T) {
	for _, c := range []struct{ listen, peer, local string }{
		{"[::]:0", "::1", "::1"}, {"[::]:0", "127.0.0.1", "127.0.0.7"}, {"127.0.0.1:0", "127.0.0.1", "127.0.0.9"},
	} {
		a := open(t, Config{Segment: true, Coalesce: true})
		b := open(t, Config{Listen: netip.MustParseAddrPort(c.listen), Segment: true, Coalesce: true})
		local := netip.MustParseAddr(c.local)
		var pkts []*packet.Packet
		for _, class := range []uint8{0, 0, 0xb9, 0xb9, 0x03} {
			p := super(packet.TCP, 1, uint32(len(pkts))*100, payload(100), 100)
			p.Peer = netip.AddrPortFrom(netip.MustParseAddr(c.peer), b.LocalAddrPort().Port())
			p.Local, p.TrafficClass = local, class
			pkts = append(pkts, p)
		}
		if n, err := a.Write(pkts); n != 5 || err != nil {
			t.Fatalf("%+v: Write = %d, %v; %+v", c, n, err, a.Counters())
		}
		in := packet.NewBatch(8, packet.MaxLength)
		var lengths []int
		var classes []uint8
		for got := 0; got < 500; {
			n, err := b.Read(in)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range in[:n] {
				if want := netip.AddrPortFrom(local, a.LocalAddrPort().Port()); p.Peer != want || p.Local != netip.MustParseAddr(c.peer) {
					t.Errorf("%+v: from %v to %v", c, p.Peer, p.Local)
				}
				lengths, classes = append(lengths, p.Len()-72), append(classes, p.TrafficClass)
				got += p.Len() - 72
			}
		}
		if !bytes.Equal(classes, []byte{0, 0xb9, 3}) || lengths[0] != 200 || lengths[1] != 200 || lengths[2] != 100 {
			t.Errorf("%+v: traffic classes %x of %d octets", c, classes, lengths)
		}
	}
}

// Flows that are interleaved at random, with faults, arrive as they were sent, each in order, and wrong checksums are still
// wrong.
func TestInterleavedFlows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		a, b := ends(t, "::1", Config{Segment: r.IntN(2) == 0, Coalesce: true})
		type flow struct {
			sequence uint32
			sent     [][]byte
		}
		flows := map[uint16]*flow{}
		var pkts []*packet.Packet
		total := 0
		for range 60 {
			port := uint16(1 + r.IntN(12))
			f := flows[port]
			if f == nil {
				f = &flow{}
				flows[port] = f
			}
			kind, size := packet.TCP, []int{1, 100, 1388, 1388, 1388}[r.IntN(5)]
			if port > 9 {
				kind, size = packet.UDP, []int{20, 20, 20, 300}[r.IntN(4)]
			}
			p := super(kind, port, f.sequence, payload(1+r.IntN(8)*size), size)
			f.sequence += uint32(p.Len() - 72)
			for _, s := range singles(t, p) {
				one := s.Bytes()
				switch r.IntN(30) {
				case 0:
					one[len(one)-1]++ // a wrong checksum
				case 1:
					one[1] ^= 0x30 // congestion experienced
				case 2:
					one[min(53, len(one)-1)] ^= 8 // push with a wrong checksum
				}
				f.sent = append(f.sent, bytes.Clone(one))
				s.Peer = b.LocalAddrPort()
				pkts = append(pkts, s)
				total++
			}
		}
		for i := 0; i < len(pkts); {
			n := min(1+r.IntN(100), len(pkts)-i)
			if sent, err := a.Write(pkts[i : i+n]); sent != n || err != nil {
				t.Fatalf("Write = %d, %v; %+v", sent, err, a.Counters())
			}
			i += n
		}
		for _, p := range receive(t, b, total) {
			f := flows[binary.BigEndian.Uint16(p[40:])]
			if len(f.sent) == 0 || !bytes.Equal(p, f.sent[0]) {
				t.Fatalf("got  %x\nwant %x", p, f.sent[0])
			}
			f.sent = f.sent[1:]
		}
		a.Close()
		b.Close()
	}
}

// What does not fit a batch comes with the next.
func TestSmallBatches(t *testing.T) {
	a, b := ends(t, "::1", Config{Segment: true})
	p := super(packet.TCP, 1, 0, payload(20000), 1000)
	p.Peer = b.LocalAddrPort()
	want := singles(t, p)
	if n, err := a.Write([]*packet.Packet{p}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	in := packet.NewBatch(3, packet.SmallLength)
	for i := 0; i < len(want); {
		n, err := b.Read(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range in[:n] {
			if !bytes.Equal(got.Bytes(), want[i].Bytes()) {
				t.Fatalf("packet %d is another", i)
			}
			i++
		}
	}
}

func TestDoesNotAllocate(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		a, b := ends(t, address, Config{Segment: true, Coalesce: true})
		whole := super(packet.TCP, 1, 0, payload(60000), 1388)
		all := append(singles(t, super(packet.UDP, 2, 0, payload(300), 100)), whole)
		work, in := packet.NewBatch(len(all), packet.MaxLength), packet.NewBatch(64, packet.MaxLength)
		if n := testing.AllocsPerRun(100, func() {
			octets := 0
			for i, p := range all {
				work[i].CopyFrom(p)
				work[i].Peer, work[i].Local, work[i].TrafficClass = b.LocalAddrPort(), a.LocalAddrPort().Addr(), 0xb8
			}
			if n, err := a.Write(work); n != len(work) || err != nil {
				t.Fatal(n, err)
			}
			for octets < 60000 {
				n, err := b.Read(in)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range in[:n] {
					octets += p.Len()
				}
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", address, n)
		}
	}
}

// A peer without a listener makes the kernel report errors to whoever comes next; nothing else gets lost for it.
func TestRefusingPeersDisturbNobody(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		a, b := ends(t, address, Config{Segment: true, Coalesce: true})
		gone := open(t, Config{Listen: netip.AddrPortFrom(netip.MustParseAddr(address), 0)})
		gone.Close()
		for i := range 50 {
			bad, good := super(packet.UDP, 1, 0, payload(10), 10), super(packet.UDP, 1, 0, payload(i+1), 100)
			bad.Peer, good.Peer = gone.LocalAddrPort(), b.LocalAddrPort()
			if n, err := a.Write([]*packet.Packet{bad, good, bad}); n != 3 || err != nil {
				t.Fatalf("Write = %d, %v; %+v", n, err, a.Counters())
			}
			if got := receive(t, b, 1); len(got[0]) != 48+i+1 {
				t.Fatalf("%d octets", len(got[0]))
			}
			back := super(packet.UDP, 1, 0, payload(i+1), 100)
			back.Peer = a.LocalAddrPort()
			if n, err := b.Write([]*packet.Packet{back}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			if got := receive(t, a, 1); len(got[0]) != 48+i+1 {
				t.Fatalf("%d octets", len(got[0]))
			}
		}
		if got := a.Counters(); got != (Counters{}) {
			t.Errorf("%+v", got)
		}
	}
}

func TestCloseUnblocksRead(t *testing.T) {
	l := open(t, Config{})
	failed := make(chan error, 1)
	go func() {
		_, err := l.Read(packet.NewBatch(1, packet.MaxLength))
		failed <- err
	}()
	time.Sleep(20 * time.Millisecond)
	l.Close()
	select {
	case err := <-failed:
		if err == nil {
			t.Error("Read succeeded")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Read did not return")
	}
	if _, err := l.Write(nil); err == nil {
		t.Error("Write succeeded")
	}
	if err := l.Close(); err != nil || l.MTU() != 0 {
		t.Errorf("second Close: %v; MTU %d", err, l.MTU())
	}
}

// Whatever arrives, in whatever pieces, comes out as the valid packets in it and nothing else, each flow in order.
func FuzzReceive(f *testing.F) {
	whole := super(packet.TCP, 1, 0, payload(300), 100)
	var data []byte
	for _, p := range singles(f, whole, super(packet.UDP, 2, 0, payload(60), 20)) {
		data = append(data, p.Bytes()...)
	}
	f.Add(data, uint16(172), uint8(3))
	f.Add(data[:172], uint16(0), uint8(1))
	f.Add([]byte{0x45}, uint16(1), uint8(1))
	l := open(f, Config{Listen: netip.MustParseAddrPort("[::1]:0"), Coalesce: true})
	in := packet.NewBatch(256, packet.MaxLength)
	f.Fuzz(func(t *testing.T, data []byte, size uint16, room uint8) {
		if len(data) == 0 || len(data) > bufferLength {
			return
		}
		r := &l.read
		copy(r.buffers, data)
		r.rest, r.size = r.buffers[:len(data)], max(int(size), 1)
		if size == 0 {
			r.size = len(data)
		}
		r.message, r.got = 0, 0
		want := map[string][][]byte{}
		flow := func(b []byte) string { return string(b[6:7]) + string(b[8:min(len(b), 44)]) }
		left := 0
		for at := 0; at < len(data); at += r.size {
			b := data[at:min(at+r.size, len(data))]
			if len(b) >= 40 && b[0]>>4 == 6 && 40+int(binary.BigEndian.Uint16(b[4:])) == len(b) {
				want[flow(b)] = append(want[flow(b)], b)
				left++
			}
		}
		var s packet.Segmenter
		out := packet.New(packet.MaxLength)
		for len(r.rest) > 0 {
			n := l.handOver(in[:int(room)+1])
			for _, p := range in[:n] {
				if err := s.Start(p); err != nil {
					t.Fatalf("%x: %v", p.Bytes(), err)
				}
				for s.Segments() > 0 {
					if _, err := s.Next(out); err != nil {
						t.Fatal(err)
					}
					f := flow(out.Bytes())
					if len(want[f]) == 0 || !bytes.Equal(want[f][0], out.Bytes()) {
						t.Fatalf("%x is not what was sent", out.Bytes())
					}
					want[f] = want[f][1:]
					left--
				}
			}
		}
		if left != 0 {
			t.Fatalf("%d packets are missing", left)
		}
	})
}
