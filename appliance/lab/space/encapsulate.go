package space

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// encapRed is SEG6_IPTUN_MODE_ENCAP_RED (linux/seg6_iptunnel.h): with one segment, plain IPv6 in IPv6.
const encapRed = 3

// CanEncapsulate reports why the namespace cannot have routes by which segment routing encapsulates; nil if it can.
func (n *Namespace) CanEncapsulate() error {
	lo, err := n.Handle.LinkByName("lo")
	if err != nil {
		return err
	}
	// Of the discard-only prefix (RFC 6666).
	route := &netlink.Route{
		LinkIndex: lo.Attrs().Index,
		Dst:       &net.IPNet{IP: net.ParseIP("100::6b65"), Mask: net.CIDRMask(128, 128)},
		Encap:     &netlink.SEG6Encap{Mode: encapRed, Segments: []net.IP{net.ParseIP("100::1")}},
	}
	if err := n.Handle.RouteAdd(route); err != nil {
		return fmt.Errorf("this kernel makes no routes with segment routing: %w", err)
	}
	return n.Handle.RouteDel(route)
}
