package seg6

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/netstack/kernel"
)

// SetPath sets how encapsulated packets leave, in place of the path before, for all tunnels at once: a mobile node has a new
// care-of address. What comes in between has no way and is lost, so call it before the engine is told of the bindings to the new
// address. It is to be called again, with the same path maybe, when the uplink has been down, which the kernel's routes do not
// survive. After an error there is no path.
func (a *Accelerator) SetPath(path Path) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errClosed
	}
	a.link.path.Store(nil)
	err := a.outer.Undo()
	a.outer = nil
	if err != nil || !path.Local.IsValid() {
		return err
	}
	if err := a.setPath(path); err != nil {
		err = errors.Join(err, a.outer.Undo())
		a.outer = nil
		return err
	}
	path.Routes = slices.Clone(path.Routes)
	// The longest comes first.
	slices.SortFunc(path.Routes, func(a, b Route) int { return b.Prefix.Bits() - a.Prefix.Bits() })
	a.link.path.Store(&path)
	return nil
}

func (a *Accelerator) setPath(path Path) error {
	j := a.config.Journal
	source, err := j.SetTunnelSource(path.Local)
	if err != nil {
		return err
	}
	if source != nil {
		a.source = source
	}
	if err := a.meet(path); err != nil {
		return err
	}
	for _, r := range withRouters(path.Routes) {
		c, err := j.AddRoute(kernel.Route{
			Table: a.config.Table, Prefix: r.Prefix, Interface: path.Uplink, Gateway: r.Router,
		})
		if err != nil {
			return err
		}
		a.outer = append(a.outer, c)
	}
	c, err := j.AddRule(kernel.Rule{
		Priority: outerPriority, Interface: a.config.Name, From: netip.PrefixFrom(path.Local, 128), Table: a.config.Table,
	})
	if err != nil {
		return err
	}
	a.outer = append(a.outer, c)
	return nil
}

// withRouters puts a route to each router in front of those by it, which the kernel wants unless it is link-local. The host's own
// routes need not lead there: an anchor's lead to its home prefix, with the router in it, by kedge.
func withRouters(routes []Route) (all []Route) {
	for _, r := range routes {
		own := Route{Prefix: netip.PrefixFrom(r.Router, 128)}
		same := func(o Route) bool { return o.Prefix == own.Prefix }
		if r.Router.IsValid() && !r.Router.IsLinkLocalUnicast() && !slices.ContainsFunc(all, same) && !slices.ContainsFunc(routes, same) {
			all = append(all, own)
		}
	}
	return append(all, routes...)
}

// meet tells the kernel the link-layer addresses of routers. It need not be undone: the kernel forgets neighbours that nobody
// asks for.
func (a *Accelerator) meet(path Path) error {
	uplink, err := a.routes.LinkByName(path.Uplink)
	if err != nil {
		return fmt.Errorf("interface %s: %w", path.Uplink, err)
	}
	for _, r := range path.Routes {
		if !r.Router.IsValid() || r.LinkAddress == [6]byte{} {
			continue
		}
		if err := a.routes.NeighSet(&netlink.Neigh{
			LinkIndex: uplink.Attrs().Index, Family: unix.AF_INET6, State: unix.NUD_STALE, IP: r.Router.AsSlice(),
			HardwareAddr: r.LinkAddress[:],
		}); err != nil {
			return fmt.Errorf("neighbour %s on %s: %w", r.Router, path.Uplink, err)
		}
	}
	return nil
}
