package ethernet

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	etherTypeIPv6  = 0x86dd
	ethernetLength = 14
)

// mmsghdr is struct mmsghdr of recvmmsg(2), which golang.org/x/sys lacks.
type mmsghdr struct {
	unix.Msghdr
	length uint32
}

// openSocket makes the packet socket, which receives nothing until it is bound. It blocks, so that Go's poller does not watch it:
// each call says that it does not wait, and the reader waits by itself.
func openSocket(buffer int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("packet socket (needs CAP_NET_RAW): %w", err)
	}
	if err := configureSocket(fd, buffer); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

func configureSocket(fd, buffer int) error {
	if err := attachFilter(fd, nil, nil); err != nil {
		return err
	}
	// Also without Config.Offload: super-packets arrive all the same, and only this header tells how to cut them up.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return os.NewSyscallError("PACKET_VNET_HDR", err)
	}
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], buffer) != nil {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], buffer); err != nil {
				return os.NewSyscallError("socket buffer", err)
			}
		}
	}
	return nil
}

// networkOrder makes an integer that lies in memory most significant octet first.
func networkOrder(v uint16) uint16 {
	b := [2]byte{byte(v >> 8), byte(v)}
	return *(*uint16)(unsafe.Pointer(&b))
}

// interfaceRequest is struct ifreq.
type interfaceRequest struct {
	name  [unix.IFNAMSIZ]byte
	value [24]byte
}

func (r *interfaceRequest) integer() int { return int(*(*int32)(unsafe.Pointer(&r.value))) }
func (r *interfaceRequest) short() int   { return int(*(*uint16)(unsafe.Pointer(&r.value))) }

// queryInterface asks the kernel about the interface in the socket's network namespace. Anything that is no Ethernet
// interface counts as absent.
func queryInterface(fd int, name string) State {
	var request interfaceRequest
	if len(name) >= len(request.name) {
		return State{}
	}
	copy(request.name[:], name)
	ask := func(what uintptr) bool {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), what, uintptr(unsafe.Pointer(&request)))
		return errno == 0
	}
	var s State
	if !ask(unix.SIOCGIFINDEX) {
		return State{}
	}
	s.Index = request.integer()
	if !ask(unix.SIOCGIFHWADDR) || request.short() != unix.ARPHRD_ETHER {
		return State{}
	}
	copy(s.Address[:], request.value[2:])
	if !ask(unix.SIOCGIFMTU) {
		return State{}
	}
	s.MTU = request.integer()
	if !ask(unix.SIOCGIFFLAGS) {
		return State{}
	}
	const up = unix.IFF_UP | unix.IFF_RUNNING
	s.Up, s.Present = request.short()&up == up, true
	return s
}
