package node

import (
	"errors"
	"net/netip"
	"path/filepath"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/store"
	"kedge/config"
	"kedge/netstack/packet"
	"kedge/signaling"
	"kedge/signaling/accessrouter"
	"kedge/signaling/auth"
)

// accessRouter is the role of a mobility anchor and access router, or of a mobile access gateway.
type accessRouter struct {
	*accessrouter.Machine
	node *Node
	cfg  *config.AccessRouter
	// store is nil where nothing is kept.
	store *store.Store
}

func newAccessRouter(n *Node, secret []byte) (role, error) {
	c, a := n.cfg, n.cfg.AccessRouter
	settings := accessrouter.Config{
		Address: a.Address, Database: a.Database, SPI: a.SPI, LocalMobilityAnchor: a.LocalMobilityAnchor,
		Locator: len(a.Peers) > 0, Pools: a.Pools, LocalPrefixes: a.LocalPrefixes, AllowAnyNode: a.AllowAnyMobileNode,
		Lifetime: a.Lifetime, ValidLifetime: a.ValidLifetime, PreferredLifetime: a.PreferredLifetime,
		DeprecatedValid: a.DeprecatedLifetime, RouterLifetime: a.RouterLifetime, PrefixMemory: a.PrefixMemory,
		Quarantine: a.Quarantine, IdleTimeout: a.IdleTimeout, MaxNodes: a.MaxMobileNodes, MaxPreviousMAARs: a.MaxPreviousMAARs,
		Secret: [32]byte(secret), LinkLayerPrefix: packet.RouterPrefix, Associations: associations(c),
	}
	if a.LocalMobilityAnchor.IsValid() {
		settings.SPI, settings.LMASPI = 0, a.SPI
	}
	if a.Ordering == config.BySequence {
		settings.Ordering = accessrouter.SequenceNumbers
	}
	if a.Deregistration == config.RenewTimers {
		settings.Deregistration = accessrouter.AtExpiry
	}
	for _, p := range a.Peers {
		settings.Peers = append(settings.Peers, accessrouter.Peer{Address: p.Address, SPI: p.SPI})
	}
	for _, m := range a.MobileNodes {
		settings.Nodes = append(settings.Nodes, accessrouter.Node{
			LinkLayer: signaling.LinkLayerAddress(m.LinkLayer), Identifier: m.Identifier, Prefix: m.Prefix,
		})
	}
	role := &accessRouter{node: n, cfg: a}
	var err error
	if a.KeepSessions {
		if role.store, err = store.Open(filepath.Join(c.StateDirectory, "prefixes.db")); err != nil {
			return nil, err
		}
		settings.Store = role.store
	}
	if role.Machine, err = accessrouter.New(settings, time.Now()); err != nil {
		return nil, errors.Join(err, role.close())
	}
	return role, nil
}

func associations(c *config.Config) map[uint32]auth.Association {
	all := map[uint32]auth.Association{}
	for spi, a := range c.SecurityAssociations {
		all[spi] = association(a, "")
	}
	return all
}

func (a *accessRouter) stopped() bool                                   { return a.Stopped() }
func (a *accessRouter) start(now time.Time) ([]signaling.Effect, error) { return a.Restore(now) }
func (a *accessRouter) removeBinding(time.Time, netip.Addr) ([]signaling.Effect, bool) {
	return nil, false
}

func (a *accessRouter) close() error {
	if a.store == nil {
		return nil
	}
	return a.store.Close()
}

func (a *accessRouter) show(now time.Time, s *control.Status) string {
	nodes := a.Nodes(now)
	s.AccessRouter = &control.AccessRouter{
		Address: a.cfg.Address, Database: a.cfg.Database, LocalMobilityAnchor: a.cfg.LocalMobilityAnchor,
		Pools: a.cfg.Pools, MobileNodes: len(nodes),
	}
	addCounters(s.Counters, "maar", a.Counters())
	return ""
}

// bindings are the prefixes of mobile nodes with their tunnels: those anchored here and served elsewhere, and those served
// here and anchored elsewhere.
func (a *accessRouter) bindings(now time.Time) []control.Binding {
	list := []control.Binding{}
	for _, i := range a.Nodes(now) {
		for _, p := range i.Prefixes {
			list = append(list, control.Binding{
				Home: p, CareOf: i.ServingMAAR, Identifier: i.Identifier, LifetimeSeconds: i.ExpiresIn.Seconds(), Since: i.Since, State: i.State,
			})
		}
		for _, p := range i.PreviousMAARs {
			list = append(list, control.Binding{Home: p.Prefix, CareOf: a.cfg.Address, Peer: p.Address, Identifier: i.Identifier, Since: p.Since, State: i.State})
		}
	}
	return list
}

// mobileNodes is what the control API shows of mobile nodes.
func (a *accessRouter) mobileNodes(now time.Time) []control.AccessMobileNode {
	list := []control.AccessMobileNode{}
	for _, i := range a.Nodes(now) {
		m := control.AccessMobileNode{
			Identifier: i.Identifier, LinkLayer: i.LinkLayer, Link: i.Link, State: i.State, Since: i.Since,
			ServingMAAR: i.ServingMAAR, Registered: i.Registered, LifetimeSeconds: i.ExpiresIn.Seconds(), Prefixes: []control.AccessPrefix{},
		}
		for _, p := range i.Prefixes {
			m.Prefixes = append(m.Prefixes, a.prefix(p, a.cfg.Address, i.ServingMAAR.IsValid()))
		}
		for _, p := range i.PreviousMAARs {
			shown := a.prefix(p.Prefix, p.Address, true)
			shown.RouterLinkLocal, shown.RouterLinkLayer = p.LinkLocal, p.LinkLayer
			m.Prefixes = append(m.Prefixes, shown)
		}
		list = append(list, m)
	}
	return list
}

func (a *accessRouter) prefix(p netip.Prefix, anchor netip.Addr, tunnel bool) control.AccessPrefix {
	shown := control.AccessPrefix{Prefix: p, Anchor: anchor, Tunnel: tunnel}
	if u, ok := a.node.engine.AttachedUse(p); ok {
		shown.NativeIn, shown.NativeOut = u.To.Native, u.From.Native
		shown.TunneledIn, shown.TunneledOut = u.To.Tunneled, u.From.Tunneled
		shown.LastUsed = u.Last()
	}
	return shown
}
