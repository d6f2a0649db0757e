package endtoend

import (
	"net/netip"
	"os/exec"
	"testing"
)

// The uplink is away until the lease is over. Either the mobile node gets the address back, or the program is told: it must
// not wait for ever.
func TestUplinkAwayLongerThanTheLease(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{dmipv6: `lifetime = "8s"`})
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	address := s.ends[1].remote().Addr()
	w.must(w.fabric.Unplug(w.nodes["mn"], "eth0"))
	await(t, "the lease is over", func() bool { _, ok := w.dhp1.binding(address); return !ok })
	w.must(w.fabric.Plug(w.nodes["mn"], "eth0", "access1"))
	w.mn.state("registered", access1Prefix)
	again := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	again.seenAs(pool1, home)
	if again.ends[1].remote().Addr() == address {
		s.progress("with the address back")
		s.finish()
	} else if err := s.told(); err == nil {
		t.Error("the program was told of no error")
	}
	again.finish()
}

// Somebody deletes the TUN device, and the uplink, of a mobile node with translated flows and an address of the host's own.
func TestDevicesRemovedUnderFlows(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{dmipv6: "source_hints = true"})
	translated := connect(t, w.nodes["mn"], home, w.nodes["cn"], correspondent)
	translated.seenAs(pool1, home)
	own := w.hinted()
	untranslated := connect(t, w.nodes["mn"], own, w.nodes["cn"], correspondent)
	untranslated.seenAs(single(own), own)
	was := w.link("mn", "kedge0")
	w.must(w.nodes["mn"].Handle.LinkDel(was))
	await(t, "the device is back", func() bool {
		l, err := w.nodes["mn"].Handle.LinkByName("kedge0")
		return err == nil && l.Attrs().Index != was.Attrs().Index && w.nodes["mn"].HasAddress(home) && w.nodes["mn"].HasAddress(own)
	})
	for _, s := range []*stream{translated, untranslated} {
		s.progress("through the new device")
	}
	w.must(w.nodes["mn"].Handle.LinkDel(w.link("mn", "eth0")))
	w.mn.state("unattached", netip.Prefix{})
	w.plug("mn", "eth0", "access2", "")
	w.mn.state("registered", access2Prefix)
	for _, s := range []*stream{translated, untranslated} {
		s.progress("through the new interface")
		s.finish()
	}
}

// A proxy is not reachable while the mobile node moves, and again a little later: its flows wait for it, others do not.
func TestProxyUnreachableAtMove(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	other := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn2"], correspondent2)
	other.seenAs(pool2, home)
	w.dropMobility("ar", 5)
	w.move("mn", "access2")
	w.mn.event("binding-update-sent", w.mn.lastEvent())
	w.must(w.nodes["ar"].Do(func() error { return exec.Command("nft", "delete", "table", "ip6", "kt10").Run() }))
	w.mn.state("registered", access2Prefix)
	for _, x := range []*stream{s, other} {
		x.progress("after the move")
		x.finish()
	}
}
