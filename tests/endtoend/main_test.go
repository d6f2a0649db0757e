// Package endtoend runs the kedge program, built as users build it, on networks of namespaces, and treats it badly: nodes
// are killed, devices and links taken away, packets forged.
//
// Not tested here is a clock that is stepped: time namespaces do not cover the clock of the day, which a static binary reads
// without anything that could be put in between, and the machine's own clock is not a test's to change. The machines' tests
// do it with literal times (signaling/auth, signaling/mobilenode, signaling/homeagent).
package endtoend

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
)

// Variables by which the test binary tells itself, started again, what to be.
const (
	// insideVariable marks the process that runs the tests, in namespaces of its own. binaryVariable is the program under
	// test.
	insideVariable = "KEDGE_TEST_INSIDE"
	binaryVariable = "KEDGE_TEST_BINARY"
	// nodeVariable has a process put the named device node in place of /dev/net/tun and become nobody before it runs the
	// command in its arguments.
	nodeVariable = "KEDGE_TEST_TUN_NODE"
)

// skipAll is why no test can run here; nil if they can.
var skipAll error

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(nodeVariable) != "":
		fmt.Fprintln(os.Stderr, becomeNobody(os.Getenv(nodeVariable), os.Args[1:]))
		os.Exit(1)
	case os.Getenv(insideVariable) != "":
		if err := space.Furnish(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	os.Exit(outside(m))
}

// outside builds the program and runs the tests in namespaces that end with them, however they end.
func outside(m *testing.M) int {
	if skipAll = space.Check(true); skipAll != nil {
		return m.Run()
	}
	// The namespaces die with the thread that made them.
	runtime.LockOSThread()
	probe := space.Isolated(false, "-test.run=^$")
	probe.Env = append(os.Environ(), insideVariable+"=1")
	if err := probe.Run(); err != nil {
		skipAll = space.Explain(err)
		return m.Run()
	}
	binary := os.Getenv(binaryVariable)
	if binary == "" {
		directory, err := os.MkdirTemp("", "kt10-")
		if err == nil {
			defer os.RemoveAll(directory)
			binary, err = build(directory)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	// Tests wait more than they work. A flag that the user gave comes later and wins.
	cmd := space.Isolated(false, append([]string{"-test.parallel=4"}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), insideVariable+"=1", binaryVariable+"="+binary)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// build makes the program, with the race detector if the tests have it.
func build(directory string) (string, error) {
	if err := os.Chmod(directory, 0o755); err != nil {
		return "", err
	}
	binary := filepath.Join(directory, "kedge")
	arguments := []string{"build", "-buildvcs=false", "-o", binary}
	if raceDetector {
		arguments = append(arguments, "-race")
	}
	cmd := exec.Command("go", append(arguments, "kedge")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building kedge: %w\n%s", err, out)
	}
	return binary, nil
}

const nobody = 65534

// becomeNobody replaces the process by argv, run by a user without privileges who sees node as /dev/net/tun. It returns
// only on failure.
func becomeNobody(node string, argv []string) error {
	runtime.LockOSThread()
	if err := errors.Join(
		unix.Unshare(unix.CLONE_NEWNS),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount(node, "/dev/net/tun", "", unix.MS_BIND, ""),
		syscall.Setgroups(nil),
		syscall.Setgid(nobody),
		syscall.Setuid(nobody),
		os.Unsetenv(nodeVariable),
	); err != nil {
		return err
	}
	return syscall.Exec(argv[0], argv, os.Environ())
}
