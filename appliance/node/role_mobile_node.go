package node

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/store"
	"kedge/config"
	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/dmipv6"
	"kedge/signaling/mobilenode"
	"kedge/signaling/routeoptimization"
)

// mobileNode is the mobile node role: the home address's machine, and beside it the one that anchors single flows.
type mobileNode struct {
	home *mobilenode.Machine
	cfg  *config.MobileNode
	// flows and leases are nil without DMIPv6.
	flows  *dmipv6.Machine
	leases *store.Store
	// optimization is nil unless the operator allows route optimisation.
	optimization *routeoptimization.Machine
	// registration is what flows was told last.
	registration signaling.HomeRegistration
}

// mostPairs bounds the correspondents that the operator has route optimisation with, each by one address.
const mostPairs = 256

func newMobileNode(c *config.Config) (*mobileNode, error) {
	m := c.MobileNode
	settings := mobilenode.Config{
		HomeAddress: m.HomeAddress, HomePrefix: m.HomePrefix, HomeAgent: m.HomeAgent, Identifier: m.Identifier,
		Lifetime: m.Lifetime, AllowUnauthenticated: m.AllowUnauthenticated, Random: random16,
		Transport: transports[m.Transport], Endpoints: m.HomeAgentEndpoints,
	}
	if m.SPI != 0 {
		a := association(c.SecurityAssociations[m.SPI], m.Identifier)
		settings.Association = &a
	}
	role := &mobileNode{cfg: m}
	var err error
	if role.home, err = mobilenode.New(settings); err != nil {
		return nil, err
	}
	if m.RouteOptimization {
		role.optimization, err = routeoptimization.New(routeoptimization.Config{HomeAddress: m.HomeAddress, MaxPairs: mostPairs})
		if err != nil {
			return nil, err
		}
	}
	if c.DMIPv6 == nil {
		return role, nil
	}
	if role.leases, err = store.Open(filepath.Join(c.StateDirectory, "leases.db")); err != nil {
		return nil, err
	}
	if role.flows, err = dmipv6.New(dmipv6Of(c, settings.Association, role.leases)); err != nil {
		return nil, errors.Join(err, role.close())
	}
	return role, nil
}

var transports = map[config.Transport]mobilenode.Transport{
	config.Native: mobilenode.Native, config.UDPTransport: mobilenode.UDP, config.Auto: mobilenode.Auto,
}

func random16() uint16 {
	var b [2]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint16(b[:])
}

func dmipv6Of(c *config.Config, a *auth.Association, leases *store.Store) dmipv6.Config {
	d := c.DMIPv6
	profiles, _ := profilesOf(d.Rules)
	settings := dmipv6.Config{
		HomeAddress: c.MobileNode.HomeAddress, Identifier: c.MobileNode.Identifier, Association: a,
		AllowUnauthenticated: c.MobileNode.AllowUnauthenticated, Profiles: profiles,
		UseHomeAgent: d.UseHomeAgent, Anycast: d.Anycast, Lifetime: d.Lifetime, HoldTime: d.HoldTime, IdleTime: d.IdleTime,
		GracefulTime: d.GracefulTime, HeartbeatInterval: d.Heartbeat, Hints: d.SourceHints, MaxAnchors: d.MaxAnchors,
		Transport: transports[d.Transport], Store: leases, Random: random16,
	}
	for _, p := range d.Proxies {
		settings.Proxies = append(settings.Proxies, dmipv6.Proxy{
			Address: p.Address, Coverage: p.Coverage, Preference: p.Preference, Transport: transports[p.Transport], Endpoints: p.Endpoints,
		})
	}
	return settings
}

// Handle implements signaling.Machine. Each machine takes what is for it; only that of the home address answers what none can
// read.
func (m *mobileNode) Handle(now time.Time, e signaling.Event) []signaling.Effect {
	effects := m.home.Handle(now, e)
	if m.flows != nil {
		effects = append(effects, m.flows.Handle(now, e)...)
	}
	if m.optimization != nil {
		effects = append(effects, m.optimization.Handle(now, e)...)
	}
	return m.tell(now, effects)
}

// tell tells the other machines what has become of the home address, and of its tunnels, by effects.
func (m *mobileNode) tell(now time.Time, effects []signaling.Effect) []signaling.Effect {
	if r := m.register(now); r != m.registration {
		m.registration = r
		if m.flows != nil {
			effects = append(effects, m.flows.Handle(now, r)...)
		}
		if m.optimization != nil {
			effects = append(effects, m.optimization.Handle(now, r)...)
		}
	}
	if m.optimization == nil {
		return effects
	}
	for _, e := range effects {
		switch e := e.(type) {
		case signaling.Bind:
			if e.Mobile {
				path := signaling.HomePath{Home: e.Home.Addr()}
				if e.RemotePort == 0 { // route optimisation is native only
					path = signaling.HomePath{Home: e.Home.Addr(), CareOf: e.Local, Link: e.Link, Router: e.Router, AtHome: e.Native}
				}
				effects = append(effects, m.optimization.Handle(now, path)...)
			}
		case signaling.Unbind:
			if e.Mobile {
				effects = append(effects, m.optimization.Handle(now, signaling.HomePath{Home: e.Home.Addr()})...)
			}
		}
	}
	return effects
}

// flowState says whether new flows get an anchor of their own, or why not.
func (m *mobileNode) flowState() string {
	switch {
	case m.registration.AtHome:
		return "not needed at home"
	case !m.registration.Registered:
		return "waiting for the registration with the home agent"
	}
	if why := m.flows.Unusable(); why != "" {
		return "known proxies only: " + why
	}
	return "ready"
}

// anchored reports whether the node is registered, or at home.
func (m *mobileNode) anchored(now time.Time) bool {
	r := m.register(now)
	return r.Registered || r.AtHome
}

// register is what flows has to know of the home address.
func (m *mobileNode) register(now time.Time) signaling.HomeRegistration {
	t := m.home.Status(now)
	r := signaling.HomeRegistration{HomeAgent: t.HomeAgent, CareOf: t.CareOf, Uplink: t.Uplink, Endpoint: t.Endpoint, RoundTrip: t.RTT}
	switch t.State {
	case mobilenode.StateRegistered:
		r.Registered = true
	case mobilenode.StateAtHome:
		r.AtHome = true
	}
	return r
}

// Next implements signaling.Machine.
func (m *mobileNode) Next() time.Time {
	next := m.home.Next()
	if m.flows != nil {
		next = earliest(next, m.flows.Next())
	}
	if m.optimization != nil {
		next = earliest(next, m.optimization.Next())
	}
	return next
}

func (m *mobileNode) stopped() bool {
	return m.home.Stopped() && (m.flows == nil || m.flows.Stopped())
}

func (m *mobileNode) start(now time.Time) ([]signaling.Effect, error) {
	if m.flows == nil {
		return nil, nil
	}
	return m.flows.Restore(now)
}

// holds reports whether a Distributed Home Address is this node's.
func (m *mobileNode) holds(a netip.Addr) bool {
	_, ok := m.anchorOf(a, time.Now())
	return ok
}

func (m *mobileNode) close() error {
	if m.leases == nil {
		return nil
	}
	return m.leases.Close()
}

func (m *mobileNode) removeBinding(time.Time, netip.Addr) ([]signaling.Effect, bool) {
	return nil, false
}

func (m *mobileNode) show(now time.Time, s *control.Status) (reason string) {
	t := m.home.Status(now)
	s.MobileNode = &control.MobileNode{
		State: string(t.State), HomeAddress: t.HomeAddress, CareOf: t.CareOf, Uplink: t.Uplink, HomeAgent: t.HomeAgent,
		LifetimeSeconds: t.Remaining.Seconds(), Sequence: t.Sequence, RTTMilliseconds: t.RTT.Seconds() * 1000, LastError: t.LastError,
		Path: pathOf(t),
	}
	addCounters(s.Counters, "mobile-node", t.Counters)
	if m.flows != nil {
		addCounters(s.Counters, "dmipv6", m.flows.Counters())
	}
	if m.optimization != nil {
		addCounters(s.Counters, "route-optimization", m.optimization.Counters())
	}
	switch t.State {
	case mobilenode.StateRegistered, mobilenode.StateAtHome:
		return ""
	}
	if t.LastError != "" {
		return string(t.State) + ": " + t.LastError
	}
	return string(t.State)
}

// pathOf is how a mobile node reaches an anchor.
func pathOf(s mobilenode.Status) control.Path {
	if !s.CareOf.IsValid() {
		return control.Path{}
	}
	p := control.Path{Transport: s.Transport.String(), Endpoint: s.Endpoint, NAT: s.NATDetected, KeepaliveSeconds: s.Keepalive.Seconds()}
	if s.Endpoint.IsValid() {
		p.Local = s.CareOf
	}
	return p
}

func (m *mobileNode) bindings(now time.Time) []control.Binding {
	list := []control.Binding{}
	if t := m.home.Status(now); t.Remaining > 0 {
		list = append(list, control.Binding{
			Home: netip.PrefixFrom(t.HomeAddress, 128), CareOf: t.CareOf, Peer: t.HomeAgent,
			LifetimeSeconds: t.Remaining.Seconds(), Sequence: t.Sequence, State: string(t.State), Path: pathOf(t),
		})
	}
	if m.flows == nil {
		return list
	}
	for _, a := range m.flows.Anchors(now) {
		list = append(list, control.Binding{
			Home: a.Prefix, CareOf: a.Registration.CareOf, Peer: a.Proxy, LifetimeSeconds: a.Registration.Remaining.Seconds(),
			Sequence: a.Registration.Sequence, State: string(a.Registration.State), Path: pathOf(a.Registration),
		})
	}
	slices.SortStableFunc(list, func(a, b control.Binding) int { return a.Home.Compare(b.Home) })
	return list
}
