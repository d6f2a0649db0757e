// Package udp is the link over which kedge nodes exchange IPv6 packets in UDP datagrams, one in each (RFC 5555 section 4.1),
// through NATs, firewalls and IPv4.
//
// # Journey of a packet
//
// Out: a super-packet leaves without a copy of its payload. Each of its segments gets headers of its own in an arena of the
// link, with a finished checksum, and headers and pieces of the payload in turn become one message, which the kernel cuts
// up into datagrams (UDP_SEGMENT). Ordinary packets of equal length that follow each other become one message too. All
// messages of a Write go by one system call. In: the kernel hands over datagrams of one sender and one length joined
// (UDP_GRO). The packets in them are verified and copied to the reader, where consecutive TCP segments of a connection, and
// UDP datagrams of a flow, come to lie behind each other as one super-packet.
//
// # Sizes
//
// The kernel tells what fits the path (Config.PathMTU) and fragments the datagrams that do not. A datagram takes 28 octets
// over IPv4 (Overhead4) and 48 over IPv6 (Overhead6) more than the packet in it.
package udp

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/packet"
)

const (
	// Port is where anchors listen (RFC 5555 section 4.1).
	Port = 4191
	// Overhead4 and Overhead6 are the octets of the IP and UDP headers of a datagram.
	Overhead4, Overhead6 = 28, 48
	// DefaultBuffer is the size in octets of the socket's buffers: some milliseconds at 10 Gbit/s.
	DefaultBuffer = 8 << 20
)

// Config says what to open.
type Config struct {
	// Interface ties the socket to the interface of that name, which need not exist yet and may come and go; empty means
	// any.
	Interface string
	// Listen is the address and port to receive at. An invalid or unspecified address means all, IPv4 and IPv6; port 0 one
	// of the kernel's choice.
	Listen netip.AddrPort
	// Segment lets the kernel cut up messages into datagrams (UDP_SEGMENT), Coalesce lets it join datagrams on receipt
	// (UDP_GRO) and Read join packets. Some network drivers do either wrongly.
	Segment, Coalesce bool
	// ReceiveBuffer is the size of the socket's receive buffer in octets; DefaultBuffer if 0. Without CAP_NET_ADMIN the
	// kernel may grant less.
	ReceiveBuffer int
	// PathMTU is called, if not nil, when something says how long IP packets to an address, the datagrams' own headers
	// included, may be. It is called by goroutines that read and write and must do neither.
	PathMTU func(remote netip.Addr, mtu int)
}

// Link is a UDP socket. It implements netstack.Link.
type Link struct {
	config   Config
	file     *os.File
	raw      syscall.RawConn
	probe    *os.File
	probeRaw syscall.RawConn
	probing  sync.Mutex // guards what probe is connected to
	local    netip.AddrPort
	closed   atomic.Bool
	binding  *binding // nil without Config.Interface
	counters counters
	errors   errorQueue
	read     reader
	writing  sync.Mutex
	write    writer // guarded by writing
}

var _ netstack.Link = (*Link)(nil)

type counters struct {
	overflow                                        atomic.Uint32
	truncated, notIPv6, ipv4, invalid               atomic.Uint64
	noPeer, refused, tooBig, noBuffers, unreachable atomic.Uint64
}

// Counters count dropped packets since the link was opened.
type Counters struct {
	// Overflow datagrams found the receive buffer full; the count is as of the last datagram received.
	Overflow uint64
	// Truncated packets are longer than the buffers given to Read. IPv4 ones are packets of that protocol in datagrams,
	// NotIPv6 ones are neither; Invalid ones have a length that is not that of the datagram.
	Truncated, IPv4, NotIPv6, Invalid uint64
	// NoPeer packets were given to Write without a peer that the socket can send to, TooBig ones exceed what IP can carry.
	// NoBuffers ones met a full queue or no memory; Unreachable ones a peer without a route, or an interface or local
	// address that is absent. Refused ones were malformed or met any other error of the kernel.
	NoPeer, TooBig, NoBuffers, Unreachable, Refused uint64
}

// Counters returns the counts up to now.
func (l *Link) Counters() Counters {
	c := &l.counters
	return Counters{
		Overflow: uint64(c.overflow.Load()), Truncated: c.truncated.Load(), IPv4: c.ipv4.Load(), NotIPv6: c.notIPv6.Load(),
		Invalid: c.invalid.Load(), NoPeer: c.noPeer.Load(), TooBig: c.tooBig.Load(), NoBuffers: c.noBuffers.Load(),
		Unreachable: c.unreachable.Load(), Refused: c.refused.Load(),
	}
}

// Open makes a link. An interface that does not exist is waited for. Errors say what failed: the port may be taken
// (syscall.EADDRINUSE), or an address not be this node's (syscall.EADDRNOTAVAIL).
func Open(config Config) (*Link, error) {
	if config.ReceiveBuffer == 0 {
		config.ReceiveBuffer = DefaultBuffer
	}
	l := &Link{config: config}
	fd, err := openSocket(config)
	if err != nil {
		return nil, err
	}
	l.file = os.NewFile(uintptr(fd), "UDP socket")
	if err := l.finish(fd); err != nil {
		l.file.Close()
		if l.probe != nil {
			l.probe.Close()
		}
		return nil, err
	}
	return l, nil
}

func (l *Link) finish(fd int) (err error) {
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return err
	}
	if l.probe, err = openProbe(); err != nil {
		return err
	}
	if l.probeRaw, err = l.probe.SyscallConn(); err != nil {
		return err
	}
	address, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	if a, ok := address.(*unix.SockaddrInet6); ok {
		l.local = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	l.prepareRead()
	l.prepareWrite()
	if l.config.Interface == "" {
		return nil
	}
	l.binding, err = newBinding(l.config.Interface, l.raw, l.probeRaw)
	return err
}

// Name is the interface's name, or "udp" for a link of no interface in particular.
func (l *Link) Name() string {
	if l.config.Interface == "" {
		return "udp"
	}
	return l.config.Interface
}

// LocalAddrPort is the address, unspecified (IPv6) if it receives at all, and the port that the link receives at.
func (l *Link) LocalAddrPort() netip.AddrPort { return l.local }

// MTU is the longest IP packet, headers of the datagram included, that the interface carries: 0 while it is absent. Without
// an interface it is the longest there is, 65,535; paths are narrower, see Config.PathMTU and the method PathMTU.
func (l *Link) MTU() int {
	switch {
	case l.closed.Load():
		return 0
	case l.binding == nil:
		return maxDatagram
	}
	return l.binding.mtu()
}

// Features is all of them, whatever the kernel can do.
func (l *Link) Features() packet.Features {
	return packet.PartialChecksum | packet.SegmentTCP | packet.SegmentUDP
}

// Close implements netstack.Link.
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	// The reader wakes up, though the kernel says that nothing is connected.
	_ = l.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	err := errors.Join(l.file.Close(), l.probe.Close())
	if l.binding != nil {
		err = errors.Join(err, l.binding.close())
	}
	return err
}
