// Package tests holds what concerns the whole program.
package tests

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// rules say what the packages below a folder may import of the others. What is not listed is forbidden.
var rules = []struct {
	folder string
	may    []string
}{
	{"kedge", []string{"kedge/appliance"}},
	{"kedge/appliance", []string{"kedge/appliance", "kedge/config", "kedge/forwarding", "kedge/netstack", "kedge/signaling"}},
	{"kedge/config", nil},
	{"kedge/forwarding", []string{"kedge/forwarding", "kedge/netstack/packet"}},
	{"kedge/netstack", []string{"kedge/netstack"}},
	{"kedge/signaling", []string{"kedge/signaling"}},
	{"kedge/tests", []string{"kedge/appliance", "kedge/config", "kedge/forwarding", "kedge/netstack", "kedge/signaling"}},
}

// TestImports keeps the house in order: signalling and configuration know nothing of packets and links, forwarding does no
// I/O, and only appliance ties them together.
func TestImports(t *testing.T) {
	list := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	d := json.NewDecoder(strings.NewReader(string(out)))
	checked := 0
	for d.More() {
		var p struct {
			ImportPath                         string
			Imports, TestImports, XTestImports []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		may, known := allowed(p.ImportPath)
		if !known {
			t.Errorf("%s is in none of the folders that the rules name", p.ImportPath)
			continue
		}
		for _, i := range append(append(p.Imports, p.TestImports...), p.XTestImports...) {
			if below(i, "kedge") && !anyBelow(i, may) {
				t.Errorf("%s may not import %s", p.ImportPath, i)
			}
		}
		checked++
	}
	if checked < 10 {
		t.Errorf("only %d packages found", checked)
	}
}

func allowed(path string) (may []string, known bool) {
	for _, r := range rules {
		if path == r.folder || (r.folder != "kedge" && below(path, r.folder)) {
			return r.may, true
		}
	}
	return nil, false
}

func below(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

func anyBelow(path string, folders []string) bool {
	for _, f := range folders {
		if below(path, f) {
			return true
		}
	}
	return false
}
