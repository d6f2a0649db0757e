package udp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxDatagram is the length of the longest IP packet.
const maxDatagram = 65535

// mmsghdr is struct mmsghdr of recvmmsg(2), which golang.org/x/sys lacks.
type mmsghdr struct {
	unix.Msghdr
	length uint32
}

func openSocket(config Config) (int, error) {
	// The reader's thread waits in the kernel: waking it is much cheaper than waking a goroutine by way of the poller.
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("UDP socket", err)
	}
	if err := configureSocket(fd, config); err != nil {
		unix.Close(fd)
		return 0, err
	}
	address := unix.SockaddrInet6{Port: int(config.Listen.Port())}
	if a := config.Listen.Addr(); a.IsValid() && !a.IsUnspecified() {
		address.Addr = a.As16()
	}
	if err := unix.Bind(fd, &address); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("UDP socket at %v: %w", config.Listen, os.NewSyscallError("bind", err))
	}
	return fd, nil
}

func configureSocket(fd int, config Config) error {
	options := []struct {
		name                 string
		level, option, value int
	}{
		{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0},
		{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
		{"IPV6_RECVTCLASS", unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1},
		{"IP_RECVTOS", unix.IPPROTO_IP, unix.IP_RECVTOS, 1},
		{"SO_RXQ_OVFL", unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1},
		// What path MTU discovery finds is used, and what is longer fragmented here: see mayFragment for IPv4.
		{"IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_WANT},
		{"IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO},
		{"IPV6_RECVERR", unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1},
		{"IP_RECVERR", unix.IPPROTO_IP, unix.IP_RECVERR, 1},
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return os.NewSyscallError(o.name, err)
		}
	}
	if config.Interface != "" {
		// Until the interface has appeared nothing is to be received: no interface has this number.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, 1<<31-1); err != nil {
			return os.NewSyscallError("SO_BINDTOIFINDEX", err)
		}
	}
	if config.Coalesce {
		// Kernels before 5.0 cannot: packets come singly there.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	}
	for _, o := range [][3]int{
		{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, config.ReceiveBuffer}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, DefaultBuffer},
	} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], o[2]) != nil {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], o[2]); err != nil {
				return os.NewSyscallError("socket buffer", err)
			}
		}
	}
	return nil
}

// networkOrder makes an integer that lies in memory most significant octet first.
func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// putAddress fills in a socket address. IPv4 addresses are mapped, as the kernel wants them on a socket for both.
func putAddress(to *unix.RawSockaddrInet6, a netip.AddrPort) {
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(a.Port()), Addr: a.Addr().As16()}
}

func address(from *unix.RawSockaddrInet6) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(from.Addr).Unmap(), networkOrder(from.Port))
}

// appendControl puts a control message (cmsg(3)) behind b, which has the capacity for it.
func appendControl(b []byte, level, kind int32, data []byte) []byte {
	at := len(b)
	b = b[:at+unix.CmsgSpace(len(data))]
	clear(b[at:])
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[at]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[at+unix.CmsgLen(0):], data)
	return b
}

// nextControl cuts the first control message off b. Ok is false at the end, and where the rest is malformed.
func nextControl(b []byte) (level, kind int32, data, rest []byte, ok bool) {
	if len(b) < unix.SizeofCmsghdr {
		return 0, 0, nil, nil, false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	length := int(h.Len)
	if length < unix.CmsgLen(0) || length > len(b) {
		return 0, 0, nil, nil, false
	}
	data = b[unix.CmsgLen(0):length]
	return h.Level, h.Type, data, b[min(len(b), unix.CmsgSpace(len(data))):], true
}
