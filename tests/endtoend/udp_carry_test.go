package endtoend

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
)

// carriage is a mobile node, on a network inOrder, whose traffic with the correspondent is checked octet by octet.
type carriage struct {
	t      *testing.T
	name   string
	mn, cn *space.Namespace
	home   netip.Addr
	// overhead is what its tunnel takes of a packet, in octets.
	overhead int
	// merges says that interfaces may merge what they receive (GRO). Fragments then overtake what Linux keeps for that.
	merges bool
	// disorders says that so its segments may, on the path that it has now.
	disorders bool
}

// whole says whether packets of that length pass a path of that MTU in the tunnel without being fragmented.
func (c *carriage) whole(length, mtu int) bool { return length+c.overhead <= mtu }

// inner is the longest packet that passes a path of that MTU: never less than 1280 octets, by fragments outside, nor more than
// the route into the mobile node's TUN device takes.
func (c *carriage) inner(mtu int) int { return max(min(mtu-c.overhead, jumbo-48), 1280) }

// carries has TCP carry octets each way, and UDP datagrams of every step-th length up to what the path takes, all at once.
func (c *carriage) carries(octets, mtu, step int) {
	c.t.Helper()
	c.disorders = c.merges && !c.whole(c.inner(mtu), mtu)
	var running sync.WaitGroup
	failed := make(chan error, 4)
	for _, up := range []bool{true, false} {
		running.Go(func() { failed <- c.bulk(octets, up) })
		running.Go(func() { failed <- c.datagrams(mtu, step, up) })
	}
	running.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			c.t.Errorf("%s, MTU %d: %v", c.name, mtu, err)
		}
	}
}

// jumbo is the MTU of TUN devices, and of networks of jumbo frames.
const jumbo = 9000

// window bounds what is under way of one connection, so that no queue between overflows.
const window = 96 << 10

// bulk sends octets by one TCP connection as fast as they go, and compares them on arrival. Where nothing was lost, all segments
// must have arrived in order.
func (c *carriage) bulk(octets int, up bool) error {
	near, far := dial(c.t, c.mn, c.home, c.cn, correspondent)
	defer near.Close()
	defer far.Close()
	from, to := near, far
	if !up {
		from, to = far, near
	}
	_ = to.SetReadBuffer(window)
	for _, end := range []*net.TCPConn{near, far} {
		_ = end.SetDeadline(time.Now().Add(2 * patience))
		impatient(end)
	}
	seed := uint64(near.LocalAddr().(*net.TCPAddr).Port)
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(from, io.LimitReader(source(seed), int64(octets)))
		sent <- err
	}()
	if err := errors.Join(verify(to, source(seed), octets), <-sent); err != nil {
		return fmt.Errorf("TCP, up %v: %w", up, err)
	}
	sender, err := tcpInfo(from)
	receiver, err2 := tcpInfo(to)
	if err = errors.Join(err, err2); err != nil {
		return err
	}
	// The receiver tells of each segment that came again (RFC 2883): if all that were sent again did, none was lost.
	if keepsOrder && !c.disorders && sender.Total_retrans == sender.Dsack_dups && receiver.Rcv_ooopack != 0 {
		err = fmt.Errorf("TCP, up %v: %d segments came out of order though none was lost", up, receiver.Rcv_ooopack)
	}
	return err
}

func tcpInfo(c *net.TCPConn) (info *unix.TCPInfo, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	failed := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info, errors.Join(failed, err)
}

// volley is how many octets of datagrams are under way at a time: what the smallest socket buffer takes.
const volley = 40 << 10

// datagrams sends UDP datagrams of every step-th length in volleys, one by one and as the kernel cuts them from larger sends.
// All must arrive as they were, in order. What is too long for the path comes in fragments, in volleys of its own, since
// fragments may overtake (merges).
func (c *carriage) datagrams(mtu, step int, up bool) error {
	from, to := udpSocket(c.t, c.mn, c.home), udpSocket(c.t, c.cn, correspondent)
	defer from.Close()
	defer to.Close()
	if !up {
		from, to = to, from
	}
	most := c.inner(mtu) - 48
	from.deliver(to, most)
	var lengths []int
	for length := 0; length < most; length += step {
		lengths = append(lengths, length)
	}
	lengths = append(lengths, most)
	for len(lengths) > 0 {
		octets, count := 0, 0
		for count < len(lengths) && count < 32 && octets < volley && c.whole(lengths[count]+48, mtu) == c.whole(lengths[0]+48, mtu) {
			octets, count = octets+lengths[count], count+1
		}
		now := lengths[:count]
		lengths = lengths[count:]
		for _, length := range now {
			if _, err := from.WriteToUDPAddrPort(pattern(length, 0), to.address()); err != nil {
				return fmt.Errorf("UDP of %d octets, up %v: %w", length, up, err)
			}
		}
		if err := to.expect(from.address(), now, func(int) byte { return 0 }); err != nil {
			return fmt.Errorf("UDP, up %v: %w", up, err)
		}
	}
	for _, length := range []int{1, 100, 1000, most} {
		count := max(1, min(32, volley/length)-1)
		if err := from.train(to.address(), length, count); err != nil {
			return err
		}
		cut := append(slices.Repeat([]int{length}, count), (length+1)/2)
		if err := to.expect(from.address(), cut, func(i int) byte { return byte(i) }); err != nil {
			return fmt.Errorf("UDP in trains of %d octets, up %v: %w", length, up, err)
		}
	}
	// Of what does not fit some may be lost before everybody knows.
	for _, length := range []int{most + 1, 2 * most, most + 1} {
		from.deliver(to, length)
	}
	return nil
}

// pattern is what a datagram of that length and number holds.
func pattern(length int, number byte) []byte {
	b := make([]byte, length)
	_, _ = source(uint64(length)<<8 | uint64(number)).Read(b)
	return b
}

// train sends count datagrams of a length and one of half of it by one call (UDP_SEGMENT).
func (k socket) train(to netip.AddrPort, length, count int) error {
	var all []byte
	for i := range count {
		all = append(all, pattern(length, byte(i))...)
	}
	all = append(all, pattern((length+1)/2, byte(count))...)
	control := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(control, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(control[8:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(control[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(control[16:], uint16(length))
	_, _, err := k.WriteMsgUDPAddrPort(all, control, to)
	if err != nil {
		return fmt.Errorf("%d datagrams of %d octets in one: %w", count, length, err)
	}
	return nil
}

// expect receives datagrams of those lengths, in that order.
func (k socket) expect(from netip.AddrPort, lengths []int, number func(int) byte) error {
	_ = k.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1<<16)
	for i, length := range lengths {
		n, sender, err := k.ReadFromUDPAddrPort(b)
		if err != nil {
			return fmt.Errorf("number %d, of %d octets, does not come: %w", i, length, err)
		}
		if sender == from && i == 0 && n > 0 && n != length && bytes.Equal(b[:n], bytes.Repeat([]byte{byte(n)}, n)) {
			return k.expect(from, lengths, number) // another copy of the one that tried the path
		}
		if sender != from || n != length || !bytes.Equal(b[:n], pattern(length, number(i))) {
			return fmt.Errorf("number %d: %d octets from %v, not what was sent: %d octets from %v", i, n, sender, length, from)
		}
	}
	return nil
}

// offloads are how interfaces and nodes may be set.
var offloads = []struct {
	name string
	// node and port are what interfaces of nodes do, and the ends of their wires towards them.
	node, port space.Offload
	// off switches off what nodes do.
	off bool
}{
	{name: "on", node: space.Offload{Segmentation: true, Checksum: true, Merge: true}, port: space.Offload{Segmentation: true, Checksum: true, Merge: true}},
	{name: "gro", node: space.Offload{Merge: true}, port: space.Offload{}},
	{name: "off", off: true},
}

// One home agent serves a native mobile node, one over UDP and IPv6, and one over UDP and IPv4 at once. All of what they carry
// at the same time arrives as it was, both ways, in order, over jumbo frames, then over 1500 and 1280 octets, to which the
// path drops with connections open; and at the correspondent, and on every wire whose checksums are finished, none is bad.
func TestTransportsCarry(t *testing.T) {
	for _, o := range offloads {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			n := newDatagramNetwork(t, inOrder)
			ha := datagramAgent{homes: []netip.Addr{home, home2, home3}}
			var m datagramNode
			if o.off {
				const off = "segmentation_offload = false\nreceive_offload = false\n"
				ha.udp, ha.link = off, "offload = false"
				m.tun, m.link, m.sections = "offload = false", "offload = false", "[udp]\n"+off
			}
			n.everyMTU(jumbo)
			n.datagramAgent(ha)
			var all []*carriage
			var lasting []*stream
			for i, c := range []carriage{{name: "mn", home: home, overhead: 40}, {name: "mn2", home: home2, overhead: 48}, {name: "mn3", home: home3, overhead: 28}} {
				prefix := []netip.Prefix{access1Prefix, access1Prefix, access1IPv4}[i]
				m := m
				m.home = c.home
				if i == 0 {
					m.transport, m.sections = "native", ""
					n.datagramHost(c.name, 0)
				} else {
					n.datagramHost(c.name, byte(i), prefix)
				}
				n.everyMTU(jumbo)
				for _, node := range []string{c.name, "cn", "ha"} {
					n.must(n.nodes[node].Offload("eth0", o.node))
					n.must(n.root.Offload(n.nodes[node].Name+".eth0", o.port))
				}
				k := n.datagramNode(c.name, m)
				k.reaches([]string{"native", "udp", "udp"}[i], prefix)
				c.t, c.mn, c.cn, c.merges = t, n.nodes[c.name], n.nodes["cn"], o.node.Merge
				all = append(all, &c)
				s := connect(t, c.mn, c.home, c.cn, correspondent)
				s.slow()
				lasting = append(lasting, s)
			}
			for _, router := range []string{"ar", "hr"} {
				for _, bridge := range routed[router] {
					n.must(n.nodes[router].Offload(bridge, o.node))
				}
			}
			// What comes to the correspondent has its checksums finished in every condition.
			n.must(n.root.Offload(n.nodes["cn"].Name+".eth0", space.Offload{}))
			n.must(n.nodes["cn"].Offload("eth0", space.Offload{Segmentation: o.node.Segmentation, Checksum: o.node.Checksum}))
			captures := []*dumped{n.dump("cn")}
			if o.name != "on" {
				captures = append(captures, n.dump("mn"), n.dump("mn2"), n.dump("mn3"))
			}
			octets, lengths := 2<<20, 300
			if raceDetector {
				octets, lengths = 512<<10, 60
			}
			for _, mtu := range []int{jumbo, 1500, 1280} {
				n.everyMTU(mtu)
				var running sync.WaitGroup
				for _, c := range all {
					running.Go(func() { c.carries(octets, mtu, max(1, mtu/lengths)) })
				}
				running.Wait()
				for _, s := range lasting {
					s.progress(fmt.Sprintf("with an MTU of %d", mtu))
				}
			}
			for _, s := range lasting {
				s.finish()
			}
			for i, c := range captures {
				c.finish(i > 0 || o.name != "on")
			}
		})
	}
}

// home3 is a third home address.
var home3 = netip.MustParseAddr("2001:db8:f::102")

// routed are the routers' interfaces.
var routed = map[string][]string{"ar": {"access1", "access2", "c", "core"}, "hr": {"core", "home"}}

// everyMTU sets the MTU of every interface there is.
func (n *network) everyMTU(mtu int) {
	n.t.Helper()
	set := func(node, iface string) {
		n.setMTU(mtu, node, iface)
		port, err := n.root.Handle.LinkByName(n.nodes[node].Name + "." + iface)
		n.must(err)
		n.must(n.root.Handle.LinkSetMTU(port, mtu))
	}
	for router, bridges := range routed {
		for _, bridge := range bridges {
			set(router, bridge)
		}
	}
	for name := range n.nodes {
		if routed[name] == nil {
			set(name, "eth0")
		}
	}
	for _, bridge := range []string{"c", "core", "access1", "home"} {
		l, err := n.root.Handle.LinkByName(bridge)
		n.must(err)
		n.must(n.root.Handle.LinkSetMTU(l, mtu))
	}
}

// Networks of which no link carries more than 1280 octets from the start: datagrams go in fragments.
func TestDatagramsOverLeastMTU(t *testing.T) {
	t.Parallel()
	n := newDatagramNetwork(t, inOrder)
	n.everyMTU(1280)
	n.datagramAgent(datagramAgent{homes: []netip.Addr{home, home2}})
	n.datagramHost("mn", 1, access1Prefix)
	n.datagramHost("mn2", 2, access1IPv4)
	n.everyMTU(1280)
	mn, mn2 := n.datagramNode("mn", datagramNode{}), n.datagramNode("mn2", datagramNode{home: home2})
	mn.reaches("udp", access1Prefix)
	mn2.reaches("udp", access1IPv4)
	for _, c := range []carriage{{name: "mn", home: home, overhead: 48}, {name: "mn2", home: home2, overhead: 28}} {
		c.t, c.mn, c.cn = t, n.nodes[c.name], n.nodes["cn"]
		c.carries(512<<10, 1280, 2)
	}
}
