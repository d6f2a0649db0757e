package endtoend

import (
	"testing"
)

// What a correspondent starts stays with the home address, beside what the mobile node starts.
func TestCorrespondentsFlowKeepsHomeAddress(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	own := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	own.seenAs(pool1, home)
	called := connect(t, w.nodes["cn"], correspondent, w.nodes["mn"], home)
	if a := called.ends[0].remote().Addr(); a != home {
		t.Errorf("the correspondent talks to %v", a)
	}
	f := w.mn.flow(called.ends[1].local().Port(), called.ends[0].local().Port())
	if f.Initiator != "correspondent" || f.Address != home || f.Translated || f.Anchor != homeAgent {
		t.Errorf("the correspondent's flow is %+v", f)
	}
	asking, answering := udpSocket(t, w.nodes["cn"], correspondent), udpSocket(t, w.nodes["mn"], home)
	for _, length := range []int{100, 4000} {
		asking.asks(answering, length, single(correspondent))
	}
	if f := w.mn.flow(answering.address().Port(), asking.address().Port()); f.Initiator != "correspondent" || f.Address != home {
		t.Errorf("the correspondent's datagrams are %+v", f)
	}
	w.move("mn", "access2")
	w.mn.state("registered", access2Prefix)
	called.finish()
	own.finish()
}

// A connection that was under way before there was DMIPv6 keeps the home address; new ones do not.
func TestFlowUnderWayKeepsHomeAddress(t *testing.T) {
	t.Parallel()
	n := newFlowNetwork(newNetwork(t))
	ha := n.directoryAgent(directoryAgent{})
	n.homeProxy(1, homeProxy{})
	ha.listed(1)
	mn := n.mobile("mn", mobileNode{agent: homeAgent})
	mn.state("registered", access1Prefix)
	old := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
	old.seenAs(single(home), home)
	mn.kill()
	mn = n.flowNode("mn", flowNode{})
	mn.state("registered", access1Prefix)
	old.progress("in a node that has not seen it begin")
	if f := mn.flowOf(old); f.Address != home || f.Initiator != "unknown" {
		t.Errorf("the connection under way is %+v", f)
	}
	connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent).seenAs(pool1, home)
	old.finish()
}
