package space

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNotPermitted means that this machine does not let this user make the namespaces a lab needs. The text of the error
// that wraps it says what to change.
var ErrNotPermitted = errors.New("namespaces are not permitted here")

// privileged reports whether the process may make namespaces without a user namespace around them.
func privileged() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return os.Geteuid() == 0
	}
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return err == nil && caps&need == need
		}
	}
	return false
}

// Isolated is this program again, with these arguments, as first process of new mount, network and process namespaces,
// in a user namespace where needed. Unless it is detached it dies when the calling thread does.
func Isolated(detached bool, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID}
	if !privileged() {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	// A terminal's interrupt reaches the inner process only through the outer one, once.
	attr.Setsid = true
	if !detached {
		attr.Pdeathsig = syscall.SIGKILL
	}
	cmd.SysProcAttr = attr
	return cmd
}

// Check reports what keeps this machine from running labs, before anything is made: nil, or an error that names the
// remedy. needTUN says whether the lab has TUN or TAP devices.
func Check(needTUN bool) error {
	if !privileged() {
		if text, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err == nil && strings.TrimSpace(string(text)) == "0" {
			return fmt.Errorf("%w: user.max_user_namespaces is 0; as root: sysctl user.max_user_namespaces=10000", ErrNotPermitted)
		}
		if text, err := os.ReadFile("/proc/sys/kernel/unprivileged_userns_clone"); err == nil && strings.TrimSpace(string(text)) == "0" {
			return fmt.Errorf("%w: kernel.unprivileged_userns_clone is 0; as root: sysctl kernel.unprivileged_userns_clone=1", ErrNotPermitted)
		}
	}
	if !needTUN {
		return nil
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: there is no /dev/net/tun; bare metal: modprobe tun; Docker or podman: --device /dev/net/tun", ErrNotPermitted)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: user %d may not read and write /dev/net/tun; run as root, or as root: chmod 0666 /dev/net/tun", ErrNotPermitted, os.Getuid())
	}
	return fmt.Errorf("%w: /dev/net/tun: %w", ErrNotPermitted, err)
}

// Explain adds the remedy to an error of starting an Isolated command or of Furnish.
func Explain(err error) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EUSERS) {
		return err
	}
	remedy := "run as root, or allow user namespaces"
	if text, readErr := os.ReadFile("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"); readErr == nil && strings.TrimSpace(string(text)) == "1" {
		remedy = "AppArmor restricts user namespaces; run as root, or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
	} else if _, statErr := os.Stat("/.dockerenv"); statErr == nil {
		remedy = "in Docker: --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined --device /dev/net/tun"
	}
	return fmt.Errorf("%w (%w): %s", ErrNotPermitted, err, remedy)
}

// favour is the nice value of labs that may choose.
const favour = -10

// StartFavoured starts a command with a larger share of a busy machine's processors, where the user may have that, so
// that what is measured is the command and not the machine's other work. The calling goroutine must be locked to its
// thread.
func StartFavoured(cmd *exec.Cmd) error {
	old, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil || unix.Setpriority(unix.PRIO_PROCESS, 0, favour) != nil {
		return cmd.Start()
	}
	defer func() {
		// The system call returns 20 less the nice value.
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-old)
	}()
	return cmd.Start()
}

// FavourSession makes the kernel prefer the calling process's session to others, as StartFavoured does within a session,
// and reports whether that was granted.
func FavourSession() bool {
	return os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(favour)), 0) == nil
}

// Furnish is the first thing an isolated process does: private mounts, an empty /run, a /proc of its own processes.
func Furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return Explain(fmt.Errorf("making mounts private: %w", err))
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return Explain(fmt.Errorf("mounting an empty /run: %w", err))
	}
	// Where the container around us hides parts of /proc the kernel refuses a new one. The old one serves: it resolves
	// self and sys/net by the process that asks.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return nil
}
