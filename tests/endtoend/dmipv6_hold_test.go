package endtoend

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// maxHeld is how many packets of one new flow wait for its address.
const maxHeld = 16

// numbered sends count datagrams at once, with their numbers.
func (k socket) numbered(to netip.AddrPort, count int) {
	k.t.Helper()
	for i := range count {
		if _, err := k.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, uint32(i)), to); err != nil {
			k.t.Fatal(err)
		}
	}
}

// inOrder receives until the last of count numbers has come, and fails the test unless they come in order from addresses of
// prefix, the first maxHeld among them.
func (k socket) inOrder(count int, prefix netip.Prefix) {
	k.t.Helper()
	_ = k.SetReadDeadline(time.Now().Add(patience))
	got := 0
	for last := -1; last < count-1; got++ {
		b := make([]byte, 100)
		_, from, err := k.ReadFromUDPAddrPort(b)
		if err != nil {
			k.t.Fatalf("after number %d: %v", last, err)
		}
		number := int(binary.BigEndian.Uint32(b))
		if number <= last || number != last+1 && last+1 < maxHeld {
			k.t.Errorf("number %d comes after %d", number, last)
		}
		if last = number; !prefix.Contains(from.Addr()) {
			k.t.Errorf("number %d comes from %v", number, from)
		}
	}
}

// What waits for an address leaves in order before anything later, if there is one and if there is none.
func TestHeldPacketsLeaveInOrder(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	a, b := udpSocket(t, w.nodes["mn"], anyAddress), udpSocket(t, w.nodes["cn"], correspondent)
	a.numbered(b.address(), maxHeld)
	a.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, maxHeld), b.address())
	b.inOrder(maxHeld, pool1)

	// Nobody answers: far more than may wait, and after the time for that some more.
	w.blackhole("ar", homeProxy2)
	c, d := udpSocket(t, w.nodes["mn"], anyAddress), udpSocket(t, w.nodes["cn2"], correspondent2)
	c.numbered(d.address(), 10*maxHeld)
	w.mn.event("dhp-skipped", 0)
	await(t, "the flow is decided", func() bool { return w.mn.flow(c.address().Port(), d.address().Port()).State == "active" })
	_, err := c.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, 10*maxHeld), d.address())
	w.must(err)
	d.inOrder(10*maxHeld+1, single(home))
}

// A datagram without a checksum stays without one (RFC 6935).
func TestZeroChecksumTranslated(t *testing.T) {
	t.Parallel()
	const noCheckTX, noCheckRX = 101, 102 // UDP_NO_CHECK6_TX and _RX
	w := newFlowWorld(newNetwork(t), flowNode{})
	a, b := udpSocket(t, w.nodes["mn"], anyAddress), udpSocket(t, w.nodes["cn"], correspondent)
	for _, k := range []socket{a, b} {
		k.set(unix.IPPROTO_UDP, noCheckTX, 1)
		k.set(unix.IPPROTO_UDP, noCheckRX, 1)
	}
	wire := tap(t, w.nodes["cn"], "eth0")
	for _, length := range []int{1, 1200, 4000} {
		a.asks(b, length, pool1)
	}
	for _, p := range wire.packets(func(p []byte) bool {
		return p[6] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(p[42:]) == b.address().Port()
	}) {
		if binary.BigEndian.Uint16(p[46:]) != 0 {
			t.Errorf("a datagram arrived with a checksum: %x", p[40:48])
		}
	}
}

// Protocols that are not translated keep the home address, in the middle of such as are.
func TestOtherProtocolKeepsHomeAddress(t *testing.T) {
	t.Parallel()
	w := newFlowWorld(newNetwork(t), flowNode{})
	s := connect(t, w.nodes["mn"], anyAddress, w.nodes["cn"], correspondent)
	s.seenAs(pool1, home)
	open := func(node string, a netip.Addr) (c *net.IPConn) {
		w.must(w.nodes[node].Do(func() (err error) {
			c, err = net.ListenIP("ip6:253" /* RFC 3692 */, &net.IPAddr{IP: a.AsSlice()})
			return err
		}))
		t.Cleanup(func() { c.Close() })
		return c
	}
	a, b := open("mn", home), open("cn", correspondent)
	await(t, "an answer arrives", func() bool {
		_, _ = a.WriteTo([]byte("question"), b.LocalAddr())
		_ = b.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, from, err := b.ReadFrom(make([]byte, 100))
		if err != nil || n != 8 {
			return false
		}
		if from.String() != home.String() {
			t.Errorf("the correspondent sees %v", from)
		}
		_, _ = b.WriteTo([]byte("answer"), from)
		_ = a.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, _, err = a.ReadFrom(make([]byte, 100))
		return err == nil && n == 6
	})
	s.finish()
}
