package udp

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/internal/testnet"
	"kedge/netstack/packet"
)

// path is two namespaces with a router between them, whose further link has a smaller MTU.
type path struct {
	a, router, b *testnet.Namespace
}

func newPath(t testing.TB) path {
	p := path{testnet.New(t), testnet.New(t), testnet.New(t)}
	p.a.Veth("ka-a", p.router, "ka-ra")
	p.router.Veth("ka-rb", p.b, "ka-b")
	for _, x := range []struct {
		n                           *testnet.Namespace
		name, six, four, via6, via4 string
	}{
		{p.a, "ka-a", "2001:db8:a::2/64", "10.1.0.2/24", "2001:db8:a::1", "10.1.0.1"},
		{p.b, "ka-b", "2001:db8:b::2/64", "10.2.0.2/24", "2001:db8:b::1", "10.2.0.1"},
		{p.router, "ka-ra", "2001:db8:a::1/64", "10.1.0.1/24", "", ""},
		{p.router, "ka-rb", "2001:db8:b::1/64", "10.2.0.1/24", "", ""},
	} {
		x.n.Address(x.name, x.six)
		x.n.Address(x.name, x.four)
		for _, via := range []string{x.via6, x.via4} {
			if via == "" {
				continue
			}
			if err := x.n.Netlink.RouteAdd(&netlink.Route{LinkIndex: x.n.Link(x.name).Attrs().Index, Gw: netip.MustParseAddr(via).AsSlice()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.router.Do(func() {
		for _, name := range []string{"net/ipv6/conf/all/forwarding", "net/ipv4/ip_forward"} {
			set(t, name, "1")
		}
	})
	return p
}

func (p path) narrow(t *testing.T, mtu int) {
	for n, name := range map[*testnet.Namespace]string{p.router: "ka-rb", p.b: "ka-b"} {
		if err := n.Netlink.LinkSetMTU(n.Link(name), mtu); err != nil {
			t.Fatal(err)
		}
	}
}

// told gathers what Config.PathMTU is called with.
type told struct {
	mu   sync.Mutex
	mtus map[netip.Addr]int
}

func (w *told) pathMTU(remote netip.Addr, mtu int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mtus == nil {
		w.mtus = make(map[netip.Addr]int)
	}
	w.mtus[remote] = mtu
}

func (w *told) of(remote netip.Addr) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mtus[remote]
}

// A path that becomes narrow is told of, and everything gets through it all the same: at first what was cut up already, in
// fragments.
func TestNarrowPath(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
	}{{"IPv4", "10.1.0.2", "10.2.0.2"}, {"IPv6", "2001:db8:a::2", "2001:db8:b::2"}} {
		t.Run(c.name, func(t *testing.T) {
			p := newPath(t)
			var learnt told
			var a, b *Link
			p.a.Do(func() {
				a = open(t, Config{Listen: netip.AddrPortFrom(netip.MustParseAddr(c.from), Port), Segment: true, Coalesce: true, PathMTU: learnt.pathMTU})
			})
			p.b.Do(func() {
				b = open(t, Config{Listen: netip.AddrPortFrom(netip.MustParseAddr(c.to), Port), Segment: true, Coalesce: true})
			})
			remote := netip.MustParseAddr(c.to)
			go func() { // errors reach the reader
				pkts := packet.NewBatch(1, packet.MaxLength)
				for {
					if _, err := a.Read(pkts); err != nil {
						return
					}
				}
			}()
			send := func(sequence uint32) []*packet.Packet {
				whole := super(packet.TCP, 1, sequence, payload(20000), 1300)
				whole.Peer = b.LocalAddrPort()
				want := singles(t, whole)
				if n, err := a.Write([]*packet.Packet{whole}); n != 1 || err != nil {
					t.Fatalf("Write = %d, %v; %+v", n, err, a.Counters())
				}
				return want
			}
			want := send(0)
			compare(t, receive(t, b, len(want)), want)
			if mtu, err := a.PathMTU(remote); mtu != 1500 || err != nil {
				t.Errorf("PathMTU = %d, %v", mtu, err)
			}

			p.narrow(t, 1280)
			for end := time.Now().Add(5 * time.Second); learnt.of(remote) != 1280; {
				if time.Now().After(end) {
					t.Fatalf("told of %d", learnt.of(remote))
				}
				send(20000) // lost
				time.Sleep(10 * time.Millisecond)
			}
			drain(t, b)
			want = send(40000)
			compare(t, receive(t, b, len(want)), want)
			if mtu, err := a.PathMTU(remote); mtu != 1280 || err != nil {
				t.Errorf("PathMTU = %d, %v", mtu, err)
			}
			if got := a.Counters(); got != (Counters{}) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// drain reads what is on its way.
func drain(t *testing.T, l *Link) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		pkts := packet.NewBatch(8, packet.MaxLength)
		for {
			if _, err := l.Read(pkts); err != nil {
				t.Error(err)
				break
			}
			if pkts[0].Bytes()[6] == 59 {
				break
			}
		}
		close(done)
	}()
	time.Sleep(100 * time.Millisecond)
	last := packet.New(packet.SmallLength)
	b := make([]byte, 40)
	b[0], b[6] = 0x60, 59
	last.Set(b)
	last.Peer = netip.AddrPortFrom(l.LocalAddrPort().Addr(), Port)
	if n, err := l.Write([]*packet.Packet{last}); n != 1 || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
	<-done
}

// The link follows an interface that is not there yet, comes, goes, and comes back.
func TestInterfaceComesAndGoes(t *testing.T) {
	a, b := testnet.New(t), testnet.New(t)
	var l, peer *Link
	a.Do(func() { l = open(t, Config{Interface: "ka-x", Listen: netip.AddrPortFrom(netip.Addr{}, Port)}) })
	b.Do(func() { peer = open(t, Config{Listen: netip.AddrPortFrom(netip.Addr{}, Port)}) })
	if l.MTU() != 0 || l.Name() != "ka-x" {
		t.Errorf("MTU %d of %s, which is absent", l.MTU(), l.Name())
	}
	in := make(chan []byte, 100)
	failed := make(chan error, 1)
	go func() {
		pkts := packet.NewBatch(4, packet.MaxLength)
		for {
			n, err := l.Read(pkts)
			if err != nil {
				failed <- err
				return
			}
			for _, p := range pkts[:n] {
				in <- append([]byte(p.Peer.String()+" "+p.Local.String()+" "), p.Bytes()...)
			}
		}
	}()
	for _, name := range []string{"first", "again"} {
		out := super(packet.UDP, 1, 0, []byte(name), 1000)
		out.Peer = netip.MustParseAddrPort("[2001:db8:1::b]:4191")
		before := l.Counters().Unreachable
		if n, err := l.Write([]*packet.Packet{out}); n != 0 || err != nil || l.Counters().Unreachable != before+1 {
			t.Errorf("%s: Write without the interface = %d, %v; %+v", name, n, err, l.Counters())
		}
		a.Veth("ka-x", b, "ka-y")
		a.Address("ka-x", "2001:db8:1::a/64")
		b.Address("ka-y", "2001:db8:1::b/64")
		back := super(packet.UDP, 1, 0, []byte(name), 1000)
		back.Peer = netip.MustParseAddrPort("[2001:db8:1::a]:4191")
		var got []byte
		for end := time.Now().Add(5 * time.Second); got == nil; {
			if time.Now().After(end) {
				t.Fatalf("%s: nothing came; %+v", name, l.Counters())
			}
			_, _ = peer.Write([]*packet.Packet{back})
			select {
			case got = <-in:
			case <-time.After(50 * time.Millisecond):
			}
		}
		if want := "[2001:db8:1::b]:4191 2001:db8:1::a "; string(got[:len(want)]) != want {
			t.Errorf("%s: came from and to %s", name, got[:len(want)])
		}
		if n, err := l.Write([]*packet.Packet{out}); n != 1 || err != nil || l.MTU() != 1500 {
			t.Errorf("%s: Write = %d, %v; MTU %d", name, n, err, l.MTU())
		}
		if err := a.Netlink.LinkDel(a.Link("ka-x")); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(5 * time.Second); l.MTU() != 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		for len(in) > 0 {
			<-in
		}
	}
	l.Close()
	if err := <-failed; !errors.Is(err, netstack.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
}

func set(t testing.TB, sysctl, value string) {
	t.Helper()
	fd, err := unix.Open("/proc/sys/"+sysctl, unix.O_WRONLY, 0)
	if err != nil {
		t.Skipf("sysctl %s: %v", sysctl, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		t.Skipf("sysctl %s: %v", sysctl, err)
	}
}
