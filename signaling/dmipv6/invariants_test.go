package dmipv6

import (
	"maps"
	"net/netip"
	"slices"

	"kedge/signaling"
)

// apply plays forwarding and the network, and checks that nothing uses an address that is not held.
func (w *world) apply(effect signaling.Effect) {
	holds := func(a netip.Addr) {
		if !w.held[a] {
			w.t.Fatalf("%v: %T%+v uses an address that is not held", w.now, effect, effect)
		}
	}
	lends := func(a netip.Addr) netip.Prefix {
		if w.lends != nil {
			return w.lends(a)
		}
		return netip.PrefixFrom(a, 128)
	}
	reaches := func(a netip.Addr) {
		if holds(a); a != home && w.peerAt(w.bound[lends(a)].Remote) != w.lender(a) {
			w.t.Fatalf("%v: %T%+v uses an address without a tunnel", w.now, effect, effect)
		}
	}
	switch e := effect.(type) {
	case signaling.Report:
		if e.Kind == DHoALent || e.Kind == DHoARestored {
			if w.held[e.Home] {
				w.t.Fatalf("%s is lent twice", e.Home)
			}
			w.held[e.Home] = true
		}
	case signaling.Bind:
		if !slices.ContainsFunc(slices.Collect(maps.Keys(w.held)), func(a netip.Addr) bool { return lends(a) == e.Home }) {
			w.t.Fatalf("%v: %+v is not held", w.now, e)
		}
		w.bound[e.Home] = e
	case signaling.Unbind:
		delete(w.bound, e.Home)
	case signaling.Release:
		holds(e.Address)
		for c, a := range w.chosen {
			if a == e.Address {
				w.t.Fatalf("%v: %s is released and still chosen for %v", w.now, a, c)
			}
		}
		for h := range w.hints {
			if h.address == e.Address {
				w.t.Fatalf("%v: %s is released and still hinted", w.now, e.Address)
			}
		}
		if _, ok := w.bound[netip.PrefixFrom(e.Address, 128)]; ok {
			w.t.Fatalf("%v: %s is released and still bound", w.now, e.Address)
		}
		delete(w.held, e.Address)
	case signaling.Choose:
		reaches(e.Address)
		w.chosen[choice{e.Profile, e.Prefix}] = e.Address
	case signaling.Unchoose:
		delete(w.chosen, choice{e.Profile, e.Prefix})
	case signaling.Hint:
		reaches(e.Address)
		w.hints[hint{e.Address, e.Prefix}] = true
	case signaling.Unhint:
		delete(w.hints, hint{e.Address, e.Prefix})
	case signaling.Decide:
		reaches(e.Address)
		if _, twice := w.decided[e.Flow]; twice {
			w.t.Fatalf("flow %d is decided twice", e.Flow)
		}
		w.decided[e.Flow], w.when[e.Flow] = e, w.now
	case signaling.Send:
		w.send(e)
	case signaling.SendEcho:
		w.echo(e)
	}
}

// lender is the DHP whose pool a is of.
func (w *world) lender(a netip.Addr) netip.Addr {
	for i := range 256 {
		if p := proxyAddr(i); netip.PrefixFrom(p, 48).Contains(a) {
			return p
		}
	}
	return netip.Addr{}
}
