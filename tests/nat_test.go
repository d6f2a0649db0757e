package tests

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// natReport is what of the NAT lab's report the test reads.
type natReport struct {
	labReport
	Probes []struct {
		Handoffs []struct {
			Downlink, Uplink struct {
				Recovered bool `json:"recovered"`
			}
		} `json:"handoffs"`
	} `json:"probes"`
}

// TestNATLab has a mobile node behind two NATs that forget, on a network of IPv6 alone, and behind one NAT, with connections
// that are an anchor's over UDP. How long each move took is not a test's business.
func TestNATLab(t *testing.T) {
	needLab(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skipf("nftables are needed: %v", err)
	}
	var report natReport
	out := runLab(t, &report, "nat")
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
	wrong = append(wrong, r.unmet(true)...)
	if len(r.Flows) != len(want) || r.Failure != "" || len(r.Expectations) < 10 {
		add("%d flows, %d expectations, %s", len(r.Flows), len(r.Expectations), r.Failure)
	}
	return wrong
}
