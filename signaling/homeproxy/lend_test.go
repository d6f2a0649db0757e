package homeproxy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

func TestWishes(t *testing.T) {
	w := start(t)
	wish := host(netip.MustParseAddr("2001:db8:d::abcd"))
	if got := w.borrow(holder(alice), 1, wish, 0); got != wish {
		t.Errorf("lent %v, wish %v", got, wish)
	}
	w.after(time.Second)
	if got := w.borrow(holder(alice).from(careOf2), 2, wish, 0); got != wish {
		t.Errorf("lent %v on renewal", got)
	}
	w.bound(wish.Addr(), careOf2, time.Minute)
	if got := w.borrow(holder(bob), 1, wish, 0); got == wish {
		t.Error("lent to two")
	}
	// The same MN-ID with a ticket of another home agent is another mobile node.
	if got := w.borrow(holder(alice).of(kd2), 3, wish, 0); got == wish {
		t.Error("lent to two with one name")
	}
	for i, s := range []string{
		"2001:db8:d::", "2001:db8:d::1", "2001:db8:d::7", "2001:db8:d::fdff:ffff:ffff:fffe", "2001:db8:d::200:5eff:fe00:5213",
		"2001:db8:ffff::1",
	} {
		w.after(time.Second)
		reserved := host(netip.MustParseAddr(s))
		if got := w.borrow(holder(nai(s)), uint16(i), reserved, 0); got == reserved {
			t.Errorf("lent %v", got)
		}
	}
}

func TestRetransmissionGetsTheSameAnswer(t *testing.T) {
	w := start(t)
	first := w.borrow(holder(alice), 7, anything, 0)
	second := w.after(time.Millisecond).borrow(holder(alice), 8, anything, 0)
	if first == second {
		t.Fatal("lent once for two requests")
	}
	w.after(2 * time.Second)
	if got := w.borrow(holder(alice).from(careOf2), 7, anything, 0); got != first {
		t.Errorf("lent %v again as %v", first, got)
	}
	w.bound(first.Addr(), careOf2, time.Minute)
	if c := w.m.Counters(); c.Lent != 2 || c.Repeated != 1 || c.Renewed != 1 {
		t.Errorf("counters %+v", c)
	}
	w.after(time.Second).giveBack(holder(alice), 9, first, 0)
	w.after(time.Second).giveBack(holder(alice), 9, first, 0)
	w.after(time.Second).giveBack(holder(alice), 10, first, 133)
	w.bound(first.Addr(), nowhere, 0)
	w.after(answersFor)
	if got := w.borrow(holder(alice), 7, anything, 0); got == first {
		t.Errorf("lent %v, which is in quarantine", got)
	}
}

func TestLimits(t *testing.T) {
	t.Run("per mobile node", func(t *testing.T) {
		w := start(t)
		var lent []netip.Prefix
		for i := range 4 {
			lent = append(lent, w.after(time.Second).borrow(holder(alice), uint16(i), anything, 0))
		}
		w.after(time.Second).borrow(holder(alice), 5, anything, 242)
		w.borrow(holder(bob), 5, anything, 0)
		w.after(time.Second).borrow(holder(alice), 6, lent[2], 0)
		if n := len(w.m.Bindings(w.now)); n != 5 {
			t.Errorf("%d bindings", n)
		}
	})
	t.Run("in total", func(t *testing.T) {
		w := start(t, func(c *Config) { c.MaxBindings = 2 })
		first := w.borrow(holder(alice), 1, anything, 0)
		w.borrow(holder(bob), 1, anything, 0)
		w.borrow(holder(nai("carol")), 1, anything, 242)
		w.bound(first.Addr(), careOf1, time.Minute)
	})
	t.Run("pool", func(t *testing.T) {
		w := start(t, func(c *Config) {
			c.Pools, c.MobileNodes = []Pool{{Prefix: small, Lend: 128}}, nil
			c.MaxBindings, c.MaxBindingsPerNode = 0, 0
		})
		// Of 256 addresses, RFC 2526 reserves the highest 128 and RFC 4291 the first.
		lent := make(map[netip.Prefix]bool)
		for i := range 127 {
			lent[w.after(time.Millisecond).borrow(holder(alice), uint16(i), anything, 0)] = true
		}
		if len(lent) != 127 {
			t.Errorf("%d different addresses", len(lent))
		}
		w.after(time.Millisecond).borrow(holder(alice), 200, anything, 242)
		w.borrow(holder(bob), 200, anything, 242)
		if n := len(w.m.Bindings(w.now)); n != 127 {
			t.Errorf("%d bindings", n)
		}
		for p := range lent {
			w.after(time.Millisecond).giveBack(holder(alice), 201, p, 0)
			w.after(5*time.Minute - time.Second).tick()
			w.borrow(holder(bob), 202, p, 242)
			if got := w.after(time.Second).borrow(holder(bob), 203, anything, 0); got != p {
				w.t.Errorf("lent %v, only %v is free", got, p)
			}
			break
		}
	})
	t.Run("borrowing and giving back", func(t *testing.T) {
		w := start(t)
		for i := range uint16(16) {
			p := w.after(time.Second).borrow(holder(alice), 2*i, anything, 0)
			w.after(time.Second).giveBack(holder(alice), 2*i+1, p, 0)
		}
		w.after(time.Second).borrow(holder(alice), 100, anything, 242)
		w.borrow(holder(bob), 1, anything, 0)
	})
}

func TestDelegatedPrefix(t *testing.T) {
	w := start(t)
	e := effects(w.handle(holder(alice).request(t, 1, anyNet, time.Minute, noon)))
	r, _ := w.response(e, holder(alice))
	o, _ := mh.Find[*mh.DHoA](r.Options)
	if r.Status != 0 || o == nil || o.Prefix.Bits() != 64 || !prefixes.Contains(o.Prefix.Addr()) {
		t.Fatalf("response %+v", r)
	}
	home, network := o.Prefix.Addr(), o.Prefix.Masked()
	want := []signaling.Bind{
		{Home: host(home), Local: proxy, Remote: careOf1}, {Home: network, Local: proxy, Remote: careOf1},
	}
	if got := of[signaling.Bind](e); !slices.Equal(got, want) {
		t.Errorf("bound %v, want %v", got, want)
	}
	// Any address of it names it.
	other := netip.PrefixFrom(network.Addr().Next().Next(), 64)
	if got := w.after(time.Second).borrow(holder(bob), 1, other, 0); got.Masked() == network {
		t.Error("lent to two")
	}
	if got := w.borrow(holder(alice), 2, other, 0); got != o.Prefix {
		t.Errorf("renewed as %v, want %v", got, o.Prefix)
	}
	e = w.acknowledged(holder(alice).from(careOf2).update(t, 3, home, time.Minute, w.now.Add(time.Second)), 0)
	want[0].Remote, want[1].Remote = careOf2, careOf2
	if got := of[signaling.Bind](e); !slices.Equal(got, want) {
		t.Errorf("moved %v, want %v", got, want)
	}
	inside := holder(alice).from(network.Addr().Next().Next().Next())
	w.acknowledged(inside.update(t, 4, home, time.Minute, w.now.Add(2*time.Second)), 174)
	e = w.after(3*time.Second).giveBack(holder(alice), 5, other, 0)
	if got := of[signaling.Unbind](e); !slices.Equal(got, []signaling.Unbind{{Home: host(home)}, {Home: network}}) {
		t.Errorf("unbound %v", got)
	}
}

func TestRemoveEndsALease(t *testing.T) {
	w := start(t)
	p := w.borrow(holder(alice), 1, anyNet, 0)
	if e, ok := w.m.Remove(noon, p.Masked().Addr()); !ok || len(of[signaling.Unbind](e)) != 2 {
		t.Errorf("effects %v", e)
	}
	if got := w.m.Counters().HomeAgent; got.Removed != 1 {
		t.Errorf("counters %+v", got)
	}
	if _, ok := w.m.Remove(noon, p.Addr()); ok {
		t.Error("removed twice")
	}
}
