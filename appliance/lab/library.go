package lab

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"kedge/appliance/lab/topology"
)

//go:embed labs/*.toml
var library embed.FS

// Names lists the labs that come with kedge.
func Names() []string {
	entries, err := fs.ReadDir(library, "labs")
	if err != nil {
		panic(err) // The directory is compiled in.
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".toml"))
	}
	return names
}

// Open reads the lab of that name or, if the name ends in .toml, the lab file at that path.
// Variables that are not among the settings have the first of their values.
func Open(name string, settings ...topology.Setting) (*topology.Lab, error) {
	file, text, err := source(name)
	if err != nil {
		return nil, err
	}
	lab, err := topology.Parse(file, text, settings...)
	if err == nil && lab.Name == "" {
		lab.Name = strings.TrimSuffix(filepath.Base(file), ".toml")
	}
	return lab, err
}

// variablesOf are the variables of a lab.
func variablesOf(name string) ([]topology.Variable, error) {
	file, text, err := source(name)
	if err != nil {
		return nil, err
	}
	return topology.Variables(file, text)
}

// source is a lab's file.
func source(name string) (file string, text []byte, err error) {
	if strings.HasSuffix(name, ".toml") {
		text, err = os.ReadFile(name)
		return name, text, err
	}
	file = path.Join("labs", name+".toml")
	if text, err = library.ReadFile(file); err != nil {
		err = fmt.Errorf("there is no lab %q; there are %s, or give the path of a .toml file", name, strings.Join(Names(), ", "))
	}
	return file, text, err
}

// needTUN reports whether the lab has TUN or TAP devices.
func needTUN(lab *topology.Lab) bool {
	for _, n := range lab.Nodes {
		if n.Kind == topology.KedgeKind {
			return true
		}
	}
	for _, w := range lab.Wires {
		if w.Impaired() {
			return true
		}
	}
	return false
}
