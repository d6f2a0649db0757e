package forwarding

import (
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

// More of the cast: a MAAR with a core link (ethPort) and two access links. Mobile node 1 is on the first with a prefix of the
// MAAR's and one that is anchored at the previous MAAR; mobile node 2 is there too, mobile node 3 on the second. A prefix of
// the MAAR's is with a mobile node that is now served by another.
var (
	maar     = addr("2001:db8:b::1")
	previous = addr("2001:db8:b1::1")
	serving  = addr("2001:db8:b2::1")

	mac1 = packet.LinkAddress{2, 0, 0, 0, 0, 1}
	mac2 = packet.LinkAddress{2, 0, 0, 0, 0, 2}
	mac3 = packet.LinkAddress{2, 0, 0, 0, 0, 3}

	local1   = netip.MustParsePrefix("2001:db8:b:1::/64")
	local2   = netip.MustParsePrefix("2001:db8:b:2::/64")
	local3   = netip.MustParsePrefix("2001:db8:b:3::/64")
	earlier1 = netip.MustParsePrefix("2001:db8:b1:1::/64")
	gone     = netip.MustParsePrefix("2001:db8:b:99::/64")

	dlif1 = addr("fe80::d1")
)

const (
	access1 PortID = 2
	access2 PortID = 3
)

// within is an address of a prefix.
func within(p netip.Prefix) netip.Addr {
	a := p.Addr().As16()
	a[15] = 5
	return netip.AddrFrom16(a)
}

func here(port PortID, mac packet.LinkAddress) Attached {
	return Attached{Port: port, MobileNode: mac, Tunnel: Tunnel{Native: true}}
}

func through(port PortID, mac packet.LinkAddress, remote netip.Addr) Attached {
	return Attached{Port: port, MobileNode: mac, Tunnel: Tunnel{Local: maar, Remote: remote}}
}

func accessRouter(t testing.TB) (*Engine, *Worker) {
	e := New(Options{Anchor: true})
	must(t, e.SetPort(Port{ID: ethPort, MTU: 1500, Features: packet.PartialChecksum | packet.SegmentTCP | packet.SegmentUDP}))
	must(t, e.SetPort(Port{ID: access1, Access: true, MTU: 1500}))
	must(t, e.SetPort(Port{ID: access2, Access: true, MTU: 1500}))
	must(t, e.SetLocal(maar, ethPort))
	must(t, e.SetLocal(dlif1, access1))
	must(t, e.SetRoute(netip.MustParsePrefix("::/0"), ethPort, router))
	must(t, e.BindAttached(local1, here(access1, mac1)))
	must(t, e.BindAttached(local2, here(access1, mac2)))
	must(t, e.BindAttached(local3, here(access2, mac3)))
	must(t, e.BindAttached(earlier1, through(access1, mac1, previous)))
	must(t, e.BindAnchored(gone, Tunnel{Local: maar, Remote: serving}))
	return e, e.NewWorker()
}

func frame(b []byte, from packet.LinkAddress) *packet.Packet {
	p := pkt(b)
	p.Neighbor = from
	return p
}

// said hands a worker a packet that a mobile node sent.
func said(w *Worker, port PortID, from packet.LinkAddress, b []byte) *Result {
	return w.Process(start, port, []*packet.Packet{frame(b, from)})
}

// hopped is a packet one hop on.
func hopped(b []byte) []byte {
	c := append([]byte{}, b...)
	c[7]--
	return c
}

func useOf(t testing.TB, e *Engine, prefix netip.Prefix) Use {
	t.Helper()
	u, ok := e.AttachedUse(prefix)
	if !ok {
		t.Fatalf("%v is not bound", prefix)
	}
	return u
}
