package node

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"kedge/netstack/packet"
	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/mh"
)

var (
	careOf = netip.MustParseAddr("2001:db8:1::c")
	agent  = netip.MustParseAddr("2001:db8:f::1")
	home   = netip.MustParseAddr("2001:db8:f::100")
)

func octets(s string) string { return strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s) }

// A home registration as RFC 6275 section 6.3 lays it out: IPv6, destination options with PadN and the Home Address option
// at 8n+6, Mobility Header.
func TestBindingUpdatePacket(t *testing.T) {
	p := packet.New(longestSignaling)
	mobilityPacket(p, signaling.Send{
		Source: careOf, Destination: agent, HomeAddress: home, Payload: []byte{59, 0, 5, 0, 0xab, 0xcd, 0, 1},
	})
	want := octets(`
		60000000 0020 3c 40
		20010db800010000000000000000000c
		20010db8000f00000000000000000001
		87 02 0102 0000 c910 20010db8000f00000000000000000100
		3b000500abcd0001`)
	if got := hex.EncodeToString(p.Bytes()); got != want {
		t.Errorf("packet is\n%s, want\n%s", got, want)
	}
}

func TestBindingAcknowledgementPacket(t *testing.T) {
	p := packet.New(longestSignaling)
	mobilityPacket(p, signaling.Send{
		Source: agent, Destination: careOf, RoutingHome: home, Payload: []byte{59, 0, 6, 0, 0xab, 0xcd, 0, 0},
	})
	want := octets(`
		60000000 0020 2b 40
		20010db8000f00000000000000000001
		20010db800010000000000000000000c
		87 02 02 01 00000000 20010db8000f00000000000000000100
		3b000600abcd0000`)
	if got := hex.EncodeToString(p.Bytes()); got != want {
		t.Errorf("packet is\n%s, want\n%s", got, want)
	}
}

// Routing header first, then destination options (RFC 6275 section 6.3), each naming the next.
func TestBothExtensionHeaders(t *testing.T) {
	p := packet.New(longestSignaling)
	mobilityPacket(p, signaling.Send{
		Source: careOf, Destination: agent, HomeAddress: home, RoutingHome: home, Payload: make([]byte, 8),
	})
	b := p.Bytes()
	next, _, err := mh.ParseType2Routing(b[40:64])
	if b[6] != protocolRouting || err != nil || next != protocolDestinationOpts {
		t.Fatalf("first header %d, next %d, %v", b[6], next, err)
	}
	o, err := mh.ParseHomeAddressOption(b[64:88])
	if err != nil || o.Next != mh.Protocol || o.HomeAddress != home {
		t.Errorf("destination options %+v, %v", o, err)
	}
}

func TestParameterProblemPointsIntoWhatItQuotes(t *testing.T) {
	p := packet.New(longestSignaling)
	bad := []byte{58, 0, 5, 0, 0, 0, 0, 0} // Payload Proto must be 59
	parameterProblem(p, signaling.SendParameterProblem{
		InReplyTo: signaling.Received{Source: careOf, Destination: agent, HomeAddress: home, Payload: bad},
	})
	b := p.Bytes()
	if s, d := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])); s != agent || d != careOf {
		t.Errorf("from %v to %v", s, d)
	}
	icmp := b[40:]
	if icmp[0] != 4 || icmp[1] != 0 || !discovery.ChecksumValid(icmp, agent, careOf) {
		t.Errorf("ICMPv6 header %x", icmp[:8])
	}
	pointer := int(icmp[6])<<8 | int(icmp[7])
	if quoted := icmp[8:]; pointer != 64 || quoted[pointer] != 58 {
		t.Errorf("pointer %d does not point to the octet at fault", pointer)
	}
}

func TestParameterProblemFitsTheMinimumMTU(t *testing.T) {
	p := packet.New(longestSignaling)
	parameterProblem(p, signaling.SendParameterProblem{
		InReplyTo: signaling.Received{Source: careOf, Destination: agent, HomeAddress: home, Payload: make([]byte, 2048)},
	})
	if p.Len() != 1280 {
		t.Errorf("%d octets, want 1280", p.Len())
	}
}
