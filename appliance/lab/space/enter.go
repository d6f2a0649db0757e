package space

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// NodeDirectory is where a node sees its own directory: its configuration, keys and control socket.
const NodeDirectory = "/run/kedge"

// selfName as a command is this program, wherever its file is.
const selfName = "kedge"

// Enter replaces the process by argv, in the network namespace at netnsPath, with directory mounted at NodeDirectory and
// a /sys that shows the namespace's interfaces. It returns only on failure.
func Enter(netnsPath, directory string, argv []string) error {
	runtime.LockOSThread()
	f, err := os.Open(netnsPath)
	if err != nil {
		return err
	}
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering %s: %w", netnsPath, err)
	}
	f.Close()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := os.MkdirAll(NodeDirectory, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(directory, NodeDirectory, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", directory, NodeDirectory, err)
	}
	// Only programs that look at /sys/class/net miss it where the kernel refuses.
	_ = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	path := argv[0]
	if path == selfName {
		path = "/proc/self/exe"
	}
	if !strings.Contains(path, "/") {
		if path, err = exec.LookPath(path); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %w", path, unix.Exec(path, argv, os.Environ()))
}
