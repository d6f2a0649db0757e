package endtoend

import "testing"

// A program that uses an address of the host's own goes on after the mobile node was killed.
func TestHintedFlowSurvivesKill(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{dmipv6: "source_hints = true"})
	connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent).seenAs(pool1, home)
	own := w.hinted()
	s := connect(t, w.nodes["mn"], own, w.nodes["cn"], correspondent)
	s.seenAs(single(own), own)
	w.mn.kill()
	w.mn.run()
	w.mn.state("registered", access1Prefix)
	s.progress("after the kill")
	if again := w.hinted(); again != own {
		t.Errorf("the host held %v and now %v", own, again)
	}
	s.finish()
}
