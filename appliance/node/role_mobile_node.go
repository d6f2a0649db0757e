package node

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"time"

	"kedge/appliance/control"
	"kedge/config"
	"kedge/signaling"
	"kedge/signaling/mobilenode"
)

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
