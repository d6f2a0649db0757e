package node

import (
	"net/netip"
	"slices"

	"kedge/config"
	"kedge/netstack/kernel"
)

// behindHost are addresses of an anchor's own that no link of kedge's has: the host's kernel hands over what is for them by
// the TUN device, and forwards what comes from them.
func behindHost(c *config.Config) []netip.Addr {
	own := anchorAddress(c)
	if !own.IsValid() || slices.ContainsFunc(c.Links, func(l config.Link) bool {
		return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == own })
	}) {
		return nil
	}
	return []netip.Addr{own}
}

// ownBehindHost has packets for such addresses come to kedge, and what kedge sends leave by the device.
func (d *device) ownBehindHost() error {
	for _, a := range behindHost(d.node.cfg) {
		made, err := d.node.journal.AddRoute(kernel.Route{Table: mainTable, Prefix: netip.PrefixFrom(a, 128), Interface: d.cfg.Name})
		if err != nil {
			return err
		}
		d.changes = append(d.changes, made)
		if err := d.node.engine.SetLocal(a, d.id); err != nil {
			return err
		}
		if err := d.node.host.AddAddress(a); err != nil {
			return err
		}
	}
	return nil
}

// anchorAddress is the own address of a home agent or home proxy, else not valid.
func anchorAddress(c *config.Config) netip.Addr {
	switch {
	case c.HomeAgent != nil:
		return c.HomeAgent.Address
	case c.HomeProxy != nil:
		return c.HomeProxy.Address
	}
	return netip.Addr{}
}
