package endtoend

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Programs that bind nothing, or the home address, reach each correspondent by an address of the proxy near it, and never
// see that.
func TestAnchorPerFlow(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	first := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	first.seenAs(pool1, home)
	second := connect(t, w.nodes["mn"], home, w.nodes["cn"], correspondent)
	second.seenAs(pool1, home)
	if a, b := first.ends[1].remote().Addr(), second.ends[1].remote().Addr(); a != b {
		t.Errorf("flows to one region use %v and %v", a, b)
	}
	other := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn2"], correspondent2)
	other.seenAs(pool2, home)

	a, b := udpSocket(t, w.nodes["mn"], anyAddress), udpSocket(t, w.nodes["cn"], correspondent)
	bound, c := udpSocket(t, w.nodes["mn"], home), udpSocket(t, w.nodes["cn2"], correspondent2)
	for _, length := range []int{1, 1200, 4000} {
		a.asks(b, length, pool1)
		bound.asks(c, length, pool2)
	}
	if n := len(w.mn.anchors()); n != 2 {
		t.Errorf("%d addresses are held for two proxies", n)
	}

	// All go on after a move, with the addresses that they have.
	w.move("mn", "access2")
	w.mn.state("registered", access2Prefix)
	for _, s := range []*stream{first, second, other} {
		s.progress("after the move")
		s.finish()
	}
	a.asks(b, 4000, pool1)
	bound.asks(c, 4000, pool2)
}

// Many octets at once, in segments far larger than packets.
func TestTranslatedSuperPackets(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	near, far := dial(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	if a := far.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); !pool1.Contains(a) {
		t.Errorf("the correspondent sees %v", a)
	}
	const total = 24 << 20
	before := w.mn.status().Counters
	failures := make(chan error, 4)
	for i, ends := range [][2]*net.TCPConn{{near, far}, {far, near}} {
		for _, c := range ends {
			_ = c.SetDeadline(time.Now().Add(2 * patience))
		}
		go func() {
			_, err := io.Copy(ends[0], io.LimitReader(source(uint64(i)), total))
			failures <- err
		}()
		go func() { failures <- verify(ends[1], source(uint64(i)), total) }()
	}
	for range cap(failures) {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	after := w.mn.status().Counters
	grown := func(name string) uint64 { return after["forwarding-"+name] - before["forwarding-"+name] }
	// A tunnel takes packets: the kernel's segments of up to 64 KiB are cut up behind the translation.
	if n := grown("split-segments"); n < total/3000 {
		t.Errorf("%d packets were made of larger segments", n)
	}
	if out, in := grown("translated-out"), grown("translated-in"); out == 0 || in == 0 {
		t.Errorf("translated %d out and %d in", out, in)
	}
}

// verify reads what random gives.
func verify(r io.Reader, random io.Reader, total int) error {
	got, want := make([]byte, 64<<10), make([]byte, 64<<10)
	for left := total; left > 0; {
		n := min(left, len(got))
		if _, err := io.ReadFull(r, got[:n]); err != nil {
			return err
		}
		_, _ = io.ReadFull(random, want[:n])
		if !bytes.Equal(got[:n], want[:n]) {
			return io.ErrNoProgress
		}
		left -= n
	}
	return nil
}

// The ping of the distribution, bound to the home address and to nothing.
func TestTranslatedEcho(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("ping")
	if err != nil {
		t.Skip(err)
	}
	w := newFlowWorld(newNetwork(t), flowNode{})
	wire := tap(t, w.nodes["cn"], "eth0")
	for _, arguments := range [][]string{{"-I", home.String()}, nil} {
		for _, size := range []string{"56", "3000"} {
			cmd := exec.Command(path, append(arguments, "-6", "-n", "-c", "3", "-i", "0.2", "-w", "20", "-s", size, correspondent.String())...)
			var out []byte
			if err := w.nodes["mn"].Do(func() (err error) {
				out, err = cmd.CombinedOutput()
				return err
			}); err != nil {
				t.Errorf("%v: %v\n%s", cmd.Args, err, out)
			}
		}
	}
	asked := wire.packets(func(p []byte) bool {
		return p[6] == unix.IPPROTO_ICMPV6 && p[40] == 128 && sourceOf(p) != accessRouter && destinationOf(p) == correspondent
	})
	seen := 0
	for _, p := range asked {
		switch a := sourceOf(p); {
		case pool1.Contains(a):
			seen++
		case a != homeProxy1: // which measures
			t.Errorf("the correspondent was asked by %v", a)
		}
	}
	if seen < 6 {
		t.Errorf("the correspondent saw %d echo requests of the address lent", seen)
	}
}

// ICMPv6 errors about translated packets reach the program: from the correspondent, and from routers on both sides of the
// proxy.
func TestErrorsReachTranslatedPrograms(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	k := udpSocket(t, w.nodes["mn"], home)
	k.complaints()
	seen := map[netip.Addr]bool{}
	const closed = 9
	await(t, "the proxy, the router behind it, and the closed port complain", func() bool {
		for limit := 1; limit <= 5; limit++ {
			k.set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, limit)
			_, _ = k.WriteToUDPAddrPort([]byte("where are you"), netip.AddrPortFrom(correspondent, closed))
			for c, ok := k.complaint(); ok; c, ok = k.complaint() {
				if c.kind == 3 && c.code == 0 || c.kind == 1 && c.code == 4 && c.from == correspondent {
					seen[c.from] = true
				}
			}
		}
		return seen[homeProxy1] && seen[site1Router] && seen[correspondent]
	})
	if seen[homeAgent] {
		t.Error("packets went by the home agent")
	}

	// The correspondent's link gets a smaller MTU.
	const mtu = 1360
	b := udpSocket(t, w.nodes["cn"], correspondent)
	k.set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 64)
	k.set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	w.setMTU(mtu, "ar", "c")
	w.setMTU(mtu, "cn", "eth0")
	await(t, "the program is told of the MTU behind the proxy", func() bool {
		_, _ = k.WriteToUDPAddrPort(make([]byte, mtu+1-48), b.address())
		for {
			c, ok := k.complaint()
			if !ok {
				return false
			}
			if c.kind == 2 && c.mtu == mtu {
				return true
			}
		}
	})
	k.asks(b, mtu-48, pool1)
	s.seenAs(pool1, home)
	s.progress("with the smaller MTU")
	s.finish()
}

// Where not even 1280 octets fit the tunnel to the proxy, tunnel packets are fragmented, both ways.
func TestFragmentedProxyTunnel(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	newFlowNetwork(n)
	n.setMTU(1280, "ar", "site1")
	n.setMTU(1280, "dhp1", "eth0")
	w := &flowWorld{network: n}
	w.ha = n.directoryAgent(directoryAgent{})
	w.dhp1 = n.homeProxy(1, homeProxy{})
	w.ha.listed(1)
	w.mn = n.flowNode("mn", flowNode{})
	w.mn.state("registered", access1Prefix)
	a, b := udpSocket(t, w.nodes["mn"], anyAddress), udpSocket(t, w.nodes["cn"], correspondent)
	for _, length := range []int{1232, 1200, 1193, 1192, 1, 5000} {
		a.asks(b, length, pool1)
	}
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	s.finish()
}
