package endtoend

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// A mobile node is killed in the middle of translated flows. Started again it translates as before: correspondents see
// nothing but a pause.
func TestTranslationSurvivesKill(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	a, b := udpSocket(t, w.nodes["mn"], home), udpSocket(t, w.nodes["cn2"], correspondent2)
	seen := a.ask(b, 1000)
	if !pool2.Contains(seen) {
		t.Fatalf("the correspondent sees %v", seen)
	}
	for range 3 {
		w.mn.kill()
		w.mn.run()
		w.mn.state("registered", access1Prefix)
		s.progress("after the kill")
	}
	a.asks(b, 4000, single(seen))
	if f := w.mn.flowOf(s); !f.Translated || f.Anchor != homeProxy1 {
		t.Errorf("the connection is now %+v", f)
	}
	connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent).seenAs(single(s.ends[1].remote().Addr()), home)
	s.finish()
}

// A mobile node is killed and starts again on another link.
func TestTranslationSurvivesKillAndMove(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	w.mn.kill()
	w.move("mn", "access2")
	w.mn.run()
	w.mn.state("registered", access2Prefix)
	s.finish()
}

// A proxy is killed and serves its leases when it starts again, before anybody asks.
func TestHomeProxyKilled(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	address := s.ends[1].remote().Addr()
	w.dhp1.kill()
	w.dhp1.run()
	if e := w.dhp1.event("binding-restored", 0); e.Home != address {
		t.Errorf("restored %+v", e)
	}
	s.progress("with the proxy that was killed")
	connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent).seenAs(single(address), home)
	s.finish()
}

// A home agent is away, and comes back without its directory, while flows use proxies.
func TestHomeAgentAwayFromFlows(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	address := s.ends[1].remote().Addr()
	w.ha.kill()
	s.progress("without the home agent")
	connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent).seenAs(single(address), home)
	w.move("mn", "access2")
	w.mn.state("registering", access2Prefix)
	s.progress("on another link, without the home agent")
	w.ha.run()
	w.mn.state("registered", access2Prefix)
	s.finish()
}

// The network loses a proxy that is alive and well: the same, for datagrams too.
func TestHomeProxyLost(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{dmipv6: `heartbeat_interval = "1s"`})
	lost := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	lost.seenAs(pool1, home)
	k, server := udpSocket(t, w.nodes["mn"], anyAddress), udpSocket(t, w.nodes["cn"], correspondent)
	k.asks(server, 100, pool1)
	other := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn2"], correspondent2)
	other.seenAs(pool2, home)
	w.mn.measured(homeProxy1)
	k.complaints()
	w.blackhole("ar", homeProxy1)
	if err := lost.told(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the program was told %v", err)
	}
	await(t, "the program with datagrams is told", func() bool {
		c, ok := k.complaint()
		return ok && c.kind == 1 && c.code == 4
	})
	udpSocket(t, w.nodes["mn"], anyAddress).asks(server, 100, single(home))
	other.finish()
}

// told waits until the program at the mobile node's end of a connection has been told of its end, and returns what.
func (s *stream) told() error {
	s.t.Helper()
	ended := make(chan struct{})
	go func() { s.ends[0].running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		s.t.Fatal("the program is not told")
	}
	return errors.Join(s.ends[0].failure, s.ends[0].unsent)
}

// A proxy dies for good. Its flows end, and their programs are told; those of other anchors do not notice; new ones go by
// the home agent.
func TestHomeProxyDies(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{dmipv6: `heartbeat_interval = "1s"`})
	lost := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	lost.seenAs(pool1, home)
	other := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn2"], correspondent2)
	other.seenAs(pool2, home)
	called := connect(t, w.nodes["cn"], correspondent, w.nodes["mn"], home)
	// Of a proxy that has never answered an Echo Request, silence says nothing.
	w.mn.measured(homeProxy1)
	w.dhp1.kill()
	killed := time.Now()
	if err := lost.told(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the program was told %v", err)
	}
	if took := time.Since(killed); took > 15*time.Second {
		t.Errorf("the program was told after %v", took)
	}
	fallback := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	fallback.seenAs(single(home), home)
	for _, s := range []*stream{other, called, fallback} {
		s.finish()
	}
}

// measured waits until a mobile node has measured the loss on the way to a proxy.
func (k *kedge) measured(proxy netip.Addr) {
	k.t.Helper()
	await(k.t, k.name+" has measured the way to "+proxy.String(), func() bool {
		for _, a := range k.anchors() {
			if a.Proxy == proxy && a.Loss >= 0 && a.RoundTrip > 0 {
				return true
			}
		}
		return false
	})
}
