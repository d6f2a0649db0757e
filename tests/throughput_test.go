package tests

import (
	"encoding/json"
	"os/exec"
	"testing"
)

// TestThroughputLab has every system of `kedge lab throughput` carry everything once, over merging and over unhelpful
// interfaces. How fast they are is not a test's business. wireguard-go, and segment routing in the kernel, may be missing.
func TestThroughputLab(t *testing.T) {
	needLab(t)
	lab := exec.Command(kedge(t), "lab", "throughput", "--json", "--rounds", "1", "--seconds", "0.3", "--conditions", "gro,off", "-o", t.TempDir())
	text, err := lab.Output()
	var report struct {
		Passed  bool
		Failure string
		LeftOut []struct{ System, Why string } `json:"left_out"`
		Samples []struct {
			System, Condition, Figure, Direction string
			Value                                float64
		}
	}
	if readErr := json.Unmarshal(text, &report); readErr != nil {
		t.Fatalf("no report: %v, %v\n%s", readErr, err, text)
	}
	missing := map[string]bool{}
	for _, l := range report.LeftOut {
		if l.System != "wireguard-go" && l.System != "kedge-seg6" {
			t.Errorf("%s was left out: %s", l.System, l.Why)
		}
		t.Logf("%s was left out: %s", l.System, l.Why)
		missing[l.System] = true
	}
	if err != nil || !report.Passed {
		t.Errorf("%v: %s", err, report.Failure)
	}
	carried := map[[4]string]bool{}
	for _, s := range report.Samples {
		carried[[4]string{s.System, s.Condition, s.Figure, s.Direction}] = s.Value > 0
	}
	for _, system := range []string{"plain", "wireguard-go", "kedge-udp", "kedge-native", "kedge-seg6"} {
		for _, condition := range []string{"gro", "off"} {
			for _, figure := range [][2]string{{"tcp", "up"}, {"tcp", "down"}, {"packets", "up"}, {"packets", "down"}, {"latency-median", ""}} {
				if key := [4]string{system, condition, figure[0], figure[1]}; !missing[system] && !carried[key] {
					t.Errorf("nothing was measured of %v", key)
				}
			}
		}
	}
}
