package udp

import (
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/netstack/internal/testnet"
)

const (
	mobile        = "2001:db8:77::1" // behind the tunnel
	correspondent = "2001:db8:c::2"
)

// BenchmarkThroughput is kernel TCP from and to a mobile node (a) by way of a router and an anchor (b), as the kernels forward
// it and through two processes that tunnel it. "gro" are network cards that merge what they receive but do not segment,
// "on" ones that do both. Compare what was measured in one run.
func BenchmarkThroughput(b *testing.B) {
	p := newPath(b)
	far := testnet.New(b)
	p.b.Veth("ka-c", far, "ka-d")
	p.b.Address("ka-c", "2001:db8:c::1/64")
	far.Address("ka-d", correspondent+"/64")
	p.b.Do(func() { set(b, "net/ipv6/conf/all/forwarding", "1") })
	route(b, far, netlink.Route{LinkIndex: far.Link("ka-d").Attrs().Index, Gw: net.ParseIP("2001:db8:c::1")})
	route(b, p.router, netlink.Route{
		LinkIndex: p.router.Link("ka-rb").Attrs().Index, Gw: net.ParseIP("2001:db8:b::2"), Dst: prefix(b, "2001:db8:c::/64"),
	})
	device := func(n *testnet.Namespace) int {
		if err := n.Netlink.LinkAdd(&netlink.Tuntap{
			LinkAttrs: netlink.LinkAttrs{Name: "ka-t"}, Mode: netlink.TUNTAP_MODE_TUN, NonPersist: false,
			Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR,
		}); err != nil {
			b.Skipf("no TUN devices here: %v", err)
		}
		n.Up("ka-t")
		return n.Link("ka-t").Attrs().Index
	}
	const mtu = 1500 - Overhead6
	var index int
	p.a.Do(func() { index = device(p.a) })
	p.a.Address("ka-t", mobile+"/128")
	route(b, p.a, netlink.Route{LinkIndex: index, Dst: prefix(b, "::/0"), Table: 77, MTU: mtu})
	rule := netlink.NewRule()
	rule.Family, rule.Src, rule.Table = unix.AF_INET6, prefix(b, mobile+"/128"), 77
	if err := p.a.Netlink.RuleAdd(rule); err != nil {
		b.Fatal(err)
	}
	p.b.Do(func() { index = device(p.b) })
	route(b, p.b, netlink.Route{LinkIndex: index, Dst: prefix(b, mobile+"/128"), MTU: mtu})

	for _, condition := range []string{"gro", "on"} {
		for n, names := range map[*testnet.Namespace][]string{
			p.a: {"ka-a"}, p.router: {"ka-ra", "ka-rb"}, p.b: {"ka-b", "ka-c"}, far: {"ka-d"},
		} {
			for _, name := range names {
				offload(b, n, name, condition == "on")
			}
		}
		for _, system := range []struct{ name, source string }{{"plain", "2001:db8:a::2"}, {"udp", mobile}} {
			b.Run(condition+"/"+system.name, func(b *testing.B) {
				if system.source == mobile {
					tunnelEnd(b, p.a, "ka-t,[2001:db8:a::2]:4191,[2001:db8:b::2]:4191")
					tunnelEnd(b, p.b, "ka-t,[2001:db8:b::2]:4191,[2001:db8:a::2]:4191")
				}
				near, distant := connect(b, p.a, far, system.source)
				b.Run("up", func(b *testing.B) { stream(b, near, distant) })
				b.Run("down", func(b *testing.B) { stream(b, distant, near) })
			})
		}
	}
}

func prefix(t testing.TB, s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func route(t testing.TB, n *testnet.Namespace, r netlink.Route) {
	t.Helper()
	if err := n.Netlink.RouteAdd(&r); err != nil {
		t.Fatalf("route %v: %v", r, err)
	}
}

// offload makes an interface segment what it sends, or not; it merges what it receives.
func offload(t testing.TB, n *testnet.Namespace, name string, segment bool) {
	t.Helper()
	const setTSO, setGSO, setGRO = 0x1f, 0x24, 0x2c // linux/ethtool.h
	on := uint32(0)
	if segment {
		on = 1
	}
	n.Do(func() {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		for _, c := range [][2]uint32{{setTSO, on}, {setGSO, on}, {setGRO, 1}} {
			var request struct {
				name [unix.IFNAMSIZ]byte
				data unsafe.Pointer
				_    [16]byte
			}
			copy(request.name[:], name)
			request.data = unsafe.Pointer(&c)
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
				t.Fatalf("%s: ethtool command %#x: %v", name, c[0], errno)
			}
		}
	})
}

// tunnelEnd runs this program as one end of a tunnel while a benchmark lasts.
func tunnelEnd(b *testing.B, n *testnet.Namespace, end string) {
	b.Helper()
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	command := exec.Command(program)
	command.Env = append(os.Environ(), endVariable+"="+end)
	command.Stderr = os.Stderr
	n.Do(func() { err = command.Start() })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = command.Process.Signal(unix.SIGTERM)
		_ = command.Wait()
	})
}

// connect opens a TCP connection from a source address, as soon as there is a way.
func connect(b *testing.B, from, to *testnet.Namespace, source string) (near, distant net.Conn) {
	b.Helper()
	var listener net.Listener
	var err error
	to.Do(func() {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(correspondent), 0).String())
	})
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := listener.Accept(); err == nil {
			accepted <- c
		}
	}()
	dialer := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	for end := time.Now().Add(10 * time.Second); near == nil; {
		from.Do(func() { near, err = dialer.Dial("tcp", listener.Addr().String()) })
		if err != nil && time.Now().After(end) {
			b.Fatal(err)
		}
	}
	distant = <-accepted
	b.Cleanup(func() {
		near.Close()
		distant.Close()
	})
	return near, distant
}

// stream sends pieces, each of which is to have arrived before the next but one is sent.
func stream(b *testing.B, from, to net.Conn) {
	const piece = 32 << 20
	data := make([]byte, 1<<17)
	arrived := make(chan error, 2)
	go func() {
		sink := make([]byte, 1<<17)
		for range b.N {
			_, err := io.CopyBuffer(discard{}, io.LimitReader(to, piece), sink)
			arrived <- err
		}
	}()
	b.SetBytes(piece)
	b.ResetTimer()
	outstanding := 0
	for range b.N {
		for sent := 0; sent < piece; sent += len(data) {
			if _, err := from.Write(data); err != nil {
				b.Fatal(err)
			}
		}
		if outstanding++; outstanding == 2 {
			if err := <-arrived; err != nil {
				b.Fatal(err)
			}
			outstanding--
		}
	}
	for ; outstanding > 0; outstanding-- {
		if err := <-arrived; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*piece*8/b.Elapsed().Seconds()/1e9, "Gbit/s")
}

// discard is io.Discard with nothing but Write, so that the buffer given is used.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
