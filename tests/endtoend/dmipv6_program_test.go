package endtoend

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/lab/space"
)

// anyAddress is what a program binds that leaves the choice of its address to the kernel.
var anyAddress = netip.IPv6Unspecified()

func (e *end) local() netip.AddrPort  { return e.conn.LocalAddr().(*net.TCPAddr).AddrPort() }
func (e *end) remote() netip.AddrPort { return e.conn.RemoteAddr().(*net.TCPAddr).AddrPort() }

// seenAs fails the test unless the correspondent knows the mobile node's end by an address in prefix, and the program by
// the address own.
func (s *stream) seenAs(prefix netip.Prefix, own netip.Addr) {
	s.t.Helper()
	if a := s.ends[1].remote().Addr(); !prefix.Contains(a) {
		s.t.Errorf("the correspondent sees %v, not an address of %v", a, prefix)
	}
	if a := s.ends[0].local().Addr(); a != own {
		s.t.Errorf("the program's own address is %v, not %v", a, own)
	}
}

// single is the prefix of one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// ask sends a datagram of so many octets until it arrives at to, which answers as many to where it came from until that
// arrives. It returns whom the correspondent has seen.
func (k socket) ask(to socket, length int) (seen netip.Addr) {
	k.t.Helper()
	question, answer := make([]byte, length), make([]byte, length)
	_, _ = source(uint64(length)).Read(question)
	_, _ = source(uint64(length) + 1).Read(answer)
	b := make([]byte, 1<<16)
	await(k.t, "an answer arrives", func() bool {
		if _, err := k.WriteToUDPAddrPort(question, to.address()); err != nil {
			return false // an earlier ICMPv6 error
		}
		_ = to.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, from, err := to.ReadFromUDPAddrPort(b)
		if err != nil || string(b[:n]) != string(question) {
			return false
		}
		seen = from.Addr()
		_, _ = to.WriteToUDPAddrPort(answer, from)
		_ = k.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, from, err = k.ReadFromUDPAddrPort(b)
		return err == nil && from == to.address() && string(b[:n]) == string(answer)
	})
	return seen
}

// asks is ask that fails the test unless the correspondent sees an address of prefix.
func (k socket) asks(to socket, length int, prefix netip.Prefix) {
	k.t.Helper()
	if seen := k.ask(to, length); !prefix.Contains(seen) {
		k.t.Errorf("the correspondent sees %v, not an address of %v", seen, prefix)
	}
}

// dial opens a TCP connection from a program on one node to a listener on another, as connect does, and leaves both ends
// to the caller.
func dial(t *testing.T, from *space.Namespace, source netip.Addr, to *space.Namespace, destination netip.Addr) (near, far *net.TCPConn) {
	t.Helper()
	listener := listen(t, to, destination)
	defer listener.Close()
	err := from.Do(func() (err error) {
		near, err = net.DialTCP("tcp6", net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), listener.Addr().(*net.TCPAddr))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	_ = listener.SetDeadline(time.Now().Add(patience))
	if far, err = listener.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	impatient(near)
	impatient(far)
	return near, far
}

func listen(t *testing.T, s *space.Namespace, address netip.Addr) (l *net.TCPListener) {
	t.Helper()
	if err := s.Do(func() (err error) {
		l, err = net.ListenTCP("tcp6", net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, 0)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return l
}

// flow is the mobile node's flow between these two ports.
func (k *kedge) flow(local, remote uint16) control.Flow {
	k.t.Helper()
	list, err := k.client.Flows(context.Background(), 1000)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, f := range list {
		if f.LocalPort == local && f.RemotePort == remote {
			return f
		}
	}
	k.t.Fatalf("%s has no flow from port %d to port %d: %+v", k.name, local, remote, list)
	return control.Flow{}
}

// flowOf is the mobile node's flow that carries a stream which it has opened.
func (k *kedge) flowOf(s *stream) control.Flow {
	k.t.Helper()
	return k.flow(s.ends[0].local().Port(), s.ends[0].remote().Port())
}

// anchors are the addresses that a mobile node holds.
func (k *kedge) anchors() []control.Anchor {
	k.t.Helper()
	list, err := k.client.Anchors(context.Background())
	if err != nil {
		k.t.Fatal(err)
	}
	return list
}
