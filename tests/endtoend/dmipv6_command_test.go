package endtoend

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"kedge/appliance/control"
)

// cli runs a kedge command for a node.
func (k *kedge) cli(arguments ...string) (output string, status int) {
	k.t.Helper()
	return command(k.t, append(arguments, "--socket", filepath.Join(k.directory, "control.sock"))...)
}

// says fails the test unless a command for the node succeeds and its output has each of these.
func (k *kedge) says(arguments []string, wants ...string) {
	k.t.Helper()
	out, status := k.cli(arguments...)
	if status != 0 {
		k.t.Errorf("kedge %v: exit status %d: %s", arguments, status, out)
		return
	}
	for _, want := range wants {
		if !strings.Contains(out, want) {
			k.t.Errorf("kedge %v does not say %q:\n%s", arguments, want, out)
		}
	}
}

// refuses fails the test unless a command for the node fails with exit status 1 and says each of these.
func (k *kedge) refuses(arguments []string, wants ...string) {
	k.t.Helper()
	out, status := k.cli(arguments...)
	if status != 1 {
		k.t.Errorf("kedge %v: exit status %d: %s", arguments, status, out)
	}
	for _, want := range wants {
		if !strings.Contains(out, want) {
			k.t.Errorf("kedge %v does not say %q:\n%s", arguments, want, out)
		}
	}
}

// decoded is what a command prints with --json.
func decoded[T any](k *kedge, arguments ...string) (v T) {
	k.t.Helper()
	out, status := k.cli(append(arguments, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil || status != 0 {
		k.t.Fatalf("kedge %v --json: exit status %d, %v:\n%s", arguments, status, err, out)
	}
	return v
}

// What the commands about flows show, and what they say to mistakes.
func TestFlowCommands(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	w.mn.says([]string{"flows"}, "FLOW", "CORRESPONDENT")
	w.mn.says([]string{"anchors"}, "ADDRESS", "PROXY")
	if list := decoded[[]control.Anchor](w.mn, "anchors"); list == nil || len(list) != 0 {
		t.Errorf("anchors before any flow: %+v", list)
	}

	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	address := s.ends[1].remote().Addr()
	again := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	list := decoded[[]control.Flow](w.mn, "flows")
	if len(list) != 2 || list[0].Number <= list[1].Number {
		t.Fatalf("two flows, the youngest first: %+v", list)
	}
	for i, stream := range []*stream{again, s} {
		f := list[i]
		if f.Protocol != "tcp" || f.Local != home || f.LocalPort != stream.ends[0].local().Port() || f.Remote != correspondent ||
			f.RemotePort != stream.ends[0].remote().Port() || f.Class != "session-lasting" || f.Rule == "" || f.Initiator != "mobile-node" ||
			f.State != "active" || f.Address != address || f.Anchor != homeProxy1 || !f.Translated || f.Mode != "bidirectional-tunnel" ||
			f.Uplink != "eth0" || f.TCP != "established" || f.PacketsOut == 0 || f.PacketsIn == 0 || f.OctetsOut < chunk || f.OctetsIn < chunk {
			t.Errorf("flow %+v", f)
		}
	}
	w.mn.says([]string{"flows"}, "tcp", correspondent.String(), "session-lasting", address.String()+" (translated)", homeProxy1.String(), "bidirectional-tunnel")
	w.mn.says([]string{"flows", "--limit", "1"}, fmt.Sprint(again.ends[0].local().Port()))
	if out, _ := w.mn.cli("flows", "--limit", "1"); len(strings.Split(strings.TrimSpace(out), "\n")) != 2 {
		t.Errorf("one flow was to be listed:\n%s", out)
	}

	first := fmt.Sprint(list[1].Number)
	w.mn.says([]string{"flows", "--why", first}, "session-lasting", "translated from "+home.String(), "anchored at "+homeProxy1.String(),
		"candidates", "flow-classified", "flow-initiator", "dhp-query-sent", "dhp-query-reply-received", "dhp-selected", "dhoa-request-sent",
		"dhoa-response-received", "flow-decided")
	f := decoded[control.Flow](w.mn, "flows", "--why", first)
	if d := f.Decision; d == nil || d.Anchor != homeProxy1 || d.Address != address || d.Correspondent != correspondent || len(d.Candidates) != 1 ||
		!d.Candidates[0].Chosen || d.Candidates[0].Coverage != region1 || d.Outcome == "" || len(d.Steps) < 8 {
		t.Errorf("the first flow's decision: %+v", d)
	}
	f = decoded[control.Flow](w.mn, "flows", "--why", fmt.Sprint(list[0].Number))
	if d := f.Decision; d == nil || d.Anchor != homeProxy1 || d.Address != address || len(d.Candidates) != 1 {
		t.Errorf("the second flow's decision: %+v", d)
	}

	w.mn.says([]string{"anchors"}, address.String(), homeProxy1.String(), "translation", "registered", "eth0")
	anchors := decoded[[]control.Anchor](w.mn, "anchors")
	if len(anchors) != 1 || anchors[0].Address != address || anchors[0].Flows != 2 || anchors[0].Lifetime <= 0 || anchors[0].TicketExpiry.IsZero() {
		t.Errorf("anchors %+v", anchors)
	}
	w.ha.says([]string{"directory"}, homeProxy1.String(), homeProxy2.String(), region1.String(), region2.String())
	if list := decoded[[]control.Proxy](w.ha, "directory"); len(list) != 2 || list[0].LifetimeSeconds <= 0 {
		t.Errorf("directory %+v", list)
	}
	w.dhp1.says([]string{"bindings"}, address.String())
	w.dhp1.says([]string{"status"}, pool1.String(), homeAgent.String())
	w.mn.says([]string{"status"}, "registered")

	for _, c := range []struct{ arguments, says []string }{
		{[]string{"flows", "--why", "999999"}, []string{"no such flow", "999999"}},
		{[]string{"flows", "--why", "many"}, []string{"many"}},
		{[]string{"flows", "mode", "999999", "route-optimization"}, []string{"no such flow", "999999"}},
		{[]string{"flows", "mode", first, "sideways"}, []string{"sideways", "route-optimization"}},
		{[]string{"flows", "mode", first, "route-optimization"}, []string{"route_optimization = true"}},
		{[]string{"flows", "mode", "one", "bidirectional-tunnel"}, []string{"one"}},
		{[]string{"flows", "uplink", first, "eth7"}, []string{"eth7"}},
		{[]string{"flows", "uplink", first}, nil},
		{[]string{"directory"}, []string{"home agent"}},
	} {
		w.mn.refuses(c.arguments, c.says...)
	}
	w.ha.refuses([]string{"flows"}, "dmipv6")
	w.ha.refuses([]string{"anchors"}, "dmipv6")
	w.dhp1.refuses([]string{"flows", "--why", "1"}, "dmipv6")
	s.finish()
	again.finish()
}
