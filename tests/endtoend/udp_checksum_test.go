package endtoend

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"kedge/appliance/lab/space"
	"kedge/netstack/packet"
	"kedge/netstack/tun"
)

// copies has a node's kernel copy packets to another of its interfaces: those of device in a direction, ingress or egress.
func (n *network) copies(node, device, direction, to string) {
	n.t.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		n.t.Skipf("nftables are needed: %v", err)
	}
	rule := fmt.Sprintf("table netdev kt10-%s-%s {\nchain copy { type filter hook %s device %q priority 0; dup to %q; }\n}\n",
		device, direction, direction, device, to)
	file := n.write(node+"-"+device+"-"+direction+".nft", rule)
	if err := n.nodes[node].Do(func() error {
		if out, err := exec.Command(path, "-f", file).CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}); err != nil {
		n.t.Skipf("no copies of packets here: %v", err)
	}
}

// wireOf captures copies of what passes a node's eth0, both ways. The copies leave by a wire of their own that takes neither
// super-packets nor unfinished checksums.
func (n *network) wireOf(node string) *dumped {
	n.t.Helper()
	far := n.namespace("far" + node)
	n.must(far.Sysctl("net.ipv6.conf.default.disable_ipv6", "1"))
	n.must(space.Wire(n.nodes[node], "copies", far, "copies", 1))
	for _, s := range []*space.Namespace{n.nodes[node], far} {
		n.must(s.Offload("copies", space.Offload{}))
		l, err := s.Handle.LinkByName("copies")
		n.must(err)
		n.must(s.Handle.LinkSetMTU(l, jumbo+100))
		n.must(s.Up("copies"))
	}
	await(n.t, "the wire for copies is up", func() bool { return n.link(node, "copies").Attrs().OperState == netlink.OperUp })
	d := n.dumpOf(node, far, "copies")
	n.copies(node, "eth0", "ingress", "copies")
	n.copies(node, "eth0", "egress", "copies")
	return d
}

// programsOf captures copies of what kedge hands to the programs of a node by its TUN device. They leave by a TUN device that
// takes neither super-packets nor unfinished checksums.
func (n *network) programsOf(node string) *dumped {
	n.t.Helper()
	s := n.nodes[node]
	var device *tun.Link
	n.must(s.Do(func() (err error) {
		device, err = tun.Open("copies0", jumbo+100, tun.Offload{})
		return err
	}))
	var running sync.WaitGroup
	running.Go(func() {
		pkts := packet.NewBatch(64, packet.MaxLength)
		for {
			if _, err := device.Read(pkts); err != nil {
				return
			}
		}
	})
	n.t.Cleanup(func() {
		device.Close()
		running.Wait()
	})
	n.must(s.Up("copies0"))
	d := n.dumpOf(node+"-programs", s, "copies0")
	n.copies(node, "kedge0", "ingress", "copies0")
	return d
}

// handed is how many packets kedge has handed to the programs of a node, super-packets being one.
func (n *network) handed(node string) int {
	return int(n.link(node, "kedge0").Attrs().Statistics.RxPackets)
}

// judged is how many packets with a checksum a capture has. Of those with several, as a datagram with a TCP segment, all have to be
// good.
func (d *dumped) judged() (judged int) {
	d.t.Helper()
	kinds := map[string]int{}
	bad := 0
	for _, p := range d.fields("frame.protocols", "tcp.checksum.status", "udp.checksum.status", "tcp.checksum", "ipv6.src", "ipv6.dst", "frame.len") {
		if !understood(p[0]) {
			continue
		}
		verified, good := checksum(p[1:])
		if verified {
			judged++
			kinds[strings.TrimSuffix(p[0], ":data")]++
		}
		if verified && !good {
			if bad++; bad <= 5 {
				d.t.Errorf("%s: bad checksum: %s", d.node, strings.Join(p, ";"))
			}
		}
	}
	d.t.Logf("%s: %d packets judged, %d bad: %v", d.node, judged, bad, kinds)
	return judged
}

// With every offload on, super-packets with unfinished checksums cross the wires, TUN devices take them, and receivers believe
// what they are told: no program would notice a checksum that is wrong. Judged here, with nothing changed of the way that packets
// take, are copies, of which the kernel has to finish the checksums, from where and with what kedge said, and cut up what is whole:
//
//   - at the mobile nodes' wires, both ways: outer and inner checksums as they are beyond;
//   - at their TUN devices, after decapsulation;
//   - at the home agent's wire, both ways: tunnels, and what comes out of them and goes in.
func TestChecksumsWithEverythingOn(t *testing.T) {
	on := offloads[slices.IndexFunc(offloads, func(o struct {
		name       string
		node, port space.Offload
		off        bool
	}) bool {
		return o.name == "on"
	})]
	for _, c := range []struct {
		name, transport string
		prefix          netip.Prefix
		overhead        int
	}{{"native", "native", access1Prefix, 40}, {"UDP over IPv6", "udp", access1Prefix, 48}, {"UDP over IPv4", "udp", access1IPv4, 28}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newDatagramNetwork(t, inOrder)
			n.datagramAgent(datagramAgent{})
			if c.transport == "native" {
				n.datagramHost("mn", 0)
			} else {
				n.datagramHost("mn", 1, c.prefix)
			}
			n.everyMTU(jumbo)
			for _, node := range []string{"mn", "cn", "ha"} {
				n.must(n.nodes[node].Offload("eth0", on.node))
				n.must(n.root.Offload(n.nodes[node].Name+".eth0", on.port))
			}
			for _, router := range []string{"ar", "hr"} {
				for _, bridge := range routed[router] {
					n.must(n.nodes[router].Offload(bridge, on.node))
				}
			}
			mn := n.datagramNode("mn", datagramNode{transport: c.transport})
			mn.reaches(c.transport, c.prefix)
			wires := []*dumped{n.wireOf("mn"), n.wireOf("ha")}
			programs, before := n.programsOf("mn"), n.handed("mn")
			octets := 2 << 20
			if raceDetector {
				octets = 512 << 10
			}
			f := carriage{t: t, name: "mn", mn: n.nodes["mn"], cn: n.nodes["cn"], home: home, overhead: c.overhead, merges: true}
			for _, mtu := range []int{jumbo, 1500, 1280} {
				n.everyMTU(mtu)
				f.carries(octets, mtu, mtu/60)
			}
			if programs.cmd == nil {
				return
			}
			whole := n.handed("mn") - before
			if judged := programs.judged(); judged < 500 || judged <= whole {
				t.Errorf("%d packets of programs were judged, of which there were no more than %d with super-packets whole", judged, whole)
			}
			for _, d := range wires {
				if judged := d.judged(); judged < 1000 {
					t.Errorf("only %d packets at %s were judged", judged, d.node)
				}
			}
		})
	}
}
