package node

import (
	"net/netip"
	"slices"
	"time"

	"kedge/appliance/control"
	"kedge/config"
	"kedge/signaling"
	"kedge/signaling/correspondent"
)

// correspondentNode is the correspondent node role: programs of the host use an address of kedge's own on a link, as those of
// a mobile node do that is always at home.
type correspondentNode struct {
	*correspondent.Machine
	cfg *config.CorrespondentNode
}

func newCorrespondentNode(c *config.Config) (role, error) {
	machine, err := correspondent.New(correspondent.Config{Address: c.CorrespondentNode.Address, MaxBindings: c.CorrespondentNode.MaxBindings}, time.Now())
	if err != nil {
		return nil, err
	}
	return &correspondentNode{machine, c.CorrespondentNode}, nil
}

func (c *correspondentNode) stopped() bool { return true }
func (c *correspondentNode) close() error  { return nil }

// start has the address answered for on the link, and its programs' packets leave by it.
func (c *correspondentNode) start(time.Time) ([]signaling.Effect, error) {
	return []signaling.Effect{
		signaling.Bind{Home: netip.PrefixFrom(c.cfg.Address, 128), Mobile: true, Native: true, Link: c.cfg.Link},
		signaling.Defend{Link: c.cfg.Link, Address: c.cfg.Address, Announce: true},
	}, nil
}

func (c *correspondentNode) removeBinding(time.Time, netip.Addr) ([]signaling.Effect, bool) {
	return nil, false
}

func (c *correspondentNode) show(now time.Time, s *control.Status) string {
	s.CorrespondentNode = c.cfg.Address
	addCounters(s.Counters, "correspondent-node", c.Counters())
	return ""
}

func (c *correspondentNode) bindings(now time.Time) []control.Binding {
	list := []control.Binding{}
	for _, b := range c.Bindings(now) {
		list = append(list, control.Binding{
			Home: netip.PrefixFrom(b.Home, 128), CareOf: b.CareOf, LifetimeSeconds: b.Left.Seconds(), Sequence: b.Sequence,
			State: "registered",
		})
	}
	slices.SortFunc(list, func(a, b control.Binding) int { return a.Home.Compare(b.Home) })
	return list
}
