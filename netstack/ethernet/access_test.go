package ethernet

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"kedge/netstack/internal/testnet"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

// several is a table that is at several link-layer addresses, the first of which its frames come from.
type several struct {
	neighbours
	mu        sync.Mutex
	addresses []packet.LinkAddress
	strangers []packet.LinkAddress
}

func (s *several) LinkAddresses(netip.Addr) (to, from packet.LinkAddress, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return packet.LinkAddress{2, 9}, s.addresses[0], true
}

func (s *several) Receives(to packet.LinkAddress) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.addresses, to)
}

func (s *several) Expects(to, from packet.LinkAddress) bool { return false }

func (s *several) Addresses(most int) []packet.LinkAddress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.addresses[:min(most, len(s.addresses))])
}

func (s *several) Heard(from packet.LinkAddress) bool { return from[5] != 0x66 }

func (s *several) Stranger(_ time.Time, from packet.LinkAddress) neighbor.Output {
	s.strangers = append(s.strangers, from)
	return neighbor.Output{}
}

// set changes the addresses as an output of a table would say.
func (s *several) set(l *Link, addresses ...packet.LinkAddress) {
	s.mu.Lock()
	s.addresses = addresses
	s.mu.Unlock()
	l.Perform(neighbor.Output{Readdressed: true})
}

func another(i int) packet.LinkAddress {
	return packet.LinkAddress{2, 0xd, 0, 0, byte(i >> 8), byte(i)}
}

// settle waits until both ends have noticed their carrier: until then the kernel loses what is sent.
func (s *station) settle(t *testing.T) {
	t.Helper()
	settled := func() bool {
		own, peer, state := s.own.Link("kt4-own").Attrs(), s.peer.Link("kt4-peer").Attrs(), s.link.State()
		return own.OperState == netlink.OperUp && peer.OperState == netlink.OperUp && state.Up && state.Index == own.Index
	}
	for end := time.Now().Add(5 * time.Second); !settled(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the interfaces did not come up")
		}
	}
}

// forsake takes the address that packets go to from the peer's kernel, so that a link there gets them all.
func (s *station) forsake(t *testing.T) {
	t.Helper()
	a, _ := netlink.ParseAddr("2001:db8:1::a/64")
	if err := s.peer.Netlink.AddrDel(s.peer.Link("kt4-peer"), a); err != nil {
		t.Fatal(err)
	}
}

// marks are what is to come in of frames to each of some addresses; the last address gets one that does.
func (s *station) marks(t *testing.T, to ...packet.LinkAddress) (received []byte) {
	t.Helper()
	s.settle(t)
	var fd int
	var err error
	s.peer.Do(func() { fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0) })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ll := &unix.SockaddrLinklayer{Ifindex: s.peer.Link("kt4-peer").Attrs().Index}
	for i, a := range to {
		p := super(packet.UDP, 0, 100, []byte{byte(i + 1)}, 9).Bytes()
		b := slices.Concat(a[:], []byte{2, 0, 0, 0, 0, 1, 0x86, 0xdd}, p)
		if err := unix.Sendto(fd, b, 0, ll); err != nil {
			t.Fatal(err)
		}
	}
	s.await(t, func(p *packet.Packet) bool {
		if b := p.Bytes(); b[6] == 17 {
			received = append(received, b[48])
			return int(b[48]) == len(to)
		}
		return false
	})
	return received
}

// Frames for a table's own link-layer addresses come in, and no others, however many addresses there are, and wherever the
// interface went in between.
func TestAccessAddresses(t *testing.T) {
	s := newStation(t, false)
	table := &several{addresses: []packet.LinkAddress{another(1)}}
	s.link.Attach(table, nil)
	own, foreign := s.link.HardwareAddr(), another(0x7777)
	almost := another(2)
	almost[0] = 6 // differs from another(2) in the octets that are compared last
	expect := func(want string, to ...packet.LinkAddress) {
		t.Helper()
		if got := s.marks(t, to...); string(got) != want {
			t.Errorf("received %q, want %q", got, want)
		}
	}
	expect("\x02\x04", foreign, another(1), another(2), own)
	table.set(s.link, another(2), another(3))
	expect("\x02\x03\x06", another(1), another(2), another(3), almost, foreign, own)

	many := make([]packet.LinkAddress, maxFiltered+100)
	for i := range many {
		many[i] = another(1000 + i)
	}
	for _, n := range []int{maxFiltered, maxFiltered + 1, len(many)} {
		table.set(s.link, many[:n]...)
		expect("\x01\x02\x05", many[0], many[n-1], foreign, almost, own)
	}
	table.set(s.link, many...)
	many[5] = another(5)
	table.set(s.link, many...) // as many as before
	expect("\x02\x03", another(1005), another(5), own)

	if err := s.own.Netlink.LinkDel(s.own.Link("kt4-own")); err != nil {
		t.Fatal(err)
	}
	s.own.Veth("kt4-own", s.peer, "kt4-peer")
	s.settle(t)
	own = s.link.HardwareAddr()
	table.set(s.link, another(1))
	expect("\x02\x03", foreign, another(1), own)

	s.link.Attach(neighbours{}, nil)
	expect("\x02", another(1), own)
	if n := s.own.Link("kt4-own").Attrs().Promisc; n != 0 {
		t.Errorf("the interface has been asked for all frames %d times", n)
	}
}

// A bridge passes frames for other addresses than its own up only while it is promiscuous.
func TestAccessAddressesOfABridge(t *testing.T) {
	s := &station{peer: testnet.New(t), own: testnet.New(t)}
	s.own.Veth("kt4-port", s.peer, "kt4-peer")
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "kt4-own"}}
	if err := s.own.Netlink.LinkAdd(bridge); err != nil {
		t.Skipf("no bridges here: %v", err)
	}
	if err := s.own.Netlink.LinkSetMaster(s.own.Link("kt4-port"), bridge); err != nil {
		t.Fatal(err)
	}
	s.own.Up("kt4-own")
	s.link = open(t, s.own, Config{Interface: "kt4-own"})
	s.link.Attach(&several{addresses: []packet.LinkAddress{another(1)}}, nil)
	if got := s.marks(t, another(2), another(1), s.link.HardwareAddr()); string(got) != "\x02\x03" {
		t.Errorf("received %q", got)
	}
}

// Frames leave with the source that the table says, and strangers are shown to it.
func TestAccessSourceAndStrangers(t *testing.T) {
	s := newStation(t, false)
	table := &several{addresses: []packet.LinkAddress{another(1)}}
	s.link.Attach(table, nil)
	s.settle(t)
	s.forsake(t)
	receiver := open(t, s.peer, Config{Interface: "kt4-peer"})
	receiver.Attach(&several{addresses: []packet.LinkAddress{{2, 9}}}, nil)
	send := func() {
		if n, err := s.link.Write([]*packet.Packet{super(packet.UDP, 0, 100, []byte("a"), 9)}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		p := packet.New(100)
		p.Set(super(packet.UDP, 0, 100, []byte("b"), 9).Bytes())
		q := packet.New(100)
		q.Set(super(packet.UDP, 0, 100, []byte("c"), 9).Bytes())
		s.link.Perform(neighbor.Output{Frames: []neighbor.Frame{
			{Packet: p, To: packet.LinkAddress{2, 9}, From: another(0x66)}, {Packet: q, To: packet.LinkAddress{2, 9}},
		}})
	}
	send()
	want := map[byte]packet.LinkAddress{'a': another(1), 'b': another(0x66), 'c': s.link.HardwareAddr()}
	pkts := packet.NewBatch(8, packet.MaxLength)
	for len(want) > 0 {
		n, err := receiver.Read(pkts)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pkts[:n] {
			if b := p.Bytes(); b[6] == 17 {
				if p.Neighbor != want[b[48]] {
					t.Errorf("%c from %x, want %x", b[48], p.Neighbor, want[b[48]])
				}
				delete(want, b[48])
			}
		}
	}
	if got := receiver.attached.Load().access.(*several).strangers; len(got) != 1 || got[0] != another(0x66) {
		t.Errorf("strangers %x", got)
	}
}

// The filter's program does what it should at every number of addresses, run by an interpreter.
func TestFilterProgram(t *testing.T) {
	for _, n := range []int{0, 1, 2, maxFiltered, maxFiltered + 1} {
		var addresses []packet.LinkAddress
		for i := range n {
			addresses = append(addresses, another(i))
		}
		program := filter(addresses, nil)
		if raw, err := bpf.Assemble(program); err != nil || len(raw) > 4096 {
			t.Fatalf("%d addresses: %d instructions, %v", n, len(raw), err)
		}
		run := func(to packet.LinkAddress, kind uint32, etherType uint16) bool {
			// The interpreter knows no packet types.
			program := slices.Clone(program)
			for i, instruction := range program {
				if instruction == (bpf.LoadExtension{Num: bpf.ExtType}) {
					program[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: kind}
				}
			}
			machine, err := bpf.NewVM(program)
			if err != nil {
				t.Fatal(err)
			}
			frame := binary.BigEndian.AppendUint16(append(to[:], 2, 0, 0, 0, 0, 1), etherType)
			passed, err := machine.Run(append(frame, make([]byte, 40)...))
			if err != nil {
				t.Fatal(err)
			}
			return passed > 0
		}
		for i := range n {
			if !run(another(i), unix.PACKET_OTHERHOST, etherTypeIPv6) {
				t.Errorf("%d addresses: number %d refused", n, i)
			}
		}
		for _, c := range []struct {
			kind      uint32
			etherType uint16
			want      bool
		}{
			{unix.PACKET_HOST, etherTypeIPv6, true}, {unix.PACKET_MULTICAST, etherTypeIPv6, true},
			{unix.PACKET_OUTGOING, etherTypeIPv6, false}, {unix.PACKET_HOST, 0x0800, false},
			{unix.PACKET_OTHERHOST, etherTypeIPv6, n > maxFiltered},
		} {
			if got := run(another(0x7777), c.kind, c.etherType); got != c.want {
				t.Errorf("%d addresses: kind %d, type %#x: %v", n, c.kind, c.etherType, got)
			}
		}
	}
}

func TestAccessDoesNotAllocate(t *testing.T) {
	s := newStation(t, false)
	table := &several{addresses: []packet.LinkAddress{another(1)}}
	s.link.Attach(table, nil)
	s.settle(t)
	s.forsake(t)
	receiver := open(t, s.peer, Config{Interface: "kt4-peer"})
	receiver.Attach(&several{addresses: []packet.LinkAddress{{2, 9}}}, nil)
	udp := super(packet.UDP, 0, 100, make([]byte, 100), 9)
	out, in := packet.NewBatch(8, packet.MaxLength), packet.NewBatch(8, packet.MaxLength)
	if allocs := testing.AllocsPerRun(100, func() {
		for _, p := range out {
			p.CopyFrom(udp)
		}
		if n, err := s.link.Write(out); n != len(out) || err != nil {
			t.Fatal(n, err)
		}
		if _, err := receiver.Read(in); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
