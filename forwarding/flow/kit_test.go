package flow

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

var (
	epoch  = time.Unix(1_800_000_000, 0)
	home   = netip.MustParseAddr("2001:db8:a::1001")
	remote = netip.MustParseAddr("2001:db8:cc::1")
	lent   = netip.MustParseAddr("2001:db8:d1::77")
	other  = netip.MustParseAddr("2001:db8:d2::77")
)

func key(protocol uint8, local, remotePort uint16) Key {
	return Key{Local: home, Remote: remote, Protocol: protocol, LocalPort: local, RemotePort: remotePort}
}

// opening is a new flow that stays with its local address.
func opening(k Key) *Opening {
	return &Opening{Tuple: k.Tuple(), Profile: -1, Rule: -1, Initiator: MobileNode}
}

func waiting(k Key) *Opening {
	o := opening(k)
	o.Verdict, o.Profile = Held, 1
	return o
}

func insert(t testing.TB, table *Table, now time.Duration, o *Opening) *Flow {
	t.Helper()
	f, created, err := table.Insert(now, o)
	if err != nil || !created {
		t.Fatalf("inserting %v: created %v, %v", o.Tuple.Key(), created, err)
	}
	return f
}

func ipPacket(protocol uint8, payload []byte) ([]byte, *ip6.Header) {
	b := make([]byte, 40, 40+len(payload))
	ip6.PutHeader(b, 0, 0, len(payload), protocol, 64, home, remote)
	b = append(b, payload...)
	h := new(ip6.Header)
	if err := h.Parse(b); err != nil {
		panic(err)
	}
	return b, h
}

// saw has a flow see a datagram.
func saw(t *Table, now time.Duration, f *Flow, outbound bool) {
	b, h := ipPacket(f.tuple.Protocol(), make([]byte, 8))
	t.Saw(now, f, outbound, b, h)
}

// tcp has a flow see a segment.
func tcp(t *Table, now time.Duration, f *Flow, outbound bool, sequence, acknowledgment uint32, flags uint8, payload int) {
	s := make([]byte, tcpHeaderLength+payload)
	binary.BigEndian.PutUint32(s[4:], sequence)
	binary.BigEndian.PutUint32(s[8:], acknowledgment)
	s[12], s[13] = 5<<4, flags
	b, h := ipPacket(ip6.TCP, s)
	t.Saw(now, f, outbound, b, h)
}

// establish has a flow see a handshake that the mobile node began.
func establish(t *Table, now time.Duration, f *Flow) {
	tcp(t, now, f, true, 100, 0, tcpSYN, 0)
	tcp(t, now, f, false, 500, 101, tcpSYN|tcpACK, 0)
	tcp(t, now, f, true, 101, 501, tcpACK, 0)
}

func octets(n int) *packet.Packet {
	p := packet.New(n)
	p.SetLen(n)
	return p
}

func events(news []News) (list []Event) {
	for _, n := range news {
		list = append(list, n.Event)
	}
	return list
}
