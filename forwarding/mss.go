package forwarding

import (
	"encoding/binary"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

const (
	tcpHeaderLength = 20
	tcpSYN          = 0x02
	tcpEndOfOptions = 0
	tcpNoOperation  = 1
	tcpSegmentSize  = 2
)

// clampSegmentSize lowers the maximum segment size option of a TCP SYN that crosses a tunnel, so that the segments that
// come back fit mtu octets with 60 of IPv6 and TCP headers. It never raises it, and leaves SYNs without one alone: they
// mean 1220, which always fits. Only called for TCP.
func (w *Worker) clampSegmentSize(p *packet.Packet, h *ip6.Header, mtu int) {
	b := p.Bytes()[h.UpperOffset:]
	if len(b) < tcpHeaderLength || b[13]&tcpSYN == 0 || (h.Fragmented && !h.FirstFragment) {
		return
	}
	end := min(int(b[12]>>4)*4, len(b))
	limit := uint16(min(mtu-ip6.HeaderLength-tcpHeaderLength, 0xffff))
	for i := tcpHeaderLength; i < end; {
		switch b[i] {
		case tcpEndOfOptions:
			return
		case tcpNoOperation:
			i++
			continue
		}
		if i+2 > end || b[i+1] < 2 || i+int(b[i+1]) > end {
			return
		}
		if b[i] == tcpSegmentSize && b[i+1] == 4 {
			if binary.BigEndian.Uint16(b[i+2:]) > limit {
				w.setSegmentSize(p, b, i+2, limit)
			}
			return
		}
		i += int(b[i+1])
	}
}

// setSegmentSize writes the option's value at b[at:], which may be an odd place, and keeps the checksum right. A partial
// checksum does not cover it yet.
func (w *Worker) setSegmentSize(p *packet.Packet, b []byte, at int, value uint16) {
	even := at &^ 1
	var before [4]byte
	covered := b[even : at+2+at&1]
	n := copy(before[:], covered)
	binary.BigEndian.PutUint16(b[at:], value)
	if !p.Offload.NeedsChecksum {
		checksum := packet.UpdateChecksumOver(binary.BigEndian.Uint16(b[16:]), before[:n], covered)
		binary.BigEndian.PutUint16(b[16:], checksum)
	}
	w.count(SegmentSizeClamp, 1)
}
