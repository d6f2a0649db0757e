package node

import (
	"context"
	"math"
	"net/netip"
	"time"

	"kedge/appliance/control"
	"kedge/config"
	"kedge/forwarding"
	"kedge/netstack/udp"
)

// datagrams is a socket of the UDP transport (RFC 5555): the one of an anchor, or that of a mobile node's uplink.
type datagrams struct {
	node *Node
	id   forwarding.PortID
	// uplink is the interface that it is bound to; empty at an anchor, whose kernel's routes say where datagrams leave.
	uplink string
	link   *udp.Link
}

func newDatagrams(n *Node, c config.UDP, uplink string, id forwarding.PortID) (*datagrams, error) {
	l, err := udp.Open(udp.Config{
		Interface: uplink, Listen: c.Listen, Segment: c.SegmentationOffload, Coalesce: c.ReceiveOffload, ReceiveBuffer: c.ReceiveBuffer,
		PathMTU: func(remote netip.Addr, mtu int) { n.engine.SetPathMTU(remote, mtu, time.Now()) },
	})
	if err != nil {
		return nil, err
	}
	d := &datagrams{node: n, id: id, uplink: uplink, link: l}
	n.ports.set(id, l)
	d.setMTU()
	return d, nil
}

// setMTU tells the engine what the interface carries.
func (d *datagrams) setMTU() {
	mtu := d.link.MTU()
	if mtu == 0 {
		mtu = linkMTU // until the interface is there
	}
	if err := d.node.engine.SetPort(forwarding.Port{ID: d.id, UDP: true, MTU: max(mtu, leastMTU), Features: d.link.Features()}); err != nil {
		d.node.log.Error("UDP port", "link", d.name(), "error", err)
	}
}

// pathMTU is what the kernel knows of the way to a peer, at least what the first link carries; 0 if nothing. A socket that is
// bound to no interface has no MTU of its own.
func (d *datagrams) pathMTU(remote netip.Addr) uint16 {
	if d.uplink != "" {
		return 0
	}
	mtu, err := d.link.PathMTU(remote)
	if err != nil || mtu < 0 || mtu > math.MaxUint16 {
		return 0
	}
	return uint16(mtu)
}

// run pumps packets until ctx ends.
func (d *datagrams) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { d.link.Close() })()
	w := d.node.engine.NewWorker()
	defer w.Close()
	return pump(ctx, d.link, d.id, w, d.node.ports, d.node)
}

// name is what people know it by.
func (d *datagrams) name() string {
	if d.uplink == "" {
		return "udp"
	}
	return "udp-" + d.uplink
}

func (d *datagrams) show() control.Link {
	return control.Link{Name: d.name(), Kind: "udp", Up: true, MTU: d.link.MTU()}
}

// datagramsOf is the socket of an uplink, or an anchor's.
func (n *Node) datagramsOf(uplink string) *datagrams {
	for _, d := range n.datagrams {
		if d.uplink == uplink || d.uplink == "" {
			return d
		}
	}
	return nil
}

// openDatagrams opens the sockets of the UDP transport: one for each uplink of a mobile node, so that what is sent by one
// leaves there, and one for an anchor.
func (n *Node) openDatagrams(id forwarding.PortID) error {
	if n.cfg.UDP == nil {
		return nil
	}
	uplinks := []string{""}
	if n.cfg.MobileNode != nil {
		uplinks = nil
		for _, c := range n.cfg.Links {
			uplinks = append(uplinks, c.Interface)
		}
	}
	for _, uplink := range uplinks {
		id++
		d, err := newDatagrams(n, *n.cfg.UDP, uplink, id)
		if err != nil {
			return err
		}
		n.datagrams = append(n.datagrams, d)
	}
	return nil
}
