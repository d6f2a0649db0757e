package lab

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/topology"
)

// discardPort is where nobody listens (RFC 863).
const discardPort = 9

// warm has the nodes at the two ends of each wire find each other's link-layer address, as those of a network that has been
// up for a while have. Otherwise the first packet after a move would also pay for that.
func (n *network) warm() error {
	for _, w := range n.lab.Wires {
		for i, end := range w.Ends {
			other := n.end(w.Ends[1-i])
			for _, own := range n.end(end) {
				for _, a := range other {
					if !own.Contains(a.Addr()) {
						continue
					}
					name, _, _ := strings.Cut(end, ".")
					if err := n.nodes[name].discard(a.Addr()); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// warmNodes has the routers at the other ends of wires find the link-layer addresses of kedge nodes, and these theirs.
func (s *session) warmNodes(ctx context.Context) {
	for _, w := range s.lab.Wires {
		for i, end := range w.Ends {
			name, iface, _ := strings.Cut(end, ".")
			if s.lab.Node(name).Kind != topology.KedgeKind {
				continue
			}
			status, err := s.network.nodes[name].client().Status(ctx)
			if err != nil {
				// It may come later; its first packets then wait for their next hop.
				continue
			}
			other, _, _ := strings.Cut(w.Ends[1-i], ".")
			for _, l := range status.Links {
				for _, a := range l.Addresses {
					if l.Name == iface && slices.ContainsFunc(s.network.end(w.Ends[1-i]), func(p netip.Prefix) bool { return p.Contains(a) }) {
						_ = s.network.nodes[other].discard(a)
					}
				}
			}
		}
	}
}

// end is the addresses of an interface, written NODE.INTERFACE.
func (n *network) end(end string) []netip.Prefix {
	name, iface, _ := strings.Cut(end, ".")
	return n.lab.Node(name).Interface(iface).Addresses
}

// discard sends a datagram to an address.
func (d *node) discard(to netip.Addr) error {
	return d.space.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		// A best effort: whoever is not there does not answer.
		_ = unix.Sendto(fd, nil, unix.MSG_DONTWAIT, &unix.SockaddrInet6{Addr: to.As16(), Port: discardPort})
		return nil
	})
}
