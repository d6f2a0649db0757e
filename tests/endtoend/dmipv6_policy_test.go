package endtoend

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
)

// listenUDP binds a UDP socket to an address and port.
func listenUDP(t *testing.T, s *space.Namespace, a netip.AddrPort) socket {
	t.Helper()
	k := socket{t: t}
	if err := s.Do(func() (err error) {
		k.UDPConn, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(a))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// Name look-ups are non-persistent by default: they use the host's own address, on each link another, and kedge has no
// part in them.
func TestNonPersistentFlows(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{sections: "[[dmipv6.rule]]\nname = \"short\"\nclass = \"non-persistent\"\nprotocols = [\"tcp\"]\ndestinations = [\"2001:db8:c2::/64\"]\n"})
	server := listenUDP(t, w.nodes["cn"], netip.AddrPortFrom(correspondent, 53))
	udpSocket(t, w.nodes["mn"], anyAddress).asks(server, 4000, single(hostAddress))
	// A program that has bound the home address has made its choice.
	udpSocket(t, w.nodes["mn"], home).asks(server, 100, single(home))
	udpSocket(t, w.nodes["mn"], anyAddress).asks(udpSocket(t, w.nodes["cn"], correspondent), 100, pool1)
	udpSocket(t, w.nodes["mn"], anyAddress).asks(udpSocket(t, w.nodes["cn2"], correspondent2), 100, pool2)
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn2"], correspondent2)
	s.seenAs(single(hostAddress), hostAddress)
	s.finish()
}

// A rule that keeps the home address needs nobody to be asked, nor anything to wait.
func TestFixedFlows(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{sections: "[[dmipv6.rule]]\nname = \"servers\"\nclass = \"fixed\"\ndestinations = [\"2001:db8:c::/64\"]\n"})
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(single(home), home)
	f := w.mn.flowOf(s)
	if f.Class != "fixed" || f.Rule != "servers" || f.Anchor != homeAgent {
		t.Errorf("the flow is %+v", f)
	}
	udpSocket(t, w.nodes["mn"], anyAddress).asks(udpSocket(t, w.nodes["cn"], correspondent), 100, single(home))
	for _, c := range []string{"flows-held", "queries-sent", "requests-sent"} {
		if n := w.mn.counter("dmipv6-" + c); n != 0 {
			t.Errorf("%s: %d", c, n)
		}
	}
	connect(t, w.nodes["mn"], anyAddress, w.nodes["cn2"], correspondent2).seenAs(pool2, home)
	s.finish()
}

// asUser runs f with the identity by which the kernel calls sockets somebody's.
func asUser(t *testing.T, s *space.Namespace, user int, f func()) {
	t.Helper()
	var is uintptr
	if err := s.Do(func() error {
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(user), 0, 0)
		defer unix.RawSyscall(unix.SYS_SETFSUID, 0, 0, 0)
		// The call returns what was before.
		if is, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(user), 0, 0); int(is) == user {
			f()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if int(is) != user {
		t.Skipf("user %d does not exist in this user namespace", user)
	}
}

// Rules by the user whose program it is.
func TestRulesByUser(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{sections: `[[dmipv6.rule]]
name = "guest"
class = "non-persistent"
users = ["1235"]
[[dmipv6.rule]]
name = "server"
class = "fixed"
users = ["1234"]
`})
	for user, want := range map[int]struct {
		seen netip.Prefix
		own  netip.Addr
	}{1234: {single(home), home}, 1235: {single(hostAddress), hostAddress}, 0: {pool1, home}} {
		listener := listen(t, w.nodes["cn"], correspondent)
		var conn *net.TCPConn
		var err error
		asUser(t, w.nodes["mn"], user, func() { conn, err = net.DialTCP("tcp6", nil, listener.Addr().(*net.TCPAddr)) })
		w.must(err)
		far, err := listener.AcceptTCP()
		w.must(err)
		if seen := far.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); !want.seen.Contains(seen) {
			t.Errorf("the correspondent sees %v of user %d", seen, user)
		}
		if own := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); own != want.own {
			t.Errorf("user %d has the address %v", user, own)
		}
		listener.Close()
		conn.Close()
		far.Close()
	}
}
