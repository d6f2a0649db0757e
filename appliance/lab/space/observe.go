package space

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// HostState is what a kernel has learned on one interface.
type HostState struct {
	// Taken is when, in nanoseconds of the wall clock.
	Taken     int64
	Addresses []HostAddress
	Neighbors []HostNeighbor
	// Routers is the default router list.
	Routers []netip.Addr
}

// HostAddress is an address of global scope.
type HostAddress struct {
	Address               netip.Addr
	Deprecated, Tentative bool
	Preferred, Valid      time.Duration
}

// HostNeighbor is an entry of the neighbour cache.
type HostNeighbor struct {
	Address   netip.Addr
	LinkLayer string
	// Router says that the kernel takes it for a router.
	Router bool
	// State is a word of RFC 4861 section 7.3.2, or failed or permanent.
	State string
}

// State reads what the kernel has learned on an interface, each list in order of addresses.
func (n *Namespace) State(iface string) (s HostState, err error) {
	s.Taken = time.Now().UnixNano()
	link, err := n.Handle.LinkByName(iface)
	if err != nil {
		return s, err
	}
	addresses, err := n.Handle.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return s, err
	}
	for _, a := range addresses {
		address, ok := netip.AddrFromSlice(a.IP)
		if !ok || a.Scope != unix.RT_SCOPE_UNIVERSE {
			continue
		}
		s.Addresses = append(s.Addresses, HostAddress{
			Address: address, Deprecated: a.Flags&unix.IFA_F_DEPRECATED != 0, Tentative: a.Flags&unix.IFA_F_TENTATIVE != 0,
			Preferred: time.Duration(a.PreferedLft) * time.Second, Valid: time.Duration(a.ValidLft) * time.Second,
		})
	}
	slices.SortFunc(s.Addresses, func(a, b HostAddress) int { return a.Address.Compare(b.Address) })
	if s.Neighbors, err = n.neighbors(link.Attrs().Index); err != nil {
		return s, err
	}
	s.Routers, err = n.routers(link.Attrs().Index)
	return s, err
}

var neighborStates = map[int]string{
	unix.NUD_INCOMPLETE: "incomplete", unix.NUD_REACHABLE: "reachable", unix.NUD_STALE: "stale", unix.NUD_DELAY: "delay",
	unix.NUD_PROBE: "probe", unix.NUD_FAILED: "failed", unix.NUD_PERMANENT: "permanent",
}

func (n *Namespace) neighbors(index int) (out []HostNeighbor, err error) {
	all, err := n.Handle.NeighList(index, netlink.FAMILY_V6)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		address, ok := netip.AddrFromSlice(e.IP)
		if !ok || address.IsMulticast() || e.State&unix.NUD_NOARP != 0 {
			continue
		}
		out = append(out, HostNeighbor{
			Address: address, LinkLayer: net.HardwareAddr(e.HardwareAddr).String(), Router: e.Flags&unix.NTF_ROUTER != 0,
			State: cmp.Or(neighborStates[e.State], "none"),
		})
	}
	slices.SortFunc(out, func(a, b HostNeighbor) int { return a.Address.Compare(b.Address) })
	return out, nil
}

func (n *Namespace) routers(index int) (out []netip.Addr, err error) {
	filter := &netlink.Route{LinkIndex: index, Protocol: unix.RTPROT_RA}
	routes, err := n.Handle.RouteListFiltered(netlink.FAMILY_V6, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		if ones := 0; r.Dst != nil {
			if ones, _ = r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		if gateway, ok := netip.AddrFromSlice(r.Gw); ok {
			out = append(out, gateway)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, nil
}
