package tun

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrGone is what Read and Write return once the device has been removed under the link. It does not come back by itself:
// close the link and open another.
var ErrGone = errors.New("TUN device is gone")

// ErrNoDriver means that the kernel has no TUN driver, though the device node may exist.
var ErrNoDriver = errors.New("kernel has no TUN driver")

// Step is what could not be done when a device was opened.
type Step string

// The steps of opening a device, in order.
const (
	OpenNode     Step = "open " + node
	CreateDevice Step = "create or attach to device"
	SetOffload   Step = "set offloads"
	SetMTU       Step = "set MTU"
)

// OpenError says why a device could not be opened. errors.Is finds the cause in it: os.ErrNotExist (no device node),
// ErrNoDriver, os.ErrPermission (of the node at OpenNode, of the device at CreateDevice), syscall.EBUSY (another process
// has the device), syscall.EINVAL (the name is taken by an interface of another kind).
type OpenError struct {
	// Name is the device's name; Step is what failed and Err why.
	Name string
	Step Step
	Err  error
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("TUN device %s: %s: %s: %v", e.Name, e.Step, e.cause(), e.Err)
}

func (e *OpenError) Unwrap() error { return e.Err }

func (e *OpenError) cause() string {
	switch {
	case errors.Is(e.Err, ErrNoDriver):
		return "the TUN driver is not loaded"
	case e.Step == OpenNode && errors.Is(e.Err, os.ErrNotExist):
		return "the device node does not exist"
	case e.Step == OpenNode && errors.Is(e.Err, os.ErrPermission):
		return "no permission to use the device node"
	case e.Step == CreateDevice && errors.Is(e.Err, os.ErrPermission):
		return "it needs the capability CAP_NET_ADMIN, or a persistent device that belongs to this user"
	case e.Step == CreateDevice && errors.Is(e.Err, syscall.EBUSY):
		return "another process has the device"
	case e.Step == CreateDevice && errors.Is(e.Err, syscall.EINVAL):
		return "the name is not valid, or taken by an interface that is no single-queue TUN device"
	}
	return "unexpected error"
}

// Remedy is what the operator can do about an error, in one or two sentences for each way of running.
type Remedy struct {
	// BareMetal is for a process started on the host, Container for one in Docker or podman, Rootless for one in a user
	// namespace of its own.
	BareMetal, Container, Rootless string
}

// Remedy returns what can be done about the error.
func (e *OpenError) Remedy() Remedy {
	switch {
	case errors.Is(e.Err, ErrNoDriver), e.Step == OpenNode && errors.Is(e.Err, os.ErrNotExist):
		return Remedy{
			BareMetal: "Run `modprobe tun` as root, and write `tun` to /etc/modules-load.d/tun.conf to keep it so. If there is no " +
				"such module, the kernel needs CONFIG_TUN.",
			Container: "Start the container with `--device /dev/net/tun`; in compose: `devices: [/dev/net/tun]`. If that says that " +
				"the device does not exist, run `modprobe tun` on the host.",
			Rootless: "Ask the host's administrator to run `modprobe tun`; in a mount namespace of its own, bind-mount the " +
				"host's /dev/net/tun into it.",
		}
	case e.Step == OpenNode && errors.Is(e.Err, os.ErrPermission):
		return Remedy{
			BareMetal: "Run `chmod 0666 /dev/net/tun` as root; that is safe, for making a device needs a capability besides.",
			Container: "Start the container with `--device /dev/net/tun`; a node made by mknod or a bind mount alone is refused by " +
				"the device cgroup. In compose: `devices: [/dev/net/tun]`.",
			Rootless: "The host's /dev/net/tun must have mode 0666: ask its administrator to run `chmod 0666 /dev/net/tun`.",
		}
	case e.Step == CreateDevice && errors.Is(e.Err, os.ErrPermission):
		return Remedy{
			BareMetal: "Run as root or with CAP_NET_ADMIN (systemd: `AmbientCapabilities=CAP_NET_ADMIN`), or have root make a " +
				"device beforehand: `ip tuntap add dev " + e.Name + " mode tun user $USER`.",
			Container: "Start the container with `--cap-add NET_ADMIN`; in compose: `cap_add: [NET_ADMIN]`.",
			Rootless: "Run in a user and a network namespace of its own (`unshare --user --map-root-user --net`), where it has " +
				"CAP_NET_ADMIN; the host's network is out of reach without root.",
		}
	case e.Step == CreateDevice && errors.Is(e.Err, syscall.EBUSY):
		return everywhere("Another kedge may be running: stop it, or choose another tun name. `ip -d link show " + e.Name +
			"` shows the device.")
	case e.Step == CreateDevice && errors.Is(e.Err, syscall.EINVAL):
		return everywhere("Choose another tun name of at most 15 characters. `ip -d link show " + e.Name +
			"` shows what has this one.")
	}
	return everywhere("`ip -d link show " + e.Name + "` shows the device, `dmesg` what the kernel says.")
}

func everywhere(s string) Remedy { return Remedy{s, s, s} }
