package node

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/store"
	"kedge/config"
	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/directory"
	"kedge/signaling/homeagent"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

// homeAgent is the home agent role, with its directory of Distributed Home-Proxies.
type homeAgent struct {
	*homeagent.Machine
	// directory is nil where there are none: then the home agent knows nothing of their messages.
	directory *directory.Machine
	cfg       *config.HomeAgent
	// store is nil where bindings are not kept.
	store *store.Store
}

func newHomeAgent(c *config.Config) (role, error) {
	h := c.HomeAgent
	settings := homeagent.Config{
		Address: h.Address, HomeLink: h.HomeLink, Preference: h.Preference, MaxLifetime: h.MaxLifetime,
		RefreshAdvice: h.RefreshAdvice, MaxBindings: h.MaxBindings, MaxBindingsPerNode: h.MaxBindingsPerMobileNode,
		AllowAnyMobileNode: h.AllowAnyMobileNode, AllowUnauthenticated: h.AllowUnauthenticated,
		Associations: map[uint32]auth.Association{},
	}
	if c.UDP != nil {
		settings.NATRefresh = c.UDP.NATRefresh
	}
	for _, p := range h.HomePrefixes {
		settings.HomePrefixes = append(settings.HomePrefixes, homeagent.HomePrefix{Prefix: p})
	}
	for _, m := range h.MobileNodes {
		settings.MobileNodes = append(settings.MobileNodes, homeagent.MobileNode{
			Identifier: m.Identifier, HomeAddress: m.HomeAddress, MobileNetworks: m.MobileNetworks, SPI: m.SPI,
			AllowUnauthenticated: m.AllowUnauthenticated,
		})
	}
	for spi, a := range c.SecurityAssociations {
		settings.Associations[spi] = association(a, "")
	}
	role := &homeAgent{cfg: h}
	if h.KeepBindings {
		var err error
		if role.store, err = store.Open(filepath.Join(c.StateDirectory, "bindings.db")); err != nil {
			return nil, err
		}
		settings.Store = role.store
	}
	var err error
	if role.Machine, err = homeagent.New(settings, time.Now()); err != nil {
		return nil, errors.Join(err, role.close())
	}
	if len(h.Proxies) > 0 {
		d := directoryOf(c, settings.Associations)
		d.Clock = role.Clock // mobile nodes keep one clock for both
		if role.directory, err = directory.New(d, time.Now()); err != nil {
			return nil, errors.Join(err, role.close())
		}
	}
	return role, nil
}

func directoryOf(c *config.Config, associations map[uint32]auth.Association) directory.Config {
	d := directory.Config{
		Address: c.HomeAgent.Address, Associations: associations, TicketLifetime: c.HomeAgent.TicketLifetime,
	}
	for _, m := range c.HomeAgent.MobileNodes {
		if m.SPI != 0 {
			d.MobileNodes = append(d.MobileNodes, directory.MobileNode{Identifier: m.Identifier, SPI: m.SPI})
		}
	}
	for _, p := range c.HomeAgent.Proxies {
		d.Proxies = append(d.Proxies, directory.Proxy{Address: p.Address, SPI: p.SPI, Coverage: p.Coverage, Endpoints: p.Endpoints})
	}
	return d
}

// Handle hands messages of DMIPv6 to the directory and everything else to the home agent.
func (h *homeAgent) Handle(now time.Time, e signaling.Event) []signaling.Effect {
	if h.directory == nil {
		return h.Machine.Handle(now, e)
	}
	switch r := e.(type) {
	case signaling.Received:
		if experimental(r.Payload) {
			return h.directory.Handle(now, e)
		}
	case signaling.Tick:
		return append(h.Machine.Handle(now, e), h.directory.Handle(now, e)...)
	}
	return h.Machine.Handle(now, e)
}

// experimental reports whether a Mobility Header message is of the type of DMIPv6's messages.
func experimental(payload []byte) bool {
	const typeOffset = 2
	return len(payload) > typeOffset && mh.Type(payload[typeOffset]) == mh.TypeExperimental
}

// Next implements signaling.Machine.
func (h *homeAgent) Next() time.Time {
	if h.directory == nil {
		return h.Machine.Next()
	}
	return earliest(h.Machine.Next(), h.directory.Next())
}

// stopped is true at once: bindings are durable, and mobile nodes need not know that their home agent pauses.
func (h *homeAgent) stopped() bool { return true }
func (h *homeAgent) close() error {
	if h.store == nil {
		return nil
	}
	return h.store.Close()
}

func (h *homeAgent) start(now time.Time) ([]signaling.Effect, error) { return h.Restore(now) }

func (h *homeAgent) removeBinding(now time.Time, home netip.Addr) ([]signaling.Effect, bool) {
	return h.Remove(now, home)
}

func (h *homeAgent) show(now time.Time, s *control.Status) string {
	s.HomeAgent = &control.HomeAgent{
		Address: h.cfg.Address, HomePrefixes: h.cfg.HomePrefixes, HomeLink: h.cfg.HomeLink, Bindings: len(h.Bindings(now)),
	}
	addCounters(s.Counters, "home-agent", h.Counters())
	if h.directory != nil {
		addCounters(s.Counters, "directory", h.directory.Counters())
	}
	return ""
}

// proxies lists the directory.
func (h *homeAgent) proxies(now time.Time) ([]control.Proxy, error) {
	if h.directory == nil {
		return nil, fmt.Errorf("%w: there is no [[home_agent.proxy]]", control.ErrNotThisRole)
	}
	list := []control.Proxy{}
	for _, e := range h.directory.Entries(now) {
		list = append(list, control.Proxy{
			Address: e.DHP, Coverage: e.Coverage, RoundTripMilliseconds: inMilliseconds(e.RTT), Preference: e.Preference,
			LoadPercent: e.Load, LifetimeSeconds: e.Left.Seconds(),
		})
	}
	return list, nil
}

func (h *homeAgent) bindings(now time.Time) []control.Binding {
	return anchored(h.Bindings(now))
}

// anchored shows an anchor's bindings.
func anchored(bindings []homeagent.Info) []control.Binding {
	list := []control.Binding{}
	for _, b := range bindings {
		c := control.Binding{
			CareOf: b.CareOf, Identifier: b.Identifier, LifetimeSeconds: b.Left.Seconds(),
			Sequence: b.Sequence, Since: b.Since, State: "registered", Path: control.Path{Transport: mobilenode.Native.String()},
		}
		if b.Port != 0 {
			c.Path = control.Path{Transport: mobilenode.UDP.String(), Endpoint: netip.AddrPortFrom(b.CareOf, b.Port), Local: b.Local}
		}
		for _, p := range append([]netip.Prefix{netip.PrefixFrom(b.Home, 128)}, b.Networks...) {
			c.Home = p
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b control.Binding) int { return a.Home.Compare(b.Home) })
	return list
}
