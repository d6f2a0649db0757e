package space

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ForgetAutoconfigured deletes the addresses and routes that the kernel has from router advertisements on an interface. A
// kernel keeps them when the carrier is lost; the network managers of mobile hosts do this.
func (n *Namespace) ForgetAutoconfigured(iface string) error {
	link, err := n.Handle.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("node %s: %s: %w", n.Name, iface, err)
	}
	var errs []error
	addrs, err := n.Handle.AddrList(link, netlink.FAMILY_V6)
	errs = append(errs, err)
	for i := range addrs {
		if a := addrs[i]; a.Flags&unix.IFA_F_PERMANENT == 0 && a.Scope == unix.RT_SCOPE_UNIVERSE {
			errs = append(errs, gone(n.Handle.AddrDel(link, &a)))
		}
	}
	filter := &netlink.Route{LinkIndex: link.Attrs().Index, Protocol: unix.RTPROT_RA}
	routes, err := n.Handle.RouteListFiltered(netlink.FAMILY_V6, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	errs = append(errs, err)
	for i := range routes {
		errs = append(errs, gone(n.Handle.RouteDel(&routes[i])))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("node %s: forgetting what %s was told: %w", n.Name, iface, err)
	}
	return nil
}

// gone takes it for success that there is nothing to delete.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}
