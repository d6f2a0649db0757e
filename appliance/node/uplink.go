package node

import (
	"net/netip"
	"slices"
	"time"

	"kedge/config"
	"kedge/netstack/kernel"
	"kedge/signaling"
)

// uplink is an interface by which a mobile node may reach its anchors over UDP, from addresses of the host's kernel. What
// the interface offers natively, if kedge has addresses of its own there, comes from movement detection. The machines see
// one attachment of both.
type uplink struct {
	node *Node
	cfg  config.Link

	up bool
	// mtu is the interface's.
	mtu int
	// addresses are the kernel's, in the order in which they appeared.
	addresses []kernel.Address
	// native is what movement detection said last.
	native signaling.Attachment
	// host and hostIPv4 are what the machines were told.
	host, hostIPv4 netip.Addr
}

// kernelEvent takes what the host kernel says of the interface.
func (u *uplink) kernelEvent(now time.Time, e kernel.Event) {
	same := func(a kernel.Address) bool { return a.Prefix == e.Address.Prefix }
	switch e.Kind {
	case kernel.LinkUp, kernel.LinkDown:
		u.up = e.Kind == kernel.LinkUp
	case kernel.LinkVanished:
		u.up, u.addresses = false, nil
	case kernel.AddressAdded:
		u.addresses = append(u.addresses, e.Address)
	case kernel.AddressChanged:
		if i := slices.IndexFunc(u.addresses, same); i >= 0 {
			u.addresses[i] = e.Address
		}
	case kernel.AddressRemoved:
		u.addresses = slices.DeleteFunc(u.addresses, same)
	}
	if e.Link.MTU > 0 && e.Link.MTU != u.mtu {
		u.mtu = e.Link.MTU
		u.node.datagramsOf(u.cfg.Interface).setMTU()
	}
	host, hostIPv4 := u.choose()
	if host != u.host || hostIPv4 != u.hostIPv4 {
		u.host, u.hostIPv4 = host, hostIPv4
		u.tell(now)
	}
}

// attach takes what movement detection says.
func (u *uplink) attach(now time.Time, a signaling.Attachment) {
	u.native = a
	u.tell(now)
}

func (u *uplink) tell(now time.Time) {
	a := u.native
	a.Uplink, a.Preference, a.Host, a.HostIPv4 = u.cfg.Interface, u.cfg.Preference, u.host, u.hostIPv4
	if a.MTU == 0 {
		a.MTU = u.mtu
	}
	u.node.event(now, a)
}

// choose picks the addresses that datagrams leave from: the newest that may be used, since the one before may be of the
// network that the node has left; deprecated and temporary ones (RFC 8981) only for want of others.
func (u *uplink) choose() (ipv6, ipv4 netip.Addr) {
	if !u.up {
		return ipv6, ipv4
	}
	best := -1
	for _, a := range u.addresses {
		address := a.Prefix.Addr()
		switch {
		case a.Tentative || a.Duplicate || !address.IsGlobalUnicast():
			continue
		case address.Is4():
			ipv4 = address
			continue
		}
		rank := 0
		if !a.Deprecated {
			rank += 2
		}
		if !a.Temporary {
			rank++
		}
		if rank >= best {
			best, ipv6 = rank, address
		}
	}
	return ipv6, ipv4
}

// attach hands on what movement detection says of an interface.
func (n *Node) attach(now time.Time, a signaling.Attachment) {
	for _, u := range n.uplinks {
		if u.cfg.Interface == a.Uplink {
			u.attach(now, a)
			return
		}
	}
	n.event(now, a)
}
