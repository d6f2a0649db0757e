package seg6

import (
	"net"
	"net/netip"
	"sync/atomic"

	"kedge/netstack"
	"kedge/netstack/packet"
	"kedge/netstack/tun"
)

const (
	// leastHopLimit is that of the inner packets for which the kernel makes the outer header: more than paths in the
	// Internet have routers.
	leastHopLimit = 48
	// outerHopLimit is that of outer headers made here, the same as the engine's.
	outerHopLimit = 64

	headerLength = 40
	protocolIPv6 = 41
)

// Link is the TUN device. Write takes inner packets, super-packets included; nothing comes from Read.
type Link struct {
	*tun.Link
	plain    netstack.Link
	path     atomic.Pointer[Path]
	unrouted atomic.Uint64
}

var _ netstack.Link = (*Link)(nil)

// Unrouted counts the packets that were left out for want of a path since the link was opened.
func (l *Link) Unrouted() uint64 { return l.unrouted.Load() }

// Write implements netstack.Link. Each packet's NextHop is the other end of its tunnel. Those with a hop limit of less than 48 go
// to Config.Plain with a header that is made here: all of a flow go the same way, in order.
func (l *Link) Write(pkts []*packet.Packet) (int, error) {
	path := l.path.Load()
	if path == nil {
		l.unrouted.Add(uint64(len(pkts)))
		return 0, nil
	}
	sent, begin := 0, 0
	for i := 0; i <= len(pkts); i++ {
		if i < len(pkts) && !short(pkts[i]) {
			continue
		}
		if begin < i {
			n, err := l.Link.Write(pkts[begin:i])
			sent += n
			if err != nil {
				return sent, err
			}
		}
		if i < len(pkts) {
			n, err := l.writePlain(path, pkts[i:i+1])
			sent += n
			if err != nil {
				return sent, err
			}
		}
		begin = i + 1
	}
	return sent, nil
}

// short reports whether a packet might end within the tunnel.
func short(p *packet.Packet) bool {
	b := p.Bytes()
	return len(b) >= headerLength && b[7] < leastHopLimit
}

// writePlain sends one packet with an outer header by the uplink itself, which cuts it up if it is a super-packet.
func (l *Link) writePlain(path *Path, pkts []*packet.Packet) (int, error) {
	p := pkts[0]
	remote := p.NextHop
	router, ok := path.next(remote)
	if !ok || l.plain == nil {
		l.unrouted.Add(1)
		return 0, nil
	}
	p.NextHop = router
	n := p.Len()
	b := p.Prepend(headerLength)
	if b == nil {
		l.unrouted.Add(1)
		return 0, nil
	}
	inner := p.Bytes()[headerLength:]
	copy(b[:4], inner[:4]) // version, traffic class, flow label
	b[4], b[5], b[6], b[7] = byte(n>>8), byte(n), protocolIPv6, outerHopLimit
	source, destination := path.Local.As16(), remote.As16()
	copy(b[8:], source[:])
	copy(b[24:], destination[:])
	return l.plain.Write(pkts)
}

// next is the neighbour that gets outer packets for an address.
func (p *Path) next(remote netip.Addr) (netip.Addr, bool) {
	for i := range p.Routes {
		r := &p.Routes[i]
		if !r.Prefix.Contains(remote) {
			continue
		}
		if !r.Router.IsValid() {
			return remote, true
		}
		return r.Router, true
	}
	return netip.Addr{}, false
}

func kernelPrefix(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)}
}
