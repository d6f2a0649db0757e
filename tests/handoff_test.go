package tests

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kedge/appliance/lab/space"
)

// TestHandoffLab runs what the README promises a newcomer: one TCP connection survives moves between foreign links, home and
// away again, with every octet verified. How long each move took is not a test's business.
func TestHandoffLab(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 seconds of moving about")
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
	out, err := exec.Command(binary, "lab", "handoff", "--no-capture", "-o", output).CombinedOutput()
	b, readErr := os.ReadFile(filepath.Join(output, "report.json"))
	if readErr != nil {
		t.Fatalf("no report: %v, %v\n%s", readErr, err, out)
	}
	type direction struct {
		Recovered bool `json:"recovered"`
	}
	var report struct {
		Downloads []struct {
			Survived bool   `json:"survived"`
			Verified bool   `json:"verified"`
			Received uint64 `json:"received_octets"`
		} `json:"downloads"`
		Probes []struct {
			Handoffs []struct {
				To       string    `json:"to"`
				Downlink direction `json:"downlink"`
				Uplink   direction `json:"uplink"`
			} `json:"handoffs"`
		} `json:"probes"`
	}
	if err := json.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Downloads) != 1 || !report.Downloads[0].Survived || !report.Downloads[0].Verified || report.Downloads[0].Received < 1_000_000 {
		t.Errorf("download: %+v\n%s", report.Downloads, out)
	}
	if len(report.Probes) != 1 || len(report.Probes[0].Handoffs) != 4 {
		t.Fatalf("probes: %+v\n%s", report.Probes, out)
	}
	for i, h := range report.Probes[0].Handoffs {
		if !h.Downlink.Recovered || !h.Uplink.Recovered {
			t.Errorf("move %d, to %s: %+v\n%s", i+1, h.To, h, out)
		}
	}
}
