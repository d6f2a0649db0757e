package seg6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/netstack/ethernet"
	"kedge/netstack/internal/testnet"
	"kedge/netstack/kernel"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
	"kedge/netstack/tun"
)

var (
	home          = netip.MustParseAddr("2001:db8:1::a")
	correspondent = netip.MustParseAddr("2001:db8:2::b")
	careOf        = netip.MustParseAddr("2001:db8:f::c")
	anchor        = netip.MustParseAddr("2001:db8:f::1")
)

// end is one end of a tunnel: programs behind a TUN device, an Ethernet link, and an accelerator.
type end struct {
	*testnet.Namespace
	local, remote netip.Addr
	journal       *kernel.Journal
	tun           *tun.Link
	uplink        *ethernet.Link
	accelerator   *Accelerator

	// seen counts the packets that came in, longest is the longest, and wrong is what was wrong with one.
	seen, longest atomic.Int64
	wrong         atomic.Pointer[string]
}

// newEnd makes an end, or skips where that is not possible.
func newEnd(t testing.TB, n *testnet.Namespace, inner, local, remote netip.Addr) *end {
	t.Helper()
	e := &end{Namespace: n, local: local, remote: remote}
	var err error
	n.Do(func() {
		if e.journal, err = kernel.Open(filepath.Join(t.TempDir(), "journal")); err != nil {
			return
		}
		if e.tun, err = tun.Open("kg-tun", 1460, tun.Offload{TCP: true, UDP: true}); err != nil {
			return
		}
		if e.uplink, err = ethernet.Open(ethernet.Config{Interface: "kg-up", Offload: true}); err != nil {
			return
		}
		e.accelerator, err = Open(Config{Offload: tun.Offload{TCP: true, UDP: true}, Journal: e.journal, Plain: e.uplink})
	})
	var sysctl *kernel.SysctlError
	if errors.Is(err, os.ErrPermission) || errors.Is(err, kernel.ErrNoSegmentRouting) || errors.Is(err, tun.ErrNoDriver) || errors.As(err, &sysctl) {
		t.Skipf("not possible here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Do(func() {
			if err := errors.Join(e.accelerator.Close(), e.journal.Close()); err != nil {
				t.Error(err)
			}
		})
		e.tun.Close()
		e.uplink.Close()
	})
	e.tun.KeepSuperPackets()
	n.Up("kg-tun")
	n.Address("kg-tun", inner.String()+"/128")
	e.route("::/0")
	// As kernel.Steering has it: the accelerator's rules come before.
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Table = netlink.FAMILY_V6, 100, unix.RT_TABLE_MAIN
	rule.Src = kernelPrefix(netip.PrefixFrom(inner, 128))
	if err := n.Netlink.RuleAdd(rule); err != nil {
		t.Fatal(err)
	}
	table := neighbor.New(neighbor.Config{LinkAddress: e.uplink.HardwareAddr()})
	e.uplink.Attach(table, nil)
	e.uplink.Perform(table.AddAddress(time.Now(), local, neighbor.Own))
	return e
}

func (e *end) route(prefix string) {
	destination, _ := netlink.ParseIPNet(prefix)
	if err := e.Netlink.RouteAdd(&netlink.Route{LinkIndex: e.Link("kg-tun").Attrs().Index, Dst: destination}); err != nil {
		panic(err)
	}
}

// do calls f on a thread in the namespace.
func (e *end) do(t testing.TB, f func() error) {
	t.Helper()
	var err error
	e.Do(func() { err = f() })
	if err != nil {
		t.Fatal(err)
	}
}

// run pumps packets until the links are closed. It stands for the engine.
func (e *end) run(wait *sync.WaitGroup) {
	wait.Add(2)
	go func() {
		defer wait.Done()
		pkts := packet.NewBatch(64, packet.MaxLength)
		for {
			n, err := e.tun.Read(pkts)
			if err != nil {
				return
			}
			for _, p := range pkts[:n] {
				p.NextHop = e.remote
			}
			e.accelerator.Link().Write(pkts[:n])
		}
	}()
	go func() {
		defer wait.Done()
		pkts, inner := packet.NewBatch(64, packet.MaxLength), make([]*packet.Packet, 0, 64)
		for {
			n, err := e.uplink.Read(pkts)
			if err != nil {
				return
			}
			inner = inner[:0]
			for _, p := range pkts[:n] {
				if b := p.Bytes(); b[6] == protocolIPv6 || b[6] == 43 {
					e.examine(p)
					p.TrimFront(headerLength)
					inner = append(inner, p)
				}
			}
			e.tun.Write(inner)
		}
	}()
}

// examine looks at what is on the wire.
func (e *end) examine(p *packet.Packet) {
	b := p.Bytes()
	e.seen.Add(1)
	e.longest.Store(max(e.longest.Load(), int64(len(b))))
	complain := func(format string, a ...any) {
		text := fmt.Sprintf(format, a...)
		e.wrong.Store(&text)
	}
	source, destination := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	inner := b[headerLength:]
	switch {
	case b[6] != protocolIPv6:
		complain("next header %d", b[6])
	case source != e.remote || destination != e.local:
		complain("outer addresses %s and %s", source, destination)
	case b[0] != inner[0] || b[1]&0xf0 != inner[1]&0xf0:
		complain("traffic class % x outside, % x inside", b[:2], inner[:2])
	case inner[6] != 6 && inner[6] != 17:
		complain("inner next header %d", inner[6])
	case b[7] != 63 && b[7] != 64:
		complain("hop limit %d", b[7])
	case b[7] == 64 && inner[7] >= leastHopLimit || b[7] == 63 && inner[7] != 64:
		complain("hop limit %d of inner hop limit %d", b[7], inner[7])
	case p.Offload.NeedsChecksum:
	case packet.Sum(inner[40:], packet.PseudoHeaderSum(inner[8:], inner[24:], len(inner)-40, inner[6])) != 0xffff:
		complain("inner checksum")
	}
}

// ends makes both ends on one link, the mobile node's first.
func ends(t testing.TB, onWire bool) (mn, ha *end) {
	t.Helper()
	a, b := testnet.New(t), testnet.New(t)
	for _, n := range []*testnet.Namespace{a, b} {
		// Until duplicate address detection is over for its link-local address a kernel solicits no neighbour.
		n.Do(func() {
			for _, which := range []string{"all", "default"} {
				if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/accept_dad", []byte("0"), 0); err != nil {
					t.Skipf("sysctls cannot be written: %v", err)
				}
			}
		})
	}
	a.Veth("kg-up", b, "kg-up")
	if onWire {
		withoutOffload(t, a, "kg-up")
		withoutOffload(t, b, "kg-up")
	}
	mn = newEnd(t, a, home, careOf, anchor)
	ha = newEnd(t, b, correspondent, anchor, careOf)
	onLink := []Route{{Prefix: netip.MustParsePrefix("2001:db8:f::/64")}}
	mn.do(t, func() error {
		return mn.accelerator.SetPath(Path{Local: careOf, Uplink: "kg-up", Routes: []Route{{
			Prefix: everything, Router: anchor, LinkAddress: ha.uplink.HardwareAddr(),
		}}})
	})
	ha.do(t, func() error { return ha.accelerator.SetPath(Path{Local: anchor, Uplink: "kg-up", Routes: onLink}) })
	mn.do(t, func() error { return mn.accelerator.Tunnel(BySource, netip.PrefixFrom(home, 128), anchor) })
	ha.do(t, func() error { return ha.accelerator.Tunnel(ByDestination, netip.PrefixFrom(home, 128), careOf) })
	var wait sync.WaitGroup
	mn.run(&wait)
	ha.run(&wait)
	t.Cleanup(func() {
		for _, e := range []*end{mn, ha} {
			e.tun.Close()
			e.uplink.Close()
		}
		wait.Wait()
	})
	return mn, ha
}

// withoutOffload has an interface send ordinary packets with finished checksums.
func withoutOffload(t testing.TB, n *testnet.Namespace, name string) {
	t.Helper()
	const setTransmitChecksum = 0x17 // ETHTOOL_STXCSUM
	request := struct {
		name  [16]byte
		value *[2]uint32
		_     [16]byte
	}{value: &[2]uint32{setTransmitChecksum, 0}}
	copy(request.name[:], name)
	n.Do(func() {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			t.Skipf("interface without checksum offload: %v", errno)
		}
	})
}

// TCP and UDP of kernels through a tunnel whose outer headers the kernel makes at both ends.
func TestTunnel(t *testing.T) {
	for _, onWire := range []bool{false, true} {
		t.Run(fmt.Sprintf("onWire=%v", onWire), func(t *testing.T) {
			mn, ha := ends(t, onWire)
			testnet.Echo(t, mn.Namespace, ha.Namespace, correspondent, 1, 1000, 1412)
			const size = 16 << 20
			for _, d := range []time.Duration{
				testnet.Transfer(t, mn.Namespace, ha.Namespace, correspondent, size),
				testnet.Transfer(t, ha.Namespace, mn.Namespace, home, size),
			} {
				t.Logf("%.2f Gbit/s", size*8/d.Seconds()/1e9)
			}
			for _, e := range []*end{mn, ha} {
				if w := e.wrong.Load(); w != nil {
					t.Errorf("%s saw: %s", e.local, *w)
				}
				if longest := e.longest.Load(); e.seen.Load() == 0 || (longest > 1500) == onWire {
					t.Errorf("%s saw %d packets, the longest of %d octets", e.local, e.seen.Load(), longest)
				}
				if n := e.accelerator.Link().Unrouted(); n != 0 {
					t.Errorf("%d packets had no path", n)
				}
			}
		})
	}
}

// A UDP super-packet arrives as the datagrams that it is made of.
func TestUDPSuperPacket(t *testing.T) {
	for _, onWire := range []bool{false, true} {
		mn, ha := ends(t, onWire)
		testnet.Echo(t, mn.Namespace, ha.Namespace, correspondent, 100)
		var listener net.PacketConn
		var conn net.Conn
		ha.do(t, func() (err error) {
			listener, err = net.ListenPacket("udp", netip.AddrPortFrom(correspondent, 0).String())
			return err
		})
		defer listener.Close()
		mn.do(t, func() (err error) {
			conn, err = net.Dial("udp", listener.LocalAddr().String())
			return err
		})
		defer conn.Close()
		raw, err := conn.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		const size, length = 1400, 30*1400 + 7
		raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) })
		if err != nil {
			t.Skipf("the kernel makes no UDP super-packets: %v", err)
		}
		sent := make([]byte, length)
		for i := range sent {
			sent[i] = byte(i * i >> 5)
		}
		if _, err := conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		listener.SetReadDeadline(time.Now().Add(5 * time.Second))
		for b, at := make([]byte, 65536), 0; at < length; {
			n, _, err := listener.ReadFrom(b)
			if err != nil {
				t.Fatalf("after %d octets: %v", at, err)
			}
			if n != min(size, length-at) || string(b[:n]) != string(sent[at:at+n]) {
				t.Fatalf("datagram of %d octets at %d, or changed", n, at)
			}
			at += n
		}
		if w := ha.wrong.Load(); w != nil {
			t.Error(*w)
		}
	}
}

// A packet that might end within the tunnel gets an outer header with a hop limit of its own, super-packets too.
func TestShortHopLimit(t *testing.T) {
	mn, ha := ends(t, true)
	for _, e := range []*end{mn, ha} {
		e.do(t, func() error {
			_, err := e.journal.SetSysctl("net/ipv6/conf/kg-tun/hop_limit", "3")
			return err
		})
	}
	testnet.Echo(t, mn.Namespace, ha.Namespace, correspondent, 1, 1000)
	testnet.Transfer(t, mn.Namespace, ha.Namespace, correspondent, 1<<20)
	for _, e := range []*end{mn, ha} {
		if w := e.wrong.Load(); w != nil || e.seen.Load() == 0 {
			t.Errorf("%s saw %d packets, wrong: %v", e.local, e.seen.Load(), w)
		}
	}
}

// After a move packets have the new source address, and the old path carries none.
func TestMove(t *testing.T) {
	mn, ha := ends(t, false)
	testnet.Echo(t, mn.Namespace, ha.Namespace, correspondent, 100)
	next := netip.MustParseAddr("2001:db8:f::d")
	mn.do(t, func() error {
		return mn.accelerator.SetPath(Path{Local: next, Uplink: "kg-up", Routes: []Route{{Prefix: everything, Router: anchor}}})
	})
	conn := dial(t, mn.Namespace)
	defer conn.Close()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn.Write([]byte("moved"))
		if w := ha.wrong.Load(); w != nil {
			if !strings.Contains(*w, "outer addresses 2001:db8:f::d and 2001:db8:f::1") {
				t.Errorf("anchor saw: %s", *w)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing came from the new address")
		}
	}
	// Without a path everything stays here.
	mn.do(t, func() error { return mn.accelerator.SetPath(Path{}) })
	before := mn.accelerator.Link().Unrouted()
	conn.Write([]byte("lost"))
	for mn.accelerator.Link().Unrouted() == before {
		time.Sleep(time.Millisecond)
	}
}

// The kernel forgets the routes of an uplink that goes down; the same path again makes up for it.
func TestUplinkDown(t *testing.T) {
	mn, ha := ends(t, false)
	testnet.Echo(t, mn.Namespace, ha.Namespace, correspondent, 100)
	uplink := mn.Link("kg-up")
	if err := errors.Join(mn.Netlink.LinkSetDown(uplink), mn.Netlink.LinkSetUp(uplink)); err != nil {
		t.Fatal(err)
	}
	mn.do(t, func() error {
		return mn.accelerator.SetPath(Path{Local: careOf, Uplink: "kg-up", Routes: []Route{{Prefix: everything, Router: anchor}}})
	})
	testnet.Echo(t, mn.Namespace, ha.Namespace, correspondent, 100)
	if w := ha.wrong.Load(); w != nil {
		t.Error(*w)
	}
	mn.do(t, func() error {
		if err := mn.accelerator.SetPath(Path{Local: careOf, Uplink: "kg-none"}); err == nil {
			t.Error("a path by an interface that there is not")
		}
		return nil
	})
	if mn.accelerator.Link().path.Load() != nil {
		t.Error("there is a path after an error")
	}
}

func TestOpenRefuses(t *testing.T) {
	mn, _ := ends(t, false)
	before := state(t, mn)
	mn.do(t, func() error {
		if a, err := Open(Config{Journal: mn.journal}); a != nil || err == nil {
			t.Errorf("a second one: %v, %v", a, err)
		}
		// The other's rules are for its own device.
		_, err := mn.journal.SetSysctl("net/ipv6/conf/default/disable_ipv6", "1")
		return err
	})
	if after := state(t, mn); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	mn.do(t, func() error {
		var disabled *kernel.IPv6DisabledError
		if a, err := Open(Config{Journal: mn.journal, Name: "kg-second"}); a != nil || !errors.As(err, &disabled) {
			t.Errorf("without IPv6: %v, %v", a, err)
		}
		return nil
	})
}

// BenchmarkTunnel is what a binding of an anchor's takes, new and moved, among 10,000.
func BenchmarkTunnel(b *testing.B) {
	_, ha := ends(b, false)
	n, refused := 0, 0
	for b.Loop() {
		i := n % 10000
		remotes := [2]netip.Addr{careOf, anchor}
		inner := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), byte(i)}), 128)
		err := ha.accelerator.Tunnel(ByDestination, inner, remotes[n/10000%2])
		for ; errors.Is(err, unix.ENOMEM); refused++ {
			time.Sleep(time.Millisecond)
			err = ha.accelerator.Tunnel(ByDestination, inner, remotes[n/10000%2])
		}
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(refused)/float64(n), "refused/op")
}

func dial(t *testing.T, n *testnet.Namespace) (conn net.Conn) {
	t.Helper()
	var err error
	n.Do(func() { conn, err = net.Dial("udp", netip.AddrPortFrom(correspondent, 9).String()) })
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// What has no tunnel goes nowhere, whatever other routes the host has.
func TestNoTunnel(t *testing.T) {
	mn, ha := ends(t, false)
	mn.do(t, func() error { return mn.accelerator.Remove(BySource, netip.PrefixFrom(home, 128)) })
	conn := dial(t, mn.Namespace)
	defer conn.Close()
	for range 5 {
		conn.Write([]byte("x"))
	}
	time.Sleep(20 * time.Millisecond)
	if n := ha.seen.Load(); n != 0 {
		t.Errorf("%d packets came", n)
	}
	mn.do(t, func() error { return mn.accelerator.Tunnel(BySource, netip.PrefixFrom(home, 128), anchor) })
	testnet.Echo(t, mn.Namespace, ha.Namespace, correspondent, 100)
}

// state is what an accelerator changes in a namespace.
func state(t *testing.T, e *end) string {
	t.Helper()
	var b strings.Builder
	routes, err := e.Netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Protocol: kernel.Protocol}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		fmt.Fprintln(&b, r)
	}
	rules, err := e.Netlink.RuleList(netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.Protocol == kernel.Protocol {
			fmt.Fprintln(&b, r)
		}
	}
	e.do(t, func() error {
		source, err := kernel.TunnelSource()
		fmt.Fprintln(&b, source)
		return err
	})
	return b.String()
}

// Closing leaves nothing, and neither does a process that was killed, after the next one's Restore.
func TestNothingIsLeft(t *testing.T) {
	for _, killed := range []bool{false, true} {
		mn, _ := ends(t, false)
		for i := range 5 {
			prefix := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 9, byte(i)}), 48)
			mn.do(t, func() error { return mn.accelerator.Tunnel(BySource, prefix, anchor) })
			mn.do(t, func() error { return mn.accelerator.Tunnel(ByDestination, prefix, anchor) })
		}
		if s := state(t, mn); strings.Count(s, "\n") < 10 {
			t.Fatalf("state:\n%s", s)
		}
		if killed {
			mn.accelerator.Link().Close() // as the kernel does for one that is killed
			mn.do(t, func() error { return mn.journal.Restore() })
		} else {
			mn.do(t, mn.accelerator.Close)
		}
		if s := state(t, mn); s != "::\n" {
			t.Errorf("killed %v: left:\n%s", killed, s)
		}
		if pending := mn.journal.Pending(); len(pending) != 0 {
			t.Errorf("pending: %v", pending)
		}
	}
}

// The encapsulation is what iproute2 sends for "encap seg6 mode encap.red segs 2001:db8:f::1".
func TestEncode(t *testing.T) {
	b, err := (&reduced{anchor}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 0, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0xf, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	binary.NativeEndian.PutUint16(want, 32)
	binary.NativeEndian.PutUint16(want[2:], 1)
	binary.NativeEndian.PutUint32(want[4:], 3)
	if string(b) != string(want) {
		t.Errorf("encapsulation % x", b)
	}
	var back reduced
	if err := back.Decode(b); err != nil || !back.Equal(&reduced{anchor}) {
		t.Errorf("decoded %v, %v", back, err)
	}
}
