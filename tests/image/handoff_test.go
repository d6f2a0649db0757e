package image

import (
	"encoding/json"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"kedge/appliance/control"
)

// pinged is what kedge ping --json prints.
type pinged struct {
	Sent            int
	Answered        int
	UnansweredAtEnd int `json:"unanswered_at_end"`
	Gaps            []struct {
		Silent float64 `json:"silent_ms"`
		Lost   int
	}
}

// The topology of the compose file comes up, the mobile node registers, and its datagrams to the correspondent are
// answered where it starts, after its network was taken from it, at home, and away again.
func TestComposeTopology(t *testing.T) {
	c := readCompose(t)
	e := podman(t)
	// Where the machine filters bridged packets, podman's rules rewrite those that the router has yet to forward.
	if err := exec.Command("ip", "netns", "exec", namespace, "test", "-e", "/proc/sys/net/bridge").Run(); err == nil {
		if out, err := exec.Command("ip", "netns", "exec", namespace, "sysctl", "-w", "net.bridge.bridge-nf-call-ip6tables=0").CombinedOutput(); err != nil {
			t.Skipf("bridged packets are filtered here: %v\n%s", err, out)
		}
	}
	e.up(c)
	t.Cleanup(func() {
		if t.Failed() {
			e.explain(c)
		}
	})

	here := e.await(c, "registered", "")
	if p := e.ping(c, 100, nil); p.Answered < 95 {
		t.Errorf("at the first network: %+v", p)
	}
	if s := e.status("ha"); s.HomeAgent == nil || s.HomeAgent.Bindings != 1 {
		t.Errorf("home agent: %+v", s.HomeAgent)
	}

	there := "access1"
	if here == there {
		there = "access2"
	}
	p := e.ping(c, 300, func() { e.must("network", "disconnect", prefix+here, prefix+"mn") })
	if p.Answered < 200 || p.UnansweredAtEnd > 50 {
		t.Errorf("while moving from %s to %s: %+v", here, there, p)
	}
	t.Logf("moved from %s to %s: %+v", here, there, p)
	if now := e.await(c, "registered", there); now != there {
		t.Errorf("the mobile node is at %q, not %q", now, there)
	}

	e.must("network", "connect", prefix+"home", prefix+"mn")
	e.await(c, "at-home", "home")
	if p := e.ping(c, 100, nil); p.Answered < 95 {
		t.Errorf("at home: %+v", p)
	}
	e.must("network", "disconnect", prefix+"home", prefix+"mn")
	e.await(c, "registered", there)
	if p := e.ping(c, 100, nil); p.Answered < 95 {
		t.Errorf("after leaving home: %+v", p)
	}
}

func (e *engine) status(service string) (s control.Status) {
	out, err := e.exec(service, "kedge", "status", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	if err != nil {
		e.t.Logf("status of %s: %v", service, err) // it may not have started yet
	}
	return s
}

// await waits until the mobile node is in a state, on a network if one is named, and returns the network of its care-of
// address. The limit leaves a busy machine room for lost first updates, which are sent again after 1.5 s, 3 s, 6 s.
func (e *engine) await(c composeFile, state, network string) string {
	e.t.Helper()
	var s control.Status
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		s = e.status("mn")
		if m := s.MobileNode; m != nil && m.State == state && (network == "" || c.networkOf(m.CareOf) == network) {
			return c.networkOf(m.CareOf)
		}
	}
	e.t.Fatalf("the mobile node is not %s: %+v", state, s.MobileNode)
	return ""
}

// ping sends count datagrams from the mobile node to the correspondent, 10 ms apart; meanwhile, after a second, runs in
// between.
func (e *engine) ping(c composeFile, count int, meanwhile func()) (p pinged) {
	e.t.Helper()
	var correspondent netip.Addr
	for _, n := range c.Services["cn"].Networks {
		correspondent = n.IPv6Address
	}
	type result struct {
		out string
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, _ := json.Marshal(count)
		out, err := e.exec("mn", "kedge", "ping", "--json", "--count", string(n), correspondent.String())
		done <- result{out, err}
	}()
	if meanwhile != nil {
		time.Sleep(time.Second)
		meanwhile()
	}
	r := <-done
	if err := json.Unmarshal([]byte(r.out), &p); err != nil {
		e.t.Fatalf("ping: %v, %v", r.err, err)
	}
	return p
}

// explain logs what the services have said.
func (e *engine) explain(c composeFile) {
	for name := range c.Services {
		out, _ := exec.Command("podman", "logs", prefix+name).CombinedOutput()
		e.t.Logf("%s:\n%s", name, out)
	}
	out, err := e.exec("mn", "kedge", "events")
	e.t.Logf("events of mn: %v\n%s", err, out)
}
