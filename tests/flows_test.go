package tests

import (
	"fmt"
	"testing"
)

// TestFlowsLab runs six programs on a mobile node that picks an anchor for each of their flows and moves while they run. What
// the lab expects must hold: whom each correspondent saw, what survived with every octet, what was ended. How long that took
// is not a test's business; and since anchors are chosen by measured round trips, a machine too busy to have the lab's gets a
// second try.
func TestFlowsLab(t *testing.T) {
	needLab(t)
	twice(t, func() ([]string, []byte) {
		var report labReport
		out := runLab(t, &report, "flows")
		return wrongFlows(&report), out
	})
}

// wrongFlows lists what is not as it must be.
func wrongFlows(r *labReport) (wrong []string) {
	add := func(format string, a ...any) { wrong = append(wrong, fmt.Sprintf(format, a...)) }
	want := map[string][2]string{
		"cn1-file": {"dhp1", "maintained"}, "cn2-file": {"dhp2", "maintained"}, "cn3-file": {"ha", "maintained"},
		"call-in": {"ha", "maintained"}, "bounded": {"dhp2", "terminated"},
	}
	for _, f := range r.Flows {
		if w, ok := want[f.Name]; ok && (f.Holder != w[0] || f.Outcome != w[1]) {
			add("%s: address of %q, %s; want %q, %s", f.Name, f.Holder, f.Outcome, w[0], w[1])
		}
	}
	wrong = append(wrong, r.unmet(true)...)
	if len(r.Flows) != 6 || r.Failure != "" || len(r.Expectations) < 20 {
		add("%d flows, %d expectations, %s", len(r.Flows), len(r.Expectations), r.Failure)
	}
	return wrong
}
