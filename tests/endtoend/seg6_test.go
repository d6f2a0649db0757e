package endtoend

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"kedge/appliance/lab/space"
	"kedge/netstack/kernel"
	"kedge/netstack/seg6"
)

// segmentRouting skips the test where the kernel cannot encapsulate for a node that is no router.
func (n *network) segmentRouting() {
	n.t.Helper()
	err := n.nodes["ar"].Do(func() error {
		if err := seg6.Probe(); err != nil {
			return err
		}
		_, err := kernel.ReadSysctl("net/ipv6/conf/lo/force_forwarding")
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		n.t.Skipf("the kernel is older than Linux 6.17: %v", err)
	case err != nil:
		n.t.Skip(err)
	}
}

const accelerate = "accelerate = \"seg6\"\n"

// nativeAgent runs a home agent in the namespace ha, which begins its configuration with top.
func (n *network) nativeAgent(top string) *kedge {
	n.t.Helper()
	return n.start("ha", top+preamble("home-agent")+fmt.Sprintf(`[tun]
[[link]]
interface = "eth0"
addresses = ["%s/64"]
gateway = %q
[home_agent]
address = %q
home_prefixes = [%q]
home_link = "eth0"
[[home_agent.mobile_node]]
identifier = %q
home_address = %q
spi = 256
`, homeAgent, homeRouter, homeAgent, homePrefix, identifier(home), home)+n.secret("ha", 256, key))
}

// nativeNode runs a mobile node in the namespace mn, which begins its configuration with top.
func (n *network) nativeNode(top string) *kedge {
	n.t.Helper()
	return n.start("mn", top+preamble("mobile-node")+fmt.Sprintf(`[tun]
[[link]]
interface = "eth0"
autoconfigure = true
[mobile_node]
home_address = %q
home_prefix = %q
home_agent = %q
destinations = [%q]
identifier = %q
spi = 256
`, home, homePrefix, homeAgent, region1, identifier(home))+n.secret("mn", 256, key))
}

// tunnelSource is the source address of what a node's kernel encapsulates, which dump does not show.
func tunnelSource(t *testing.T, s *space.Namespace) (source netip.Addr) {
	t.Helper()
	if err := s.Do(func() (err error) {
		source, err = kernel.TunnelSource()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return source
}

// encapsulated counts what kedge gave a node's kernel to encapsulate; 0 where there is no device for it.
func (n *network) encapsulated(node string) uint64 {
	l, err := n.nodes[node].Handle.LinkByName(seg6.DefaultName)
	if err != nil {
		return 0
	}
	return l.Attrs().Statistics.RxPackets
}

// byKernel waits until a node's kernel encapsulates what a stream sends, from a source address.
func (n *network) byKernel(node string, source netip.Addr, when string) {
	n.t.Helper()
	await(n.t, fmt.Sprintf("the kernel of %s encapsulates from %v %s", node, source, when), func() bool {
		return tunnelSource(n.t, n.nodes[node]) == source
	})
	before := n.encapsulated(node)
	await(n.t, fmt.Sprintf("the kernel of %s encapsulates %s", node, when), func() bool {
		// A device made anew counts from 0.
		now := n.encapsulated(node)
		before = min(before, now)
		return now >= before+20
	})
}

// sameKernel fails the test where a node's host is not as it was before kedge.
func (n *network) sameKernel(node, before string) {
	n.t.Helper()
	sameHost(n.t, before, dump(n.t, n.nodes[node]))
	if source := tunnelSource(n.t, n.nodes[node]); source != netip.IPv6Unspecified() {
		n.t.Errorf("%s: encapsulated packets still come from %v", node, source)
	}
}

// accelerated is a home agent and a mobile node, of which one or both have the kernel encapsulate.
type accelerated struct {
	*network
	mn, ha   *kedge
	inKernel []string
	stream   *stream
	// careOf are the care-of addresses that there have been, in order.
	careOf []netip.Addr
}

// flows checks a phase: octets flow, and the kernels that shall encapsulate do, from the addresses of the time.
func (a *accelerated) flows(careOf netip.Prefix, when string) {
	a.t.Helper()
	m := a.mn.state("registered", careOf).MobileNode
	if len(a.careOf) == 0 || a.careOf[len(a.careOf)-1] != m.CareOf {
		a.careOf = append(a.careOf, m.CareOf)
	}
	a.stream.progress(when)
	for _, node := range a.inKernel {
		a.byKernel(node, map[string]netip.Addr{"mn": m.CareOf, "ha": homeAgent}[node], when)
	}
	a.stream.progress(when + ", still")
}

// A connection survives moves, kills of both nodes, links that go down, and loss of the device, with the kernel encapsulating
// at one end of the tunnel or at both. What it makes is plain IPv6 in IPv6 with good checksums; afterwards the hosts are as
// they were before.
func TestSegmentRouting(t *testing.T) {
	for _, c := range []struct {
		name     string
		inKernel []string
		// whole lets super-packets with unfinished checksums cross the wires: copies are judged (wireOf).
		whole bool
	}{
		{name: "both", inKernel: []string{"mn", "ha"}},
		{name: "both with super-packets on wires", inKernel: []string{"mn", "ha"}, whole: true},
		{name: "mobile node", inKernel: []string{"mn"}},
		{name: "home agent", inKernel: []string{"ha"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := &accelerated{network: newNetwork(t, inOrder), inKernel: c.inKernel}
			a.segmentRouting()
			a.host("mn", "access1", "", "")
			before := map[string]string{}
			var captures []*dumped
			for _, node := range []string{"mn", "ha"} {
				if c.whole {
					captures = append(captures, a.wireOf(node))
				} else {
					a.must(a.nodes[node].Offload("eth0", space.Offload{Merge: true}))
					captures = append(captures, a.dump(node))
				}
				before[node] = dump(t, a.nodes[node])
			}
			top := func(node string) string {
				if slices.Contains(c.inKernel, node) {
					return accelerate
				}
				return ""
			}
			a.ha, a.mn = a.nativeAgent(top("ha")), a.nativeNode(top("mn"))
			a.mn.state("registered", access1Prefix)
			a.trouble()
			for _, d := range captures {
				a.wire(d)
			}
			a.mn.stop()
			a.ha.stop()
			for node, dump := range before {
				a.sameKernel(node, dump)
			}
		})
	}
}

// trouble is what the connection goes through.
func (a *accelerated) trouble() {
	a.t.Helper()
	a.stream = connect(a.t, a.nodes["mn"], home, a.nodes["cn"], correspondent)
	a.flows(access1Prefix, "at first")
	bulk := &carriage{t: a.t, name: "mn", mn: a.nodes["mn"], cn: a.nodes["cn"], home: home, overhead: 40}
	octets := 4 << 20
	if raceDetector {
		octets = 1 << 20
	}
	both := func(when string) {
		for _, up := range []bool{true, false} {
			if err := bulk.bulk(octets, up); err != nil {
				a.t.Errorf("%s: %v", when, err)
			}
		}
	}
	both("at first")
	a.move("mn", "access2")
	a.flows(access2Prefix, "on the second link")
	both("on the second link")

	a.mn.kill()
	a.mn.run()
	a.flows(access2Prefix, "after the mobile node was killed")
	a.ha.kill()
	a.ha.run()
	a.ha.event("binding-restored", 0)
	a.flows(access2Prefix, "after the home agent was killed")
	// One that was killed and is somewhere else when it starts again.
	a.mn.kill()
	a.move("mn", "access1")
	a.mn.run()
	a.flows(access1Prefix, "after the mobile node was killed and moved")

	a.must(a.nodes["mn"].Down("eth0"))
	a.mn.state("unattached", netip.Prefix{})
	a.must(a.nodes["mn"].Up("eth0"))
	a.flows(access1Prefix, "after the uplink was down")
	a.must(a.nodes["ha"].Down("eth0"))
	await(a.t, "the home agent says that its link is down", func() bool { return !a.ha.status().Healthy })
	a.must(a.nodes["ha"].Up("eth0"))
	a.flows(access1Prefix, "after the home agent's link was down")
	// As fast as it goes: the kernel forgets its routes all the same.
	for _, node := range []string{"mn", "ha"} {
		a.must(a.nodes[node].Down("eth0"))
		a.must(a.nodes[node].Up("eth0"))
		a.flows(access1Prefix, "after a short interruption at "+node)
	}
	for _, node := range a.inKernel {
		a.must(a.nodes[node].Handle.LinkDel(a.link(node, seg6.DefaultName)))
		a.flows(access1Prefix, "after the device of "+node+" was deleted")
	}
	both("at last")
	a.stream.finish()
}

// wire checks what a capture has of the tunnel: outer and inner addresses, inner checksums, that the kernel made it where it
// should, and that nothing left from a care-of address that had been given up.
func (a *accelerated) wire(d *dumped) {
	a.t.Helper()
	packets := d.fields("frame.protocols", "ipv6.src", "ipv6.dst", "ipv6.nxt", "ipv6.hlim", "tcp.checksum.status", "udp.checksum.status", "tcp.checksum")
	if packets == nil {
		return
	}
	// Of each direction: packets, those with a verified checksum, and those that the kernel made.
	type count struct{ all, verified, kernel int }
	counts := map[string]*count{"mn": {}, "ha": {}}
	var sources []netip.Addr
	complaints := 0
	complain := func(what string, p []string) {
		if complaints++; complaints <= 5 {
			a.t.Errorf("at %s: %s: %s", d.node, what, strings.Join(p, ";"))
		}
	}
	for _, p := range packets {
		if p[0] != "eth:ethertype:ipv6:ipv6:tcp" && p[0] != "eth:ethertype:ipv6:ipv6:tcp:data" {
			continue
		}
		from, to, next, limits := addresses(p[1]), addresses(p[2]), strings.Split(p[3], ","), strings.Split(p[4], ",")
		switch {
		case len(from) != 2 || len(to) != 2 || len(limits) != 2 || len(next) != 2 || next[0] != "41":
			complain("no IPv6 in IPv6", p)
			continue
		}
		var c *count
		switch {
		case from[0] == homeAgent && slices.Contains(a.careOf, to[0]) && from[1] == correspondent && to[1] == home:
			c = counts["ha"]
		case to[0] == homeAgent && slices.Contains(a.careOf, from[0]) && from[1] == home && to[1] == correspondent:
			c = counts["mn"]
			if len(sources) == 0 || sources[len(sources)-1] != from[0] {
				sources = append(sources, from[0])
			}
		default:
			complain("wrong addresses", p)
			continue
		}
		c.all++
		outer, err := strconv.Atoi(limits[0])
		inner, err2 := strconv.Atoi(limits[1])
		if err = errors.Join(err, err2); err != nil {
			complain(err.Error(), p)
		}
		// The kernel copies the inner hop limit to the outside and then counts its own hop; kedge begins at 64.
		if outer == inner-1 {
			c.kernel++
		}
		verified, good := checksum(p[5:])
		if verified {
			c.verified++
		}
		if verified && !good {
			complain("bad inner checksum", p)
		}
	}
	for node, c := range counts {
		a.t.Logf("at %s: of %d packets from %s, %d are the kernel's, %d with a verified checksum", d.node, c.all, node, c.kernel, c.verified)
		if c.all < 500 || c.verified != c.all {
			a.t.Errorf("at %s: of %d packets from %s only %d were verified", d.node, c.all, node, c.verified)
		}
		// Further on routers have counted the outer hop limit down.
		if node == d.node && slices.Contains(a.inKernel, node) != (c.kernel > c.all/2) {
			a.t.Errorf("at %s: of %d packets from %s %d are the kernel's", d.node, c.all, node, c.kernel)
		}
	}
	if !slices.Equal(sources, a.careOf) {
		a.t.Errorf("at %s: packets came from %v, care-of addresses were %v", d.node, sources, a.careOf)
	}
}

// addresses are those of a list of tshark's.
func addresses(list string) (all []netip.Addr) {
	for s := range strings.SplitSeq(list, ",") {
		a, _ := netip.ParseAddr(s)
		all = append(all, a)
	}
	return all
}

// Where the device cannot be made, kedge says so and encapsulates by itself, with nothing changed of the host.
func TestSegmentRoutingRefused(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.segmentRouting()
	n.host("mn", "access1", "", "")
	for _, node := range []string{"mn", "ha"} {
		// Somebody else has an interface of that name.
		n.must(n.nodes[node].Handle.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: seg6.DefaultName}}))
	}
	before := map[string]string{"mn": dump(t, n.nodes["mn"]), "ha": dump(t, n.nodes["ha"])}
	ha, mn := n.nativeAgent(accelerate), n.nativeNode(accelerate)
	mn.state("registered", access1Prefix)
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	n.move("mn", "access2")
	mn.state("registered", access2Prefix)
	s.progress("on the second link")
	s.finish()
	for _, k := range []*kedge{mn, ha} {
		if log := k.log(); strings.Count(log, "not accelerated") != 1 {
			t.Errorf("the log of %s is to say once that it is not accelerated", k.name)
		}
		k.stop()
		n.sameKernel(k.name, before[k.name])
	}
}
