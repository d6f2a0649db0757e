package lab

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is the user that root's tests become.
const nobody = 65534

// unprivileged is this binary as `kedge lab`, run by a user without privileges, with a directory that the user may write.
func unprivileged(t *testing.T, args ...string) (*exec.Cmd, string) {
	t.Helper()
	directory, err := os.MkdirTemp("", "kedge-lab-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	binary := filepath.Join(directory, "kedge")
	if err := errors.Join(os.Chmod(directory, 0o755), copyFile(binary, os.Args[0])); err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(directory, "out")
	if err := os.Mkdir(output, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, append([]string{"lab"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + directory}
	cmd.Dir = output
	if os.Geteuid() == 0 {
		if err := os.Chown(output, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd, output
}

func copyFile(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// Without root a lab runs in a user namespace.
func TestRootless(t *testing.T) {
	needLab(t)
	lab, err := os.ReadFile("testdata/plain.toml")
	if err != nil {
		t.Fatal(err)
	}
	// Without the impaired wire it needs no TAP device, which an ordinary user may not be allowed.
	text := bytes.Replace(lab, []byte("delay = \"5ms\"\n"), nil, 1)
	cmd, output := unprivileged(t, "../plain.toml", "-o", ".")
	if err := os.WriteFile(filepath.Join(filepath.Dir(output), "plain.toml"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "namespaces are not permitted here") {
		t.Skipf("%s", out)
	}
	if err != nil || !strings.Contains(string(out), "without root") || !strings.Contains(string(out), "\nPASSED\n") {
		t.Fatalf("%v:\n%s", err, out)
	}
	if d := readDocument(t, output); !d.Downloads[0].Verified || len(d.Nodes) != 3 || d.Nodes[0].Packets == 0 {
		t.Errorf("%+v", d)
	}
}

// A user who may not open /dev/net/tun is told so, before anything is made.
func TestRootlessWithoutTUN(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become a user without /dev/net/tun")
	}
	info, err := os.Stat("/dev/net/tun")
	if err != nil {
		t.Skip(err)
	}
	if info.Mode().Perm()&0o006 != 0 {
		t.Skip("everybody may open /dev/net/tun here")
	}
	cmd, output := unprivileged(t, "handoff", "-o", "x")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "may not read and write /dev/net/tun") || !strings.Contains(string(out), "chmod 0666 /dev/net/tun") {
		t.Errorf("%v: %s", err, out)
	}
	if left, _ := os.ReadDir(output); len(left) != 0 {
		t.Errorf("made %v before it found out", left)
	}
}
