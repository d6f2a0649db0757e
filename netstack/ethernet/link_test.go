package ethernet

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/internal/testnet"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

// open opens a link in a namespace or skips.
func open(t testing.TB, n *testnet.Namespace, config Config) *Link {
	t.Helper()
	var l *Link
	var err error
	n.Do(func() { l, err = Open(config) })
	if errors.Is(err, os.ErrPermission) {
		t.Skipf("no packet sockets here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// attach gives a link a neighbour table that answers for addresses.
func attach(l *Link, addresses ...netip.Addr) *neighbor.Table {
	table := neighbor.New(neighbor.Config{LinkAddress: l.HardwareAddr(), Router: true})
	l.Attach(table, nil)
	for _, a := range addresses {
		l.Perform(table.AddAddress(time.Now(), a, neighbor.Own))
	}
	return table
}

var (
	gateway  = netip.MustParseAddr("fe80::1")
	addressA = netip.MustParseAddr("2001:db8:1::a")
	addressB = netip.MustParseAddr("2001:db8:2::b")
)

// forward routes from one link to another until it is closed. It stands for the engine.
func forward(wait *sync.WaitGroup, from, to *Link, prefix netip.Prefix, room int) {
	wait.Add(1)
	go func() {
		defer wait.Done()
		pkts, out := packet.NewBatch(64, room), make([]*packet.Packet, 0, 64)
		for {
			n, err := from.Read(pkts)
			if err != nil {
				return
			}
			out = out[:0]
			for _, p := range pkts[:n] {
				b := p.Bytes()
				if destination := netip.AddrFrom16([16]byte(b[24:40])); prefix.Contains(destination) && !p.Group {
					p.NextHop = destination
					b[7]--
					out = append(out, p)
				}
			}
			if _, err := to.Write(out); err != nil {
				return
			}
		}
	}()
}

// routed makes kernel A - link a, link b - kernel B, with the links in a namespace of their own.
func routed(t testing.TB, offloadA, offloadB bool) (a, b *testnet.Namespace, la, lb *Link) {
	t.Helper()
	a, b = testnet.New(t), testnet.New(t)
	r := testnet.New(t)
	r.Veth("kt4-ra", a, "kt4-a")
	r.Veth("kt4-rb", b, "kt4-b")
	a.Address("kt4-a", "2001:db8:1::a/64")
	b.Address("kt4-b", "2001:db8:2::b/64")
	for _, n := range []struct {
		*testnet.Namespace
		name, prefix string
	}{{a, "kt4-a", "2001:db8:2::/64"}, {b, "kt4-b", "2001:db8:1::/64"}} {
		destination, _ := netlink.ParseIPNet(n.prefix)
		if err := n.Netlink.RouteAdd(&netlink.Route{
			LinkIndex: n.Link(n.name).Attrs().Index, Dst: destination, Gw: net.ParseIP("fe80::1"),
		}); err != nil {
			t.Fatal(err)
		}
	}
	la = open(t, r, Config{Interface: "kt4-ra", Offload: offloadA})
	lb = open(t, r, Config{Interface: "kt4-rb", Offload: offloadB})
	attach(la, gateway)
	attach(lb, gateway)
	return a, b, la, lb
}

// Kernel TCP and UDP through two links: the kernels verify every checksum.
func TestKernelTraffic(t *testing.T) {
	for _, c := range []struct{ offloadA, offloadB bool }{{false, false}, {true, true}, {true, false}, {false, true}} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			a, b, la, lb := routed(t, c.offloadA, c.offloadB)
			var wait sync.WaitGroup
			defer wait.Wait()
			defer la.Close()
			defer lb.Close()
			forward(&wait, la, lb, netip.MustParsePrefix("2001:db8:2::/64"), packet.MaxLength)
			forward(&wait, lb, la, netip.MustParsePrefix("2001:db8:1::/64"), packet.MaxLength)
			testnet.Echo(t, a, b, addressB, 1, 1000, 1452, 5000)
			const size = 8 << 20
			for _, d := range []time.Duration{
				testnet.Transfer(t, a, b, addressB, size), testnet.Transfer(t, b, a, addressA, size),
			} {
				t.Logf("%.2f Gbit/s", size*8/d.Seconds()/1e9)
			}
			for _, l := range []*Link{la, lb} {
				// A receive buffer may overflow while TCP feels its way; nothing else may be lost.
				if got := l.Counters(); got != (Counters{Overflow: got.Overflow}) {
					t.Errorf("counters %+v", got)
				}
			}
		})
	}
}

// station is kedge as an IPv6-in-IPv6 tunnel's end on one Ethernet interface beside a kernel peer.
type station struct {
	peer, own *testnet.Namespace
	link      *Link
	table     *neighbor.Table
}

var (
	peerAddress = netip.MustParseAddr("2001:db8:1::a")
	ownAddress  = netip.MustParseAddr("2001:db8:1::99")
)

func newStation(t testing.TB, offload bool) *station {
	t.Helper()
	s := &station{peer: testnet.New(t), own: testnet.New(t)}
	s.own.Veth("kt4-own", s.peer, "kt4-peer")
	s.peer.Address("kt4-peer", "2001:db8:1::a/64")
	s.link = open(t, s.own, Config{Interface: "kt4-own", Offload: offload})
	s.table = attach(s.link, ownAddress)
	return s
}

// listen reads and forgets until the link is closed: neighbours answer by way of Read.
func (s *station) listen() {
	go func() {
		pkts := packet.NewBatch(8, packet.MaxLength)
		for {
			if _, err := s.link.Read(pkts); err != nil {
				return
			}
		}
	}()
}

// await reads until match is satisfied.
func (s *station) await(t testing.TB, match func(p *packet.Packet) bool) *packet.Packet {
	t.Helper()
	pkts := packet.NewBatch(64, packet.MaxLength)
	for {
		n, err := s.link.Read(pkts)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pkts[:n] {
			if match(p) {
				return p
			}
		}
	}
}

// super is a TCP or UDP super-packet from kedge's address to the peer, behind tunnels more IPv6 headers.
func super(kind packet.Segmentation, tunnels, size int, payload []byte, port int) *packet.Packet {
	next, transport := byte(6), make([]byte, 20)
	if kind == packet.UDP {
		next, transport = 17, make([]byte, 8)
	}
	transport[0], transport[2], transport[3] = 0x10, byte(port>>8), byte(port)
	length := len(transport) + len(payload)
	if kind == packet.TCP {
		transport[12], transport[13] = 5<<4, 0x10
	} else {
		transport[4], transport[5] = byte(length>>8), byte(length)
	}
	source, destination := ownAddress.As16(), peerAddress.As16()
	sum := packet.PseudoHeaderSum(source[:], destination[:], length, next)
	field := 16
	if kind == packet.UDP {
		field = 6
	}
	transport[field], transport[field+1] = byte(sum>>8), byte(sum)
	b := append(transport, payload...)
	for range tunnels + 1 {
		h := append([]byte{0x60, 0, 0, 0, byte(len(b) >> 8), byte(len(b)), next, 64}, source[:]...)
		b = append(append(h, destination[:]...), b...)
		next = 41
	}
	p := packet.New(packet.MaxLength)
	p.Set(b)
	p.Offload = packet.Offload{
		Segmentation: kind, SegmentSize: uint16(size), HeaderLength: uint16(len(b) - len(payload)),
		NeedsChecksum: true, ChecksumStart: uint16(len(b) - length), ChecksumOffset: uint16(field),
	}
	return p
}

// UDP super-packets arrive at a kernel socket as the datagrams they are made of.
func TestWriteUDPSuperPacket(t *testing.T) {
	for _, offload := range []bool{false, true} {
		s := newStation(t, offload)
		s.listen()
		var socket net.PacketConn
		var err error
		s.peer.Do(func() { socket, err = net.ListenPacket("udp", "[2001:db8:1::a]:0") })
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		payload := make([]byte, 50000)
		for i := range payload {
			payload[i] = byte(i * 7 >> 3)
		}
		port := socket.LocalAddr().(*net.UDPAddr).Port
		if n, err := s.link.Write([]*packet.Packet{super(packet.UDP, 0, 1400, payload, port)}); n != 1 || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		h, b, got := sha256.New(), make([]byte, 65536), 0
		socket.SetReadDeadline(time.Now().Add(5 * time.Second))
		for got < len(payload) {
			n, _, err := socket.ReadFrom(b)
			if err != nil {
				t.Fatalf("offload %v: after %d octets: %v, counters %+v", offload, got, err, s.link.Counters())
			}
			if n != 1400 && got+n != len(payload) {
				t.Errorf("datagram of %d octets", n)
			}
			h.Write(b[:n])
			got += n
		}
		if [32]byte(h.Sum(nil)) != sha256.Sum256(payload) {
			t.Error("octets changed")
		}
	}
}

// Tunnelled super-packets leave as MTU-size packets that each have right lengths and checksums.
func TestWriteTunnelledSuperPacket(t *testing.T) {
	s := newStation(t, true)
	s.listen()
	receiver := open(t, s.peer, Config{Interface: "kt4-peer"})
	payload := make([]byte, 60000)
	for i := range payload {
		payload[i] = byte(i * 13 >> 4)
	}
	want := packet.NewBatch(64, packet.SmallLength)
	count, err := packet.Split(super(packet.TCP, 1, 1400, payload, 80), want)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the neighbour is known
		if n, err := s.link.Write([]*packet.Packet{super(packet.TCP, 1, 1400, payload, 80)}); n != 1 || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		pkts := packet.NewBatch(64, packet.SmallLength)
		for i := 0; i < count; {
			n, err := receiver.Read(pkts)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pkts[:n] {
				if b := p.Bytes(); b[6] != 41 {
					continue
				} else if string(b) != string(want[i].Bytes()) {
					t.Fatalf("segment %d\n got %x\nwant %x", i, b, want[i].Bytes())
				}
				if p.Neighbor != s.link.HardwareAddr() || p.Group {
					t.Errorf("from %x, group %v", p.Neighbor, p.Group)
				}
				i++
			}
		}
	}
	if got := s.link.Counters(); got != (Counters{}) {
		t.Errorf("counters %+v", got)
	}
}

// The kernel pings kedge's address: it resolves it by the table, and the answer goes back.
func TestKernelPing(t *testing.T) {
	s := newStation(t, true)
	var socket int
	var err error
	s.peer.Do(func() { socket, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6) })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	timeout := unix.NsecToTimeval(int64(5 * time.Second))
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	request := append([]byte{128, 0, 0, 0, 1, 2, 3, 4}, make([]byte, 1000)...)
	if err := unix.Sendto(socket, request, 0, &unix.SockaddrInet6{Addr: ownAddress.As16()}); err != nil {
		t.Fatal(err)
	}
	p := s.await(t, func(p *packet.Packet) bool { return p.Bytes()[6] == 58 && p.Bytes()[40] == 128 })
	b := p.Bytes()
	copy(b[8:24], ownAddress.AsSlice())
	copy(b[24:40], peerAddress.AsSlice())
	b[40] = 129
	before, after := uint16(b[42])<<8|uint16(b[43]), uint16(0)
	after = packet.UpdateChecksum(before, 128<<8, 129<<8)
	b[42], b[43] = byte(after>>8), byte(after)
	if n, err := s.link.Write([]*packet.Packet{p}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	answer := make([]byte, 2000)
	for {
		n, err := unix.Read(socket, answer)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		if n == len(request) && answer[0] == 129 {
			return
		}
	}
}

// A packet to a neighbour that is not known waits and leaves when the neighbour has answered; then the table knows it.
func TestResolution(t *testing.T) {
	s := newStation(t, false)
	var socket net.PacketConn
	var err error
	s.peer.Do(func() { socket, err = net.ListenPacket("udp", "[2001:db8:1::a]:0") })
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	s.listen()
	port := socket.LocalAddr().(*net.UDPAddr).Port
	if n, err := s.link.Write([]*packet.Packet{super(packet.UDP, 0, 1000, []byte("hello"), port)}); n != 1 || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
	socket.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 100)
	if n, _, err := socket.ReadFrom(b); err != nil || string(b[:n]) != "hello" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	if address, ok := s.table.Lookup(peerAddress); !ok || address != packet.LinkAddress(s.peer.Link("kt4-peer").Attrs().HardwareAddr) {
		t.Errorf("Lookup = %x, %v", address, ok)
	}
}

func TestWriteCountsWhatCannotBeSent(t *testing.T) {
	s := newStation(t, true)
	group := netip.MustParseAddr("ff02::1")
	long := super(packet.UDP, 0, 3000, make([]byte, 3000), 9)
	long.Offload = packet.Offload{}
	broken := super(packet.TCP, 1, 100, make([]byte, 1000), 9)
	broken.Offload.SegmentSize = 0
	short := packet.New(100)
	short.Set([]byte{0x60})
	for _, p := range []*packet.Packet{long, broken, short} {
		p.NextHop = group
	}
	ordinary := super(packet.UDP, 0, 100, make([]byte, 100), 9)
	ordinary.NextHop = group
	if n, err := s.link.Write([]*packet.Packet{long, ordinary, broken, short}); n != 1 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	if got := s.link.Counters(); got != (Counters{TooBig: 1, Refused: 2}) {
		t.Errorf("counters %+v", got)
	}
	if err := s.own.Netlink.LinkSetDown(s.own.Link("kt4-own")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.link.Write([]*packet.Packet{ordinary}); n != 0 || err != nil {
		t.Errorf("Write while down = %d, %v", n, err)
	}
	if got := s.link.Counters().Down; got != 1 {
		t.Errorf("%d down", got)
	}
	bare := open(t, s.own, Config{Interface: "kt4-own"})
	ordinary.NextHop = peerAddress
	if n, err := bare.Write([]*packet.Packet{ordinary}); n != 0 || err != nil || bare.Counters().Unresolved != 1 {
		t.Errorf("Write without a table = %d, %v, %+v", n, err, bare.Counters())
	}
}

// The interface is missing at first, comes, goes while Read waits, and comes again as another.
func TestInterfaceComesAndGoes(t *testing.T) {
	peer, own := testnet.New(t), testnet.New(t)
	states := make(chan State, 100)
	l := open(t, own, Config{Interface: "kt4-own", Changed: func(s State) { states <- s }})
	await := func(what string, match func(State) bool) {
		t.Helper()
		deadline := time.After(5 * time.Second)
		for {
			select {
			case s := <-states:
				if match(s) {
					return
				}
			case <-deadline:
				t.Fatalf("interface did not become %s; it is %+v", what, l.State())
			}
		}
	}
	if l.State().Present || l.MTU() != 0 {
		t.Fatalf("state of a missing interface: %+v", l.State())
	}
	arrived := make(chan packet.LinkAddress, 100)
	go func() {
		pkts := packet.NewBatch(8, packet.SmallLength)
		for {
			n, err := l.Read(pkts)
			if err != nil {
				close(arrived)
				return
			}
			for _, p := range pkts[:n] {
				arrived <- p.Neighbor
			}
		}
	}()
	for range 2 {
		own.Veth("kt4-own", peer, "kt4-peer")
		await("up", func(s State) bool { return s.Up && s.MTU == 1500 })
		if got, want := l.HardwareAddr(), own.Link("kt4-own").Attrs().HardwareAddr; got != packet.LinkAddress(want) {
			t.Errorf("address %x, want %x", got, want)
		}
		// The kernel at the other end speaks by itself: neighbour and listener discovery.
		want := packet.LinkAddress(peer.Link("kt4-peer").Attrs().HardwareAddr)
		select {
		case got := <-arrived:
			if got != want {
				t.Errorf("frame from %x, want %x", got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("nothing arrives")
		}
		if err := own.Netlink.LinkSetMTU(own.Link("kt4-own"), 1400); err != nil {
			t.Fatal(err)
		}
		await("narrower", func(s State) bool { return s.MTU == 1400 })
		if err := own.Netlink.LinkDel(own.Link("kt4-own")); err != nil {
			t.Fatal(err)
		}
		await("absent", func(s State) bool { return !s.Present })
		for len(arrived) > 0 {
			<-arrived
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for range arrived {
	}
	if _, err := l.Read(packet.NewBatch(1, packet.SmallLength)); !errors.Is(err, netstack.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	if _, err := l.Write(nil); !errors.Is(err, netstack.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
}

// Frames for other stations and frames of the kernel's own do not come in.
func TestFilter(t *testing.T) {
	s := newStation(t, false)
	s.own.Address("kt4-own", "2001:db8:1::98/64")
	raw, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Skip(err)
	}
	unix.Close(raw)
	var fd int
	s.peer.Do(func() { fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0) })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: s.peer.Link("kt4-peer").Attrs().Index}
	frame := func(destination packet.LinkAddress, etherType uint16, mark byte) {
		p := super(packet.UDP, 0, 100, []byte{mark}, 9).Bytes()
		b := append(append(destination[:], 2, 0, 0, 0, 0, 1, byte(etherType>>8), byte(etherType)), p...)
		if err := unix.Sendto(fd, b, 0, to); err != nil {
			t.Fatal(err)
		}
	}
	own := s.link.HardwareAddr()
	frame(packet.LinkAddress{2, 0, 0, 0, 0, 9}, etherTypeIPv6, 1) // another station's
	frame(own, 0x0800, 2)
	frame(packet.LinkAddress{0x33, 0x33, 0, 0, 0, 77}, etherTypeIPv6, 3) // a group nobody joined
	frame(own, etherTypeIPv6, 4)
	var marks []byte
	s.await(t, func(p *packet.Packet) bool {
		b := p.Bytes()
		if b[6] != 17 {
			return false
		}
		if p.Neighbor != (packet.LinkAddress{2, 0, 0, 0, 0, 1}) || p.Group != (b[48] == 3) || len(b) != 49 {
			t.Errorf("packet %x of %x, group %v", b, p.Neighbor, p.Group)
		}
		marks = append(marks, b[48])
		return b[48] == 4
	})
	if string(marks) != "\x03\x04" {
		t.Errorf("received %v, want 3 and 4", marks)
	}
}

// neighbours is a table that knows everybody.
type neighbours struct{ Neighbors }

func (neighbours) LinkAddresses(netip.Addr) (to, from packet.LinkAddress, known bool) {
	return packet.LinkAddress{2}, packet.LinkAddress{}, true
}
func (neighbours) Next() time.Time { return time.Time{} }
func (neighbours) Handle(time.Time, []byte, packet.LinkAddress) neighbor.Output {
	return neighbor.Output{}
}
func (neighbours) Wake() <-chan struct{} { return nil }

func TestDoesNotAllocate(t *testing.T) {
	for _, offload := range []bool{false, true} {
		s := newStation(t, offload)
		s.link.Attach(neighbours{}, nil)
		receiver := open(t, s.peer, Config{Interface: "kt4-peer", Offload: offload})
		tcp := super(packet.TCP, 1, 1000, make([]byte, 8000), 9)
		udp := super(packet.UDP, 0, 100, make([]byte, 100), 9)
		pkts := packet.NewBatch(8, packet.MaxLength)
		receiver.Attach(neighbours{}, nil)
		for _, p := range []*packet.Packet{tcp, udp} {
			p.NextHop = netip.MustParseAddr("ff02::1")
		}
		in := packet.NewBatch(8, packet.MaxLength)
		if allocs := testing.AllocsPerRun(100, func() {
			pkts[0].CopyFrom(tcp)
			for _, p := range pkts[1:] {
				p.CopyFrom(udp)
			}
			if n, err := s.link.Write(pkts); n != len(pkts) || err != nil {
				t.Fatal(n, err)
			}
			if _, err := receiver.Read(in); err != nil {
				t.Fatal(err)
			}
		}); allocs != 0 {
			t.Errorf("offload %v: %v allocations", offload, allocs)
		}
	}
}

// What does not fit the receive buffer is counted.
func TestOverflow(t *testing.T) {
	peer, own := testnet.New(t), testnet.New(t)
	own.Veth("kt4-own", peer, "kt4-peer")
	l := open(t, own, Config{Interface: "kt4-own", Buffer: 4096})
	sender := open(t, peer, Config{Interface: "kt4-peer"})
	for range 100 {
		p := super(packet.UDP, 0, 1000, make([]byte, 1000), 9)
		p.NextHop = netip.MustParseAddr("ff02::1")
		sender.Write([]*packet.Packet{p})
	}
	first := l.Counters().Overflow
	if first == 0 {
		t.Error("nothing counted")
	}
	if again := l.Counters().Overflow; again < first {
		t.Errorf("count went from %d to %d", first, again)
	}
}

// BenchmarkForward is kernel TCP through two links, with their offloads and without.
func BenchmarkForward(b *testing.B) {
	for _, offload := range []bool{false, true} {
		b.Run(fmt.Sprintf("offload=%v", offload), func(b *testing.B) {
			from, to, la, lb := routed(b, offload, offload)
			var wait sync.WaitGroup
			defer wait.Wait()
			defer la.Close()
			defer lb.Close()
			forward(&wait, la, lb, netip.MustParsePrefix("2001:db8:2::/64"), packet.MaxLength)
			forward(&wait, lb, la, netip.MustParsePrefix("2001:db8:1::/64"), packet.MaxLength)
			testnet.Echo(b, from, to, addressB, 1)
			const size = 256 << 20
			b.SetBytes(size)
			for b.Loop() {
				testnet.Transfer(b, from, to, addressB, size)
			}
		})
	}
}
