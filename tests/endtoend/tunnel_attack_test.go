package endtoend

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/forwarding/ip6"
	"kedge/signaling/mh"
)

// canary is a UDP socket on the correspondent that nobody has business with.
type canary struct {
	conn *net.UDPConn
	port uint16
}

func (a *attack) canary() canary {
	a.t.Helper()
	var c canary
	a.must(a.nodes["cn"].Do(func() (err error) {
		c.conn, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(correspondent, 0)))
		return err
	}))
	a.t.Cleanup(func() { c.conn.Close() })
	c.port = uint16(c.conn.LocalAddr().(*net.UDPAddr).Port)
	return c
}

// silent fails the test if anything has arrived by the time that what was sent before has been dealt with.
func (c canary) silent(t *testing.T) {
	t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	var b [2048]byte
	if n, from, err := c.conn.ReadFrom(b[:]); err == nil {
		t.Errorf("%d octets came through from %v", n, from)
	}
}

// Tunnel packets that are not the mobile node's, and such as would be but for what is in them.
func TestForgedTunnelPackets(t *testing.T) {
	t.Parallel()
	a := newAttack(t)
	c := a.canary()
	to := correspondent
	from := func(source netip.Addr) []byte {
		return ipv6(unix.IPPROTO_UDP, source, to, udp(source, to, 4000, c.port, []byte("forged")))
	}
	tunnel := func(outer netip.Addr, inner []byte) []byte { return ipv6(ip6.IPv6, outer, homeAgent, inner) }
	stranger := netip.MustParseAddr("2001:db8:f::200")
	nested := from(home)
	for range 16 {
		nested = tunnel(home, nested)
	}
	loop := ipv6(ip6.IPv6, homeAgent, homeAgent, from(home))
	for _, f := range []struct {
		counter string
		packet  []byte
	}{
		{"outer-source", tunnel(attackerAddress, from(home))},
		{"outer-source", tunnel(homeRouter, from(home))},
		{"no-binding", tunnel(a.careOf, from(stranger))},
		// A tunnel in the tunnel does not come from the care-of address.
		{"outer-source", tunnel(a.careOf, nested)},
		{"malformed", tunnel(a.careOf, from(home)[:45])},
		{"malformed", tunnel(a.careOf, nil)},
		{"outer-source", loop},
		{"bogon", tunnel(a.careOf, from(netip.MustParseAddr("::1")))},
		{"link-local", tunnel(a.careOf, ipv6(unix.IPPROTO_UDP, home, linkLocal(1), udp(home, linkLocal(1), 1, 2, nil)))},
	} {
		name := "forwarding-drop-" + f.counter
		before := a.ha.counter(name)
		a.toAgent(f.packet)
		a.ha.counted(name, before, 1)
	}
	// One that would be good comes through, so that the canary is known to live.
	a.toAgent(tunnel(a.careOf, from(home)))
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	var b [64]byte
	if n, sender, err := c.conn.ReadFromUDPAddrPort(b[:]); err != nil || string(b[:n]) != "forged" || sender.Addr() != home {
		t.Errorf("a packet with the right addresses: %v %q from %v", err, b[:n], sender)
	}
	c.silent(t)
	a.survived()
}

// Fragments of tunnel packets that overlap, never end, and come by the thousand (RFC 5722).
func TestForgedFragments(t *testing.T) {
	t.Parallel()
	a := newAttack(t)
	c := a.canary()
	payload := make([]byte, 1600)
	inner := ipv6(unix.IPPROTO_UDP, home, correspondent, udp(home, correspondent, 4000, c.port, payload))
	parts := fragments(ipv6(ip6.IPv6, a.careOf, homeAgent, inner), 1024)
	overlapping := slices.Clone(parts[1])
	binary.BigEndian.PutUint16(overlapping[42:], 512)
	before := a.ha.counter("forwarding-delivered-host")
	for _, p := range [][]byte{parts[0], overlapping, parts[0], parts[1]} {
		a.toAgent(p)
	}
	for i := range 5000 {
		p := slices.Clone(parts[0])
		binary.BigEndian.PutUint32(p[44:], uint32(i)<<8)
		a.toAgent(p)
	}
	a.ha.counted("forwarding-delivered-host", before, 1000)
	a.survived()
}

// Packets with a Home Address option that no binding bears out get a Binding Error (RFC 6275 section 9.3.3), at a bounded
// rate and never more than was sent.
func TestHomeAddressWithoutBinding(t *testing.T) {
	t.Parallel()
	a := newAttack(t)
	stranger := netip.MustParseAddr("2001:db8:f::200")
	errors := func(status mh.BindingErrorStatus) (n, octets int) {
		for _, p := range a.x.packets(func(p []byte) bool {
			return p[6] == mh.Protocol && sourceOf(p) == homeAgent && p[42] == byte(mh.TypeBindingError) && p[46] == byte(status)
		}) {
			n, octets = n+1, octets+len(p)
		}
		return n, octets
	}
	sent := 0
	const count = 500
	dropped := a.ha.counter("home-agent-discarded-unverified-home-address")
	for i := range count {
		for _, about := range []netip.Addr{stranger, home} {
			p := ipv6(mh.ProtocolDestinationOptions, attackerAddress, homeAgent,
				mh.AppendHomeAddressOption(nil, unix.IPPROTO_UDP, about), udp(about, homeAgent, uint16(i), 7, nil))
			a.toAgent(p)
			sent += len(p)
		}
	}
	a.ha.counted("home-agent-discarded-unverified-home-address", dropped, count)
	await(t, "a binding error arrives", func() bool { n, _ := errors(mh.UnknownBinding); return n > 0 })
	n, octets := errors(mh.UnknownBinding)
	if n > count/2 || octets > sent {
		t.Errorf("%d Binding Errors of %d octets for %d packets of %d", n, octets, 2*count, sent)
	}
	if a.ha.counter("home-agent-throttled") == 0 {
		t.Error("nothing was held back")
	}
	// The answers' budget is back after a second.
	unknown := []byte{59, 0, 99, 0, 0, 0, 0, 0}
	await(t, "an unknown message type is answered by Binding Error, status 2", func() bool {
		a.toAgent(mobility(attackerAddress, stranger, unknown))
		n, _ := errors(mh.UnrecognizedType)
		return n > 0
	})
	a.survived()
}

// Forged ICMPv6 errors about the tunnel, to both its ends.
func TestForgedErrors(t *testing.T) {
	t.Parallel()
	a := newAttack(t)
	mobile := a.hardwareAddress("mn", "eth0")
	// What each end sends, with ports and numbers that an attacker can guess but for the TCP sequence numbers.
	inner := ipv6(unix.IPPROTO_TCP, home, correspondent, make([]byte, 20))
	answer := ipv6(unix.IPPROTO_TCP, correspondent, home, make([]byte, 20))
	update := a.captured()
	before := a.mn.status().Counters
	beforeAgent := a.ha.status().Counters
	for round := range 200 {
		for _, e := range []struct{ kind, code, value byte }{
			{1, 0, 0}, {1, 3, 0}, {1, 5, 0}, {2, 0, 0}, {2, 0, 100}, {3, 0, 0}, {4, 1, 6}, {4, 2, 40},
		} {
			value := []byte{0, 0, 0, e.value}
			for _, about := range [][]byte{ipv6(ip6.IPv6, a.careOf, homeAgent, inner), update, ipv6(ip6.IPv6, a.careOf, homeAgent)} {
				source := []netip.Addr{attackerAddress, homeAgent}[round%2]
				a.x.send(mobile, ipv6(unix.IPPROTO_ICMPV6, source, a.careOf, icmp(source, a.careOf, e.kind, e.code, value, about)))
			}
			a.toAgent(ipv6(unix.IPPROTO_ICMPV6, attackerAddress, homeAgent, icmp(attackerAddress, homeAgent, e.kind, e.code, value, ipv6(ip6.IPv6, homeAgent, a.careOf, answer))))
		}
	}
	for _, k := range []*kedge{a.mn, a.ha} {
		was := map[*kedge]map[string]uint64{a.mn: before, a.ha: beforeAgent}[k]
		k.counted("forwarding-received", was["forwarding-received"], 1000)
	}
	// The mobile node may ask the home agent whether it is true, but not for each forgery (RFC 6275 section 11.8).
	if n := a.mn.counter("mobile-node-updates-sent") - before["mobile-node-updates-sent"]; n > 20 {
		t.Errorf("%d Binding Updates because of forged errors", n)
	}
	if s := a.mn.state("registered", access1Prefix); s.MobileNode.CareOf != a.careOf {
		t.Errorf("care-of address is now %v", s.MobileNode.CareOf)
	}
	a.withstood()
}
