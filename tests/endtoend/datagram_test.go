package endtoend

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	echo "golang.org/x/net/icmp"
	xipv6 "golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
)

// socket is a UDP socket of a program on a node.
type socket struct {
	t *testing.T
	*net.UDPConn
}

// udpSocket binds a socket; fragmentation is left to the kernel.
func udpSocket(t *testing.T, s *space.Namespace, address netip.Addr) socket {
	t.Helper()
	k := socket{t: t}
	if err := s.Do(func() (err error) {
		k.UDPConn, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 0)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func (k socket) address() netip.AddrPort { return k.LocalAddr().(*net.UDPAddr).AddrPort() }

// set sets an integer option of the socket.
func (k socket) set(level, option, value int) {
	k.t.Helper()
	raw, err := k.SyscallConn()
	if err == nil {
		err = errors.Join(err, raw.Control(func(fd uintptr) {
			if e := unix.SetsockoptInt(int(fd), level, option, value); e != nil {
				k.t.Errorf("socket option %d of level %d: %v", option, level, e)
			}
		}))
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// deliver sends a datagram of so many octets until it arrives at to. Datagrams may be lost while routes settle.
func (k socket) deliver(to socket, length int) {
	k.t.Helper()
	payload, b := bytes.Repeat([]byte{byte(length)}, length), make([]byte, 1<<16)
	await(k.t, "a datagram arrives", func() bool {
		_, _ = k.WriteToUDPAddrPort(payload, to.address())
		_ = to.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, from, err := to.ReadFromUDPAddrPort(b)
		return err == nil && from == k.address() && bytes.Equal(b[:n], payload)
	})
}

// complaint is an ICMPv6 error that reached a program.
type complaint struct {
	from       netip.Addr
	kind, code uint8
	mtu        uint32
}

// complaints makes the kernel keep errors for the program (IPV6_RECVERR).
func (k socket) complaints() { k.set(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1) }

// complaint takes the next error that came by ICMPv6.
func (k socket) complaint() (c complaint, ok bool) {
	raw, err := k.SyscallConn()
	if err != nil {
		k.t.Fatal(err)
	}
	var control [512]byte
	var n int
	_ = raw.Control(func(fd uintptr) {
		_, n, _, _, err = unix.Recvmsg(int(fd), make([]byte, 2048), control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	})
	if err != nil {
		return c, false
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		k.t.Fatal(err)
	}
	for _, m := range messages {
		// struct sock_extended_err, then the sockaddr_in6 of the offender.
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR && m.Data[4] == unix.SO_EE_ORIGIN_ICMP6 {
			return complaint{
				from: netip.AddrFrom16([16]byte(m.Data[24:40])), kind: m.Data[5], code: m.Data[6],
				mtu: uint32(m.Data[8]) | uint32(m.Data[9])<<8 | uint32(m.Data[10])<<16 | uint32(m.Data[11])<<24,
			}, true
		}
	}
	return c, false
}

// ping waits for the answer to an echo request.
func ping(t *testing.T, s *space.Namespace, to netip.Addr) {
	t.Helper()
	var conn *echo.PacketConn
	if err := s.Do(func() (err error) {
		conn, err = echo.ListenPacket("ip6:ipv6-icmp", "::")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request, err := (&echo.Message{Type: xipv6.ICMPTypeEchoRequest, Body: &echo.Echo{ID: 10, Seq: 1, Data: bytes.Repeat([]byte("kedge"), 100)}}).Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "an answer from "+to.String(), func() bool {
		if _, err := conn.WriteTo(request, &net.IPAddr{IP: to.AsSlice()}); err != nil {
			return false
		}
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		for b := make([]byte, 2048); ; {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return false
			}
			if a, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP); a == to && b[0] == byte(xipv6.ICMPTypeEchoReply) && n == len(request) {
				return bytes.Equal(b[4:n], request[4:])
			}
		}
	})
}
