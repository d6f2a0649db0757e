package forwarding

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"kedge/forwarding/flow"
	"kedge/forwarding/policy"
)

func TestChoiceByPrefixAndProfile(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	classifier, err := policy.Compile([]policy.Rule{
		{Name: "web", Protocols: []uint8{6}, DestinationPorts: []policy.PortRange{{First: 80, Last: 80}}, Profile: 0},
		{Name: "marked", DSCPs: []uint8{46}, Profile: 1},
	}, policy.Rule{Name: "rest", Profile: 2})
	must(t, err)
	must(t, e.SetClassifier(classifier))
	must(t, e.SetChoice(0, all, h1, 1))
	must(t, e.SetChoice(0, netip.MustParsePrefix("2001:db8:cc::/48"), d1, 2))
	must(t, e.SetChoice(1, all, d1, 3))
	source := func(b []byte) netip.Addr {
		r := process(w, tunPort, b)
		if len(r.Outputs) == 0 {
			return netip.Addr{}
		}
		return addrAt(one(t, r, ethPort), 48)
	}
	for i, c := range []struct {
		b    []byte
		want netip.Addr
	}{
		{out(1, 0, 0, syn, 0), d1},
		{segment{h1, c2, 1, 80, 0, 0, syn, 0}.bytes(), h1},
		{udpClass(46<<2, h1, cn, 1), d1},
		{udp(h1, c2, 1), netip.Addr{}},
	} {
		if got := source(c.b); got != c.want {
			t.Errorf("%d: from %v, want %v", i, got, c.want)
		}
	}
	must(t, e.RemoveChoice(0, netip.MustParsePrefix("2001:db8:cc::/48")))
	if got := source(out(2, 0, 0, syn, 0)); got != h1 {
		t.Errorf("from %v", got)
	}
	must(t, e.RemoveChoice(0, all))
	if got := source(out(3, 0, 0, syn, 0)); got.IsValid() {
		t.Errorf("from %v", got)
	}
	if got := source(out(1, 1, 1, ack, 0)); got != d1 {
		t.Errorf("a flow under way moved to %v", got)
	}
	must(t, e.SetClassifier(nil))
	if got := source(out(4, 0, 0, syn, 0)); got != h1 {
		t.Errorf("without policy from %v", got)
	}
}

func TestFlowControlErrors(t *testing.T) {
	plain, w := mobileNode(t)
	for _, err := range []error{
		plain.SetClassifier(nil), plain.SetChoice(0, all, d1, 1), plain.RemoveChoice(0, all), plain.SetAddressUse(d1, flow.Host),
		plain.RestoreFlow(start, &flow.Snapshot{}),
	} {
		if !errors.Is(err, ErrNoFlows) {
			t.Errorf("got %v, want ErrNoFlows", err)
		}
	}
	if r := w.Release(start, 1, d1, 1); r.More || len(w.Terminate(start, 1).Outputs) > 0 || plain.Flows() != nil {
		t.Errorf("%+v", r)
	}
	e, _ := flowNode(t, flow.Config{})
	for _, c := range []struct{ err, want error }{
		{e.EnableFlows(FlowConfig{}), ErrAddress},
		{e.SetChoice(-1, all, d1, 1), ErrProfile},
		{e.SetChoice(1<<16, all, d1, 1), ErrProfile},
		{e.SetChoice(0, netip.Prefix{}, d1, 1), ErrPrefix},
		{e.SetChoice(0, all, netip.Addr{}, 1), ErrAddress},
		{e.SetAddressUse(h1, flow.Translation), flow.ErrRole},
		{e.SetAddressUse(netip.Addr{}, flow.Host), ErrAddress},
		{e.RestoreFlow(start, &flow.Snapshot{}), ErrAddress},
		{e.RestoreFlow(start, &flow.Snapshot{Key: flow.Key{Local: h1, Remote: cn, Protocol: 6}, Address: d2}), flow.ErrRole},
		{e.RestoreFlow(start, &flow.Snapshot{Key: flow.Key{Local: d2, Remote: cn, Protocol: 6}, Address: d1}), flow.ErrRole},
		{e.RestoreFlow(start, &flow.Snapshot{Key: flow.Key{Local: h1, Remote: cn, Protocol: 132}, Address: d1}), flow.ErrRole},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("got %v, want %v", c.err, c.want)
		}
	}
	if _, _, _, err := e.ClassifyHeld(1, 0, true); !errors.Is(err, ErrNoFlow) {
		t.Errorf("got %v, want ErrNoFlow", err)
	}
}

// A flow never leaves with another address than its own.
func TestAddressLost(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	must(t, e.SetChoice(testProfile, all, d1, 1))
	inner(t, one(t, process(w, tunPort, out(4000, 1, 0, syn, 0)), ethPort), dhp1)
	refused := func(b []byte) {
		t.Helper()
		m := one(t, process(w, tunPort, b), tunPort)
		wantICMP(t, m, c1, h1, 1, 0)
		if !bytes.Equal(m[48:], b) {
			t.Errorf("about %x, want %x", m[48:], b)
		}
	}
	must(t, e.BindMobile(host(d1), Tunnel{Down: true}))
	refused(out(4000, 2, 1, ack, 0))
	e.UnbindMobile(host(d1))
	refused(out(4000, 2, 1, ack, 1))
	must(t, e.BindMobile(host(d1), Tunnel{Local: c1, Remote: dhp1, Via: true, Port: ethPort, NextHop: router}))
	inner(t, one(t, process(w, tunPort, out(4000, 2, 1, ack, 2)), ethPort), dhp1)
	must(t, e.SetAddressUse(d1, flow.Unassigned))
	refused(out(4000, 2, 1, ack, 3))
	// New flows stay with the home address rather than not to be.
	inner(t, one(t, process(w, tunPort, out(4001, 1, 0, syn, 0)), ethPort), ha)
	// The host has no business with an address for translation.
	must(t, e.SetAddressUse(d1, flow.Translation))
	m := one(t, process(w, tunPort, udp(d1, cn, 4)), tunPort)
	wantICMP(t, m, c1, d1, 1, 0)
	if e.SetAddressUse(d1, flow.Host) == nil {
		t.Error("given to the host under a translated flow")
	}
}

func TestReleaseToHome(t *testing.T) {
	for name, release := range map[string]func(e *Engine){
		"as decided":        func(*Engine) {},
		"binding down":      func(e *Engine) { must(t, e.BindMobile(host(d1), Tunnel{Down: true})) },
		"binding gone":      func(e *Engine) { e.UnbindMobile(host(d1)) },
		"not to be had":     func(e *Engine) { must(t, e.SetAddressUse(d1, flow.Unassigned)) },
		"of the host's own": func(e *Engine) { must(t, e.SetAddressUse(d1, flow.Host)) },
	} {
		e, w := flowNode(t, flow.Config{})
		process(w, tunPort, out(4000, 1, 0, syn, 0))
		number := onlyFlow(t, e).Number
		release(e)
		to := d1
		if name == "as decided" {
			to = h1
		}
		if b := inner(t, one(t, w.Release(start, number, to, 8), ethPort), ha); addrAt(b, 8) != h1 {
			t.Errorf("%s: from %v", name, addrAt(b, 8))
		}
		w.Release(start, number, to, 8)
		if s := onlyFlow(t, e); s.State != flow.InUse || s.Address != h1 || s.Decision != 8 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestNeedsUser(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	classifier, err := policy.Compile([]policy.Rule{
		{Name: "alice", Users: []policy.UserRange{{First: 1000, Last: 1000}}, DSCPs: []uint8{46}, Profile: 0},
		{Name: "bob", Users: []policy.UserRange{{First: 1001, Last: 1001}}, Profile: 1},
	}, policy.Rule{Name: "rest", Profile: 2})
	must(t, err)
	must(t, e.SetClassifier(classifier))
	must(t, e.SetChoice(0, all, d1, 5))
	must(t, e.SetChoice(2, all, h1, 6))
	wait := func(b []byte) uint64 {
		t.Helper()
		process(w, tunPort, b)
		for _, n := range e.TakeNews(nil) {
			if n.Event == flow.WaitsForUser {
				return n.Flow.Number
			}
		}
		t.Fatal("does not wait for its user")
		return 0
	}
	number := wait(udpClass(46<<2, h1, cn, 1))
	address, decision, decided, err := e.ClassifyHeld(number, 1000, true)
	if address != d1 || decision != 5 || !decided || err != nil {
		t.Fatal(address, decision, decided, err)
	}
	inner(t, one(t, w.Release(start, number, address, decision), ethPort), dhp1)
	if _, _, _, err := e.ClassifyHeld(number, 1000, true); !errors.Is(err, ErrNoFlow) {
		t.Errorf("twice: %v", err)
	}
	number = wait(out(1, 0, 0, syn, 0))
	if _, _, decided, err = e.ClassifyHeld(number, 1001, true); decided || err != nil {
		t.Fatal(decided, err)
	}
	if news := e.TakeNews(nil); len(news) != 1 || news[0].Event != flow.Waits || news[0].Flow.Profile != 1 || news[0].Flow.Rule != 1 {
		t.Errorf("%+v", news)
	}
	number = wait(out(2, 0, 0, syn, 0))
	if address, _, decided, err = e.ClassifyHeld(number, 0, false); address != h1 || !decided || err != nil {
		t.Error(address, decided, err)
	}
}

func TestRestoredFlowGoesOn(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	must(t, e.RestoreFlow(start, &flow.Snapshot{
		Key: flow.Key{Local: h1, Remote: cn, Protocol: 6, LocalPort: 4000, RemotePort: 80}, Address: d1, Decision: 3, Profile: 1, Initiator: flow.MobileNode,
	}))
	if b := inner(t, one(t, process(w, tunPort, out(4000, 7, 8, ack, 1)), ethPort), dhp1); addrAt(b, 8) != d1 {
		t.Errorf("from %v", addrAt(b, 8))
	}
	one(t, process(w, ethPort, tunnelled(0, dhp1, c1, in(d1, 4000, 8, 8, ack, 1))), tunPort)
	if s := onlyFlow(t, e); s.TCP != flow.TCPEstablished || s.PacketsIn != 1 || s.PacketsOut != 1 {
		t.Errorf("%+v", s)
	}
}

func TestFlowTableFull(t *testing.T) {
	e, w := flowNode(t, flow.Config{MaxFlows: 1})
	must(t, e.SetChoice(testProfile, all, d1, 1))
	connection(t, w, d1.String(), dhp1.String())
	// What finds no room goes the ordinary way.
	inner(t, one(t, process(w, tunPort, out(1, 1, 0, syn, 0)), ethPort), ha)
	one(t, process(w, ethPort, tunnelled(0, ha, c1, in(h1, 9, 1, 0, syn, 0))), tunPort)
	if e.Flows().Stats()[flow.Refused] != 2 || onlyFlow(t, e).Address != d1 {
		t.Errorf("%v", e.Flows().Stats())
	}
}
