package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	uplinkAddress = netip.MustParseAddr("2001:db8:1::2")
	distributed   = netip.MustParseAddr("2001:db8:d::7") // a DHoA
)

// tunnel is a TUN device of the test's namespace that is up.
type tunnel struct {
	fd   int
	link netlink.Link
}

func openTunnel(t *testing.T, name string) tunnel {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skipf("needs /dev/net/tun: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Fatal(err)
	}
	link := linkNamed(t, name)
	up(t, link)
	return tunnel{fd, link}
}

// sent returns the source of the next packet to the destination that the kernel has put into the device, if any.
func (d tunnel) sent(t *testing.T, protocol uint8, destination netip.AddrPort) (source netip.AddrPort, ok bool) {
	t.Helper()
	var b [2048]byte
	for {
		n, err := unix.Read(d.fd, b[:])
		if errors.Is(err, unix.EAGAIN) {
			return netip.AddrPort{}, false
		}
		if err != nil {
			t.Fatal(err)
		}
		if n < 44 || b[0]>>4 != 6 || b[6] != protocol || [16]byte(b[24:40]) != destination.Addr().As16() || binary.BigEndian.Uint16(b[42:]) != destination.Port() {
			continue // what IPv6 sends by itself
		}
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), binary.BigEndian.Uint16(b[40:])), true
	}
}

// mobileHost is a namespace with a TUN device for kedge and an uplink that has an address and the default route.
func mobileHost(t *testing.T) (tun, uplink tunnel) {
	t.Helper()
	inNamespace(t)
	up(t, linkNamed(t, "lo"))
	tun, uplink = openTunnel(t, "kt7-tun"), openTunnel(t, "kt7-up")
	if err := netlink.AddrAdd(uplink.link, (&addressChange{Address: uplinkAddress}).message()); err != nil {
		t.Fatal(err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: uplink.link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("::/0"))}); err != nil {
		t.Fatal(err)
	}
	return tun, uplink
}

// program is a socket as a program of the host opens it.
type program struct {
	protocol uint8
	bound    netip.Addr // invalid: not bound
	port     uint16
	user     int
	device   string
	dscp     int
	// idle keeps a UDP socket unconnected.
	idle bool
}

// connect opens the socket, which a TCP program begins to connect and from which a UDP program sends a datagram.
func (p program) connect(t *testing.T, remote netip.AddrPort) (fd int) {
	t.Helper()
	kind := unix.SOCK_DGRAM
	if p.protocol == unix.IPPROTO_TCP {
		kind = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	var failures []error
	if p.user != 0 {
		failures = append(failures, unix.Fchown(fd, p.user, -1))
	}
	if p.device != "" {
		failures = append(failures, unix.BindToDevice(fd, p.device))
	}
	if p.dscp != 0 {
		failures = append(failures, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, p.dscp<<2))
	}
	if p.bound.IsValid() || p.port != 0 {
		failures = append(failures, unix.Bind(fd, &unix.SockaddrInet6{Addr: addressOrAny(p.bound), Port: int(p.port)}))
	}
	to := &unix.SockaddrInet6{Addr: remote.Addr().As16(), Port: int(remote.Port())}
	switch {
	case p.idle:
		failures = append(failures, unix.Sendto(fd, []byte("x"), 0, to))
	case p.protocol == unix.IPPROTO_TCP:
		if err := unix.Connect(fd, to); !errors.Is(err, unix.EINPROGRESS) {
			failures = append(failures, err)
		}
	default:
		failures = append(failures, unix.Connect(fd, to))
		_, err := unix.Write(fd, []byte("x"))
		failures = append(failures, err)
	}
	if err := errors.Join(failures...); err != nil {
		t.Fatalf("%+v to %s: %v", p, remote, err)
	}
	return fd
}

func addressOrAny(a netip.Addr) [16]byte {
	if !a.IsValid() {
		return [16]byte{}
	}
	return a.As16()
}

// leaves has a program connect and says by which device its packet left, and with which source.
func (p program) leaves(t *testing.T, tun, uplink tunnel, remote string) (device string, source netip.Addr) {
	t.Helper()
	to := netip.MustParseAddrPort(remote)
	p.connect(t, to)
	for _, d := range []tunnel{tun, uplink} {
		if from, ok := d.sent(t, p.protocol, to); ok {
			return d.link.Attrs().Name, from.Addr()
		}
	}
	return "none", netip.Addr{}
}
