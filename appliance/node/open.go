package node

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"time"

	"kedge/forwarding"
	"kedge/netstack/host"
	"kedge/netstack/kernel"
	"kedge/netstack/seg6"
	"kedge/signaling"
)

func (n *Node) openJournal() (err error) {
	n.journal, err = kernel.Open(filepath.Join(n.cfg.StateDirectory, "undo.journal"))
	var damaged *kernel.DamageError
	if errors.As(err, &damaged) && n.journal != nil {
		n.log.Warn("undo journal is damaged; what could be read of it is undone", "error", err)
	} else if err != nil {
		return err
	}
	if left := n.journal.Pending(); len(left) > 0 {
		n.log.Info("undoing what an earlier run left behind", "changes", left)
		if err := n.journal.Restore(); err != nil {
			n.log.Warn("could not undo everything", "error", err)
		}
	}
	return nil
}

func (n *Node) openHost() (err error) {
	n.host, err = host.New(host.Config{
		MTU:    1280, // what the host says goes wherever, also through tunnels
		Output: n.outlet.sendHost,
		Tunneled: func(source, destination netip.Addr, trafficClass uint8, inner []byte) {
			// At once, so that nothing that was read later overtakes it.
			n.outlet.reassembled(0, source, destination, trafficClass, inner)
		},
		MobilityHeader: func(source, destination netip.Addr, message []byte) {
			message = append([]byte(nil), message...)
			n.loop.offer(func(now time.Time) {
				n.event(now, signaling.Received{Source: source, Destination: destination, Payload: message})
			})
		},
	})
	return err
}

// openLinks opens the TUN device and the Ethernet links.
func (n *Node) openLinks(secret []byte) error {
	id := forwarding.PortID(0)
	if n.cfg.TUN != nil {
		n.device = &device{node: n, cfg: *n.cfg.TUN, id: id}
		if err := n.device.open(); err != nil {
			return err
		}
	}
	for _, c := range n.cfg.Links {
		id++
		if n.cfg.UDP != nil && n.cfg.MobileNode != nil {
			n.uplinks = append(n.uplinks, &uplink{node: n, cfg: c})
		}
		if !c.Native {
			continue
		}
		if c.Access {
			l, err := newAccessLink(n, c, id)
			if err != nil {
				return err
			}
			n.accessLinks = append(n.accessLinks, l)
			continue
		}
		l, err := newLink(n, c, id, secret)
		if err != nil {
			return err
		}
		n.links = append(n.links, l)
	}
	if err := n.openDatagrams(id); err != nil {
		return err
	}
	n.routes()
	if n.cfg.SegmentRouting {
		n.accelerator = newAccelerator(n, id+forwarding.PortID(len(n.datagrams))+1)
	}
	return nil
}

// closeLinks closes what openLinks opened before it failed. Once pumps run, they close their links.
func (n *Node) closeLinks() {
	if n.device != nil && n.device.link != nil {
		n.device.link.Close()
	}
	for _, l := range n.links {
		l.eth.Close()
	}
	for _, l := range n.accessLinks {
		l.eth.Close()
	}
	for _, d := range n.datagrams {
		d.link.Close()
	}
}

// watch tells links what the host kernel says of their interfaces.
func (n *Node) watch(ctx context.Context) error {
	var names []string
	for _, l := range n.links {
		names = append(names, l.cfg.Interface)
	}
	for _, l := range n.accessLinks {
		names = append(names, l.cfg.Interface)
	}
	for _, u := range n.uplinks {
		names = append(names, u.cfg.Interface)
	}
	if n.device != nil {
		names = append(names, n.device.cfg.Name)
	}
	if n.accelerator != nil {
		names = append(names, seg6.DefaultName)
	}
	return kernel.Watch(ctx, names, func(e kernel.Event) {
		if n.device != nil && e.Link.Name == n.device.cfg.Name {
			if e.Kind == kernel.LinkVanished {
				n.device.vanished()
			}
			return
		}
		_ = n.loop.post(ctx, func(now time.Time) {
			if e.Link.Name == seg6.DefaultName && e.Kind == kernel.LinkVanished {
				n.accelerator.vanished()
			}
			for _, l := range n.links {
				if l.cfg.Interface == e.Link.Name {
					l.kernelEvent(now, e)
				}
			}
			if l := n.access(e.Link.Name); l != nil {
				l.kernelEvent(now, e)
			}
			for _, u := range n.uplinks {
				if u.cfg.Interface == e.Link.Name {
					u.kernelEvent(now, e)
				}
			}
		})
	})
}

func (n *Node) link(name string) *link {
	for _, l := range n.links {
		if l.cfg.Interface == name {
			return l
		}
	}
	return nil
}

// linkOf is the link with a port; nil for the TUN.
func (n *Node) linkOf(id forwarding.PortID) *link {
	for _, l := range n.links {
		if l.id == id {
			return l
		}
	}
	return nil
}

// routes gives the engine the default route of the link on which a mobile node is at home, else of the most preferred link
// that has a router, or for an anchor behind its host that of the TUN device.
func (n *Node) routes() {
	var best *link
	for _, l := range n.links {
		switch {
		case !l.router.IsValid():
		case l.cfg.Interface == n.native, best == nil, best.cfg.Interface != n.native && l.cfg.Preference > best.cfg.Preference:
			best = l
		}
	}
	everywhere := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	if best == nil && len(behindHost(n.cfg)) > 0 {
		if err := n.engine.SetRoute(everywhere, n.device.id, netip.Addr{}); err != nil {
			n.log.Error("default route", "device", n.device.cfg.Name, "error", err)
		}
		return
	}
	if best == nil {
		n.engine.RemoveRoute(everywhere)
		return
	}
	if err := n.engine.SetRoute(everywhere, best.id, best.router); err != nil {
		n.log.Error("default route", "link", best.cfg.Interface, "error", err)
	}
}
