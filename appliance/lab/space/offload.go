package space

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtool's older one-value commands (linux/ethtool.h).
const (
	ethtoolSetTxChecksum = 0x17
	ethtoolSetTSO        = 0x1f
	ethtoolSetGSO        = 0x24
	ethtoolSetGRO        = 0x2c
)

// SetOffload makes an interface send and receive as the lab file's offload says: none, receive or full.
func (n *Namespace) SetOffload(iface, offload string) error {
	var transmit, receive uint32
	switch offload {
	case "full":
		transmit, receive = 1, 1
	case "receive":
		receive = 1
	}
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, c := range []struct {
			command, value uint32
			required       bool
		}{
			{ethtoolSetTSO, transmit, true},
			{ethtoolSetGSO, transmit, true},
			{ethtoolSetTxChecksum, transmit, true},
			// Devices that cannot merge on receipt merely do not.
			{ethtoolSetGRO, receive, false},
		} {
			if err := ethtool(fd, iface, c.command, c.value); err != nil && c.required {
				return fmt.Errorf("node %s: offload of %s (ethtool command %#x): %w", n.Name, iface, c.command, err)
			}
		}
		return nil
	})
}

func ethtool(fd int, iface string, command, value uint32) error {
	argument := [2]uint32{command, value}
	return ethtoolCall(fd, iface, unsafe.Pointer(&argument))
}

// ethtoolCall hands the kernel one of ethtool's structures.
func ethtoolCall(fd int, iface string, argument unsafe.Pointer) error {
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], iface)
	request.data = argument
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
