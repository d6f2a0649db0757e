package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/config"
	"kedge/forwarding"
	"kedge/netstack/kernel"
	"kedge/netstack/tun"
)

// tunnelOverhead is what an IPv6-in-IPv6 tunnel takes off a link's MTU, datagramOverhead what one of IPv6 in UDP and IPv6 does.
const (
	tunnelOverhead   = 40
	datagramOverhead = 48
)

// device is the TUN device: how programs of the host reach a mobile node's home address, or how the host's kernel hands an
// anchor the packets for its home prefixes. It is made again if somebody removes it.
type device struct {
	node *Node
	cfg  config.TUN
	id   forwarding.PortID

	link *tun.Link
	// changes are what the kernel was asked for on the device's account.
	changes kernel.Changes
}

// open makes the device and asks the kernel to use it.
func (d *device) open() error {
	l, err := tun.Open(d.cfg.Name, d.cfg.MTU, tun.Offload{TCP: d.cfg.Offload, UDP: d.cfg.Offload})
	if err != nil {
		return err
	}
	l.KeepSuperPackets() // what the kernel has not cut up is classified and encapsulated once
	if err := d.steer(); err != nil {
		l.Close()
		return err
	}
	d.link = l
	d.node.ports.set(d.id, l)
	return d.node.engine.SetPort(forwarding.Port{ID: d.id, Host: true, MTU: d.cfg.MTU, Features: l.Features()})
}

// steer has the kernel send what is for kedge into the device.
func (d *device) steer() error {
	journal := d.node.journal
	up, err := journal.SetLinkUp(d.cfg.Name)
	if err != nil {
		return err
	}
	d.changes = append(d.changes, up)
	// The tunnel's MTU goes on the routes, not on the device: what comes out of the tunnel may be longer.
	mtu := insideMTU(d.node.cfg)
	if m := d.node.cfg.MobileNode; m != nil {
		steering := kernel.Steering{
			TUN: d.cfg.Name, Home: m.HomeAddress, Destinations: m.Destinations, MTU: mtu, Policy: kernelPolicy(d.node.cfg.DMIPv6),
		}
		for _, u := range steering.Unexpressed() {
			d.node.log.Warn("non-persistent flows of a rule take the home address", "rule", d.node.cfg.DMIPv6.Rules[u.Rule].Name, "because", u.Reason)
		}
		made, err := steering.ApplyHome(journal)
		d.changes = append(d.changes, made...)
		if err != nil {
			return err
		}
		return d.node.redirect.apply(steering)
	}
	if c := d.node.cfg.CorrespondentNode; c != nil {
		made, err := kernel.Steering{TUN: d.cfg.Name, Home: c.Address, MTU: d.cfg.MTU}.Apply(journal)
		d.changes = append(d.changes, made...)
		return err
	}
	if err := d.ownBehindHost(); err != nil {
		return err
	}
	for _, p := range served(d.node.cfg) {
		made, err := journal.AddRoute(kernel.Route{Table: mainTable, Prefix: p, Interface: d.cfg.Name, MTU: mtu})
		if err != nil {
			return err
		}
		d.changes = append(d.changes, made)
	}
	return nil
}

// insideMTU is what fits a tunnel whose packets are as long as the TUN device's may be.
func insideMTU(c *config.Config) int {
	overhead := tunnelOverhead
	if c.UDP != nil {
		overhead = datagramOverhead
	}
	return max(c.TUN.MTU-overhead, leastMTU)
}

// served are the prefixes that an anchor forwards for.
func served(c *config.Config) []netip.Prefix {
	if c.HomeAgent != nil {
		return c.HomeAgent.HomePrefixes
	}
	var prefixes []netip.Prefix
	if c.HomeProxy != nil {
		for _, p := range c.HomeProxy.Pools {
			prefixes = append(prefixes, p.Prefix)
		}
	}
	return prefixes
}

// mainTable is the kernel's main routing table.
const mainTable = 254

// run pumps packets until ctx ends.
func (d *device) run(ctx context.Context) error {
	for ctx.Err() == nil {
		l := d.link
		closer := context.AfterFunc(ctx, func() { l.Close() })
		w := d.node.engine.NewWorker()
		err := pump(ctx, l, d.id, w, d.node.ports, d.node)
		w.Close()
		closer()
		l.Close()
		d.node.ports.clear(d.id)
		if ctx.Err() != nil {
			return nil
		}
		d.node.log.Warn("TUN device is gone; making it again", "device", d.cfg.Name, "error", err)
		if err := d.reopen(ctx); err != nil {
			return err
		}
	}
	return nil
}

// vanished ends the reading of a device that was removed. Mostly that has ended by itself; but the kernel wakes a reader
// just before it takes the device away, and one that is fast enough waits again, for ever.
func (d *device) vanished() {
	if l := d.node.ports.get(d.id); l != nil && l.MTU() == 0 {
		_ = l.Close()
	}
}

// reopen tries until the device is back or ctx ends.
func (d *device) reopen(ctx context.Context) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		// What was set up on the old device went with it, but the rules did not.
		err := errors.Join(d.node.redirect.undo(), d.changes.Undo())
		d.changes = nil
		if err == nil {
			err = d.open()
		}
		if err == nil {
			if f := d.node.flows; f != nil {
				f.host.again()
			}
			d.node.log.Info("TUN device is back", "device", d.cfg.Name)
			return nil
		}
		d.node.log.Debug("TUN device", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// explain adds the remedy to an error of the host's making.
func explain(err error) error {
	var open *tun.OpenError
	var disabled *kernel.IPv6DisabledError
	var sysctl *kernel.SysctlError
	switch {
	case errors.As(err, &open):
		r := open.Remedy()
		return fmt.Errorf("%w\n  bare metal: %s\n  Docker: %s\n  rootless: %s", err, r.BareMetal, r.Container, r.Rootless)
	case errors.As(err, &disabled):
		return fmt.Errorf("%w\n  remedy: %s", err, disabled.Remedy())
	case errors.As(err, &sysctl):
		return fmt.Errorf("%w\n  remedy: %s", err, sysctl.Remedy())
	}
	return err
}
