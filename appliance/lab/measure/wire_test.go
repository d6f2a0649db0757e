package measure

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kedge/appliance/lab/capture"
	"kedge/netstack/nd"
	"kedge/signaling/mh"
)

var (
	maar1 = netip.MustParseAddr("2001:db8:a1::2")
	maar2 = netip.MustParseAddr("2001:db8:a2::2")
	mobil = netip.MustParseAddr("2001:db8:1000::64")
	other = netip.MustParseAddr("2001:db8:c::2")
)

// ipv6 is an IPv6 packet.
func ipv6(protocol byte, from, to netip.Addr, payload []byte) []byte {
	b := make([]byte, headerLength, headerLength+len(payload))
	b[0], b[6], b[7] = 0x60, protocol, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], from.AsSlice())
	copy(b[24:], to.AsSlice())
	return append(b, payload...)
}

func ethernet(ip []byte) []byte {
	return append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd}, ip...)
}

func udp(from, to uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	return append(binary.BigEndian.AppendUint16(b, to), 0, 8, 0, 0)
}

func TestTransit(t *testing.T) {
	update, err := mh.Append(nil, &mh.BindingUpdate{Sequence: 7, Acknowledge: true, ProxyRegistration: true, Distributed: true, Lifetime: 600 * time.Second, Options: mh.Options{
		&mh.HomeNetworkPrefix{Prefix: netip.MustParsePrefix("2001:db8:1000::/64")}, &mh.ServingMAAR{Address: maar2},
	}})
	if err != nil {
		t.Fatal(err)
	}
	inner := ipv6(protocolUDP, other, mobil, udp(5002, 6000))
	limit := append([]byte{protocolIPv6, 0, 4, 1, 4, 1, 0, 0}, inner...) // RFC 2473 section 4.1.1
	var w Wire
	for i, ip := range [][]byte{
		ipv6(mh.Protocol, maar1, maar2, update),
		ipv6(protocolIPv6, maar1, maar2, inner),
		ipv6(destinationOptions, maar1, maar2, limit),
		inner,
		ipv6(58, other, mobil, make([]byte, 8)),
		ipv6(protocolIPv6, maar1, maar2, inner[:20]),
		ipv6(destinationOptions, maar1, maar2, []byte{protocolIPv6, 9, 0, 0}),
		ipv6(protocolUDP, other, mobil, []byte{1}),
		inner[:30],
	} {
		w.Transit(capture.Packet{Time: int64(i + 1), Ethernet: true, Data: ethernet(ip)})
		w.Transit(capture.Packet{Time: 99, Ethernet: true, Data: ethernet(ip), Sent: true})
	}
	m := w.Messages()
	if len(m) != 1 || m[0].Kind != "PBU" || m[0].From != maar1 || m[0].To != maar2 || m[0].Octets != headerLength+len(update) ||
		m[0].Detail != "sequence 7, lifetime 600s, prefix 2001:db8:1000::/64, serving MAAR 2001:db8:a2::2" {
		t.Errorf("messages: %+v", m)
	}
	d := w.Data()
	if len(d) != 3 || !d[0].Tunnelled() || !d[1].Tunnelled() || d[2].Tunnelled() {
		t.Fatalf("data: %+v", d)
	}
	for i, v := range d {
		if v.From != netip.AddrPortFrom(other, 5002) || v.To != netip.AddrPortFrom(mobil, 6000) || v.Time != int64(i+2) {
			t.Errorf("data %d: %+v", i, v)
		}
	}
	if d[0].OuterFrom != maar1 || d[0].OuterTo != maar2 || d[0].Octets != headerLength+len(inner) {
		t.Errorf("tunnelled: %+v", d[0])
	}
}

func TestHost(t *testing.T) {
	router := netip.MustParseAddr("fe80::1")
	advertisement, err := nd.Append(nil, router, netip.MustParseAddr("ff02::1"), &nd.RouterAdvertisement{RouterLifetime: 30 * time.Minute, Options: nd.Options{
		nd.PrefixInformation{Prefix: netip.MustParsePrefix("2001:db8:1000::/64"), Autonomous: true, ValidLifetime: time.Hour},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var w Wire
	w.Host(capture.Packet{Time: 1, Ethernet: true, Data: ethernet(advertisement)})
	w.Host(capture.Packet{Time: 2, Ethernet: true, Data: ethernet(ipv6(protocolUDP, other, mobil, udp(1, 2)))})
	w.Host(capture.Packet{Time: 3, Ethernet: true, Data: []byte{1, 2, 3}})
	m := w.Messages()
	if len(m) != 1 || m[0].Kind != "RA" || m[0].From != router || m[0].LinkLayer != "02:00:00:00:00:02" || m[0].Lifetime != 30*time.Minute {
		t.Fatalf("messages: %+v", m)
	}
	if p := m[0].Prefixes; len(p) != 1 || p[0].Preferred != 0 || p[0].Valid != time.Hour || !strings.Contains(m[0].Detail, "2001:db8:1000::/64 preferred 0s") {
		t.Errorf("prefixes: %+v, %s", p, m[0].Detail)
	}
	if len(w.Data()) != 0 {
		t.Error("programs' packets of the host were taken")
	}
}

func TestLearned(t *testing.T) {
	at := func(ms int64, node, kind string) Event {
		return Event{Node: node, Kind: kind, Time: time.Unix(0, ms*int64(time.Millisecond))}
	}
	events := []Event{at(1, "maar2", ProxyUpdateReceived), at(2, "maar1", LinkUp), at(3, "maar1", ProxyUpdateReceived), at(4, "maar1", ProxyUpdateReceived)}
	if got := learned(events, "maar1"); got != int64(3*time.Millisecond) {
		t.Errorf("learned at %d", got)
	}
	if got := learned(events, "maar3"); got != 0 {
		t.Errorf("learned at %d what it was not told", got)
	}
}
