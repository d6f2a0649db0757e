package forwarding

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"kedge/forwarding/flow"
	"kedge/forwarding/policy"
	"kedge/netstack/packet"
)

// The mobile node of the other tests, with addresses d1 and d2 of the home-proxies dhp1 and dhp2.
var (
	dhp1 = addr("2001:db8:d1::1")
	dhp2 = addr("2001:db8:d2::1")
	d1   = addr("2001:db8:d1::77")
	d2   = addr("2001:db8:d2::77")
	all  = netip.MustParsePrefix("::/0")
)

const testProfile = 3

// flowNode holds d1 for translation and d2 for its host. Everything has profile 3, for which there is no choice.
func flowNode(t testing.TB, c flow.Config) (*Engine, *Worker) {
	e, _ := mobileNode(t)
	must(t, e.EnableFlows(FlowConfig{Home: h1, Config: c}))
	must(t, e.BindMobile(host(d1), Tunnel{Local: c1, Remote: dhp1, Via: true, Port: ethPort, NextHop: router}))
	must(t, e.BindMobile(host(d2), Tunnel{Local: c1, Remote: dhp2, Via: true, Port: ethPort, NextHop: router}))
	must(t, e.SetAddressUse(d1, flow.Translation))
	must(t, e.SetAddressUse(d2, flow.Host))
	classifier, err := policy.Compile(nil, policy.Rule{Name: "rest", Profile: testProfile})
	must(t, err)
	must(t, e.SetClassifier(classifier))
	return e, e.NewWorker()
}

// segment is a TCP segment to be made.
type segment struct {
	source, destination         netip.Addr
	sourcePort, destinationPort uint16
	sequence, acknowledgment    uint32
	flags                       uint8
	payload                     int
}

func (s segment) bytes() []byte {
	b := make([]byte, 20+s.payload)
	binary.BigEndian.PutUint16(b, s.sourcePort)
	binary.BigEndian.PutUint16(b[2:], s.destinationPort)
	binary.BigEndian.PutUint32(b[4:], s.sequence)
	binary.BigEndian.PutUint32(b[8:], s.acknowledgment)
	b[12], b[13] = 5<<4, s.flags
	for i := range s.payload {
		b[20+i] = byte(i * 7)
	}
	binary.BigEndian.PutUint16(b[16:], ^slowSum(b, s.source, s.destination, 6))
	return ipv6(0, s.source, s.destination, 6, 64, b)
}

func out(port uint16, sequence, acknowledgment uint32, flags uint8, payload int) []byte {
	return segment{h1, cn, port, 80, sequence, acknowledgment, flags, payload}.bytes()
}

func in(to netip.Addr, port uint16, sequence, acknowledgment uint32, flags uint8, payload int) []byte {
	return segment{cn, to, 80, port, sequence, acknowledgment, flags, payload}.bytes()
}

const (
	syn    = 0x02
	fin    = 0x01
	rst    = 0x04
	ack    = 0x10
	synAck = syn | ack
)

// inner checks the outer header of what a node sent and returns what is in it, its transport checksum verified.
func inner(t testing.TB, b []byte, proxy netip.Addr) []byte {
	t.Helper()
	if addrAt(b, 8) != c1 || addrAt(b, 24) != proxy || b[6] != 41 {
		t.Fatalf("outer header %v -> %v, next %d; want %v -> %v", addrAt(b, 8), addrAt(b, 24), b[6], c1, proxy)
	}
	return verified(t, b[40:])
}

func verified(t testing.TB, b []byte) []byte {
	t.Helper()
	if b[6] == 44 {
		return b
	}
	if sum := slowSum(b[40:], addrAt(b, 8), addrAt(b, 24), b[6]); sum != 0xffff {
		t.Fatalf("checksum of %x is wrong: %#x", b, sum)
	}
	return b
}

// at processes one packet at a time after start.
func at(w *Worker, after time.Duration, in PortID, b []byte) *Result {
	return w.Process(start.Add(after), in, []*packet.Packet{pkt(b)})
}

func onlyFlow(t testing.TB, e *Engine) flow.Snapshot {
	t.Helper()
	flows := e.Flows().All(nil, 0, nil)
	if len(flows) != 1 {
		t.Fatalf("%d flows, want 1: %+v", len(flows), flows)
	}
	return flows[0]
}
