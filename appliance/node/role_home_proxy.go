package node

import (
	"errors"
	"net/netip"
	"path/filepath"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/store"
	"kedge/config"
	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/homeagent"
	"kedge/signaling/homeproxy"
	"kedge/signaling/mh"
)

// homeProxy is the Distributed Home-Proxy role.
type homeProxy struct {
	*homeproxy.Machine
	cfg *config.HomeProxy
	// store is nil where leases are not kept.
	store *store.Store
}

// heldFor is how many intervals an advertisement holds.
const heldFor = 3

func newHomeProxy(c *config.Config) (role, error) {
	h := c.HomeProxy
	settings := homeproxy.Config{
		Address: h.Address, Preference: h.Preference, MaxLifetime: h.MaxLifetime, Quarantine: h.Quarantine,
		AdvertisementInterval: h.AdvertisementInterval, AdvertisementLifetime: heldFor * max(h.AdvertisementInterval, 4*time.Second),
		MaxBindings: h.MaxBindings, MaxBindingsPerNode: h.MaxBindingsPerMobileNode, Anycast: h.Anycast,
		Associations: map[uint32]auth.Association{},
	}
	if c.UDP != nil {
		settings.Endpoints, settings.NATRefresh = c.UDP.Advertise, c.UDP.NATRefresh
	}
	for _, p := range h.Pools {
		settings.Pools = append(settings.Pools, homeproxy.Pool{Prefix: p.Prefix, Lend: p.Lend})
	}
	for _, v := range h.Coverage {
		settings.Coverage = append(settings.Coverage, homeproxy.Coverage{Prefix: v.Prefix, Probe: v.Probe})
	}
	for _, a := range h.HomeAgents {
		settings.HomeAgents = append(settings.HomeAgents, homeproxy.HomeAgent{Address: a.Address, SPI: a.SPI})
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
	role := &homeProxy{cfg: h}
	var err error
	if h.KeepBindings {
		if role.store, err = store.Open(filepath.Join(c.StateDirectory, "bindings.db")); err != nil {
			return nil, err
		}
		settings.Store = role.store
	}
	if role.Machine, err = homeproxy.New(settings, time.Now()); err != nil {
		return nil, errors.Join(err, role.close())
	}
	return role, nil
}

// stopped is true at once: leases are durable, and Shutdown's farewell to home agents needs no answer.
func (h *homeProxy) stopped() bool { return true }

func (h *homeProxy) start(now time.Time) ([]signaling.Effect, error) { return h.Restore(now) }

func (h *homeProxy) close() error {
	if h.store == nil {
		return nil
	}
	return h.store.Close()
}

func (h *homeProxy) removeBinding(now time.Time, home netip.Addr) ([]signaling.Effect, bool) {
	return h.Remove(now, home)
}

func (h *homeProxy) show(now time.Time, s *control.Status) string {
	t := h.Status(now)
	p := &control.HomeProxy{
		Address: h.cfg.Address, Leases: t.Leases, LoadPercent: int(t.LoadPercent),
		Coverage: []control.Covered{}, HomeAgents: []control.Advertised{},
	}
	for _, pool := range h.cfg.Pools {
		p.Pools = append(p.Pools, pool.Prefix)
	}
	for _, v := range t.Coverage {
		p.Coverage = append(p.Coverage, control.Covered{Prefix: v.Prefix, RoundTripMilliseconds: v.RoundTripMilliseconds})
	}
	reason := ""
	for _, a := range t.HomeAgents {
		shown := control.Advertised{HomeAgent: a.Address}
		switch {
		case a.Answered.IsZero():
			shown.Detail = "it has not answered yet"
		case !mh.Status(a.Status).Accepted():
			shown.Detail = "it refused: " + mh.Status(a.Status).String()
		default:
			shown.Acknowledged = true
		}
		if !shown.Acknowledged {
			reason = "home agent " + a.Address.String() + " does not know this proxy: " + shown.Detail
		}
		p.HomeAgents = append(p.HomeAgents, shown)
	}
	s.HomeProxy = p
	addCounters(s.Counters, "home-proxy", h.Counters())
	return reason
}

func (h *homeProxy) bindings(now time.Time) []control.Binding { return anchored(h.Bindings(now)) }
