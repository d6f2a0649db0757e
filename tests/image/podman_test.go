package image

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// prefix begins the name of everything that these tests make.
	prefix = "kedge-image-test-"
	tag    = "localhost/kedge-image-test:latest"
	// namespace is the network namespace in which podman's bridges and firewall are made, so that the machine's own network
	// is left alone and all is gone with the namespace.
	namespace = "kedge-image-test"
)

// engine is podman as it works on this machine.
type engine struct {
	t       *testing.T
	runtime []string
}

// run returns what podman prints; an error has its standard error.
func (e *engine) run(arguments ...string) (string, error) {
	command := append([]string{"--net=/run/netns/" + namespace, "podman"}, e.runtime...)
	return output(exec.Command("nsenter", append(command, arguments...)...))
}

func output(c *exec.Cmd) (string, error) {
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%v: %w\n%s%s", c, err, out, exit.Stderr)
	}
	return string(out), err
}

// must fails the test if podman does.
func (e *engine) must(arguments ...string) string {
	e.t.Helper()
	out, err := e.run(arguments...)
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

// limits are the limits of this process, or fewer: runtimes ask for more than some machines allow.
var limits = []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}

// in runs a command of the image in a container of its own.
func (e *engine) in(options []string, command ...string) (string, error) {
	return e.run(slices.Concat([]string{"run", "--rm", "--network", "none"}, limits, options, []string{tag}, command)...)
}

// TestMain removes the image that tests made, with those it was made from.
func TestMain(m *testing.M) {
	status := m.Run()
	if made != nil {
		_ = exec.Command("podman", "rmi", "-f", tag).Run()
		for _, image := range made {
			_ = exec.Command("podman", "rmi", image).Run() // it may have gone with another
		}
	}
	os.Exit(status)
}

// made are the images that appeared while tag was made, latest first.
var made []string

// making says once what came of making the image.
var making = sync.OnceValue(func() error {
	before := imagesThere()
	c := exec.Command("make", "image", "ENGINE=podman", "IMAGE="+tag)
	c.Dir = repository
	out, err := c.CombinedOutput()
	if made = slices.DeleteFunc(imagesThere(), func(i string) bool { return slices.Contains(before, i) }); err != nil {
		return fmt.Errorf("make image: %w\n%s", err, out)
	}
	return nil
})

// imagesThere are the images of the machine, latest first.
func imagesThere() []string {
	out, _ := exec.Command("podman", "images", "-a", "-q", "--no-trunc", "--sort", "created").Output()
	return strings.Fields(string(out))
}

// podman makes the image and returns an engine that runs it, or skips the test with the reason why there is none.
func podman(t *testing.T) *engine {
	t.Helper()
	if testing.Short() {
		t.Skip("builds an image")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give podman a network namespace of its own")
	}
	for _, tool := range []string{"podman", "nsenter", "ip", "make"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not there", tool)
		}
	}
	alone(t)
	if out, err := exec.Command("podman", "info").CombinedOutput(); err != nil {
		t.Skipf("podman does not run here: %v\n%s", err, out)
	}
	if _, err := output(exec.Command("ip", "netns", "add", namespace)); err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	t.Cleanup(func() {
		if _, err := output(exec.Command("ip", "netns", "del", namespace)); err != nil {
			t.Error(err)
		}
	})
	if _, err := output(exec.Command("ip", "-n", namespace, "link", "set", "lo", "up")); err != nil {
		t.Fatal(err)
	}
	if err := making(); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("podman", "image", "exists", tag).Run(); err != nil {
		t.Fatalf("make image made no %s", tag)
	}
	e := &engine{t: t}
	var why []error
	for _, runtime := range []string{"runc", "crun"} {
		e.runtime = []string{"--runtime", runtime}
		_, err := e.in(nil, "version")
		if err == nil {
			return e
		}
		why = append(why, err)
	}
	t.Skipf("podman runs no containers here: %v", errors.Join(why...))
	return nil
}

// lock is held from the first test to the end of the process: runs share podman's images.
var lock *os.File

var locking = sync.OnceValue(func() (err error) {
	if lock, err = os.Create(filepath.Join(os.TempDir(), prefix+"lock")); err != nil {
		return err
	}
	return unix.Flock(int(lock.Fd()), unix.LOCK_EX)
})

// alone waits until no other run of these tests is at work and removes what one that was killed has left.
func alone(t *testing.T) {
	t.Helper()
	if err := locking(); err != nil {
		t.Fatal(err)
	}
	sweep()
	_ = exec.Command("ip", "netns", "del", namespace).Run()
}

// sweep removes containers, networks and volumes by their names.
func sweep() {
	for _, kind := range []struct{ list, remove []string }{
		{[]string{"ps", "-a", "--format", "{{.Names}}"}, []string{"rm", "-f", "-t", "5"}},
		{[]string{"network", "ls", "--format", "{{.Name}}"}, []string{"network", "rm", "-f"}},
		{[]string{"volume", "ls", "--format", "{{.Name}}"}, []string{"volume", "rm", "-f"}},
	} {
		names, _ := exec.Command("podman", kind.list...).Output()
		for name := range strings.FieldsSeq(string(names)) {
			if strings.HasPrefix(name, prefix) {
				_ = exec.Command("nsenter", slices.Concat([]string{"--net=/run/netns/" + namespace, "podman"}, kind.remove, []string{name})...).Run()
				_ = exec.Command("podman", append(kind.remove, name)...).Run()
			}
		}
	}
}

// up does with podman what compose would do with the file: networks, then services after those they depend on.
func (e *engine) up(c composeFile) {
	e.t.Helper()
	e.t.Cleanup(sweep)
	for name, n := range c.Networks {
		config := n.IPAM.Config[0]
		_, err := e.run("network", "create", "--disable-dns", "--ipv6", "--subnet", config.Subnet.String(), "--gateway", config.Gateway.String(), prefix+name)
		if err != nil {
			e.t.Skipf("podman makes no such network here: %v", err)
		}
	}
	started := map[string]bool{}
	for len(started) < len(c.Services) {
		before := len(started)
		for name, s := range c.Services {
			if !started[name] && !slices.ContainsFunc(s.DependsOn, func(d string) bool { return !started[d] }) {
				e.must(e.start(c, name, s)...)
				started[name] = true
			}
		}
		if len(started) == before {
			e.t.Fatal("services depend on each other in a circle")
		}
	}
}

// start is the command that starts a service.
func (e *engine) start(c composeFile, name string, s service) []string {
	e.t.Helper()
	command := slices.Concat([]string{"run", "-d", "--name", prefix + name}, limits)
	option := func(name string, values ...string) {
		for _, v := range values {
			command = append(command, name, v)
		}
	}
	option("--cap-drop", s.CapDrop...)
	option("--cap-add", s.CapAdd...)
	option("--device", s.Devices...)
	for key, v := range s.Sysctls {
		option("--sysctl", fmt.Sprintf("%s=%d", key, v))
	}
	for _, v := range s.Volumes {
		source, rest, _ := strings.Cut(v, ":")
		if _, named := c.Volumes[source]; named {
			source = prefix + source
		} else {
			path, err := filepath.Abs(filepath.Join(images, source))
			if err != nil {
				e.t.Fatal(err)
			}
			source = path
		}
		option("--volume", source+":"+rest)
	}
	for name, n := range s.Networks {
		option("--network", fmt.Sprintf("%s%s:ip6=%s", prefix, name, n.IPv6Address))
	}
	return append(append(command, tag), s.Command...)
}

// exec runs a command in a service's container.
func (e *engine) exec(service string, command ...string) (string, error) {
	return e.run(append([]string{"exec", prefix + service}, command...)...)
}

// networkOf is the network of an address.
func (c composeFile) networkOf(a netip.Addr) string {
	for name, n := range c.Networks {
		if n.IPAM.Config[0].Subnet.Contains(a) {
			return name
		}
	}
	return ""
}
