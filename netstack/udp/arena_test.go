package udp

import (
	"testing"

	"kedge/netstack/packet"
)

// Many more segments than one system call sends, each a message of its own: every one has its own headers.
func TestManySegmentsKeepTheirHeaders(t *testing.T) {
	for _, first := range []int{1, 30, 63} {
		a, b := ends(t, "::1", Config{})
		var sent []*packet.Packet
		sequence := uint32(0)
		for _, segments := range []int{first, 50, 50, 50, 50} {
			const size = 200
			p := super(packet.TCP, 1, sequence, payload(segments*size), size)
			p.Peer = b.LocalAddrPort()
			sequence += uint32(segments * size)
			sent = append(sent, p)
		}
		want := singles(t, sent...)
		if n, err := a.Write(sent); n != len(sent) || err != nil {
			t.Fatalf("Write = %d, %v; %+v", n, err, a.Counters())
		}
		compare(t, receive(t, b, len(want)), want)
	}
}
