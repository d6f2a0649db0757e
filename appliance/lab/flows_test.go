package lab

import (
	"path/filepath"
	"strings"
	"testing"
)

// Flows of a kernel host that is away from the network of its address for 300 ms: the lab must see just that.
func TestFlowsLab(t *testing.T) {
	needLab(t)
	directory := t.TempDir()
	out, status := runLab(t, "testdata/flows.toml", "-o", directory)
	if status != 0 || !strings.Contains(out, "\nPASSED\n") {
		t.Fatalf("exit status %d:\n%s", status, out)
	}
	flows := readDocument(t, directory).Flows
	if len(flows) != 3 {
		t.Fatalf("flows: %+v", flows)
	}
	for _, f := range flows[:2] {
		if f.Outcome != "maintained" || f.To.Verified == 0 || f.From.Verified == 0 || f.To.Silent < 300 {
			t.Errorf("away for 300 ms: %+v", f)
		}
		// The wire has 5 ms each way.
		if f.Before.Flow < 10 || f.Before.Direct < 10 || f.Before.Home != 0 {
			t.Errorf("round trips: %+v", f)
		}
	}
	if x := flows[2].Exchanges; x == nil || x.Answered == 0 || x.Own != x.Steady {
		t.Errorf("exchanges: %+v", x)
	}
	checkPicture(t, filepath.Join(directory, "timeline.svg"))
}
