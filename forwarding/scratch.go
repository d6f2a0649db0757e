package forwarding

import "kedge/netstack/packet"

const (
	maxSmallScratch  = 16384
	maxMediumScratch = 2048
	maxLargeScratch  = 64
	// mediumLength is enough for Ethernet's jumbo frames.
	mediumLength = 9216
)

// scratch holds packets that a worker makes itself: segments, fragments, ICMPv6 errors. They are lent until the next
// batch. It grows to what the traffic needs, within bounds.
type scratch struct {
	small, medium, large             []*packet.Packet
	smallUsed, mediumUsed, largeUsed int
}

func (s *scratch) reset() { s.smallUsed, s.mediumUsed, s.largeUsed = 0, 0, 0 }

// get lends an empty packet with room for n octets; nil if all are lent.
func (s *scratch) get(n int) *packet.Packet {
	switch {
	case n <= packet.SmallLength:
		return lend(&s.small, &s.smallUsed, maxSmallScratch, packet.SmallLength)
	case n <= mediumLength:
		return lend(&s.medium, &s.mediumUsed, maxMediumScratch, mediumLength)
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
