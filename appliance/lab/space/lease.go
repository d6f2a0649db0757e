package space

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
)

// Lease is what a network has for a host's kernel, as DHCP tells it.
type Lease struct {
	Address netip.Prefix
	// Router is of the same protocol.
	Router netip.Addr
}

// everywhere are all addresses of each protocol.
var everywhere = map[bool]string{false: "0.0.0.0/0", true: "::/0"}

// TakeLease gives an interface the address that a network has for it, and the default route there, once it has a carrier.
func (n *Namespace) TakeLease(iface string, l Lease) error {
	for end := time.Now().Add(leasePatience); ; time.Sleep(time.Millisecond) {
		link, err := n.Handle.LinkByName(iface)
		if err != nil {
			return fmt.Errorf("node %s: %s: %w", n.Name, iface, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("node %s: %s has no carrier", n.Name, iface)
		}
	}
	err := n.AddAddress(iface, l.Address)
	if err == nil {
		err = n.AddRoute(netip.MustParsePrefix(everywhere[l.Router.Is6()]), l.Router)
	}
	return err
}

// leasePatience is how long a carrier takes at most, on a busy machine.
const leasePatience = 5 * time.Second

// DropLease takes it back, and the routes that go with it. What is gone is no error.
func (n *Namespace) DropLease(iface string, l Lease) error {
	link, err := n.Handle.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("node %s: %s: %w", n.Name, iface, err)
	}
	address, err := netlink.ParseAddr(l.Address.String())
	if err == nil {
		to, _ := netlink.ParseIPNet(everywhere[l.Router.Is6()])
		route := n.Handle.RouteDel(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: to, Gw: l.Router.AsSlice()})
		err = errors.Join(gone(route), gone(n.Handle.AddrDel(link, address)))
	}
	if err != nil {
		return fmt.Errorf("node %s: leaving the network of %s: %w", n.Name, l.Address, err)
	}
	return nil
}
