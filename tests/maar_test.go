package tests

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kedge/appliance/lab/space"
)

// maarReport is what of the maar lab's report the test reads.
type maarReport struct {
	Failure string `json:"failure"`
	Flows   []struct {
		Name    string `json:"name"`
		Outcome string `json:"outcome"`
	} `json:"flows"`
	Mobility struct {
		Places []struct {
			Router    string `json:"router"`
			Native    int    `json:"packets_of_local_prefix_not_tunnelled"`
			Tunnelled int    `json:"packets_of_local_prefix_tunnelled"`
			Seen      []struct {
				From, To string
			} `json:"tunnels_seen"`
		} `json:"places"`
	} `json:"network_based_mobility"`
	Expectations []struct {
		Name     string `json:"name"`
		Passed   bool   `json:"passed"`
		Found    string `json:"found"`
		Expected string `json:"expected"`
	} `json:"expectations"`
}

// TestMAARLab moves an unmodified Linux host between three MAARs, with a carrier flap and with its interface set down and up.
// All that the lab expects must hold; a machine too busy for a host to be answered in time gets a second try.
func TestMAARLab(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 seconds of sessions and moves")
	}
	if err := space.Check(true); err != nil {
		t.Skip(err)
	}
	binary := filepath.Join(t.TempDir(), "kedge")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for try := range 2 {
		output := t.TempDir()
		out, err := exec.Command(binary, "lab", "maar", "--cmd-mode", "proxy", "--no-capture", "-o", output).CombinedOutput()
		b, readErr := os.ReadFile(filepath.Join(output, "report.json"))
		if readErr != nil {
			t.Fatalf("no report: %v, %v\n%s", readErr, err, out)
		}
		var report maarReport
		if err := json.Unmarshal(b, &report); err != nil {
			t.Fatal(err)
		}
		wrong := report.wrong()
		if len(wrong) == 0 {
			return
		}
		if try == 0 {
			t.Logf("once more, since %s", strings.Join(wrong, "; "))
			continue
		}
		t.Errorf("%s\n%s", strings.Join(wrong, "\n"), out)
	}
}

// wrong lists what is not as it must be.
func (r *maarReport) wrong() (wrong []string) {
	maintained := 0
	for _, f := range r.Flows {
		if f.Outcome == "maintained" {
			maintained++
		}
	}
	if maintained != 4 || len(r.Expectations) < 30 || r.Failure != "" {
		wrong = append(wrong, "not all of four connections were maintained, or the lab failed: "+r.Failure)
	}
	for _, e := range r.Expectations {
		if !e.Passed {
			wrong = append(wrong, e.Name+": "+e.Found+", expected "+e.Expected)
		}
	}
	// Sessions of the places before must have gone through a tunnel each way, or the lab has seen nothing.
	routers := []string{"maar1", "maar2", "maar3", "maar1"}
	if len(r.Mobility.Places) != len(routers) {
		return append(wrong, "not all of four places were seen")
	}
	for i, p := range r.Mobility.Places {
		if p.Router != routers[i] || p.Native == 0 || p.Tunnelled != 0 {
			wrong = append(wrong, "place of "+p.Router+": the local prefix was not used, or tunnelled")
		}
		in, out := false, false
		for _, t := range p.Seen {
			in, out = in || t.To == p.Router, out || t.From == p.Router
		}
		if i > 0 && !(in && out) {
			wrong = append(wrong, "place of "+p.Router+": no tunnel to an earlier MAAR was in use")
		}
	}
	return wrong
}
