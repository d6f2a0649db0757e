package lab

import (
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
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
