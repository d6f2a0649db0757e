package tun

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/netstack/internal/testnet"
	"kedge/netstack/packet"
)

// routeOptimized is a super-packet with a Home Address option (RFC 6275 section 6.3) and a type 2 routing header (section
// 6.4), whose pseudo-header has the home addresses of both.
func routeOptimized(kind packet.Segmentation, payload []byte, size int) *packet.Packet {
	home, final := netip.MustParseAddr("2001:db8:77::1"), netip.MustParseAddr("2001:db8:78::2")
	protocol, length, offset := byte(6), 20, 16
	if kind == packet.UDP {
		protocol, length, offset = 17, 8, 6
	}
	b := make([]byte, 40, 88+length+len(payload))
	b[0], b[6], b[7] = 0x60, 43, 64
	binary.BigEndian.PutUint16(b[4:], uint16(48+length+len(payload)))
	copy(b[8:], netip.MustParseAddr("2001:db8:1::b").AsSlice())
	copy(b[24:], netip.MustParseAddr("2001:db8:2::b").AsSlice())
	b = append(append(b, 60, 2, 2, 1, 0, 0, 0, 0), final.AsSlice()...)
	b = append(append(b, protocol, 2, 1, 2, 0, 0, 0xc9, 16), home.AsSlice()...)
	transport := make([]byte, length)
	binary.BigEndian.PutUint16(transport, 5)
	binary.BigEndian.PutUint16(transport[2:], 6)
	if kind == packet.UDP {
		binary.BigEndian.PutUint16(transport[4:], uint16(length+len(payload)))
	} else {
		transport[12], transport[13] = 5<<4, 0x18
	}
	binary.BigEndian.PutUint16(transport[offset:],
		packet.PseudoHeaderSum(home.AsSlice(), final.AsSlice(), length+len(payload), protocol))
	p := packet.New(packet.MaxLength)
	p.Set(append(append(b, transport...), payload...))
	p.Offload = packet.Offload{
		Segmentation: kind, SegmentSize: uint16(size), HeaderLength: uint16(88 + length),
		NeedsChecksum: true, ChecksumStart: 88, ChecksumOffset: uint16(offset),
	}
	return p
}

// The kernel cuts up super-packets with mobility headers as a Segmenter does, and makes their checksums of the home
// addresses; it sees but one write.
func TestRouteOptimizedSuperPacketsAreWrittenWhole(t *testing.T) {
	n := testnet.New(t)
	in := device(t, n, true, "2001:db8:1::a/64")
	var out *Link
	n.Do(func() {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0); err != nil {
			t.Skip(err)
		}
		var err error
		if out, err = Open("kt4-out", 1500, Offload{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { out.Close() })
	n.Up("kt4-out")
	n.Address("kt4-out", "2001:db8:2::a/64")
	for _, kind := range []packet.Segmentation{packet.TCP, packet.UDP} {
		if kind == packet.UDP && !in.offload.UDP {
			continue
		}
		payload := bytes.Repeat([]byte("0123456789abc"), 1000)
		p := routeOptimized(kind, payload, 1200)
		if !in.takes(p) {
			t.Fatalf("kind %d: it would be cut up here", kind)
		}
		want := packet.NewBatch(20, packet.SmallLength)
		count, err := packet.Split(p, want)
		if err != nil {
			t.Fatal(err)
		}
		if sent, err := in.Write([]*packet.Packet{p}); sent != 1 || err != nil || in.Counters().Refused != 0 {
			t.Fatalf("Write = %d, %v; %+v", sent, err, in.Counters())
		}
		late := time.AfterFunc(5*time.Second, func() { out.Close() })
		got := packet.NewBatch(32, packet.SmallLength)
		for i := 0; i < count; {
			read, err := out.Read(got)
			if err != nil {
				t.Fatalf("kind %d: %d packets, want %d: %v", kind, i, count, err)
			}
			for _, g := range got[:read] {
				if g.Bytes()[6] == unix.IPPROTO_ICMPV6 || g.Bytes()[6] == 0 {
					continue // what the kernel has to say for itself
				}
				want[i].Bytes()[7]-- // the hop
				if !bytes.Equal(g.Bytes(), want[i].Bytes()) {
					t.Fatalf("kind %d, segment %d\n got %x\nwant %x", kind, i, g.Bytes(), want[i].Bytes())
				}
				i++
			}
		}
		late.Stop()
	}
}

// A read gathers small packets, and hands over a super-packet at once.
func TestReadDrainsWhatIsSmall(t *testing.T) {
	n := testnet.New(t)
	l := device(t, n, true, "2001:db8:1::a/64")
	l.KeepSuperPackets()
	var fd int
	n.Do(func() { fd, _ = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) })
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: 9, Addr: addressB.As16()}); err != nil {
		t.Fatal(err)
	}
	send := func(size, segment int) {
		t.Helper()
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	send(100, 0)
	send(1000, 0)
	send(20000, 1000)
	send(100, 0)
	pkts := packet.NewBatch(8, packet.MaxLength)
	var batches [][]int
	for total := 0; total < 21200; {
		count, err := l.Read(pkts)
		if err != nil {
			t.Fatal(err)
		}
		var batch []int
		for _, p := range pkts[:count] {
			if p.Bytes()[6] == unix.IPPROTO_UDP {
				batch = append(batch, p.Len()-48)
				total += p.Len() - 48
			}
		}
		if batch != nil {
			batches = append(batches, batch)
		}
	}
	if len(batches) != 2 || len(batches[0]) != 3 || batches[0][2] != 20000 || len(batches[1]) != 1 {
		t.Errorf("reads of %v octets, want [100 1000 20000] and [100]", batches)
	}
}

func TestOffloadsAreSwitchedSeparately(t *testing.T) {
	n := testnet.New(t)
	for _, o := range []Offload{{}, {TCP: true}, {UDP: true}, {TCP: true, UDP: true}} {
		var l *Link
		var err error
		n.Do(func() { l, err = Open(testName, 1500, o) })
		if err != nil {
			t.Skip(err)
		}
		features := l.Features()
		if features&packet.SegmentTCP != 0 != o.TCP || features&packet.SegmentUDP != 0 && !o.UDP ||
			features&packet.PartialChecksum != 0 != (o != Offload{}) {
			t.Errorf("%+v: features %b", o, features)
		}
		for kind, on := range map[packet.Segmentation]bool{packet.TCP: o.TCP, packet.UDP: l.offload.UDP} {
			if l.takes(routeOptimized(kind, make([]byte, 100), 10)) != on {
				t.Errorf("%+v: takes kind %d: %v", o, kind, !on)
			}
		}
		l.Close()
	}
}
