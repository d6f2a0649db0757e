package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kedge/appliance/lab/space"
)

// natReport is what of the NAT lab's report the test reads.
type natReport struct {
	Failure string `json:"failure"`
	Probes  []struct {
		Handoffs []struct {
			Downlink, Uplink struct {
				Recovered bool `json:"recovered"`
			}
		} `json:"handoffs"`
	} `json:"probes"`
	Flows []struct {
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

// TestNATLab has a mobile node behind two NATs that forget, on a network of IPv6 alone, and behind one NAT, with connections
// that are an anchor's over UDP. How long each move took is not a test's business.
func TestNATLab(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute of silence and moves")
	}
	if err := space.Check(true); err != nil {
		t.Skip(err)
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skipf("nftables are needed: %v", err)
	}
	binary, output := filepath.Join(t.TempDir(), "kedge"), t.TempDir()
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary, "lab", "nat", "--no-capture", "-o", output).CombinedOutput()
	b, readErr := os.ReadFile(filepath.Join(output, "report.json"))
	if readErr != nil {
		t.Fatalf("no report: %v, %v\n%s", readErr, err, out)
	}
	var report natReport
	if err := json.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	if wrong := report.wrong(); len(wrong) > 0 {
		t.Errorf("%s\n%s", strings.Join(wrong, "\n"), out)
	}
}

// wrong lists what is not as it must be.
func (r *natReport) wrong() (wrong []string) {
	add := func(format string, a ...any) { wrong = append(wrong, fmt.Sprintf(format, a...)) }
	if len(r.Probes) != 1 || len(r.Probes[0].Handoffs) != 5 {
		add("probes: %+v", r.Probes)
		return wrong
	}
	for i, h := range r.Probes[0].Handoffs {
		if !h.Downlink.Recovered || !h.Uplink.Recovered {
			add("move %d: %+v", i+1, h)
		}
	}
	want := map[string]string{"file": "dhp", "call-in": "ha"}
	for _, f := range r.Flows {
		if f.Outcome != "maintained" || f.Holder != want[f.Name] {
			add("%s: address of %q, %s", f.Name, f.Holder, f.Outcome)
		}
	}
	for _, e := range r.Expectations {
		// A time that was merely too long is this machine's.
		late := strings.HasSuffix(e.Found, " ms") && strings.HasPrefix(e.Expected, "at most ")
		if !e.Passed && !late {
			add("%s: %s, expected %s", e.Name, e.Found, e.Expected)
		}
	}
	if len(r.Flows) != len(want) || r.Failure != "" || len(r.Expectations) < 10 {
		add("%d flows, %d expectations, %s", len(r.Flows), len(r.Expectations), r.Failure)
	}
	return wrong
}
