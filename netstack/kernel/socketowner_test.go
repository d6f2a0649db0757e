package kernel

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func localOf(t testing.TB, fd int) netip.AddrPort {
	t.Helper()
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	a := name.(*unix.SockaddrInet6)
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
}

func TestSocketOwner(t *testing.T) {
	mobileHost(t)
	remote := netip.MustParseAddrPort("[2001:db8:5::1]:80")
	const user = 4242
	for name, p := range map[string]program{
		"TCP that has sent a SYN":     {protocol: tcp, user: user},
		"TCP bound to an interface":   {protocol: tcp, user: user, device: "kt7-up"},
		"UDP":                         {protocol: udp, user: user},
		"UDP bound to an address":     {protocol: udp, user: user, bound: uplinkAddress, port: 7000},
		"UDP, unconnected":            {protocol: udp, user: user, idle: true},
		"UDP, unconnected, bound":     {protocol: udp, user: user, idle: true, bound: uplinkAddress},
		"UDP bound to an interface":   {protocol: udp, user: user, device: "kt7-up"},
		"UDP, unconnected, interface": {protocol: udp, user: user, idle: true, device: "kt7-up"},
		"root's":                      {protocol: tcp},
	} {
		local := netip.AddrPortFrom(uplinkAddress, localOf(t, p.connect(t, remote)).Port())
		uid, ok, err := SocketOwner(p.protocol, local, remote)
		if err != nil || !ok || uid != uint32(p.user) {
			t.Errorf("%s: user %d, %t, %v", name, uid, ok, err)
		}
		other := netip.AddrPortFrom(remote.Addr().Next(), remote.Port())
		if uid, ok, err := SocketOwner(p.protocol, local, other); err != nil || ok != p.idle {
			t.Errorf("%s, to another address: user %d, %t, %v", name, uid, ok, err)
		}
		if _, ok, err := SocketOwner(p.protocol, netip.AddrPortFrom(uplinkAddress, 9), remote); err != nil || ok {
			t.Errorf("%s, from another port: %t, %v", name, ok, err)
		}
	}
	for _, test := range []struct {
		protocol      uint8
		local, remote netip.AddrPort
	}{
		{58, netip.AddrPortFrom(uplinkAddress, 1), remote},
		{tcp, netip.AddrPortFrom(distributed, 1), remote},
		{tcp, netip.MustParseAddrPort("192.0.2.1:1"), remote},
		{udp, remote, netip.AddrPort{}},
	} {
		if _, ok, err := SocketOwner(test.protocol, test.local, test.remote); ok || err != nil {
			t.Errorf("%+v: %t, %v", test, ok, err)
		}
	}
}

// BenchmarkSocketOwner asks for a socket that is connected, and for none.
func BenchmarkSocketOwner(b *testing.B) {
	remote := netip.MustParseAddrPort("[::1]:9")
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet6{Addr: remote.Addr().As16(), Port: 9}); err != nil {
		b.Skipf("needs the loopback address: %v", err)
	}
	local := localOf(b, fd)
	for name, to := range map[string]netip.AddrPort{"found": remote, "absent": netip.MustParseAddrPort("[::1]:10")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok, err := SocketOwner(udp, local, to); ok != (name == "found") || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
