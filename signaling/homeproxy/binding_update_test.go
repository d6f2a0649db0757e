package homeproxy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/homeagent"
	"kedge/signaling/mh"
)

func TestBindingUpdatesOfALease(t *testing.T) {
	w := start(t)
	home := w.borrow(holder(alice), 65535, anything, 0).Addr()
	other := holder(bob)
	forged := holder(alice)
	forged.kd.Key = auth.Key("guessed")
	for _, c := range []struct {
		name   string
		update signaling.Received
		status mh.Status
	}{
		{"another mobile node's", other.update(t, 1, home, time.Minute, noon.Add(time.Second)), 129},
		{"another home agent's", holder(alice).of(kd2).update(t, 1, home, time.Minute, noon.Add(time.Second)), 129},
		{"not in a pool", holder(alice).update(t, 1, netip.MustParseAddr("2001:db8:ffff::1"), time.Minute, noon.Add(time.Second)), 132},
		{"reserved", holder(alice).update(t, 1, netip.MustParseAddr("2001:db8:d::fdff:ffff:ffff:fffe"), time.Minute, noon.Add(time.Second)), 129},
		{"a plain mobile node's", holder(alice).update(t, 1, plain, time.Minute, noon.Add(time.Second)), 129},
		{"expired ticket", holder(alice).until(noon.Add(-8*time.Second)).update(t, 1, home, time.Minute, noon.Add(time.Second)), 241},
		{"forged", forged.update(t, 1, home, time.Minute, noon.Add(time.Second)), 146},
		{"not later than the request", holder(alice).update(t, 1, home, time.Minute, noon), 144},
	} {
		t.Run(c.name, func(t *testing.T) {
			(&world{t, w.m, w.now.Add(time.Second)}).acknowledged(c.update, c.status)
			w.bound(home, careOf1, time.Minute)
		})
	}
	w.after(30 * time.Second)
	w.acknowledged(holder(alice).from(careOf2).update(t, 9, home, time.Hour, w.now), 0)
	w.bound(home, careOf2, 10*time.Minute)
	w.after(time.Second)
	e := w.acknowledged(holder(alice).from(careOf2).update(t, 10, home, 0, w.now), 0)
	if got := of[signaling.Unbind](e); !slices.Equal(got, []signaling.Unbind{{Home: host(home)}}) {
		t.Errorf("unbound %v", got)
	}
}

// A lease that ended is the former holder's to bind again, and nobody else's.
func TestQuarantineKeepsOthersOut(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(w *world, p netip.Prefix)
	}{
		{"expired", func(w *world, p netip.Prefix) { w.after(time.Minute).tick() }},
		{"given back", func(w *world, p netip.Prefix) { w.after(time.Minute-time.Second).giveBack(holder(alice), 2, p, 0) }},
		{"deregistered", func(w *world, p netip.Prefix) {
			w.after(time.Minute - time.Second)
			w.acknowledged(holder(alice).update(t, 2, p.Addr(), 0, w.now), 0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := start(t)
			p := w.borrow(holder(alice), 1, anything, 0)
			c.end(w, p)
			ended := w.now
			if s := w.m.Status(w.now); s.Leases != 0 || s.Quarantined != 1 || s.LoadPercent != 1 {
				t.Errorf("status %+v", s)
			}
			if got := w.borrow(holder(bob), 1, p, 0); got == p {
				t.Error("lent in quarantine")
			}
			w.acknowledged(holder(bob).update(t, 1, p.Addr(), time.Minute, w.now.Add(time.Millisecond)), 129)
			w.now = ended.Add(5*time.Minute - time.Nanosecond)
			if got := w.borrow(holder(nai("carol")), 1, p, 0); got == p {
				t.Error("lent before the end of quarantine")
			}
			w.after(time.Nanosecond)
			if got := w.borrow(holder(nai("dave")), 1, p, 0); got != p {
				t.Errorf("lent %v after the end of quarantine", got)
			}
		})
	}
	w := start(t)
	p := w.borrow(holder(alice), 1, anything, 0)
	w.after(2 * time.Minute)
	w.acknowledged(holder(alice).update(t, 2, p.Addr(), time.Minute, w.now), 0)
	w.bound(p.Addr(), careOf1, time.Minute)
}

func TestPlainMobileNodeRegisters(t *testing.T) {
	w := start(t)
	id := nai("plain@example.net")
	w.acknowledged(update(t, plainKey, mh.Options{id}, careOf1, 1, plain, time.Minute, noon), 0)
	w.bound(plain, careOf1, time.Minute)
	// A plain mobile node can have no other address, whatever it calls itself.
	home := w.borrow(holder(alice), 1, anything, 0).Addr()
	w.after(time.Second)
	for _, id := range []*mh.MobileNodeIdentifier{id, nai(ownerOf(1001, alice))} {
		e := w.handle(update(t, plainKey, mh.Options{id}, careOf1, 2, home, time.Minute, w.now))
		if a := e.acknowledgement(); a != nil && a.Status != 129 {
			t.Errorf("acknowledgement %+v", a)
		}
	}
	w.bound(home, careOf1, 59*time.Second)
	w.acknowledged(update(t, plainKey, mh.Options{id}, careOf1, 2, plain, 0, w.now), 0)
	w.after(time.Minute).tick()
	w.after(20 * time.Second).tick()
	for _, b := range w.m.Bindings(w.now) {
		t.Errorf("%+v is bound", b)
	}
	// Its address is withheld, not in quarantine.
	if w.m.free(w.m.poolOf(plain), plain) || w.m.Status(w.now).Quarantined != 1 {
		t.Errorf("status %+v", w.m.Status(w.now))
	}
}

func TestPlainMobileNodeCannotPoseAsALease(t *testing.T) {
	w := start(t, func(c *Config) { c.MobileNodes[0].Identifier, c.MaxBindingsPerNode = "", 1 })
	w.acknowledged(update(t, plainKey, mh.Options{nai(ownerOf(1001, alice))}, careOf1, 1, plain, time.Minute, noon), 0)
	w.borrow(holder(alice), 1, anything, 0)
}

func TestRestartWithStore(t *testing.T) {
	s := memory{}
	stored := func(c *Config) { c.Store = s }
	w := start(t, stored)
	old := holder(alice).request(t, 1, anything, time.Minute, noon)
	r, _ := w.response(w.handle(old), holder(alice))
	lent, _ := mh.Find[*mh.DHoA](r.Options)
	network := w.borrow(holder(bob), 1, anyNet, 0)
	gone := w.after(time.Second).borrow(holder(alice), 2, anything, 0)
	w.after(time.Second).giveBack(holder(alice), 3, gone, 0)

	w = startAt(t, w.now.Add(time.Second), stored)
	e, err := w.m.Restore(w.now)
	if err != nil {
		t.Fatal(err)
	}
	var bound []netip.Prefix
	for _, b := range of[signaling.Bind](e) {
		bound = append(bound, b.Home)
	}
	for _, p := range []netip.Prefix{lent.Prefix, host(network.Addr()), network.Masked()} {
		if !slices.Contains(bound, p) {
			t.Errorf("%v is not bound; %v is", p, bound)
		}
	}
	w.bound(lent.Prefix.Addr(), careOf1, 57*time.Second)
	if got := w.borrow(holder(bob), 2, gone, 0); got == gone {
		t.Error("lent in quarantine")
	}
	w.after(time.Second)
	if r, _ := w.response(w.handle(old), holder(alice)); r == nil || r.Status != 144 {
		t.Errorf("replayed request gets %+v", r)
	}
	w.acknowledged(holder(alice).update(t, 5, lent.Prefix.Addr(), time.Minute, w.now), 0)
	if got := w.borrow(holder(alice), 6, lent.Prefix, 0); got != lent.Prefix {
		t.Errorf("renewed as %v", got)
	}
}

func TestRestartEndsLeasesOfHomeAgentsThatAreGone(t *testing.T) {
	s := memory{}
	w := start(t, func(c *Config) { c.Store = s })
	p := w.borrow(holder(alice), 1, anything, 0)
	w = start(t, func(c *Config) { c.Store, c.HomeAgents = s, c.HomeAgents[1:] })
	if _, err := w.m.Restore(noon); err != nil {
		t.Fatal(err)
	}
	w.bound(p.Addr(), nowhere, 0)
}

// A DHP without a store takes the word of its mobile nodes, as long as leases from before may last.
func TestRestartWithoutStore(t *testing.T) {
	w := start(t)
	old := holder(alice).request(t, 1, anything, time.Minute, noon)
	r, _ := w.response(w.handle(old), holder(alice))
	lent, _ := mh.Find[*mh.DHoA](r.Options)
	home := lent.Prefix.Addr()
	network := w.borrow(holder(bob), 1, anyNet, 0)

	again := startAt(t, noon.Add(time.Second), func(*Config) {})
	if r, _ := again.response(again.handle(old), holder(alice)); r == nil || r.Status != 144 {
		t.Errorf("replayed request gets %+v", r)
	}
	again.empty()
	again.acknowledged(holder(alice).update(t, 5, home, time.Minute, again.now), 0)
	again.bound(home, careOf1, time.Minute)
	again.acknowledged(holder(bob).update(t, 5, home, time.Minute, again.now.Add(time.Millisecond)), 129)
	e := again.acknowledged(holder(bob).update(t, 5, network.Addr(), time.Minute, again.now), 0)
	if n := len(of[signaling.Bind](e)); n != 2 {
		t.Errorf("%d bound", n)
	}

	late := startAt(t, noon.Add(time.Second))
	late.after(10 * time.Minute)
	late.acknowledged(holder(alice).update(t, 5, home, time.Minute, late.now), 129)
	if got := late.borrow(holder(alice), 6, lent.Prefix, 0); got != lent.Prefix {
		t.Errorf("lent %v, which is free, as %v", lent.Prefix, got)
	}
}

func TestRefreshIsAskedFor(t *testing.T) {
	w := start(t)
	home := w.borrow(holder(alice), 1, anything, 0).Addr()
	e := effects(w.after(58 * time.Second).tick())
	i := slices.IndexFunc(of[signaling.Send](e), func(s signaling.Send) bool { return s.Tunnel == home })
	if i < 0 || !slices.ContainsFunc(of[signaling.Report](e), func(r signaling.Report) bool {
		return r.Kind == homeagent.BindingRefreshRequestSent
	}) {
		t.Errorf("effects %v", e)
	}
}

// Trust in leases from before the start is no way to take up all addresses.
func TestTrustHasLimits(t *testing.T) {
	w := start(t)
	home := netip.MustParseAddr("2001:db8:d::5000")
	for i := range uint16(16) {
		home = home.Next()
		w.after(time.Millisecond)
		w.acknowledged(holder(alice).update(t, 2*i, home, time.Minute, w.now), 0)
		w.after(time.Millisecond)
		w.acknowledged(holder(alice).update(t, 2*i+1, home, 0, w.now), 0)
	}
	w.after(time.Millisecond)
	w.acknowledged(holder(alice).update(t, 100, home.Next(), time.Minute, w.now), 129)
	w.acknowledged(holder(bob).update(t, 100, home.Next(), time.Minute, w.now), 0)
}
