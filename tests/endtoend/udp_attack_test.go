package endtoend

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/forwarding/ip6"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// datagramAttack is a mobile node over UDP with a connection, and an attacker on its link, who has IPv6 and IPv4.
type datagramAttack struct {
	*network
	ha, mn *kedge
	stream *stream
	victim netip.AddrPort
	// link is the attacker's too, and wire sees what the victim sends.
	link, wire *wiretap
	resident   map[*kedge]int
}

func newDatagramAttack(t *testing.T, prefix netip.Prefix) *datagramAttack {
	t.Helper()
	a := &datagramAttack{network: newDatagramNetwork(t), resident: map[*kedge]int{}}
	a.host("x", "access1", "", "")
	a.holds("x", hostOf(access1Prefix, 9))
	a.holds("x", hostOf(access1IPv4, 9))
	a.ha = a.datagramAgent(datagramAgent{homes: []netip.Addr{home, home2}})
	a.datagramHost("mn", 1, prefix)
	a.link, a.wire = tap(t, a.nodes["x"], "eth0"), tap(t, a.root, a.nodes["mn"].Name+".eth0")
	a.mn = a.datagramNode("mn", datagramNode{})
	a.mn.reaches("udp", prefix)
	b, _ := a.ha.binding(home)
	a.victim = b.Endpoint
	a.stream = connect(t, a.nodes["mn"], home, a.nodes["cn"], correspondent)
	a.resident[a.ha], a.resident[a.mn] = a.ha.resident(), a.mn.resident()
	return a
}

// survived fails the test unless the binding is the victim's still, and its traffic goes on.
func (a *datagramAttack) survived() {
	a.t.Helper()
	a.stream.progress("after the attack")
	if b, ok := a.ha.binding(home); !ok || b.Endpoint != a.victim {
		a.t.Errorf("the binding is now %+v, was for %v", b, a.victim)
	}
	if b, ok := a.ha.binding(home2); ok {
		a.t.Errorf("somebody made the binding %+v", b)
	}
	for k, was := range a.resident {
		k.alive()
		if is := k.resident(); is > was+maxGrowth {
			a.t.Errorf("%s grew from %d to %d KiB", k.name, was>>10, is>>10)
		}
	}
	a.stream.finish()
}

// caller is a new socket of the attacker's for one endpoint. What comes late for an earlier one is not mistaken for its own.
func (a *datagramAttack) caller(e netip.AddrPort) (c *net.UDPConn) {
	a.t.Helper()
	a.must(a.nodes["x"].Do(func() (err error) {
		c, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(e))
		return err
	}))
	a.t.Cleanup(func() { c.Close() })
	return c
}

// answers are how many datagrams, and octets in them, come until none has come for a while.
func answers(c *net.UDPConn, wait time.Duration) (count, octets int) {
	for b := make([]byte, 1<<16); ; {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(b)
		if err != nil {
			return count, octets
		}
		count, octets = count+1, octets+n
	}
}

// What is no IPv6 packet, has wrong lengths, or comes from somebody who is not bound, in datagrams of both protocols: counted
// under its reason, never answered by more octets than it had, and harmless.
func TestBadDatagrams(t *testing.T) {
	t.Parallel()
	a := newDatagramAttack(t, access1IPv4)
	stranger := netip.MustParseAddr("2001:db8:f::200")
	c := udpSocket(t, a.nodes["cn"], correspondent)
	from := func(source netip.Addr, length int) []byte {
		return ipv6(unix.IPPROTO_UDP, source, correspondent, udp(source, correspondent, 4000, c.address().Port(), make([]byte, length)))
	}
	longer := slices.Clone(from(home, 100))
	binary.BigEndian.PutUint16(longer[4:], 200)
	plainUpdate, err := mh.Append(nil, bindingUpdate(attackerAddress, time.Minute))
	a.must(err)
	mh.SetChecksum(plainUpdate, home, homeAgent)
	forged, err := auth.Sign(bindingUpdate(attackerAddress, time.Minute), association(t, wrongKey, 256), attackerAddress, home, mh.NTPTimeOf(time.Now()))
	a.must(err)
	mh.SetChecksum(forged, home, homeAgent)
	for _, d := range []struct {
		counter string
		payload []byte
	}{
		{"link-udp-not-ipv6", nil},
		{"link-udp-not-ipv6", []byte{0xff}},
		{"link-udp-ipv4", append([]byte{0x45}, make([]byte, 60)...)},
		{"link-udp-not-ipv6", []byte("PING, as something else on this port might say")},
		{"link-udp-invalid", from(home, 100)[:39]},
		{"link-udp-invalid", from(home, 100)[:100]},
		{"link-udp-invalid", longer},
		{"link-udp-invalid", append(from(home, 100), 0)},
		{"forwarding-drop-no-binding", from(stranger, 0)},
		{"forwarding-drop-no-binding", from(stranger, 1300)},
		{"forwarding-drop-outer-source", from(home, 0)},
		{"forwarding-drop-outer-source", from(home, 1300)},
		{"forwarding-drop-no-binding", from(attackerAddress, 100)},
		{"forwarding-drop-bogon", from(netip.MustParseAddr("::1"), 100)},
		{"forwarding-drop-own-source", from(homeAgent, 100)},
		{"home-agent-discarded-unauthenticated", ipv6(mh.Protocol, home, homeAgent, plainUpdate)},
		{"home-agent-refused-mipv6-auth-fail", ipv6(mh.Protocol, home, homeAgent, forged)},
	} {
		for _, e := range endpoints {
			before := a.ha.status().Counters[d.counter]
			const copies = 20
			c := a.caller(e)
			for range copies {
				if _, err := c.Write(d.payload); err != nil {
					t.Fatal(err)
				}
			}
			// Equal packets may come joined, as one.
			a.ha.counted(d.counter, before, 1)
			if n, octets := answers(c, 50*time.Millisecond); octets > copies*len(d.payload) || n > copies {
				t.Errorf("%s: %d times %d octets to %v were answered by %d of %d", d.counter, copies, len(d.payload), e, n, octets)
			}
		}
	}
	// The attacker's datagrams as one, in many sizes (UDP_GRO).
	before := a.ha.status().Counters
	k := socket{t: t, UDPConn: a.unconnected("x")}
	for _, length := range []int{40, 41, 100, 500, 1200} {
		a.must(k.train(endpointIPv6, length, 20))
	}
	await(t, "all of them are counted", func() bool {
		sum, now := uint64(0), a.ha.status().Counters
		for _, name := range []string{"not-ipv6", "ipv4", "invalid"} {
			sum += now["link-udp-"+name] - before["link-udp-"+name]
		}
		return sum == 5*21
	})
	silent(t, c)
	a.survived()
}

// unconnected is a socket on a node.
func (n *network) unconnected(node string) (c *net.UDPConn) {
	n.t.Helper()
	n.must(n.nodes[node].Do(func() (err error) {
		c, err = net.ListenUDP("udp", nil)
		return err
	}))
	n.t.Cleanup(func() { c.Close() })
	return c
}

// silent fails the test if anything arrives.
func silent(t *testing.T, k socket) {
	t.Helper()
	_ = k.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, from, err := k.ReadFromUDPAddrPort(make([]byte, 1<<16)); err == nil {
		t.Errorf("%d octets came through from %v", n, from)
	}
}

// An attacker who can forge the outer source sends as the victim, to the right port: what is inside must be the victim's own
// address all the same. And what the victim sent, heard on its link, gains nothing: neither its Binding Update sent again
// from elsewhere, nor with octets changed.
func TestForgedDatagrams(t *testing.T) {
	t.Parallel()
	a := newDatagramAttack(t, access1Prefix)
	c := udpSocket(t, a.nodes["cn"], correspondent)
	router := a.hardwareAddress("ar", "access1")
	as := func(outer netip.AddrPort, inner []byte) {
		a.link.send(router, ipv6(unix.IPPROTO_UDP, outer.Addr(), agentHost, udp(outer.Addr(), agentHost, outer.Port(), 4191, inner)))
	}
	packet := func(source netip.Addr) []byte {
		return ipv6(unix.IPPROTO_UDP, source, correspondent, udp(source, correspondent, 4000, c.address().Port(), []byte("forged")))
	}
	for _, d := range []struct {
		counter string
		outer   netip.AddrPort
		inner   []byte
	}{
		{"forwarding-drop-no-binding", a.victim, packet(home2)},
		{"forwarding-drop-no-binding", a.victim, packet(netip.MustParseAddr("2001:db8:f::200"))},
		{"forwarding-drop-outer-source", netip.AddrPortFrom(a.victim.Addr(), a.victim.Port()^1), packet(home)},
		{"forwarding-drop-outer-source", netip.AddrPortFrom(hostOf(access1Prefix, 9).Addr(), a.victim.Port()), packet(home)},
		{"link-udp-invalid", a.victim, packet(home)[:50]},
	} {
		before := a.ha.counter(d.counter)
		as(d.outer, d.inner)
		a.ha.counted(d.counter, before, 1)
	}
	silent(t, c)

	real := a.heardUpdate()
	x := a.caller(endpointIPv6)
	elsewhere := x.LocalAddr().(*net.UDPAddr).AddrPort()
	refused := a.ha.status().Counters["home-agent-refused-mipv6-id-mismatch"]
	sent := 0
	for range 10 {
		as(elsewhere, real)
		sent += len(real)
	}
	a.ha.counted("home-agent-refused-mipv6-id-mismatch", refused, 1)
	if n, octets := answers(x, 200*time.Millisecond); n == 0 || octets > sent {
		t.Errorf("%d octets of Binding Updates sent again were answered by %d of %d", sent, n, octets)
	}
	updates := a.ha.counter("home-agent-registered")
	random := rand.New(rand.NewPCG(10, 5))
	for range 2000 {
		p := slices.Clone(real)
		for range 1 + random.IntN(4) {
			p[random.IntN(len(p))] = byte(random.Uint32())
		}
		if header := p[ip6.HeaderLength:]; random.IntN(2) == 0 {
			mh.SetChecksum(header, sourceOf(p), destinationOf(p))
		}
		as(elsewhere, p)
		as(a.victim, p[:random.IntN(len(p))])
	}
	a.ha.counted("link-udp-invalid", 0, 1000)
	if now := a.ha.counter("home-agent-registered"); now != updates {
		t.Errorf("the home agent took %d updates", now-updates)
	}
	a.survived()
}

// heardUpdate is the victim's latest Binding Update as it was in its datagram.
func (a *datagramAttack) heardUpdate() []byte {
	a.t.Helper()
	const at = ip6.HeaderLength + 8
	updates := a.wire.packets(func(p []byte) bool {
		return p[6] == unix.IPPROTO_UDP && len(p) > at+ip6.HeaderLength && binary.BigEndian.Uint16(p[42:]) == 4191 && p[at+6] == mh.Protocol
	})
	if len(updates) == 0 {
		a.t.Fatal("no Binding Update was heard")
	}
	return slices.Clone(updates[len(updates)-1][at:])
}

// More comes than a home agent that does not get to run can take: what the kernel drops is counted, and the node goes on.
func TestReceiveBufferOverflow(t *testing.T) {
	t.Parallel()
	n := newDatagramNetwork(t)
	n.host("x", "access1", "", "")
	n.holds("x", hostOf(access1Prefix, 9))
	ha := n.datagramAgent(datagramAgent{udp: "receive_buffer = 65536"})
	n.datagramHost("mn", 1, access1Prefix)
	n.datagramNode("mn", datagramNode{}).reaches("udp", access1Prefix)
	s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	x := n.unconnected("x")
	n.must(ha.cmd.Process.Signal(syscall.SIGSTOP))
	for range 2000 {
		_, _ = x.WriteToUDPAddrPort(make([]byte, 1000), endpointIPv6)
	}
	n.must(ha.cmd.Process.Signal(syscall.SIGCONT))
	ha.counted("link-udp-overflow", 0, 500)
	s.finish()
	if left := ha.counter("link-udp-not-ipv6"); left == 0 {
		t.Error("the node got nothing of it")
	}
}
