package flow

import (
	"math/rand/v2"
	"testing"
	"time"

	"kedge/forwarding/ip6"
)

// stream is one way of a connection whose beginning is sequence 0 here, wherever it really is.
type step struct {
	outbound                 bool
	sequence, acknowledgment uint32
	flags                    uint8
	payload                  int
}

func TestExpected(t *testing.T) {
	for _, base := range []uint32{0, 1000, 0x7fffff00, 0xfffffff0, 0xffffff00} { // the last ones wrap
		in, out := base, base+0x12345678
		handshake := []step{
			{true, out, 0, tcpSYN, 0},
			{false, in, out + 1, tcpSYN | tcpACK, 0},
			{true, out + 1, in + 1, tcpACK, 0},
		}
		for _, c := range []struct {
			name                string
			steps               []step
			host, correspondent uint32
		}{
			{"handshake", nil, 1, 1},
			{"data in", []step{{false, in + 1, out + 1, tcpACK, 100}}, 101, 1},
			{"data out", []step{{true, out + 1, in + 1, tcpACK, 100}}, 1, 101},
			{"super-packet", []step{{true, out + 1, in + 1, tcpACK, 60000}}, 1, 60001},
			{"behind a gap", []step{{false, in + 101, out + 1, tcpACK, 100}}, 1, 1},
			{"reordered", []step{
				{false, in + 101, out + 1, tcpACK, 100},
				{false, in + 1, out + 1, tcpACK, 100},
				{true, out + 1, in + 201, tcpACK, 0},
			}, 201, 1},
			{"gap with selective acknowledgement", []step{
				{false, in + 101, out + 1, tcpACK, 100},
				{true, out + 1, in + 1, tcpACK, 0},
			}, 1, 1},
			{"retransmission", []step{
				{false, in + 1, out + 1, tcpACK, 100},
				{false, in + 101, out + 1, tcpACK, 100},
				{false, in + 1, out + 1, tcpACK, 100},
			}, 201, 1},
			{"partly new retransmission", []step{
				{false, in + 1, out + 1, tcpACK, 100},
				{false, in + 51, out + 1, tcpACK, 100},
			}, 151, 1},
			{"old acknowledgement", []step{
				{false, in + 1, out + 1, tcpACK, 200},
				{true, out + 1, in + 201, tcpACK, 0},
				{true, out + 1, in + 101, tcpACK, 0},
			}, 201, 1},
			{"acknowledged beyond what was seen", []step{{true, out + 1, in + 501, tcpACK, 0}}, 501, 1},
			{"FIN", []step{{false, in + 1, out + 1, tcpACK | tcpFIN, 10}}, 12, 1},
			{"SYN again", []step{{false, in, out + 1, tcpSYN | tcpACK, 0}}, 1, 1},
			{"keep-alive", []step{{false, in, out + 1, tcpACK, 0}}, 1, 1},
			{"reset that nobody takes", []step{{false, in + 7, out + 1, tcpRST, 0}}, 1, 1},
		} {
			table := NewTable(Config{}, epoch)
			f := insert(t, table, 0, opening(key(ip6.TCP, 1, 80)))
			for _, s := range append(handshake, c.steps...) {
				tcp(table, 0, f, s.outbound, s.sequence, s.acknowledgment, s.flags, s.payload)
			}
			host, correspondent, a, b := f.Expected()
			if host-in != c.host || correspondent-out != c.correspondent || !a || !b {
				t.Errorf("%s from %#x: expected by the host %d, by the correspondent %d; want %d, %d",
					c.name, base, host-in, correspondent-out, c.host, c.correspondent)
			}
			if s := f.tcpState(f.flags.Load()); c.name != "FIN" && s != TCPEstablished {
				t.Errorf("%s: %v", c.name, s)
			}
		}
	}
}

// A receiver that is simulated in full says what it expects; the flow is never ahead of it, nor behind once it has
// acknowledged.
func TestExpectedAgainstReceiver(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		table := NewTable(Config{}, epoch)
		f := insert(t, table, 0, opening(key(ip6.TCP, 1, 80)))
		in, out := r.Uint32(), r.Uint32()
		tcp(table, 0, f, true, out, 0, tcpSYN, 0)
		tcp(table, 0, f, false, in, out+1, tcpSYN|tcpACK, 0)
		tcp(table, 0, f, true, out+1, in+1, tcpACK, 0)
		const segments, size = 60, 100
		var got [segments]bool
		next := 0 // the receiver's
		window := 0
		for next < segments {
			// Any segment of the next ten that the receiver lacks, or an old one again.
			i := window + r.IntN(10)
			if i >= segments {
				i = r.IntN(segments)
			}
			tcp(table, 0, f, false, in+1+uint32(i*size), out+1, tcpACK, size)
			got[i] = true
			for next < segments && got[next] {
				next++
			}
			want := in + 1 + uint32(next*size)
			if host, _, _, _ := f.Expected(); int32(host-want) > 0 {
				t.Fatalf("%d ahead of the receiver", host-want)
			}
			if r.IntN(3) == 0 {
				tcp(table, 0, f, true, out+1, want, tcpACK, 0)
				if host, _, _, _ := f.Expected(); host != want {
					t.Fatalf("%d behind the receiver", want-host)
				}
				window = next
			}
		}
	}
}

func TestTCPStates(t *testing.T) {
	for _, c := range []struct {
		name      string
		initiator Initiator
		steps     []step
		want      TCPState
		timeout   time.Duration
	}{
		{"SYN", MobileNode, []step{{true, 1, 0, tcpSYN, 0}}, TCPOpening, 4 * time.Minute},
		{"answered", MobileNode, []step{{true, 1, 0, tcpSYN, 0}, {false, 7, 2, tcpSYN | tcpACK, 0}}, TCPOpening, 4 * time.Minute},
		{"from outside", Correspondent, []step{{false, 1, 0, tcpSYN, 0}, {true, 7, 2, tcpSYN | tcpACK, 0}, {false, 2, 8, tcpACK, 0}},
			TCPEstablished, 2*time.Hour + 4*time.Minute},
		{"guessed acknowledgement", Correspondent, []step{{false, 1, 0, tcpSYN, 0}, {true, 7, 2, tcpSYN | tcpACK, 0}, {false, 2, 9000, tcpACK, 0}},
			TCPOpening, 4 * time.Minute},
		{"in the middle", UnknownInitiator, []step{{true, 100, 200, tcpACK, 10}}, TCPOpening, 4 * time.Minute},
		{"in the middle, both", UnknownInitiator, []step{{true, 100, 200, tcpACK, 10}, {false, 200, 110, tcpACK, 10}},
			TCPEstablished, 2*time.Hour + 4*time.Minute},
		{"half closed", UnknownInitiator, []step{{true, 100, 200, tcpACK | tcpFIN, 0}, {false, 200, 101, tcpACK, 10}}, TCPClosing, 4 * time.Minute},
		{"closed", UnknownInitiator, []step{{true, 100, 200, tcpACK | tcpFIN, 0}, {false, 200, 101, tcpACK | tcpFIN, 0}}, TCPClosed, time.Minute},
		{"reset by the host", UnknownInitiator, []step{{true, 100, 200, tcpRST, 0}}, TCPClosed, time.Minute},
		{"reset", UnknownInitiator, []step{{true, 100, 200, tcpACK, 0}, {false, 200, 0, tcpRST, 0}}, TCPClosed, time.Minute},
		{"forged reset", UnknownInitiator, []step{{true, 100, 200, tcpACK, 0}, {false, 201, 100, tcpRST | tcpACK, 0}}, TCPOpening, 4 * time.Minute},
	} {
		table := NewTable(Config{}, epoch)
		o := opening(key(ip6.TCP, 1, 80))
		o.Initiator = c.initiator
		f := insert(t, table, 0, o)
		for _, s := range c.steps {
			tcp(table, time.Second, f, s.outbound, s.sequence, s.acknowledgment, s.flags, s.payload)
		}
		if got := f.tcpState(f.flags.Load()); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		table.Sweep(time.Second+c.timeout-Tick, table.Buckets())
		if table.Len() != 1 {
			t.Errorf("%s: gone early", c.name)
		}
		table.Sweep(time.Second+c.timeout, table.Buckets())
		if table.Len() != 0 || table.Uses(home) != 0 {
			t.Errorf("%s: still there", c.name)
		}
	}
}

func TestMalformedSegments(t *testing.T) {
	table := NewTable(Config{}, epoch)
	f := insert(t, table, 0, opening(key(ip6.TCP, 1, 80)))
	for n := range 40 {
		for _, offset := range []byte{0, 4, 5, 15} {
			s := make([]byte, n)
			if n > 13 {
				s[12], s[13] = offset<<4, tcpACK|tcpSYN|tcpFIN
			}
			b, h := ipPacket(ip6.TCP, s)
			table.Saw(0, f, n%2 == 0, b, h)
			Outbound(b, h)
			OpensConnection(b, h)
			IsReset(b, h)
		}
	}
}
