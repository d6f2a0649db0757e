package tests

import "testing"

// TestHandoffLab runs what the README promises a newcomer: one TCP connection survives moves between foreign links, home and
// away again, with every octet verified. How long each move took is not a test's business.
func TestHandoffLab(t *testing.T) {
	needLab(t)
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
	out := runLab(t, &report, "handoff")
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
