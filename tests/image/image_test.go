// Package image tests the container image, the compose topology and the systemd unit of images/. What needs podman skips
// where podman does not run.
package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kedge/appliance/doctor"
)

// The image is one static program and the directories that it writes to.
func TestImageContents(t *testing.T) {
	e := podman(t)
	e.must(append(append([]string{"create", "--name", prefix + "contents"}, limits...), tag)...)
	t.Cleanup(sweep)
	out, err := exec.Command("podman", "export", prefix+"contents").Output()
	if err != nil {
		t.Fatal(err)
	}
	directories := map[string]bool{}
	for r := tar.NewReader(bytes.NewReader(out)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.Trim(h.Name, "/")
		switch {
		case h.Typeflag == tar.TypeDir:
			directories[name] = true
		case name == "usr/bin/kedge":
			static(t, r)
		case h.Size > 0 && !strings.HasPrefix(name, "etc/") && !strings.HasPrefix(name, "run/"): // podman's own
			t.Errorf("the image has a file %s of %d octets", name, h.Size)
		}
	}
	for _, d := range []string{"etc/kedge", "run/kedge", "var/lib/kedge"} {
		if !directories[d] {
			t.Errorf("the image has no directory %s", d)
		}
	}
}

func static(t *testing.T, r io.Reader) {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program is not static")
		}
	}
	t.Logf("the program has %.1f MB", float64(len(b))/1e6)
}

func TestImageCommands(t *testing.T) {
	e := podman(t)
	if out, err := e.in(nil, "version"); err != nil || !strings.HasPrefix(out, "kedge ") {
		t.Errorf("version: %q, %v", out, err)
	}
	directory, err := filepath.Abs(images + "/compose")
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"mn.toml": "mobile-node", "ha.toml": "home-agent"} {
		out, err := e.in([]string{"--volume", directory + ":/etc/kedge:ro"}, "check", "-c", "/etc/kedge/"+file)
		if err != nil || !strings.Contains(out, "valid, for a "+want) {
			t.Errorf("check %s: %q, %v", file, out, err)
		}
	}
}

// With what the compose file grants a mobile node doctor finds no problem; without, it names each thing and Docker's
// remedy.
func TestImageDoctor(t *testing.T) {
	e := podman(t)
	examine := func(options ...string) map[string]doctor.Symptom {
		t.Helper()
		out, err := e.in(options, "doctor", "--json")
		var list []doctor.Symptom
		if decoding := json.Unmarshal([]byte(out), &list); decoding != nil {
			// A problem makes doctor fail, with its findings in the error.
			_, found, _ := strings.Cut(err.Error(), "\n")
			if decoding = json.NewDecoder(strings.NewReader(found)).Decode(&list); decoding != nil {
				t.Fatalf("%v: %v", decoding, err)
			}
		}
		symptoms := map[string]doctor.Symptom{}
		for _, s := range list {
			if symptoms[s.Subject] = s; s.Grade == doctor.Bad && err == nil {
				t.Errorf("doctor finds a problem and succeeds: %+v", s)
			}
		}
		return symptoms
	}
	for subject, s := range examine("--device", "/dev/net/tun", "--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", "--sysctl", "net.ipv6.conf.all.disable_ipv6=0") {
		if s.Grade == doctor.Bad {
			t.Errorf("%s: %+v", subject, s)
		}
	}
	symptoms := examine("--cap-drop", "ALL", "--sysctl", "net.ipv6.conf.all.disable_ipv6=1")
	for subject, remedy := range map[string]string{
		"tun-device": "--device /dev/net/tun", "cap-net-admin": "--cap-add NET_ADMIN", "cap-net-raw": "--cap-add NET_RAW",
		"ipv6": "--sysctl net.ipv6.conf.all.disable_ipv6=0",
	} {
		if s := symptoms[subject]; s.Grade != doctor.Bad || !strings.Contains(s.Remedies[doctor.Container], remedy) {
			t.Errorf("%s: %+v, want the remedy %s", subject, s, remedy)
		}
	}
}
