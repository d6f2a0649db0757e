package neighbor

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

// FuzzHandle feeds a small table a sequence of packets, each with its length in front in two octets, and checks that it
// stays within its limits and sends only valid messages.
func FuzzHandle(f *testing.F) {
	var all []byte
	for _, m := range []struct {
		src, dst netip.Addr
		m        nd.Message
	}{
		{peer, nd.SolicitedNode(own), &nd.NeighborSolicitation{Target: own, Options: nd.Options{nd.SourceLinkLayerAddress(m1)}}},
		{any6, nd.SolicitedNode(careOf), &nd.NeighborSolicitation{Target: careOf, Options: nd.Options{nd.Nonce("abcdef")}}},
		{host, own, &nd.NeighborAdvertisement{Target: host, Solicited: true, Options: nd.Options{nd.TargetLinkLayerAddress(m2)}}},
		{home, nd.AllNodes, &nd.NeighborAdvertisement{Target: home, Override: true, Options: nd.Options{nd.TargetLinkLayerAddress(m2)}}},
		{router, nd.AllNodes, &nd.RouterAdvertisement{Options: nd.Options{nd.SourceLinkLayerAddress(m1)}}},
		{router, nd.AllRouters, &nd.RouterSolicitation{Options: nd.Options{nd.SourceLinkLayerAddress(m1)}}},
		{router, nd.AllNodes, &nd.ListenerQuery{Version: 2, Group: any6, MaximumResponseDelay: time.Second}},
		{router, own, &nd.Redirect{Target: host, Destination: host}},
	} {
		b, err := nd.Append(nil, m.src, m.dst, m.m)
		if err != nil {
			f.Fatal(err)
		}
		b = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
		f.Add(b)
		all = append(all, b...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		table := New(Config{LinkAddress: me, Router: true, MaxNeighbors: 4, MaxIncomplete: 2, Random: half{}})
		now := epoch
		check := func(out Output) {
			for _, f := range out.Frames {
				if _, _, _, err := nd.Parse(f.Packet.Bytes()); err != nil && nd.Is(f.Packet.Bytes()) {
					t.Fatalf("sent an invalid message: %v", err)
				}
			}
			for _, p := range table.problems() {
				t.Fatal(p)
			}
		}
		check(table.AddAddress(now, ll, Own))
		check(table.AddAddress(now, own, Own))
		check(table.AddAddress(now, home, Proxy))
		check(table.AddAddress(now, careOf, Optimistic))
		check(table.Resolve(now, host, data(own, host, "a")))
		for len(b) >= 2 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			p := seal(b[2 : 2+n])
			b = b[2+n:]
			from := m1
			if n > 0 && p[n-1]&1 != 0 {
				from = packet.LinkAddress{2, 9, 9, 9, 9, p[n-1]}
			}
			now = now.Add(700 * time.Millisecond)
			check(table.Handle(now, p, from))
			table.Lookup(peer)
			check(table.Tick(now))
		}
	})
}

// seal copies a packet and makes its length and checksum right, which a fuzzer does not.
func seal(b []byte) []byte {
	b = append([]byte(nil), b...)
	at := 40
	if len(b) > 48 && b[6] == 0 {
		at = 48
	}
	if len(b) < at+8 {
		return b
	}
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	b[at+2], b[at+3] = 0, 0
	sum := uint32(len(b)-at) + 58
	for i := 8; i < len(b); i++ {
		if i >= 40 && i < at {
			continue
		}
		sum += uint32(b[i]) << (8 * (1 - i&1))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[at+2:], ^uint16(sum))
	return b
}
