// Package testnet gives tests of links network namespaces of their own.
package testnet

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Namespace is a network namespace without a name, which goes when the test ends.
type Namespace struct {
	t      testing.TB
	handle netns.NsHandle
	// Netlink speaks to the namespace's kernel.
	Netlink *netlink.Handle
}

// New makes a namespace, or skips the test where that is not permitted.
func New(t testing.TB) *Namespace {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	original, err := netns.Get()
	if err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	defer original.Close()
	handle, err := netns.New()
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			t.Skipf("needs CAP_SYS_ADMIN to make a network namespace: %v", err)
		}
		t.Fatal(err)
	}
	if err := netns.Set(original); err != nil {
		panic(err) // the thread must not go on in the wrong namespace
	}
	n := &Namespace{t: t, handle: handle}
	if n.Netlink, err = netlink.NewHandleAt(handle); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Netlink.Close()
		handle.Close()
	})
	n.Up("lo")
	return n
}

// Do runs f on a thread in the namespace. Sockets that f makes stay in it.
func (n *Namespace) Do(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	original, err := netns.Get()
	if err != nil {
		panic(err)
	}
	defer original.Close()
	if err := netns.Set(n.handle); err != nil {
		panic(err)
	}
	defer func() {
		if err := netns.Set(original); err != nil {
			panic(err)
		}
	}()
	f()
}

func (n *Namespace) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// Link finds an interface.
func (n *Namespace) Link(name string) netlink.Link {
	n.t.Helper()
	link, err := n.Netlink.LinkByName(name)
	n.must(err)
	return link
}

// Up brings an interface up.
func (n *Namespace) Up(name string) {
	n.t.Helper()
	n.must(n.Netlink.LinkSetUp(n.Link(name)))
}

// Address adds an address, without duplicate address detection.
func (n *Namespace) Address(name, prefix string) {
	n.t.Helper()
	address, err := netlink.ParseAddr(prefix)
	n.must(err)
	address.Flags = 0x02 // IFA_F_NODAD
	n.must(n.Netlink.AddrAdd(n.Link(name), address))
}

// Veth makes a pair of Ethernet interfaces, each up, one in n and the other in peer.
func (n *Namespace) Veth(name string, peer *Namespace, peerName string) {
	n.t.Helper()
	n.must(n.Netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peerName, PeerNamespace: netlink.NsFd(peer.handle),
	}))
	n.Up(name)
	peer.Up(peerName)
}

// Transfer sends size octets over a kernel TCP connection from a program in one namespace to one in the other and verifies
// them. It returns how long it took.
func Transfer(t testing.TB, from, to *Namespace, destination netip.Addr, size int) time.Duration {
	t.Helper()
	var listener net.Listener
	var err error
	to.Do(func() { listener, err = net.Listen("tcp", netip.AddrPortFrom(destination, 0).String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	type result struct {
		sum [32]byte
		err error
	}
	received := make(chan result, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			received <- result{err: err}
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		h := sha256.New()
		n, err := io.Copy(h, conn)
		if err == nil && n != int64(size) {
			err = fmt.Errorf("received %d octets, want %d", n, size)
		}
		received <- result{sum: [32]byte(h.Sum(nil)), err: err}
	}()
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	begin := time.Now()
	var conn net.Conn
	dialer := net.Dialer{Timeout: 10 * time.Second}
	from.Do(func() { conn, err = dialer.Dial("tcp", listener.Addr().String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	r := <-received
	if r.err != nil || r.sum != sha256.Sum256(data) {
		t.Fatalf("transfer: %v, or the octets are not those sent", r.err)
	}
	return time.Since(begin)
}

// Echo sends datagrams of the given sizes over kernel UDP sockets and back and verifies them.
func Echo(t testing.TB, from, to *Namespace, destination netip.Addr, sizes ...int) {
	t.Helper()
	var server, client net.Conn
	var packets net.PacketConn
	var err error
	to.Do(func() { packets, err = net.ListenPacket("udp", netip.AddrPortFrom(destination, 0).String()) })
	if err != nil {
		t.Fatal(err)
	}
	server = packets.(*net.UDPConn)
	defer server.Close()
	go func() {
		b := make([]byte, 65536)
		for {
			n, source, err := packets.ReadFrom(b)
			if err != nil {
				return
			}
			packets.WriteTo(b[:n], source)
		}
	}()
	from.Do(func() { client, err = net.Dial("udp", packets.LocalAddr().String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, size := range sizes {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(size + i)
		}
		answer := make([]byte, 65536)
		// A datagram may be lost or late while neighbours are resolved, and then come twice.
		for try := 0; ; try++ {
			if _, err := client.Write(data); err != nil {
				t.Fatal(err)
			}
			client.SetReadDeadline(time.Now().Add(time.Second))
			n, err := client.Read(answer)
			for err == nil && n != size {
				n, err = client.Read(answer)
			}
			if err == nil && string(answer[:n]) != string(data) {
				t.Fatalf("echo of %d octets came back changed", size)
			}
			if err == nil {
				break
			}
			if try == 5 {
				t.Fatalf("echo of %d octets: %v", size, err)
			}
		}
	}
}
