package node

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"kedge/appliance/control"
	"kedge/config"
	"kedge/forwarding"
	"kedge/netstack/access"
	"kedge/netstack/ethernet"
	"kedge/netstack/kernel"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
	"kedge/signaling"
)

// accessLink is an Ethernet interface to mobile nodes without mobility software: a table that is the routers of each. All but
// run is for the loop.
type accessLink struct {
	node *Node
	cfg  config.Link
	id   forwarding.PortID

	eth *ethernet.Link
	// table is nil until the interface has been there; one with another link-layer address gets a new table.
	table     *access.Table
	tableAddr packet.LinkAddress
	// served is what the role wants mobile nodes to see, for the next table.
	served map[servedPrefix]signaling.Router
	up     bool
}

// servedPrefix is a mobile node and one of its prefixes.
type servedPrefix struct {
	mobileNode signaling.LinkLayerAddress
	prefix     netip.Prefix
}

func newAccessLink(n *Node, c config.Link, id forwarding.PortID) (*accessLink, error) {
	l := &accessLink{node: n, cfg: c, id: id, served: map[servedPrefix]signaling.Router{}}
	var err error
	l.eth, err = ethernet.Open(ethernet.Config{
		Interface: c.Interface, Offload: c.Offload,
		Changed: func(s ethernet.State) { n.loop.offer(func(now time.Time) { l.interfaceChanged(now, s) }) },
	})
	if err != nil {
		return nil, err
	}
	n.ports.set(id, l.eth)
	l.setMTU(l.eth.MTU())
	return l, nil
}

func (l *accessLink) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { l.eth.Close() })()
	w := l.node.engine.NewWorker()
	defer w.Close()
	return pump(ctx, l.eth, l.id, w, l.node.ports, l.node)
}

// interfaceChanged gives the interface a table once it has a link-layer address, and a new one if that changes.
func (l *accessLink) interfaceChanged(now time.Time, s ethernet.State) {
	if !s.Present {
		return
	}
	l.setMTU(s.MTU)
	if l.table != nil && s.Address == l.tableAddr {
		l.table.SetMTU(s.MTU)
		return
	}
	l.table = access.New(access.Config{LinkAddress: s.Address, MTU: s.MTU})
	l.tableAddr = s.Address
	l.eth.Attach(l.table, func(out neighbor.Output) {
		for _, e := range out.Events {
			l.node.loop.offer(func(now time.Time) { l.event(now, e) })
		}
		if len(out.Undeliverable) > 0 {
			l.node.loop.offer(func(time.Time) { l.node.outlet.undeliverable(out.Undeliverable) })
		}
	})
	for p, r := range l.served {
		l.serve(now, p.mobileNode, r)
	}
	l.eth.Perform(l.table.Query(now))
}

func (l *accessLink) setMTU(mtu int) {
	if mtu == 0 {
		mtu = linkMTU // until the interface is there
	}
	if err := l.node.engine.SetPort(forwarding.Port{ID: l.id, MTU: mtu, Features: l.eth.Features(), Access: true}); err != nil {
		l.node.log.Error("link MTU", "link", l.cfg.Interface, "error", err)
	}
}

// event takes what the table says of mobile nodes.
func (l *accessLink) event(now time.Time, event neighbor.Event) {
	switch e := event.(type) {
	case access.Attached:
		l.node.event(now, signaling.MobileNodeAttached{Link: l.cfg.Interface, LinkLayer: signaling.LinkLayerAddress(e.LinkLayer), Cause: e.Cause.String()})
	case access.Departed:
		l.node.event(now, signaling.MobileNodeDetached{Link: l.cfg.Interface, LinkLayer: signaling.LinkLayerAddress(e.LinkLayer), Cause: e.Cause.String()})
	case access.Contested:
		l.node.log.Warn("a host claims the address of another host's router", "link", l.cfg.Interface, "detail", fmt.Sprintf("%+v", e))
	}
}

// kernelEvent takes what the host kernel says of the interface.
func (l *accessLink) kernelEvent(now time.Time, e kernel.Event) {
	switch e.Kind {
	case kernel.LinkUp, kernel.LinkDown, kernel.LinkVanished:
		l.up = e.Kind == kernel.LinkUp
	default:
		return
	}
	if l.table != nil {
		l.eth.Perform(l.table.Carrier(now, l.up))
		if l.up {
			l.eth.Perform(l.table.Query(now))
		}
	}
}

// advertise carries out an Advertise.
func (l *accessLink) advertise(now time.Time, e signaling.Advertise) {
	l.served[servedPrefix{e.MobileNode, e.Router.Prefix}] = e.Router
	l.serve(now, e.MobileNode, e.Router)
}

func (l *accessLink) serve(now time.Time, mobileNode signaling.LinkLayerAddress, r signaling.Router) {
	if l.table == nil {
		return
	}
	out, err := l.table.Serve(now, packet.LinkAddress(mobileNode), access.Router{
		LinkLocal: r.LinkLocal, LinkLayer: packet.LinkAddress(r.LinkLayer), Prefix: r.Prefix,
		Preferred: r.Preferred.Truncate(time.Second), Valid: r.Valid.Truncate(time.Second),
		Lifetime: r.Lifetime.Truncate(time.Second), LocalPrefixes: r.LocalPrefixes,
	})
	if err != nil {
		l.node.log.Error("mobile node not served", "link", l.cfg.Interface, "mobile_node", mobileNode, "error", err)
		return
	}
	l.eth.Perform(out)
}

// unadvertise carries out an Unadvertise.
func (l *accessLink) unadvertise(now time.Time, e signaling.Unadvertise) {
	delete(l.served, servedPrefix{e.MobileNode, e.Prefix})
	if l.table != nil {
		l.eth.Perform(l.table.Withdraw(now, packet.LinkAddress(e.MobileNode), e.Prefix, e.Tell))
	}
}

// stranger takes the first data of a mobile node that is not attached.
func (l *accessLink) stranger(now time.Time, from packet.LinkAddress) {
	if l.table != nil {
		l.eth.Perform(l.table.Seen(now, from, access.Data))
	}
}

func (l *accessLink) show() control.Link {
	return control.Link{Name: l.cfg.Interface, Kind: "access", Up: l.up, Absent: !l.eth.State().Present, MTU: l.eth.MTU()}
}

// access is the access link of an interface; nil if there is none.
func (n *Node) access(name string) *accessLink {
	for _, l := range n.accessLinks {
		if l.cfg.Interface == name {
			return l
		}
	}
	return nil
}

// bindAttached carries out a BindAttached.
func (n *Node) bindAttached(b signaling.BindAttached) {
	l := n.access(b.Link)
	if l == nil {
		n.log.Error("mobile node on a link that is not there", "link", b.Link)
		return
	}
	a := forwarding.Attached{Port: l.id, MobileNode: packet.LinkAddress(b.MobileNode), Tunnel: forwarding.Tunnel{Native: true}}
	if b.Remote.IsValid() {
		a.Tunnel = forwarding.Tunnel{Local: b.Local, Remote: b.Remote}
	}
	if err := n.engine.BindAttached(b.Prefix, a); err != nil {
		n.log.Error("prefix not attached", "prefix", b.Prefix, "error", err)
	}
}

// idleInterval is how often prefixes are looked at for whether they are used.
const idleInterval = 5 * time.Second

// idleWatch tells an access router of prefixes that nobody uses. It is a machine of the loop.
type idleWatch struct {
	node *Node
	role *accessRouter
	last time.Time
}

func (w *idleWatch) next() time.Time { return w.last.Add(idleInterval) }

func (w *idleWatch) tick(now time.Time) {
	w.last = now
	for _, i := range w.role.Nodes(now) {
		for _, p := range i.PreviousMAARs {
			w.look(now, p.Prefix, p.Since)
		}
		if i.ServingMAAR.IsValid() {
			for _, p := range i.Prefixes {
				w.look(now, p, i.Since)
			}
		}
	}
}

func (w *idleWatch) look(now time.Time, prefix netip.Prefix, since time.Time) {
	u, ok := w.node.engine.AttachedUse(prefix)
	if !ok {
		return
	}
	if last := u.Last(); last.After(since) {
		since = last
	}
	w.node.event(now, signaling.PrefixIdle{Prefix: prefix, Since: since})
}
