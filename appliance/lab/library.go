package lab

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
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
func Open(name string) (*topology.Lab, error) {
	if strings.HasSuffix(name, ".toml") {
		return topology.Load(name)
	}
	file := path.Join("labs", name+".toml")
	text, err := library.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("there is no lab %q; there are %s, or give the path of a .toml file", name, strings.Join(Names(), ", "))
	}
	lab, err := topology.Parse(file, text)
	if err == nil && lab.Name == "" {
		lab.Name = name
	}
	return lab, err
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
