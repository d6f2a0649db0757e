package forwarding

import (
	"encoding/binary"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// fragment cuts up a tunnel packet that does not fit the outer path although its inner packet has no more than 1280
// octets (RFC 2473 section 7.1), and sends the fragments. p has no extension headers.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Next Header  |   Reserved    |      Fragment Offset    |Res|M|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                         Identification                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// (RFC 8200 section 4.5.)
func (w *Worker) fragment(p *packet.Packet, v *way, label uint32, depth int) {
	const headers = ip6.HeaderLength + ip6.FragmentHeaderLength
	whole := p.Bytes()
	payload := whole[ip6.HeaderLength:]
	room := (v.mtu - headers) &^ 7
	id := w.engine.fragmentID.Add(1)
	for at := 0; at < len(payload); at += room {
		n := min(room, len(payload)-at)
		q := w.scratch.get(headers + n)
		if q == nil {
			w.drop(DropScratch)
			return
		}
		q.SetLen(headers + n)
		b := q.Bytes()
		copy(b, whole[:ip6.HeaderLength])
		binary.BigEndian.PutUint16(b[4:], uint16(ip6.FragmentHeaderLength+n))
		b[6] = ip6.Fragment
		f := b[ip6.HeaderLength:]
		f[0], f[1] = whole[6], 0
		more := uint16(1)
		if at+n == len(payload) {
			more = 0
		}
		binary.BigEndian.PutUint16(f[2:], uint16(at)|more)
		binary.BigEndian.PutUint32(f[4:], id)
		copy(f[ip6.FragmentHeaderLength:], payload[at:at+n])
		w.count(OuterFragments, 1)
		w.transmit(q, v, label, depth)
	}
}
