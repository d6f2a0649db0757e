package forwarding

import "kedge/netstack/packet"

const (
	maxSmallScratch = 16384
	maxLargeScratch = 64
)

// scratch holds packets that a worker makes itself: segments, fragments, ICMPv6 errors. They are lent until the next
// batch. It grows to what the traffic needs, within bounds.
type scratch struct {
	small, large         []*packet.Packet
	smallUsed, largeUsed int
}

func (s *scratch) reset() { s.smallUsed, s.largeUsed = 0, 0 }

// get lends an empty packet with room for n octets; nil if all are lent.
func (s *scratch) get(n int) *packet.Packet {
	if n <= packet.SmallLength {
		return lend(&s.small, &s.smallUsed, maxSmallScratch, packet.SmallLength)
	}
	return lend(&s.large, &s.largeUsed, maxLargeScratch, packet.MaxLength)
}

func lend(pool *[]*packet.Packet, used *int, bound, length int) *packet.Packet {
	if *used == len(*pool) {
		if *used == bound {
			return nil
		}
		*pool = append(*pool, packet.New(length))
	}
	p := (*pool)[*used]
	*used++
	p.Reset()
	return p
}
