package packet

// MaxRun is the largest number of packets that Coalesce joins.
const MaxRun = 64

// tcpACK is the only flag that segments to be joined carry, with PSH on the last.
const tcpACK = 0x10

// Coalesce joins the packets at the front of pkts that are consecutive segments of one TCP connection, or UDP datagrams of
// one length in one flow if the taker has SegmentUDP, to one super-packet, and returns how many it joined; 1 means that it
// changed nothing. pkts must not be empty.
//
// Unlike a Joiner it copies no payload: pkts[0] gets the super-packet's headers and offload state in front of its own
// payload, and of the others only the payload is left, for the caller to send behind it with one gathering write. It joins
// under the same conditions, and only ordinary packets.
func Coalesce(pkts []*Packet, taker Features) int {
	head := pkts[0]
	first := head.Bytes()
	if len(pkts) == 1 || head.Offload != (Offload{}) {
		return 1
	}
	kind, header := joinable(first)
	if kind == NotSegmented || kind == UDP && taker&SegmentUDP == 0 || kind == TCP && taker&SegmentTCP == 0 {
		return 1
	}
	size, total := len(first)-header, len(first)
	last := first
	n := 1
	for n < len(pkts) && n < MaxRun && (kind == UDP || last[53]&tcpPSH == 0) && len(last)-header == size {
		next := pkts[n]
		b := next.Bytes()
		if next.NextHop != head.NextHop || next.Offload != (Offload{}) {
			break
		}
		nextKind, nextHeader := joinable(b)
		if nextKind != kind || nextHeader != header || len(b)-header > size || total+len(b)-header > MaxLength ||
			!continues(first, b, header, total-header) {
			break
		}
		if n == 1 && !checksumRight(first) || !checksumRight(b) {
			break
		}
		total += len(b) - header
		last = b
		n++
	}
	if n == 1 {
		return 1
	}
	if kind == TCP {
		first[53] |= last[53] & tcpPSH
	}
	head.makeSuper(total, header, size)
	for _, p := range pkts[1:n] {
		p.TrimFront(header)
	}
	return n
}

func checksumRight(b []byte) bool { return Sum(b[ipv6HeaderLength:], pseudoSum(b)) == 0xffff }
