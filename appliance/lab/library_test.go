package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kedge/appliance/lab/space"
	"kedge/config"
)

// Every lab that comes with kedge can be read, and its kedge nodes would accept their configurations.
func TestLibrary(t *testing.T) {
	if len(Names()) == 0 {
		t.Fatal("there are no labs")
	}
	for _, name := range Names() {
		lab, err := Open(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if lab.Name != name || lab.Title == "" || lab.Description == "" {
			t.Errorf("lab %s: name %q, title %q", name, lab.Name, lab.Title)
		}
		for _, n := range lab.Nodes {
			check(t, name+", node "+n.Name, n.Config, n.Files)
		}
		if lab.Compare != nil {
			for _, s := range lab.Compare.Systems {
				for _, p := range s.Processes {
					check(t, name+", system "+s.Name+" on "+p.Node, p.Config, p.Files)
				}
			}
		}
	}
}

// check loads a node's configuration from a directory of its own.
func check(t *testing.T, where, text string, files map[string]string) {
	t.Helper()
	if text == "" {
		return
	}
	directory := t.TempDir()
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(directory, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(directory, configName)
	text = strings.ReplaceAll(text, space.NodeDirectory+"/", directory+"/")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(path)
	if err != nil {
		t.Errorf("lab %s: %v", where, err)
	} else if loaded.Control.Socket != filepath.Join(directory, controlSocket) {
		t.Errorf("lab %s: control socket %s is not where the lab looks for it", where, loaded.Control.Socket)
	}
}

func TestOpenUnknown(t *testing.T) {
	if _, err := Open("handof"); err == nil || !strings.Contains(err.Error(), "handoff") {
		t.Errorf("error %v, expected it to list the labs", err)
	}
	if _, err := Open("missing.toml"); err == nil || !strings.Contains(err.Error(), "missing.toml") {
		t.Errorf("error %v, expected it to name the file", err)
	}
}
