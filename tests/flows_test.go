package tests

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kedge/appliance/lab/space"
)

// TestFlowsLab runs six programs on a mobile node that picks an anchor for each of their flows and moves while they run. What
// the lab expects must hold: whom each correspondent saw, what survived with every octet, what was ended and how promptly.
func TestFlowsLab(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 seconds of sessions and a move")
	}
	if err := space.Check(true); err != nil {
		t.Skip(err)
	}
	binary, output := filepath.Join(t.TempDir(), "kedge"), t.TempDir()
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary, "lab", "flows", "--no-capture", "-o", output).CombinedOutput()
	b, readErr := os.ReadFile(filepath.Join(output, "report.json"))
	if readErr != nil {
		t.Fatalf("no report: %v, %v\n%s", readErr, err, out)
	}
	var report struct {
		Failure string `json:"failure"`
		Flows   []struct {
			Name    string `json:"name"`
			Holder  string `json:"address_held_by"`
			Outcome string `json:"outcome"`
		} `json:"flows"`
		Expectations []struct {
			Name     string `json:"name"`
			Passed   bool   `json:"passed"`
			Found    string `json:"found"`
			Expected string `json:"expected"`
		} `json:"expectations"`
	}
	if err := json.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	want := map[string][2]string{
		"cn1-file": {"dhp1", "maintained"}, "cn2-file": {"dhp2", "maintained"}, "cn3-file": {"ha", "maintained"},
		"call-in": {"ha", "maintained"}, "bounded": {"dhp2", "terminated"},
	}
	for _, f := range report.Flows {
		if w, ok := want[f.Name]; ok && (f.Holder != w[0] || f.Outcome != w[1]) {
			t.Errorf("%s: address of %q, %s; want %q, %s", f.Name, f.Holder, f.Outcome, w[0], w[1])
		}
	}
	for _, e := range report.Expectations {
		if !e.Passed {
			t.Errorf("%s: %s, expected %s", e.Name, e.Found, e.Expected)
		}
	}
	if len(report.Flows) != 6 || report.Failure != "" || len(report.Expectations) < 20 {
		t.Errorf("%d flows, %d expectations, %s", len(report.Flows), len(report.Expectations), report.Failure)
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
