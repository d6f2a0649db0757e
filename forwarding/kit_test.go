package forwarding

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"kedge/netstack/packet"
)

// The cast: a home agent ha with one Ethernet, mobile nodes h1 and h2 at care-of addresses c1 and c2, a correspondent cn.
// The mobile node's own tests use the same addresses from its side.
var (
	ha     = addr("2001:db8:a::1")
	h1     = addr("2001:db8:a::1001")
	h2     = addr("2001:db8:a::1002")
	h3     = addr("2001:db8:a::1003")
	c1     = addr("2001:db8:c1::1")
	c2     = addr("2001:db8:c2::1")
	cn     = addr("2001:db8:cc::1")
	router = addr("fe80::1")
	start  = time.Unix(1_800_000_000, 0)
)

const (
	tunPort PortID = iota
	ethPort
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 128) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// anchor is a one-armed home agent.
func anchor(t testing.TB) (*Engine, *Worker) {
	e := New(Options{Anchor: true})
	must(t, e.SetPort(Port{ID: ethPort, MTU: 1500, Features: packet.PartialChecksum | packet.SegmentTCP | packet.SegmentUDP}))
	must(t, e.SetLocal(ha, ethPort))
	must(t, e.SetRoute(netip.MustParsePrefix("::/0"), ethPort, router))
	must(t, e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: c1}))
	must(t, e.BindAnchored(host(h2), Tunnel{Local: ha, Remote: c2}))
	return e, e.NewWorker()
}

// mobileNode holds h1 and is at c1.
func mobileNode(t testing.TB) (*Engine, *Worker) {
	e := New(Options{})
	must(t, e.SetPort(Port{ID: tunPort, Host: true, MTU: 1500}))
	must(t, e.SetPort(Port{ID: ethPort, MTU: 1500, Features: packet.PartialChecksum}))
	must(t, e.SetLocal(c1, ethPort))
	must(t, e.BindMobile(host(h1), Tunnel{Local: c1, Remote: ha, Via: true, Port: ethPort, NextHop: router}))
	return e, e.NewWorker()
}

func ipv6(class uint8, source, destination netip.Addr, next, limit uint8, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	binary.BigEndian.PutUint32(b, 6<<28|uint32(class)<<20)
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = next, limit
	copy(b[8:], source.AsSlice())
	copy(b[24:], destination.AsSlice())
	return append(b, payload...)
}

// slowSum is RFC 1071 as it stands there, over the pseudo-header and b.
func slowSum(b []byte, source, destination netip.Addr, next uint8) uint16 {
	pseudo := append(append([]byte{}, source.AsSlice()...), destination.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(b)))
	pseudo = append(append(pseudo, 0, 0, 0, next), b...)
	if len(pseudo)%2 == 1 {
		pseudo = append(pseudo, 0)
	}
	var sum uint32
	for i := 0; i < len(pseudo); i += 2 {
		sum += uint32(pseudo[i])<<8 | uint32(pseudo[i+1])
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

func udp(source, destination netip.Addr, payload int) []byte {
	return udpClass(0, source, destination, payload)
}

func udpClass(class uint8, source, destination netip.Addr, payload int) []byte {
	b := make([]byte, 8+payload)
	binary.BigEndian.PutUint16(b, 4000)
	binary.BigEndian.PutUint16(b[2:], 5000)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	for i := range payload {
		b[8+i] = byte(i)
	}
	binary.BigEndian.PutUint16(b[6:], ^slowSum(b, source, destination, 17))
	return ipv6(class, source, destination, 17, 64, b)
}

// tcp makes a TCP packet with options, whose length is a multiple of 4.
func tcp(source, destination netip.Addr, flags uint8, options []byte, payload int) []byte {
	b := make([]byte, 20+len(options)+payload)
	binary.BigEndian.PutUint16(b, 4000)
	binary.BigEndian.PutUint16(b[2:], 80)
	b[12], b[13] = byte(20+len(options))/4<<4, flags
	copy(b[20:], options)
	for i := range payload {
		b[20+len(options)+i] = byte(i)
	}
	binary.BigEndian.PutUint16(b[16:], ^slowSum(b, source, destination, 6))
	return ipv6(0, source, destination, 6, 64, b)
}

func icmp6(source, destination netip.Addr, limit, kind, code uint8, parameter uint32, body []byte) []byte {
	b := append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, body...)
	binary.BigEndian.PutUint32(b[4:], parameter)
	binary.BigEndian.PutUint16(b[2:], ^slowSum(b, source, destination, 58))
	return ipv6(0, source, destination, 58, limit, b)
}

func tunnelled(class uint8, source, destination netip.Addr, inner []byte) []byte {
	return ipv6(class, source, destination, 41, 60, inner)
}

// homeOption is a Destination Options header with a Home Address option, and routing2 a type 2 routing header.
func homeOption(next uint8, home netip.Addr) []byte {
	return append([]byte{next, 2, 1, 2, 0, 0, 0xc9, 16}, home.AsSlice()...)
}

func routing2(next uint8, home netip.Addr) []byte {
	return append([]byte{next, 2, 2, 1, 0, 0, 0, 0}, home.AsSlice()...)
}

func pkt(b []byte) *packet.Packet {
	p := packet.New(packet.MaxLength)
	p.Set(b)
	return p
}

// process hands one packet to a worker.
func process(w *Worker, in PortID, b []byte) *Result {
	return w.Process(start, in, []*packet.Packet{pkt(b)})
}

// sent is what went out of a port, copied.
func sent(r *Result, port PortID) (out [][]byte) {
	for _, o := range r.Outputs {
		for _, p := range o.Packets {
			if o.Port == port {
				out = append(out, append([]byte{}, p.Bytes()...))
			}
		}
	}
	return out
}

func one(t testing.TB, r *Result, port PortID) []byte {
	t.Helper()
	out := sent(r, port)
	if len(out) != 1 || len(r.Outputs) != 1 {
		t.Fatalf("%d packets out of port %d and %d ports in use, want one of each", len(out), port, len(r.Outputs))
	}
	return out[0]
}

// wantDrop checks that nothing came of a packet but one count.
func wantDrop(t testing.TB, e *Engine, r *Result, c Counter) {
	t.Helper()
	if len(r.Outputs) > 0 || len(r.ToHost) > 0 || len(r.Signals) > 0 || len(r.Neighbor) > 0 {
		t.Errorf("came out as %+v, want a drop", *r)
	}
	wantCount(t, e, c, 1)
}

func wantCount(t testing.TB, e *Engine, c Counter, n uint64) {
	t.Helper()
	counters := e.Counters()
	if counters[c] != n {
		t.Errorf("%v is %d, want %d; drops: %v", c, counters[c], n, drops(counters))
	}
}

func drops(c Counters) map[string]uint64 {
	m := map[string]uint64{}
	for i := DropNotIPv6; i < counterCount; i++ {
		if c[i] > 0 {
			m[i.String()] = c[i]
		}
	}
	return m
}
