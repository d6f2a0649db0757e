package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// States of TCP in which the kernel keeps no socket, and so no user, of a connection (enum in linux/tcp_states.h).
const (
	tcpSynReceived = 3
	tcpTimeWait    = 6
)

// SocketOwner returns the user id of the host's TCP or UDP socket that sends IPv6 packets from local to remote. A
// TCP socket is found as soon as it sends its SYN, a UDP socket whether it is connected or bound to any address. It is
// false if there is none, or no longer, or for other protocols. It asks the kernel (NETLINK_SOCK_DIAG), which takes some
// microseconds, and may be called by several goroutines at once.
func SocketOwner(protocol uint8, local, remote netip.AddrPort) (uid uint32, ok bool, err error) {
	if protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_UDP || !local.Addr().Is6() || !remote.Addr().Is6() {
		return 0, false, nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return 0, false, fmt.Errorf("socket diagnosis: %w", err)
	}
	defer unix.Close(fd)
	uid, ok, err = diagnose(fd, protocol, local, remote, 0)
	if ok || err != nil {
		return uid, ok, err
	}
	// Sockets bound to an interface are found by its index alone.
	index, err := interfaceOf(local.Addr())
	if index == 0 || err != nil {
		return 0, false, err
	}
	return diagnose(fd, protocol, local, remote, index)
}

func interfaceOf(address netip.Addr) (int, error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_V6)
	if err != nil {
		return 0, fmt.Errorf("interface of %s: %w", address, err)
	}
	for _, a := range all {
		if a.IP.Equal(address.AsSlice()) {
			return a.LinkIndex, nil
		}
	}
	return 0, nil
}

// diagnose asks for one socket. Request and answer, after the netlink header (struct inet_diag_req_v2 and inet_diag_msg of
// linux/inet_diag.h), in octets; ports and addresses are in network order, all else in the machine's:
//
//	request  family (1)  protocol (1)  extensions (2)      states (4)  identity (48)
//	answer   family (1)  state (1)  timer (1)  retrans (1)             identity (48)  expires, rqueue, wqueue, uid, inode (4 each)
//	identity source port (2)  destination port (2)  source (16)  destination (16)  interface (4)  cookie (8)
func diagnose(fd int, protocol uint8, local, remote netip.AddrPort, index int) (uid uint32, ok bool, err error) {
	source, destination := local, remote
	if protocol == unix.IPPROTO_UDP {
		// For historical reasons UDP wants the addresses of a packet that comes in.
		source, destination = remote, local
	}
	var buffer [1024]byte
	const length = unix.NLMSG_HDRLEN + 56
	native := binary.NativeEndian
	m := native.AppendUint32(buffer[:0], length)
	m = native.AppendUint16(m, nl.SOCK_DIAG_BY_FAMILY)
	m = native.AppendUint16(m, unix.NLM_F_REQUEST)
	m = append(m, make([]byte, 8)...) // sequence number and port: the socket has but one request
	m = append(m, unix.AF_INET6, protocol, 0, 0)
	m = native.AppendUint32(m, 1<<32-1)
	m = binary.BigEndian.AppendUint16(m, source.Port())
	m = binary.BigEndian.AppendUint16(m, destination.Port())
	m = append(m, source.Addr().AsSlice()...)
	m = append(m, destination.Addr().AsSlice()...)
	m = native.AppendUint32(m, uint32(index))
	m = native.AppendUint64(m, 1<<64-1) // no cookie
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, false, fmt.Errorf("socket diagnosis: %w", err)
	}
	// The kernel has answered by the time that it has taken the request.
	n, _, err := unix.Recvfrom(fd, buffer[:], unix.MSG_DONTWAIT)
	if err != nil {
		return 0, false, fmt.Errorf("socket diagnosis: %w", err)
	}
	answer := buffer[:n]
	if len(answer) < unix.NLMSG_HDRLEN+4 {
		return 0, false, fmt.Errorf("socket diagnosis: answer of %d octets", n)
	}
	body := answer[unix.NLMSG_HDRLEN:]
	if native.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		failure := unix.Errno(-int32(native.Uint32(body)))
		if errors.Is(failure, os.ErrNotExist) {
			return 0, false, nil
		}
		return 0, false, fmt.Errorf("socket diagnosis: %w", failure)
	}
	if len(body) < 72 {
		return 0, false, fmt.Errorf("socket diagnosis: answer of %d octets", n)
	}
	if state := body[1]; protocol == unix.IPPROTO_TCP && (state == tcpSynReceived || state == tcpTimeWait) {
		return 0, false, nil
	}
	return native.Uint32(body[64:]), true, nil
}
