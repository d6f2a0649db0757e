package neighbor

import (
	"net/netip"
	"time"
)

// Verify begins neighbour unreachability detection of addr now, without waiting for packets to be sent to it: a mobile node
// asks whether its default router is still there (RFC 6275 section 11.5.1). NeighborReachable or NeighborUnreachable
// follows, unless this node has no address yet to ask from.
func (t *Table) Verify(now time.Time, addr netip.Addr) Output {
	defer t.enter(now)()
	n := t.index.find(addr)
	switch {
	case n == nil && unicast(addr):
		if n = t.createIncomplete(addr); n != nil {
			t.solicit(n)
		}
	case n != nil && n.state != incomplete && n.state != probe:
		t.setState(n, probe)
		t.solicit(n)
	}
	return t.finish()
}
