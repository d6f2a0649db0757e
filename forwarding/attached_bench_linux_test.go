package forwarding

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

// BenchmarkAttached is what a packet of 1400 octets costs a MAAR with so many mobile nodes on its access link.
func BenchmarkAttached(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		e, w := accessRouter(b)
		var prefixes []netip.Prefix
		var macs []packet.LinkAddress
		for i := range n {
			a := addr("2001:db8:b::5").As16()
			binary.BigEndian.PutUint32(a[4:], uint32(1<<24+i))
			m := mac1
			binary.BigEndian.PutUint32(m[2:], uint32(i))
			prefixes, macs = append(prefixes, netip.PrefixFrom(netip.AddrFrom16(a), 64)), append(macs, m)
		}
		run := func(name string, attached func(mac packet.LinkAddress) Attached, build func(a netip.Addr) []byte, in, out PortID) {
			b.Run(fmt.Sprintf("%s/nodes=%d", name, n), func(b *testing.B) {
				pkts := make([]*packet.Packet, batch)
				for i := range n {
					must(b, e.BindAttached(prefixes[i], attached(macs[i])))
				}
				for i := range pkts {
					k := i * 7919 % n
					pkts[i] = small(build(prefixes[k].Addr()))
					pkts[i].Neighbor = macs[k]
				}
				length := pkts[0].Len()
				b.ReportAllocs()
				defer perPacket(b)()
				for b.Loop() {
					r := w.Process(start, in, pkts)
					if len(r.Outputs) != 1 || r.Outputs[0].Port != out || len(r.Outputs[0].Packets) != batch {
						b.Fatal(drops(e.Counters()))
					}
					for _, p := range pkts {
						if n := p.Len() - length; n > 0 {
							p.TrimFront(n)
							p.Bytes()[7] = 64
						} else {
							p.Bytes()[7] = 64
							p.Prepend(-n)
						}
					}
				}
			})
		}
		native := func(mac packet.LinkAddress) Attached { return here(access1, mac) }
		tunnel := func(mac packet.LinkAddress) Attached { return through(access1, mac, previous) }
		up := func(a netip.Addr) []byte { return udp(a, cn, 1352) }
		down := func(a netip.Addr) []byte { return udp(cn, a, 1352) }
		run("native-up", native, up, access1, ethPort)
		run("native-down", native, down, ethPort, access1)
		run("tunnelled-up", tunnel, up, access1, ethPort)
		run("tunnelled-down", tunnel, func(a netip.Addr) []byte { return tunnelled(0, previous, maar, down(a)) }, ethPort, access1)
	}
}
