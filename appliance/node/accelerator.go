package node

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"kedge/forwarding"
	"kedge/netstack"
	"kedge/netstack/ethernet"
	"kedge/netstack/packet"
	"kedge/netstack/seg6"
	"kedge/netstack/tun"
	"kedge/signaling"
)

// accelerator has the host's kernel encapsulate what leaves for native tunnels. The kernel knows one outer source address at a
// time: at a mobile node that of the home address's binding, at an anchor its own. Tunnels from others, and all of them
// while anything is wrong with it, are as they are without. Its methods are for the loop.
type accelerator struct {
	node *Node
	id   forwarding.PortID
	// device is nil while there is none; failed says that the log knows.
	device *seg6.Accelerator
	failed bool
	plain  plainLink
	path   seg6.Path
	// following says that the path is being set, from which tunnels follow.
	following bool
	// tunnels are the native bindings, accelerated or not.
	tunnels map[netip.Prefix]signaling.Bind
}

// plainLink is the uplink for the time being.
type plainLink struct {
	netstack.Link
	uplink atomic.Pointer[ethernet.Link]
}

// Write implements netstack.Link.
func (p *plainLink) Write(pkts []*packet.Packet) (int, error) {
	if l := p.uplink.Load(); l != nil {
		return l.Write(pkts)
	}
	return 0, nil
}

func newAccelerator(n *Node, id forwarding.PortID) *accelerator {
	a := &accelerator{node: n, id: id, tunnels: map[netip.Prefix]signaling.Bind{}}
	a.open()
	return a
}

func (a *accelerator) open() {
	offload := tun.Offload{TCP: a.node.cfg.TUN.OffloadTCP, UDP: a.node.cfg.TUN.OffloadUDP}
	device, err := seg6.Open(seg6.Config{Offload: offload, Journal: a.node.journal, Plain: &a.plain})
	if err != nil {
		a.complain("not accelerated", err)
		return
	}
	a.device, a.failed = device, false
	a.node.ports.set(a.id, device.Link())
}

// close takes all back that the kernel was asked for.
func (a *accelerator) close() error {
	if a.device == nil {
		return nil
	}
	a.node.ports.clear(a.id)
	device := a.device
	a.device, a.path = nil, seg6.Path{}
	return device.Close()
}

// complain logs the first of several failures.
func (a *accelerator) complain(what string, err error) {
	log := a.node.log.Warn
	if a.failed {
		log = a.node.log.Debug
	}
	a.failed = true
	log(what, "accelerate", "seg6", "error", err)
}

// vanished makes the device again that somebody has removed.
func (a *accelerator) vanished() {
	if a.device == nil || a.device.Link().MTU() != 0 {
		return
	}
	if err := a.close(); err != nil {
		a.complain("not all of it could be undone", err)
	}
	a.open()
	for _, l := range a.node.links {
		a.linkChanged(l)
	}
	if a.path.Local.IsValid() {
		return
	}
	for _, b := range a.tunnels {
		a.node.publish(time.Now(), b)
	}
}

// follow has the kernel's path be that from local by an uplink, which is as movement detection knows it.
func (a *accelerator) follow(local netip.Addr, l *link) {
	if a.device == nil || a.following {
		return
	}
	a.following = true
	defer func() { a.following = false }()
	path := seg6.Path{Local: local, Uplink: l.cfg.Interface}
	for _, p := range l.onLink {
		path.Routes = append(path.Routes, seg6.Route{Prefix: p})
	}
	if l.router.IsValid() {
		r := seg6.Route{Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Router: l.router}
		if l.table != nil {
			r.LinkAddress, _ = l.table.Lookup(l.router)
		}
		path.Routes = append(path.Routes, r)
	}
	if !l.up || len(path.Routes) == 0 {
		path = seg6.Path{}
	}
	a.setPort(l)
	same := func(x, y seg6.Route) bool { return x.Prefix == y.Prefix && x.Router == y.Router }
	if path.Local == a.path.Local && path.Uplink == a.path.Uplink && slices.EqualFunc(path.Routes, a.path.Routes, same) {
		return
	}
	a.plain.uplink.Store(l.eth)
	a.path = path
	if err := a.device.SetPath(path); err != nil {
		a.complain("no path for accelerated packets", err)
		a.path = seg6.Path{}
	}
	for _, b := range a.tunnels {
		a.node.publish(time.Now(), b)
	}
}

// setPort tells the engine what the uplink carries.
func (a *accelerator) setPort(l *link) {
	p := forwarding.Port{ID: a.id, Encapsulates: true, MTU: l.mtu(), Features: a.device.Link().Features()}
	if err := a.node.engine.SetPort(p); err != nil {
		a.complain("no port for accelerated packets", err)
	}
}

// linkChanged follows a link whose router, prefixes or state have changed.
func (a *accelerator) linkChanged(l *link) {
	if a == nil || l.movement == nil {
		return
	}
	if b, ok := a.tunnels[a.node.homePrefix()]; ok {
		if b.Link == l.cfg.Interface {
			a.follow(b.Local, l)
		}
		return
	}
	if own := anchorAddress(a.node.cfg); own.IsValid() && l.owns(own) {
		a.follow(own, l)
	}
}

// take keeps a binding in mind and reports whether the kernel encapsulates what leaves for its tunnel.
func (a *accelerator) take(b signaling.Bind) bool {
	if b.Native || b.RemotePort != 0 {
		a.forget(b.Home)
		return false
	}
	a.tunnels[b.Home] = b
	if l := a.node.link(b.Link); l != nil && b.Mobile && b.Home == a.node.homePrefix() && b.Local != a.path.Local {
		a.follow(b.Local, l)
	}
	if a.device == nil || b.Local != a.path.Local {
		return false
	}
	if err := a.device.Tunnel(selector(b.Mobile), b.Home, b.Remote); err != nil {
		a.complain("a tunnel that is not accelerated", err)
		return false
	}
	return true
}

// forget drops a binding that forwarding does not know any more.
func (a *accelerator) forget(home netip.Prefix) {
	b, ok := a.tunnels[home]
	if !ok {
		return
	}
	delete(a.tunnels, home)
	if a.device == nil {
		return
	}
	if err := a.device.Remove(selector(b.Mobile), home); err != nil {
		a.complain("a tunnel that could not be undone", err)
	}
}

func selector(mobile bool) seg6.Selector {
	if mobile {
		return seg6.BySource
	}
	return seg6.ByDestination
}

// homePrefix is the home address of a mobile node, else not valid.
func (n *Node) homePrefix() netip.Prefix {
	if m := n.cfg.MobileNode; m != nil {
		return netip.PrefixFrom(m.HomeAddress, 128)
	}
	return netip.Prefix{}
}
