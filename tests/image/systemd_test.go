package image

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/control"
)

const unitFile = images + "/systemd/kedge.service"

// systemd knows every setting of the unit.
func TestSystemdUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not there")
	}
	unit, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kedge.service")
	text := strings.ReplaceAll(string(unit), "/usr/bin/kedge", build(t))
	if text == string(unit) {
		t.Fatal("the unit does not start /usr/bin/kedge")
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// Only what is said of this unit counts: the machine's own units are not the project's.
	out, _ := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "kedge") {
			t.Error(line)
		}
	}
}

// A user without privileges can run a mobile node with the capabilities that the unit grants, and those suffice to undo
// what it did.
func TestSystemdCapabilities(t *testing.T) {
	unit, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	granted := regexp.MustCompile(`(?m)^AmbientCapabilities=(.*)$`).FindSubmatch(unit)
	if granted == nil {
		t.Fatal("the unit grants no capabilities")
	}
	capabilities := "-all"
	for c := range strings.FieldsSeq(string(granted[1])) {
		capabilities += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("setpriv is not there")
	}
	binary := build(t)
	space := "kedge-unit-test-" + strconv.Itoa(os.Getpid())
	if _, err := output(exec.Command("ip", "netns", "add", space)); err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", space).Run() })
	inside := func(arguments ...string) *exec.Cmd {
		return exec.Command("ip", slices.Concat([]string{"netns", "exec", space}, arguments)...)
	}
	for _, c := range [][]string{{"ip", "link", "set", "lo", "up"}, {"ip", "link", "add", "eth0", "type", "veth", "peer", "eth1"}, {"ip", "link", "set", "eth0", "up"}, {"ip", "link", "set", "eth1", "up"}} {
		if _, err := output(inside(c...)); err != nil {
			t.Fatal(err)
		}
	}
	before, err := output(inside("ip", "-6", "rule"))
	if err != nil {
		t.Fatal(err)
	}

	// Neither the test's directory nor the program in it is open to others.
	directory, err := os.MkdirTemp("/tmp", space)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	const nobody = 65534
	configuration := filepath.Join(directory, "kedge.toml")
	if err := os.WriteFile(configuration, []byte(`roles = ["mobile-node"]
state_directory = "state"
control.socket = "control.sock"

[tun]

[[link]]
interface = "eth0"
autoconfigure = true

[mobile_node]
home_address = "2001:db8:f::100"
home_prefix = "2001:db8:f::/64"
home_agent = "2001:db8:f::1"
destinations = ["2001:db8:c::/64"]
allow_unauthenticated_signaling = true
`), 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(directory, "kedge")
	for _, err := range []error{
		exec.Command("cp", binary, program).Run(), os.Chmod(program, 0o755),
		os.Mkdir(directory+"/state", 0o700), os.Chown(directory+"/state", nobody, nobody), os.Chown(directory, nobody, nobody),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// udev makes the device so that anybody may open it; not every machine has udev.
	device := filepath.Join(directory, "tun")
	if err := unix.Mknod(device, unix.S_IFCHR, int(unix.Mkdev(10, 200))); err != nil {
		t.Skipf("no device nodes can be made here: %v", err)
	}
	if err := os.Chmod(device, 0o666); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	c := inside("sh", "-c", `mount --bind "$0" /dev/net/tun && exec "$@"`, device, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--inh-caps="+capabilities,
		"--ambient-caps="+capabilities, "--bounding-set="+capabilities, program, "run", "--config", configuration)
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	up := func() bool {
		out, err := exec.Command(program, "status", "--json", "--socket", directory+"/control.sock").Output()
		var s control.Status
		if err != nil || json.Unmarshal(out, &s) != nil {
			return false
		}
		return len(s.Links) == 2 && s.Links[0].Up && s.Links[1].Up
	}
	for deadline := time.Now().Add(20 * time.Second); !up(); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-done:
			t.Fatalf("kedge ended: %v\n%s", err, said.String())
		default:
		}
		if time.Now().After(deadline) {
			_ = c.Process.Kill()
			t.Fatalf("TUN and link are not up: %v\n%s", <-done, said.String())
		}
	}
	if now, err := output(inside("ip", "-6", "rule")); err != nil || now == before {
		t.Errorf("no rule leads to the TUN: %v\n%s", err, now)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("kedge ended: %v\n%s", err, said.String())
	}
	if after, err := output(inside("ip", "-6", "rule")); err != nil || after != before {
		t.Errorf("rules are left behind: %v\n%s", err, after)
	}
}
