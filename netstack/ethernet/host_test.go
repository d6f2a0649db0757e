package ethernet

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"kedge/netstack/packet"
)

// The filter's program refuses TCP and UDP for each of the host's addresses and nothing else, run by an interpreter.
func TestFilterHostAddresses(t *testing.T) {
	var host []netip.Addr
	for i := range maxHostAddresses {
		b := netip.MustParseAddr("2001:db8:1::1").As16()
		b[i] ^= 0x10 // each differs from the others in another octet
		host = append(host, netip.AddrFrom16(b))
	}
	for _, n := range []int{0, 1, 2, maxHostAddresses} {
		for _, addresses := range [][]packet.LinkAddress{nil, {another(1)}} {
			program := filter(addresses, host[:n])
			for i, instruction := range program {
				if instruction == (bpf.LoadExtension{Num: bpf.ExtType}) {
					program[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: unix.PACKET_HOST} // the interpreter knows no packet types
				}
			}
			machine, err := bpf.NewVM(program)
			if err != nil {
				t.Fatal(err)
			}
			for i, to := range append(slices.Clone(host), netip.MustParseAddr("2001:db8:1::1")) {
				for _, next := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMPV6, unix.IPPROTO_IPV6, 135} {
					frame := binary.BigEndian.AppendUint16(make([]byte, 12, 60), etherTypeIPv6)
					frame = append(frame, 0x60, 0, 0, 0, 0, 0, next, 64)
					frame = append(append(frame, make([]byte, 16)...), to.AsSlice()...)
					passed, err := machine.Run(frame)
					if err != nil {
						t.Fatal(err)
					}
					if want := i >= n || next != unix.IPPROTO_TCP && next != unix.IPPROTO_UDP; passed > 0 != want {
						t.Errorf("%d addresses: next header %d for number %d: passed %v", n, next, i, passed > 0)
					}
				}
			}
		}
	}
}

// Datagrams for the kernel's addresses do not come in, whether the kernel has had them before the link was opened or gets
// them later, and do once they are gone.
func TestHostAddressesComeAndGo(t *testing.T) {
	s := newStation(t, true)
	s.settle(t)
	sender := open(t, s.peer, Config{Interface: "kt4-peer"})
	sender.Attach(neighbours{}, nil)
	// send sends a datagram to each address, and reports which came; the last is nobody's.
	nobody := netip.MustParseAddr("2001:db8:1::77")
	marker := byte(0)
	came := func(to netip.Addr) bool {
		marker++
		for _, a := range []netip.Addr{to, nobody} {
			p := super(packet.UDP, 0, 1, []byte{marker}, 9)
			destination := a.As16()
			copy(p.Bytes()[24:], destination[:])
			p.Offload = packet.Offload{}
			p.NextHop = netip.MustParseAddr("ff02::1")
			if n, err := sender.Write([]*packet.Packet{p}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		found := false
		s.await(t, func(p *packet.Packet) bool {
			b := p.Bytes()
			if b[6] != unix.IPPROTO_UDP || b[48] != marker {
				return false
			}
			found = found || netip.AddrFrom16([16]byte(b[24:40])) == to
			return netip.AddrFrom16([16]byte(b[24:40])) == nobody
		})
		return found
	}
	await := func(to netip.Addr, want bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); came(to) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("datagrams for %s: came %v", to, !want)
			}
		}
	}
	address := netip.MustParseAddr("2001:db8:1::98")
	await(address, true)
	s.own.Address("kt4-own", "2001:db8:1::98/64")
	await(address, false)
	await(ownAddress, true)

	early := open(t, s.own, Config{Interface: "kt4-own", Offload: true})
	s.link.Close()
	s.link = early
	await(address, false)
	a, _ := netlink.ParseAddr("2001:db8:1::98/64")
	if err := s.own.Netlink.AddrDel(s.own.Link("kt4-own"), a); err != nil {
		t.Fatal(err)
	}
	await(address, true)
}

// Whatever the kernel says is taken or left, never beyond its end.
func TestNetlinkMessages(t *testing.T) {
	address := netip.MustParseAddr("2001:db8::1")
	m := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfAddrmsg+20)
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], unix.RTM_NEWADDR)
	m[16] = unix.AF_INET6
	binary.NativeEndian.PutUint32(m[20:], 7)
	binary.NativeEndian.PutUint16(m[24:], 20)
	binary.NativeEndian.PutUint16(m[26:], unix.IFA_ADDRESS)
	copy(m[28:], address.AsSlice())
	l, want := &Link{}, hostAddress{7, address}
	for n := range len(m) {
		if known := map[hostAddress]bool{}; l.follow(m[:n], known) || len(known) > 0 {
			t.Errorf("%d octets: %v", n, known)
		}
	}
	known := map[hostAddress]bool{}
	if !l.follow(append(slices.Clone(m), m...), known) || !known[want] || len(known) != 1 {
		t.Errorf("known %v", known)
	}
	if l.follow(m, known) {
		t.Error("nothing has changed")
	}
	binary.NativeEndian.PutUint16(m[4:], unix.RTM_DELADDR)
	if !l.follow(m, known) || len(known) != 0 {
		t.Errorf("known %v", known)
	}
	for i := range m {
		broken := slices.Clone(m)
		broken[i] ^= 0xff
		l.follow(broken, known)
	}
}
