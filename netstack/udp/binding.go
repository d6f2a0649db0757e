package udp

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// absentInterface is a number that no interface has.
const absentInterface = 1<<31 - 1

// binding keeps a socket tied to the interface of a name, which may come, go, and come back with another number.
type binding struct {
	name    string
	sockets []syscall.RawConn
	monitor *os.File
	index   atomic.Int64 // of the interface; absentInterface while there is none
	running sync.WaitGroup
}

// newBinding ties sockets to an interface and goes on doing so.
func newBinding(name string, sockets ...syscall.RawConn) (*binding, error) {
	if len(name) >= unix.IFNAMSIZ {
		return nil, os.NewSyscallError("interface name", unix.EINVAL)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("netlink socket", err)
	}
	b := &binding{name: name, sockets: sockets, monitor: os.NewFile(uintptr(fd), "link messages")}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		b.monitor.Close()
		return nil, os.NewSyscallError("netlink bind", err)
	}
	if err := b.refresh(); err != nil {
		b.monitor.Close()
		return nil, err
	}
	b.running.Add(1)
	go b.watch()
	return b, nil
}

// watch looks at the interface whenever the kernel says that some interface has changed.
func (b *binding) watch() {
	defer b.running.Done()
	message := make([]byte, 1<<16)
	for {
		if _, err := b.monitor.Read(message); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		_ = b.refresh() // it was permitted the first time
	}
}

// refresh ties the sockets to the interface as it is now.
func (b *binding) refresh() error {
	index := int64(absentInterface)
	if err := b.query(unix.SIOCGIFINDEX, func(r *unix.Ifreq) { index = int64(r.Uint32()) }); err != nil &&
		!errors.Is(err, unix.ENODEV) {
		return err
	}
	if b.index.Swap(index) == index {
		return nil
	}
	for _, s := range b.sockets {
		var err error
		if control := s.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, int(index))
		}); control != nil {
			return control
		}
		if err != nil {
			return os.NewSyscallError("SO_BINDTOIFINDEX", err)
		}
	}
	return nil
}

// query asks the kernel about the interface.
func (b *binding) query(what uint, f func(*unix.Ifreq)) error {
	request, err := unix.NewIfreq(b.name)
	if err != nil {
		return err
	}
	if control := b.sockets[0].Control(func(fd uintptr) { err = unix.IoctlIfreq(int(fd), what, request) }); control != nil {
		return control
	}
	if err != nil {
		return os.NewSyscallError("interface "+b.name, err)
	}
	f(request)
	return nil
}

// mtu is the interface's, at most that of IP; 0 while it is absent.
func (b *binding) mtu() (mtu int) {
	_ = b.query(unix.SIOCGIFMTU, func(r *unix.Ifreq) { mtu = min(int(r.Uint32()), maxDatagram) })
	return mtu
}

func (b *binding) close() error {
	b.monitor.SetReadDeadline(time.Unix(1, 0))
	err := b.monitor.Close()
	b.running.Wait()
	return err
}
