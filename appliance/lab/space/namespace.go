// Package space makes the room that a lab lives in: an inner process with namespaces of its own, in it one network
// namespace a node, and the bridges and interfaces between them. All of it hangs on the inner process: the kernel removes
// every process, interface and namespace when that process ends, however it ends.
package space

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDirectory is where iproute2 looks for named namespaces.
const netnsDirectory = "/run/netns"

// Namespace is a network namespace.
type Namespace struct {
	Name string
	// Handle speaks netlink inside the namespace, from any thread.
	Handle *netlink.Handle
	file   *os.File // nil for Here
}

// Here is the namespace that the whole process is in. It needs no privilege, where Current needs CAP_SYS_ADMIN to find the
// way back.
func Here(name string) (*Namespace, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &Namespace{Name: name, Handle: h}, nil
}

// Current is the namespace that the calling thread is in.
func Current(name string) (*Namespace, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	return open(name, f)
}

// Create makes a namespace with its loopback interface up, and names it for `ip netns`.
func Create(name string) (*Namespace, error) {
	if err := os.MkdirAll(netnsDirectory, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(netnsDirectory, name)
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return nil, err
	}
	made := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, since it is in the wrong namespace for all else.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("making network namespace %s: %w", name, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	n, err := open(name, f)
	if err != nil {
		return nil, err
	}
	return n, n.Up("lo")
}

func open(name string, f *os.File) (*Namespace, error) {
	h, err := netlink.NewHandleAt(netns.NsHandle(f.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("netlink in namespace %s: %w", name, err)
	}
	return &Namespace{Name: name, Handle: h, file: f}, nil
}

// Path is where the namespace can be opened by another process of the lab.
func (n *Namespace) Path() string { return filepath.Join(netnsDirectory, n.Name) }

// Close gives up the namespace. It lives on while a process, a socket or its name uses it.
func (n *Namespace) Close() error {
	n.Handle.Close()
	if n.file == nil {
		return nil
	}
	return n.file.Close()
}

// Do runs f on a thread that is in the namespace. Sockets and devices made by f belong to the namespace wherever they are
// used later; goroutines started by f do not run in it.
func (n *Namespace) Do(f func() error) error {
	if n.file == nil {
		return f()
	}
	runtime.LockOSThread()
	old, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer old.Close()
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering namespace %s: %w", n.Name, err)
	}
	err = f()
	if back := unix.Setns(int(old.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked and so ends with this goroutine.
		return fmt.Errorf("leaving namespace %s: %w", n.Name, back)
	}
	runtime.UnlockOSThread()
	return err
}

// Sysctl writes value to a setting of the namespace, such as "net.ipv6.conf.all.forwarding".
func (n *Namespace) Sysctl(name, value string) error {
	return n.Do(func() error {
		err := os.WriteFile(filepath.Join("/proc/sys", sysctlPath(name)), []byte(value), 0)
		if err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
		return nil
	})
}

func sysctlPath(name string) string {
	path := []byte(name)
	for i, c := range path {
		switch c {
		case '.':
			path[i] = '/'
		case '/':
			path[i] = '.'
		}
	}
	return string(path)
}
