package access

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

// Serve has a mobile node see a router: by advertisements at once, several times since each may be lost, and then from time
// to time. It replaces what was served before with the same prefix; a prefix that another mobile node had is taken from
// that in silence. Serving the same again changes nothing and sends nothing. A mobile node of which nothing was known is
// taken to be there, and has attached when it shows itself. Errors wrap ErrInvalid or ErrFull; nothing has then changed.
func (t *Table) Serve(now time.Time, mn packet.LinkAddress, r Router) (neighbor.Output, error) {
	if err := r.check(); err != nil {
		return neighbor.Output{}, err
	}
	defer t.enter(now)()
	if t.ours(mn) || mn == r.LinkLayer {
		return t.finish(), errHost(mn, fmt.Errorf("%w: not a host's link-layer address", ErrInvalid))
	}
	if r.LinkLayer == t.cfg.LinkAddress {
		r.LinkLayer = packet.LinkAddress{}
	}
	if h := t.hosts[r.LinkLayer]; h != nil && h.stranger == nil {
		return t.finish(), fmt.Errorf("router link-layer address %x: %w: a host has it", r.LinkLayer, ErrInvalid)
	} else if h != nil {
		t.removeHost(h) // a stranger must not keep a router from being served
	}
	r.LocalPrefixes = slices.Clone(r.LocalPrefixes)
	h := t.hosts[mn]
	if h == nil {
		if h = t.addHost(mn); h == nil {
			return t.finish(), errHost(mn, ErrFull)
		}
		h.present, h.told, h.unheard, h.lastHeard = true, true, true, now
	}
	was := t.prefixes[r.Prefix]
	switch {
	case was == nil:
	case was.host != h:
		t.takeBack(was)
		t.abandon(was.host)
		was = nil
	case was.Router.equal(r):
		h.owedAt = time.Time{}
		t.schedule(h)
		return t.finish(), nil
	case was.LinkLocal != r.LinkLocal || was.LinkLayer != r.LinkLayer:
		t.takeBack(was)
		if was.LinkLocal != r.LinkLocal { // the host must not keep it as a default router
			t.farewell(&router{Router: Router{LinkLocal: was.LinkLocal, LinkLayer: was.LinkLayer}, host: h, leaving: true})
		}
		was = nil
	}
	if was == nil {
		was = &router{host: h}
		h.routers = append(h.routers, was)
	}
	was.Router = r
	t.install(was)
	h.leaving = slices.DeleteFunc(h.leaving, func(o *router) bool {
		return o.Prefix == r.Prefix || o.LinkLocal == r.LinkLocal && o.LinkLayer != r.LinkLayer
	})
	h.owedAt, h.repeat = time.Time{}, RepeatInterval
	if h.probeAt.IsZero() {
		h.probeAt = now
		if h.present {
			h.probeAt = now.Add(t.cfg.IdleTime)
		}
	}
	t.setMode(h)
	if h.present {
		h.told = true
		h.flags.And(^uint32(heardFlag))
		t.advertiseSoon(was)
	}
	t.routeLinkLocals(h)
	t.schedule(h)
	return t.finish(), nil
}

// Withdraw takes a Serve back. With tell the host is told several times that the router is none any more and that the
// prefix is deprecated and soon invalid; else it is left as it is.
func (t *Table) Withdraw(now time.Time, mn packet.LinkAddress, prefix netip.Prefix, tell bool) neighbor.Output {
	defer t.enter(now)()
	r := t.prefixes[prefix]
	if r == nil || r.host.link != mn {
		return t.finish()
	}
	h := r.host
	t.takeBack(r)
	if tell && h.present {
		gone := &router{Router: r.Router, host: h, leaving: true}
		gone.Preferred, gone.Valid, gone.Lifetime = 0, 0, 0
		t.farewell(gone)
	}
	t.abandon(h)
	t.schedule(h)
	return t.finish()
}

func (r Router) equal(o Router) bool {
	return r.LinkLocal == o.LinkLocal && r.LinkLayer == o.LinkLayer && r.Prefix == o.Prefix && r.Preferred == o.Preferred &&
		r.Valid == o.Valid && r.Lifetime == o.Lifetime && slices.Equal(r.LocalPrefixes, o.LocalPrefixes)
}

// install makes the tables agree with r. It may be there already.
func (t *Table) install(r *router) {
	if t.prefixes[r.Prefix] != r {
		t.prefixes[r.Prefix] = r
		t.claims[r.LinkLocal] = append(t.claims[r.LinkLocal], r)
		if r.LinkLayer != (packet.LinkAddress{}) {
			if t.uses[r.LinkLayer]++; t.uses[r.LinkLayer] == 1 {
				t.own.set(linkKey(r.LinkLayer), struct{}{})
				t.out.Readdressed = true
			}
		}
	}
	t.destinations.set(destinationKey(r.Prefix.Addr()), destination{r.host.link, r.LinkLayer})
}

// takeBack ends r, in silence.
func (t *Table) takeBack(r *router) {
	h := r.host
	h.routers = slices.DeleteFunc(h.routers, func(o *router) bool { return o == r })
	delete(t.prefixes, r.Prefix)
	t.destinations.remove(destinationKey(r.Prefix.Addr()))
	if left := slices.DeleteFunc(t.claims[r.LinkLocal], func(o *router) bool { return o == r }); len(left) > 0 {
		t.claims[r.LinkLocal] = left
	} else {
		delete(t.claims, r.LinkLocal)
	}
	if r.LinkLayer != (packet.LinkAddress{}) {
		if t.uses[r.LinkLayer]--; t.uses[r.LinkLayer] == 0 {
			delete(t.uses, r.LinkLayer)
			t.own.remove(linkKey(r.LinkLayer))
			t.out.Readdressed = true
		}
	}
	t.routeLinkLocals(h)
	if len(h.routers) == 0 {
		h.told, h.repeat = false, RepeatInterval
		h.flags.And(^uint32(heardFlag))
	}
	t.setMode(h)
	t.schedule(h)
}

// abandon forgets a host that nobody serves and that is not there.
func (t *Table) abandon(h *host) {
	if len(h.routers) == 0 && !h.present {
		t.removeHost(h)
	}
}

// farewell begins to tell a host that a router is none any more.
func (t *Table) farewell(r *router) {
	r.host.leaving = append(r.host.leaving, r)
	t.advertise(r, netip.Addr{})
}
