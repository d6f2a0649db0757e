package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// images is where the topology is, repository the directory above all.
const (
	repository = "../.."
	images     = repository + "/images"
)

// composeFile is what this test understands of a compose file.
type composeFile struct {
	Services map[string]service
	Networks map[string]network
	Volumes  map[string]any
}

type service struct {
	Image, Build  string
	ContainerName string   `json:"container_name"`
	DependsOn     []string `json:"depends_on"`
	Command       []string
	CapDrop       []string `json:"cap_drop"`
	CapAdd        []string `json:"cap_add"`
	Devices       []string
	Sysctls       map[string]int
	Volumes       []string
	Networks      map[string]struct {
		IPv6Address netip.Addr `json:"ipv6_address"`
	}
}

type network struct {
	Name       string
	EnableIPv6 bool `json:"enable_ipv6"`
	IPAM       struct {
		Config []struct {
			Subnet  netip.Prefix
			Gateway netip.Addr
		}
	}
}

// readCompose reads images/compose.yaml. Keys that this test does not know fail it: it could not tell whether they work.
func readCompose(t *testing.T) composeFile {
	t.Helper()
	const program = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"
	file, err := os.ReadFile(images + "/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		c := exec.Command(python, "-c", program)
		c.Stdin = bytes.NewReader(file)
		if out, err = c.Output(); err == nil {
			break
		}
		if exec.Command(python, "-c", "import yaml").Run() == nil {
			t.Fatalf("images/compose.yaml: %v\n%s", err, err.(*exec.ExitError).Stderr)
		}
	}
	if err != nil {
		t.Skip("needs python3 with yaml (Debian: python3-yaml) to read images/compose.yaml")
	}
	var c struct {
		Name string
		composeFile
	}
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		t.Fatalf("images/compose.yaml: %v", err)
	}
	return c.composeFile
}

// build makes the program once a test.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "kedge")
	c := exec.Command("go", "build", "-o", binary, ".")
	c.Dir = repository
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", c, err, out)
	}
	return binary
}

// The compose file hangs together: what it names exists, addresses fit, and nodes have what kedge needs.
func TestComposeFile(t *testing.T) {
	c := readCompose(t)
	taken := map[netip.Addr]string{}
	for name, n := range c.Networks {
		if !n.EnableIPv6 || len(n.IPAM.Config) != 1 || !n.IPAM.Config[0].Subnet.Contains(n.IPAM.Config[0].Gateway) {
			t.Errorf("network %s: %+v", name, n)
			continue
		}
		taken[n.IPAM.Config[0].Gateway] = "the gateway of " + name
	}
	built := 0
	for name, s := range c.Services {
		if s.Build != "" {
			built++
			if _, err := os.Stat(filepath.Join(images, s.Build, "Dockerfile")); err != nil {
				t.Errorf("service %s is built from %q: %v", name, s.Build, err)
			}
		}
		if s.Image != "kedge:latest" {
			t.Errorf("service %s has image %q; only kedge's own can be had everywhere", name, s.Image)
		}
		for _, d := range s.DependsOn {
			if _, ok := c.Services[d]; !ok {
				t.Errorf("service %s depends on %q, which there is not", name, d)
			}
		}
		for name, n := range s.Networks {
			of, ok := c.Networks[name]
			if !ok || !of.IPAM.Config[0].Subnet.Contains(n.IPv6Address) {
				t.Errorf("service %s: address %s on network %s", name, n.IPv6Address, name)
			}
			if other, again := taken[n.IPv6Address]; again {
				t.Errorf("service %s: address %s is %s", name, n.IPv6Address, other)
			}
			taken[n.IPv6Address] = "that of " + name
		}
		if v, ok := s.Sysctls["net.ipv6.conf.all.disable_ipv6"]; !ok || v != 0 {
			t.Errorf("service %s does not turn IPv6 on", name)
		}
		if forwards := s.Sysctls["net.ipv6.conf.all.forwarding"] == 1; forwards != (name == "router") {
			t.Errorf("service %s: forwarding is %v", name, forwards)
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if _, named := c.Volumes[source]; named {
				continue
			}
			if _, err := os.Stat(filepath.Join(images, source)); err != nil {
				t.Errorf("service %s: %v", name, err)
			}
		}
	}
	if built != 1 {
		t.Errorf("%d services build the image, not 1", built)
	}
}

// The nodes' configurations are valid and fit the networks.
func TestComposeConfigurations(t *testing.T) {
	binary := build(t)
	for _, name := range []string{"mn", "ha"} {
		path := fmt.Sprintf("%s/compose/%s.toml", images, name)
		if out, err := exec.Command(binary, "check", "--config", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
	}
}
