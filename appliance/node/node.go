// Package node is one running kedge node: links, forwarding engine, gVisor host and the state machine of its role, wired
// together as its configuration says.
//
// Who runs where: each link has a goroutine that pumps its packets through the engine (ports.go) and never touches a state
// machine. Everything that does touch one runs on the loop (loop.go), in order: link events and commands, received
// signalling, timers. What machines want done is carried out there as well (effects.go). The host's packets and signalling
// leave by the outlet (outlet.go).
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"kedge/appliance/control"
	"kedge/config"
	"kedge/forwarding"
	"kedge/netstack"
	"kedge/netstack/host"
	"kedge/netstack/kernel"
	"kedge/netstack/tun"
	"kedge/signaling"
	"kedge/signaling/discovery"
)

const (
	// rememberedEvents is the length of the event trace.
	rememberedEvents = 4096
	// farewell is how long a node that is told to stop waits for its peers to have heard of it.
	farewell = 3 * time.Second
	// linkMTU is what a link is taken to carry before its interface has been seen.
	linkMTU = 1500
	// longestMTU bounds what routers may advertise.
	longestMTU = 65535
	// leastMTU is that of IPv6 links (RFC 8200 section 5).
	leastMTU = 1280
)

// errGone is the TUN link's error for a device that was removed.
var errGone = tun.ErrGone

// Node is a running node. It implements control.Node.
type Node struct {
	cfg     *config.Config
	log     *slog.Logger
	started time.Time

	loop    *loop
	engine  *forwarding.Engine
	ports   *ports
	outlet  *outlet
	host    *host.Host
	journal *kernel.Journal
	trace   *control.Trace

	role role
	// redirect is the mobile node's; homeless is nil unless it may be taken away.
	redirect redirect
	homeless *homeless
	// flows is nil unless a mobile node picks anchors per service flow.
	flows *flows
	// native is the link on which a mobile node is at home; empty while it is away.
	native string
	// chores are goroutines that do what the loop does not wait for; they end before the journal is closed.
	chores sync.WaitGroup
	links  []*link
	// accessLinks are a MAAR's to its mobile nodes.
	accessLinks []*accessLink
	// uplinks and datagrams are those of the UDP transport.
	uplinks   []*uplink
	datagrams []*datagrams
	device    *device
	// accelerator is nil unless the operator wants one.
	accelerator *accelerator

	// events are those that the role's machine has yet to be handed; busy says that it is being handed some.
	events []signaling.Event
	busy   bool
}

// Run runs a node until ctx ends, then takes down all that it set up.
func Run(ctx context.Context, cfg *config.Config, log *slog.Logger) (err error) {
	if err := os.MkdirAll(cfg.StateDirectory, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	listener, err := control.Listen(cfg.Control.Socket)
	if err != nil {
		return err
	}
	defer listener.Close()

	n := &Node{
		cfg: cfg, log: log, started: time.Now(),
		loop: newLoop(), ports: new(ports), trace: control.NewTrace(rememberedEvents),
		engine: forwarding.New(forwarding.Options{
			Anchor: anchors(cfg), AwaitBindings: previousCareOfTime(cfg) > 0, ForwardByHost: cfg.TUN != nil && cfg.TUN.ForwardByHost,
		}),
	}
	n.outlet = newOutlet(n.engine, n.ports, n)
	if err := n.openJournal(); err != nil {
		return err
	}
	defer func() {
		n.chores.Wait()
		err = errors.Join(err, n.journal.Restore(), n.journal.Close())
	}()
	n.redirect.log, n.redirect.journal = log, n.journal
	if m := cfg.MobileNode; m != nil && m.PlainIPv6 {
		n.homeless = &homeless{node: n, since: n.started}
	}
	secret, err := secretOf(cfg.StateDirectory)
	if err != nil {
		return err
	}
	if n.role, err = newRole(n, secret); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.role.close()) }()
	if cfg.DMIPv6 != nil {
		if n.flows, err = newFlows(n); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, n.flows.close()) }()
	}
	if err := n.openHost(); err != nil {
		return err
	}
	defer n.host.Close()

	// Everything below runs on a context of its own: when ctx ends, the role says farewell before the rest stops.
	running, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	defer group.Wait()
	defer stop(nil)
	run := func(what string, f func(context.Context) error) {
		group.Go(func() {
			if err := f(running); err != nil && running.Err() == nil {
				stop(fmt.Errorf("%s: %w", what, err))
			}
		})
	}

	if err := n.ignoreHomeLink(); err != nil {
		return err
	}
	if err := n.openLinks(secret); err != nil {
		n.closeLinks()
		return explain(err)
	}
	n.begin(time.Now()) // before the first packet, which may belong to a flow of an earlier run
	if n.device != nil {
		run("TUN device", n.device.run)
	}
	if n.accelerator != nil {
		defer func() { err = errors.Join(err, n.accelerator.close()) }()
	}
	for _, l := range n.links {
		run("link "+l.cfg.Interface, l.run)
	}
	for _, l := range n.accessLinks {
		run("link "+l.cfg.Interface, l.run)
	}
	for _, d := range n.datagrams {
		run(d.name(), d.run)
	}
	run("control API", func(ctx context.Context) error { return control.Serve(ctx, listener, n) })
	run("link events", n.watch)
	n.log.Info("node runs", "version", Version(), "roles", cfg.Roles, "control", cfg.Control.Socket)
	if unauthenticated(cfg) {
		n.log.Warn("signalling is NOT authenticated, as the configuration says: anybody can take over a home address")
	}
	return n.work(ctx, running)
}

// anchors reports whether a node forwards for others.
func anchors(c *config.Config) bool {
	return c.HomeAgent != nil || c.HomeProxy != nil || c.AccessRouter != nil || c.Database != nil && c.Database.ServePlain
}

// unauthenticated reports whether anybody's signalling is taken without authentication.
func unauthenticated(cfg *config.Config) bool {
	if m := cfg.MobileNode; m != nil {
		return m.AllowUnauthenticated
	}
	isOpen := func(m config.HomeAgentMobileNode) bool { return m.AllowUnauthenticated }
	if h := cfg.HomeProxy; h != nil {
		return slices.ContainsFunc(h.MobileNodes, isOpen)
	}
	h := cfg.HomeAgent
	return h != nil && (h.AllowUnauthenticated || slices.ContainsFunc(h.MobileNodes, isOpen))
}

// begin takes up what an earlier run left.
func (n *Node) begin(now time.Time) {
	if m := n.cfg.MobileNode; m != nil {
		n.hold(netip.PrefixFrom(m.HomeAddress, 128))
	}
	effects, err := n.role.start(now)
	if err != nil {
		n.log.Warn("restored with loss", "error", err)
	}
	n.carryOutAll(now, effects)
	if n.flows != nil {
		n.flows.restore(now, n.role.(*mobileNode).holds)
	}
}

// work runs the loop until ctx ends and the role has said farewell, or something fails.
func (n *Node) work(ctx, running context.Context) error {
	n.serveDiscovery(time.Now())
	n.loop.machines = append(n.loop.machines, roleMachine{n})
	if n.flows != nil {
		n.loop.machines = append(n.loop.machines, n.flows)
	}
	if n.homeless != nil {
		n.loop.machines = append(n.loop.machines, n.homeless)
	}
	if r, ok := roleOf[*accessRouter](n); ok {
		n.loop.machines = append(n.loop.machines, &idleWatch{node: n, role: r})
	}
	for _, l := range n.links {
		n.loop.machines = append(n.loop.machines, l)
	}
	deadline, over := context.WithCancel(running)
	defer over()
	stopWatching := context.AfterFunc(ctx, func() {
		n.log.Info("stopping")
		time.AfterFunc(farewell, over)
		_ = n.loop.post(deadline, func(now time.Time) { n.event(now, signaling.Shutdown{}) })
	})
	defer stopWatching()
	n.loop.run(deadline, func() bool { return ctx.Err() != nil && n.role.stopped() })
	if running.Err() != nil {
		return context.Cause(running)
	}
	return nil
}

// serveDiscovery makes an anchor answer to anycast addresses: a home agent to the home-agents anycast addresses of its
// prefixes (RFC 6275 section 8.4), on the home link or where the prefixes are routed to it; a Distributed Home-Proxy, if it is
// to, to that of each /64 it covers, which has to be routed to it.
func (n *Node) serveDiscovery(now time.Time) {
	if h := n.cfg.HomeAgent; h != nil {
		for _, l := range n.links {
			if l.cfg.Interface == h.HomeLink || h.HomeLink == "" && l.owns(h.Address) {
				for _, p := range h.HomePrefixes {
					l.serveAnycast(now, discovery.HomeAgentsAnycast(p), p)
				}
			}
		}
	}
	if h := n.cfg.HomeProxy; h != nil && h.Anycast {
		for _, l := range n.links {
			for _, v := range h.Coverage {
				if v.Prefix.Bits() == 64 && l.owns(h.Address) {
					l.serveAnycast(now, discovery.ProxiesAnycast(v.Prefix.Addr()), v.Prefix)
				}
			}
		}
	}
}

var _ netstack.Link = (*tun.Link)(nil)
