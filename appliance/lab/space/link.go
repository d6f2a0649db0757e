package space

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// firstPortIndex is the interface index of the first bridge port. The kernel delays the news of a lost or regained
// carrier by up to a second on a veth whose peer has the same index as itself, which across namespaces is easily so;
// ports are numbered far from where nodes number their interfaces.
const firstPortIndex = 10000

// Fabric is the Ethernet of a lab: bridges in a namespace of their own, and the ports that nodes are plugged in with.
type Fabric struct {
	root *Namespace
	next int
}

// NewFabric makes bridges in root, which is kept free of IPv6 addresses of its own.
func NewFabric(root *Namespace) (*Fabric, error) {
	for _, which := range []string{"all", "default"} {
		if err := root.Sysctl("net.ipv6.conf."+which+".disable_ipv6", "1"); err != nil {
			return nil, err
		}
	}
	return &Fabric{root: root, next: firstPortIndex}, root.Up("lo")
}

// Bridge makes an Ethernet segment that floods multicast and forwards at once.
func (f *Fabric) Bridge(name string) error {
	snooping := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.Index = f.index()
	if err := f.root.Handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return fmt.Errorf("making bridge %s: %w", name, err)
	}
	return f.root.Up(name)
}

func (f *Fabric) index() int {
	f.next++
	return f.next
}

// Port makes interface iface of node and its port in the fabric, which is unplugged. Without a link-layer address the kernel
// makes one.
func (f *Fabric) Port(node *Namespace, iface string, linkLayer net.HardwareAddr) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = portName(node, iface)
	attrs.Index = f.index()
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: iface, PeerNamespace: netlink.NsFd(node.file.Fd()), PeerHardwareAddr: linkLayer}
	if err := f.root.Handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("making interface %s of node %s: %w", iface, node.Name, err)
	}
	return nil
}

func portName(node *Namespace, iface string) string { return node.Name + "." + iface }

// Plug connects the port to a bridge and brings it up: the node's carrier comes on.
func (f *Fabric) Plug(node *Namespace, iface, bridge string) error {
	port, err := f.root.Handle.LinkByName(portName(node, iface))
	if err != nil {
		return fmt.Errorf("port %s: %w", portName(node, iface), err)
	}
	to, err := f.root.Handle.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", bridge, err)
	}
	if err := f.root.Handle.LinkSetMaster(port, to); err != nil {
		return fmt.Errorf("plugging %s into %s: %w", portName(node, iface), bridge, err)
	}
	return f.root.Handle.LinkSetUp(port)
}

// Unplug takes the port down and off its bridge: the node loses its carrier.
func (f *Fabric) Unplug(node *Namespace, iface string) error {
	port, err := f.root.Handle.LinkByName(portName(node, iface))
	if err != nil {
		return fmt.Errorf("port %s: %w", portName(node, iface), err)
	}
	if err := f.root.Handle.LinkSetDown(port); err != nil {
		return err
	}
	return f.root.Handle.LinkSetNoMaster(port)
}

// Wire joins two interfaces directly.
func Wire(a *Namespace, aIface string, b *Namespace, bIface string, index int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = aIface
	attrs.Index = firstPortIndex/2 + index
	attrs.Namespace = netlink.NsFd(a.file.Fd())
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: bIface, PeerNamespace: netlink.NsFd(b.file.Fd())}
	if err := a.Handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("wiring %s.%s to %s.%s: %w", a.Name, aIface, b.Name, bIface, err)
	}
	return nil
}

// Down sets an interface down, which makes the kernel forget what it has learned on it.
func (n *Namespace) Down(iface string) error {
	link, err := n.Handle.LinkByName(iface)
	if err == nil {
		err = n.Handle.LinkSetDown(link)
	}
	if err != nil {
		return fmt.Errorf("node %s: setting %s down: %w", n.Name, iface, err)
	}
	return nil
}

// Up brings an interface up.
func (n *Namespace) Up(iface string) error {
	link, err := n.Handle.LinkByName(iface)
	if err == nil {
		err = n.Handle.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("node %s: bringing up %s: %w", n.Name, iface, err)
	}
	return nil
}

// AddAddress gives an interface an address.
func (n *Namespace) AddAddress(iface string, address netip.Prefix) error {
	link, err := n.Handle.LinkByName(iface)
	if err == nil {
		var a *netlink.Addr
		if a, err = netlink.ParseAddr(address.String()); err == nil {
			err = n.Handle.AddrAdd(link, a)
		}
	}
	if err != nil {
		return fmt.Errorf("node %s: address %s on %s: %w", n.Name, address, iface, err)
	}
	return nil
}

// AddRoute adds a route through a router.
func (n *Namespace) AddRoute(to netip.Prefix, via netip.Addr) error {
	dst, err := netlink.ParseIPNet(to.Masked().String())
	if err == nil {
		err = n.Handle.RouteAdd(&netlink.Route{Dst: dst, Gw: via.AsSlice()})
	}
	if err != nil {
		return fmt.Errorf("node %s: route to %s via %s: %w", n.Name, to, via, err)
	}
	return nil
}

// HasAddress reports whether any interface of the node has the address, usable.
func (n *Namespace) HasAddress(address netip.Addr) bool {
	addrs, err := n.Handle.AddrList(nil, netlink.FAMILY_V6)
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if got, ok := netip.AddrFromSlice(a.IP); ok && got == address {
			return true
		}
	}
	return false
}
