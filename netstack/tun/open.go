package tun

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"kedge/netstack/internal/wait"
)

const node = "/dev/net/tun"

// Offload says which super-packets the kernel and the link exchange. With neither, the device is switched to ordinary packets
// with finished checksums.
type Offload struct {
	// TCP is segmentation offload of TCP (TSO); UDP that of UDP (USO), which kernels before 6.2 do without.
	TCP, UDP bool
}

// Open makes the TUN device name, or attaches to the existing one, and sets its MTU in octets. It does not bring it up.
// The device vanishes with the link unless it is persistent.
//
// Attaching to a persistent device needs no privilege if it belongs to the user; but then the MTU cannot be set and
// remains the device's own, which MTU tells.
//
// Errors are *OpenError.
func Open(name string, mtu int, offload Offload) (*Link, error) {
	fail := func(step Step, err error) (*Link, error) { return nil, &OpenError{Name: name, Step: step, Err: err} }
	request, err := unix.NewIfreq(name)
	if err != nil {
		return fail(CreateDevice, err)
	}
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		err = fmt.Errorf("%w (%w)", ErrNoDriver, err)
	}
	if err != nil {
		return fail(OpenNode, err)
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if offload != (Offload{}) {
		flags |= unix.IFF_VNET_HDR
	}
	request.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		unix.Close(fd)
		return fail(CreateDevice, err)
	}
	file := os.NewFile(uintptr(fd), node)
	// Only now, so that Go's poller does not watch the device: the reader waits by itself (package wait).
	if err := unix.SetNonblock(fd, true); err != nil {
		file.Close()
		return fail(OpenNode, err)
	}
	return open(file, request.Name(), mtu, offload)
}

// open finishes a device that file is attached to.
func open(file *os.File, name string, mtu int, offload Offload) (*Link, error) {
	l := &Link{name: name, file: file, socket: -1, offload: offload}
	step, err := l.configure(mtu)
	if err == nil {
		err = l.prepare()
	}
	if err != nil {
		l.Close()
		return nil, &OpenError{Name: name, Step: step, Err: err}
	}
	return l, nil
}

func (l *Link) configure(mtu int) (Step, error) {
	err := control(l.file, func(fd int) error {
		request, err := unix.NewIfreq("")
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, request); err != nil {
			return err
		}
		l.virtio = request.Uint16()&unix.IFF_VNET_HDR != 0
		if !l.virtio {
			return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0)
		}
		// A persistent device may have been left with a longer header.
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, 10); err != nil {
			return err
		}
		features := unix.TUN_F_CSUM
		if l.offload.TCP {
			features |= unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
		}
		if l.offload.UDP {
			if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, features|unix.TUN_F_USO4|unix.TUN_F_USO6) == nil {
				return nil
			}
			l.offload.UDP = false
		}
		return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, features)
	})
	if err != nil {
		return SetOffload, err
	}
	if l.waiting, err = wait.NewReader(); err != nil {
		return SetOffload, err
	}
	if l.socket, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return SetMTU, err
	}
	have, err := l.deviceMTU()
	if err != nil || have == mtu {
		return SetMTU, err
	}
	request, err := unix.NewIfreq(l.name)
	if err != nil {
		return SetMTU, err
	}
	request.SetUint32(uint32(mtu))
	err = unix.IoctlIfreq(l.socket, unix.SIOCSIFMTU, request)
	if errors.Is(err, os.ErrPermission) {
		return SetMTU, nil
	}
	return SetMTU, err
}

func (l *Link) deviceMTU() (int, error) {
	request, err := unix.NewIfreq(l.name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(l.socket, unix.SIOCGIFMTU, request); err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}

func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// gone reports whether a system call's error says that the device was removed.
func gone(errno syscall.Errno) bool { return errno == syscall.EBADFD || errno == syscall.ENODEV }
