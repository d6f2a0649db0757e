package forwarding

import (
	"net/netip"
	"time"

	"github.com/gaissmai/bart"

	"kedge/forwarding/ip6"
)

const (
	// pathLifetime is how long a learned path MTU is believed (RFC 8201 section 4).
	pathLifetime = 10 * time.Minute
	// maxPaths bounds the learned path MTUs; when they are full, all are forgotten and learned again.
	maxPaths = 65536
)

// path is what is known of the way to a tunnel's remote end. It is immutable.
type path struct {
	mtu     int
	expires time.Duration
}

// leastMTU is the lowest MTU of a path to remote that is believed: that of every IPv6 link, or what every IPv4 host takes (RFC
// 791 section 3.1).
func leastMTU(remote netip.Addr) int {
	if remote.Is4() {
		return 576
	}
	return ip6.MinimumMTU
}

// SetPathMTU takes the MTU of the outer path to remote, learned from a Packet Too Big message, or Fragmentation Needed of
// IPv4. Workers call it for messages about their own tunnel packets, and links of UDP datagrams for theirs. It only lowers
// what is known and expires after 10 minutes; values below 1280 (RFC 8201 section 4), or 576 with IPv4, are ignored.
func (e *Engine) SetPathMTU(remote netip.Addr, mtu int, now time.Time) {
	if mtu < leastMTU(remote) || !unicast(remote) && !(remote.Is4() && endpoint(remote)) {
		return
	}
	t := now.Sub(e.epoch)
	if old, ok := e.state.Load().paths.Lookup(remote); ok && old.mtu <= mtu && t < old.expires {
		return
	}
	e.change(func(s *state) {
		if s.paths.Size() >= maxPaths {
			s.paths = new(bart.Table[*path])
		}
		s.paths = s.paths.InsertPersist(netip.PrefixFrom(remote, remote.BitLen()), &path{mtu, t + pathLifetime})
		s.anyPaths = true
	})
}

// PathMTU is the MTU learned for the outer path to remote; 0 if none is believed at now.
func (e *Engine) PathMTU(remote netip.Addr, now time.Time) int {
	return e.state.Load().pathMTU(remote, now.Sub(e.epoch))
}

func (s *state) pathMTU(remote netip.Addr, now time.Duration) int {
	if !s.anyPaths {
		return 0
	}
	if p, ok := s.paths.Lookup(remote); ok && now < p.expires {
		return p.mtu
	}
	return 0
}
