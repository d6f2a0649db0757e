package endtoend

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mistakes are configurations with what `kedge check` must say of each.
var mistakes = map[string]struct {
	text string
	says []string
}{
	"syntax":  {"roles = [\"mobile-node\"\n", []string{"kedge.toml:"}},
	"unknown": {"roles = [\"home-agent\"]\nhome_agnet = 1\n", []string{"kedge.toml:2", "home_agnet"}},
	"type":    {"roles = [\"home-agent\"]\n[tun]\nmtu = \"big\"\n", []string{"kedge.toml:3", "tun.mtu"}},
	"role":    {"roles = [\"router\"]\n", []string{"kedge.toml:1", "roles", "mobile-node, home-agent", "router"}},
	"both":    {"roles = [\"home-agent\", \"mobile-node\"]\n", []string{"run a node for each"}},
	"no key": {`roles = ["mobile-node"]
[tun]
[[link]]
interface = "eth0"
autoconfigure = true
[mobile_node]
home_address = "2001:db8:f::100"
home_prefix = "2001:db8:f::/64"
home_agent = "2001:db8:f::1"
`, []string{"kedge.toml:6", "mobile_node.spi", "allow_unauthenticated_signaling"}},
	"missing file": {`roles = ["mobile-node"]
[tun]
[[link]]
interface = "eth0"
autoconfigure = true
[mobile_node]
home_address = "2001:db8:e::100"
home_prefix = "2001:db8:f::/64"
identifier = "mn@example.net"
spi = 256
[[security_association]]
spi = 256
key_file = "nothing"
`, []string{"kedge.toml:7", "an address in home_prefix", "kedge.toml:13", "security_association.0.key_file", "no such file"}},
	"overlap": {`roles = ["home-agent"]
[[link]]
interface = "eth0"
addresses = ["2001:db8:f::1/64"]
[home_agent]
address = "2001:db8:f::2"
home_prefixes = ["2001:db8:f::/64", "2001:db8::/32"]
allow_any_mobile_node = true
`, []string{"kedge.toml:6", "one of the addresses of a [[link]]", "kedge.toml:7", "overlap", "kedge.toml:8", "allow_unauthenticated_signaling"}},
}

// kedge check and kedge run say what is wrong, where, and change nothing.
func TestBrokenConfigurations(t *testing.T) {
	t.Parallel()
	for name, m := range mistakes {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kedge.toml")
			if err := os.WriteFile(path, []byte(m.text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, c := range []string{"check", "run"} {
				out, status := command(t, c, "--config", path)
				if status != 1 {
					t.Errorf("kedge %s: exit status %d", c, status)
				}
				for _, want := range m.says {
					if !strings.Contains(out, want) {
						t.Errorf("kedge %s does not say %q:\n%s", c, want, out)
					}
				}
			}
			if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
				t.Errorf("files were made: %v", left)
			}
		})
	}
	if out, status := command(t, "check", "--config", "/nowhere/kedge.toml"); status != 1 || !strings.Contains(out, "/nowhere/kedge.toml") {
		t.Errorf("missing file: exit status %d: %s", status, out)
	}
}

// kedge doctor --json is JSON that names a grade and a text for each subject.
func TestDoctorJSON(t *testing.T) {
	t.Parallel()
	out, _ := command(t, "doctor", "--json")
	var symptoms []struct {
		Subject, Grade, Text string
		Remedies             map[string]string
	}
	if err := json.Unmarshal([]byte(out), &symptoms); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if len(symptoms) < 3 {
		t.Errorf("only %d symptoms:\n%s", len(symptoms), out)
	}
	for _, s := range symptoms {
		if s.Subject == "" || s.Text == "" || s.Grade != "ok" && len(s.Remedies) == 0 {
			t.Errorf("%+v", s)
		}
	}
}

// Commands for a node that does not run say how to find one.
func TestNoNode(t *testing.T) {
	t.Parallel()
	for _, c := range []string{"status", "bindings", "events"} {
		out, status := command(t, c, "--socket", filepath.Join(t.TempDir(), "none"))
		if status != 1 || !strings.Contains(out, "no kedge runs") {
			t.Errorf("kedge %s: exit status %d: %s", c, status, out)
		}
	}
}

// asNobody is a command that is run without privileges, with a /dev/net/tun of the given mode.
func asNobody(t *testing.T, mode uint32, argv ...string) *exec.Cmd {
	t.Helper()
	if skipAll != nil {
		t.Skip(skipAll)
	}
	directory, err := os.MkdirTemp("/run", "kt10-node-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	if err := os.Chmod(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", directory, "tmpfs", unix.MS_NOSUID, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(directory, unix.MNT_DETACH) })
	node := filepath.Join(directory, "tun")
	if err := unix.Mknod(node, unix.S_IFCHR, int(unix.Mkdev(10, 200))); err != nil {
		t.Skipf("a device node can be made by root only: %v", err)
	}
	if err := os.Chmod(node, os.FileMode(mode)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", argv...)
	cmd.Env = append(os.Environ(), nodeVariable+"="+node)
	return cmd
}

// Without permission for the TUN device `kedge run` ends and says what to do.
func TestNoPermissionForTUN(t *testing.T) {
	t.Parallel()
	directory, err := os.MkdirTemp("", "kt10-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	path := filepath.Join(directory, "kedge.toml")
	if err := os.WriteFile(path, []byte(`roles = ["mobile-node"]
state_directory = "state"
[control]
socket = "control.sock"
[tun]
[[link]]
interface = "eth0"
autoconfigure = true
[mobile_node]
home_address = "2001:db8:f::100"
home_prefix = "2001:db8:f::/64"
allow_unauthenticated_signaling = true
`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(directory, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := asNobody(t, 0o600, os.Getenv(binaryVariable), "run", "--config", path)
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v, exit status %d", err, cmd.ProcessState.ExitCode())
	}
	for _, want := range []string{"no permission to use the device node", "chmod 0666 /dev/net/tun", "--device /dev/net/tun", "rootless:"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}

// The same nodes run without root, in a user namespace: these tests do, started by nobody.
func TestRootless(t *testing.T) {
	t.Parallel()
	if os.Getenv(rootlessVariable) != "" {
		t.Skip("this is the rootless run")
	}
	directory, err := os.MkdirTemp("", "kt10-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	// nobody cannot read where the go command puts the test binary, nor what was built for the tests.
	self, binary := filepath.Join(directory, "self"), filepath.Join(directory, "kedge")
	for to, from := range map[string]string{self: "/proc/self/exe", binary: os.Getenv(binaryVariable)} {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := asNobody(t, 0o666, self, "-test.run=^TestSessionSurvivesMoves$", "-test.v")
	cmd.Dir = directory
	cmd.Env = append(cmd.Env, insideVariable+"=", binaryVariable+"="+binary, rootlessVariable+"=1", "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v:\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("user namespaces are not for ordinary users here:\n%s", out)
	case !strings.Contains(string(out), "--- PASS: TestSessionSurvivesMoves"):
		t.Errorf("the test did not run:\n%s", out)
	}
}

// rootlessVariable marks the run that TestRootless starts.
const rootlessVariable = "KEDGE_TEST_ROOTLESS"
