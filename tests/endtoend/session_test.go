package endtoend

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
)

// peerNamespace is how ip tells of the namespace that an interface's other end is in.
var peerNamespace = regexp.MustCompile(` link-netns(id)? \S+`)

// dump is all that kedge may change of a host: addresses, routes, rules and settings.
func dump(t *testing.T, s *space.Namespace) string {
	t.Helper()
	await(t, "no address of "+s.Name+" is tentative", func() bool {
		list, err := s.Handle.AddrList(nil, netlink.FAMILY_V6)
		return err == nil && !slices.ContainsFunc(list, func(a netlink.Addr) bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 })
	})
	var b strings.Builder
	err := s.Do(func() error {
		for _, arguments := range [][]string{{"-6", "addr"}, {"-6", "route", "show", "table", "all"}, {"-6", "rule"}, {"link", "show"}} {
			// Of peers in other namespaces, which come and go with other tests, ip complains on its standard error.
			out, err := exec.Command("ip", arguments...).Output()
			if err != nil {
				return fmt.Errorf("ip %v: %w", arguments, err)
			}
			lines := strings.Split(peerNamespace.ReplaceAllString(string(out), ""), "\n")
			if arguments[1] == "route" {
				slices.Sort(lines) // those of a device are listed in the order in which they came
			}
			fmt.Fprintf(&b, "# ip %v\n%s\n", arguments, strings.Join(lines, "\n"))
		}
		return filepath.WalkDir("/proc/sys/net/ipv6", func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				// Some settings can only be written.
				text, _ := os.ReadFile(path)
				fmt.Fprintf(&b, "%s = %q\n", path, text)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sameHost fails the test where two dumps differ.
func sameHost(t *testing.T, before, after string) {
	t.Helper()
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]++
	}
	for line := range strings.Lines(after) {
		count[line]--
	}
	for line, n := range count {
		switch {
		case n > 0:
			t.Errorf("not restored: %s", line)
		case n < 0:
			t.Errorf("left behind: %s", line)
		}
	}
}

// A program's connection survives moves between foreign links and home, and the host is as it was before afterwards.
func TestSessionSurvivesMoves(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.agent(anchor{})
	n.host("mn", "access1", "", "")
	before := dump(t, n.nodes["mn"])
	mn := n.mobile("mn", mobileNode{agent: homeAgent})
	mn.state("registered", access1Prefix)
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	n.move("mn", "access2")
	mn.state("registered", access2Prefix)
	s.progress("on the second link")
	n.move("mn", "home")
	mn.state("at-home", netip.Prefix{})
	s.progress("at home")
	n.move("mn", "access1")
	mn.state("registered", access1Prefix)
	s.finish()
	mn.stop()
	sameHost(t, before, dump(t, n.nodes["mn"]))
}

// A mobile node is killed, starts again, and ends in good order.
func TestMobileNodeKilled(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.agent(anchor{})
	n.host("mn", "access1", "", "")
	before := dump(t, n.nodes["mn"])
	mn := n.mobile("mn", mobileNode{agent: homeAgent})
	mn.state("registered", access1Prefix)
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	mn.kill()
	if after := dump(t, n.nodes["mn"]); !strings.Contains(after, "from "+home.String()) {
		t.Error("the kill was to leave rules behind")
	}
	mn.run()
	mn.state("registered", access1Prefix)
	s.finish()
	mn.stop()
	sameHost(t, before, dump(t, n.nodes["mn"]))
}

// A mobile node is killed and never runs again as it was: the next start, with another configuration, cleans up.
func TestMobileNodeKilledAndReconfigured(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.agent(anchor{homes: []netip.Addr{home, home2}})
	n.host("mn", "access1", "", "")
	before := dump(t, n.nodes["mn"])
	mn := n.mobile("mn", mobileNode{agent: homeAgent, destinations: []string{"2001:db8:dead::/48"}})
	mn.state("registered", access1Prefix)
	mn.kill()
	mn = n.mobile("mn", mobileNode{agent: homeAgent, home: home2})
	mn.state("registered", access1Prefix)
	if now := dump(t, n.nodes["mn"]); strings.Contains(now, "dead") || strings.Contains(now, "from "+home.String()+" ") {
		t.Errorf("the killed node's rules are still there:\n%s", now)
	}
	mn.stop()
	sameHost(t, before, dump(t, n.nodes["mn"]))
}

// A home agent is killed. Started again it serves its bindings before anybody asks.
func TestHomeAgentKilled(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	ha, mn := registered(n, "10m")
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	was, _ := ha.binding(home)
	ha.kill()
	ha.run()
	restored := ha.event("binding-restored", 0)
	if restored.Home != home || restored.CareOf != was.CareOf {
		t.Errorf("restored %+v, was %+v", restored, was)
	}
	for _, e := range ha.events() {
		if e.Kind == "binding-created" {
			t.Errorf("the binding was made anew: %+v", e)
		}
	}
	s.finish()
	if is, ok := ha.binding(home); !ok || is.CareOf != was.CareOf || is.LifetimeSeconds > 600 {
		t.Errorf("binding %+v, was %+v", is, was)
	}
	mn.state("registered", access1Prefix)
}

// A home agent loses its bindings. It refuses what comes out of the tunnel with ICMPv6 code 5 (RFC 6275 section 10.4.5),
// and the mobile node registers again long before its binding would have to be refreshed.
func TestHomeAgentForgets(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	ha, mn := registered(n, "10m")
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	ha.kill()
	if err := os.Remove(filepath.Join(ha.directory, "state", "bindings.db")); err != nil {
		t.Fatal(err)
	}
	after := mn.lastEvent()
	ha.run()
	mn.event("binding-registered", after)
	ha.event("binding-created", 0)
	if c := ha.counter("forwarding-errors-sent"); c == 0 {
		t.Error("the home agent sent no ICMPv6 error")
	}
	s.finish()
}

// Somebody deletes the TUN device of a running mobile node.
func TestTUNRemoved(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.agent(anchor{})
	n.host("mn", "access1", "", "")
	before := dump(t, n.nodes["mn"])
	mn := n.mobile("mn", mobileNode{agent: homeAgent})
	mn.state("registered", access1Prefix)
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	for range 3 {
		was := n.link("mn", "kedge0")
		n.must(n.nodes["mn"].Handle.LinkDel(was))
		await(t, "the device is back", func() bool {
			l, err := n.nodes["mn"].Handle.LinkByName("kedge0")
			return err == nil && l.Attrs().Index != was.Attrs().Index && n.nodes["mn"].HasAddress(home)
		})
		s.progress("through the new device")
	}
	s.finish()
	mn.stop()
	sameHost(t, before, dump(t, n.nodes["mn"]))
}

// The uplink is away until the binding has expired at the home agent. With a lifetime of 8 s, some 10 s stand here for the
// minutes that it takes by default.
func TestUplinkAwayLongerThanTheBinding(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	ha, mn := registered(n, "8s")
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	after := ha.lastEvent()
	n.must(n.fabric.Unplug(n.nodes["mn"], "eth0"))
	mn.state("unattached", netip.Prefix{})
	ha.event("binding-expired", after)
	if b, ok := ha.binding(home); ok {
		t.Errorf("the home agent still has %+v", b)
	}
	if s := mn.status(); s.Healthy || s.Reason == "" {
		t.Errorf("a node without uplink says healthy %v, %q", s.Healthy, s.Reason)
	}
	n.must(n.fabric.Plug(n.nodes["mn"], "eth0", "access1"))
	mn.state("registered", access1Prefix)
	s.finish()
}

// The uplink's interface is deleted under the node and comes back with another link-layer address.
func TestUplinkReplaced(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	_, mn := registered(n, "10m")
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	for range 2 {
		was := n.link("mn", "eth0")
		n.must(n.nodes["mn"].Handle.LinkDel(was))
		mn.state("unattached", netip.Prefix{})
		n.plug("mn", "eth0", "access2", "")
		if is := n.link("mn", "eth0"); is.Attrs().HardwareAddr.String() == was.Attrs().HardwareAddr.String() {
			t.Fatal("the test needs another link-layer address")
		}
		mn.state("registered", access2Prefix)
		s.progress("through the new interface")
	}
	s.finish()
}

// The home agent's interface is deleted under it and comes back with another link-layer address, of which the router on
// the home link has to learn for the home agent and for the home addresses that it proxies.
func TestHomeLinkReplaced(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	ha, _ := registered(n, "10m")
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	n.must(n.nodes["ha"].Handle.LinkDel(n.link("ha", "eth0")))
	await(t, "the home agent says that its link is gone", func() bool { return !ha.status().Healthy })
	n.plug("ha", "eth0", "home", "")
	await(t, "the home agent is healthy", func() bool { return ha.status().Healthy })
	s.finish()
}

// A mobile node starts at home, is killed there, starts again, and leaves.
func TestMobileNodeKilledAtHome(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	ha := n.agent(anchor{})
	n.host("mn", "home", "", "")
	before := dump(t, n.nodes["mn"])
	mn := n.mobile("mn", mobileNode{agent: homeAgent})
	mn.state("at-home", netip.Prefix{})
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	mn.kill()
	mn.run()
	mn.state("at-home", netip.Prefix{})
	s.progress("at home again")
	if b, ok := ha.binding(home); ok {
		t.Errorf("a node at home has the binding %+v", b)
	}
	n.move("mn", "access1")
	mn.state("registered", access1Prefix)
	s.progress("away")
	mn.kill()
	n.move("mn", "home")
	mn.run()
	mn.state("at-home", netip.Prefix{})
	s.finish()
	if b, ok := ha.binding(home); ok {
		t.Errorf("a node at home has the binding %+v", b)
	}
	mn.stop()
	sameHost(t, before, dump(t, n.nodes["mn"]))
}
