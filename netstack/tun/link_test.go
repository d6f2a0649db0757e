package tun

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/internal/testnet"
	"kedge/netstack/packet"
)

const testName = "kt4-tun"

// device opens a TUN device in a namespace, up and with an address, or skips.
func device(t testing.TB, n *testnet.Namespace, offload bool, address string) *Link {
	t.Helper()
	var l *Link
	var err error
	n.Do(func() { l, err = Open(testName, 1500, Offload{offload, offload}) })
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrNoDriver) || errors.Is(err, os.ErrPermission) {
		t.Skipf("no TUN devices here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	n.Up(testName)
	n.Address(testName, address)
	return l
}

// pump forwards from one link to another until it is closed. It stands for the engine.
func pump(wait *sync.WaitGroup, from, to *Link, room int) {
	wait.Add(1)
	go func() {
		defer wait.Done()
		pkts := packet.NewBatch(64, room)
		for {
			n, err := from.Read(pkts)
			if err != nil {
				return
			}
			if _, err := to.Write(pkts[:n]); errors.Is(err, netstack.ErrClosed) {
				return
			}
		}
	}()
}

var (
	addressA = netip.MustParseAddr("2001:db8:1::a")
	addressB = netip.MustParseAddr("2001:db8:1::b")
)

// Kernel TCP and UDP between two namespaces, each behind a TUN device, the links back to back: the kernels verify every
// checksum.
func TestKernelTraffic(t *testing.T) {
	for _, c := range []struct{ offloadA, offloadB, whole bool }{
		{false, false, false}, {true, false, false}, {true, true, false}, {true, true, true}, {true, false, true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			a, b := testnet.New(t), testnet.New(t)
			la, lb := device(t, a, c.offloadA, "2001:db8:1::a/64"), device(t, b, c.offloadB, "2001:db8:1::b/64")
			room := packet.SmallLength
			if c.whole {
				room = packet.MaxLength
				la.KeepSuperPackets()
				lb.KeepSuperPackets()
			}
			var wait sync.WaitGroup
			defer wait.Wait()
			defer la.Close()
			defer lb.Close()
			pump(&wait, la, lb, room)
			pump(&wait, lb, la, room)
			testnet.Echo(t, a, b, addressB, 1, 1000, 1452, 5000)
			const size = 8 << 20
			for _, d := range []time.Duration{
				testnet.Transfer(t, a, b, addressB, size), testnet.Transfer(t, b, a, addressA, size),
			} {
				t.Logf("%.2f Gbit/s", size*8/d.Seconds()/1e9)
			}
			for _, l := range []*Link{la, lb} {
				if got := l.Counters(); got.Invalid != 0 || got.Refused != 0 || got.NotIPv6 != 0 {
					t.Errorf("counters %+v", got)
				}
			}
		})
	}
}

func TestReadCountsWhatIsNotIPv6(t *testing.T) {
	n := testnet.New(t)
	l := device(t, n, true, "2001:db8:1::a/64")
	n.Address(testName, "192.0.2.1/24")
	testUDP(t, n, "192.0.2.2:9")
	testUDP(t, n, "[2001:db8:1::b]:9")
	pkts := packet.NewBatch(8, packet.SmallLength)
	for {
		got, err := l.Read(pkts)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pkts[:got] {
			if p.Bytes()[0]>>4 != 6 {
				t.Fatalf("read %x", p.Bytes())
			}
			if p.Bytes()[6] == unix.IPPROTO_UDP {
				if l.Counters().NotIPv6 == 0 {
					t.Error("the IPv4 packet was not counted")
				}
				return
			}
		}
	}
}

// testUDP makes the kernel send one datagram.
func testUDP(t testing.TB, n *testnet.Namespace, to string) {
	t.Helper()
	destination := netip.MustParseAddrPort(to)
	n.Do(func() {
		family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: 9, Addr: destination.Addr().As16()})
		if destination.Addr().Is4() {
			family, address = unix.AF_INET, &unix.SockaddrInet4{Port: 9, Addr: destination.Addr().As4()}
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Sendto(fd, make([]byte, 64), 0, address); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDeviceRemoved(t *testing.T) {
	n := testnet.New(t)
	l := device(t, n, true, "2001:db8:1::a/64")
	failed := make(chan error, 1)
	go func() {
		pkts := packet.NewBatch(8, packet.SmallLength)
		for {
			if _, err := l.Read(pkts); err != nil {
				failed <- err
				return
			}
		}
	}()
	if err := n.Netlink.LinkDel(n.Link(testName)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		if !errors.Is(err, ErrGone) {
			t.Errorf("Read: %v, want ErrGone", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("Read did not return")
	}
	if _, err := l.Write([]*packet.Packet{udp()}); !errors.Is(err, ErrGone) {
		t.Errorf("Write: %v, want ErrGone", err)
	}
	if mtu := l.MTU(); mtu != 0 {
		t.Errorf("MTU %d of a device that is gone", mtu)
	}
	l.Close()
	if again := device(t, n, true, "2001:db8:1::a/64"); again.MTU() != 1500 {
		t.Errorf("reopened with MTU %d", again.MTU())
	}
}

func TestCloseUnblocksRead(t *testing.T) {
	l := device(t, testnet.New(t), true, "2001:db8:1::a/64")
	failed := make(chan error, 1)
	go func() {
		pkts := packet.NewBatch(8, packet.SmallLength)
		for {
			if _, err := l.Read(pkts); err != nil {
				failed <- err
				return
			}
		}
	}()
	l.Close()
	if err := <-failed; !errors.Is(err, netstack.ErrClosed) {
		t.Errorf("Read: %v, want ErrClosed", err)
	}
	if _, err := l.Write([]*packet.Packet{udp()}); !errors.Is(err, netstack.ErrClosed) {
		t.Errorf("Write: %v, want ErrClosed", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// udp is a datagram with a partial checksum to an address of the host.
func udp() *packet.Packet {
	p := packet.New(packet.SmallLength)
	b := append([]byte{0x60, 0, 0, 0, 0, 108, 17, 64}, addressB.AsSlice()...)
	b = append(append(b, addressA.AsSlice()...), 0, 9, 0, 9, 0, 108, 0, 0)
	p.Set(append(b, make([]byte, 100)...))
	sum := packet.PseudoHeaderSum(b[8:], b[24:], 108, 17)
	p.Bytes()[46], p.Bytes()[47] = byte(sum>>8), byte(sum)
	p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 6}
	return p
}

func TestWriteWhileDownIsCounted(t *testing.T) {
	n := testnet.New(t)
	l := device(t, n, true, "2001:db8:1::a/64")
	if err := n.Netlink.LinkSetDown(n.Link(testName)); err != nil {
		t.Fatal(err)
	}
	if sent, err := l.Write([]*packet.Packet{udp(), udp()}); sent != 0 || err != nil {
		t.Errorf("Write = %d, %v", sent, err)
	}
	if got := l.Counters().Refused; got != 2 {
		t.Errorf("%d refused, want 2", got)
	}
}

func TestDoesNotAllocate(t *testing.T) {
	for _, offload := range []bool{false, true} {
		n := testnet.New(t)
		l := device(t, n, offload, "2001:db8:1::a/64")
		in, out := packet.NewBatch(8, packet.SmallLength), packet.NewBatch(8, packet.SmallLength)
		var fd int
		n.Do(func() { fd, _ = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0) })
		defer unix.Close(fd)
		data := make([]byte, 1000)
		if err := unix.Connect(fd, &unix.SockaddrInet6{Port: 9, Addr: addressB.As16()}); err != nil {
			t.Fatal(err)
		}
		p := udp()
		if allocs := testing.AllocsPerRun(100, func() {
			for range 4 {
				if _, err := unix.Write(fd, data); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := l.Read(in); err != nil {
				t.Fatal(err)
			}
			for _, o := range out {
				o.CopyFrom(p)
			}
			if sent, err := l.Write(out); sent != len(out) || err != nil {
				t.Fatal(sent, err)
			}
		}); allocs != 0 {
			t.Errorf("offload %v: %v allocations", offload, allocs)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	n := testnet.New(t)
	device(t, n, true, "2001:db8:1::a/64")
	if err := n.Netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "kt4-dummy"}}); err != nil &&
		!errors.Is(err, unix.EOPNOTSUPP) {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		testName: unix.EBUSY, "lo": unix.EINVAL, strings.Repeat("x", 16): unix.EINVAL,
	} {
		n.Do(func() {
			_, err := Open(name, 1500, Offload{true, true})
			var open *OpenError
			if !errors.As(err, &open) || !errors.Is(err, want) || open.Step != CreateDevice {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		})
	}
}

// withoutCapabilities runs f on a thread in the namespace that has none.
func withoutCapabilities(t *testing.T, n *testnet.Namespace, f func()) {
	t.Helper()
	n.Do(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var before, none [2]unix.CapUserData
		if err := unix.Capget(&header, &before[0]); err != nil {
			t.Fatal(err)
		}
		none = before
		none[0].Effective, none[1].Effective = 0, 0
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Capset(&header, &before[0]); err != nil {
				panic(err)
			}
		}()
		f()
	})
}

// An unprivileged process attaches to a persistent device of its user's; the MTU remains the device's.
func TestAttachWithoutPrivilege(t *testing.T) {
	n := testnet.New(t)
	l := device(t, n, true, "2001:db8:1::a/64")
	if err := control(l.file, func(fd int) error {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOWNER, os.Getuid()); err != nil {
			return err
		}
		return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, offload := range []bool{true, false} {
		withoutCapabilities(t, n, func() {
			again, err := Open(testName, 1400, Offload{offload, offload})
			if err != nil {
				t.Errorf("offload %v: %v", offload, err)
				return
			}
			defer again.Close()
			if again.MTU() != 1500 || again.Features() != 0 != offload {
				t.Errorf("offload %v: MTU %d, features %b", offload, again.MTU(), again.Features())
			}
		})
	}
	withoutCapabilities(t, n, func() {
		var open *OpenError
		if _, err := Open("kt4-new", 1400, Offload{true, true}); !errors.Is(err, os.ErrPermission) || !errors.As(err, &open) ||
			open.Step != CreateDevice {
			t.Errorf("made a device without privilege: %v", err)
		}
	})
}

func TestRemedyForEveryCause(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range []*OpenError{
		{Name: "t", Step: OpenNode, Err: unix.ENOENT},
		{Name: "t", Step: OpenNode, Err: unix.EACCES},
		{Name: "t", Step: CreateDevice, Err: unix.EPERM},
		{Name: "t", Step: CreateDevice, Err: unix.EBUSY},
		{Name: "t", Step: CreateDevice, Err: unix.EINVAL},
		{Name: "t", Step: SetMTU, Err: unix.EINVAL},
	} {
		r := e.Remedy()
		if r.BareMetal == "" || r.Container == "" || r.Rootless == "" || seen[r.BareMetal] || seen[e.Error()] {
			t.Errorf("%v: remedy %+v is empty or another's", e, r)
		}
		seen[r.BareMetal], seen[e.Error()] = true, true
	}
	noNode := (&OpenError{Step: OpenNode, Err: unix.ENOENT}).Remedy()
	if noDriver := (&OpenError{Step: OpenNode, Err: ErrNoDriver}).Remedy(); noDriver != noNode {
		t.Errorf("remedy for a missing driver %+v", noDriver)
	}
}

// BenchmarkTransfer is kernel TCP between two devices back to back.
func BenchmarkTransfer(b *testing.B) {
	for _, c := range []struct{ offload, whole bool }{{false, false}, {true, false}, {true, true}} {
		b.Run(fmt.Sprintf("offload=%v,whole=%v", c.offload, c.whole), func(b *testing.B) {
			na, nb := testnet.New(b), testnet.New(b)
			la, lb := device(b, na, c.offload, "2001:db8:1::a/64"), device(b, nb, c.offload, "2001:db8:1::b/64")
			room := packet.SmallLength
			if c.whole {
				room = packet.MaxLength
				la.KeepSuperPackets()
				lb.KeepSuperPackets()
			}
			var wait sync.WaitGroup
			defer wait.Wait()
			defer la.Close()
			defer lb.Close()
			pump(&wait, la, lb, room)
			pump(&wait, lb, la, room)
			const size = 256 << 20
			b.SetBytes(size)
			for b.Loop() {
				testnet.Transfer(b, na, nb, addressB, size)
			}
		})
	}
}
