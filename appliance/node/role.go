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
	"kedge/signaling/homeagent"
	"kedge/signaling/mobilenode"
	"kedge/signaling/movement"
)

// operators are the reports that an operator sees in the log without asking for more.
var operators = map[signaling.ReportKind]bool{
	movement.LinkUp:                 true,
	movement.LinkDown:               true,
	movement.RouterLost:             true,
	movement.AddressDuplicate:       true,
	mobilenode.BindingRegistered:    true,
	mobilenode.BindingRefused:       true,
	mobilenode.BindingLost:          true,
	mobilenode.ReturnedHome:         true,
	mobilenode.LeftHome:             true,
	mobilenode.Deregistered:         true,
	mobilenode.Unattached:           true,
	mobilenode.ClockAdjusted:        true,
	mobilenode.HomeAgentDiscovered:  true,
	mobilenode.HomeAgentNotFound:    true,
	mobilenode.HomeAgentChanged:     true,
	mobilenode.HomeAddressDuplicate: true,
	homeagent.BindingCreated:        true,
	homeagent.BindingDeleted:        true,
	homeagent.BindingExpired:        true,
	homeagent.BindingRestored:       true,
	homeagent.BindingUpdateRefused:  true,
	homeagent.BindingStoreFailed:    true,
}

func newRole(c *config.Config) (role, error) {
	if c.MobileNode != nil {
		return newMobileNode(c)
	}
	return newHomeAgent(c)
}

func association(a config.SecurityAssociation, identifier string) auth.Association {
	algorithm := auth.HMACSHA256
	if a.Algorithm == config.HMACSHA1 {
		algorithm = auth.HMACSHA1
	}
	return auth.Association{SPI: a.SPI, Algorithm: algorithm, Key: a.Key, Window: a.TimestampWindow, Identifier: identifier}
}

// mobileNode is the mobile node role.
type mobileNode struct{ *mobilenode.Machine }

func newMobileNode(c *config.Config) (role, error) {
	m := c.MobileNode
	settings := mobilenode.Config{
		HomeAddress: m.HomeAddress, HomePrefix: m.HomePrefix, HomeAgent: m.HomeAgent, Identifier: m.Identifier,
		Lifetime: m.Lifetime, AllowUnauthenticated: m.AllowUnauthenticated,
		Random: func() uint16 {
			var b [2]byte
			rand.Read(b[:])
			return binary.BigEndian.Uint16(b[:])
		},
	}
	if m.SPI != 0 {
		a := association(c.SecurityAssociations[m.SPI], m.Identifier)
		settings.Association = &a
	}
	machine, err := mobilenode.New(settings)
	if err != nil {
		return nil, err
	}
	return mobileNode{machine}, nil
}

func (m mobileNode) stopped() bool                               { return m.Stopped() }
func (m mobileNode) start(time.Time) ([]signaling.Effect, error) { return nil, nil }
func (m mobileNode) close() error                                { return nil }
func (m mobileNode) removeBinding(time.Time, netip.Addr) ([]signaling.Effect, bool) {
	return nil, false
}

func (m mobileNode) show(now time.Time, s *control.Status) (reason string) {
	t := m.Status(now)
	s.MobileNode = &control.MobileNode{
		State: string(t.State), HomeAddress: t.HomeAddress, CareOf: t.CareOf, Uplink: t.Uplink, HomeAgent: t.HomeAgent,
		LifetimeSeconds: t.Remaining.Seconds(), Sequence: t.Sequence, RTTMilliseconds: t.RTT.Seconds() * 1000, LastError: t.LastError,
	}
	addCounters(s.Counters, "mobile-node", t.Counters)
	switch t.State {
	case mobilenode.StateRegistered, mobilenode.StateAtHome:
		return ""
	}
	if t.LastError != "" {
		return string(t.State) + ": " + t.LastError
	}
	return string(t.State)
}

func (m mobileNode) bindings(now time.Time) []control.Binding {
	t := m.Status(now)
	if t.Remaining <= 0 {
		return []control.Binding{}
	}
	return []control.Binding{{
		Home: netip.PrefixFrom(t.HomeAddress, 128), CareOf: t.CareOf, Peer: t.HomeAgent,
		LifetimeSeconds: t.Remaining.Seconds(), Sequence: t.Sequence, State: string(t.State),
	}}
}

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
