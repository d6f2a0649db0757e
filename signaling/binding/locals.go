package binding

import (
	"math"
	"net/netip"
)

// locals holds each of the anchor's own addresses once. It only grows: an anchor has few. Number 0 is no address.
type locals struct {
	numbers map[netip.Addr]uint16
	list    []netip.Addr
}

// number is a's; 0, which leaves the choice to the kernel, if there are too many.
func (l *locals) number(a netip.Addr) uint16 {
	if !a.IsValid() {
		return 0
	}
	n, ok := l.numbers[a]
	if !ok && len(l.list) < math.MaxUint16 {
		l.list = append(l.list, a)
		n = uint16(len(l.list))
		l.numbers[a] = n
	}
	return n
}

func (l *locals) address(n uint16) netip.Addr {
	if n == 0 {
		return netip.Addr{}
	}
	return l.list[n-1]
}
