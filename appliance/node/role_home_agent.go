package node

import (
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
	"kedge/signaling/homeagent"
)

// homeAgent is the home agent role.
type homeAgent struct {
	*homeagent.Machine
	cfg *config.HomeAgent
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
	return role, nil
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
	return ""
}

func (h *homeAgent) bindings(now time.Time) []control.Binding {
	list := []control.Binding{}
	for _, b := range h.Bindings(now) {
		c := control.Binding{
			CareOf: b.CareOf, Identifier: b.Identifier, LifetimeSeconds: b.Left.Seconds(),
			Sequence: b.Sequence, Since: b.Since, State: "registered",
		}
		for _, p := range append([]netip.Prefix{netip.PrefixFrom(b.Home, 128)}, b.Networks...) {
			c.Home = p
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b control.Binding) int { return a.Home.Compare(b.Home) })
	return list
}
