package endtoend

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// A proxy lends as many addresses as it may. Who comes later uses the home address.
func TestPoolExhausted(t *testing.T) {
	t.Parallel()
	n := newFlowNetwork(newNetwork(t))
	ha := n.directoryAgent(directoryAgent{homes: []netip.Addr{home, home2}})
	dhp := n.homeProxy(1, homeProxy{more: "max_bindings = 1"})
	ha.listed(1)
	n.host("mn2", "access2", "", "")
	mn, mn2 := n.flowNode("mn", flowNode{}), n.flowNode("mn2", flowNode{home: home2})
	mn.state("registered", access1Prefix)
	mn2.state("registered", access2Prefix)
	first := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
	first.seenAs(pool1, home)
	for range 2 {
		second := connect(t, n.nodes["mn2"], anyAddress, n.nodes["cn"], correspondent)
		second.seenAs(single(home2), home2)
		second.finish()
	}
	mn2.event("dhp-skipped", 0)
	if n := dhp.status().HomeProxy.Leases; n != 1 {
		t.Errorf("the proxy lends %d addresses", n)
	}
	n.move("mn", "access2")
	mn.state("registered", access2Prefix)
	first.finish()
}

// A program begins far more flows than are remembered. Those that carry something are not forgotten for it.
func TestFloodOfFlows(t *testing.T) {
	t.Parallel()
	const maxFlows, flood = 1000, 20000
	w := newFlowWorld(newNetwork(t), flowNode{dmipv6: "max_flows = 1000"})
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	resident := w.mn.resident()
	k := udpSocket(t, w.nodes["mn"], home)
	for i := range flood {
		// Ports of which nobody takes anything: the correspondent's errors come back.
		_, _ = k.WriteToUDPAddrPort([]byte("flood"), netip.AddrPortFrom(correspondent, uint16(1024+i)))
		if i%100 == 0 {
			time.Sleep(2 * time.Millisecond) // the device's queue holds no more than some hundreds
		}
	}
	w.mn.counted("flows-evictions", 0, maxFlows/2) // the kernel may have dropped most of the flood
	list, err := w.mn.client.Flows(context.Background(), 100000)
	w.must(err)
	if len(list) > maxFlows+maxFlows/10 {
		t.Errorf("%d flows are remembered", len(list))
	}
	growth := maxGrowth
	if raceDetector {
		growth *= 2
	}
	if is := w.mn.resident(); is > resident+growth {
		t.Errorf("the node grew from %d to %d KiB", resident>>10, is>>10)
	}
	s.seenAs(pool1, home)
	if f := w.mn.flowOf(s); !f.Translated {
		t.Errorf("the connection is now %+v", f)
	}
	connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent).seenAs(pool1, home)
	s.finish()
}
